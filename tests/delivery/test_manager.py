"""The process manager on a real database: what it decides, and that two of them decide it once."""

import asyncio
import random
from collections import Counter

import pytest

from services.planner.manager import Manager
from shared.events.catalog.chunk import ChunkClaimed, ChunkEnded
from shared.events.catalog.plan import PlanFinished, PlanStopped
from shared.events.catalog.work import Entity, Kind, Outcome, Phase
from shared.events.contract import Context, Event
from shared.events.store import Append, Result
from shared.events.types import new_id
from tests.delivery.workshop import ACTOR, Workshop

SEEDS = 500
AT_ONCE = 20  # tasks whose last two chunks end in the same round


async def test_a_plan_goes_from_users_to_groups_to_spaces_and_is_finished(workshop: Workshop) -> None:
    plan = await workshop.plan(users="all", groups=True, spaces=2)
    await workshop.drive(await workshop.manager(), [plan])
    end = (await workshop.events(plan=plan))[-1]
    assert isinstance(end, PlanFinished)
    assert end.conserved
    assert (end.spaces_migrated, end.spaces_failed) == (2, 0)
    assert {t.kind: (t.selected, t.migrated) for t in end.tallies} == {
        Kind.USER: (2, 2),
        Kind.GROUP: (2, 2),
        Kind.MEMBERSHIP: (2, 2),
        Kind.SPACE: (2, 2),
        Kind.PAGE: (6, 6),
        Kind.LABEL: (2, 2),
    }
    started = await workshop.admin.fetch("SELECT kind FROM work.task WHERE plan = $1 ORDER BY started_at", plan)
    assert [r["kind"] for r in started] == ["users", "groups", "space", "space"]


async def test_another_manager_takes_up_any_plan_at_any_step(workshop: Workshop) -> None:
    """Every step is made by a manager that has just begun and knows nothing but the tables and the log."""
    plan = await workshop.plan(groups=True, spaces=1)
    worker = workshop.worker()
    for _ in range(60):
        await (await workshop.manager()).step()
        for chunk in await workshop.claimable([plan]):
            if (claim := await workshop.take(worker, chunk)) is not None:
                await workshop.end(claim)
    assert (await workshop.types(plan))[-1] == "PlanFinished"


@pytest.mark.slow
async def test_two_managers_plan_exactly_one_next_phase_when_the_last_two_chunks_end_in_one_batch(
    workshop: Workshop,
) -> None:
    managers = [await workshop.manager(), await workshop.manager()]
    repeated = _count_repeated(managers)
    for first in range(0, SEEDS, AT_ONCE):
        chances = [random.Random(first), random.Random(first + 1)]
        plan, tasks, ends = await _tasks_before_their_last_two_ends(workshop, AT_ONCE)
        while await managers[0].step():
            pass
        position = (await workshop.planner.head()).position
        appended = asyncio.gather(*(workshop.executor.append(end) for pair in ends for end in pair))
        await asyncio.gather(_both(managers, chances), appended)
        await _both(managers, chances)
        for task in tasks:
            rows = await workshop.planner.read_stream(f"task-{task}", after=2)
            assert [(r.type, r.event.phase, r.event.slice) for r in rows] == [("PhasePlanned", Phase.MEMBERSHIP, 0)]
            assert rows[0].position > position
        over = PlanStopped(
            plan=plan, tallies=(), reasons=(), spaces_migrated=0, spaces_failed=0, conserved=True
        )  # so that no later round looks at this one's tasks
        await workshop.append("planner", f"plan-{plan}", 1, over, plan=plan)
    assert repeated["PhasePlanned"] > SEEDS / 20, "the managers hardly ever met: the test shows nothing"


async def _tasks_before_their_last_two_ends(
    workshop: Workshop, n: int
) -> tuple[str, list[str], list[tuple[Append, Append]]]:
    """A running plan, ``n`` tasks of it in a phase of two claimed chunks, and the ends of these."""
    plan = await workshop.plan()
    context = Context(actor=ACTOR, correlation=plan, causation=plan)
    made = await asyncio.gather(*(workshop.group_task(plan) for _ in range(n)))
    claims, ends = [], []
    for task, chunks in made:
        pair = []
        for number, chunk in enumerate(chunks):
            claimed = ChunkClaimed(
                chunk=chunk, epoch=1, task=task, plan=plan, worker=ACTOR.key, attempt=1, purpose="work"
            )
            claims.append(workshop.executor.append(_command(f"chunk-{chunk}", -1, context, claimed)))
            entity = Entity(kind=Kind.GROUP, id=str(number), outcome=Outcome.MIGRATED)
            pair.append(_command(f"chunk-{chunk}", 0, context, ChunkEnded(chunk=chunk, epoch=1, entities=(entity,))))
        ends.append((pair[0], pair[1]))
    await asyncio.gather(*claims)
    return plan, [task for task, _ in made], ends


def _command(stream: str, expected: int, context: Context, *events: Event) -> Append:
    return Append(stream, expected, tuple((new_id(), event) for event in events), context)


async def _both(managers: list[Manager], chances: list[random.Random]) -> None:
    """Both managers, with pauses of chance between their steps, until neither finds anything."""

    async def turn(manager: Manager, chance: random.Random) -> None:
        idle = 0
        while idle < 2:
            await asyncio.sleep(chance.choice((0, 0, 0.001, 0.003)))
            idle = 0 if await manager.step() else idle + 1

    await asyncio.gather(*(turn(m, c) for m, c in zip(managers, chances, strict=True)))


def _count_repeated(managers: list[Manager]) -> Counter[str]:
    """Counts the decisions that one manager made after the other had."""
    counted = Counter[str]()
    store = managers[0]._store

    class Counting:
        def __getattr__(self, name: str) -> object:
            return getattr(store, name)

        async def append(self, command: Append) -> Result:
            result = await store.append(command)
            counted[type(command.events[0][1]).__name__] += result.outcome != "appended"
            return result

    for manager in managers:
        manager._store = Counting()  # type: ignore[assignment]
    return counted
