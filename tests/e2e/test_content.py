"""What hangs on content and how it may move: plans with every choice, sites with roles, links that a later plan mends."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.client import ClientError
from shared.events.reasons import Reason
from tests.chaos.scene import MIGRATOR
from tests.e2e.world import ACCEPTED, Move, World, on_site
from tests.unit.export.build import Ref, body, page, simple, thing

pytestmark = pytest.mark.slow

EVERYTHING = {"versions": 2, "attachment_versions": True, "provenance": "line", "former_names": True}


async def saved(world: World, source: str, site: tuple[str, str, str], name: str, **more: Any) -> Move:
    """A plan to a site that is there already."""
    body = {
        "name": name,
        "source": source,
        "site": site[0],
        "accepted": [reason.value for reason in (*ACCEPTED, Reason.NOT_IN_A_ROLE)],
        **more,
    }
    return Move(name, (await world.call("post", "/plans", body))["id"], source, *site)


async def moved(world: World, move: Move) -> dict[str, Any]:
    await world.run(move)
    report = await world.ended(move)
    told = [each for each in report["reasons"] if each["outcome"] != "migrated"]
    assert (report["status"], report["conserved"], report["verification"]) == ("FINISHED", True, []), told
    return report


def contents(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every page and blog post of a site."""
    waiting = [content for space in document["spaces"] for content in (*space["pages"], *space["blogposts"])]
    while waiting:
        content = waiting.pop()
        yield content
        waiting += content["children"]


async def replayed_on_site(move: Move) -> list[dict[str, Any]]:
    """The versions of the site's pages, but for the first of each."""
    found = []
    for each in (await on_site(move, MIGRATOR, "GET", "/wiki/api/v2/pages", params={"limit": "250"}))["results"]:
        versions = await on_site(move, MIGRATOR, "GET", f"/wiki/api/v2/pages/{each['id']}/versions")
        found += [version for version in versions["results"] if version["number"] > 1 and version["message"]]
    return found


async def test_a_plan_with_every_choice_moves_versions_and_says_where_all_comes_from(world: World, south: str) -> None:
    move = await saved(world, south, await world.site(), "every choice", options=EVERYTHING)
    report = await moved(world, move)
    found = list(contents(json.loads(await world.canonical(move))))
    files = [file for content in found for file in content["attachments"]]
    assert all("cloudward-origin" in each["properties"] for each in (*found, *files))
    assert all("Made by" in content["body"] for content in found if content["body"])
    assert max(len(file["versions"]) for file in files) > 1
    replayed = report["kinds"]["version"]
    assert replayed["migrated"] == replayed["selected"] > 0
    told = [version["message"] for version in await replayed_on_site(move)]
    assert all(re.match(r"v\d+ by .+ at \d{4}-\d\d-\d\d \d\d:\d\d(: .+)?$", each) for each in told), told
    assert {each.rpartition(": ")[2] for each in told} >= {"Wording", "After the inspection", "Fixed the table"}
    assert any(content["owner"] != "migrator@example.com" for content in found)
    comments = [comment for content in found for comment in content["comments"]]
    assert {"inline", "footer"} <= {comment["kind"] for comment in comments}


async def test_on_a_site_with_roles_spaces_are_opened_by_roles(world: World, south: str) -> None:
    move = await saved(world, south, await world.site(mode="roles"), "roles")
    report = await moved(world, move)
    assert report["kinds"]["permission"]["migrated"] > 0
    assert not any(reason["reason"] == Reason.ROLES_SITE for reason in report["reasons"])
    viewers = await world.look(
        "SELECT count(*) FROM work.outcome o JOIN work.task t USING (task) WHERE t.plan = $1 AND o.kind = 'permission'"
        " AND o.outcome = 'migrated'",
        move.plan,
    )
    document = json.loads(await world.canonical(move))
    assert viewers and all(space["permissions"] for space in document["spaces"])


async def test_links_to_what_came_later_are_as_if_all_had_come_at_once(
    world: World, south: str, undisturbed: str
) -> None:
    site = await world.site()
    rows = await world.rows("SELECT key, space FROM people.space WHERE source = $1 ORDER BY key", south)
    spaces = {row["key"]: row["space"] for row in rows}
    last = spaces.pop("POT")
    first = await moved(world, await saved(world, south, site, "without the shed", spaces=list(spaces.values())))
    assert any(reference["why"] == "not_moved" for reference in first["references"])
    waits = "SELECT count(*) FROM work.open_link WHERE site = $1"
    assert await world.look(waits, site[0]) > 0
    move = await saved(world, south, site, "the shed", spaces=[last])
    second = await moved(world, move)
    assert second["kinds"]["link"]["migrated"] > 0
    assert await world.look(waits, site[0]) == 0
    bodies = {content["title"]: content["body"] for content in contents(json.loads(undisturbed))}
    assert {c["title"]: c["body"] for c in contents(json.loads(await world.canonical(move)))} == bodies


async def test_the_map_of_ids_names_everything_that_moved(world: World, south: str) -> None:
    move = await saved(world, south, await world.site(), "for the map", options={"provenance": "none"})
    report = await moved(world, move)
    pieces = b"".join(world.api.stream(f"/plans/{move.plan}/idmap", format="json"))
    entries = json.loads(pieces)["entries"]
    for kind in ("page", "blogpost", "attachment", "comment", "space"):
        assert sum(entry["kind"] == kind for entry in entries) == report["kinds"][kind]["migrated"]


async def test_a_label_that_the_site_refuses_is_left_out_and_the_others_of_the_page_move(
    world: World, tmp_path: Path
) -> None:
    labels = [
        thing("Label", str(50 + n), name=name, namespace="global") for n, name in enumerate(("oak", "not one", "elm"))
    ]
    on = [thing("Labelling", str(60 + n), label=Ref("Label", str(50 + n)), content=Ref("Page", "10")) for n in range(3)]
    export = simple(page("10", title="First"), body("100", "10", "<p>x</p>"), *labels, *on).zip(tmp_path / "space.zip")
    source = await world.source(export=export)
    await world.analyze(source)
    await world.repair(source)
    move = await world.plan(source)
    report = await moved(world, move)
    (first,) = [each for each in contents(json.loads(await world.canonical(move))) if each["title"] == "First"]
    assert first["labels"] == ["global:elm", "global:oak"]
    assert report["kinds"]["label"]["migrated"] == 1
    assert ("label", Reason.SITE_REFUSED) in {(each["kind"], each["reason"]) for each in report["reasons"]}


OLD = "https://wiki.example.com/confluence"


async def test_absolute_links_in_an_export_follow_once_its_address_is_named(world: World, tmp_path: Path) -> None:
    text = f'<p><a href="{OLD}/display/DOCS/Second">by title</a> <a href="{OLD}/pages/viewpage.action?pageId=11">by id</a></p>'
    export = simple(page("10", title="First"), body("100", "10", text), page("11", title="Second")).zip(
        tmp_path / "space.zip"
    )
    source = await world.source(export=export)
    await world.analyze(source)
    await world.repair(source)
    unnamed = await world.plan(source)
    report = await moved(world, unnamed)
    assert OLD in await world.canonical(unnamed) and not report["references"]
    assert (await world.call("get", f"/sources/{source}"))["base_urls"] == []

    # Executors that have opened the source know of it from the next chunk on.
    await world.call("post", f"/sources/{source}/base-urls", {"base_urls": ["http://older.example.com", f"{OLD}/"]})
    assert (await world.call("get", f"/sources/{source}"))["base_urls"] == ["http://older.example.com", OLD]
    named = await world.plan(source)
    report = await moved(world, named)
    (first,) = [each for each in contents(json.loads(await world.canonical(named))) if each["title"] == "First"]
    assert OLD not in first["body"] and first["body"].count("http://site/wiki/spaces/DOCS/") == 2
    assert sum(each["count"] for each in report["references"] if each["why"] == "rewritten") == 2

    # What an address is not is refused, and what was there stays.
    for wrong in (
        "wiki.example.com",
        "https://ann:secret@wiki.example.com",
        "https://wiki.example.com/?a=b",
        "https://[::1",
    ):
        with pytest.raises(ClientError) as refused:
            await world.call("post", f"/sources/{source}/base-urls", {"base_urls": [wrong]})
        assert refused.value.code == "invalid_request" and "secret" not in str(refused.value)
    assert (await world.call("get", f"/sources/{source}"))["base_urls"] == ["http://older.example.com", OLD]
