"""The servers behind the fixtures ``postgres`` and ``nats``: embedded, or in containers.

``CLOUDWARD_TEST_SERVERS=embedded|containers`` decides; without it, containers where Docker answers and has or gets the
images, the embedded servers elsewhere.
"""

import asyncio
import functools
import os
import secrets
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

import asyncpg
import nats as nats_client
from nats.aio.client import Client

from cli.embedded.child import write_secret
from cli.embedded.nats import EmbeddedNats, free_port
from cli.embedded.postgres import EmbeddedPostgres
from shared.events import schema, topology
from shared.ops.settings import Settings

POSTGRES_IMAGE = "postgres:17"
NATS_IMAGE = "nats:2"
ROLES = (schema.MIGRATE, *schema.SERVICES)
_TEMPLATE = "cw_template"


@dataclass(frozen=True)
class Choice:
    containers: bool
    docker: bool
    reason: str

    @property
    def text(self) -> str:
        kind = "testcontainers (postgres:17, nats:2)" if self.containers else "embedded (Postgres 18, NATS)"
        return f"{kind}, {self.reason}"


def _docker(*words: str, timeout: float) -> bool:
    try:
        return subprocess.run(["docker", *words], capture_output=True, timeout=timeout, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


@functools.cache
def choose() -> Choice:
    wish = os.environ.get("CLOUDWARD_TEST_SERVERS", "")
    docker = _docker("info", timeout=10)
    if wish == "embedded":
        return Choice(False, docker, "as CLOUDWARD_TEST_SERVERS says")
    if wish == "containers":
        return Choice(True, docker, "as CLOUDWARD_TEST_SERVERS says")
    if not docker:
        return Choice(False, False, "as no Docker engine answers")
    for image in (POSTGRES_IMAGE, NATS_IMAGE):
        if not _docker("image", "inspect", image, timeout=10) and not _docker("pull", "-q", image, timeout=300):
            return Choice(False, True, f"as Docker has no image {image} and cannot pull it")
    return Choice(True, True, "as Docker answers")


class _Process(Protocol):
    """What a test may do to a server."""

    async def kill(self) -> None: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...


@dataclass(frozen=True)
class Database:
    """One database with the schema; ``dsn(role)`` holds the role's password."""

    server: "PostgresServer"
    name: str

    @property
    def admin_dsn(self) -> str:
        return self.server.admin_dsn_of(self.name)

    def dsn(self, role: str) -> str:
        return self.server.dsn(role, self.name)

    def settings(self, role: str, **more: Any) -> Settings:
        """Settings of a service: role ``planner`` or ``cw_planner``."""
        role = role if role.startswith("cw_") else f"cw_{role}"
        return Settings(database_url=self.dsn(role), **more)

    async def connect(self, role: str | None = None) -> Any:
        """A connection of a role, or of the superuser."""
        return await asyncpg.connect(self.admin_dsn if role is None else self.dsn(role), timeout=10)


class PostgresServer:
    """A running Postgres whose roles have passwords. The base of both kinds."""

    what = ""

    def __init__(self) -> None:
        self.passwords = {role: secrets.token_urlsafe(12) for role in ROLES}
        self._numbers = iter(range(1, 1_000_000))
        self._template_ready = False

    @property
    def admin_dsn(self) -> str:
        return self.admin_dsn_of("cloudward")

    def admin_dsn_of(self, database: str) -> str:
        raise NotImplementedError

    def dsn(self, role: str, database: str = "cloudward") -> str:
        raise NotImplementedError

    async def restart(self) -> None:
        raise NotImplementedError

    async def stop(self) -> None:
        raise NotImplementedError

    async def fresh_database(self) -> Database:
        """A copy of a migrated database: schema, privileges and settings, no rows but the schema's own."""
        if not self._template_ready:
            await self._execute(f"CREATE DATABASE {_TEMPLATE}")
            await schema.upgrade(self.admin_dsn_of(_TEMPLATE), self.passwords)
            self._template_ready = True
        name = f"t{os.getpid()}_{next(self._numbers)}"
        await self._execute(
            f"CREATE DATABASE {name} TEMPLATE {_TEMPLATE}",
            # Privileges on a database are not copied with it.
            f"UPDATE pg_database SET datacl = t.datacl FROM pg_database t"
            f" WHERE t.datname = '{_TEMPLATE}' AND pg_database.datname = '{name}'",
        )
        return Database(self, name)

    async def empty_database(self) -> Database:
        """A database without the schema."""
        name = f"t{os.getpid()}_{next(self._numbers)}"
        await self._execute(f"CREATE DATABASE {name}")
        return Database(self, name)

    async def drop_database(self, database: Database) -> None:
        await self._execute(f"DROP DATABASE IF EXISTS {database.name} WITH (FORCE)")

    async def _execute(self, *statements: str) -> None:
        connection = await asyncpg.connect(self.admin_dsn_of("postgres"), timeout=10)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    async def _ready(self, timeout: float = 60.0) -> None:
        deadline = time.monotonic() + timeout
        while True:
            try:
                await self._execute("SELECT 1")
                return
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError):
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(0.1)


class EmbeddedPostgresServer(PostgresServer):
    what = "embedded Postgres 18"

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.embedded = EmbeddedPostgres(folder, fast=True)
        for role, password in self.passwords.items():
            write_secret(self.embedded.password_file(role), password)

    async def start(self) -> None:
        await self.embedded.start()

    def admin_dsn_of(self, database: str) -> str:
        return self.embedded.dsn("postgres", database)

    def dsn(self, role: str, database: str = "cloudward") -> str:
        return self.embedded.dsn(role, database)

    async def kill(self) -> None:
        await self.embedded.kill()

    def pause(self) -> None:
        self.embedded.pause()

    def resume(self) -> None:
        self.embedded.resume()

    async def restart(self) -> None:
        await self.embedded.restart()

    async def stop(self) -> None:
        await self.embedded.stop()


def _container(image: str) -> Any:
    # The cleaner's image is one more that would have to be there; containers are removed when the run ends.
    os.environ.setdefault("TESTCONTAINERS_RYUK_DISABLED", "true")
    from testcontainers.core.container import DockerContainer

    # The label tells the containers of a run from all others, should it die before it removes them.
    return DockerContainer(image).with_kwargs(labels={"cloudward.test": os.environ.get("CLOUDWARD_TEST_RUN", "")})


class _InContainer:
    """Kill, pause and restart of a container. Its port is bound by us, so that it stays over a restart."""

    container: Any

    async def kill(self) -> None:
        await asyncio.to_thread(self.container.get_wrapped_container().kill)

    def pause(self) -> None:
        self.container.get_wrapped_container().pause()

    def resume(self) -> None:
        self.container.get_wrapped_container().unpause()

    async def stop(self) -> None:
        await asyncio.to_thread(self.container.stop)


class ContainerPostgresServer(_InContainer, PostgresServer):
    what = f"testcontainers {POSTGRES_IMAGE}"

    def __init__(self) -> None:
        super().__init__()
        self.port = free_port()
        self._admin = secrets.token_urlsafe(12)
        self.container = (
            _container(POSTGRES_IMAGE)
            .with_bind_ports(5432, self.port)
            .with_env("POSTGRES_PASSWORD", self._admin)
            .with_env("POSTGRES_DB", "cloudward")
            .with_env("POSTGRES_INITDB_ARGS", "--locale=C --locale-provider=builtin --builtin-locale=C.UTF-8")
            .with_command("postgres -c fsync=off -c full_page_writes=off -c max_connections=200")
        )

    async def start(self) -> None:
        await asyncio.to_thread(self.container.start)
        await self._ready()
        # The image starts a first server for its set-up and ends it again: only the second one listens on TCP.
        await asyncio.sleep(0.3)
        await self._ready()

    def admin_dsn_of(self, database: str) -> str:
        return f"postgresql://postgres:{quote(self._admin)}@127.0.0.1:{self.port}/{database}"

    def dsn(self, role: str, database: str = "cloudward") -> str:
        return f"postgresql://{role}:{quote(self.passwords[role])}@127.0.0.1:{self.port}/{database}"

    async def restart(self) -> None:
        await asyncio.to_thread(self.container.get_wrapped_container().restart)
        await self._ready()


class NatsServer:
    """A running NATS with the users of the services and ``admin``, who may do everything."""

    what = ""
    embedded: EmbeddedNats

    @property
    def url(self) -> str:
        return self.embedded.url

    def password(self, user: str) -> str:
        return self.embedded.password(user)

    def settings(self, user: str) -> dict[str, Any]:
        """Keyword arguments for Settings: the address and the user's credentials."""
        self.password(user)
        return {"nats_url": self.url, "nats_user": user, "nats_password_file": self.embedded.password_file(user)}

    async def connect(self, user: str = "admin", **options: Any) -> Client:
        return await nats_client.connect(
            self.url,
            user=user,
            password=self.password(user),
            inbox_prefix=f"_INBOX_{user}".encode(),
            **options,
        )

    async def reset(self) -> None:
        """Empty streams and durables as the table in code says. For the start of a test."""
        client = await self.connect()
        try:
            js = client.jetstream()
            for config in topology.streams():
                try:
                    await js.delete_stream(str(config.name))
                except nats_client.js.errors.NotFoundError:
                    continue
            await topology.upgrade(js)
        finally:
            await client.close()

    async def restart(self, *, empty: bool = False) -> None:
        raise NotImplementedError

    async def stop(self) -> None:
        raise NotImplementedError


class EmbeddedNatsServer(NatsServer):
    what = "embedded NATS"

    def __init__(self, folder: Path) -> None:
        self.embedded = EmbeddedNats(folder, admin=True)

    async def start(self) -> None:
        await self.embedded.start()

    async def kill(self) -> None:
        await self.embedded.kill()

    def pause(self) -> None:
        self.embedded.pause()

    def resume(self) -> None:
        self.embedded.resume()

    async def restart(self, *, empty: bool = False) -> None:
        await self.embedded.restart(empty=empty)

    async def stop(self) -> None:
        await self.embedded.stop()


class ContainerNatsServer(_InContainer, NatsServer):
    what = f"testcontainers {NATS_IMAGE}"

    def __init__(self, folder: Path) -> None:
        self.embedded = EmbeddedNats(folder, admin=True, port=free_port())
        inside = self.embedded.configuration().replace(
            f"listen: 127.0.0.1:{self.embedded.port}", "listen: 0.0.0.0:4222"
        )
        inside = inside.replace(str(self.embedded.store), "/store")
        self.embedded.store.mkdir(parents=True, exist_ok=True)
        self.embedded.store.chmod(0o777)
        write_secret(self.embedded.config, inside)
        self.embedded.config.chmod(0o644)
        self.container = (
            _container(NATS_IMAGE)
            .with_bind_ports(4222, self.embedded.port)
            .with_volume_mapping(str(self.embedded.config), "/etc/cloudward-nats.conf", "ro")
            .with_volume_mapping(str(self.embedded.store), "/store", "rw")
            .with_command("-c /etc/cloudward-nats.conf")
        )

    async def start(self) -> None:
        await asyncio.to_thread(self.container.start)
        await self._ready()

    async def _ready(self) -> None:
        deadline = time.monotonic() + 30
        while True:
            try:
                client = await self.connect(allow_reconnect=False, max_reconnect_attempts=1)
                await client.jetstream().account_info()
                await client.close()
                return
            except (OSError, nats_client.errors.Error, TimeoutError):
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(0.1)

    async def restart(self, *, empty: bool = False) -> None:
        wrapped = self.container.get_wrapped_container()
        await asyncio.to_thread(wrapped.stop)
        if empty:
            for path in self.embedded.store.iterdir():
                shutil.rmtree(path, ignore_errors=True)
        await asyncio.to_thread(wrapped.start)
        await self._ready()


async def start_postgres(choice: Choice, folder: Path) -> PostgresServer:
    server = ContainerPostgresServer() if choice.containers else EmbeddedPostgresServer(folder)
    await server.start()
    await schema.upgrade(server.admin_dsn, server.passwords)
    return server


async def start_nats(choice: Choice, folder: Path) -> NatsServer:
    server = ContainerNatsServer(folder) if choice.containers else EmbeddedNatsServer(folder)
    await server.start()
    await server.reset()
    return server
