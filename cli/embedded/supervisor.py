"""Everything on one machine: Postgres, NATS, four services, the sealer, a sandbox if wanted, held by one process."""

import asyncio
import contextlib
import fcntl
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import nats as nats_client

from cli.embedded.child import Child, EmbeddedError, secret_file, write_secret
from cli.embedded.nats import EmbeddedNats, free_port
from cli.embedded.postgres import EmbeddedPostgres
from shared.events import schema, topology
from shared.events.audit.note import SigningKey

# A service that dies is started again after this, doubled each time up to the longest; a quiet minute forgets.
_BACKOFF = 0.2
_LONGEST_BACKOFF = 5.0
_QUIET = 60.0

# How long a child has to end by itself, seconds.
GRACE = 10.0

Say = Callable[[str, str], None]


@dataclass
class Service:
    """One child that is kept running. ``wanted`` is False while a test or a stop holds it down."""

    name: str
    module: str
    environment: Mapping[str, str]
    log: Path
    run_file: Path
    child: Child | None = None
    wanted: bool = True
    starts: int = 0
    wake: asyncio.Event = field(default_factory=asyncio.Event)

    def told(self) -> dict[str, Any]:
        """What the running process wrote about itself; empty until then."""
        try:
            found: dict[str, Any] = json.loads(self.run_file.read_text())
        except (OSError, ValueError):
            return {}
        return found if self.child is not None and found.get("pid") == self.child.pid else {}


class Supervisor:
    """Runs a whole Cloudward in ``data``.

    ``async with Supervisor(Path("data")) as s:`` starts everything, returns when all services are ready, and ends all of
    it at the end of the block. Should this process be killed, the kernel ends its children (Linux), and the services
    notice the end of a pipe besides.

    ``executors``, ``planners``: how many of these. ``port``: of the dashboard, 0 for a free one. ``export_roots``: folders
    under which exports may lie. ``sandbox``: configuration of ``python -m sandbox``, or None. ``settings``: further
    environment of the services. ``fast``: give up safety against a crash of the machine. ``say(name, text)`` is told what
    happens.
    """

    def __init__(
        self,
        data: Path,
        *,
        executors: int = 2,
        planners: int = 1,
        port: int = 0,
        export_roots: Sequence[Path] = (),
        sandbox: Mapping[str, Any] | None = None,
        settings: Mapping[str, str] | None = None,
        fast: bool = False,
        ready_timeout: float = 90.0,
        say: Say | None = None,
    ) -> None:
        self.data = data.resolve()
        self.postgres = EmbeddedPostgres(self.data, fast=fast)
        self.nats = EmbeddedNats(self.data)
        self.services: dict[str, Service] = {}
        self.sandbox: dict[str, Any] = {}
        self.token = ""
        self._executors, self._planners, self._port = executors, planners, port
        self._export_roots = [self.data / "uploads", *export_roots]
        self._sandbox_config = sandbox
        self._sandbox_child: Child | None = None
        self._logins: dict[str, str] = {}  # how to log in at the sandbox
        self._settings = dict(settings or {})
        self._ready_timeout = ready_timeout
        self._say = say or (lambda name, text: None)
        self._lock: int | None = None
        self._pipe: tuple[int, int] | None = None
        self._keepers: list[asyncio.Task[None]] = []
        self._stopping = False
        self._hurry = asyncio.Event()

    # -- what users ask -------------------------------------------------------------------------------------------

    @property
    def dashboard_url(self) -> str:
        """Address of the dashboard and its API. Raises EmbeddedError before the dashboard has told it."""
        told = self.services["dashboard"].told()
        if "http_port" not in told:
            raise EmbeddedError("The dashboard has no address yet", "it is still starting", "Wait for it.")
        return f"http://127.0.0.1:{told['http_port']}"

    @property
    def token_file(self) -> Path:
        return self.data / "api-token"

    def dsn(self, role: str) -> str:
        """Address of the database for a role, password included."""
        return self.postgres.dsn(role)

    def pid(self, name: str) -> int:
        """Process id of a service now running; 0 if there is none."""
        child = self.services[name].child
        return child.pid if child is not None and child.running else 0

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> int:
        """Sends a signal to a service and returns its process id; it is started again when it ends."""
        child = self.services[name].child
        if child is None or not child.running:
            return 0
        child.send(number)
        return child.pid

    async def hold(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        """Ends a service and keeps it down until ``release``."""
        service = self.services[name]
        service.wanted = False
        if service.child is not None:
            await service.child.end(number, GRACE)

    def release(self, name: str) -> None:
        """Lets a held service start again."""
        service = self.services[name]
        service.wanted = True
        service.wake.set()

    async def wait_ready(self, timeout: float | None = None) -> None:
        """Returns when every wanted service answers ready. Raises EmbeddedError with the reasons of those that do not."""
        deadline = time.monotonic() + (self._ready_timeout if timeout is None else timeout)
        async with httpx.AsyncClient(timeout=2, trust_env=False) as http:
            while True:
                wanted = [service for service in self.services.values() if service.wanted]
                waiting = {s.name: reason for s in wanted if (reason := await self._unready(http, s)) is not None}
                if not waiting:
                    return
                if time.monotonic() > deadline:
                    raise EmbeddedError(
                        "Not everything is ready",
                        "; ".join(f"{name}: {reason}" for name, reason in waiting.items()),
                        f"Look into {self.data / 'logs'}.",
                    )
                await asyncio.sleep(0.1)

    async def _unready(self, http: httpx.AsyncClient, service: Service) -> str | None:
        told = service.told()
        if "ops_port" not in told:
            ended = service.starts > 1 and service.child is not None
            return f"does not stay up: {service.child.tail(1)}" if ended and service.child else "starting"
        try:
            answer = await http.get(f"http://127.0.0.1:{told['ops_port']}/readyz")
        except httpx.HTTPError:
            return "does not answer"
        if answer.status_code == 200:
            return None
        checks = answer.json().get("checks", {})
        return ", ".join(f"{name} {c['detail']}" for name, c in checks.items() if c["state"] == "failed") or "not ready"

    # -- life -----------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Starts everything and returns when it is ready. Raises EmbeddedError and schema.SchemaError."""
        self._hold_folder()
        self._pipe = os.pipe()
        for file in (self.data / "run").glob("*.json"):
            file.unlink()
        if self._sandbox_config is not None:
            self._start_sandbox(self._sandbox_config)
        await asyncio.gather(self.postgres.start(), self.nats.start())
        self._say("postgres", f"ready, data in {self.postgres.cluster}")
        self._say("nats", f"ready at {self.nats.url}")
        await self._migrate()
        self.token = secret_file(self.token_file, lambda: secrets.token_urlsafe(32))
        secret_file(self._vault_key, lambda: secrets.token_bytes(32).hex())
        secret_file(self._seal_key, lambda: SigningKey.new().pem)
        (self.data / "uploads").mkdir(mode=0o700, exist_ok=True)
        self._plan_services()
        for service in self.services.values():
            self._spawn(service)
        self._keepers = [asyncio.create_task(self._keep(service)) for service in self.services.values()]
        self._keepers += [asyncio.create_task(self._keep_server("postgres", self.postgres))]
        self._keepers += [asyncio.create_task(self._keep_server("nats", self.nats))]
        await self._sandbox_told()
        await self.wait_ready()

    async def stop(self) -> None:
        """Ends services, then NATS, then Postgres, each gracefully; ``hurry`` makes it quick. Twice is harmless."""
        self._stopping = True
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        children = [s.child for s in self.services.values() if s.child is not None]
        if self._sandbox_child is not None:
            children.append(self._sandbox_child)
        hurried = asyncio.create_task(self._kill_on_hurry(children))
        await asyncio.gather(*(child.end(signal.SIGTERM, GRACE + 2) for child in children))
        await self.nats.stop()
        await self.postgres.stop()
        hurried.cancel()
        if self._sandbox_child is not None:
            for stream in (self._sandbox_child.popen.stdin, self._sandbox_child.popen.stdout):
                if stream is not None:
                    stream.close()
        if self._pipe is not None:
            os.close(self._pipe[0])
            os.close(self._pipe[1])
            self._pipe = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def hurry(self) -> None:
        """For a second Ctrl-C: whatever still runs is killed. Nothing that was recorded is lost by it."""
        self._hurry.set()

    async def _kill_on_hurry(self, children: Sequence[Child]) -> None:
        await self._hurry.wait()
        for child in children:
            child.send(signal.SIGKILL)
        if self.nats.running:
            self.nats.child.send(signal.SIGKILL)
        if self.postgres.running:
            # Its "immediate" shutdown: as after a crash, the next start replays the write-ahead log.
            self.postgres.child.send(signal.SIGQUIT)

    def _hold_folder(self) -> None:
        try:
            self.data.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.open(self.data / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise EmbeddedError(
                f"The data folder {self.data} cannot be used",
                error.strerror or type(error).__name__,
                "Choose another folder with --data, in which this account may write.",
            ) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(lock, 20).decode(errors="replace").strip() or "unknown"
            os.close(lock)
            raise EmbeddedError(
                f"The data folder {self.data} is in use",
                f"process {holder} holds it",
                "End that process, or choose another folder with --data.",
            ) from error
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        self._lock = lock

    @property
    def _vault_key(self) -> Path:
        return self.data / "secrets" / "vault-key"

    @property
    def _seal_key(self) -> Path:
        return self.data / "secrets" / "seal-key"

    async def _migrate(self) -> None:
        roles = (schema.MIGRATE, *schema.SERVICES)
        applied = await schema.upgrade(self.postgres.admin_dsn, {role: self.postgres.password(role) for role in roles})
        try:
            await self._make_streams()
        except (nats_client.errors.Error, TimeoutError) as error:
            # Everything in it can be made anew from the log, so a damaged folder is no loss.
            self._say("nats", f"its data cannot be used ({type(error).__name__}): starting with none")
            await self.nats.restart(empty=True)
            try:
                await self._make_streams()
            except (nats_client.errors.Error, TimeoutError) as again:
                raise EmbeddedError("NATS cannot be used", str(again), f"Look into {self.nats.log}.") from again
        self._say("schema", f"{len(applied)} migrations applied" if applied else "up to date")

    async def _make_streams(self) -> None:
        client = await nats_client.connect(
            self.nats.url,
            user="migrate",
            password=self.nats.password("migrate"),
            inbox_prefix=b"_INBOX_migrate",
            allow_reconnect=False,
        )
        try:
            await topology.upgrade(client.jetstream(timeout=10))
        finally:
            await client.close()

    def _plan_services(self) -> None:
        names = [
            *(f"planner-{n}" if n > 1 else "planner" for n in range(1, self._planners + 1)),
            "analyzer",
            *(f"executor-{n}" for n in range(1, self._executors + 1)),
            "dashboard",
            "sealer",
        ]
        for name in names:
            kind = name.partition("-")[0]
            self.services[name] = Service(
                name=name,
                module="shared.events.audit" if kind == "sealer" else f"services.{kind}",
                environment=self._environment(kind, name),
                log=self.data / "logs" / f"{name}.log",
                run_file=self.data / "run" / f"{name}.json",
            )

    def _environment(self, kind: str, name: str) -> dict[str, str]:
        assert self._pipe is not None
        role = f"cw_{kind}"
        # The caller's PG* variables would change what the address says.
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("PG")}
        own = {
            "DATABASE_URL": self.postgres.url(role),
            "DATABASE_PASSWORD_FILE": str(self.postgres.password_file(role)),
            "DATA": str(self.data),
            "EXPORT_ROOTS": ":".join(str(root) for root in self._export_roots),
            "OPS_HOST": "127.0.0.1",
            "OPS_PORT": "0",
            "RUN_FILE": str(self.data / "run" / f"{name}.json"),
            "PARENT_FD": str(self._pipe[0]),
            "GRACE": str(GRACE),
        }
        if kind == "sealer":  # the only one with the signing key; it talks to nobody but the database
            own |= {"SEAL_KEYS": str(self._seal_key), "CHECKPOINTS": str(self.data / "checkpoints")}
        else:
            own |= {
                "NATS_URL": self.nats.url,
                "NATS_USER": kind,
                "NATS_PASSWORD_FILE": str(self.nats.password_file(kind)),
            }
        # Whoever need not open credentials cannot.
        if kind not in ("planner", "sealer"):
            own["SECRET_KEY_FILE"] = str(self._vault_key)
            own |= self._logins
        if kind == "dashboard":
            own |= {"HTTP_HOST": "127.0.0.1", "HTTP_PORT": str(self._port), "TOKEN_FILE": str(self.token_file)}
        return {**inherited, **self._settings, **{f"CLOUDWARD_{key}": value for key, value in own.items()}}

    def _spawn(self, service: Service) -> None:
        assert self._pipe is not None
        service.starts += 1
        service.child = Child.start(
            service.name,
            [sys.executable, "-m", service.module],
            log=service.log,
            env=service.environment,
            pass_fds=[self._pipe[0]],
        )

    async def _keep(self, service: Service) -> None:
        """Starts the service again whenever it ends."""
        pause = _BACKOFF
        while True:
            assert service.child is not None
            code = await service.child.wait()
            if time.monotonic() - service.child.started > _QUIET:
                pause = _BACKOFF
            if service.wanted:
                self._say(service.name, f"ended ({_reason(code)}), starting again")
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_BACKOFF)
            while not service.wanted:
                service.wake.clear()
                await service.wake.wait()
            self._spawn(service)

    async def _keep_server(self, name: str, server: EmbeddedPostgres | EmbeddedNats) -> None:
        pause = _BACKOFF
        while True:
            code = await server.child.wait()
            self._say(name, f"ended ({_reason(code)}), starting again")
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_BACKOFF)
            try:
                await server.restart()
            except (EmbeddedError, OSError) as error:
                self._say(name, f"does not start: {error}")
            else:
                self._say(name, "ready")
                pause = _BACKOFF

    # -- sandbox --------------------------------------------------------------------------------------------------

    def _start_sandbox(self, config: Mapping[str, Any]) -> None:
        # The services are told where people log in before the sandbox is up, so the port is chosen here.
        port = config.get("atlassian_port") or free_port()
        address, secret = f"http://127.0.0.1:{port}", self.data / "run" / "atlassian-client"
        config = {**config, "atlassian_port": port}
        write_secret(secret, "sandbox-client-secret")
        self._logins = {
            "ATLASSIAN_AUTH_URL": address,
            "ATLASSIAN_API_URL": address,
            "ATLASSIAN_CLIENT_ID": "sandbox-client",
            "ATLASSIAN_CLIENT_SECRET_FILE": str(secret),
        }
        file = self.data / "run" / "sandbox-config"
        write_secret(file, json.dumps(config))
        self._sandbox_child = Child.start(
            "sandbox",
            [sys.executable, "-m", "sandbox", "--config", file, "--with-parent"],
            log=self.data / "logs" / "sandbox.log",
            env=dict(os.environ),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    async def _sandbox_told(self) -> None:
        """Waits for the one line in which the sandbox says where it listens."""
        child = self._sandbox_child
        if child is None:
            return
        assert child.popen.stdout is not None
        reader = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(os.dup(child.popen.stdout.fileno()), "rb")
        )
        with contextlib.closing(transport):
            try:
                line = await asyncio.wait_for(reader.readline(), 30)
                self.sandbox = json.loads(line)
            except (TimeoutError, ValueError) as error:
                raise EmbeddedError(
                    "The sandbox does not start", child.tail(2) or "it said nothing", f"Look into {child.log}."
                ) from error
        for instance in self.sandbox.get("instances", []):
            self._say("sandbox", f"{instance['name']} ({instance['kind']}) at {instance['url']}")


def _reason(code: int | None) -> str:
    if code is not None and code < 0:
        with contextlib.suppress(ValueError):
            return signal.Signals(-code).name
    return f"exit code {code}"
