"""A migration of 20,000 entities that 50 pages watch: ``python -m tests.bench.watched``.

The same content is moved five times to sites of their own, by real processes: in turn unwatched and watched. The sites answer as
slowly as one on the other side of a network does (``--latency 0``: at once; then the migration takes all that the machine has, and
whatever else runs there takes from it). The watchers are in a process of their own: most read the page's stream as a browser does, some are real pages in Chromium, where the moment counts in which
the text stands in the document. Measured: from the time an event was recorded to the time a page shows its position, for every event
of the watched plans and every page; the most memory the dashboard ever had; entities a second with and without watchers. Watchers, in life
on machines of their own, here share the cores with what they watch: what they take is measured, and the rate is told once more for
the part of the machine that they left. The last line is one JSON object; the exit code is 1 if a limit is passed.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import resource
import statistics
import sys
import tempfile
import time
from bisect import bisect_left
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import aiohttp
from playwright.async_api import async_playwright

from tests.browser.conftest import FLAGS, find_browser
from tests.e2e.world import Move, World, open_world

P95_MS = 500.0
MEMORY_MB = 300
Seen = list[tuple[float, int]]  # when (seconds since 1970) a page showed which position

# In the page: the moment at which its text changes.
_OBSERVE = """() => { window.seen = []; const node = document.getElementById('position');
new MutationObserver(() => window.seen.push([Date.now() / 1000, Number(node.textContent.replaceAll(',', ''))]))
.observe(node, {childList: true, characterData: true, subtree: true}); }"""


async def stream(session: aiohttp.ClientSession, url: str, seen: Seen, stop: asyncio.Event) -> None:
    """Reads a page's stream until ``stop``; a beat carries the position up to which the page is true."""
    ending = asyncio.create_task(stop.wait())
    async with session.get(url) as answer:
        beat = False
        while not stop.is_set():
            line = asyncio.ensure_future(answer.content.readline())
            await asyncio.wait({line, ending}, return_when=asyncio.FIRST_COMPLETED)
            if not line.done():
                line.cancel()
                return
            text = line.result().decode().rstrip()
            if text.startswith("event: "):
                beat = text == "event: beat"
            elif beat and text.startswith("data: "):
                seen.append((time.time(), int(text[6:])))


async def watch(url: str, links: list[str], plan: str, pages: int, stop: Event, out: Any) -> None:
    """``links``: one-time links, of the streams first and then of each real page."""
    ended = asyncio.Event()
    streams: list[Seen] = [[] for _ in links[pages:]]
    timeout = aiohttp.ClientTimeout(total=None)
    async with (
        aiohttp.ClientSession(
            timeout=timeout, cookie_jar=aiohttp.CookieJar(unsafe=True), connector=aiohttp.TCPConnector(limit=0)
        ) as session,
        async_playwright() as playwright,
    ):
        async with session.get(url + links[-1]):
            pass
        tasks = [asyncio.create_task(stream(session, f"{url}/live/plans/{plan}", seen, ended)) for seen in streams]
        browser = await playwright.chromium.launch(executable_path=await asyncio.to_thread(find_browser), args=FLAGS)
        shown = []
        for link in links[:pages]:
            page = await (await browser.new_context()).new_page()
            await page.goto(url + link)
            await page.goto(f"{url}/plans/{plan}")
            await page.evaluate(_OBSERVE)
            shown.append(page)
        out.put("ready")
        before = _cpu_of_this_process()
        await asyncio.to_thread(stop.wait)
        real = [[(float(at), int(position)) for at, position in await page.evaluate("window.seen")] for page in shown]
        await browser.close()
        ended.set()
        await asyncio.gather(*tasks)
    out.put((streams, real, _cpu_of_this_process() - before))


def _cpu_of_this_process() -> float:
    """Seconds, with those of what it started and has ended: of the browser only when it is closed."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def watchers(*given: Any) -> None:
    asyncio.run(watch(*given))


def latencies(seen: Seen, events: list[tuple[int, float]]) -> list[float]:
    """Milliseconds from each event (position, time) to the first sight of it; an event that was never seen counts as a minute."""
    positions = [position for _, position in seen]
    found = []
    for position, at in events:
        index = bisect_left(positions, position)
        found.append((seen[index][0] - at) * 1000 if index < len(seen) else 60_000.0)
    return found


def _cpu(pid: int | None) -> float:
    """Seconds of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _memory(pid: int | None, field: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) // 1024
    return 0


async def moved(world: World, move: Move) -> tuple[int, float]:
    """Entities and seconds of a run from its start to its end, by the log's own times."""
    await world.run(move)
    await world.ended(move, timeout=900)
    plan = await world.call("get", f"/plans/{move.plan}")
    assert plan["status"] in ("FINISHED", "FAILED") and plan["conserved"], plan["line"]
    seconds = await world.look(
        "SELECT extract(epoch FROM max(recorded_at) FILTER (WHERE type <> 'PlanStarted') - min(recorded_at)"
        " FILTER (WHERE type = 'PlanStarted')) FROM log.events WHERE stream = $1",
        f"plan-{move.plan}",
    )
    return sum(kind["selected"] for kind in plan["kinds"].values()), float(seconds)


class Watchers:
    """A process of ``clients`` that watch a plan, ``real`` of them in Chromium, from ``start`` to ``stop``."""

    def __init__(self, world: World, clients: int, real: int) -> None:
        self._world, self._clients, self._real = world, clients, real

    async def start(self, plan: str) -> None:
        links = [(await self._world.call("post", "/sign-in-links", {}))["path"] for _ in range(self._real + 1)]
        links = links[: self._real] + [links[-1]] * (self._clients - self._real)
        context = multiprocessing.get_context("spawn")
        self._stop, self._out = context.Event(), context.Queue()
        self._process = context.Process(
            target=watchers, args=(self._world.house.dashboard_url, links, plan, self._real, self._stop, self._out)
        )
        self._process.start()
        assert await asyncio.to_thread(self._out.get, True, 120) == "ready"

    async def stop(self) -> tuple[list[Seen], list[Seen], float]:
        """What the streams and the pages in Chromium saw, and what seeing it took, in seconds of a core."""
        self._stop.set()
        found: tuple[list[Seen], list[Seen], float] = await asyncio.to_thread(self._out.get, True, 60)
        await asyncio.to_thread(self._process.join)
        return found


async def measure(folder: Path, pages: int, clients: int, real: int, short: bool, latency: float) -> dict[str, Any]:
    servers = {
        "large": {"version": "9.2.1", "generate": {"spaces": 8, "pages": pages, "users": 30, "comments": pages // 2}}
    }
    site = {"latency": {"median": latency, "sigma": 0.3, "seed": 1}} if latency else {}
    async with open_world(folder / "data", servers=servers, executors=2, settings={}) as world:
        first = await world.move("large", **site)
        moves = [first, *[await world.plan(first.source, **site) for _ in range(2 if short else 4)]]
        pid = world.house.pid("dashboard")
        before = _memory(pid, "VmRSS")
        rates, dashboard, every, in_document = [], list[float](), list[float](), list[float]()
        counted = entities = 0
        took, left = 0.0, list[float]()
        for number, move in enumerate(moves):
            used, watching = _cpu(pid), number % 2 == 1
            if not watching:
                entities, seconds = await moved(world, move)
            else:
                crowd = Watchers(world, clients, real)
                await crowd.start(move.plan)
                began = await world.look("SELECT position FROM log.log_head")
                entities, seconds = await moved(world, move)
                events = await since(world, began)
                await asyncio.sleep(1)
                streams, shown, cpu = await crowd.stop()
                counted, took = counted + len(events), took + cpu
                left.append(1 - cpu / seconds / (os.cpu_count() or 1))
                every += [ms for seen in (*streams, *shown) for ms in latencies(seen, events)]
                in_document += [ms for seen in shown for ms in latencies(seen, events)]
            dashboard.append(_cpu(pid) - used)
            rates.append(entities / seconds)
            sys.stderr.write(f"{move.name}: {entities} entities in {seconds:.0f} s\n")
        every.sort()
        in_document.sort()
        unwatched, watched = rates[::2], rates[1::2]
        ratio = statistics.mean(watched) / statistics.mean(unwatched)
        return {
            "bench": "watched",
            "entities": entities,
            "pages": clients,
            "real_pages": real,
            "events": counted,
            "site_latency_ms": round(latency * 1000),
            "load": round(os.getloadavg()[0], 1),
            "event_to_screen_ms_median": round(statistics.median(every)),
            "event_to_screen_ms_p95": round(every[int(len(every) * 0.95)]),
            "in_chromium_ms_p95": round(in_document[int(len(in_document) * 0.95)]) if in_document else None,
            "dashboard_mb_before": before,
            "dashboard_mb_most": _memory(pid, "VmHWM"),
            "entities_per_s_unwatched": [round(rate, 1) for rate in unwatched],
            "entities_per_s_watched": [round(rate, 1) for rate in watched],
            "watched_to_unwatched": round(ratio, 3),
            "unwatched_least_to_most": round(min(unwatched) / max(unwatched), 3),
            "dashboard_cpu_s": [round(seconds) for seconds in dashboard],
            "watchers_cpu_s": round(took),
            "watched_to_unwatched_of_the_machine_left": round(ratio / statistics.mean(left), 3),
            "limits": {"p95_ms": P95_MS, "memory_mb": MEMORY_MB},
        }


async def since(world: World, position: int) -> list[tuple[int, float]]:
    """Position and time of every event after a position."""
    rows = await world.rows(
        "SELECT position, extract(epoch FROM recorded_at)::float8 AS at FROM log.events WHERE position > $1 ORDER BY position",
        position,
    )
    return [(row["position"], row["at"]) for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pages", type=int, default=3600, help="pages of the source; about 5.6 entities come of each")
    parser.add_argument("--watchers", type=int, default=50)
    parser.add_argument("--real", type=int, default=3, help="of them: pages in Chromium")
    parser.add_argument("--short", action="store_true", help="three times instead of five")
    parser.add_argument("--latency", type=float, default=0.1, help="median of the sites' answers, in seconds")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cwb-", dir="/tmp") as folder:
        result = asyncio.run(measure(Path(folder), given.pages, given.watchers, given.real, given.short, given.latency))
    sys.stdout.write(json.dumps(result) + "\n")
    sys.exit(int(result["event_to_screen_ms_p95"] > P95_MS or result["dashboard_mb_most"] > MEMORY_MB))


if __name__ == "__main__":
    main()
