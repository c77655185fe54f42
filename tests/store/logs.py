"""A database with an empty log, and everything opened on it."""

from contextlib import AsyncExitStack
from typing import Any

from shared.events.database import open_pool
from shared.events.store import EventStore
from tests.servers import Database


class Log:
    """A database with an empty log. Everything opened through it is closed with it."""

    def __init__(self, database: Database, stack: AsyncExitStack) -> None:
        self.database, self._stack = database, stack

    def dsn(self, role: str) -> str:
        return self.database.dsn(role)

    async def connect(self, role: str | None = None) -> Any:
        """A connection of a role; without one, of the superuser."""
        connection = await self.database.connect(role)
        self._stack.push_async_callback(connection.close, timeout=5)
        return connection

    async def pool(self, role: str = "cw_planner", size: int = 8) -> Any:
        pool = await open_pool(self.database.settings(role, database_pool=size), application="tests")
        self._stack.push_async_callback(pool.close)
        return pool

    async def store(self, role: str = "cw_planner", patience: float = 15.0, size: int = 8) -> EventStore:
        """A store as in a process of its own."""
        return await self._stack.enter_async_context(EventStore(await self.pool(role, size), patience=patience))
