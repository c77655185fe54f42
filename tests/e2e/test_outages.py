"""What the services stand on may go away at any moment and come back: every plan ends the same, without any command.
What is away at the start is told, with a code."""

import asyncio
import sys
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from cli.embedded.nats import EmbeddedNats, free_port
from cli.embedded.postgres import EmbeddedPostgres
from tests.e2e.world import Move, World

pytestmark = [pytest.mark.slow, pytest.mark.chaos]


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


async def killed(world: World, server: EmbeddedPostgres | EmbeddedNats) -> None:
    await server.kill()


async def cut_off(world: World, server: EmbeddedPostgres | EmbeddedNats) -> None:
    """Longer than a lease: nobody may write on a right that cannot be renewed."""
    server.pause()
    await asyncio.sleep(5)
    server.resume()


@pytest.mark.parametrize("outage", [killed, cut_off])
async def test_database_and_nats_lost_in_the_middle_of_a_plan_change_nothing(
    world: World,
    south: str,
    undisturbed: str,
    outage: Callable[[World, EmbeddedPostgres | EmbeddedNats], Awaitable[None]],
) -> None:
    move = await world.plan(south)
    await world.run(move)
    for least, server in ((2, world.house.postgres), (6, world.house.nats)):
        await under_way(world, move, least)
        await outage(world, server)
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


@pytest.mark.parametrize("away", ["database", "nats"])
async def test_services_that_start_without_their_servers_say_which_and_end_with_69(
    world: World, tmp_path: Path, away: str
) -> None:
    nowhere = free_port()

    async def start(service: str) -> tuple[int | None, str]:
        name = {"executor": "executor-1"}.get(service, service)
        environment = dict(world.house.services[name].environment)
        environment.pop("CLOUDWARD_PARENT_FD")
        environment |= {"CLOUDWARD_RUN_FILE": str(tmp_path / service), "CLOUDWARD_HTTP_PORT": "0"}
        environment |= {"CLOUDWARD_START_PATIENCE": "0.5"}
        if away == "database":
            environment["CLOUDWARD_DATABASE_URL"] = f"postgresql://cw_{service}@127.0.0.1:{nowhere}/cloudward"
        else:
            environment["CLOUDWARD_NATS_URL"] = f"nats://127.0.0.1:{nowhere}"
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", f"services.{service}", env=environment, stdout=PIPE, stderr=STDOUT
        )
        said, _ = await asyncio.wait_for(process.communicate(), 60)
        return process.returncode, said.decode()

    for code, said in await asyncio.gather(*map(start, ("planner", "analyzer", "executor", "dashboard"))):
        assert code == 69, said
        assert str(nowhere) in said
        assert ("CLOUDWARD_DATABASE_URL" if away == "database" else "CLOUDWARD_NATS_URL") in said
        assert "Traceback" not in said
