"""What one executor is told to wait, all of them wait, by the database's clock; and a site's budget is shared evenly."""

import asyncio
import time

from services.executor.gate import SiteGate
from tests.delivery.workshop import Workshop


def gate(workshop: Workshop, **more: object) -> SiteGate:
    return SiteGate("site", workshop.pools["executor"], workshop.settings, **more)  # type: ignore[arg-type]


async def waited(one: SiteGate) -> float:
    began = time.monotonic()
    async with one.slot():
        return time.monotonic() - began


async def test_who_was_not_told_itself_waits_too_and_sends_fewer_at_once(workshop: Workshop) -> None:
    woken: list[str] = []
    other = gate(workshop)
    assert await waited(other) < 0.5
    limit = other.limit

    async def wake(side: str) -> None:
        woken.append(side)
        other.news()

    told = gate(workshop, wake=wake)
    told.throttled(1.5)
    async with asyncio.timeout(5):
        while not woken:
            await asyncio.sleep(0.01)
    assert woken == ["site"]
    assert await waited(other) > 0.5
    assert other.limit == max(1, limit // 2)


async def test_a_longer_wait_stands_against_a_shorter_one_that_is_told_later(workshop: Workshop) -> None:
    one, two = gate(workshop), gate(workshop)
    one.throttled(60.0)
    await asyncio.sleep(0.2)
    two.throttled(0.1)
    await asyncio.sleep(0.2)
    left = await workshop.admin.fetchval("SELECT extract(epoch FROM until - clock_timestamp()) FROM work.throttle")
    assert 55 < left < 60


async def test_two_executors_at_work_on_a_site_have_half_of_its_budget_each(workshop: Workshop) -> None:
    plan = await workshop.plan(groups=True)
    manager = await workshop.manager()
    while await manager.step():
        pass
    (chunk,) = await workshop.claimable([plan])
    site = await workshop.admin.fetchval("SELECT site FROM work.plan WHERE plan = $1", plan)
    for n in range(2):
        await workshop.admin.execute(
            "INSERT INTO work.lease VALUES ($1, $2, $3, clock_timestamp() + interval '1 minute')", chunk, n + 1, f"w{n}"
        )
    shared = SiteGate(site, workshop.pools["executor"], workshop.settings.model_copy(update={"site_concurrency": 9}))
    await waited(shared)
    for _ in range(1000):
        shared.observe("get page", 0.01, 200)
    assert shared.limit == 5
