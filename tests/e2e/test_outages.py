"""What the services stand on may go away at any moment and come back: every plan ends the same, without any command.
What is away at the start is told, with a code."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from cli.embedded.nats import free_port
from tests.e2e.world import Move, World

pytestmark = pytest.mark.slow


async def chunks_ended(world: World, move: Move) -> int:
    return int(await world.look("SELECT count(*) FROM work.chunk WHERE plan = $1 AND state = 'ended'", move.plan) or 0)


async def under_way(world: World, move: Move, least: int) -> None:
    """Waits until so many chunks have ended while another is claimed."""
    async with asyncio.timeout(60):
        while True:
            claimed = await world.look(
                "SELECT count(*) FROM work.chunk WHERE plan = $1 AND state = 'claimed'", move.plan
            )
            if claimed and await chunks_ended(world, move) >= least:
                return
            await asyncio.sleep(0.02)


async def kill_postgres(world: World) -> None:
    await world.house.postgres.kill()


async def kill_nats(world: World) -> None:
    await world.house.nats.kill()


async def cut_off_postgres(world: World) -> None:
    """Longer than a lease: nobody may write on a right that cannot be renewed."""
    world.house.postgres.pause()
    await asyncio.sleep(6)
    world.house.postgres.resume()


async def cut_off_nats(world: World) -> None:
    world.house.nats.pause()
    await asyncio.sleep(6)
    world.house.nats.resume()


@pytest.mark.parametrize("outage", [kill_postgres, kill_nats, cut_off_postgres, cut_off_nats])
async def test_servers_lost_in_the_middle_of_a_plan_change_nothing(
    world: World, south: str, undisturbed: str, outage: Callable[[World], Awaitable[None]]
) -> None:
    move = await world.plan(south)
    await world.run(move)
    for least in (2, 8):
        await under_way(world, move, least)
        await outage(world)
        await answering(world)
    report = await world.ended(move, timeout=120)
    assert report["status"] == "FINISHED", report
    assert report["conserved"]
    assert await world.twice(move) == []
    assert await world.canonical(move) == undisturbed
    await world.house.wait_ready(30)


async def answering(world: World) -> None:
    """Waits until the database answers the test again; connections of before are dead."""
    async with asyncio.timeout(60):
        while True:
            try:
                await world.look("SELECT 1")
                return
            except Exception:
                await asyncio.sleep(0.2)


async def test_while_the_planner_is_away_a_command_is_refused_with_what_to_do(world: World, south: str) -> None:
    move = await world.plan(south)
    await world.house.hold("planner")
    try:
        with pytest.raises(Exception, match="planner does not run, so nothing was recorded"):
            await world.run(move)
        assert await world.status(move) == "READY"  # what is recorded can be read all the same
    finally:
        world.house.release("planner")
        await world.house.wait_ready(30)
    await world.run(move)
    assert (await world.ended(move))["status"] == "FINISHED"


@pytest.mark.parametrize("service", ["planner", "analyzer", "executor", "dashboard"])
@pytest.mark.parametrize("away", ["database", "nats"])
def test_a_service_that_starts_without_its_servers_says_which_and_ends_with_69(
    world: World, tmp_path: Path, service: str, away: str
) -> None:
    name = {"executor": "executor-1"}.get(service, service)
    environment = dict(world.house.services[name].environment)
    environment.pop("CLOUDWARD_PARENT_FD")
    environment |= {"CLOUDWARD_RUN_FILE": str(tmp_path / "run"), "CLOUDWARD_HTTP_PORT": "0"}
    nowhere = free_port()
    if away == "database":
        environment |= {"CLOUDWARD_DATABASE_URL": f"postgresql://cw_{service}@127.0.0.1:{nowhere}/cloudward"}
    else:
        environment |= {"CLOUDWARD_NATS_URL": f"nats://127.0.0.1:{nowhere}"}
    done = subprocess.run(
        [sys.executable, "-m", f"services.{service}"],
        env={**environment, "CLOUDWARD_START_PATIENCE": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=os.getcwd(),
    )
    said = done.stdout + done.stderr
    assert done.returncode == 69, said
    assert str(nowhere) in said
    assert "CLOUDWARD_DATABASE_URL" in said if away == "database" else "CLOUDWARD_NATS_URL" in said
    assert "Traceback" not in said
