"""What live pages share: the same page is computed once for all who watch it, and a browser keeps some connections."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator, Mapping
from time import monotonic

import structlog

from shared.events.store import UNAVAILABLE

log = structlog.get_logger(__name__)

COALESCE = 0.2  # seconds between two updates of a page: nobody reads faster
TICK = 5.0  # and at most: what is under way and how long it takes changes without an event
# A browser has six connections to a host over HTTP/1.1, for all its tabs together: two stay free for loading pages.
STREAMS = 4

State = tuple[int, Mapping[str, str]]  # position, and the page's regions as of it
Listen = Callable[[Callable[[int], None]], list[Callable[[], None]]]


class Feed:
    """One page's regions as they are now. Nobody is owed a change: whoever is slow gets the newest state next."""

    def __init__(self, compute: Callable[[], Awaitable[State]], listen: Listen) -> None:
        self._compute, self._listen = compute, listen
        self._changed = asyncio.Condition()
        self.version, self.failed, self.watchers = 0, False, 0
        self.position, self.regions = 0, dict[str, str]()
        self._task: asyncio.Task[None] | None = None

    async def beyond(self, version: int, timeout: float) -> bool:
        """Waits until there is something newer. False: nothing came within ``timeout`` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout), self._changed:
                await self._changed.wait_for(lambda: self.version > version or self.failed)
                return True
        return False

    def start(self) -> None:
        self._task = self._task or asyncio.create_task(self._run())

    def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        moved = asyncio.Event()
        undo = self._listen(lambda _: moved.set())
        try:
            while True:
                moved.clear()
                began = monotonic()
                position, regions = await self._compute()
                if regions != self.regions or position != self.position:
                    async with self._changed:
                        self.position, self.regions = position, dict(regions)
                        self.version += 1
                        self._changed.notify_all()
                # From change to change, not from the end of one to the next: what it takes to compute is part of the wait. A machine
                # that needs longer than that gets as long to breathe.
                took = monotonic() - began
                await asyncio.sleep(max(COALESCE - took, min(took, COALESCE) / 2))
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(moved.wait(), TICK)
        except Exception as error:  # noqa: BLE001 - whatever it is, who watches must hear of it
            # Those who watch are let go; their browsers come again and meanwhile say as of when the figures are.
            level = log.warning if isinstance(error, UNAVAILABLE) else log.error
            level("feed_failed", error=type(error).__name__)
            async with self._changed:
                self.failed = True
                self._changed.notify_all()
        finally:
            for each in undo:
                each()


class Feeds:
    def __init__(self) -> None:
        self._feeds: dict[str, Feed] = {}
        self._streams: dict[str, list[asyncio.Event]] = {}

    @contextlib.contextmanager
    def watched(self, key: str, compute: Callable[[], Awaitable[State]], listen: Listen) -> Iterator[Feed]:
        """The feed of this page, as long as anybody watches it. ``key``: page and role, for what is shown depends on both."""
        feed = self._feeds.get(key)
        if feed is None or feed.failed:
            feed = self._feeds[key] = Feed(compute, listen)
        feed.watchers += 1
        feed.start()
        try:
            yield feed
        finally:
            feed.watchers -= 1
            if not feed.watchers:
                feed.stop()
                if self._feeds.get(key) is feed:
                    del self._feeds[key]

    @contextlib.contextmanager
    def stream(self, browser: str) -> Iterator[asyncio.Event]:
        """A stream of a browser. The event is set when it should give its connection to a newer one."""
        park = asyncio.Event()
        mine = self._streams.setdefault(browser, [])
        mine.append(park)
        for oldest in mine[:-STREAMS]:
            oldest.set()
        try:
            yield park
        finally:
            mine.remove(park)
            if not mine:
                del self._streams[browser]
