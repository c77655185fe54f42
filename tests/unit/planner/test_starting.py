"""Whether a plan may start: one judgement for every way in."""

from __future__ import annotations

import pytest

from services.planner.judging import Judge
from services.planner.starting import Starting
from shared.events import commands as c
from shared.events.catalog.plan import PlanStarted
from shared.events.checks import CHECKS, Check
from shared.events.database import open_pool
from shared.events.store import EventStore
from tests.servers import Database
from tests.unit.planner.test_plan_states import saved


@pytest.mark.statement(25, 38, 39)
async def test_a_plan_starts_unless_a_check_forbids_it_and_all_checks_are_judged(database: Database) -> None:
    plan = saved()
    pool = await open_pool(database.settings("planner"), application="planner")
    async with EventStore(pool) as store:
        refused = await Starting(store, pool).prepare(plan, False)
        assert isinstance(refused, c.Reply) and refused.problem is not None
        assert refused.problem.code == "consent_required"
        assert await Starting(store, pool).prepare(plan, True) == PlanStarted(plan=plan.plan, consent="given")
        judged = await Judge(store, pool, plan, True).all()
        assert [each.check for each in judged] == list(CHECKS)
        assert not [each for each in judged if each.forbids]

        old = await Starting(store, pool, "99.0").prepare(plan, True)
        assert isinstance(old, c.Reply) and old.problem is not None
        assert old.problem.code == Check.UPDATE_REQUIRED.value
        _, (finding,) = await Judge(store, pool, plan, True, "99.0").update_required()
        assert finding["needed"] == "99.0 or newer"

        admin = await database.connect()
        await admin.execute("SET application_name = 'executor 0.0.1'")
        other = await open_pool(database.settings("executor"), application="executor 0.0.1 of")
        refused = await Starting(store, pool).prepare(plan, True)
        assert isinstance(refused, c.Reply) and refused.problem is not None
        assert refused.problem.code == Check.UPDATE_REQUIRED.value
        await other.close()
        await admin.close()
    await pool.close()


async def test_macros_of_the_plans_spaces_that_cloud_lacks_are_a_warning_with_what_to_do(database: Database) -> None:
    plan = saved(spaces=("1",))
    admin = await database.connect()
    await admin.executemany(
        "INSERT INTO people.macro_use VALUES ($1, $2, $3, $4, 'Page', $5)",
        [
            (plan.analysis, space, name, content, uses)
            for space, name, content, uses in (
                ("1", "toc", "11", 2),
                ("1", "html", "11", 1),
                ("1", "drawio", "11", 3),
                ("1", "drawio", "12", 4),
                ("2", "rss", "21", 9),  # not of this plan
            )
        ],
    )
    await admin.close()
    pool = await open_pool(database.settings("planner"), application="planner")
    async with EventStore(pool) as store:
        judged = {each.check: each for each in await Judge(store, pool, plan, True).all()}
    await pool.close()
    found = judged[Check.MACROS_UNAVAILABLE]
    assert (found.result, found.forbids) == ("warning", False)
    assert [(f["macro"], f["uses"], f["pages"], f["on Cloud"]) for f in found.findings] == [
        ("drawio", 7, 2, "app"),
        ("html", 1, 1, "unavailable"),
    ]
    assert all(f["do"] for f in found.findings)
