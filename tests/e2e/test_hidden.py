"""What is hidden at the source is hidden on the site: whatever part of a space moves, whatever fails, whatever changes meanwhile.

In Wiki Pocket everything that is hidden says so in its title. Pocket Isle is open to everybody.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from shared.events.reasons import Reason
from tests.chaos.scene import MIGRATOR
from tests.e2e.test_following import (
    by_title,
    follow,
    id_of,
    page_on_site,
    part,
    pocket,
    ran,
    work_at_the_source,
)
from tests.e2e.test_private_first import SAILOR, Watcher
from tests.e2e.world import Move, World, on_site

pytestmark = pytest.mark.slow
long = pytest.mark.chaos  # beside the kill tests, to keep the run of all others short

HIDDEN = "Hushmere"
LABEL = {"method": "POST", "route": "/wiki/rest/api/content/{id}/label", "contains": '"light"', "action": "hold"}


@contextlib.asynccontextmanager
async def watched(move: Move) -> AsyncIterator[Watcher]:
    """Somebody without rights reads the site all the while, and once more at the end. Never is anything hidden among it."""
    sailor = Watcher(move.url, SAILOR)
    reading = asyncio.create_task(sailor.run())
    yield sailor
    reading.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await reading
    await sailor.look()
    assert sailor.rounds > 2
    assert not {title for title in sailor.titles if HIDDEN in title}


async def refused(world: World, move: Move, title: str) -> None:
    """The site does not take the page of this title."""
    await world.fault(
        move, method="POST", route="/wiki/api/v2/pages", contains=f'"{title}"', count=100,
        action="status", when="before", status=400,
    )  # fmt: skip


async def test_a_page_tree_from_below_a_restricted_page_is_hidden_as_that_page_hid_it(world: World) -> None:
    name, source = await pocket(world)
    drawer = await id_of(world, name, "ISLE", "Hushmere Drawer")
    site = await world.site(tokens=dict([SAILOR]))
    move = await part(world, source, site, f"tree {name}", "ISLE", drawer)
    async with watched(move) as sailor:
        await ran(world, move)
    assert "ISLE" in sailor.spaces
    found = by_title(await world.canonical(move))
    holders = json.dumps(found["Hushmere Drawer"]["restrictions"])
    assert "keepers" in holders and "ada" not in holders, "who may see the page above it, not who may write there"


async def test_what_lay_below_a_restricted_page_that_did_not_move_is_hidden_by_itself(world: World) -> None:
    _, source = await pocket(world)
    move = await world.plan(source, tokens=dict([SAILOR]))
    await refused(world, move, "Hushmere Vault")
    async with watched(move) as sailor:
        report = await ran_anyhow(world, move)
    assert {"ISLE", "QUAY"} <= sailor.spaces.keys()
    assert "keepers" in json.dumps(by_title(await world.canonical(move))["Hushmere Drawer"]["restrictions"])
    assert ("restriction", "restricted") in {(d["kind"], d["what"]) for d in report["verification"]}
    await world._sandbox.delete(f"/sites/{move.site_name}/faults")
    async with watched(move):
        await ran(world, await follow(world, move, "retry-failed"))
    found = by_title(await world.canonical(move))
    assert [child["title"] for child in found["Hushmere Vault"]["children"]] == ["Hushmere Drawer"]
    assert found["Hushmere Drawer"]["restrictions"] == found["Landing"]["restrictions"], "its own again: none"


async def ran_anyhow(world: World, move: Move) -> dict[str, Any]:
    await world.run(move)
    report = await world.ended(move)
    assert report["conserved"], report
    return report


async def test_what_the_source_hides_or_deletes_while_a_plan_runs_is_hidden_before_the_space_is_opened(
    world: World,
) -> None:
    name, source = await pocket(world)
    move = await world.plan(source, tokens=dict([SAILOR]))
    hold = await world.fault(move, **LABEL)
    async with watched(move) as sailor:
        await world.run(move)
        await world.held(move, hold)
        await work_at_the_source(
            world,
            name,
            {"do": "restrict", "space": "ISLE", "title": "Slipway", "users": ["bo"]},
            {"do": "delete", "space": "ISLE", "title": "South Shore"},
            {"do": "move", "space": "ISLE", "title": "Landing", "parent": "Hushmere Vault"},
        )
        await world.release(move, hold)
        report = await world.ended(move)
    assert report["conserved"], report
    assert "ISLE" in sailor.spaces and "North Shore" in sailor.titles
    assert not {"Slipway", "South Shore", "Landing"} & sailor.titles
    told = {(d["kind"], d["what"]) for d in report["verification"]}
    assert told == {("restriction", "restricted"), ("restriction", "closed")}


@long
@pytest.mark.parametrize("how", ["continue", "retry-failed"])
async def test_what_the_source_hid_or_deleted_between_a_stop_and_its_sequel_is_hidden(world: World, how: str) -> None:
    name, source = await pocket(world)
    move = await world.plan(source, tokens=dict([SAILOR]))
    hold = await world.fault(move, **LABEL)
    async with watched(move) as sailor:
        await world.run(move)
        await world.held(move, hold)
        await world.stop(move)
        await world.release(move, hold)
        assert (await world.ended(move))["status"] == "STOPPED"
        await work_at_the_source(
            world,
            name,
            {"do": "restrict", "space": "ISLE", "title": "Slipway", "users": ["bo"]},
            {"do": "delete", "space": "ISLE", "title": "Landing"},
        )
        report = await ran_anyhow(world, await follow(world, move, how))
    assert "ISLE" in sailor.spaces and "South Shore" in sailor.titles
    assert not {"Slipway", "Landing"} & sailor.titles
    assert Reason.KEPT_CLOSED in {r["reason"] for r in report["reasons"] if r["kind"] == "restriction"}


@long
async def test_a_page_whose_restricted_parent_fails_in_an_open_space_is_hidden_until_it_is_below_it(
    world: World,
) -> None:
    name, source = await pocket(world)
    first = await world.plan(source, tokens=dict([SAILOR]))
    async with watched(first):
        await ran(world, first)
        await work_at_the_source(
            world,
            name,
            {"do": "add", "space": "ISLE", "title": "Hushmere Safe", "parent": "North Shore", "body": "<p>Safe.</p>"},
            {"do": "restrict", "space": "ISLE", "title": "Hushmere Safe", "groups": ["keepers"]},
            {"do": "add", "space": "ISLE", "title": "Hushmere Shelf", "parent": "Hushmere Safe", "body": "<p>Top.</p>"},
        )
        await refused(world, first, "Hushmere Safe")
        delta = await follow(world, first, "delta")
        await ran_anyhow(world, delta)
        assert "Hushmere Shelf" in by_title(await world.canonical(first))
        await world._sandbox.delete(f"/sites/{first.site_name}/faults")
        report = await ran(world, await follow(world, delta, "retry-failed"))
        assert report["kinds"]["page"]["migrated"] == 2, report
    found = by_title(await world.canonical(first))
    assert [child["title"] for child in found["Hushmere Safe"]["children"]] == ["Hushmere Shelf"]
    assert found["Hushmere Shelf"]["restrictions"] == found["Landing"]["restrictions"]


@long
async def test_a_page_is_not_moved_into_the_open_with_what_a_colleague_wrote_below_it(world: World) -> None:
    name, source = await pocket(world)
    first = await world.plan(source, tokens=dict([SAILOR]))
    async with watched(first):
        await ran(world, first)
        drawer = await page_on_site(first, "Hushmere Drawer")
        page = {
            "spaceId": drawer["spaceId"],
            "status": "current",
            "title": "Hushmere note of a colleague",
            "parentId": drawer["id"],
            "body": {"representation": "storage", "value": "<p>Between us.</p>"},
        }
        await on_site(first, MIGRATOR, "POST", "/wiki/api/v2/pages", json=page)
        await work_at_the_source(
            world, name, {"do": "move", "space": "ISLE", "title": "Hushmere Drawer", "parent": "North Shore"}
        )
        report = await ran_anyhow(world, await follow(world, first, "delta"))
    assert ("page", Reason.CHANGED_ON_SITE) in {(r["kind"], r["reason"]) for r in report["reasons"]}
    found = by_title(await world.canonical(first))
    assert [child["title"] for child in found["Hushmere Vault"]["children"]] == ["Hushmere Drawer"]


@long
async def test_what_moves_out_of_a_hidden_place_with_a_page_is_closed_until_it_has_its_own(world: World) -> None:
    """The page above it goes into the open; it goes back below the restricted page itself."""
    name, source = await pocket(world)
    await work_at_the_source(
        world,
        name,
        {"do": "add", "space": "ISLE", "title": "Hushmere Lid", "parent": "Hushmere Drawer", "body": "<p>Lid.</p>"},
        {"do": "write", "space": "ISLE", "title": "Hushmere Drawer", "new_title": "Drawer"},
    )
    first = await world.plan(source, tokens=dict([SAILOR]))
    async with watched(first) as sailor:
        await ran(world, first)
        await work_at_the_source(
            world,
            name,
            {"do": "move", "space": "ISLE", "title": "Hushmere Lid", "parent": "Hushmere Vault"},
            {"do": "move", "space": "ISLE", "title": "Drawer", "parent": "North Shore"},
        )
        await ran(world, await follow(world, first, "delta"))
    assert "Drawer" in sailor.titles
    found = by_title(await world.canonical(first))
    assert [child["title"] for child in found["Hushmere Vault"]["children"]] == ["Hushmere Lid"]
    assert found["Hushmere Lid"]["restrictions"] == found["Landing"]["restrictions"], "the page above hides it"


@long
async def test_where_a_restriction_was_lifted_on_the_site_nothing_more_comes_that_the_source_hides(
    world: World,
) -> None:
    name, source = await pocket(world)
    first = await world.plan(source, tokens=dict([SAILOR]))
    await ran(world, first)
    vault = await page_on_site(first, "Hushmere Vault")
    await on_site(first, MIGRATOR, "DELETE", f"/wiki/rest/api/content/{vault['id']}/restriction")
    await work_at_the_source(
        world,
        name,
        {"do": "restrict", "space": "ISLE", "title": "Hushmere Vault", "users": ["bo"]},
        {"do": "write", "space": "ISLE", "title": "Hushmere Vault", "body": "<p>The newest numbers.</p>"},
        {"do": "attach", "space": "ISLE", "title": "Hushmere Drawer", "file": "newest.txt", "size": 30},
    )
    report = await ran_anyhow(world, await follow(world, first, "delta"))
    told = {(r["kind"], r["reason"]) for r in report["reasons"]}
    assert {("page", Reason.CHANGED_ON_SITE), ("attachment", Reason.CHANGED_ON_SITE)} <= told
    found = by_title(await world.canonical(first))
    assert "newest" not in found["Hushmere Vault"]["body"]
    assert not found["Hushmere Drawer"]["attachments"]


@long
async def test_rights_that_come_after_files_hide_what_was_moved_below_a_restricted_page_since(world: World) -> None:
    name, source = await pocket(world)
    site = await world.site(tokens=dict([SAILOR]))
    files = await part(world, source, site, f"only files {name}", "ISLE", what="attachments")
    async with watched(files) as sailor:
        await refused(world, files, "Hushmere Vault")
        await ran_anyhow(world, files)
        await work_at_the_source(
            world,
            name,
            {"do": "restrict", "space": "ISLE", "title": "South Shore", "users": ["bo"]},
            {"do": "move", "space": "ISLE", "title": "Landing", "parent": "South Shore"},
        )
        await ran_anyhow(world, await part(world, source, site, f"only rights {name}", "ISLE", what="rights"))
    assert "ISLE" in sailor.spaces and "North Shore" in sailor.titles
    assert not {"South Shore", "Slipway", "Landing"} & sailor.titles


@long
async def test_files_that_come_later_to_an_open_space_are_hidden_with_their_page(world: World) -> None:
    """And a plan for all after one for files alone brings nothing twice."""
    name, source = await pocket(world)
    site = await world.site(tokens=dict([SAILOR]))
    first = await part(world, source, site, f"all {name}", "ISLE")
    async with watched(first):
        await ran(world, first)
        await work_at_the_source(
            world,
            name,
            {"do": "add", "space": "ISLE", "title": "Hushmere Box", "parent": "North Shore", "body": "<p>Box.</p>"},
            {"do": "restrict", "space": "ISLE", "title": "Hushmere Box", "groups": ["keepers"]},
            {"do": "attach", "space": "ISLE", "title": "Hushmere Box", "file": "hushmere.txt", "size": 30},
        )
        files = await part(world, source, site, f"files {name}", "ISLE", what="attachments")
        await ran(world, files)
    document = await world.canonical(files)
    assert [file["name"] for file in by_title(document)["Hushmere Box"]["attachments"]] == ["hushmere.txt"]
    again = await part(world, source, site, f"again {name}", "ISLE")
    report = await ran_anyhow(world, again)
    assert Reason.SPACE_KEY_CONFLICT in {r["reason"] for r in report["reasons"]} or report["status"] == "FAILED"
    assert await world.canonical(again) == document
