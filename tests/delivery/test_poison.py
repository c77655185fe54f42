"""What one plan's damage does: that plan stands still and says so, the others go on, and ``retry-stuck`` makes it good."""

import json

import pytest

from services.planner.manager import Manager
from shared.events import contract
from shared.events.catalog.chunk import ChunkEnded
from shared.events.catalog.plan import PlanResumed, PlanStuck
from shared.events.catalog.task import SpaceFailing
from shared.events.catalog.work import Entity, Kind, Outcome
from shared.events.commands import ResumePlan, RetryStuck, RunPlan, StopPlan
from shared.events.contract import Context, Event, Recorded, UnknownEvent, encode
from shared.events.projections.rebuild import compare
from shared.events.projections.work import WorkProjection
from shared.events.reasons import Reason
from shared.events.types import new_id
from tests.delivery.workshop import ACTOR, Workshop


def body(event: Event, plan: str, **more: object) -> bytes:
    """The body of an event, with data that its contract of this release does not allow."""
    stored = json.loads(encode(event, Context(actor=ACTOR, correlation=plan, causation=plan)))
    stored["data"] |= more
    return json.dumps(stored).encode()


async def two_plans_at_their_first_pages(workshop: Workshop, manager: Manager) -> tuple[str, str]:
    """Two plans whose spaces are made; the first pages' chunks wait for workers."""
    plans = [await workshop.plan(spaces=1), await workshop.plan(spaces=1)]
    worker = workshop.worker()
    for _ in range(4):  # users' inventory and users; the space's inventory, the space
        while await manager.step():
            pass
        for chunk in await workshop.claimable(plans):
            if (claim := await workshop.take(worker, chunk)) is not None:
                await workshop.end(claim)
    while await manager.step():
        pass
    return plans[0], plans[1]


async def stuck_at(workshop: Workshop, plan: str) -> PlanStuck:
    last = (await workshop.planner.read_stream(f"plan-{plan}"))[-1].event
    assert isinstance(last, PlanStuck)
    return last


def newer_release(monkeypatch: pytest.MonkeyPatch) -> None:
    """A release that knows the field ``novelty``."""
    decode = contract.decode

    def newer(row: Recorded) -> tuple[Event, Context]:
        stored = json.loads(row.body)
        stored["data"].pop("novelty", None)
        known = contract.canonical(stored)
        return decode(
            Recorded(row.position, row.event_id, row.stream, row.version, row.type, known, row.recorded_at, row.link)
        )

    monkeypatch.setattr(contract, "decode", newer)


async def plant_in_chunk(workshop: Workshop, plan: str) -> int:
    """A worker of a newer release ends a chunk and says more than this release knows."""
    chunk = (await workshop.claimable([plan]))[0]
    claim = await workshop.take(workshop.worker(), chunk)
    assert claim is not None
    ids = await workshop.admin.fetchval(
        "SELECT id FROM work.inventory WHERE kind = 'page' AND ordinal = $1 LIMIT 1", claim.work.first
    )
    entity = Entity(kind=Kind.PAGE, id=ids, outcome=Outcome.MIGRATED, target="9")
    ended = ChunkEnded(chunk=chunk, epoch=claim.epoch, entities=(entity,))
    return await workshop.plant("executor", f"chunk-{chunk}", "ChunkEnded", body(ended, plan, novelty=1))


async def plant_in_task(workshop: Workshop, plan: str) -> int:
    task = (await workshop.tasks(plan))["space1"]
    failing = SpaceFailing(task=task, plan=plan, reason=Reason.SPACE_NOT_CREATED)
    return await workshop.plant("planner", f"task-{task}", "SpaceFailing", body(failing, plan, novelty=1))


async def plant_in_plan(workshop: Workshop, plan: str) -> int:
    resumed = PlanResumed(plan=plan)
    return await workshop.plant("planner", f"plan-{plan}", "PlanResumed", body(resumed, plan, novelty=1))


@pytest.mark.parametrize(
    ("plant", "end"),
    [(plant_in_chunk, "PlanFinished"), (plant_in_task, "PlanFailed"), (plant_in_plan, "PlanFinished")],
)
async def test_an_event_that_cannot_be_read_sticks_its_own_plan_only_and_a_newer_release_makes_it_good(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch, plant, end: str
) -> None:
    manager = await workshop.manager()
    sick, well = await two_plans_at_their_first_pages(workshop, manager)
    position = await plant(workshop, sick)
    await workshop.drive(manager, [sick, well])
    assert (await workshop.types(well))[-1] == "PlanFinished"
    assert await stuck_at(workshop, sick) == PlanStuck(plan=sick, position=position, code="bad_event")
    assert await workshop.admin.fetchval("SELECT status FROM work.plan WHERE plan = $1", sick) == "RUNNING"

    reply = await workshop.command(RetryStuck, sick)
    await workshop.drive(manager, [sick])
    if plant is plant_in_plan:
        assert reply.problem is not None and reply.problem.code == "event_unreadable"
    else:
        assert reply.problem is None
        assert (await workshop.types(sick))[-3:] == ["PlanStuck", "PlanUnstuck", "PlanStuck"]

    newer_release(monkeypatch)
    assert (await workshop.command(RetryStuck, sick)).problem is None
    await workshop.drive(await workshop.manager(), [sick])
    assert (await workshop.types(sick))[-1] == end
    last = (await workshop.events(plan=sick))[-1]
    assert last.conserved
    differences = await compare(workshop.owners_pool, WorkProjection())
    assert differences == []


async def test_what_workers_end_while_their_plan_is_stuck_counts_once_it_is_not(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager = await workshop.manager()
    sick, _ = await two_plans_at_their_first_pages(workshop, manager)
    worker = workshop.worker()
    at_work = [await worker.take(chunk) for chunk in (await workshop.claimable([sick]))[1:]]
    await plant_in_chunk(workshop, sick)
    while await manager.step():
        pass
    for claim in at_work:
        await workshop.end(claim)
    while await manager.step():
        pass
    pages = "SELECT count(*) FROM work.outcome o JOIN work.task t USING (task) WHERE t.plan = $1 AND o.kind = 'page'"
    assert await workshop.admin.fetchval(pages, sick) == 0
    newer_release(monkeypatch)
    await workshop.command(RetryStuck, sick)
    while await manager.step():
        pass
    assert await workshop.admin.fetchval(pages, sick) == 3
    await workshop.drive(manager, [sick])
    assert (await workshop.types(sick))[-1] == "PlanFinished"


async def test_nobody_claims_work_of_a_stuck_plan(workshop: Workshop) -> None:
    manager = await workshop.manager()
    sick, _ = await two_plans_at_their_first_pages(workshop, manager)
    await plant_in_task(workshop, sick)
    while await manager.step():
        pass
    (first, *_) = await workshop.claimable([sick])
    assert await workshop.take(workshop.worker(), first) is None


@pytest.mark.parametrize("bytes_", [b"no json at all", b"{}", b'{"data":{},"schema":1}', b"[1]"])
async def test_a_body_that_is_no_event_at_all_sticks_its_own_plan_only(workshop: Workshop, bytes_: bytes) -> None:
    manager = await workshop.manager()
    sick, well = await two_plans_at_their_first_pages(workshop, manager)
    chunk = (await workshop.claimable([sick]))[0]
    position = await workshop.plant("executor", f"chunk-{chunk}", "ChunkEnded", bytes_)
    await workshop.drive(manager, [sick, well])
    assert (await workshop.types(well))[-1] == "PlanFinished"
    assert (await stuck_at(workshop, sick)).position == position


async def test_an_event_of_a_chunk_that_nobody_planned_sticks_the_plan_it_names(workshop: Workshop) -> None:
    manager = await workshop.manager()
    sick, well = await two_plans_at_their_first_pages(workshop, manager)
    chunk = new_id()
    entity = Entity(kind=Kind.PAGE, id="1", outcome=Outcome.MIGRATED)
    ended = ChunkEnded(chunk=chunk, epoch=1, entities=(entity,))
    position = await workshop.plant("executor", f"chunk-{chunk}", "ChunkEnded", body(ended, sick))
    await workshop.drive(manager, [sick, well])
    assert (await workshop.types(well))[-1] == "PlanFinished"
    assert await stuck_at(workshop, sick) == PlanStuck(plan=sick, position=position, code="undecidable")


async def test_a_decision_that_fails_sticks_its_own_plan_only_and_retry_goes_on_once_the_cause_is_gone(
    workshop: Workshop,
) -> None:
    manager = await workshop.manager()
    sick, well = await workshop.plan(spaces=1, keys=False), await workshop.plan(spaces=1)
    await workshop.drive(manager, [sick, well])
    assert (await workshop.types(well))[-1] == "PlanFinished"
    assert (await stuck_at(workshop, sick)).code == "undecidable"
    assert (await workshop.command(RunPlan, sick)).problem is not None

    assert (await workshop.command(RetryStuck, sick)).problem is None
    await workshop.drive(manager, [sick])
    assert (await workshop.types(sick)).count("PlanStuck") == 2  # nothing has changed: it says so again

    source = await workshop.admin.fetchval("SELECT source FROM work.plan WHERE plan = $1", sick)
    await workshop.admin.execute("INSERT INTO people.space VALUES ($1, '1', 'KEY', 'Key')", source)
    assert (await workshop.command(RetryStuck, sick)).problem is None
    await workshop.drive(manager, [sick])
    assert (await workshop.types(sick))[-1] == "PlanFinished"


async def test_a_stop_requested_while_stuck_is_kept_and_takes_effect_after_the_retry(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager = await workshop.manager()
    sick, _ = await two_plans_at_their_first_pages(workshop, manager)
    await plant_in_chunk(workshop, sick)
    while await manager.step():
        pass
    assert (await workshop.command(StopPlan, sick)).problem is None
    await workshop.drive(manager, [sick])
    assert (await workshop.command(ResumePlan, sick)).problem is not None
    newer_release(monkeypatch)
    await workshop.command(RetryStuck, sick)
    await workshop.drive(manager, [sick])
    assert (await workshop.types(sick))[-1] == "PlanStopped"
    assert (await workshop.events(plan=sick))[-1].conserved


async def test_a_plan_that_is_not_stuck_has_nothing_to_retry(workshop: Workshop) -> None:
    plan = await workshop.plan(groups=True)
    reply = await workshop.command(RetryStuck, plan)
    assert reply.problem is not None and reply.problem.code == "not_stuck"


async def test_a_type_of_a_newer_release_is_not_passed_over(workshop: Workshop) -> None:
    manager = await workshop.manager()
    sick, well = await two_plans_at_their_first_pages(workshop, manager)
    head = (await workshop.planner.head()).position
    resumed = body(PlanResumed(plan=sick), sick)
    await workshop.plant("planner", f"plan-{sick}", "PlanTeleported", resumed)
    await workshop.command(StopPlan, well)
    with pytest.raises(UnknownEvent):
        await manager.step()
    assert manager.position == head
    assert not await workshop.admin.fetchval("SELECT stop_requested FROM work.plan WHERE plan = $1", well)
