"""How many requests at once one address takes, and whose turn it is. No I/O."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

# After so many good answers in a row one more at once is tried.
_GOOD_IN_A_ROW = 20
# An operation that takes so much longer than it used to says that the other side has enough to do.
_RISE = 2.5
_RISE_SECONDS = 0.15
_SAMPLES = 10
# Decreases for latency are apart by this: the answers under way were sent before the last one.
_SETTLE = 2.0
_LEARN, _NOTICE = 0.02, 0.3
# These take as long as their files are large: how long says nothing.
_BY_SIZE = frozenset({"create attachment", "add attachment version"})


@dataclass(slots=True)
class _Latency:
    """Of one operation: what is usual, and what was seen lately, in seconds."""

    usual: float = 0.0
    lately: float = 0.0
    samples: int = 0

    def rises(self, seconds: float) -> bool:
        self.samples += 1
        if self.samples <= _SAMPLES:
            self.usual += (seconds - self.usual) / self.samples
            self.lately = self.usual
            return False
        self.lately += (seconds - self.lately) * _NOTICE
        rising = self.lately > self.usual * _RISE and self.lately > self.usual + _RISE_SECONDS
        # What stays slow becomes usual in time: slowing down for ever would not make it quicker.
        self.usual += (seconds - self.usual) * _LEARN
        return rising


class Concurrency:
    """Additive increase after a row of good answers, multiplicative decrease on throttling and on rising latency.

    ``limit``: requests at once, from 1 to ``most``. ``most`` is this process's share and may change.
    """

    def __init__(self, most: int, clock: Callable[[], float]) -> None:
        self.most = most
        self.limit = max(1, most // 2)
        self._clock = clock
        self._good = 0
        self._latencies: dict[str, _Latency] = {}
        self._decreased = float("-inf")

    def share(self, most: int) -> None:
        self.most = max(1, most)
        self.limit = min(self.limit, self.most)

    def throttled(self) -> None:
        self._good = 0
        self.limit = max(1, self.limit // 2)
        self._decreased = self._clock()

    def answered(self, operation: str, seconds: float, good: bool) -> None:
        """One request ended. ``good``: it was answered, and neither by a failure of the other side nor by throttling."""
        if not good:
            self._good = 0
            return
        if operation not in _BY_SIZE and self._latencies.setdefault(operation, _Latency()).rises(seconds):
            self._good = 0
            if self._clock() - self._decreased > _SETTLE:
                self.limit = max(1, self.limit * 3 // 4)
                self._decreased = self._clock()
            return
        self._good += 1
        if self._good >= _GOOD_IN_A_ROW and self.limit < self.most:
            self._good = 0
            self.limit += 1


class Turns:
    """Places among the requests under way. Those who wait are let in by turns of their plans, within a plan in order."""

    def __init__(self, limit: Callable[[], int]) -> None:
        self._limit = limit
        self._busy = 0
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}  # in the order in which it is the plans' turn

    async def enter(self, plan: str) -> None:
        if not self._waiting and self._busy < self._limit():
            self._busy += 1
            return
        place = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(plan, deque()).append(place)
        self._admit()  # the limit may have risen since anybody left
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self.leave()  # let in and called off at once
            raise

    def leave(self) -> None:
        self._busy -= 1
        self._admit()

    def _admit(self) -> None:
        while self._waiting and self._busy < self._limit():
            plan, queue = next(iter(self._waiting.items()))
            del self._waiting[plan]
            while queue and queue[0].done():
                queue.popleft()
            if not queue:
                continue
            queue.popleft().set_result(None)
            self._busy += 1
            if queue:
                self._waiting[plan] = queue  # behind the others
