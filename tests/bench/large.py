"""One large space through two executors: ``python -m tests.bench.large``.

    python -m tests.bench.large [--pages 50000] [--megabytes 5000]

Ends with one line of JSON: the most memory that each service ever held, time per page at the beginning and at the end of the
pages, by the clock and by the executors' processors, and what share of the chunks each executor did. Exit code 1: not as
promised (300 MB, 10 % by the clock, both busy).
"""

import argparse
import asyncio
import bisect
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.chaos.faults import EXECUTORS
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


@dataclass(frozen=True)
class Pace:
    """Of one part of the pages: seconds of the clock and of the executors' processors per page."""

    seconds: float
    cpu: float


Samples = list[tuple[float, float]]  # moment, seconds of processors that the executors have used so far


async def sample(world: World, samples: Samples) -> None:
    tick = os.sysconf("SC_CLK_TCK")
    while True:
        used = 0
        for name in EXECUTORS:
            if pid := world.house.pid(name):
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                used += int(fields[11]) + int(fields[12])
        samples.append((time.time(), used / tick))
        await asyncio.sleep(1)


def pace(events: list[Happened], samples: Samples) -> tuple[Pace, Pace]:
    """Over the first and the last part of the pages, while every place of the executors is taken.

    A depth of the tree begins when the one above it is there, so at its end executors wait for the last chunks: that is no sign
    of anything getting slower with size. A chunk's pages are spread evenly over its time. The machine is shared with the
    stand-ins and with what else runs on it, so the processors' time tells more than the clock.
    """
    claimed = {e.stream: e.at for e in events if e.type == "ChunkClaimed"}
    chunks = [(claimed[e.stream], e.at, len(e.data["entities"])) for e in events if _ends(e, "page")]
    moments = sorted({at for began, ended, _ in chunks for at in (began, ended)})
    spans: list[tuple[int, float, float, float]] = []  # chunks open at once, from, to, pages
    for start, end in itertools.pairwise(moments):
        open_now = [(ended - began, n) for began, ended, n in chunks if began <= start and ended >= end]
        spans.append((len(open_now), start, end, sum(n * (end - start) / took for took, n in open_now)))
    total = sum(pages for *_, pages in spans)
    parts: dict[int, list[tuple[int, float, float, float]]] = {}
    done = 0.0
    for span in spans:
        parts.setdefault(min(PART - 1, int(done / total * PART)), []).append(span)
        done += span[3]

    def told(part: list[tuple[int, float, float, float]]) -> Pace:
        most = max(count for count, *_ in part)
        full = [span for span in part if span[0] == most]
        clock = sum(end - start for _, start, end, _ in full) / sum(pages for *_, pages in full)
        cpu = _at(samples, part[-1][2]) - _at(samples, part[0][1])
        return Pace(clock, cpu / sum(pages for *_, pages in part))

    return told(parts[0]), told(parts[PART - 1])


def _at(samples: Samples, moment: float) -> float:
    """What had been used by then, between two samples in proportion."""
    after = min(max(bisect.bisect_left(samples, (moment, 0.0)), 1), len(samples) - 1)
    (t0, u0), (t1, u1) = samples[after - 1], samples[after]
    return u0 + (u1 - u0) * min(1.0, max(0.0, (moment - t0) / (t1 - t0)))


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
        began, samples = time.monotonic(), Samples()
        sampling = asyncio.create_task(sample(world, samples))
        await world.run(move)
        report = await world.ended(move, timeout=24 * 3600)
        seconds = time.monotonic() - began
        sampling.cancel()
        events = await events_of(world, move.plan)
        first, last = pace(events, samples)
        used, busy = memory(world), shares(events)
        good = (
            report["conserved"]
            and max(used.values()) < MOST_MEMORY
            and last.seconds <= first.seconds * MOST_SLOWER
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
            "ms_per_page_first": round(first.seconds * 1000, 2),
            "ms_per_page_last": round(last.seconds * 1000, 2),
            "cpu_ms_per_page_first": round(first.cpu * 1000, 2),
            "cpu_ms_per_page_last": round(last.cpu * 1000, 2),
            "shares": busy,
        }, good


class generated:
    """A Cloudward with settings as they come, and generated servers, analyzed, each a process of its own as it would be a machine
    of its own: while one lists its pages, another answers."""

    def __init__(self, *contents: dict[str, Any]) -> None:
        self._servers = {}
        for n, content in enumerate(contents):
            options = dict(content)
            seed = options.pop("seed", 7)
            self._servers[f"large-{n}"] = {"version": "7.19.0", "seed": seed, "generate": options}
        self._folder = Path(tempfile.mkdtemp(prefix="cwb-", dir="/tmp"))
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> tuple[Any, ...]:
        self._stack.callback(shutil.rmtree, self._folder, ignore_errors=True)
        try:
            world = await self._stack.enter_async_context(
                open_world(self._folder / "world", servers={}, settings={}, fast=False)
            )
            sources = []
            for name, options in self._servers.items():
                world.servers[name] = self._started(name, options)
                source = await world.source(name)
                assert (await world.analyze(source))["state"] == "completed"
                await world.repair(source)
                sources.append(source)
        except BaseException:
            await self._stack.aclose()
            raise
        return (world, *sources)

    def _started(self, name: str, options: dict[str, Any]) -> str:
        """The address of a server that has just been started."""
        file = self._folder / f"{name}.json"
        file.write_text(json.dumps({"instances": [{"name": name, "kind": "server", "options": options}]}))
        command = [sys.executable, "-m", "sandbox", "--config", str(file), "--with-parent"]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._stack.callback(process.terminate)
        assert process.stdout is not None
        return str(json.loads(process.stdout.readline())["instances"][0]["url"])

    async def __aexit__(self, *error: Any) -> None:
        await self._stack.aclose()


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
