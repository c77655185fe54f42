"""How many requests at once, and whose turn it is."""

import asyncio
from itertools import pairwise

import pytest

from services.executor.concurrency import Concurrency, Turns


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def answers(concurrency: Concurrency, n: int, seconds: float = 0.05, operation: str = "get page") -> None:
    for _ in range(n):
        concurrency.answered(operation, seconds, good=True)


def test_good_answers_raise_the_limit_one_by_one_up_to_the_share() -> None:
    concurrency = Concurrency(8, Clock())
    seen = [concurrency.limit]
    for _ in range(200):
        answers(concurrency, 1)
        seen.append(concurrency.limit)
    assert seen[0] == 4
    assert seen[-1] == 8
    assert all(later - earlier in (0, 1) for earlier, later in pairwise(seen))


def test_every_throttling_halves_the_limit_down_to_one() -> None:
    concurrency = Concurrency(16, Clock())
    answers(concurrency, 400)
    assert concurrency.limit == 16
    seen = []
    for _ in range(6):
        concurrency.throttled()
        seen.append(concurrency.limit)
    assert seen == [8, 4, 2, 1, 1, 1]


def test_latency_that_rises_lowers_the_limit_and_once_for_all_that_was_under_way() -> None:
    clock = Clock()
    concurrency = Concurrency(16, clock)
    answers(concurrency, 400)
    answers(concurrency, 5, seconds=2.0)
    assert concurrency.limit == 12
    clock.now += 3
    answers(concurrency, 1, seconds=2.0)
    assert concurrency.limit == 9


def test_operations_are_compared_with_themselves() -> None:
    concurrency = Concurrency(16, Clock())
    for _ in range(300):
        concurrency.answered("get page", 0.02, good=True)
        concurrency.answered("search", 1.5, good=True)
    assert concurrency.limit == 16


def test_large_files_are_no_sign_of_a_slow_site() -> None:
    concurrency = Concurrency(16, Clock())
    answers(concurrency, 400, operation="create attachment")
    answers(concurrency, 20, seconds=30.0, operation="create attachment")
    assert concurrency.limit == 16


def test_what_stays_slow_becomes_usual_and_the_limit_rises_again() -> None:
    clock = Clock()
    concurrency = Concurrency(8, clock)
    answers(concurrency, 300)
    for _ in range(2000):
        clock.now += 0.1
        answers(concurrency, 1, seconds=0.5)
    assert concurrency.limit == 8


def test_a_smaller_share_takes_effect_at_once_and_a_larger_one_is_grown_into() -> None:
    concurrency = Concurrency(8, Clock())
    answers(concurrency, 400)
    concurrency.share(3)
    assert concurrency.limit == 3
    concurrency.share(8)
    assert concurrency.limit == 3
    answers(concurrency, 200)
    assert concurrency.limit == 8


async def order_of(requests: list[str], limit: int = 1) -> list[str]:
    """In which order the plans are let in when all of them wait."""
    turns = Turns(lambda: limit)
    served: list[str] = []
    for _ in range(limit):
        await turns.enter("before")

    async def request(plan: str) -> None:
        await turns.enter(plan)
        served.append(plan)
        turns.leave()

    tasks = [asyncio.create_task(request(plan)) for plan in requests]
    await asyncio.sleep(0)
    for _ in range(limit):
        turns.leave()
    await asyncio.gather(*tasks)
    return served


async def test_plans_take_turns_however_many_requests_one_of_them_has_waiting() -> None:
    assert await order_of(["large"] * 6 + ["small"] * 2) == ["large", "small", "large", "small"] + ["large"] * 4


async def test_a_request_called_off_while_waiting_leaves_its_place_to_the_next() -> None:
    turns = Turns(lambda: 1)
    await turns.enter("a")
    given_up = asyncio.create_task(turns.enter("a"))
    waiting = asyncio.create_task(turns.enter("b"))
    await asyncio.sleep(0)
    given_up.cancel()
    await asyncio.gather(given_up, return_exceptions=True)
    turns.leave()
    await asyncio.wait_for(waiting, 1)
    turns.leave()
    await asyncio.wait_for(turns.enter("c"), 1)


@pytest.mark.parametrize("limit", [1, 3])
async def test_never_are_more_under_way_than_the_limit(limit: int) -> None:
    turns = Turns(lambda: limit)
    under_way = most = 0

    async def request(n: int) -> None:
        nonlocal under_way, most
        await turns.enter(f"plan {n % 3}")
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0)
        under_way -= 1
        turns.leave()

    await asyncio.gather(*(request(n) for n in range(50)))
    assert most == limit
