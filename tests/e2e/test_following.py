"""Plans that go on from others: continued, retried, brought up to date, undone."""

import asyncio
import itertools
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from cli.client import ENDED
from cli.tryout import SERVER_TOKEN
from shared.events.reasons import Reason
from tests.chaos.judge import meddled
from tests.chaos.scene import LOCAL, MIGRATOR, SETTLED
from tests.e2e.test_content import saved
from tests.e2e.world import Move, World, on_site

pytestmark = pytest.mark.slow
long = pytest.mark.chaos  # beside the kill tests, to keep the run of all others short

POCKET = {"version": "7.19.0", "sample": "pocket"}
_numbers = itertools.count(1)


async def follow(world: World, move: Move, how: str) -> Move:
    name = f"{how} {next(_numbers)}"
    plan = (await world.call("post", f"/plans/{move.plan}/{how}", {"name": name}))["id"]
    return Move(name, plan, move.source, move.site, move.site_name, move.url)


async def ran(world: World, move: Move, status: str = "FINISHED") -> dict[str, Any]:
    await world.run(move)
    report = await world.ended(move)
    assert (report["status"], report["conserved"], report["verification"]) == (status, True, []), report
    return report


async def stopped(world: World, move: Move, after: int) -> dict[str, Any]:
    """Runs a plan and stops it when so many of its chunks have ended."""
    await world.run(move)
    chunks = "SELECT count(*) FROM work.chunk WHERE plan = $1 AND state = 'ended'"
    while await world.look(chunks, move.plan) < after and await world.status(move) not in ENDED:
        await asyncio.sleep(0.02)
    await world.stop(move)
    report = await world.ended(move)
    assert report["status"] == "STOPPED", report
    return report


async def pocket(world: World) -> tuple[str, str]:
    """A small source of its own that people work at: its name in the sandbox, and its id."""
    name = f"pocket-{next(_numbers)}"
    await world.server(name, POCKET)
    source = await world.source(name)
    assert (await world.analyze(source))["state"] == "completed"
    await world.repair(source)
    return name, source


async def work_at_the_source(world: World, name: str, *edits: dict[str, Any]) -> None:
    answer = await world._sandbox.post(f"/sites/{name}/edits", json=list(edits))
    assert answer.status_code == 204, answer.text


async def page_on_site(move: Move, title: str, who: tuple[str, str] = MIGRATOR) -> dict[str, Any]:
    found = await on_site(move, who, "GET", "/wiki/api/v2/pages", params={"title": title, "body-format": "storage"})
    return dict(found["results"][0])


async def written_on_site(move: Move, title: str, body: str) -> None:
    """Somebody who may edit the space does so: the account of an administrator other than the migrator's."""
    page = await page_on_site(move, title, LOCAL)
    changed = {
        "id": page["id"],
        "status": "current",
        "title": title,
        "body": {"representation": "storage", "value": body},
        "version": {"number": page["version"]["number"] + 1},
    }
    await on_site(move, LOCAL, "PUT", f"/wiki/api/v2/pages/{page['id']}", json=changed)


def by_title(document: str) -> dict[str, dict[str, Any]]:
    def contents() -> Iterator[dict[str, Any]]:
        spaces = json.loads(document)["spaces"]
        waiting = [content for space in spaces for content in (*space["pages"], *space["blogposts"])]
        while waiting:
            content = waiting.pop()
            yield content
            waiting += content["children"]

    return {content["title"]: content for content in contents()}


@pytest.mark.statement(92)
@pytest.mark.parametrize("after", [9, pytest.param(40, marks=long)])
async def test_a_stopped_plan_that_is_continued_ends_as_if_it_had_never_been_stopped(
    world: World, south: str, undisturbed: str, after: int
) -> None:
    first = await world.plan(south)
    left = await stopped(world, first, after)
    second = await follow(world, first, "continue")
    report = await ran(world, second)
    moved = left["kinds"].get("page", {}).get("migrated", 0)
    taken = await world.look(
        "SELECT count(*) FROM work.outcome o JOIN work.task t USING (task) WHERE t.plan = $1 AND o.kind = 'page'",
        second.plan,
    )
    assert taken == report["kinds"]["page"]["selected"]
    whole = len(by_title(undisturbed)) - report["kinds"]["blogpost"]["selected"]
    assert taken <= whole - moved + 1, "what the first plan moved is not taken again"
    assert await world.canonical(second) == undisturbed
    assert await world.twice(second) == []


@long
async def test_what_failed_is_retried_and_nothing_else(world: World) -> None:
    _, source = await pocket(world)
    first = await world.plan(source)
    rule = await world.fault(
        first, method="POST", route="/wiki/rest/api/content/{id}/child/attachment", contains="oil.csv", count=100,
        action="status", when="before", status=400,
    )  # fmt: skip
    report = await ran(world, first, "FAILED")
    assert report["kinds"]["attachment"]["failed"] == 1
    await world._sandbox.delete(f"/sites/{first.site_name}/faults")
    assert rule
    again = await follow(world, first, "retry-failed")
    report = await ran(world, again)
    assert report["kinds"]["attachment"] == {"selected": 1, "migrated": 1, "skipped": 0, "failed": 0}
    assert report["kinds"]["page"]["selected"] == report["kinds"]["comment"]["selected"] == 0
    whole = await world.plan(source)
    await ran(world, whole)
    assert await world.canonical(again) == await world.canonical(whole)


EDITS: tuple[dict[str, Any], ...] = (
    {"do": "write", "space": "ISLE", "title": "Landing", "body": "<p>Rebuilt in oak.</p>"},
    {"do": "write", "space": "QUAY", "title": "Ropes", "new_title": "Ropes and knots"},
    {"do": "add", "space": "ISLE", "title": "Buoy", "parent": "North Shore", "body": "<p>Red.</p>"},
    {"do": "add", "space": "ISLE", "title": "Hushmere Nook", "parent": "Hushmere Vault", "body": "<p>hushmere</p>"},
    {"do": "move", "space": "ISLE", "title": "Lamp", "parent": "South Shore", "position": 0},
    {"do": "comment", "space": "ISLE", "title": "Lamp", "body": "<p>Moved.</p>"},
    {"do": "resolve", "space": "ISLE", "title": "North Shore"},
    {"do": "attach", "space": "ISLE", "title": "Lamp", "file": "oil.csv", "size": 640},
    {"do": "attach", "space": "ISLE", "title": "South Shore", "file": "new.txt", "size": 50},
    {"do": "label", "space": "ISLE", "title": "Landing", "labels": ["north", "oak"]},
    {"do": "label", "space": "ISLE", "title": "Lamp", "file": "lamp.png", "labels": ["picture", "north"]},
    {"do": "restrict", "space": "QUAY", "title": "Ledger", "groups": ["keepers"]},
    {"do": "restrict", "space": "QUAY", "title": "Hushmere Till"},
)


@long
async def test_changes_at_the_source_arrive_as_if_all_had_moved_at_once(world: World) -> None:
    name, source = await pocket(world)
    first = await world.plan(source)
    await ran(world, first)
    await work_at_the_source(world, name, *EDITS)
    delta = await follow(world, first, "delta")
    report = await ran(world, delta)
    assert report["kinds"]["page"]["selected"] == 5, report["kinds"]
    assert report["kinds"]["attachment"]["selected"] == 2
    assert report["kinds"]["comment"]["selected"] == 2
    assert report["kinds"]["label"]["selected"] == 2
    whole = await world.plan(source)
    await ran(world, whole)
    wanted, found = by_title(await world.canonical(whole)), by_title(await world.canonical(delta))
    assert found.keys() == wanted.keys()
    for title, content in wanted.items():
        assert _plain(found[title]) == _plain(content), title
    files = {file["name"]: file["labels"] for file in found["Lamp"]["attachments"]}
    assert [comment["resolution"] for comment in found["North Shore"]["comments"]] == ["resolved"]
    assert files == {"lamp.png": ["global:north", "global:picture"], "oil.csv": []}
    nothing = await ran(world, await follow(world, delta, "delta"))
    assert nothing["kinds"]["page"]["selected"] == nothing["kinds"]["attachment"]["selected"] == 0


def _plain(content: dict[str, Any]) -> dict[str, Any]:
    """Without the versions of files, of which the one plan brought both, and with its children by title only."""
    files = [{key: value for key, value in file.items() if key != "versions"} for file in content["attachments"]]
    return {**content, "attachments": files, "children": [child["title"] for child in content["children"]]}


@long
async def test_a_stopped_delta_that_is_continued_brings_the_changes_it_had_not_come_to(world: World) -> None:
    name, source = await pocket(world)
    first = await world.plan(source)
    await ran(world, first)
    changed = {("ISLE", "Slipway"): "<p>New slip.</p>", ("MOLE", "Stones"): "<p>New stones.</p>"}
    edits = [{"do": "write", "space": key, "title": title, "body": body} for (key, title), body in changed.items()]
    await work_at_the_source(world, name, *edits)
    delta = await follow(world, first, "delta")
    await stopped(world, delta, 1)
    await ran(world, await follow(world, delta, "continue"))
    found = by_title(await world.canonical(first))
    assert [found[title]["body"] for _, title in changed] == list(changed.values())


@pytest.mark.statement(7)
async def test_newer_work_on_the_site_is_never_overwritten_and_what_was_deleted_is_told(world: World) -> None:
    name, source = await pocket(world)
    first = await world.plan(source, tokens=dict([LOCAL]), users=[{"email": LOCAL[0], "name": "Local"}])
    await ran(world, first)
    await _let_in(first)
    await written_on_site(first, "Slipway", "<p>Ours, since yesterday.</p>")
    await written_on_site(first, "Lamp", "<p>Ours as well.</p>")
    edits = (
        {"do": "write", "space": "ISLE", "title": "Slipway", "body": "<p>Theirs, of today.</p>"},
        {"do": "write", "space": "ISLE", "title": "Landing", "body": "<p>Nobody else's.</p>"},
        {"do": "delete", "space": "MOLE", "title": "Stones"},
    )
    await work_at_the_source(world, name, *edits)
    delta = await follow(world, first, "delta")
    report = await ran(world, delta, "FAILED")  # a conflict is for a person to look at
    found = by_title(await world.canonical(delta))
    assert "Ours, since yesterday." in found["Slipway"]["body"]
    assert "Ours as well." in found["Lamp"]["body"]
    assert "Nobody else's." in found["Landing"]["body"]
    assert "Stones" in found
    told = {(r["kind"], r["outcome"], r["reason"]) for r in report["reasons"]}
    assert ("page", "skipped", Reason.CHANGED_ON_SITE) in told
    assert ("page", "skipped", Reason.GONE_AT_SOURCE) in told
    assert report["kinds"]["page"] == {"selected": 3, "migrated": 1, "skipped": 2, "failed": 0}


@long
async def test_what_was_written_on_the_site_stays_theirs_for_every_delta_that_comes(world: World) -> None:
    """Also where the first of them had nothing to write there, and only moved the page."""
    name, source = await pocket(world)
    first = await world.plan(source, tokens=dict([LOCAL]), users=[{"email": LOCAL[0], "name": "Local"}])
    await ran(world, first)
    await _let_in(first)
    await written_on_site(first, "Slipway", "<p>Ours, for good.</p>")
    await work_at_the_source(
        world, name, {"do": "move", "space": "ISLE", "title": "Slipway", "parent": "North Shore", "position": 0}
    )
    moved = await follow(world, first, "delta")
    await ran(world, moved)
    await work_at_the_source(
        world, name, {"do": "write", "space": "ISLE", "title": "Slipway", "body": "<p>Theirs, later.</p>"}
    )
    later = await follow(world, moved, "delta")
    report = await ran(world, later, "FAILED")
    assert "Ours, for good." in by_title(await world.canonical(later))["Slipway"]["body"]
    assert ("page", Reason.CHANGED_ON_SITE) in {(r["kind"], r["reason"]) for r in report["reasons"]}


@long
async def test_a_page_that_became_the_homepage_does_not_take_the_place_of_the_old_one(world: World) -> None:
    name, source = await pocket(world)
    first = await world.plan(source)
    await ran(world, first)
    edits = (
        {"do": "add", "space": "MOLE", "title": "New front", "parent": "Old Mole", "body": "<p>Come in.</p>"},
        {"do": "move", "space": "MOLE", "title": "New front"},
        {"do": "homepage", "space": "MOLE", "title": "New front"},
    )
    before = by_title(await world.canonical(first))["Old Mole"]["body"]
    await work_at_the_source(world, name, *edits)
    delta = await follow(world, first, "delta")
    await ran(world, delta)
    found = by_title(await world.canonical(delta))
    assert found["Old Mole"]["body"] == before
    assert "Come in." in found["New front"]["body"]


@long
async def test_a_space_in_which_somebody_archived_a_page_or_wrote_on_its_first_page_is_not_undone(world: World) -> None:
    name, source = await pocket(world)
    for key, title in (("QUAY", "Ropes"), ("MOLE", "Stones")):
        move = await part(
            world, source, await world.site(), f"{key} of {name}", key, await id_of(world, name, key, title)
        )
        await ran(world, move)
        (space,) = (await on_site(move, MIGRATOR, "GET", "/wiki/api/v2/spaces", params={"keys": key}))["results"]
        text = {"representation": "storage", "value": "<p>Keep this.</p>"}
        if key == "QUAY":
            page = {"spaceId": space["id"], "status": "current", "title": "Kept", "body": text}
            kept = await on_site(move, MIGRATOR, "POST", "/wiki/api/v2/pages", json=page)
            await on_site(
                move, MIGRATOR, "POST", "/wiki/rest/api/content/archive", json={"pages": [{"id": int(kept["id"])}]}
            )
        else:
            remark = {"pageId": space["homepageId"], "body": text}
            await on_site(move, MIGRATOR, "POST", "/wiki/api/v2/footer-comments", json=remark)
        undo = await follow(world, move, "undo")
        report = await ran(world, undo)
        assert ("space", Reason.IN_USE) in {(r["kind"], r["reason"]) for r in report["reasons"]}, key
        found = await on_site(move, MIGRATOR, "GET", "/wiki/api/v2/spaces", params={"keys": key})
        assert [each["id"] for each in found["results"]] == [space["id"]]


async def id_of(world: World, name: str, key: str, title: str) -> str:
    """Of a page at the source."""
    headers = {"Authorization": f"Bearer {SERVER_TOKEN}"}
    async with httpx.AsyncClient(base_url=world.servers[name], headers=headers, trust_env=False) as client:
        answer = await client.get("/rest/api/content", params={"spaceKey": key, "title": title})
        return str(answer.json()["results"][0]["id"])


async def part(
    world: World, source: str, site: tuple[str, str, str], name: str, key: str, *roots: str, what: str = "all"
) -> Move:
    """A plan for one space, or for a part of it, with everybody."""
    (analysis, *_) = await world.call("get", f"/sources/{source}/analyses")
    listed = (await world.call("get", f"/analyses/{analysis['id']}/spaces"))["spaces"]
    space = next(each["id"] for each in listed if each["key"] == key)
    scope = {"space": space, "what": what, "roots": list(roots)}
    return await saved(world, source, site, name, users="all", groups=True, spaces=[space], scopes=[scope])


async def _let_in(move: Move) -> None:
    """Lets the other account edit a space."""
    account = (await on_site(move, LOCAL, "GET", "/wiki/rest/api/user/current"))["accountId"]
    for key, target in (("read", "space"), ("create", "page"), ("create", "comment")):
        body = {"subject": {"type": "user", "identifier": account}, "operation": {"key": key, "target": target}}
        await on_site(move, MIGRATOR, "POST", "/wiki/rest/api/space/ISLE/permission", json=body)


async def test_an_undo_leaves_the_site_as_it_was(world: World) -> None:
    name, source = await pocket(world)
    first = await world.plan(source, **SETTLED)
    before = (await world._sandbox.get(f"/sites/{first.site_name}/canonical")).json()
    await world.run(first)
    report = await world.ended(first)
    assert report["status"] == "FAILED"  # a space's key is taken there
    told = await world.call("get", f"/plans/{first.plan}/undo")
    assert told["made"]["page"] == report["kinds"]["page"]["migrated"]
    assert told["made"]["space"] == 2
    undo = await follow(world, first, "undo")
    report = await ran(world, undo)
    assert report["kinds"]["page"]["skipped"] == 0, report
    after = (await world._sandbox.get(f"/sites/{first.site_name}/canonical")).json()
    assert after["spaces"] == before["spaces"]
    assert after["groups"] == before["groups"]
    assert meddled(before, after, await world.journal(first.site_name)) == []
    writes = [entry for entry in await world.journal(name) if any(e["verb"] == "write" for e in entry["effects"])]
    assert writes == []
    assert (await world.call("get", f"/plans/{first.plan}/undo"))["made"] == {}
    with pytest.raises(Exception, match="undone"):
        await follow(world, first, "retry-failed")


@long
async def test_what_somebody_has_touched_stays_with_all_that_it_lies_in(world: World) -> None:
    _, source = await pocket(world)
    first = await world.plan(source, tokens=dict([LOCAL]), users=[{"email": LOCAL[0], "name": "Local"}])
    await ran(world, first)
    await _let_in(first)
    await written_on_site(first, "Slipway", "<p>Ours.</p>")
    landing = await page_on_site(first, "Landing")
    remark = {"pageId": landing["id"], "body": {"representation": "storage", "value": "<p>Keep this.</p>"}}
    await on_site(first, LOCAL, "POST", "/wiki/api/v2/footer-comments", json=remark)
    undo = await follow(world, first, "undo")
    report = await ran(world, undo)
    left = by_title(await world.canonical(undo))
    assert set(left) == {"Pocket Isle", "North Shore", "Landing", "South Shore", "Slipway"}
    assert "Keep this." in str(left["Landing"]["comments"])
    assert left["Landing"]["attachments"], "what hangs on a page that stays, stays"
    reasons = {(r["kind"], r["reason"]) for r in report["reasons"] if r["outcome"] == "skipped"}
    assert ("page", Reason.CHANGED_ON_SITE) in reasons
    assert ("page", Reason.IN_USE) in reasons
    assert ("space", Reason.IN_USE) in reasons
