from collections.abc import AsyncIterator

import pytest_asyncio

from tests.delivery.workshop import Workshop, open_workshop
from tests.servers import Database


@pytest_asyncio.fixture(loop_scope="session")
async def workshop(database: Database) -> AsyncIterator[Workshop]:
    async with open_workshop(database) as workshop:
        yield workshop
