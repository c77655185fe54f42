"""Connections to Postgres: one pool per process, opened with patience."""

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg

from shared.ops import metrics
from shared.ops.settings import Settings

# Longer than a service role's statement_timeout: the server gives up first and says why. Only a server that is cut
# off is given up by this.
COMMAND_TIMEOUT = 40.0

# Postgres is away, starting, ending or out of connections, or the connection was lost: worth another try.
AWAY: tuple[type[BaseException], ...] = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.IdleInTransactionSessionTimeoutError,
)
# Whatever else a server may answer, besides.
FAILURES: tuple[type[BaseException], ...] = (*AWAY, asyncpg.PostgresError)


class DatabaseUnavailable(Exception):
    """Postgres cannot be used: away for longer than the caller's patience, or it refuses this process."""


def place(dsn: str) -> str:
    """Where a URL leads, for messages: without user, password and parameters other than the socket's folder."""
    parts = urlsplit(dsn)
    host = (parts.netloc.rpartition("@")[2] or "local socket") + parts.path
    sockets = [p.partition("=")[2] for p in parts.query.split("&") if p.startswith("host=")]
    return host + (f" in {sockets[0]}" if sockets else "")


def read_password(file: Path | None) -> str | None:
    """The password in a file, without the line's end. Raises DatabaseUnavailable if the file cannot be read."""
    if file is None:
        return None
    try:
        return file.read_text(encoding="utf-8").rstrip("\r\n")
    except OSError as error:
        raise DatabaseUnavailable(
            f"The database password cannot be read from {file}: {error.strerror}."
            " Check CLOUDWARD_DATABASE_PASSWORD_FILE and the file's owner."
        ) from error


async def prepare(connection: Any) -> None:
    """Teaches a connection to read and write jsonb as Python values."""
    await connection.set_type_codec("jsonb", schema="pg_catalog", encoder=json.dumps, decoder=json.loads)


async def _nothing(_: Any) -> None:
    """A connection goes back as it is: to reset its session costs a round trip, and who changes one uses ``session``."""


@asynccontextmanager
async def session(pool: Any) -> AsyncIterator[Any]:
    """A connection for whoever takes a session's lock or changes its settings; both are gone when it is given back."""
    async with pool.acquire() as connection:
        try:
            yield connection
        finally:
            if not connection.is_closed():
                try:
                    await connection.execute(connection.get_reset_query(), timeout=5)
                except FAILURES:
                    connection.terminate()
                except BaseException:
                    connection.terminate()
                    raise


async def open_pool(
    settings: Settings, *, application: str, patience: float | None = None
) -> "asyncpg.Pool[asyncpg.Record]":
    """A pool of at most ``settings.database_pool`` connections; ``application`` is shown in ``pg_stat_activity``.

    While Postgres is away, tries again for ``patience`` seconds (``settings.start_patience``). Raises DatabaseUnavailable, whose text says what, why
    and what next; a refusal (password, missing database or role) is raised at once.
    """
    password = read_password(settings.database_password_file)
    patience = settings.start_patience if patience is None else patience
    loop = asyncio.get_running_loop()
    deadline, pause, where = loop.time() + patience, 0.1, place(settings.database_url)
    while True:
        try:
            pool = await asyncpg.create_pool(
                settings.database_url,
                password=password,
                min_size=1,
                max_size=settings.database_pool,
                command_timeout=COMMAND_TIMEOUT,
                timeout=10,
                init=prepare,
                reset=_nothing,
                server_settings={"application_name": f"{application} {version('cloudward')}"},
            )
            metrics.watch_pool(pool)
            return pool
        except (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError) as error:
            raise DatabaseUnavailable(
                f"Postgres at {where} refuses this process: {error}."
                " Check CLOUDWARD_DATABASE_URL and the password file; `cloudward db upgrade` creates the roles."
            ) from error
        except ValueError as error:
            raise DatabaseUnavailable(f"CLOUDWARD_DATABASE_URL is no usable address: {error}.") from error
        except AWAY as error:
            if loop.time() + pause > deadline:
                raise DatabaseUnavailable(
                    f"Postgres at {where} does not answer ({error or type(error).__name__}), tried for {patience:g} s."
                    " Start it, or set CLOUDWARD_DATABASE_URL to where it is."
                ) from error
        await asyncio.sleep(pause * random.uniform(0.5, 1))
        pause = min(pause * 2, 2.0)


async def close_pool(pool: "asyncpg.Pool[Any]") -> None:
    """Closes it within seconds, also where Postgres no longer answers: its own goodbye would wait for that."""
    try:
        await asyncio.wait_for(pool.close(), 5)
    except AWAY:  # TimeoutError is among them
        pool.terminate()
