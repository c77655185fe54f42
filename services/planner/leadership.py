"""One leader among the planner's replicas, by a session advisory lock on a connection of its own.

The session's ``idle_session_timeout`` is shorter than anyone's patience, and the leader touches it from the same loop that
does the work: a leader that is paused, cut off or stuck loses the lock, and the standby leads. Leadership only saves work;
correctness comes from expected versions.
"""

import time
from contextlib import suppress

import asyncpg
import structlog

log = structlog.get_logger(__name__)

_LOCK = 0x6C6561646572  # "leader"; upgrades of the schema have another
_TOUCH = 2.0


class LeadershipLost(Exception):
    """Another replica may lead now."""


class Leadership:
    """Held by one connection; ``touch`` it at least every few seconds."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection
        self._touched = time.monotonic()

    @classmethod
    async def campaign(cls, connect: "Connect") -> "Leadership | None":
        """The leadership, if nobody holds it."""
        connection = await connect()
        try:
            await connection.execute("SET idle_session_timeout = '10s'")
            if await connection.fetchval("SELECT pg_try_advisory_lock($1)", _LOCK):
                return cls(connection)
        except (OSError, asyncpg.PostgresError):
            await _close(connection)
            raise
        await _close(connection)
        return None

    async def touch(self) -> None:
        """Raises LeadershipLost when the session is gone."""
        now = time.monotonic()
        if now - self._touched < _TOUCH:
            return
        try:
            await self._connection.fetchval("SELECT 1", timeout=5)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise LeadershipLost from error
        self._touched = now

    async def resign(self) -> None:
        await _close(self._connection)


async def _close(connection: asyncpg.Connection) -> None:
    with suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
        await connection.close(timeout=2)


class Connect:
    """Opens a connection of its own, outside any pool."""

    def __init__(self, dsn: str, password: str | None) -> None:
        self._dsn, self._password = dsn, password

    async def __call__(self) -> asyncpg.Connection:
        return await asyncpg.connect(
            self._dsn, password=self._password, timeout=10, server_settings={"application_name": "planner leader"}
        )
