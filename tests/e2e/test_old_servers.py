"""Servers of releases that REST tells little of move like later ones: what they lack there is asked of the remote API."""

import json
import re
from difflib import unified_diff

import pytest

from tests.e2e.world import World

pytestmark = pytest.mark.slow

ADMIN = {"username": "admin", "password": "admin"}  # there are no tokens yet


def spaces(canonical: str, url: str) -> list[str]:
    """What is in the spaces of a site, line by line; the source's address and addresses that were made up put aside."""
    same = re.sub(r"migrated-[0-9a-f]+@", "migrated@", canonical.replace(url, "http://source"))
    held = json.loads(same)["spaces"]
    return json.dumps(held, indent=1, ensure_ascii=False, sort_keys=True).splitlines()


@pytest.mark.statement(8, 26)
@pytest.mark.parametrize("server", ["south-5.10", "south-6.13"])
async def test_an_old_server_arrives_as_a_later_one_with_the_same_content(
    world: World, undisturbed: str, server: str
) -> None:
    before = len(await world.journal(server))
    source = await world.source(server, credential=ADMIN)
    assert (await world.analyze(source))["state"] == "completed"
    await world.repair(source)
    move = await world.plan(source)
    await world.run(move)
    report = await world.ended(move)
    assert (report["status"], report["conserved"]) == ("FINISHED", True), report
    assert await world.twice(move) == []
    moved = spaces(await world.canonical(move), world.servers[server])
    differences = list(unified_diff(spaces(undisturbed, world.servers["south"]), moved, n=3, lineterm=""))
    assert not differences, "\n".join(differences)
    asked = (await world.journal(server))[before:]
    assert [entry for entry in asked if entry["effects"]] == [], "a source is only ever read"
    assert {entry["account"] for entry in asked} <= {"admin", "anonymous"}
    assert any("/rpc/json-rpc/" in entry["path"] for entry in asked)
