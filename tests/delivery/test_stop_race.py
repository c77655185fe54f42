"""Claims and stops at the same moment, a thousand times: in the log every claim stands before the stop or does not exist."""

import asyncio
import random
import time
from collections import Counter

from shared.events.catalog.chunk import ChunkClaimed
from shared.events.catalog.plan import PlanStopRequested
from shared.events.claims import Busy
from shared.events.projections.work import WorkProjection
from tests.delivery.workshop import Workshop

RACES, AT_ONCE = 1000, 8


async def test_a_thousand_claims_driven_against_stops_stand_before_them_or_do_not_exist(workshop: Workshop) -> None:
    started = [await start(workshop) for _ in range(RACES)]
    await take_in(workshop)
    chance, claims = random.Random(4), workshop.worker()
    outcomes: Counter[str] = Counter()
    took = 0.005  # seconds of a claim, lately: stops come within twice as long, so that either wins on a fast machine and a slow one

    async def race(plan: str, chunk: str) -> None:
        async def claim() -> None:
            nonlocal took
            await asyncio.sleep(chance.uniform(0.0, 0.01))
            began = time.monotonic()
            try:
                outcomes["claimed" if await claims.take(chunk) else "nothing"] += 1
            except Busy:
                outcomes["refused"] += 1
            took += (time.monotonic() - began - took) / 10

        async def stop() -> None:
            await asyncio.sleep(chance.uniform(0.0, 0.01 + 2 * took))
            await workshop.append("planner", f"plan-{plan}", 1, PlanStopRequested(plan=plan), plan=plan)

        await asyncio.gather(claim(), stop())

    for n in range(0, RACES, AT_ONCE):
        await asyncio.gather(*(race(plan, chunk) for plan, chunk in started[n : n + AT_ONCE]))
    behind = await workshop.admin.fetchval(
        "SELECT count(*) FROM log.events c, log.events s WHERE c.type = $1 AND s.type = $2 AND s.position < c.position"
        " AND s.stream = 'plan-' || (convert_from(c.body, 'UTF8')::jsonb ->> 'correlation')",
        ChunkClaimed.__name__,
        PlanStopRequested.__name__,
    )
    claimed = await workshop.admin.fetchval("SELECT count(*) FROM log.events WHERE type = $1", ChunkClaimed.__name__)
    assert behind == 0
    assert claimed == outcomes["claimed"]
    assert outcomes["claimed"] + outcomes["refused"] == RACES
    assert min(outcomes["claimed"], outcomes["refused"]) > RACES // 50, (outcomes, took)  # both happened: it was a race


async def start(workshop: Workshop) -> tuple[str, str]:
    plan = await workshop.plan(groups=True)
    _, (chunk,) = await workshop.group_task(plan, chunks=1)
    return plan, chunk


async def take_in(workshop: Workshop) -> None:
    """What a manager does with the log, without its decisions."""
    after = 0
    while rows := await workshop.planner.read_log(after, 500):
        async with workshop.pools["planner"].acquire() as connection, connection.transaction():
            await WorkProjection().apply(connection, rows, "work")
        after = rows[-1].position
