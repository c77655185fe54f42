"""Kills, pauses and fails everything at random moments, and sees that every plan ends as if nothing had happened.

    python -m tests.chaos [--runs 20] [--seed 1] [--long]

Prints each run with the faults that really hit its work, and ends with one line of JSON. Exit code 1: a promise was broken.
"""

import argparse
import asyncio
import logging
import random
import sys
from collections.abc import Sequence
from typing import Generic, TypeVar

from tests.chaos.campaign import SIDE_BY_SIDE, Round, Tally, open_stage
from tests.chaos.faults import ACTS
from tests.chaos.scene import HELD, VARIANTS

ROUNDS_IN_A_WORLD = 5
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


async def campaign(runs: int, seed: int, long: bool) -> Tally:
    tally, number, round_seed = Tally(), 1, seed
    chance = random.Random(seed)
    held, acts = Deck(HELD, chance), Deck(list(ACTS), chance)
    while tally.runs < runs:
        async with open_stage(list(VARIANTS), planners=2 if long else 1) as stage:
            for _ in range(ROUNDS_IN_A_WORLD):
                wanted = min(SIDE_BY_SIDE, runs - tally.runs)
                if wanted <= 0:
                    break
                hands = [[card] for card in held.deal(wanted)]
                around = Round(stage, round_seed, number, hands, acts.deal(ACTS_IN_A_ROUND), long)
                round_seed, number = round_seed + 1, number + wanted
                for run in await around.perform():
                    print(run.line(), flush=True)
                    for promise, broken in run.verdict.all().items():
                        for sentence in broken:
                            print(f"  {promise}: {sentence}", flush=True)
                    if run.counts or run.verdict.all():
                        tally.add(run.verdict)
    return tally


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--long", action="store_true", help="longer outages, two planners")
    given = parser.parse_args()
    for name in ("asyncio", "asyncpg"):  # they complain of the servers that are killed
        logging.getLogger(name).setLevel(logging.CRITICAL)
    tally = asyncio.run(campaign(given.runs, given.seed, given.long))
    print(tally.line())
    return 0 if tally.good and tally.runs >= given.runs else 1


if __name__ == "__main__":
    sys.exit(main())
