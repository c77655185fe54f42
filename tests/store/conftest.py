"""A log of its own for each test of the store."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest_asyncio

from shared.events.store import EventStore
from tests.servers import Database
from tests.store.logs import Log


@pytest_asyncio.fixture
async def log(database: Database) -> AsyncIterator[Log]:
    async with AsyncExitStack() as stack:
        yield Log(database, stack)


@pytest_asyncio.fixture
async def store(log: Log) -> EventStore:
    return await log.store()
