"""The checks of a plan, asked of a real source and a real site: what a run would meet is said before it."""

import asyncio
from typing import Any

import httpx
import pytest

from cli.tryout import SITE_CREDENTIAL
from tests.e2e.test_content import moved, saved
from tests.e2e.world import Move, World

pytestmark = pytest.mark.slow


async def checked(world: World, move: Move) -> dict[str, dict[str, Any]]:
    round_ = (await world.call("post", f"/plans/{move.plan}/checks"))["id"]
    async with asyncio.timeout(60):
        while not (await world.call("get", f"/check-rounds/{round_}"))["completed"]:
            await asyncio.sleep(0.1)
    return {each["check"]: each for each in await world.call("get", f"/plans/{move.plan}/checks")}


async def test_checks_on_an_empty_site_find_no_key_and_no_group_taken(world: World, south: str) -> None:
    found = await checked(world, await world.plan(south))
    assert found["space_keys"]["result"] == "passed"
    assert found["group_merges"]["result"] == "passed"
    assert {found[name]["result"] for name in ("source_reachable", "site_reachable", "credentials")} == {"passed"}


async def test_a_second_plan_is_told_which_keys_are_taken_and_which_groups_would_merge(
    world: World, south: str
) -> None:
    site = await world.site()
    await moved(world, await saved(world, south, site, f"first to {site[1]}", users="all", groups=True, spaces="all"))
    found = await checked(world, await saved(world, south, site, f"second to {site[1]}", users="all", groups=True))
    taken = {finding["space"] for finding in found["space_keys"]["findings"]}
    assert found["space_keys"]["result"] == "warning"
    assert len(taken) == found["space_keys"]["count"] > 0
    merges = {finding["group"]: finding for finding in found["group_merges"]["findings"]}
    assert merges["gardeners"]["into"] == "gardeners"
    assert merges["gardeners"]["would join"] > 0
    assert merges["gardeners"]["gives"] == "nothing"
    assert int(merges["gardeners"]["reaches spaces"].split()[0].rstrip(":")) >= 1
    assert "site-admins" not in merges


async def test_a_map_decides_what_merges_and_the_check_says_what_the_group_gives(world: World, south: str) -> None:
    site = await world.site()
    async with httpx.AsyncClient(auth=(SITE_CREDENTIAL["email"], SITE_CREDENTIAL["token"]), trust_env=False) as client:
        answer = await client.get(f"{site[2]}/wiki/rest/api/group", params={"accessType": "user"})
    giving = answer.json()["results"][0]["name"]
    recorded = await world.call("post", f"/sources/{south}/maps", {"groups": f"Group,Target\ngardeners,{giving}\n"})
    by_map = {"map": recorded["result"]["map"]}
    merges = (await checked(world, await saved(world, south, site, f"mapped to {site[1]}", **by_map)))["group_merges"]
    found = {finding["group"]: finding for finding in merges["findings"]}
    assert found["gardeners"]["into"] == giving
    assert "Confluence" in found["gardeners"]["gives"]
