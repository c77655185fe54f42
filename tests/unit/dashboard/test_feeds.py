"""Live pages share what they show, give connections back, and let go of those who watch when nothing can be shown."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from services.dashboard.handlers.feeds import STREAMS, Feeds, State


class Page:
    """A page of one region; ``move`` is what a projection tells."""

    def __init__(self) -> None:
        self.computed, self.told, self.broken = 0, list[Callable[[int], None]](), False

    async def compute(self) -> State:
        if self.broken:
            raise OSError
        self.computed += 1
        return self.computed, {"head": f"state {self.computed}"}

    def listen(self, told: Callable[[int], None]) -> list[Callable[[], None]]:
        self.told.append(told)
        return [lambda: self.told.remove(told)]

    def move(self) -> None:
        for each in self.told:
            each(0)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.dashboard.handlers.feeds.COALESCE", 0.01)


async def test_fifty_who_watch_the_same_cost_one_computation() -> None:
    feeds, page = Feeds(), Page()

    async def watch() -> str:
        with feeds.watched("viewer plan", page.compute, page.listen) as feed:
            await feed.beyond(0, 5)
            await feed.beyond(feed.version, 5)
            return feed.regions["head"]

    watching = [asyncio.create_task(watch()) for _ in range(50)]
    while not page.told:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)
    page.move()
    assert set(await asyncio.gather(*watching)) == {"state 2"} and page.computed == 2
    await asyncio.sleep(0.05)
    assert page.told == [], "nobody watches any more, so nothing is computed"


async def test_a_burst_of_events_is_one_change() -> None:
    feeds, page = Feeds(), Page()
    with feeds.watched("viewer plan", page.compute, page.listen) as feed:
        await feed.beyond(0, 5)
        for _ in range(100):
            page.move()
        await feed.beyond(1, 5)
        await asyncio.sleep(0.05)
        assert page.computed == 2


async def test_roles_do_not_share_and_a_feed_that_fails_lets_its_watchers_go() -> None:
    feeds, one, other = Feeds(), Page(), Page()
    with (
        feeds.watched("admin plan", one.compute, one.listen) as a,
        feeds.watched("viewer plan", other.compute, other.listen) as v,
    ):
        await a.beyond(0, 5)
        await v.beyond(0, 5)
        assert a is not v
        one.broken = True
        one.move()
        assert await a.beyond(a.version, 5) and a.failed and not v.failed
        one.broken = False
        with feeds.watched("admin plan", one.compute, one.listen) as again:
            assert await again.beyond(0, 5) and not again.failed, "whoever comes back gets a new one"


def test_a_browsers_oldest_stream_parks_and_other_browsers_keep_theirs() -> None:
    feeds = Feeds()
    with feeds.stream("other") as kept:
        opened = [feeds.stream("one") for _ in range(STREAMS + 2)]
        parks = [each.__enter__() for each in opened]
        assert [park.is_set() for park in parks] == [True, True] + [False] * STREAMS
        for each in opened:
            each.__exit__(None, None, None)
        assert not kept.is_set()
