"""An analysis counts what is there, in chunks, and goes on by itself whoever dies where."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from shared.events.catalog.analysis import AnalysisCompleted, AnalysisPlanned, SpacesAnalyzed
from shared.events.catalog.source import BaseUrlsSet
from shared.events.commands import SetBaseUrls
from tests.unit.analyzer.conftest import GENERATED, Bureau
from tests.unit.export.tables import sample


async def told(bureau: Bureau, analysis: str) -> tuple[dict[str, Any], Any, Any]:
    """The sums, the numbers of every space, and every finding."""
    events = await bureau.events(analysis)
    completed = events[-1]
    assert isinstance(completed, AnalysisCompleted), completed
    spaces = {space.space: space for e in events if isinstance(e, SpacesAnalyzed) for space in e.spaces}
    rows = {}
    for table in ("finding", "macro_use", "restriction_holder"):
        found = await bureau.admin.fetch(f"SELECT * FROM people.{table} WHERE analysis = $1", analysis)
        rows[table] = {tuple(v for k, v in row.items() if k != "analysis") for row in found}
    sums = completed.model_dump(exclude={"analysis", "source"})
    return sums, spaces, rows


@pytest.mark.statement(28, 29, 30, 31, 32, 33, 34)
@pytest.mark.parametrize("version", ["7.13.0", "7.19.0", "8.5.6", "9.2.1"])
async def test_the_sums_are_those_of_the_source_and_of_its_spaces(bureau: Bureau, version: str) -> None:
    analysis = await bureau.analyze(await bureau.wiki(version))
    sums, spaces, rows = await told(bureau, analysis)
    assert sums["users"] >= GENERATED["users"]
    assert sums["groups"] > 0 and sums["memberships"] > 0
    assert sums["spaces"] == len(spaces) == sums["slices"] * 2 - len(spaces) % 2
    assert {name: sums[name] for name in ("pages", "comments", "attachments")} == {
        name: sum(getattr(space, name) for space in spaces.values()) for name in ("pages", "comments", "attachments")
    }
    assert sum(space.pages + space.blogposts for space in spaces.values()) >= GENERATED["pages"]
    assert any(space.last_edit for space in spaces.values()) and any(space.body_bytes for space in spaces.values())
    uses = sum(row[-1] for row in rows["macro_use"])
    assert uses == sums["macros"] == sum(space.macros or 0 for space in spaces.values()) > 0


async def test_an_analyzer_killed_anywhere_is_replaced_and_the_numbers_are_the_same(bureau: Bureau) -> None:
    source = await bureau.wiki()
    whole = await told(bureau, await bureau.analyze(source))
    places = 0
    while True:
        analysis = await bureau.begin(source)
        deaths = await bureau.work(analysis, places)
        assert await told(bureau, analysis) == whole, f"killed at call {places}"
        if not deaths:
            break
        places += 7
    assert places > 14, "nobody was killed"


async def test_chunks_are_shared_by_analyzers_and_two_at_once_count_once(bureau: Bureau) -> None:
    source = await bureau.wiki()
    analysis = await bureau.begin(source)
    head = await bureau.admin.fetchval("SELECT chunk FROM work.chunk WHERE task = $1", analysis)
    claim = await bureau.claims.take(head)
    from services.analyzer.analysis import Analysis
    from tests.unit.analyzer.conftest import ACTOR

    assert claim is not None
    async with claim:
        await Analysis(bureau.store, bureau.pool, bureau.settings, ACTOR, claim, bureau.sources).run()
    await bureau.catch_up()
    planned = [e for e in await bureau.events(analysis) if isinstance(e, AnalysisPlanned)]
    first, second = planned[0].chunks[:2]
    # The second chunk is done before the first, and the first twice, by a superseded worker as well.
    for chunk in (second.chunk, first.chunk):
        taken = await bureau.claims.take(chunk)
        assert taken is not None
        async with taken:
            await Analysis(bureau.store, bureau.pool, bureau.settings, ACTOR, taken, bureau.sources).run()
            await Analysis(bureau.store, bureau.pool, bureau.settings, ACTOR, taken, bureau.sources)._count()
    await bureau.work(analysis)
    assert await told(bureau, analysis) == await told(bureau, await bureau.analyze(source))


async def test_a_source_that_fails_ends_the_analysis_once_with_its_reason(bureau: Bureau) -> None:
    source = await bureau.register("rest", "http://127.0.0.1:9")
    analysis = await bureau.analyze(source)
    assert [type(e).__name__ for e in await bureau.events(analysis)] == ["AnalysisStarted", "AnalysisFailed"]


async def test_a_server_that_is_read_by_its_backup_holds_what_rest_tells_and_the_addresses_besides(
    bureau: Bureau,
) -> None:
    by_rest = await bureau.wiki("8.5.6")
    row = await bureau.admin.fetchrow("SELECT location, secret FROM people.source WHERE id = $1", by_rest)
    by_backup = await bureau.register("backup", row["location"], row["secret"])
    sums, spaces, _ = await told(bureau, await bureau.analyze(by_rest))
    other, others, _ = await told(bureau, await bureau.analyze(by_backup))
    same = ("spaces", "pages", "blogposts", "comments", "attachments", "attachment_bytes")
    assert {name: other[name] for name in same} == {name: sums[name] for name in same}
    pages = [sorted(space.pages for space in found.values()) for found in (spaces, others)]
    assert pages[0] == pages[1]
    known = "SELECT count(*) FROM people.person WHERE source = $1 AND email IS NOT NULL"
    assert await bureau.admin.fetchval(known, by_backup) > 0
    assert list((bureau.settings.data / "backups").iterdir()) == []  # what was fetched is in the store of exports


async def test_other_addresses_of_a_source_are_kept_and_the_log_tells_only_how_many(bureau: Bureau) -> None:
    source = await bureau.register("rest", "http://127.0.0.1:9")
    urls = ("https://old.example.com", "http://older.example.com/wiki")
    command = bureau.command(SetBaseUrls, source=source, base_urls=urls)
    first, again = await bureau.send(command), await bureau.send(command)
    assert first == again and first.problem is None
    kept = "SELECT base_urls FROM people.source WHERE id = $1"
    assert tuple(await bureau.admin.fetchval(kept, source)) == urls
    events = [row.event for row in await bureau.store.read_stream(f"source-{source}")]
    assert events[1:] == [BaseUrlsSet(source=source, urls=2)]
    reply = await bureau.send(bureau.command(SetBaseUrls, source="0" * 32, base_urls=()))
    assert reply.problem is not None and reply.problem.code == "source_unknown"


async def test_a_csv_export_is_known_as_one_and_what_was_odd_about_it_stands_with_the_source(
    bureau: Bureau, tmp_path: Path
) -> None:
    export = sample()
    export.tables["likes"] = [["id"], ["1"], ["2"]]
    source = await bureau.register("xml", str(export.zip(tmp_path / "space.zip")))
    sums, spaces, _ = await told(bureau, await bureau.analyze(source))
    assert (sums["pages"], sums["comments"], sums["attachments"], len(spaces)) == (2, 2, 1, 1)
    row = await bureau.admin.fetchrow("SELECT kind, info FROM people.source WHERE id = $1", source)
    assert row["kind"] == "csv"
    notes = {note["code"]: note for note in json.loads(row["info"])["notes"]}
    assert (notes["table_unread"]["count"], notes["table_unread"]["examples"]) == (2, ["likes"])
    assert "none of it is migrated" in notes["table_unread"]["meaning"]
