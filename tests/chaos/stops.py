"""A plan stopped in the middle of a space, also with an executor that died inside a chunk just before.

It is continued in a new plan, through one more kill, to the site that an undisturbed plan makes; then both are undone.
"""

import asyncio
import random
from dataclasses import dataclass, field
from typing import Any

from cli.client import ENDED
from tests.chaos import judge
from tests.chaos.campaign import TAKEOVER, Stage
from tests.chaos.faults import EXECUTORS, Violence, kill_executors
from tests.chaos.judge import Happened, Verdict
from tests.chaos.scene import Site
from tests.e2e.world import Move, World

# STOPPED follows the last end within this, seconds; with a dead executor its lease and some more.
PROMPT, AFTER_THE_DEAD = 2.0, TAKEOVER + 5.0


@dataclass
class Stop:
    """What came of one. ``waited``: seconds from the last end of a living worker, or the request, to STOPPED."""

    killed: bool
    waited: float = 0.0
    settled: int = 0
    plans: list[Move] = field(default_factory=list)
    verdict: Verdict = field(default_factory=Verdict)

    def line(self) -> str:
        how = "with an executor killed inside a chunk just before" if self.killed else "with everybody alive"
        return f"stop {how}: STOPPED {self.waited:.1f} s after the last end, {self.settled} chunks settled" + (
            "; continued and undone" if self.plans else ""
        )


async def stop(stage: Stage, seed: int, *, killed: bool, go_on: bool = False) -> Stop | None:
    """Stops a plan at a moment of chance. None: it was over before, or nothing was under way to be killed."""
    world, chance = stage.world, random.Random(seed)
    move, site, _, before = await stage.onto("bare", "shoal")
    await world.run(move)
    least = chance.randint(8, 40)
    while await _ended_chunks(stage, move.plan) < least and await world.status(move) not in ENDED:
        await asyncio.sleep(0.05)
    if killed:
        violence = Violence(world, chance, TAKEOVER, long=False)
        violence.plans = [move.plan]
        if not await violence.strike(kill_executors(chance.choice(EXECUTORS))):
            return None
    if await world.status(move) in ENDED:
        return None
    await world.stop(move)
    report = await world.ended(move, timeout=90)
    found = Stop(killed)
    events, journal = await judge.events_of(world, move.plan), await site.journal()
    if report["status"] != "STOPPED":
        found.verdict.diverged.append(f"the plan is {report['status']}, not STOPPED")
        return found
    found.verdict.diverged += _out_of_order(events)
    found.waited, found.settled = _times(events)
    if found.waited > (PROMPT + AFTER_THE_DEAD if killed else PROMPT):
        found.verdict.diverged.append(f"STOPPED came {found.waited:.1f} s after the last end")
    found.verdict.unverified += judge.writes(events, journal).wrong + judge.strays(events, journal)
    found.verdict.unbalanced += await judge.unbalanced(world, events)
    found.verdict.diverged += judge.meddled(before, await site.admin("GET", "/canonical"), journal)
    if go_on:
        await _continued(stage, move, site, chance, found)
        await _undone(stage, site, before, found)
    found.verdict.unverified += await judge.log_and_projections(world)
    found.verdict.diverged += await stage.source_writes()
    return found


async def _continued(stage: Stage, move: Move, site: Site, chance: random.Random, found: Stop) -> None:
    """A new plan ends what the stopped one left."""
    following = await follow(stage.world, move, "continue")
    await stage.world.run(following)
    violence = Violence(stage.world, chance, TAKEOVER, long=False)
    violence.plans = [following.plan]
    await violence.strike(kill_executors(chance.choice(EXECUTORS)))
    report = await stage.world.ended(following, timeout=150)
    events, journal = await judge.events_of(stage.world, following.plan), await site.journal()
    canonical = await stage.canonical(following)
    stage.undisturbed["shoal"].compare(found.verdict, report["status"], canonical, journal)
    found.verdict.unbalanced += await judge.unbalanced(stage.world, events)
    found.plans += [following, move]


async def _undone(stage: Stage, site: Site, before: dict[str, Any], found: Stop) -> None:
    """The later plan first, then the one that it follows."""
    for plan in found.plans:
        undo = await follow(stage.world, plan, "undo")
        await stage.world.run(undo)
        report = await stage.world.ended(undo, timeout=150)
        if report["status"] != "FINISHED":
            found.verdict.diverged.append(f"the undo is {report['status']}, not FINISHED")
        found.verdict.unbalanced += await judge.unbalanced(stage.world, await judge.events_of(stage.world, undo.plan))
    found.verdict.diverged += not_as_before(before, await site.admin("GET", "/canonical"))


def not_as_before(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """What is left on a site on which everything was undone. Accounts stay: they are the organization's."""
    return [
        f"after all was undone the site's {part} are not as before"
        for part in ("spaces", "groups")
        if after[part] != before[part]
    ]


async def follow(world: World, move: Move, how: str) -> Move:
    """A new plan that goes on from one which has ended."""
    name = f"{how} of {move.name}"
    plan = (await world.call("post", f"/plans/{move.plan}/{how}", {"name": name}))["id"]
    return Move(name, plan, move.source, move.site, move.site_name, move.url)


async def _ended_chunks(stage: Stage, plan: str) -> int:
    return int(await stage.world.look("SELECT count(*) FROM work.chunk WHERE plan = $1 AND state = 'ended'", plan) or 0)


def _requested(events: list[Happened]) -> Happened:
    return next(event for event in events if event.type == "PlanStopRequested")


def _out_of_order(events: list[Happened]) -> list[str]:
    """Claims behind the stop that do more than settle."""
    return [
        f"a chunk was claimed to work on at {event.position}, behind the stop at {_requested(events).position}"
        for event in events
        if event.type == "ChunkClaimed"
        and event.position > _requested(events).position
        and event.data["purpose"] != "settle"
    ]


def _times(events: list[Happened]) -> tuple[float, int]:
    settling = {e.stream for e in events if e.type == "ChunkClaimed" and e.data["purpose"] == "settle"}
    requested = _requested(events)
    ends = [e.at for e in events if e.type in ("ChunkEnded", "ChunkReleased") and e.stream not in settling]
    stopped = next(e.at for e in events if e.type == "PlanStopped")
    return stopped - max([requested.at, *(at for at in ends if at <= stopped)]), len(settling)
