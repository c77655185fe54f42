"""Verbs of the command line against a Cloudward under way, one after the other as a person gives them."""

import asyncio
import json
import re
from typing import Any

import pytest
from click.testing import Result
from typer.main import get_command
from typer.testing import CliRunner

from cli.main import app
from tests.e2e.world import World

pytestmark = pytest.mark.slow


async def cloudward(world: World, *words: str) -> Result:
    where = ("--data", str(world.house.data))
    return await asyncio.to_thread(CliRunner().invoke, app, [*words, *where])


async def told(world: World, *words: str) -> Any:
    """The answer as JSON."""
    done = await cloudward(world, *words, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


async def test_a_webhook_is_made_tested_looked_at_sent_again_given_a_new_secret_and_removed(world: World) -> None:
    nowhere = "http://127.0.0.1:9/chat"
    made = await cloudward(world, "webhook", "add", "chat", nowhere, "--event", "plan.failed")
    assert made.exit_code == 0 and re.match(r"whsec_\S+\n", made.stdout), made.output
    assert "shown this once" in made.stderr
    (hook,) = [each for each in await told(world, "webhook", "list") if each["name"] == "chat"]
    assert (hook["url"], hook["events"]) == (nowhere, ["plan.failed"])
    assert "Sent" in (await cloudward(world, "webhook", "test", "chat")).stdout
    async with asyncio.timeout(20):
        while not (found := (await told(world, "webhook", "deliveries", "chat"))["deliveries"])[0]["attempts"]:
            await asyncio.sleep(0.2)
    assert (found[0]["event"], found[0]["problem"]) == ("webhook.test", "unreachable")
    assert "unreachable" in (await cloudward(world, "webhook", "deliveries", "chat")).stdout
    assert (await cloudward(world, "webhook", "replay", "chat", found[0]["id"])).exit_code == 0
    rotated = await told(world, "webhook", "rotate", "chat")
    assert rotated["secret"].startswith("whsec_") and rotated["secret"] not in made.stdout
    again = await cloudward(world, "webhook", "add", "chat", nowhere)
    assert again.exit_code == 1 and "name_taken" in again.stderr and "Traceback" not in again.output
    assert (await cloudward(world, "webhook", "remove", "chat")).exit_code == 0
    gone = await cloudward(world, "webhook", "test", "chat")
    assert gone.exit_code == 1 and "chat" in gone.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_shell_completes_verbs(shell: str) -> None:
    name = get_command(app).name or "cloudward"
    variables = {f"_{name.upper()}_COMPLETE": f"complete_{shell}", "_TYPER_COMPLETE_ARGS": f"{name} web"}
    variables |= {"COMP_WORDS": f"{name} web", "COMP_CWORD": "1", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    done = CliRunner().invoke(app, [], prog_name=name, env=variables)
    assert "webhook" in done.output, done.output
