"""Every real export moves whole, in one call of ``cloudward try --json``, judged by what is on the sites at the end."""

import json
import os
import re
import subprocess
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from cli.embedded.postgres import EmbeddedPostgres
from shared.confluence.spacekey import site_key
from tests.exports.independent import KINDS, LiveSpace, dead_links, exports, live, live_spaces, reference
from tests.watched import CLOUDWARD

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(400),
    pytest.mark.skipif(reference() is None, reason="no reference material beside the checkout"),
]

MIGRATOR = "user migrator@example.com"
EXPORTS = [export for export in exports() if live(export)["page"]]
NOT_MOVED: dict[tuple[str, str], dict[str, str]] = {}
for entry in tomllib.loads((Path(__file__).parent / "not_moved.toml").read_text())["not_moved"]:
    NOT_MOVED.setdefault((entry["export"], entry["kind"]), {})[entry["id"]] = entry["reason"]

by_name = pytest.mark.parametrize("export", EXPORTS, ids=lambda path: path.name)


@dataclass(frozen=True)
class Tried:
    """The one call of all exports, and what it left behind. ``ended``: (plan, kind) → id → outcome and reason."""

    code: int
    stdout: str
    stderr: str
    data: Path
    ended: Mapping[tuple[str, str], Mapping[str, tuple[str, str | None]]]

    @property
    def document(self) -> dict[str, Any]:
        return dict(json.loads(self.stdout))

    def report(self, export: Path) -> dict[str, Any]:
        return dict(self.document["sources"][EXPORTS.index(export)])

    def site(self, export: Path) -> dict[str, Any]:
        """The site the export moved to, as the sandbox holds it."""
        return dict(json.loads((self.data / "sites" / f"site-{EXPORTS.index(export) + 1}.json").read_bytes()))

    def space(self, export: Path, key: str) -> dict[str, Any]:
        (found,) = [space for space in self.site(export)["spaces"] if space["key"] == site_key(key)]
        return dict(found)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def tried(scratch: Path) -> Tried:
    data = scratch / "tried"
    words = [*CLOUDWARD, "try", "--json", "--keep", str(data), *map(str, EXPORTS)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False, env=os.environ)  # noqa: ASYNC221
    return Tried(done.returncode, done.stdout, done.stderr, data, await outcomes(data))


async def outcomes(data: Path) -> dict[tuple[str, str], dict[str, tuple[str, str | None]]]:
    """What became of every entity, from the events alone, without the product's own tables."""
    postgres = EmbeddedPostgres(data, fast=True)
    await postgres.start()
    try:
        connection = await asyncpg.connect(postgres.admin_dsn)
        rows = await connection.fetch("SELECT type, body FROM log.events WHERE stream LIKE 'chunk-%' ORDER BY position")
        await connection.close()
    finally:
        await postgres.stop()
    plans: dict[str, str] = {}
    found: dict[tuple[str, str], dict[str, tuple[str, str | None]]] = {}
    for row in rows:
        event = json.loads(row["body"])["data"]
        if row["type"] == "ChunkClaimed":
            plans[event["chunk"]] = event.get("plan") or ""
        one = [event["entity"]] if "entity" in event else []
        for entity in [*event.get("entities", ()), *one]:
            ended = found.setdefault((plans[event["chunk"]], entity["kind"]), {})
            assert entity["id"] not in ended, "an entity has one outcome"
            ended[entity["id"]] = (entity["outcome"], entity.get("reason"))
    return found


def every(pages: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Pages of the site, with all below them."""
    waiting = list(pages)
    while waiting:
        page = waiting.pop()
        yield page
        waiting += page["children"]


def contents(on_site: dict[str, Any], source: LiveSpace) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The pages and the blog posts of a space, without the homepage that the site itself makes with every space and that
    stays as it was, empty, where the source has none to fill it."""
    pages = list(every(on_site["pages"]))
    if not source.homepage and not source.titles["page"]:
        own = next(page for page in pages if on_site["homepage"] == f"page {on_site['key']}/{page['title']}")
        assert not any(own[part] for part in ("body", "labels", "restrictions", "attachments", "comments", "children"))
        pages.remove(own)
    return pages, on_site["blogposts"]


def count_comments(comments: list[dict[str, Any]]) -> int:
    return sum(1 + count_comments(comment["replies"]) for comment in comments)


@pytest.mark.statement(6, 42)
@by_name
def test_all_that_an_independent_count_calls_live_is_migrated(tried: Tried, export: Path) -> None:
    report = tried.report(export)
    assert (report["status"], report["conserved"]) == ("FINISHED", True)
    for kind, ids in live(export).items():
        ended = tried.ended.get((report["plan"], kind), {})
        missing = NOT_MOVED.get((export.name, kind), {})
        assert {id for id, (outcome, _) in ended.items() if outcome == "migrated"} == ids - missing.keys()
        assert {id: ended[id][1] for id in missing} == missing
        assert not any(outcome == "failed" for outcome, _ in ended.values())


@by_name
def test_what_the_report_calls_migrated_is_on_the_site(tried: Tried, export: Path) -> None:
    on_site = Counter[str]()
    sources = {site_key(key): space for key, space in live_spaces(export).items() if key}
    for space in tried.site(export)["spaces"]:
        pages, posts = contents(space, sources[space["key"]])
        files = [file for content in [*pages, *posts] for file in content["attachments"]]
        on_site.update(page=len(pages), blogpost=len(posts), attachment=len(files), space=1)
        on_site["comment"] += sum(count_comments(thing["comments"]) for thing in [*pages, *posts, *files])
    kinds = tried.report(export)["kinds"]
    assert {kind: kinds[kind]["migrated"] for kind in (*KINDS, "space")} == {
        kind: on_site[kind] for kind in (*KINDS, "space")
    }


@by_name
def test_every_space_holds_the_titles_and_files_of_the_export(tried: Tried, export: Path) -> None:
    expected = {key: space for key, space in live_spaces(export).items() if key}
    assert {space["key"] for space in tried.site(export)["spaces"]} == {site_key(key) for key in expected}
    for key, space in expected.items():
        on_site = tried.space(export, key)
        pages, posts = contents(on_site, space)
        assert Counter(page["title"] for page in pages) == named(space.titles["page"])
        assert Counter(post["title"] for post in posts) == named(space.titles["blogpost"])
        files = [file for content in [*pages, *posts] for file in content["attachments"]]
        assert Counter((file["name"], file["sha256"]) for file in files) == space.files
        assert on_site["name"] == (space.name or on_site["key"])


def named(titles: Counter[str]) -> Counter[str]:
    """A page needs a title on the site."""
    return Counter({title or "Untitled": count for title, count in titles.items()})


@by_name
def test_nobody_sees_on_the_site_what_they_could_not_see_at_the_source(tried: Tried, export: Path) -> None:
    site = tried.site(export)
    everybody = {f"group {group['name']}" for group in site["groups"] if "confluence" in group["access"]}
    for key, space in live_spaces(export).items():
        if not key:
            continue
        on_site = tried.space(export, key)
        viewers = {subject for subject, rights in on_site["permissions"].items() if "read space" in rights} - {MIGRATOR}
        assert may_view(viewers, space, everybody)
        for content in [*every(on_site["pages"]), *on_site["blogposts"]]:
            if content["title"] in space.restricted:
                assert "read" in content["restrictions"], content["title"]
                assert not {"anonymous", *everybody} & set(content["restrictions"]["read"])


def may_view(viewers: set[str], space: LiveSpace, everybody: set[str]) -> bool:
    """Whether these are no more than the source let in."""
    people = {viewer for viewer in viewers if viewer.startswith("user ")}
    others = viewers - people - (everybody if "logged in" in space.viewers else set())
    return others <= space.viewers and len(people) <= sum(viewer.startswith("user ") for viewer in space.viewers)


@by_name
def test_the_links_told_as_broken_are_those_that_were_broken_before(tried: Tried, export: Path) -> None:
    told = Counter[tuple[str, str]]()
    for each in tried.report(export)["references"]:
        if each["why"] == "not_in_source":
            told[each["id"], each["names"]] += each["count"]
        # Everything that is live moves: nothing that was told waits for another plan.
        assert each["why"] != "not_moved"
    assert told == dead_links(export)


def test_the_document_has_the_promised_shape_and_the_exit_code_tells_success(tried: Tried) -> None:
    assert tried.code == 0, tried.stderr[-2000:]
    document = tried.document
    assert set(document) == {"sources", "events", "seconds"}
    assert document["events"] > 0 and document["seconds"] > 0
    assert [source["source"] for source in document["sources"]] == [str(export) for export in EXPORTS]
    for source in document["sources"]:
        told = {"references", "verification", "left_behind"}
        assert set(source) == {"source", "plan", "status", "kinds", "conserved", "reasons"} | told
        assert re.fullmatch("[0-9a-f]{32}", source["plan"])
        assert {*KINDS, "user", "group", "space"} <= source["kinds"].keys()
        for counts in source["kinds"].values():
            assert set(counts) == {"selected", "migrated", "skipped", "failed"}
            assert counts["selected"] == counts["migrated"] + counts["skipped"] + counts["failed"]
        for reason in source["reasons"]:
            assert set(reason) == {"kind", "id", "outcome", "reason"}


def test_no_service_met_an_error_of_its_own(tried: Tried) -> None:
    assert "Traceback" not in tried.stdout + tried.stderr
    logs = sorted((tried.data / "logs").glob("*.log"))
    assert {"analyzer", "planner", "executor-1", "executor-2", "dashboard"} <= {log.stem for log in logs}
    for log in logs:
        found = [
            line
            for line in log.read_text(errors="replace").splitlines()
            if re.search(r'Traceback|"exception"|"level": "(error|critical)"|PANIC', line)
        ]
        assert found == [], log.name


def test_everything_listed_as_not_moved_is_live_in_its_export() -> None:
    """The list holds nothing that would have been left out anyway."""
    for (name, kind), ids in NOT_MOVED.items():
        (export,) = [export for export in EXPORTS if export.name == name]
        assert ids.keys() <= live(export)[kind]
