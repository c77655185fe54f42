"""Claims against stops and against each other: what the log may hold, driven many times over on a real database."""

import asyncio
import random

import pytest

from shared.events.catalog.chunk import ChunkClaimed, EntityEnded
from shared.events.catalog.task import SpaceFailing
from shared.events.catalog.work import Entity, Kind, Outcome
from shared.events.claims import Claim, LeaseLost
from shared.events.commands import StopPlan
from shared.events.contract import Event
from shared.events.reasons import Reason
from tests.delivery.workshop import ACTOR, QUICK, Workshop

ROUNDS = 300
AT_ONCE = 20

# Claims for work that stand in the log after the stop of their own plan.
_LATE = """
SELECT count(*) FROM log.events c
JOIN log.events s ON s.type = 'PlanStopRequested' AND s.position < c.position
  AND s.stream = 'plan-' || (convert_from(c.body, 'UTF8')::jsonb -> 'data' ->> 'plan')
WHERE c.type = 'ChunkClaimed' AND convert_from(c.body, 'UTF8')::jsonb -> 'data' ->> 'purpose' = 'work'
"""
# Ends of chunks that stand in the log after the end of their own plan.
_AFTER_THE_END = """
SELECT count(*) FROM log.events e JOIN work.chunk k ON e.stream = 'chunk-' || k.chunk
JOIN log.events s ON s.type = 'PlanStopped' AND s.stream = 'plan-' || k.plan AND s.position < e.position
"""


@pytest.mark.slow
async def test_no_claim_for_work_ever_stands_after_the_stop_of_its_plan(workshop: Workshop) -> None:
    manager, workers, chance = await workshop.manager(), [workshop.worker() for _ in range(2)], random.Random(7)
    claimed = refused = 0
    ahead = 0.0  # seconds that stops come before claims, negative after: whoever lost a round gets a start, on whatever machine
    for _ in range(0, ROUNDS, AT_ONCE):
        plans = [await workshop.plan() for _ in range(AT_ONCE)]
        chunks = [(await workshop.group_task(plan))[1] for plan in plans]
        while await manager.step():
            pass

        async def stop(plan: str, wait: float) -> None:
            await asyncio.sleep(wait + chance.uniform(0, 0.03))
            assert (await workshop.command(StopPlan, plan)).problem is None

        async def take(worker: int, chunk: str, wait: float) -> Claim | None:
            await asyncio.sleep(wait + chance.uniform(0, 0.03))
            return await workshop.take(workers[worker], chunk)

        taking = [take(n, chunk, max(ahead, 0.0)) for pair in chunks for n, chunk in enumerate(pair)]
        stopping = [stop(plan, max(-ahead, 0.0)) for plan in plans]
        claims, _ = await asyncio.gather(asyncio.gather(*taking), asyncio.gather(*stopping))
        ahead += 0.02 * (0.5 - sum(claim is None for claim in claims) / len(claims))
        for claim in claims:
            if claim is None:
                refused += 1
            else:
                claimed += 1
                assert claim.purpose == "work"
                await workshop.end(claim)
        while await manager.step():
            pass
        for plan in plans:
            assert (await workshop.types(plan))[-1] == "PlanStopped"
    assert await workshop.admin.fetchval(_LATE) == 0
    assert await workshop.admin.fetchval(_AFTER_THE_END) == 0
    assert min(claimed, refused) > ROUNDS / 10, "one side always won: the test shows nothing"


async def _one_planned_chunk(workshop: Workshop) -> tuple[str, str]:
    plan = await workshop.plan()
    _, (chunk,) = await workshop.group_task(plan, 1)
    while await (await workshop.manager()).step():
        pass
    return plan, chunk


async def test_of_many_workers_one_gets_the_chunk(workshop: Workshop) -> None:
    _, chunk = await _one_planned_chunk(workshop)
    claims = await asyncio.gather(*(workshop.take(workshop.worker(), chunk) for _ in range(12)))
    assert sum(claim is not None for claim in claims) == 1
    assert [r.type for r in await workshop.planner.read_stream(f"chunk-{chunk}")] == ["ChunkClaimed"]


async def test_a_dead_workers_chunk_is_taken_over_only_after_its_lease_and_a_request_and_it_can_append_nothing(
    workshop: Workshop,
) -> None:
    _, chunk = await _one_planned_chunk(workshop)
    dead = await workshop.take(workshop.worker(), chunk)
    assert dead is not None
    await asyncio.sleep(QUICK["lease"] - QUICK["request_timeout"])
    with pytest.raises(LeaseLost):
        dead.check_write()  # no write of its can be under way any more when the next one begins
    assert await workshop.take(workshop.worker(), chunk) is None
    await asyncio.sleep(2 * QUICK["request_timeout"] + 0.1)
    next_one = await workshop.take(workshop.worker(), chunk)
    assert next_one is not None
    assert (next_one.purpose, next_one.epoch, next_one.attempt, next_one.look_first) == ("work", 2, 2, True)
    with pytest.raises(LeaseLost):
        await workshop.end(dead)
    await workshop.end(next_one)


async def test_a_lease_that_is_renewed_is_not_taken_over(workshop: Workshop) -> None:
    _, chunk = await _one_planned_chunk(workshop)
    claim = await workshop.take(workshop.worker(), chunk)
    assert claim is not None
    async with claim:
        for _ in range(6):
            await asyncio.sleep(QUICK["lease"] / 2)
            assert await workshop.take(workshop.worker(), chunk) is None
        claim.check_write()
        await workshop.end(claim)


async def test_after_a_stop_a_dead_workers_chunk_is_settled_without_a_write_and_the_plan_ends(
    workshop: Workshop,
) -> None:
    plan, chunk = await _one_planned_chunk(workshop)
    assert await workshop.take(workshop.worker(), chunk) is not None
    await workshop.command(StopPlan, plan)
    manager = await workshop.manager()
    while await manager.step():
        pass
    assert (await workshop.types(plan))[-1] == "PlanStopRequested"  # a claimed chunk has no end yet
    await asyncio.sleep(QUICK["lease"] + QUICK["request_timeout"] + 0.1)
    settler = await workshop.take(workshop.worker(), chunk)
    assert settler is not None
    assert settler.purpose == "settle"
    with pytest.raises(LeaseLost):
        settler.check_write()
    await workshop.end(settler)
    while await manager.step():
        pass
    assert (await workshop.types(plan))[-1] == "PlanStopped"
    assert await workshop.admin.fetchval(_LATE) == 0


async def test_nothing_is_claimed_for_work_in_a_space_that_is_failing(workshop: Workshop) -> None:
    plan = await workshop.plan()
    task, (first, second) = await workshop.group_task(plan)
    manager = await workshop.manager()
    while await manager.step():
        pass
    under_way = await workshop.take(workshop.worker(), first)
    assert under_way is not None
    await workshop.append(
        "planner", f"task-{task}", 2, SpaceFailing(task=task, plan=plan, reason=Reason.SITE_REFUSED), plan=plan
    )
    # The tables do not say so yet; the guard does.
    assert await workshop.take(workshop.worker(), second) is None
    while await manager.step():
        pass
    assert await workshop.take(workshop.worker(), second) is None
    assert (await workshop.events(task=task))[-1].__class__.__name__ == "SpaceFailing"
    await workshop.end(under_way)  # what was begun is recorded
    while await manager.step():
        pass
    assert (await workshop.events(task=task))[-1].__class__.__name__ == "TaskEnded"


@pytest.mark.parametrize(
    ("attempts", "recorded_in_the_last", "gives_up"),
    [(4, False, False), (5, False, True), (5, True, False), (6, False, True)],
)
async def test_after_five_attempts_that_got_no_further_the_entity_under_way_is_given_up(
    workshop: Workshop, attempts: int, recorded_in_the_last: bool, gives_up: bool
) -> None:
    plan = await workshop.plan()
    task, (chunk, _) = await workshop.group_task(plan)
    events: list[Event] = [
        ChunkClaimed(chunk=chunk, epoch=n, task=task, plan=plan, worker=ACTOR.key, attempt=n, purpose="work")
        for n in range(1, attempts + 1)
    ]
    if recorded_in_the_last:
        entity = Entity(kind=Kind.GROUP, id="0", outcome=Outcome.MIGRATED)
        events.append(EntityEnded(chunk=chunk, epoch=attempts, entity=entity))
    await workshop.append("executor", f"chunk-{chunk}", -1, *events, plan=plan)
    while await (await workshop.manager()).step():
        pass
    await asyncio.sleep(QUICK["lease"] + QUICK["request_timeout"])
    claim = await workshop.take(workshop.worker(), chunk)
    assert claim is not None
    assert (claim.attempt, claim.one_by_one, claim.give_up_first) == (attempts + 1, True, gives_up)
    assert len(claim.recorded) == recorded_in_the_last
