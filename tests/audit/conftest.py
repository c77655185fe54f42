"""A log of its own for each test, and a sealer of it."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest_asyncio

from shared.events.store import EventStore
from tests.audit.sealed import SealedLog
from tests.servers import Database
from tests.store.logs import Log


@pytest_asyncio.fixture
async def log(database: Database) -> AsyncIterator[Log]:
    async with AsyncExitStack() as stack:
        yield Log(database, stack)


@pytest_asyncio.fixture
async def store(log: Log) -> EventStore:
    return await log.store()


@pytest_asyncio.fixture
async def sealed(log: Log, store: EventStore, tmp_path: Path) -> SealedLog:
    return await SealedLog.of(log, store, tmp_path)
