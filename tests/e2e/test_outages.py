"""What is away is told: a command's receiver, and what a service stands on at its start, with a code. What goes away in
the middle of a plan and comes back: ``tests.chaos``."""

import asyncio
import sys
from asyncio.subprocess import PIPE, STDOUT
from pathlib import Path

import pytest

from cli.embedded.nats import free_port
from tests.e2e.world import World

pytestmark = [pytest.mark.slow, pytest.mark.chaos]


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
