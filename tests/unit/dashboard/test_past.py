"""A plan as it was is what the live read model showed then."""

from __future__ import annotations

import pytest

from tests.store.test_projections import PLAN, history
from tests.unit.dashboard.house import House, named


async def test_at_every_position_the_past_is_what_was_live_then(house: House, database: object) -> None:
    connection = await database.connect()  # type: ignore[attr-defined]
    await named(house, connection)
    await connection.close()
    shown = {}
    for position, event in enumerate(history(), 1):
        await house.log.append([event])
        await house.catch_up()
        live = await house.parts.reads.plan(PLAN)
        if live is not None:
            shown[position] = live
    assert len(shown) > 30
    for position, live in shown.items():
        answer = await house.client.get(f"/api/v1/plans/{PLAN}/past", params={"at": str(position)})
        assert answer.status_code == 200, answer.text
        past, then = answer.json(), live.model_dump(mode="json")
        for field in ("name", "status", "stopping", "paused", "archived", "stuck", "conserved", "kinds"):
            assert past[field] == then[field], (position, field)
        assert (past["spaces_migrated"], past["spaces_failed"]) == (
            then["spaces"]["migrated"],
            then["spaces"]["failed"],
        )
        fields = ("id", "kind", "space", "key", "name", "state", "phase", "reason", "kinds")
        assert sorted(([t[f] for f in fields] for t in past["tasks"]), key=str) == sorted(
            ([t[f] for f in fields] for t in then["tasks"] if t["id"]), key=str
        )
        reasons = ("kind", "outcome", "reason", "count")
        assert sorted([r[f] for f in reasons] for r in past["reasons"]) == sorted(
            [r[f] for f in reasons] for r in then["reasons"]
        )


async def test_a_time_is_as_good_as_a_position(told: House) -> None:
    rows = await told.pool.fetch("SELECT position, recorded_at FROM log.events ORDER BY position")
    for row in (rows[7], rows[20], rows[-1]):
        at = row["recorded_at"].isoformat()
        by_time = (await told.client.get(f"/api/v1/plans/{PLAN}/past", params={"at": at})).json()
        by_position = (await told.client.get(f"/api/v1/plans/{PLAN}/past", params={"at": str(row["position"])})).json()
        assert by_time == by_position


@pytest.mark.parametrize(
    ("at", "code"), [("1", "not_yet_saved"), ("2020-01-01", "not_yet_saved"), ("soon", "invalid_request")]
)
async def test_a_moment_without_the_plan_is_said_in_words(told: House, at: str, code: str) -> None:
    answer = await told.client.get(f"/api/v1/plans/{PLAN}/past", params={"at": at})
    assert answer.json()["code"] == code
