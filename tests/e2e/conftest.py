from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.e2e.world import QUICK, World, open_world
from tests.privacy import SCAN, Collector


@pytest.fixture(scope="session")
def collector() -> Iterator[Collector]:
    """Where the world's traces go."""
    collector = Collector(SCAN)
    yield collector
    collector.close()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def world(scratch: Path, collector: Collector) -> AsyncIterator[World]:
    """One Cloudward for all end-to-end tests; every test moves to a site of its own."""
    settings = {**QUICK, "CLOUDWARD_OTLP_ENDPOINT": collector.url, "CLOUDWARD_OUTGOING_ALLOW": "127.0.0.1"}
    async with open_world(scratch / "world", exports=[Path("/")], settings=settings) as world:
        yield world


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def south(world: World) -> str:
    """Wiki South as a source, analyzed, its addresses repaired."""
    source = await world.source("south")
    assert (await world.analyze(source))["state"] == "completed"
    await world.repair(source)
    return source


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def undisturbed(world: World, south: str) -> str:
    """The canonical document of Wiki South on a site, moved without any trouble."""
    move = await world.plan(south)
    await world.run(move)
    report = await world.ended(move)
    assert report["status"] == "FINISHED", report
    assert report["conserved"]
    assert await world.twice(move) == []
    return await world.canonical(move)
