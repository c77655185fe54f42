"""One large space through two executors: ``python -m tests.bench.large``.

    python -m tests.bench.large [--pages 50000] [--megabytes 5000]

Ends with one line of JSON: the most memory that each service ever held, seconds per page at the beginning and at the end of
the pages, and what share of the chunks each executor did. Exit code 1: not as promised (300 MB, 10 %, both busy).
"""

import argparse
import asyncio
import itertools
import json
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tests.chaos.judge import Happened, events_of
from tests.e2e.world import World, open_world

MOST_MEMORY, MOST_SLOWER = 300.0, 1.10
PART = 5  # the first and the last of so many parts of the pages are compared


def memory(world: World) -> dict[str, float]:
    """The most resident memory that each service ever had, in MB."""
    found = {}
    for name in world.house.services:
        if pid := world.house.pid(name):
            status = Path(f"/proc/{pid}/status").read_text()
            found[name] = round(int(status.partition("VmHWM:")[2].split()[0]) / 1024, 1)
    return found


def pace(events: list[Happened]) -> tuple[float, float]:
    """Seconds per page over the first and over the last part of the pages, while every place of the executors is taken.

    A depth of the tree begins when the one above it is there, so at its end executors wait for the last chunks: that is no sign
    of anything getting slower with size. A chunk's pages are spread evenly over its time.
    """
    claimed = {e.stream: e.at for e in events if e.type == "ChunkClaimed"}
    chunks = [(claimed[e.stream], e.at, len(e.data["entities"])) for e in events if _ends(e, "page")]
    moments = sorted({at for began, ended, _ in chunks for at in (began, ended)})
    spans: list[tuple[int, float, float]] = []  # chunks open at once, seconds, pages
    for start, end in itertools.pairwise(moments):
        open_now = [(ended - began, n) for began, ended, n in chunks if began <= start and ended >= end]
        spans.append((len(open_now), end - start, sum(n * (end - start) / took for took, n in open_now)))
    most = max(count for count, _, _ in spans)
    full = [(seconds, pages) for count, seconds, pages in spans if count == most]
    share, total = sum(pages for _, pages in full) / PART, 0.0
    first, last = [0.0, 0.0], [0.0, 0.0]
    for seconds, pages in full:
        part = first if total < share else last if total >= share * (PART - 1) else None
        if part is not None:
            part[0], part[1] = part[0] + seconds, part[1] + pages
        total += pages
    return first[0] / first[1], last[0] / last[1]


def _ends(event: Happened, kind: str) -> bool:
    return event.type == "ChunkEnded" and any(e["kind"] == kind for e in event.data.get("entities") or ())


def shares(events: list[Happened]) -> list[float]:
    claims = Counter(e.data["worker"] for e in events if e.type == "ChunkClaimed")
    return sorted(round(n / claims.total(), 2) for n in claims.values())


async def space(pages: int, megabytes: int) -> tuple[dict[str, Any], bool]:
    # Files of a generated instance have some 100 kB on the average.
    content = {"spaces": 1, "pages": pages, "users": 50, "attachments": megabytes * 10, "comments": pages // 5}
    async with generated(content) as (world, source):
        move = await world.plan(source)
        began = time.monotonic()
        await world.run(move)
        report = await world.ended(move, timeout=24 * 3600)
        seconds = time.monotonic() - began
        events = await events_of(world, move.plan)
        first, last = pace(events)
        used, busy = memory(world), shares(events)
        good = (
            report["conserved"]
            and max(used.values()) < MOST_MEMORY
            and last <= first * MOST_SLOWER
            and len(busy) >= 2
            and min(busy) > 0.2
        )
        return {
            "bench": "space",
            "pages": pages,
            "status": report["status"],
            "conserved": report["conserved"],
            "seconds": round(seconds, 1),
            "memory_mb": used,
            "ms_per_page_first": round(first * 1000, 1),
            "ms_per_page_last": round(last * 1000, 1),
            "shares": busy,
        }, good


class generated:
    """A Cloudward with settings as they come, and generated servers, analyzed."""

    def __init__(self, *contents: dict[str, Any]) -> None:
        self._servers = {}
        for n, content in enumerate(contents):
            options = dict(content)
            seed = options.pop("seed", 7)
            self._servers[f"large-{n}"] = {"version": "7.19.0", "seed": seed, "generate": options}
        self._folder = Path(tempfile.mkdtemp(prefix="cwb-", dir="/tmp"))

    async def __aenter__(self) -> tuple[Any, ...]:
        self._open = open_world(self._folder / "world", servers=self._servers, settings={}, fast=False)
        world = await self._open.__aenter__()
        sources = []
        for name in self._servers:
            source = await world.source(name)
            assert (await world.analyze(source))["state"] == "completed"
            await world.repair(source)
            sources.append(source)
        return (world, *sources)

    async def __aexit__(self, *error: Any) -> None:
        try:
            await self._open.__aexit__(*error)
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.large", description=__doc__.partition("\n")[0])
    parser.add_argument("--pages", type=int, default=50_000)
    parser.add_argument("--megabytes", type=int, default=5_000)
    given = parser.parse_args()
    document, good = asyncio.run(space(given.pages, given.megabytes))
    print(json.dumps(document))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
