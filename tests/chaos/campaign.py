"""Rounds of runs: several plans side by side in one Cloudward, everything that happens to them, and the verdict on each."""

import asyncio
import contextlib
import json
import random
import shutil
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import aiohttp

from cli.client import ENDED
from cli.embedded import supervisor
from tests import scratch
from tests.chaos import judge, scene
from tests.chaos.faults import ACTS, EXECUTORS, Violence
from tests.chaos.judge import Verdict
from tests.chaos.scene import ENDS, VARIANTS, Held, Interference, Site
from tests.chaos.watchers import Watch
from tests.e2e.world import Move, World, open_world

SOURCES: dict[str, dict[str, Any]] = {
    "pocket": {"version": "7.19.0", "sample": "pocket"},
    # One space that takes a while: to be stopped in.
    "shoal": {
        "version": "7.19.0",
        "generate": {"spaces": 1, "pages": 120, "users": 6, "comments": 40, "attachments": 20},
    },
}
LEASE, TIMEOUT = 4.0, 2.0
# Short leases, small chunks: whatever can be interrupted is interrupted often, and taken over within seconds.
SETTINGS = {
    "CLOUDWARD_LEASE": str(LEASE),
    "CLOUDWARD_REQUEST_TIMEOUT": str(TIMEOUT),
    "CLOUDWARD_REOFFER": "3",
    "CLOUDWARD_SWEEP": "0.5",
    "CLOUDWARD_CHUNK_SIZE": "5",
}
TAKEOVER = LEASE + TIMEOUT
SIDE_BY_SIDE = 5
# Seconds in which a plan has to end, with short outages and with long ones: Postgres alone is away for a minute then.
PATIENCE = {False: 150.0, True: 400.0}
ENOUGH = 3  # faults that hit work under way; a run with fewer proves nothing


@dataclass
class Undisturbed:
    """What a site looks like when nothing happened."""

    canonical: str
    created: Counter[tuple[str, str]]
    status: str

    def compare(self, verdict: Verdict, status: str, canonical: str, journal: Sequence[dict[str, Any]]) -> None:
        """Notes in what another site differs from this one, and what was made there more than once."""
        if status != self.status:
            verdict.diverged.append(f"the plan is {status}, not {self.status}")
        if canonical != self.canonical:
            found = judge.difference(self.canonical, canonical)
            verdict.diverged.append(f"the site differs from an undisturbed one:\n{found}")
        extra = judge.created(journal) - self.created
        verdict.duplicates += [f"{kind} “{name}” is there {n} times too often" for (kind, name), n in extra.items()]


@dataclass
class Run:
    """One plan under a seed. ``held``: requests whose answer is to be held back over a kill. ``expected``: what it must
    leave; None: what was there ``before``, for it takes everything back. ``earlier``: plans that it goes on from."""

    number: int
    seed: int
    what: str
    move: Move
    site: Site
    held: list[Held]
    watch: Watch
    before: dict[str, Any]
    expected: Undisturbed | None
    interference: Interference | None = None
    earlier: list[str] = field(default_factory=list)
    enough: int = ENOUGH
    hits: list[str] = field(default_factory=list)
    status: str = ""
    seconds: float = 0.0
    too_late: bool = False  # the others on the site came after the executor
    verdict: Verdict = field(default_factory=Verdict)

    @property
    def counts(self) -> bool:
        return len(self.hits) >= self.enough and not self.too_late

    def line(self) -> str:
        kinds = Counter(self.hits)
        what = ", ".join(f"{hit} ×{n}" if n > 1 else hit for hit, n in kinds.items()) or "nothing"
        answers = sum(person.answers for person in self.watch.people)
        end = f"{self.status} after {self.seconds:.1f} s; {len(self.hits)} faults hit work under way: {what}; {answers} answers read"
        if self.too_late:
            end += "; does not count: the others on the site came too late"
        elif not self.counts:
            end += f"; does not count: fewer than {self.enough}"
        return f"run {self.number} (seed {self.seed}, {self.what}): {end}"


@dataclass
class Tally:
    """What the campaign ends with."""

    runs: int = 0
    diverged: int = 0
    duplicates: int = 0
    unbalanced: int = 0
    unverified: int = 0
    exposed: int = 0

    def add(self, verdict: Verdict) -> None:
        self.runs += 1
        self.note(verdict)

    def note(self, verdict: Verdict) -> None:
        for name, found in verdict.all().items():
            setattr(self, name, getattr(self, name) + len(found))

    @property
    def good(self) -> bool:
        return not any(value for name, value in vars(self).items() if name != "runs")

    def line(self) -> str:
        return json.dumps(vars(self))


class Stage:
    """One Cloudward with its sources analyzed, and what the sites look like when nothing happened."""

    def __init__(self, world: World, http: aiohttp.ClientSession) -> None:
        self.world, self.http = world, http
        self.sources: dict[str, str] = {}
        self.undisturbed: dict[str, Undisturbed] = {}
        self._sources_seen: dict[str, int] = {}

    async def know(self, name: str) -> None:
        """Registers and analyzes a server of the sandbox."""
        source = await self.world.source(name)
        assert (await self.world.analyze(source))["state"] == "completed"
        await self.world.repair(source)
        self.sources[name], self._sources_seen[name] = source, 0

    async def prepare(self, variants: list[str]) -> None:
        """Moves once onto each kind of site without any trouble."""
        for variant in variants:
            for _ in range(5):
                move, site, interference, _before = await self.onto(variant)
                helping = [asyncio.create_task(interference.run())] if interference else []
                await self.world.run(move)
                report = await self.world.ended(move, timeout=120)
                await asyncio.gather(*helping)
                journal = await site.journal()
                if interference is None or interference.in_time(journal):
                    break
            else:
                raise AssertionError("the others on the site always came too late")
            assert report["status"] == ENDS[variant], report
            assert report["conserved"], report
            self.undisturbed[variant] = await self.left(move, site, report)

    async def prepare_stops(self) -> None:
        """Moves the source that plans are stopped in, once and whole."""
        if "shoal" not in self.undisturbed:
            move, site, _, _before = await self.onto("bare", "shoal")
            await self.world.run(move)
            report = await self.world.ended(move, timeout=150)
            assert report["conserved"] and not any(kind["failed"] for kind in report["kinds"].values()), report
            self.undisturbed["shoal"] = await self.left(move, site, report)

    async def left(self, move: Move, site: Site, report: dict[str, Any]) -> Undisturbed:
        return Undisturbed(await self.canonical(move), judge.created(await site.journal()), report["status"])

    async def onto(
        self, variant: str, source: str = "pocket"
    ) -> tuple[Move, Site, Interference | None, dict[str, Any]]:
        move = await self.world.plan(self.sources[source], **VARIANTS[variant])
        site = Site(self.http, self.world, move)
        before = await site.admin("GET", "/canonical")
        interference = None
        if variant == "settled":
            interference = Interference(site)
            await interference.prepare()
        return move, site, interference, before

    async def canonical(self, move: Move) -> str:
        text = await self.world.canonical(move)
        for url in self.world.servers.values():
            text = text.replace(url, "http://source")
        return text

    async def source_writes(self) -> list[str]:
        """What the sources were asked to change since the last look."""
        found = []
        for name, seen in self._sources_seen.items():
            url = f"{self.world.admin}/sites/{name}/journal?after={seen}&limit=200000"
            async with self.http.get(url) as answer:
                entries = (await answer.json())["entries"]
            self._sources_seen[name] = entries[-1]["sequence"] if entries else seen
            found += [f"the source was asked for {e['method']} {e['route']}" for e in entries if e["effects"]]
        return found

    async def source_faults(self, rules: list[dict[str, Any]], name: str = "pocket") -> None:
        url = f"{self.world.admin}/sites/{name}/faults"
        async with self.http.delete(url):
            pass
        if rules:
            async with self.http.post(url, json=rules) as answer:
                assert answer.status == 201, await answer.text()


@asynccontextmanager
async def open_stage(variants: list[str], **more: Any) -> AsyncIterator[Stage]:
    folder = scratch.folder("cwc-")
    settings = {**SETTINGS, **more.pop("settings", {})}
    # Whatever is killed comes back at once: here that is no sign of something that cannot run.
    supervisor._LONGEST_BACKOFF = supervisor._BACKOFF
    began = time.monotonic()
    try:
        async with (
            open_world(folder / "world", servers=SOURCES, settings=settings, **more) as world,
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10), trust_env=False) as http,
        ):
            stage = Stage(world, http)
            for name in SOURCES:
                await stage.know(name)
            await stage.prepare(variants)
            print(f"a Cloudward and undisturbed moves, {time.monotonic() - began:.0f} s", flush=True)
            yield stage
    except Exception:
        print(f"the campaign broke off; its data and logs are kept in {folder}", flush=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)


async def fresh_runs(stage: Stage, seed: int, first: int, held: list[list[Held]]) -> list[Run]:
    """Saved plans onto sites of their own, every other one where people live already."""
    runs = []
    for n, cards in enumerate(held):
        own = seed * 100 + n
        variant = ("bare", "settled")[own % 2]
        move, site, interference, before = await stage.onto(variant)
        watch = Watch(site, random.Random(own))
        expected = stage.undisturbed[variant]
        runs.append(Run(first + n, own, f"{variant} site", move, site, cards, watch, before, expected, interference))
    return runs


class Round:
    """Some runs side by side, and the faults that all of them live through. ``source``: the server that they read."""

    def __init__(
        self, stage: Stage, runs: list[Run], seed: int, deck: Sequence[str], *, long: bool, source: str = "pocket"
    ) -> None:
        self.stage, self.runs, self.deck, self.source = stage, runs, deck, source
        self.chance = random.Random(seed)
        self.violence = Violence(stage.world, self.chance, TAKEOVER, long)

    async def perform(self) -> list[Run]:
        world = self.stage.world
        for run in self.runs:
            await run.site.admin("POST", "/faults", json=scene.site_faults(random.Random(run.seed)))
        self.violence.plans = [run.move.plan for run in self.runs]
        await self.stage.source_faults(scene.source_faults(self.chance), self.source)
        async with asyncio.TaskGroup() as group:
            watching = [group.create_task(run.watch.run()) for run in self.runs]
            helping = [group.create_task(run.interference.run()) for run in self.runs if run.interference]
            began = time.monotonic()
            for run in self.runs:
                helping.append(group.create_task(self._hold(run)))
                await world.call("post", f"/plans/{run.move.plan}/run", {})
                await asyncio.sleep(self.chance.uniform(0.0, 0.5))
            helping.append(group.create_task(self._strike()))
            for run in self.runs:
                await self._ended(run, began)
            for task in (*watching, *helping):
                task.cancel()
        await self.stage.source_faults([], self.source)
        await world.house.wait_ready(60)
        for run in self.runs:
            await self._judge(run)
        await self._judge_all()
        return self.runs

    async def _ended(self, run: Run, began: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE[self.violence.long]):
                while True:
                    with contextlib.suppress(Exception):
                        run.status = await self.stage.world.status(run.move)
                        if run.status in ENDED:
                            break
                    await asyncio.sleep(0.3)
        run.seconds = time.monotonic() - began

    async def _hold(self, run: Run) -> None:
        """Kills both executors while the site holds back the answer to the chosen create; one after the other."""
        for held in run.held:
            fault = await run.site.fault(
                method=held.method, route=held.route, contains=held.contains, nth=held.nth, action="hold", when="after"
            )
            while not await run.site.holds(fault):
                await asyncio.sleep(0.05)
            async with self.violence.executors:
                found = await self.violence.caught(list(EXECUTORS), partial(self._claimed, run, fault), patience=3)
                if found is not None:
                    for name in EXECUTORS:
                        self.stage.world.house.kill(name)
                    for other in self.runs:
                        if other.move.plan in found[1]:
                            hit = "both executors killed"
                            if other is run:
                                hit = f"executors killed with the answer held to {held.kind} “{held.what}”"
                            other.hits.append(hit)
            await run.site.release(fault)

    async def _claimed(self, run: Run, fault: str) -> set[str]:
        return await self.violence.claimed_by(list(EXECUTORS)) if await run.site.holds(fault) else set()

    async def _strike(self) -> None:
        for name in self.deck:
            await asyncio.sleep(self.chance.uniform(0.2, 1.5))
            await self.violence.strike(ACTS[name])

    async def _judge(self, run: Run) -> None:
        world, verdict = self.stage.world, run.verdict
        run.hits += [fault.text for fault in self.violence.faults if run.move.plan in fault.plans]
        for rule in (await run.site.rules()).values():
            if rule["action"] != "hold" and rule["fired"]:
                told = f"{rule['status']}" if rule["action"] == "status" else rule["action"]
                run.hits.append(f"site: {told} {rule['when']} effect")
        journal = await run.site.journal()
        if run.interference is not None and not run.interference.in_time(journal):
            run.too_late = True
            return
        before = [event for plan in run.earlier for event in await judge.events_of(world, plan)]
        events = await judge.events_of(world, run.move.plan)
        if run.expected is not None:
            run.expected.compare(verdict, run.status, await self.stage.canonical(run.move), journal)
            verdict.unverified += judge.strays([*events, *before], journal)
            verdict.diverged += judge.meddled(run.before, await run.site.admin("GET", "/canonical"), journal)
        elif run.status != "FINISHED":
            verdict.diverged.append(f"the undo is {run.status}, not FINISHED")
        verdict.unbalanced += await judge.unbalanced(world, events)
        verdict.unverified += judge.writes([*before, *events], journal).wrong
        verdict.exposed += await run.watch.exposures(opened=bool(run.earlier))

    async def _judge_all(self) -> None:
        """The log, the projections and the source belong to all runs of the round."""
        common = await judge.log_and_projections(self.stage.world)
        writes = await self.stage.source_writes()
        for run in self.runs:
            run.verdict.unverified += common
            run.verdict.diverged += writes
