"""Which chunks are offered when several plans run on one site."""

from collections import Counter

import pytest

from services.planner.dispatch import Dispatch
from tests.delivery.workshop import Workshop
from tests.servers import NatsServer

BUDGET = 8


async def running(workshop: Workshop, plan: str, chunks: int, paused: bool = False) -> None:
    """A plan on the one site with so many planned chunks of one task."""
    admin = workshop.admin
    await admin.execute(
        "INSERT INTO work.plan (plan, source, site, version, status, digest, spaces, paused)"
        " VALUES ($1, 'source', 'site', 1, 'RUNNING', '', 1, $2)",
        plan,
        paused,
    )
    await admin.execute(
        "INSERT INTO work.task (task, plan, kind, version, state, started_at) VALUES ($1, $1, 'space', 1, 'running', now())",
        plan,
    )
    await admin.execute(
        "INSERT INTO work.chunk (chunk, task, plan, phase, depth, first_ordinal, last_ordinal, entities, planned_at, state)"
        " SELECT $1 || '-' || n, $1, $1, 'page', 0, n, n, 1, 1, 'planned' FROM generate_series(1, $2) n",
        plan,
        chunks,
    )


@pytest.mark.parametrize(
    ("chunks", "offered"),
    [
        ({"alone": 100}, {"alone": 10}),  # enough for every place, and a little in hand
        ({"large": 100, "small": 1}, {"large": 4, "small": 1}),
        ({"a": 100, "b": 100, "c": 100, "small": 3}, {"a": 2, "b": 2, "c": 2, "small": 2}),
        ({str(n): 9 for n in range(12)}, dict.fromkeys(map(str, range(12)), 1)),  # each gets on, however many there are
    ],
)
async def test_plans_that_run_side_by_side_have_no_more_out_than_their_part(
    workshop: Workshop, nats: NatsServer, chunks: dict[str, int], offered: dict[str, int]
) -> None:
    await nats.reset()
    for plan, n in chunks.items():
        await running(workshop, plan, n)
    assert await offers(workshop, nats) == offered


async def test_a_plan_that_starts_later_is_offered_at_once_though_the_other_has_all_its_places(
    workshop: Workshop, nats: NatsServer
) -> None:
    await nats.reset()
    await running(workshop, "large", 100)
    assert await offers(workshop, nats) == {"large": 10}
    await running(workshop, "small", 2)
    assert await offers(workshop, nats) == {"large": 10, "small": 2}


async def test_a_paused_plan_takes_no_part(workshop: Workshop, nats: NatsServer) -> None:
    await nats.reset()
    await running(workshop, "large", 100)
    await running(workshop, "paused", 100, paused=True)
    assert await offers(workshop, nats) == {"large": 10}


async def offers(workshop: Workshop, nats: NatsServer) -> dict[str, int]:
    """Of each plan how many chunks are out after a sweep, and after another that has nothing to add."""
    client = await nats.connect("planner")
    try:
        settings = workshop.settings.model_copy(update={"site_concurrency": BUDGET, "reoffer": 60.0})
        dispatch = Dispatch(workshop.pools["planner"], client, settings)
        await dispatch.sweep()
        assert await dispatch.sweep() == 0
    finally:
        await client.close()
    rows = await workshop.admin.fetch("SELECT plan FROM work.offer JOIN work.chunk USING (chunk)")
    return dict(Counter(row["plan"] for row in rows))
