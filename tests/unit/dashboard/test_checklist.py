"""The eleven lines after a run: each is empty where there is nothing to do, and names what there is."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import pytest

from services.dashboard.adapters.checklist import LINES
from shared.events.commands import FollowPlan, RunPlan
from shared.events.types import new_id
from tests.servers import Database
from tests.store.test_projections import PLAN, SITE, SOURCE, USERS, id_of
from tests.unit.dashboard.house import House

NAMES = [line.name for line in LINES]
API = f"/api/v1/plans/{PLAN}/checklist"


async def fill(database: Database) -> None:
    """A run of which every line has something to say."""
    admin = await database.connect()
    task, ann, gone, staff, admins = (new_id() for _ in range(5))
    analysis = await admin.fetchval("SELECT analysis FROM read.plan WHERE plan = $1", PLAN)
    for key, id, address, repair in ((ann, "u1", "usable", None), (gone, "u2", "unknown", "former")):
        await admin.execute(
            "INSERT INTO people.person (key, source, id, display_name, email, active, address, repair, directory)"
            " VALUES ($1, $2, $3, $3, $4, true, $5, $6, 'Company LDAP')",
            key,
            SOURCE,
            id,
            "=ann@example.com",
            address,
            repair,
        )
    await admin.execute("INSERT INTO people.account VALUES ($1, $2, '712020:1')", SITE, ann)
    for key, name in ((staff, "staff"), (admins, "site-admins")):
        await admin.execute(
            "INSERT INTO people.source_group (key, source, name) VALUES ($1, $2, $3)", key, SOURCE, name
        )
    for subject, rule in ((ann, "enabled_absent_chosen"), (staff, "merged")):
        await admin.execute("INSERT INTO people.standing VALUES ($1, $2, $3)", PLAN, subject, rule)
    await admin.execute("INSERT INTO people.membership VALUES ($1, $2, $3)", staff, ann, analysis)
    await admin.execute(
        "INSERT INTO read.task (task, plan, kind, state, started_at, position) VALUES ($1, $2, 'groups', 'done', now(), 1)",
        task,
        PLAN,
    )
    await admin.execute(
        "INSERT INTO work.task (task, plan, kind, version, state, started_at, inventory_epoch)"
        " VALUES ($1, $2, 'groups', 0, 'ended', now(), 1)",
        task,
        PLAN,
    )
    for n, (group, reason) in enumerate(((admins, "generic_group"), (staff, "access_withheld"))):
        await admin.execute(
            "INSERT INTO work.inventory (task, epoch, ordinal, kind, id, parent, container)"
            " VALUES ($1, 1, $2, 'membership', $3, $4, $5)",
            task,
            n,
            f"{n + 1}",
            group,
            ann,
        )
        await admin.execute(
            "INSERT INTO read.reason VALUES ($1, 'membership', $2, 'skipped', $3, 1)", task, f"{n + 1}", reason
        )
    await admin.execute("INSERT INTO read.reason VALUES ($1, 'user', $2, 'skipped', 'address_unknown', 1)", task, gone)
    space = await admin.fetchval("SELECT space FROM read.plan_space WHERE plan = $1 LIMIT 1", PLAN)
    await admin.execute("INSERT INTO people.macro_use VALUES ($1, $2, 'drawio', '7', 'Page', 3)", analysis, space)
    await admin.execute("INSERT INTO people.macro_use VALUES ($1, $2, 'toc', '7', 'Page', 1)", analysis, space)
    await admin.close()


@pytest.mark.statement(17, 47, 55, 56, 59, 104, 105, 106, 107, 108, 109, 110, 111, 112, 113)
async def test_every_line_says_what_there_is_to_do(told: House, database: Database) -> None:
    await fill(database)
    lines = (await told.client.get(API)).json()
    assert [(line["number"], line["name"]) for line in lines] == list(enumerate(NAMES, 1))
    by = {line["name"]: line for line in lines}
    assert all(line["count"] >= len(line["rows"]) > 0 for line in lines), {k: v["count"] for k, v in by.items()}
    assert by["groups"]["rows"] == [{"group": "staff", "became": "merged", "members": 1}]
    for name in ("access", "invite"):
        assert [(r["person"], r["rule"], r["account_id"]) for r in by[name]["rows"]] == [
            ("u1", "enabled_absent_chosen", "712020:1")
        ]
    assert [(r["group"], r["account_id"]) for r in by["generic_groups"]["rows"]] == [("site-admins", "712020:1")]
    assert [(r["group"], r["person"]) for r in by["withheld"]["rows"]] == [("staff", "u1")]
    assert by["directories"]["rows"] == [{"directory": "Company LDAP", "people": 2}]
    assert {"person": "u2", "reason": "address_unknown"} in by["former_users"]["rows"]
    assert by["apps"]["rows"] == [{"macro": "drawio", "uses": 3, "pages": 1}]
    text = (await told.client.get(f"{API}/generic_groups.csv")).text
    (row,) = csv.DictReader(io.StringIO(text))
    assert (row["group"], row["account_id"], row["email"]) == ("site-admins", "712020:1", "'=ann@example.com")


async def test_a_line_is_empty_where_there_is_nothing_to_do(told: House, database: Database) -> None:
    """But for the settings, which no plan ever moves."""
    admin = await database.connect()
    await admin.execute("DELETE FROM read.reason")
    await admin.execute("UPDATE read.task SET target_space = NULL")
    await admin.close()
    lines = (await told.client.get(API)).json()
    assert {line["name"] for line in lines if line["count"]} == {"settings"}
    assert (await told.client.get(f"{API}/nothing.csv")).status_code == 404
    for name in NAMES:
        answer = await told.client.get(f"{API}/{name}.csv")
        assert answer.status_code == 200 and len(answer.text.splitlines()) >= 1


def test_every_line_leads_to_a_heading_of_the_guide() -> None:
    page = (Path(__file__).parents[3] / "docs" / "guide" / "after.md").read_text(encoding="utf-8")
    headings = {
        re.sub(r"[^a-z0-9 -]", "", found.lower()).strip().replace(" ", "-")
        for found in re.findall(r"^#+ (.+)$", page, flags=re.MULTILINE)
    }
    assert {line.heading for line in LINES} <= headings


async def test_the_reports_page_offers_an_invitation_to_whom_the_plan_gave_access_and_asks_with_their_number(
    told: House, database: Database
) -> None:
    await fill(database)
    ann = id_of("ann")  # who moved, as the log tells
    admin = await database.connect()
    await admin.execute(
        "INSERT INTO people.person (key, source, id, username, email, active, address)"
        " VALUES ($1, $2, 'u3', 'ann', 'ann@example.com', true, 'usable')",
        ann,
        SOURCE,
    )
    await admin.execute("INSERT INTO people.account VALUES ($1, $2, '712020:3')", SITE, ann)
    await admin.execute("INSERT INTO people.standing VALUES ($1, $2, 'enabled_absent_chosen')", PLAN, ann)
    await admin.execute(
        "INSERT INTO work.plan (plan, source, site, version, status, digest, spaces, ledger)"
        " VALUES ($1, $2, $3, 1, 'FAILED', $4, 2, $3)",
        PLAN,
        SOURCE,
        SITE,
        "0" * 64,
    )
    await admin.execute(
        "INSERT INTO work.task (task, plan, kind, version, state, started_at) VALUES ($1, $2, 'users', 0, 'ended', now())",
        USERS,
        PLAN,
    )
    await admin.execute(
        "INSERT INTO work.outcome (position, task, chunk, kind, id, outcome) VALUES (1, $1, $1, 'user', $2, 'migrated')",
        USERS,
        ann,
    )
    numbers = (await told.client.get(f"/api/v1/plans/{PLAN}/invitations")).json()
    assert numbers["to_invite"] == 0, "nobody has said that the domain can be trusted"
    await admin.execute("INSERT INTO people.domain VALUES ($1, 'example.com', true)", SOURCE)
    numbers = (await told.client.get(f"/api/v1/plans/{PLAN}/invitations")).json()
    assert numbers == {"to_invite": 1, "to_remind": 0, "total": 0, "people": []}
    link = (await told.client.post("/api/v1/sign-in-links", json={})).json()["path"]
    assert (await told.client.get(link)).status_code == 303
    report = (await told.client.get(f"/plans/{PLAN}/report")).text
    assert f'href="/plans/{PLAN}/invite"' in report and f'href="/plans/{PLAN}/remind"' not in report
    asked = (await told.client.get(f"/plans/{PLAN}/invite")).text
    assert "1 person" in asked and "cannot be taken back" in asked
    assert "Nobody" in (await told.client.get(f"/plans/{PLAN}/remind")).text
    key, command = (re.search(f'name="{name}" value="(\\w+)"', asked) for name in ("key", "command"))
    assert key and command
    told.owners.asked.clear()
    await told.client.post(f"/plans/{PLAN}/invite", data={"key": key[1], "command": command[1]})
    follow, run = told.owners.asked
    assert isinstance(follow, FollowPlan) and follow.follow == "invite" and isinstance(run, RunPlan)
    await admin.execute("UPDATE people.person SET active = false WHERE key = $1", ann)
    assert (await told.client.get(f"/api/v1/plans/{PLAN}/invitations")).json()["to_invite"] == 0
    await admin.close()
