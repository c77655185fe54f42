"""Whether a process lives and is ready, and its metrics: ``/livez``, ``/readyz`` and ``/metrics`` on a port of their own.

They are answered by a thread, not by the process's event loop: a loop that is stuck cannot say so itself.
"""

import asyncio
import json
import os
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

import asyncpg
import structlog
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest

from shared.ops import metrics
from shared.ops.settings import Settings

log = structlog.get_logger(__name__)

REFRESH = 2.0
_CHECK_TIMEOUT = 2.0
# A loop that has not turned for this long is stuck, not busy: first no traffic, then a restart.
_SLOW, _STUCK = 5.0, 15.0
LOOP = "event loop"

# Returns when all is well. Degraded: shown, still ready. Any other exception: not ready.
Check = Callable[[], Awaitable[None]]


class Failed(Exception):
    """A check is red; the text says what is wrong, in words that may be shown."""


class Degraded(Exception):
    """Something works less well, but taking traffic away from this process would help nobody."""


@dataclass(frozen=True)
class Result:
    """``state``: ok, degraded or failed."""

    state: str
    detail: str = ""


class OpsServer:
    """Serves the answers of checks that run in the background every 2 s, so that a probe never waits for a check.

    ``async with OpsServer(settings, "planner", {"database": check}) as ops: ops.port``. Liveness never looks at database
    or NATS: an outage there must not restart everything. The check of the event loop is always among them.
    """

    def __init__(
        self,
        settings: Settings,
        service: str,
        checks: Mapping[str, Check] | None = None,
        *,
        registry: CollectorRegistry = REGISTRY,
        ports: Mapping[str, int] | None = None,
    ) -> None:
        self._settings = settings
        self._service = service
        self._checks = dict(checks or {})
        self._registry = registry
        self._ports = dict(ports or {})
        self._results: dict[str, Result] = {}
        self._ticked = time.monotonic()
        self._server: ThreadingHTTPServer | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._under_way: dict[str, asyncio.Task[None]] = {}
        self._ending = False
        self.port = 0

    def add(self, name: str, check: Check) -> None:
        self._checks[name] = check

    def end(self) -> None:
        """Not ready from now on: the process has been told to end, and nothing new should come to it."""
        self._ending = True

    def results(self) -> dict[str, Result]:
        """Every check with its last answer, and the event loop."""
        found = {name: self._results.get(name, Result("failed", "not run yet")) for name in list(self._checks)}
        late = time.monotonic() - self._ticked
        found[LOOP] = Result("ok") if late < _SLOW else Result("failed", f"has not turned for {late:.0f} s")
        if self._ending:
            found["ending"] = Result("failed", "the process has been told to end")
        return found

    @property
    def ready(self) -> bool:
        """All checks have run and none is red."""
        return all(result.state != "failed" for result in self.results().values())

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listens, and writes the process id and ports to ``settings.run_file``. Raises OSError if the port is taken."""
        self._server = _Server((self._settings.ops_host, self._settings.ops_port), _handler(self._answer))
        self.port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, name="ops", daemon=True).start()
        metrics.BUILD_INFO.labels(self._service, metrics.RELEASE).set(1)
        self._ticked = time.monotonic()
        self._tasks = [asyncio.create_task(self._tick()), asyncio.create_task(self._refresh())]
        self._tell()

    async def stop(self) -> None:
        for task in (*self._tasks, *self._under_way.values()):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._server is not None:
            await asyncio.to_thread(self._server.shutdown)
            self._server.server_close()

    def _tell(self) -> None:
        file = self._settings.run_file
        if file is None:
            return
        file.parent.mkdir(parents=True, exist_ok=True)
        beside = file.with_name(f".{file.name}.{os.getpid()}")
        beside.write_text(json.dumps({"pid": os.getpid(), "ops_port": self.port, **self._ports}))
        beside.replace(file)

    async def _tick(self) -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(1.0)
            self._ticked = time.monotonic()
            metrics.LOOP_LAG.set(max(0.0, self._ticked - before - 1.0))

    async def _refresh(self) -> None:
        while True:
            await asyncio.gather(*(self._run(name, check) for name, check in list(self._checks.items())))
            await asyncio.sleep(REFRESH if self.ready else REFRESH / 4)

    async def _run(self, name: str, check: Check) -> None:
        # Not wait_for: what hangs (a query on a server that stands still) may hang in its own cancellation too, and
        # must not keep the answer from being told.
        task = self._under_way.pop(name, None) or asyncio.create_task(_awaited(check))
        await asyncio.wait({task}, timeout=_CHECK_TIMEOUT)
        try:
            if not task.done():
                self._under_way[name] = task
                raise TimeoutError
            task.result()
            result = Result("ok")
        except Degraded as error:
            result = Result("degraded", str(error))
        except Failed as error:
            result = Result("failed", str(error))
        except TimeoutError:
            result = Result("failed", f"no answer within {_CHECK_TIMEOUT:.0f} s")
        except Exception as error:  # noqa: BLE001 - whatever a check raises means that it failed
            result = Result("failed", type(error).__name__)
        before = self._results.get(name)
        if before is None or before.state != result.state:
            write = log.info if result.state == "ok" else log.warning
            write("check", check=name, state=result.state, detail=result.detail)
        self._results[name] = result

    # In the thread of the ops server

    def _answer(self, path: str) -> tuple[int, str, bytes]:
        """Status, content type and body."""
        if path == "/metrics":
            for name, result in self.results().items():
                metrics.READY.labels(self._service, name).set(result.state != "failed")
            return 200, CONTENT_TYPE_LATEST, generate_latest(self._registry)
        if path == "/livez":
            alive = time.monotonic() - self._ticked < _STUCK
            return _json(alive, {"service": self._service, "alive": alive})
        if path == "/readyz":
            results = self.results()
            ready = all(result.state != "failed" for result in results.values())
            checks = {name: asdict(result) for name, result in results.items()}
            return _json(ready, {"service": self._service, "ready": ready, "checks": checks})
        return 404, "text/plain", b"There are /livez, /readyz and /metrics.\n"


def database(pool: "asyncpg.Pool[Any]", *, writing: bool = True) -> Check:
    """A check that Postgres answers, and that it takes writes. ``writing`` False: read-only is degraded, not red."""

    async def check() -> None:
        if await pool.fetchval("SHOW transaction_read_only", timeout=2) == "on":
            raise (Failed if writing else Degraded)("the database is read-only")

    return check


async def _awaited(check: Check) -> None:
    await check()


def _json(good: bool, document: object) -> tuple[int, str, bytes]:
    return 200 if good else 503, "application/json", json.dumps(document).encode()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, handler)

    def server_bind(self) -> None:
        # The base class looks up the host's name in DNS, which may take seconds and is used for nothing.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = "", int(self.server_address[1])

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A prober that went away before its answer is no news."""


def _handler(answer: Callable[[str], tuple[int, str, bytes]]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 10
        server_version, sys_version = "cloudward", ""

        def do_GET(self) -> None:
            status, kind, body = answer(self.path.partition("?")[0])
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Probes come every few seconds."""

    return Handler
