"""Kills, pauses and fails everything at random moments, and sees that every plan ends as if nothing had happened.

    python -m tests.chaos [--runs 20] [--seed 1] [--long] [--lanes 3] [--only pauses|stops|follows] [--act "kill planner"]...

Prints each run with the faults that really hit its work, and ends with one line of JSON. Exit code 1: a promise was broken.
"""

import argparse
import asyncio
import contextlib
import json
import logging
import random
import sys
from collections.abc import Sequence
from functools import partial
from typing import Generic, TypeVar

from tests.chaos import following, pauses
from tests.chaos import stops as stopping
from tests.chaos.campaign import LEASE, SIDE_BY_SIDE, TIMEOUT, Round, Stage, Tally, fresh_runs, open_stage
from tests.chaos.faults import ACTS
from tests.chaos.judge import Verdict
from tests.chaos.scene import HELD, VARIANTS, Held
from tests.privacy import SCAN, report

ROUNDS_IN_A_WORLD = {False: 4, True: 5}
ACTS_IN_A_ROUND = 3

Card = TypeVar("Card")


class Deck(Generic[Card]):
    """Deals every card once before any comes again, in an order of chance."""

    def __init__(self, cards: Sequence[Card], chance: random.Random) -> None:
        self._cards, self._chance = list(cards), chance
        self._left: list[Card] = []

    def deal(self, n: int) -> list[Card]:
        hand: list[Card] = []
        while len(hand) < n:
            if not self._left:
                self._left = self._chance.sample(self._cards, len(self._cards))
            hand.append(self._left.pop())
        return hand


async def campaign(runs: int, seed: int, long: bool, chosen: Sequence[str]) -> Tally:
    """Worlds of 20 or 25 runs each. In the short form also executors and Postgres that sleep, plans that are stopped, and plans
    that go on from others: at length each of these is a campaign of its own. ``chosen``: the acts that are dealt."""
    tally, number, round_seed = Tally(), 1, seed
    chance = random.Random(seed)
    held, acts = Deck(HELD, chance), Deck(chosen, chance)
    while tally.runs < runs:
        async with open_stage(list(VARIANTS), planners=2 if long else 1) as stage:
            rounds = ROUNDS_IN_A_WORLD[long]
            for n in range(rounds + 2):
                wanted = min(SIDE_BY_SIDE, runs - tally.runs)
                # The last few, in place of those that did not count, need no world of their own.
                if wanted <= 0 or (n >= rounds and wanted == SIDE_BY_SIDE):
                    break
                runs_now = await fresh_runs(stage, round_seed, number, [[card] for card in held.deal(wanted)])
                around = Round(stage, runs_now, round_seed, acts.deal(ACTS_IN_A_ROUND), long=long)
                round_seed, number = round_seed + 1, number + wanted
                for run in await around.perform():
                    tell(run.line(), run.verdict)
                    if run.counts or run.verdict.all():
                        tally.add(run.verdict)
            if not long:
                await sleepers(stage, chance, tally, 3, LEASE + TIMEOUT + 1)
                await stops(stage, chance, tally, 1)
                await follows(stage, chance, tally, acts, 2)
    return tally


async def sleepers(stage: Stage, chance: random.Random, tally: Tally, moments: int, outage: float) -> None:
    """Executors asleep at so many moments, Postgres asleep for so many seconds."""
    for asleep in (
        await pauses.executors_asleep(stage, chance.randrange(10**6), moments),
        await pauses.database_asleep(stage, chance.randrange(10**6), outage),
    ):
        tell(asleep.line(), asleep.verdict)
        tally.note(asleep.verdict)


async def stops(stage: Stage, chance: random.Random, tally: Tally, times: int, *, go_on: bool = False) -> None:
    if go_on:
        await stage.prepare_stops()
    for killed in (False, True):
        done = 0
        while done < times:
            found = await stopping.stop(stage, chance.randrange(10**6), killed=killed, go_on=go_on)
            if found is not None:
                done += 1
                tell(found.line(), found.verdict)
                tally.note(found.verdict)


async def follows(stage: Stage, chance: random.Random, tally: Tally, acts: Deck[str], times: int) -> None:
    """A delta and two undos on so many sites."""
    decks: dict[int, Deck[Held]] = {}

    def hold(cards: Sequence[Held], n: int) -> list[Held]:
        return decks.setdefault(id(cards), Deck(cards, chance)).deal(n)

    for run in await following.go_on(stage, chance, hold, partial(acts.deal, following.STRIKES), times):
        tell(run.line(), run.verdict)
        tally.note(run.verdict)


async def only(what: str, times: int, seed: int) -> Tally:
    """Sleepers at so many moments and Postgres asleep for a minute; or so many stops, with and without a kill before each; or
    deltas and undos on so many sites."""
    tally, chance = Tally(), random.Random(seed)
    async with open_stage(["bare"]) as stage:
        if what == "follows":
            acts = Deck(list(ACTS), chance)
            while tally.runs < times:
                wanted = min(SIDE_BY_SIDE, times - tally.runs)
                await follows(stage, chance, tally, acts, wanted)
                tally.runs += wanted
            return tally
        if what == "stops":
            await stops(stage, chance, tally, times, go_on=True)
            tally.runs = 2 * times
            return tally
        await sleepers(stage, chance, tally, times, 60.0)
        tally.runs = times
    return tally


async def side_by_side(lanes: int, given: argparse.Namespace) -> tuple[Tally, bool]:
    """The campaign in so many processes at once, each with a part of the runs and seeds of its own; whether all ended well."""
    tally = Tally()

    async def lane(n: int) -> bool:
        runs = given.runs // lanes + (n < given.runs % lanes)
        words = ["--runs", str(runs), "--seed", str(given.seed + 1000 * n), *(["--long"] if given.long else [])]
        words += ["--only", given.only] if given.only else []
        for act in given.act or ():
            words += ["--act", act]
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.chaos", *words, stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        said = ""
        async for line in process.stdout:
            said = line.decode()
            print(said, end="", flush=True)
        with contextlib.suppress(ValueError):
            for name, count in json.loads(said).items():
                setattr(tally, name, getattr(tally, name) + count)
        return await process.wait() == 0

    well = await asyncio.gather(*(lane(n) for n in range(lanes)))
    return tally, all(well)


def tell(line: str, verdict: Verdict) -> None:
    print(line, flush=True)
    for promise, broken in verdict.all().items():
        for sentence in broken:
            print(f"  {promise}: {sentence}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--long", action="store_true", help="longer outages, two planners")
    parser.add_argument(
        "--only", choices=("pauses", "stops", "follows"), help="instead of runs: --runs moments, stops or sites"
    )
    parser.add_argument(
        "--act", action="append", choices=list(ACTS), metavar="ACT", help="only this besides; may be repeated"
    )
    parser.add_argument("--lanes", type=int, default=1, help="in so many processes side by side")
    given = parser.parse_args()
    if given.lanes > 1:
        tally, well = asyncio.run(side_by_side(given.lanes, given))
        print(tally.line())
        return 0 if well and tally.good and tally.runs >= given.runs else 1
    for name in ("asyncio", "asyncpg"):  # they complain of the servers that are killed
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with SCAN.watching(every_message=False):
        if given.only:
            tally = asyncio.run(only(given.only, given.runs, given.seed))
        else:
            tally = asyncio.run(campaign(given.runs, given.seed, given.long, given.act or list(ACTS)))
    if SCAN.found:
        print(f"names where none may be:\n{report(SCAN.found)}")
    print(tally.line())
    return 0 if tally.good and tally.runs >= given.runs and not SCAN.found else 1


if __name__ == "__main__":
    sys.exit(main())
