from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from tests.e2e.world import World, open_world


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def world(scratch: Path) -> AsyncIterator[World]:
    """One Cloudward for all end-to-end tests; every test moves to a site of its own."""
    async with open_world(scratch / "world", exports=[Path("/")]) as world:
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
