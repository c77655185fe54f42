"""Whether a process lives and is ready, and its metrics: ``/livez``, ``/readyz`` and ``/metrics`` on a port of their own."""

import asyncio
import json
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Self

import structlog
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, Gauge, generate_latest

from shared.ops.settings import Settings

log = structlog.get_logger(__name__)

REFRESH = 2.0
_CHECK_TIMEOUT = 2.0
# A loop that has not turned for this long is stuck, not busy.
_STUCK = 15.0

_LAG = Gauge("cloudward_event_loop_lag_seconds", "How late the event loop ran its last tick.")

# Returns when all is well. Degraded: shown, still ready. Any other exception: not ready.
Check = Callable[[], Awaitable[None]]


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
    or NATS: an outage there must not restart everything.
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
        self._runner: web.AppRunner | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self.port = 0

    def add(self, name: str, check: Check) -> None:
        self._checks[name] = check

    @property
    def ready(self) -> bool:
        """All checks have run and none is red."""
        return self._results.keys() >= self._checks.keys() and all(r.state != "failed" for r in self._results.values())

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listens, and writes the process id and ports to ``settings.run_file``. Raises OSError if the port is taken."""
        app = web.Application()
        app.add_routes(
            [web.get("/livez", self._livez), web.get("/readyz", self._readyz), web.get("/metrics", self._metrics)]
        )
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._settings.ops_host, self._settings.ops_port)
        await site.start()
        self.port = int(self._runner.addresses[0][1])
        self._tasks = [asyncio.create_task(self._tick()), asyncio.create_task(self._refresh())]
        self._tell()

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._runner is not None:
            await self._runner.cleanup()

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
            _LAG.set(max(0.0, self._ticked - before - 1.0))

    async def _refresh(self) -> None:
        while True:
            await asyncio.gather(*(self._run(name, check) for name, check in list(self._checks.items())))
            await asyncio.sleep(REFRESH if self.ready else REFRESH / 4)

    async def _run(self, name: str, check: Check) -> None:
        try:
            await asyncio.wait_for(check(), _CHECK_TIMEOUT)
            result = Result("ok")
        except Degraded as error:
            result = Result("degraded", str(error))
        except TimeoutError:
            result = Result("failed", f"no answer within {_CHECK_TIMEOUT:.0f} s")
        except Exception as error:  # noqa: BLE001 - whatever a check raises means that it failed
            result = Result("failed", type(error).__name__)
        before = self._results.get(name)
        if before is None or before.state != result.state:
            write = log.info if result.state == "ok" else log.warning
            write("check", check=name, state=result.state, detail=result.detail)
        self._results[name] = result

    async def _livez(self, _: web.Request) -> web.Response:
        alive = time.monotonic() - self._ticked < _STUCK
        return web.json_response({"service": self._service, "alive": alive}, status=200 if alive else 503)

    async def _readyz(self, _: web.Request) -> web.Response:
        checks = {name: asdict(self._results.get(name, Result("failed", "not run yet"))) for name in self._checks}
        return web.json_response(
            {"service": self._service, "ready": self.ready, "checks": checks}, status=200 if self.ready else 503
        )

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST})
