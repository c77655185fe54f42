"""Plans of very different size to one site, through two executors: ``python -m tests.bench.fair``.

    python -m tests.bench.fair [--pages 20000 2000 200 20]

The smallest plan first runs alone, to a site of its own. Then all are started on one site, the largest first. Ends with one line of
JSON: how long the smallest took alone and behind the others, when its first pages were there, and how far each of the others had
come by then. Exit code 1: not as promised (5 times its time alone, a first page within 60 s).
"""

import argparse
import asyncio
import json
import sys
from collections import Counter
from typing import Any

from tests.bench.large import generated
from tests.chaos.judge import Happened, events_of
from tests.e2e.test_content import saved
from tests.e2e.world import Move, World

MOST_TIMES, FIRST_PAGE = 5.0, 60.0


async def plan(world: World, source: str, site: tuple[str, str, str], name: str) -> Move:
    """All of a source of one space to a site, under a key of its own."""
    (analysis, *_) = await world.call("get", f"/sources/{source}/analyses")
    (space,) = (await world.call("get", f"/analyses/{analysis['id']}/spaces"))["spaces"]
    keys = {space["id"]: name.upper()}
    return await saved(world, source, site, name, users="all", groups=True, spaces="all", new_keys=keys)


def began(events: list[Happened]) -> float:
    return next(e.at for e in events if e.type == "PlanStarted")


def first_page(events: list[Happened]) -> float:
    """When the end of the first chunk with a page was recorded."""
    return next(e.at for e in events if e.type == "ChunkEnded" and any(x["kind"] == "page" for x in e.data["entities"]))


async def fair(sizes: list[int]) -> tuple[dict[str, Any], bool]:
    contents = [{"spaces": 1, "pages": size, "users": 20, "seed": 7 + n} for n, size in enumerate(sizes)]
    async with generated(*contents) as (world, *sources):
        lonely = await plan(world, sources[-1], await world.site(), "alone")
        await world.run(lonely)
        await world.ended(lonely, timeout=600)
        site = await world.site()
        moves = [await plan(world, source, site, f"fair{n}") for n, source in enumerate(sources)]
        for move in moves:
            await world.run(move)
        await world.ended(moves[-1], timeout=3600)
        alone, behind = await events_of(world, lonely.plan), await events_of(world, moves[-1].plan)
        done = [
            (await world.call("get", f"/plans/{m.plan}"))["kinds"].get("page", {}).get("migrated", 0) for m in moves
        ]
        statuses = Counter([await world.status(move) for move in moves])
        for move in moves[:-1]:
            if await world.status(move) == "RUNNING":
                await world.stop(move)
        for move in moves[:-1]:
            await world.ended(move, timeout=600)
        seconds_alone, seconds = alone[-1].at - began(alone), behind[-1].at - began(behind)
        first = first_page(behind) - began(behind)
        good = (
            await world.status(moves[-1]) == "FINISHED"
            and seconds <= MOST_TIMES * seconds_alone
            and first <= FIRST_PAGE
        )
        return {
            "bench": "fair",
            "pages": sizes,
            "seconds_alone": round(seconds_alone, 1),
            "seconds_behind": round(seconds, 1),
            "times": round(seconds / seconds_alone, 2),
            "first_page_s_alone": round(first_page(alone) - began(alone), 1),
            "first_page_s_behind": round(first, 1),
            "pages_done_by_then": done,
            "statuses_then": dict(statuses),
        }, good


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.fair", description=__doc__.partition("\n")[0])
    parser.add_argument("--pages", type=int, nargs="+", default=[20_000, 2_000, 200, 20], help="the largest first")
    document, good = asyncio.run(fair(parser.parse_args().pages))
    print(json.dumps(document))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
