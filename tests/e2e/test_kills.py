"""An analysis whose analyzer dies goes on by itself. Kills of everything else: ``tests.chaos``."""

import random

import pytest

from tests.e2e.world import World

pytestmark = [pytest.mark.slow, pytest.mark.chaos]

KILLS = 5


async def test_an_analyzer_killed_in_an_analysis_goes_on_by_itself_and_counts_the_same(world: World) -> None:
    chance = random.Random(4)
    # Large enough that there is work under way for every kill.
    await world.server("wide", {"version": "9.2.1", "generate": {"spaces": 60, "pages": 600, "users": 80}})
    source = await world.source("wide")
    whole = await world.analyze(source)
    again = await world.source("wide")
    answer = await world.call("post", f"/sources/{again}/analyses")

    position = 0

    async def at_work() -> bool:
        """It has claimed a chunk of the analysis since the last kill, and not ended it."""
        nonlocal position
        found = await world.look(
            "SELECT max(e.position) FROM work.chunk k JOIN log.events e ON e.stream = 'chunk-' || k.chunk"
            " WHERE k.task = $1 AND k.state = 'claimed' AND e.type = 'ChunkClaimed' AND e.position > $2",
            answer["id"],
            position,
        )
        position = found or position
        return found is not None

    for _ in range(KILLS):
        await world.kill_at_work(["analyzer"], at_work, chance)
    counted = await world.call("analyzed", answer["id"])
    assert counted["state"] == "completed"
    assert numbers(counted) == numbers(whole)


def numbers(analysis: dict[str, object]) -> dict[str, object]:
    return {k: v for k, v in analysis.items() if isinstance(v, int) and k not in ("position", "started", "completed")}
