"""The dashboard over a real database, with a planner and an analyzer that only note what they are asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from services.dashboard.adapters.access import Access
from services.dashboard.adapters.logins import Logins
from services.dashboard.adapters.reads import Reads
from services.dashboard.adapters.secrets import Secrets
from services.dashboard.handlers.context import Parts
from shared.events.database import open_pool
from shared.events.projections.registry import READ_PROJECTIONS
from shared.events.projections.runner import Runner
from shared.events.store import EventStore
from tests.servers import Database
from tests.store.test_projections import Log, history
from tests.unit.dashboard.house import KEY, TOKEN, House, Owners, application, named


@asynccontextmanager
async def opened(database: Database) -> AsyncIterator[House]:
    """A house in this database, its log empty."""
    roles = ("planner", "analyzer", "executor", "dashboard")
    pools = {role: await open_pool(database.settings(role), application="test") for role in roles}
    stores = {role: EventStore(pool) for role, pool in pools.items()}
    for store in stores.values():
        await store.start()
    pool, owners = pools["dashboard"], Owners()
    runners = tuple(Runner(pool, stores["dashboard"], projection) for projection in READ_PROJECTIONS)
    access = Access(pool, stores["dashboard"], TOKEN)
    await access.introduce()
    parts = Parts(
        Reads(pool),
        Secrets(pool, KEY),
        owners,
        stores["dashboard"],
        runners,
        access,
        asyncio.Event(),
        Logins(pool, KEY, None, 5.0),
    )
    transport = httpx.ASGITransport(application(parts))
    async with httpx.AsyncClient(
        transport=transport, base_url="http://127.0.0.1", headers={"Authorization": f"Bearer {TOKEN}"}
    ) as client:
        yield House(client, owners, Log(stores), pool, parts)
    parts.ending.set()
    for store in stores.values():
        await store.close()
    for each in pools.values():
        await each.close()


async def told_of(house: House, database: Database) -> None:
    """Fills the log with the whole history of one plan."""
    await house.log.append(history())
    connection = await database.connect()
    await named(house, connection)
    await connection.close()
    await house.catch_up()


@pytest.fixture
async def house(database: Database) -> AsyncIterator[House]:
    async with opened(database) as house:
        yield house


@pytest.fixture
async def told(house: House, database: Database) -> House:
    """A house whose log holds the whole history of one plan."""
    await told_of(house, database)
    return house
