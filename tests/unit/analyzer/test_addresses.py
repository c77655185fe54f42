"""Unusable addresses are found and repaired, in bulk or by a table; domains are trusted; groups and users are mapped."""

from __future__ import annotations

import csv
import io
from typing import Any

import httpx
import pytest

from services.analyzer.domain.corrections import (
    ADDRESS_COLUMNS,
    GROUP_COLUMNS,
    Known,
    corrections,
    group_map,
    user_map,
)
from shared.events.contract import encode
from shared.ops.tables import BadTable, read_table, row_text
from tests.unit.analyzer.conftest import Bureau

PEOPLE = {
    "k1": Known("1", "ann@example.com", "usable", "ann@example.com"),
    "k2": Known("2", "bob@example", "invalid", "bob@example"),
    "k3": Known("3", "Cy@example.com", "duplicate", "Cy@example.com"),
    "k4": Known("4", "cy@example.com", "duplicate", "cy@example.com"),
    "k5": Known("5", None, "unknown", None),
}


def decided(*rows: tuple[str, str, str, str]) -> list[tuple[str, str, str | None]]:
    """Of rows of key, old and new address, tombstone."""
    text = row_text(ADDRESS_COLUMNS) + "".join(row_text((k, "", "", old, new, gone, "")) for k, old, new, gone in rows)
    return [(c.key, c.repair, c.email) for c in corrections(read_table(text, ADDRESS_COLUMNS), PEOPLE)]


@pytest.mark.statement(35, 36, 37, 50)
def test_a_table_of_corrections_decides_line_by_line() -> None:
    assert decided(
        ("k2", "bob@example", "bob@example.com", ""),
        ("k3", "cy@EXAMPLE.com", "CY@example.com", ""),
        ("k4", "cy@example.com", "cy@example.com", ""),
        ("k5", "", "", "true"),
        ("k1", "ann@example.com", "", "no"),
    ) == [
        ("2", "corrected", "bob@example.com"),
        ("3", "merged", "cy@example.com"),
        ("4", "merged", "cy@example.com"),
        ("5", "former", None),
    ]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (("k9", "", "x@example.com", ""), "no user"),
        (("k3", "other@example.com", "x@example.com", ""), "OldEmail"),
        (("k2", "bob@example", "bob@", ""), "no valid"),
        (("k2", "bob@example", "x@example.com", "yes"), "Tombstone"),
        (("k2", "bob@example", "", "perhaps"), "true or false"),
        (("k2", "bob@example", "ANN@example.com", ""), "somebody else"),
        (("k1", "ann@example.com", "", ""), "already"),
    ],
)
def test_a_bad_table_is_refused_whole_with_line_and_reason(row: tuple[str, str, str, str], words: str) -> None:
    with pytest.raises(BadTable, match=words) as refused:
        decided(("k1", "ann@example.com", "", ""), row)
    assert refused.value.line == 3


def test_a_map_names_groups_and_users_of_the_source_once_and_never_a_generic_group() -> None:
    groups = {"staff": "1", "site-admins": "2", "crew": "3"}

    def mapped(*rows: tuple[str, str]) -> Any:
        text = row_text(GROUP_COLUMNS) + "".join(row_text(row) for row in rows)
        return group_map(read_table(text, GROUP_COLUMNS), groups)

    assert mapped(("Staff", "crew"), ("crew", "")) == {"1": "crew", "3": None}
    for rows, words in (
        ([("site-admins", "x")], "generic"),
        ([("staff", "Atlassian-Addons")], "generic"),
        ([("nobody", "x")], "no group"),
        ([("staff", "x"), ("STAFF", "y")], "twice"),
    ):
        with pytest.raises(BadTable, match=words):
            mapped(*rows)
    text = "User,AccountId\r\nANN,712020:1\r\n"
    assert user_map(read_table(text, ("User", "AccountId")), {"ann": "1"}) == {"1": "712020:1"}
    for line in ("bob,712020:1", "ann,", "ann,a/b"):
        with pytest.raises(BadTable):
            user_map(read_table(f"User,AccountId\r\n{line}\r\n", ("User", "AccountId")), {"ann": "1"})


async def settled(bureau: Bureau) -> str:
    """A source of which three people have no usable address."""
    source = await bureau.wiki("8.5.6", sample="north")
    await bureau.analyze(source)
    await bureau.admin.execute(
        "UPDATE people.person SET address = 'usable', repair = NULL, email = id || '@example.com'"
    )
    for n, row in enumerate(await bureau.admin.fetch("SELECT key FROM people.person ORDER BY key LIMIT 4")):
        email, address = (
            ("bad@", "invalid"),
            ("two@example.com", "duplicate"),
            ("Two@example.com", "duplicate"),
            (None, "unknown"),
        )[n]
        await bureau.admin.execute(
            "UPDATE people.person SET email = $2, address = $3 WHERE key = $1", row["key"], email, address
        )
    return source


async def test_addresses_go_out_as_a_table_and_come_back_corrected(bureau: Bureau, api: httpx.AsyncClient) -> None:
    source = await settled(bureau)
    listed = (await api.get(f"/sources/{source}/addresses")).json()
    assert sorted(person["address"] for person in listed) == ["duplicate", "duplicate", "invalid", "unknown"]
    text = (await api.get(f"/sources/{source}/addresses.csv")).text
    rows = list(csv.DictReader(io.StringIO(text)))
    assert tuple(rows[0]) == ADDRESS_COLUMNS and len(rows) == 4
    for row in rows:
        match row["ErrorType"]:
            case "invalid":
                row["NewEmail"] = "good@example.com"
            case "unknown":
                row["Tombstone"] = "true"
            case _:
                row["NewEmail"] = "one@example.com" if row["OldEmail"].startswith("two") else ""
    table = row_text(ADDRESS_COLUMNS) + "".join(row_text(row.values()) for row in rows)
    bad = await api.post(f"/sources/{source}/addresses", content=table + "k,,,,,,\r\n")
    assert (bad.status_code, bad.json()["findings"][0]["line"]) == (422, 6)
    assert len((await api.get(f"/sources/{source}/addresses")).json()) == 4
    answer = await api.post(f"/sources/{source}/addresses", content=table, headers={"Content-Type": "text/csv"})
    assert answer.status_code == 201, answer.text
    assert {k: v for k, v in answer.json()["result"].items() if k != "position"} == {
        "merged": 0,
        "former": 1,
        "corrected": 2,
    }
    # Whose namesake has another address now is no duplicate any more.
    left = [p for p in (await api.get(f"/sources/{source}/addresses")).json() if not p["repair"]]
    assert left == []
    assert await bureau.admin.fetchval("SELECT count(*) FROM people.upload") == 0
    for row in await bureau.store.read_log(0):
        assert b"example.com" not in encode(row.event, row.context)
    await bureau.analyze(source)  # the source tells the same as before: the decisions stay
    changed = await bureau.admin.fetch("SELECT repair FROM people.person WHERE repair IS NOT NULL")
    assert len(changed) <= 3


async def test_a_domain_is_untrusted_until_somebody_says_so(bureau: Bureau, api: httpx.AsyncClient) -> None:
    source = await settled(bureau)
    planner = bureau.pools["planner"]
    ask = "SELECT domain, people FROM people.untrusted_domains_v2($1, true, '{}', NULL)"
    before = [tuple(row) for row in await planner.fetch(ask, source)]
    domains = (await api.get(f"/sources/{source}/domains")).json()
    assert [(d["domain"], d["people"]) for d in domains] == before and all(d["trusted"] is None for d in domains)
    assert (await api.post(f"/sources/{source}/domains", json={"trusted": ["nobody.example"]})).status_code == 422
    assert (await api.post(f"/sources/{source}/domains", json={"untrusted": ["EXAMPLE.com"], "every": True})).is_success
    assert [row["domain"] for row in await planner.fetch(ask, source)] == ["example.com"]
    text = (await api.get(f"/sources/{source}/domains.csv")).text
    assert "example.com,false" in text
    answer = await api.post(f"/sources/{source}/domains.csv", content=text.replace("false", "true"))
    assert answer.is_success and await planner.fetch(ask, source) == []


async def test_only_domains_of_people_whom_a_plan_finds_by_their_address_are_asked_about(bureau: Bureau) -> None:
    """Not of people whom its spaces do not name, nor of those whom a map gives an account."""
    source = await settled(bureau)
    planner = bureau.pools["planner"]
    ask = "SELECT sum(people) FROM people.untrusted_domains_v2($1, $2, $3, $4)"
    every = await planner.fetchval(ask, source, True, [], None)
    assert await planner.fetchval(ask, source, False, [], None) is None
    related = await bureau.admin.fetch(
        "SELECT r.space, p.key, p.source FROM people.related r JOIN people.person p ON p.key = r.person WHERE r.source = $1"
        " AND (p.repair IN ('corrected', 'merged') OR p.repair IS NULL AND p.address IN ('usable', 'duplicate'))",
        source,
    )
    space = related[0]["space"]
    inside = [row["key"] for row in related if row["space"] == space]
    assert await planner.fetchval(ask, source, False, [space], None) == len(inside) < every
    await bureau.admin.execute("INSERT INTO people.user_map VALUES ('m', $1, '712020:9')", inside[0])
    assert await planner.fetchval(ask, source, True, [], "m") == every - 1


async def test_a_map_is_recorded_and_named_by_its_id(bureau: Bureau, api: httpx.AsyncClient) -> None:
    source = await settled(bureau)
    name = await bureau.admin.fetchval(
        "SELECT name FROM people.source_group WHERE source = $1 AND lower(name) NOT LIKE '%admin%' ORDER BY 1 LIMIT 1",
        source,
    )
    user = await bureau.admin.fetchval("SELECT id FROM people.person WHERE source = $1 ORDER BY 1 LIMIT 1", source)
    body = {"groups": row_text(GROUP_COLUMNS) + row_text((name, "Team")), "users": f"User,AccountId\n{user},712020:9\n"}
    made = (await api.post(f"/sources/{source}/maps", json=body)).json()["result"]
    assert (made["groups"], made["users"], made["dropped"]) == (1, 1, 0)
    planner = bureau.pools["planner"]
    assert await planner.fetchval("SELECT source FROM people.map WHERE id = $1", made["map"]) == source
    refused = await api.post(f"/sources/{source}/maps", json={"groups": "Group,Target\nsite-admins,x\n"})
    assert refused.status_code == 422 and "generic" in refused.json()["detail"]
