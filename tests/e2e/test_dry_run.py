"""A dry run says what a run would say, and leaves the site as it was."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from cli.client import ClientError
from tests.e2e.world import Move, World

pytestmark = pytest.mark.asyncio(loop_scope="session")


def told(report: Any) -> Any:
    """A report without what tells one run from another."""
    if isinstance(report, dict):
        return {key: told(value) for key, value in report.items() if key not in ("plan", "dry_run")}
    if isinstance(report, list):
        return sorted((told(each) for each in report), key=repr)
    return report


def different(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """By part of the report, what only one of two has."""
    found: dict[str, Any] = {}
    for part in one.keys() | other.keys():
        here, there = told(one).get(part), told(other).get(part)
        if isinstance(here, dict) and isinstance(there, dict):
            here, there = sorted(here.items()), sorted(there.items())
        if here != there and isinstance(here, list) and isinstance(there, list):
            here, there = [e for e in here if e not in there], [e for e in there if e not in here]
        if here != there:
            found[part] = (here, there)
    return found


async def dry(world: World, move: Move) -> dict[str, Any]:
    name = f"{move.name} (dry run)"
    copied = await world.call("post", f"/plans/{move.plan}/copy", {"name": name, "dry_run": True})
    run = replace(move, name=name, plan=copied["id"])
    await world.run(run)
    return await world.ended(run)


def writes(journal: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [
        (entry["method"], entry["path"])
        for entry in journal
        if entry["method"] not in ("GET", "HEAD", "OPTIONS") or entry.get("effects")
    ]


@pytest.mark.parametrize("mode", ["classic", "roles"])
async def test_a_dry_run_reports_what_the_run_reports_and_writes_nothing(world: World, south: str, mode: str) -> None:
    move = await world.plan(south, **({"mode": "roles"} if mode == "roles" else {}))
    before = await world.canonical(move)
    rehearsed = await dry(world, move)
    assert rehearsed["dry_run"]
    assert writes(await world.journal(move.site_name)) == []
    assert await world.canonical(move) == before

    await world.run(move)
    real = await world.ended(move)
    assert not (apart := different(rehearsed, real)), str(apart)[:3000]
    assert real["conserved"] and real["status"] == (
        "FINISHED" if mode == "classic" else "FAILED"
    )  # roles cannot say all


async def test_what_a_dry_run_kept_is_gone_when_it_has_ended(world: World, south: str) -> None:
    move = await world.plan(south)
    await dry(world, move)
    left = (
        "SELECT count(*) FROM people.dry_object",
        "SELECT count(*) FROM people.account a JOIN work.plan p ON p.ledger = a.site AND p.ledger <> p.site",
        "SELECT count(*) FROM people.site_group g JOIN work.plan p ON p.ledger = g.site AND p.ledger <> p.site",
        "SELECT count(*) FROM work.id_map m JOIN work.plan p ON p.ledger = m.site AND p.ledger <> p.site",
        "SELECT count(*) FROM work.open_link l JOIN work.plan p ON p.ledger = l.site AND p.ledger <> p.site",
    )
    async with asyncio.timeout(30):
        while any([await world.look(question) for question in left]):
            await asyncio.sleep(0.3)


async def test_a_dry_run_after_a_run_finds_its_spaces_taken_as_a_second_run_does(world: World, south: str) -> None:
    move = await world.plan(south)
    await world.run(move)
    assert (await world.ended(move))["status"] == "FINISHED"
    there = await world.canonical(move)

    rehearsed = await dry(world, move)
    assert await world.canonical(move) == there
    copied = await world.call("post", f"/plans/{move.plan}/copy", {"name": f"{move.name} again"})
    again = replace(move, name=f"{move.name} again", plan=copied["id"])
    await world.run(again)
    assert different(rehearsed, await world.ended(again)) == {}
    assert {r["reason"] for r in rehearsed["reasons"] if r["kind"] == "space"} == {"space_key_conflict"}


async def test_a_dry_run_has_no_ids_on_the_site_to_tell(world: World, south: str) -> None:
    move = await world.plan(south)
    rehearsed = await dry(world, move)
    with pytest.raises(ClientError) as refused:
        await world.call("get", f"/plans/{rehearsed['plan']}/idmap")
    assert refused.value.code == "nothing_moved"
