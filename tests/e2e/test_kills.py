"""An analysis whose analyzer dies goes on by itself, and what was sent before comes into effect late. Kills of everything else:
``tests.chaos``."""

import asyncio
import json
import random
from dataclasses import replace

import pytest

from sandbox.sample.pocket import pocket
from tests.e2e.world import World

pytestmark = [pytest.mark.slow, pytest.mark.chaos]

KILLS = 5


async def test_an_analyzer_killed_in_an_analysis_goes_on_by_itself_and_counts_the_same(world: World) -> None:
    chance = random.Random(4)
    # Large enough that there is work under way for every kill.
    await world.server("wide", {"version": "9.2.1", "generate": {"spaces": 60, "pages": 600, "users": 80}})
    source = await world.source("wide")
    whole = await world.analyze(source)
    again = await world.source("wide")
    answer = await world.call("post", f"/sources/{again}/analyses")

    position = 0

    async def at_work() -> bool:
        """It has claimed a chunk of the analysis since the last kill, and not ended it."""
        nonlocal position
        found = await world.look(
            "SELECT max(e.position) FROM work.chunk k JOIN log.events e ON e.stream = 'chunk-' || k.chunk"
            " WHERE k.task = $1 AND k.state = 'claimed' AND e.type = 'ChunkClaimed' AND e.position > $2",
            answer["id"],
            position,
        )
        position = found or position
        return found is not None

    for _ in range(KILLS):
        await world.kill_at_work(["analyzer"], at_work, chance)
    counted = await world.call("analyzed", answer["id"])
    assert counted["state"] == "completed"
    assert numbers(counted) == numbers(whole)


def numbers(analysis: dict[str, object]) -> dict[str, object]:
    return {k: v for k, v in analysis.items() if isinstance(v, int) and k not in ("position", "started", "completed")}


async def test_of_two_equal_comments_made_after_a_kill_each_has_its_own(world: World) -> None:
    await world.server("islet", {"version": "7.19.0", "sample": "pocket"})
    move = await world.move("islet")
    islet = replace(move, site_name="islet")
    lit = next(c.id for c in pocket(7).contents.values() if c.body == "<p>Lit.</p>")
    # Both executors die before the first of the two was made: the next attempt looks for each, and makes both itself.
    fault = await world.fault(islet, method="GET", contains=f"/{lit}?", action="hold", when="after")
    await world.run(move)
    await world.held(islet, fault)
    for name in ("executor-1", "executor-2"):
        world.house.kill(name)
    await world.release(islet, fault)
    report = await world.ended(move)
    assert report["status"] == "FINISHED"
    targets = await world.rows(
        "SELECT id, target FROM work.id_map m JOIN work.plan p ON p.site = m.site"
        " WHERE p.plan = $1 AND m.kind = 'comment'",
        move.plan,
    )
    assert len({row["target"] for row in targets}) == len(targets)
    undisturbed = await world.plan(move.source)
    await world.run(undisturbed)
    assert (await world.ended(undisturbed))["status"] == "FINISHED"
    assert await world.canonical(move) == await world.canonical(undisturbed)


@pytest.mark.parametrize(
    ("route", "contains", "made"),
    [
        ("/wiki/api/v2/pages", '"North Shore"', "page"),
        ("/wiki/api/v2/blogposts", '"Tides"', "blogpost"),
        ("/wiki/rest/api/content/{id}/child/attachment", "lamp.png", "attachment"),
    ],
)
async def test_what_comes_into_effect_after_it_was_looked_for_stands_for_its_entity(
    world: World, route: str, contains: str, made: str
) -> None:
    name = f"inlet-{made}"
    await world.server(name, {"version": "7.19.0", "sample": "pocket"})
    move = await world.move(name)
    # The executor waits 1.5 s for the answer, looks in vain and sends it again; then the first request has its effect.
    for seconds in (2.5, 1.0):
        await world.fault(
            move, method="POST", route=route, contains=contains, action="delay", when="before", seconds=seconds
        )
    await world.run(move)
    report = await world.ended(move)
    assert report["status"] == "FINISHED"
    undisturbed = await world.plan(move.source)
    await world.run(undisturbed)
    assert (await world.ended(undisturbed))["status"] == "FINISHED"
    assert await world.canonical(move) == await world.canonical(undisturbed)


async def test_a_stray_is_told_although_the_answer_to_its_removal_was_lost(world: World) -> None:
    await world.server("creek", {"version": "7.19.0", "sample": "pocket"})
    move = await world.move("creek")
    # An executor that waits in vain for the answer makes the comment anew; labels wait until the first request had its effect.
    comments = "/wiki/api/v2/footer-comments"
    await world.fault(
        move, method="POST", route=comments, contains="Thanks.", action="delay", when="before", seconds=5.0
    )
    label = await world.fault(
        move, method="POST", route="/wiki/rest/api/content/{id}/label", action="hold", when="after", count=None
    )
    await world.fault(move, method="DELETE", route=f"{comments}/{{id}}", action="close", when="after")
    await world.run(move)
    await world.held(move, label)
    await asyncio.sleep(5.0)
    await world.release(move, label)
    report = await world.ended(move)
    assert (report["status"], report["conserved"]) == ("FINISHED", True)
    assert [each["what"] for each in report["verification"]] == ["stray"]
    removed = {
        effect["id"]
        for entry in await world.journal(move.site_name)
        for effect in entry["effects"]
        if effect["verb"] in ("deleted", "purged")
    }
    rows = await world.rows(
        "SELECT convert_from(body, 'UTF8')::jsonb AS body FROM log.events WHERE type = 'ChunkEnded'"
    )
    told = {id for row in rows for id in json.loads(row["body"])["data"].get("strays", ())}
    assert removed and removed <= told
    assert not await world.rows("SELECT * FROM work.stray")
