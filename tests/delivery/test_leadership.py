"""One planner leads. A leader that is paused, cut off or too old loses the lead by itself."""

import asyncio
import os
import signal
import time
from typing import Any

import pytest

from services.planner.leader import Leader
from services.planner.leadership import _LOCK, Connect, Leadership, LeadershipLost
from shared.events.catalog.plan import PlanResumed
from tests.delivery.test_jetstream import ends_right, under_way
from tests.delivery.test_poison import body
from tests.delivery.workshop import ACTOR, Workshop
from tests.e2e.world import World

pytestmark = pytest.mark.chaos

_LEADER = """
SELECT a.pid FROM pg_locks l JOIN pg_stat_activity a USING (pid)
WHERE l.locktype = 'advisory' AND a.application_name = 'planner leader' AND a.datname = current_database() AND l.granted
"""


async def leader(house: World) -> str | None:
    """The planner that leads, by whom its database session belongs to."""
    session = await house.look(_LEADER)
    if session is None:
        return None
    for name in ("planner", "planner-2"):
        if await house.leads(name):
            return name
    return None


async def a_leader_other_than(house: World, name: str | None, within: float) -> str:
    async with asyncio.timeout(within):
        while True:
            found = await leader(house)
            if found is not None and found != name:
                return found
            await asyncio.sleep(0.1)


@pytest.mark.slow
async def test_a_leader_that_is_stopped_is_replaced_within_15_s_and_does_no_harm_when_it_goes_on(
    house: World, source: str, undisturbed: str
) -> None:
    first = await a_leader_other_than(house, None, 30)
    move = await house.plan(source)
    await house.run(move)
    await under_way(house, move, 3)
    pid = house.house.pid(first)
    os.kill(pid, signal.SIGSTOP)
    stopped = time.monotonic()
    try:
        second = await a_leader_other_than(house, first, 15)
        assert time.monotonic() - stopped < 15
        assert house.house.pid(first) == pid  # it stands still all the while
        await ends_right(house, move, undisturbed)
    finally:
        os.kill(pid, signal.SIGCONT)
    position = await house.look("SELECT position FROM log.log_head")
    again = await house.plan(source)
    await house.run(again)
    await ends_right(house, again, undisturbed)
    assert await leader(house) == second
    late = await house.look(
        "SELECT count(*) FROM log.events WHERE position > $1 AND position(convert_to($2, 'UTF8') IN body) > 0"
        " AND split_part(stream, '-', 1) IN ('plan', 'task', 'chunk')",
        position,
        move.plan,
    )
    assert late == 0
    assert house.house.pid(first) == pid  # and it is none the worse for it


async def test_a_session_that_is_not_touched_loses_the_lead(workshop: Workshop) -> None:
    """The database's own clock takes it away: the leader itself may stand still."""
    connect = Connect(workshop.settings.database_url, None)
    held = await Leadership.campaign(connect)
    assert held is not None
    assert await Leadership.campaign(connect) is None
    await held._connection.execute("SET idle_session_timeout = '300ms'")  # 10 s else
    await asyncio.sleep(0.6)
    standby = await Leadership.campaign(connect)
    assert standby is not None
    held._touched = 0.0
    with pytest.raises(LeadershipLost):
        await held.touch()
    await standby.resign()


class _NatsAway:
    """The leader's work on the log does not need NATS."""

    is_connected = False

    def jetstream(self, **_: Any) -> None:
        return None


async def _lead(workshop: Workshop, stop: asyncio.Event) -> tuple[Leader, asyncio.Task[None]]:
    connect = Connect(workshop.settings.database_url, None)
    pool = workshop.pools["planner"]
    leader = Leader(workshop.planner, pool, _NatsAway(), connect, workshop.settings, ACTOR.key)  # type: ignore[arg-type]
    return leader, asyncio.create_task(leader.run(stop))


async def _until(condition: Any, within: float = 10) -> None:
    async with asyncio.timeout(within):
        while not await condition():
            await asyncio.sleep(0.02)


async def test_a_leader_that_meets_an_event_of_a_newer_release_gives_up_the_lead(workshop: Workshop) -> None:
    stop = asyncio.Event()
    leader, running = await _lead(workshop, stop)
    plan = await workshop.plan(groups=True)

    async def begun() -> bool:
        return bool(await workshop.tasks(plan))

    await _until(begun)
    await workshop.plant("planner", f"plan-{plan}", "PlanTeleported", body(PlanResumed(plan=plan), plan))

    async def free() -> bool:
        if not await workshop.admin.fetchval("SELECT pg_try_advisory_lock($1)", _LOCK):
            return False
        return bool(await workshop.admin.fetchval("SELECT pg_advisory_unlock($1)", _LOCK))

    await _until(free)
    assert not leader.leading
    assert not running.done()  # it waits: another replica may be newer, and this one serves commands
    stop.set()
    await running


async def test_with_nats_away_plans_are_decided_all_the_same(workshop: Workshop) -> None:
    stop = asyncio.Event()
    _, running = await _lead(workshop, stop)
    plan, worker = await workshop.plan(groups=True), workshop.worker()

    async def ended() -> bool:
        for chunk in await workshop.claimable([plan]):
            if (claim := await workshop.take(worker, chunk)) is not None:
                await workshop.end(claim)
        return (await workshop.types(plan))[-1] == "PlanFinished"

    await _until(ended, 20)
    stop.set()
    await running
