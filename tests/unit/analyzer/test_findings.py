"""What an analysis points out can be drilled down to rows, filtered by the server, and taken away as CSV."""

from __future__ import annotations

import csv
import io
from typing import Any

import httpx
from hypothesis import given
from hypothesis import strategies as st

from services.analyzer.domain.survey import LIMITS, SpaceSurvey, title_key
from shared.confluence.model import Content, Item, Named, Restriction, Space
from shared.events.catalog.analysis import Guardrail
from shared.ops.tables import BadTable, meant, read_table, row_text, safe
from tests.unit.analyzer.conftest import Bureau

SPACE = Space("1", "ENG", "Engineering", "global", "current", "10", "")


def content(id: str, title: str, body: str = "", holders: int = 0, **more: Any) -> Content:
    restrictions = tuple(Restriction("read", person=f"u{n}") for n in range(holders))
    kind = more.pop("kind", "page")
    return Content(id, kind, "1", title, body, "storage", 1, None, None, None, None, restrictions=restrictions, **more)


def test_every_guardrail_points_out_what_is_over_its_limit_and_nothing_else() -> None:
    survey = SpaceSurvey(SPACE)
    big, wide = LIMITS[Guardrail.BODY_NEAR_LIMIT], LIMITS[Guardrail.TREE_WIDE]
    for n in range(wide):
        survey.see(Item("page", f"9{n}", 1, parent="10", depth=1))
    survey.see(Item("page", "11", 1, parent="10", depth=LIMITS[Guardrail.TREE_DEEP], restrictions=1))
    survey.see(
        Item("attachment", "12", 1, container="10", size=LIMITS[Guardrail.ATTACHMENT_OVER_LIMIT], has_file=False)
    )
    survey.see(Item("attachment", "13", 1, container="10", size=5))
    survey.see(content("10", "Home", "x" * big, holders=LIMITS[Guardrail.RESTRICTIONS_MANY]))
    survey.see(content("11", "Other", "x" * (big - 1)))
    survey.see(content("14", " home "))
    survey.see(Named("u9"))
    numbers = survey.finish({"draft": 2})
    assert [(each.kind, each.count) for each in numbers.left or ()] == [("draft", 2)]
    assert {(f.guardrail, f.content) for f in survey.findings} == {
        (Guardrail.BODY_NEAR_LIMIT, "10"),
        (Guardrail.ATTACHMENT_OVER_LIMIT, "12"),
        (Guardrail.FILE_MISSING, "12"),
        (Guardrail.TITLE_CLASH, "14"),
        (Guardrail.TREE_DEEP, "11"),
        (Guardrail.TREE_WIDE, "10"),
        (Guardrail.RESTRICTIONS_MANY, "10"),
    }
    assert {g.guardrail for g in numbers.guardrails} == set(Guardrail)
    assert (numbers.pages, numbers.attachments, numbers.missing_files, numbers.restricted) == (wide + 1, 2, 1, 1)
    assert survey.named == {"u9"}


def test_blog_posts_of_the_same_title_clash_within_a_day_only() -> None:
    from datetime import date

    one, two = date(2024, 5, 1), date(2024, 5, 2)
    assert title_key(content("1", "A", kind="blogpost", posting_day=one)) != title_key(
        content("2", "A", kind="blogpost", posting_day=two)
    )
    assert title_key(content("1", "A b", kind="blogpost", posting_day=one)) == title_key(
        content("2", "a  B", kind="blogpost", posting_day=one)
    )


@given(st.lists(st.tuples(st.text(), st.text()), max_size=5))
def test_what_is_written_as_csv_is_read_back_and_no_cell_is_a_formula(rows: list[tuple[str, str]]) -> None:
    clean = [tuple(cell.replace("\0", "").strip() for cell in row) for row in rows]
    clean = [row for row in clean if any(row)]
    for row in clean:
        for cell in row:
            assert not safe(cell).startswith(("=", "+", "-", "@", "\t", "\r"))
            assert meant(safe(cell)) == cell
    text = row_text(("a", "b")) + "".join(row_text(row) for row in clean)
    plain = [tuple(cell.replace("\r\n", "\n").replace("\r", "\n") for cell in row) for row in clean]
    found = [(line.cells["a"], line.cells["b"]) for line in read_table(text, ("b", "a"))]
    assert [tuple(c.replace("\r\n", "\n").replace("\r", "\n") for c in row) for row in found] == plain


def test_a_table_that_cannot_be_read_names_line_and_reason() -> None:
    for text, line, words in (
        ("x,y\r\n", 1, "columns"),
        ("a,b\r\n1,2\r\n1,2,3\r\n", 3, "cells"),
        ('a,b\r\n1,"2\r\n', 2, "CSV"),
    ):
        try:
            read_table(text, ("a", "b"))
        except BadTable as error:
            assert error.line >= line and words in error.reason
        else:
            raise AssertionError(text)


async def test_spaces_are_filtered_searched_sorted_and_paged_by_the_server(
    bureau: Bureau, api: httpx.AsyncClient
) -> None:
    analysis = await bureau.analyze(await bureau.wiki(sample="north"))

    async def listed(**query: Any) -> dict[str, Any]:
        answer = await api.get(f"/analyses/{analysis}/spaces", params=query)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    whole = await listed()
    keys = [space["key"] for space in whole["spaces"]]
    assert whole["total"] == len(keys) > 2 and keys == sorted(keys, key=str.lower)
    first = await listed(limit=1)
    second = await listed(limit=1, offset=first["next"])
    assert [page["spaces"][0]["key"] for page in (first, second)] == keys[:2]
    assert (await listed(search=keys[0].lower()))["spaces"][0]["key"] == keys[0]
    assert (await listed(search="no such space anywhere"))["total"] == 0
    for name in ("type", "status"):
        for value in {space[name] for space in whole["spaces"]}:
            found = (await listed(**{name: value}))["spaces"]
            assert [s["key"] for s in found] == [s["key"] for s in whole["spaces"] if s[name] == value]
    pages = [space["pages"] for space in (await listed(sort="pages"))["spaces"]]
    assert pages == sorted(pages, reverse=True)
    assert (await api.get(f"/analyses/{analysis}", params={"spaces": False})).json()["spaces"] is None
    text = (await api.get(f"/analyses/{analysis}/spaces.csv")).text
    assert {row["key"] for row in csv.DictReader(io.StringIO(text))} == set(keys)


async def test_macros_and_findings_lead_to_their_pages(bureau: Bureau, api: httpx.AsyncClient) -> None:
    analysis = await bureau.analyze(await bureau.wiki("8.5.6", sample="north"))
    macros = (await api.get(f"/analyses/{analysis}/macros")).json()
    assert macros and macros == sorted(macros, key=lambda m: (-m["uses"], m["macro"]))
    assert {m["availability"] for m in macros} >= {"available"}
    rows = list(csv.DictReader(io.StringIO((await api.get(f"/analyses/{analysis}/macros.csv")).text)))
    for found in macros:
        own = [row for row in rows if row["macro"] == found["macro"]]
        assert (len(own), sum(int(row["uses"]) for row in own)) == (found["pages"], found["uses"])
    findings = (await api.get(f"/analyses/{analysis}/findings")).json()
    summary = (await api.get(f"/analyses/{analysis}", params={"spaces": False})).json()
    counted: dict[str, int] = {}
    for each in findings:
        counted[each["guardrail"]] = counted.get(each["guardrail"], 0) + 1
    counted.pop("restriction_departed", None)
    assert counted == summary["guardrails"]


async def test_a_restriction_held_by_someone_who_left_is_found(bureau: Bureau, api: httpx.AsyncClient) -> None:
    analysis = await bureau.analyze(await bureau.wiki(sample="north"))
    query = {"guardrail": "restriction_departed"}
    before = (await api.get(f"/analyses/{analysis}/findings", params=query)).json()
    holder = await bureau.admin.fetchrow(
        "SELECT h.person, h.content FROM people.restriction_holder h JOIN people.person p ON p.id = h.person"
        " WHERE h.analysis = $1 AND p.active LIMIT 1",
        analysis,
    )
    assert holder is not None
    await bureau.admin.execute("UPDATE people.person SET active = false WHERE id = $1", holder["person"])
    after = (await api.get(f"/analyses/{analysis}/findings", params=query)).json()
    assert len(after) > len(before) and holder["content"] in {row["content"] for row in after}


async def test_two_snapshots_tell_what_changed_between_them(bureau: Bureau, api: httpx.AsyncClient) -> None:
    source = await bureau.wiki()
    first = await bureau.analyze(source)
    assert (await api.get(f"/analyses/{first}/changes")).status_code == 404
    second = await bureau.analyze(source)
    assert (await api.get(f"/analyses/{second}/changes")).json()["spaces"] == []
    one, two, *_ = [
        r["space"]
        for r in await bureau.admin.fetch(
            "SELECT space FROM read.analysis_space WHERE analysis = $1 ORDER BY space", second
        )
    ]
    await bureau.admin.execute(
        "UPDATE read.analysis_space SET pages = pages + 1 WHERE analysis = $1 AND space = $2", second, one
    )
    await bureau.admin.execute("DELETE FROM read.analysis_space WHERE analysis = $1 AND space = $2", second, two)
    changes = (await api.get(f"/analyses/{second}/changes", params={"since": first})).json()
    assert {c["space"]: c["what"] for c in changes["spaces"]} == {one: "changed", two: "removed"}
    back = (await api.get(f"/analyses/{first}/changes", params={"since": second})).json()
    assert {c["space"]: c["what"] for c in back["spaces"]} == {one: "changed", two: "added"}
