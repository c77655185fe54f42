"""Any process may die at any moment: the plan ends the same, and nothing is on the site twice."""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable

import pytest

from cli.client import ENDED
from tests.e2e.world import Move, World

pytestmark = [pytest.mark.slow, pytest.mark.chaos]

KILLS = 5


async def ends_as_undisturbed(world: World, move: Move, undisturbed: str) -> None:
    report = await world.ended(move, timeout=150)
    assert report["status"] == "FINISHED", report
    assert report["conserved"]
    assert await world.twice(move) == []
    assert await world.canonical(move) == undisturbed


async def test_an_executor_killed_with_a_chunk_claimed_and_not_ended_changes_nothing(
    world: World, south: str, undisturbed: str
) -> None:
    chance = random.Random(1)
    move = await world.plan(south)
    await world.run(move)

    async def at_work() -> bool:
        """Both executors stand still: whatever is claimed and not ended is work of theirs."""
        return bool(
            await world.look(
                "SELECT count(*) FROM log.events c WHERE c.type = 'ChunkClaimed' AND c.position > $1 AND NOT EXISTS"
                " (SELECT FROM log.events e WHERE e.stream = c.stream AND e.version > c.version)",
                since,
            )
        )

    moves = [move]
    for _ in range(KILLS):
        # Kills hit chunks of all kinds: one that died five times in a row would be given up, as it should be.
        await chunks_ended(world, chance.randint(1, 6))
        while True:
            since = await world.look("SELECT position FROM log.log_head")
            try:
                await world.kill_at_work(["executor-1", "executor-2"], at_work, chance, timeout=30)
                break
            except TimeoutError:
                if await world.status(moves[-1]) not in ENDED:
                    raise
            moves.append(await world.plan(south))  # the last one was over before the last kill
            await world.run(moves[-1])
    for each in moves:
        await ends_as_undisturbed(world, each, undisturbed)


async def chunks_ended(world: World, least: int, timeout: float = 20) -> None:
    """Waits until so many more chunks have ended, or the plan has nothing more to do."""
    count = "SELECT count(*) FROM log.events WHERE type = 'ChunkEnded'"
    before = await world.look(count)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout):
            while await world.look(count) < before + least:
                await asyncio.sleep(0.02)


async def behind(world: World, checkpoint: str) -> bool:
    """Whether the log holds something that this reader has not taken in."""
    return bool(await world.look(f"SELECT position > coalesce(({checkpoint}), 0) FROM log.log_head"))


async def test_a_planner_killed_with_events_not_taken_in_changes_nothing(
    world: World, south: str, undisturbed: str
) -> None:
    await killed(
        world,
        south,
        undisturbed,
        "planner",
        lambda: behind(world, "SELECT position FROM work.checkpoint WHERE name = 'work'"),
        seed=2,
    )


async def test_a_dashboard_killed_with_its_read_models_behind_changes_nothing(
    world: World, south: str, undisturbed: str
) -> None:
    await killed(
        world,
        south,
        undisturbed,
        "dashboard",
        lambda: behind(world, "SELECT min(position) FROM read.checkpoint"),
        seed=3,
    )


async def killed(
    world: World, south: str, undisturbed: str, service: str, at_work: Callable[[], Awaitable[bool]], seed: int
) -> None:
    chance = random.Random(seed)
    move = await world.plan(south)
    await world.run(move)
    for _ in range(KILLS):
        await world.house.wait_ready(30)
        # The plan may be over before the last kill: an analysis besides keeps events coming.
        await world.call("post", f"/sources/{south}/analyses")
        await world.kill_at_work([service], at_work, chance)
    await ends_as_undisturbed(world, move, undisturbed)


async def test_an_analyzer_killed_in_an_analysis_goes_on_by_itself_and_counts_the_same(world: World) -> None:
    chance = random.Random(4)
    source = await world.source("north")
    whole = await world.analyze(source)
    again = await world.source("north")
    answer = await world.call("post", f"/sources/{again}/analyses")

    epoch = 0

    async def at_work() -> bool:
        """It has claimed the analysis anew since the last kill, and not ended it."""
        nonlocal epoch
        found = await world.look(
            "SELECT epoch FROM work.chunk WHERE task = $1 AND state = 'claimed' AND epoch > $2", answer["id"], epoch
        )
        epoch = found or epoch
        return found is not None

    for _ in range(KILLS):
        await world.kill_at_work(["analyzer"], at_work, chance)
    counted = await world.call("analyzed", answer["id"])
    assert counted["state"] == "completed"
    assert numbers(counted) == numbers(whole)


def numbers(analysis: dict[str, object]) -> dict[str, object]:
    return {k: v for k, v in analysis.items() if isinstance(v, int) and k not in ("position", "started", "completed")}


CREATES = (
    ("/wiki/rest/api/space/_private", "/wiki/api/v2/pages", "/wiki/api/v2/blogposts", "/rest/api/3/user"),
    ("/wiki/api/v2/footer-comments", "/wiki/rest/api/content/{id}/child/attachment", "/wiki/rest/api/group"),
)


@pytest.mark.parametrize("routes", CREATES)
async def test_an_executor_killed_while_the_site_holds_back_the_answer_to_a_write_makes_nothing_twice(
    world: World, south: str, undisturbed: str, routes: tuple[str, ...]
) -> None:
    """One plan for each kind of create, side by side: each kill hits the held request, and whatever else is under way."""

    async def held_and_killed(route: str) -> None:
        move = await world.plan(south)
        fault = await world.fault(move, method="POST", route=route, nth=2, count=1, action="hold", when="after")
        await world.run(move)
        await world.held(move, fault, timeout=90)
        for name in ("executor-1", "executor-2"):
            world.house.kill(name)
        await world.release(move, fault)
        await ends_as_undisturbed(world, move, undisturbed)

    async with asyncio.TaskGroup() as group:
        for route in routes:
            group.create_task(held_and_killed(route))
