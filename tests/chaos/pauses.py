"""Executors paused until others have ended what they had, and Postgres paused under all of them: who wakes up does no harm."""

import asyncio
import contextlib
import os
import random
import signal
import time
from dataclasses import dataclass, field

from cli.client import ENDED
from tests.chaos import judge
from tests.chaos.campaign import LEASE, TIMEOUT, Stage
from tests.chaos.faults import EXECUTORS, Violence
from tests.chaos.judge import Verdict
from tests.chaos.scene import Site
from tests.e2e.world import Move, stopped

SIDE_BY_SIDE = 2
_PATIENCE = 20.0


@dataclass
class Pauses:
    """``moments``: at which an executor slept while others ended what it had. ``late``: writes of such that reached a site."""

    moments: int = 0
    outages: int = 0
    late: int = 0
    strays: int = 0
    verdict: Verdict = field(default_factory=Verdict)

    def line(self) -> str:
        return (
            f"{self.moments} executors slept while others ended their chunks, Postgres slept {self.outages} times:"
            f" {self.late} late writes reached a site, {self.strays} strays were removed"
        )


async def executors_asleep(stage: Stage, seed: int, moments: int) -> Pauses:
    """Pauses one executor after the other, in as many plans as it takes."""
    found, chance = Pauses(), random.Random(seed)
    while found.moments < moments:
        moves = [(await stage.onto("bare"))[:2] for _ in range(SIDE_BY_SIDE)]
        violence = Violence(stage.world, chance, LEASE + TIMEOUT, long=False)
        violence.plans = [move.plan for move, _ in moves]
        for move, _ in moves:
            await stage.world.run(move)
        while found.moments < moments and not await _over(stage, moves):
            found.moments += await _asleep(violence, chance.choice(EXECUTORS))
        await _judge(stage, moves, found, late_allowed=True)
        print(f"{found.moments} of {moments} moments", flush=True)
    return found


async def _asleep(violence: Violence, name: str) -> bool:
    """Puts one to sleep in the middle of chunks until another has ended them all; whether there were any."""
    await asyncio.sleep(violence.chance.uniform(0.0, 0.8))
    pid, worker = violence.world.house.pid(name), violence.worker(name)
    if not pid or worker is None or not await stopped(pid):
        return False
    try:
        had = {(chunk, claim[1]) for chunk, claim in (await violence.open_claims([worker])).items()}
        end = time.monotonic() + _PATIENCE
        while had and time.monotonic() < end:
            rows = await violence.rows(
                "SELECT chunk, epoch FROM work.chunk WHERE chunk = ANY($1) AND state = 'ended'", [c for c, _ in had]
            )
            ended = {(row["chunk"], row["epoch"]) for row in rows}
            if all(any(chunk == c and e > epoch for c, e in ended) for chunk, epoch in had):
                return True
            await asyncio.sleep(0.2)
        return False
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


async def database_asleep(stage: Stage, seed: int, seconds: float) -> Pauses:
    """Pauses Postgres once, for longer than every lease, with both executors at work."""
    found, chance = Pauses(), random.Random(seed)
    while not found.outages:
        moves = [(await stage.onto("bare"))[:2] for _ in range(SIDE_BY_SIDE)]
        violence = Violence(stage.world, chance, LEASE + TIMEOUT, long=False)
        violence.plans = [move.plan for move, _ in moves]
        for move, _ in moves:
            await stage.world.run(move)
        await asyncio.sleep(chance.uniform(0.5, 2.0))
        while not found.outages and not await _over(stage, moves):
            if await violence.open_claims():
                stage.world.house.postgres.pause()
                try:
                    await asyncio.sleep(seconds)
                finally:
                    stage.world.house.postgres.resume()
                found.outages += 1
        await _judge(stage, moves, found, late_allowed=False)
    return found


async def _over(stage: Stage, moves: list[tuple[Move, Site]]) -> bool:
    return all([await stage.world.status(move) in ENDED for move, _ in moves])


async def _judge(stage: Stage, moves: list[tuple[Move, Site]], found: Pauses, *, late_allowed: bool) -> None:
    undisturbed, verdict = stage.undisturbed["bare"], found.verdict
    for move, site in moves:
        report = await stage.world.ended(move, timeout=150)
        events, journal = await judge.events_of(stage.world, move.plan), await site.journal()
        writes = judge.writes(events, journal)
        found.late += writes.late.total()
        found.strays += sum(len(event.data.get("strays") or ()) for event in events)
        if writes.late and not late_allowed:
            verdict.diverged.append(f"{writes.late.total()} writes under a claim that was over")
        undisturbed.compare(verdict, report["status"], await stage.canonical(move), journal)
        verdict.unverified += writes.wrong + judge.appended_late(events) + judge.strays(events, journal)
        verdict.unbalanced += await judge.unbalanced(stage.world, events)
    verdict.unverified += await judge.log_and_projections(stage.world)
    verdict.diverged += await stage.source_writes()
