"""An analysis whose analyzer dies goes on by itself. Kills of everything else: ``tests.chaos``."""

import random

import pytest

from tests.e2e.world import World

pytestmark = [pytest.mark.slow, pytest.mark.chaos]

KILLS = 5


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
