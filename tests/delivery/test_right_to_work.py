"""Who may work on a chunk, when it is over, and what is written together, on a real database."""

import asyncio
import contextlib
import json
from typing import Any

import asyncpg
import pytest

from services.planner.dispatch import Dispatch
from services.planner.manager import Manager
from shared.events import topology
from shared.events.catalog.plan import PlanStopRequested
from shared.events.catalog.task import PhasePlanned
from shared.events.catalog.work import Phase
from shared.events.claims import Busy, Claims, LeaseLost
from shared.events.projections.base import Projection
from shared.events.projections.plans import Plans
from shared.events.projections.runner import Runner
from tests.delivery.workshop import ACTOR, Workshop
from tests.servers import NatsServer


async def planned(workshop: Workshop) -> tuple[str, str, Manager]:
    """A running plan with one chunk to claim: the inventory of its groups."""
    plan = await workshop.plan(groups=True)
    manager = await workshop.manager()
    while await manager.step():
        pass
    (chunk,) = await workshop.claimable([plan])
    return plan, chunk, manager


def worker(workshop: Workshop, **settings: float) -> Claims:
    return Claims(
        workshop.executor, workshop.pools["executor"], workshop.settings.model_copy(update=settings), ACTOR.key
    )


async def test_no_claim_stands_in_the_log_behind_a_stop_that_nobody_has_taken_in_yet(workshop: Workshop) -> None:
    plan, chunk, _ = await planned(workshop)
    await workshop.append("planner", f"plan-{plan}", 1, PlanStopRequested(plan=plan), plan=plan)
    # The tables still say RUNNING: only the guard in the log knows better.
    with pytest.raises(Busy):
        await workshop.worker().take(chunk)
    assert await workshop.planner.read_stream(f"chunk-{chunk}") == []


async def test_a_chunk_with_a_live_lease_is_nobody_elses(workshop: Workshop) -> None:
    _, chunk, manager = await planned(workshop)
    holder, other = (worker(workshop, lease=60.0) for _ in range(2))
    assert await holder.take(chunk) is not None
    assert await other.take(chunk) is None
    while await manager.step():
        pass
    assert await other.take(chunk) is None
    assert len(await workshop.planner.read_stream(f"chunk-{chunk}")) == 1


async def test_a_worker_writes_nothing_once_its_deadline_has_passed_though_nobody_took_over(workshop: Workshop) -> None:
    _, chunk, _ = await planned(workshop)
    claim = await worker(workshop, lease=6.0, request_timeout=5.0).take(chunk)
    assert claim is not None
    claim.check_write()
    await asyncio.sleep(1.05)  # its lease lives on for 5 s, the longest a request of its own may be under way
    with pytest.raises(LeaseLost):
        claim.check_write()


async def test_a_worker_that_lost_its_lease_hands_in_nothing(workshop: Workshop) -> None:
    _, chunk, manager = await planned(workshop)
    first = await worker(workshop, lease=0.2, request_timeout=0.1).take(chunk)
    assert first is not None
    while await manager.step():
        pass
    await asyncio.sleep(0.45)
    second = await worker(workshop, lease=0.2, request_timeout=0.1).take(chunk)
    assert second is not None and (second.epoch, second.attempt, second.look_first) == (2, 2, True)
    with pytest.raises(LeaseLost):
        await first.end(())
    assert [r.type for r in await workshop.planner.read_stream(f"chunk-{chunk}")] == ["ChunkClaimed", "ChunkClaimed"]


async def test_a_phase_is_not_over_while_a_chunk_of_it_has_no_end(workshop: Workshop) -> None:
    plan, inventory, manager = await planned(workshop)
    claims = workshop.worker()
    await workshop.end(await claims.take(inventory))  # type: ignore[arg-type]
    while await manager.step():
        pass
    first, last = [await claims.take(chunk) for chunk in await workshop.claimable([plan])]
    assert first is not None and last is not None

    async def phases() -> list[Phase]:
        task = (await workshop.tasks(plan))["groups"]
        return [event.phase for event in await workshop.events(task=task) if isinstance(event, PhasePlanned)]

    await workshop.end(first)
    while await manager.step():
        pass
    assert await phases() == [Phase.INVENTORY, Phase.GROUP]
    await workshop.end(last)
    while await manager.step():
        pass
    assert await phases() == [Phase.INVENTORY, Phase.GROUP, Phase.MEMBERSHIP]


async def test_a_hint_that_was_acknowledged_and_led_to_no_claim_is_given_again(
    workshop: Workshop, nats: NatsServer
) -> None:
    """JetStream drops a message whose id it has seen, also when the first one is long gone."""
    await nats.reset()
    _, chunk, _ = await planned(workshop)
    planner, executor = await nats.connect("planner"), await nats.connect("executor")
    dispatch = Dispatch(workshop.pools["planner"], planner, workshop.settings.model_copy(update={"reoffer": 0.05}))
    durable = topology.DURABLES[topology.EXECUTOR]
    try:
        hints = await executor.jetstream().pull_subscribe_bind(durable=durable.name, stream=durable.stream)
        for _ in range(3):
            assert await dispatch.sweep() == 1
            (hint,) = await hints.fetch(1, timeout=3)
            assert json.loads(hint.data) == {"chunk": chunk}
            await hint.ack_sync()
            await asyncio.sleep(0.1)
    finally:
        await planner.close()
        await executor.close()


async def refuse_at_commit(workshop: Workshop, table: str) -> Any:
    """Makes every transaction that writes to the table fail at its very end. Call the answer to mend it."""
    await workshop.admin.execute(
        "CREATE OR REPLACE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'refused' USING ERRCODE = 'integrity_constraint_violation'; END $$"
    )
    await workshop.admin.execute(
        f"CREATE CONSTRAINT TRIGGER refuse AFTER INSERT OR UPDATE ON {table} DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION public.refuse()"
    )

    async def mend() -> None:
        await workshop.admin.execute(f"DROP TRIGGER refuse ON {table}")

    return mend


@pytest.mark.parametrize("table", ["work.plan", "work.checkpoint"])
async def test_the_manager_writes_what_events_mean_and_its_checkpoint_both_or_neither(
    workshop: Workshop, table: str
) -> None:
    plan = await workshop.plan(groups=True)
    manager = await workshop.manager()
    mend = await refuse_at_commit(workshop, table)
    with pytest.raises(asyncpg.PostgresError):
        await manager.step()
    written = await workshop.admin.fetchrow(
        "SELECT (SELECT count(*) FROM work.plan), (SELECT count(*) FROM work.checkpoint)"
    )
    assert tuple(written) == (0, 0)
    await mend()
    while await manager.step():
        pass
    assert await workshop.admin.fetchval("SELECT status FROM work.plan WHERE plan = $1", plan) == "RUNNING"


@pytest.mark.parametrize("table", ["read.plan", "read.checkpoint"])
async def test_a_projection_writes_its_effect_and_its_checkpoint_both_or_neither(
    workshop: Workshop, table: str
) -> None:
    pool = await asyncpg.create_pool(workshop.database.dsn("cw_dashboard"), min_size=1, max_size=3)
    try:
        plans: Projection = Plans()
        await workshop.plan(groups=True)
        before = (await Runner(pool, workshop.planner, plans).catch_up()).position
        await workshop.plan(groups=True)
        mend = await refuse_at_commit(workshop, table)
        for _ in range(2):
            with contextlib.suppress(asyncpg.PostgresError):
                await Runner(pool, workshop.planner, plans).step()
        assert await shown(workshop, plans) == (before, 1)
        await mend()
        after = (await Runner(pool, workshop.planner, plans).catch_up()).position
        assert after > before
        assert await shown(workshop, plans) == (after, 2)
    finally:
        await pool.close()


async def shown(workshop: Workshop, plans: Projection) -> tuple[int, int]:
    """The projection's checkpoint, and how many plans it shows."""
    position = await workshop.admin.fetchval("SELECT position FROM read.checkpoint WHERE name = $1", plans.name)
    return position, await workshop.admin.fetchval("SELECT count(*) FROM read.plan")
