"""Governs the requests of this process to one site or source: how many at once, whose turn it is, when none at all, and
whether the worker may write.

``Retry-After`` is shared by all executors through ``work.throttle``, by the database's clock; ``sig.throttle`` only wakes.
What one side takes at once is shared evenly among the executors that work on it.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar

import asyncpg
import structlog

from services.executor.concurrency import Concurrency, Turns
from shared.confluence.site import WritesForbidden
from shared.events.claims import Claim, LeaseLost
from shared.ops import metrics
from shared.ops.settings import Settings

log = structlog.get_logger(__name__)

# The claim under which the running task works; every chunk runs in a task of its own.
CLAIM: ContextVar[Claim] = ContextVar("claim")

_LOOK_EVERY = 2.0
_AWAY = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)

# Until when nothing may be sent, and how many workers there are now with work on this site or from this source.
_LOOK = """
SELECT (SELECT extract(epoch FROM until - clock_timestamp())::float8 FROM work.throttle WHERE site = $1) AS left,
       (SELECT count(DISTINCT l.worker) FROM work.lease l JOIN work.chunk k ON k.chunk = l.chunk AND k.state <> 'ended'
        JOIN work.plan p ON p.plan = k.plan WHERE (p.site = $1 OR p.source = $1) AND l.expires_at > clock_timestamp()) AS workers
"""
_SHARE = """
INSERT INTO work.throttle VALUES ($1, clock_timestamp() + make_interval(secs => $2))
ON CONFLICT (site) DO UPDATE SET until = greatest(work.throttle.until, excluded.until)
"""


class SiteGate:
    """One per site (or source) and process. See ``shared.confluence.cloud.gate.Gate``.

    ``side``: id of the site or source. ``wake``: tells the other executors that there is news in ``work.throttle``.
    """

    def __init__(
        self,
        side: str,
        pool: asyncpg.Pool,
        settings: Settings,
        wake: Callable[[str], Awaitable[None]] | None = None,
    ) -> None:
        self._side, self._pool, self._wake = side, pool, wake
        self._budget = settings.site_concurrency
        self._concurrency = Concurrency(settings.site_concurrency, time.monotonic)
        self._turns = Turns(lambda: self._concurrency.limit)
        self._until = 0.0  # monotonic: nothing is sent before
        self._looked = 0.0
        self._sharing: set[asyncio.Task[None]] = set()
        self.requests = 0
        self.throttles = 0

    @property
    def limit(self) -> int:
        """Requests at once, now."""
        return self._concurrency.limit

    def check_write(self) -> None:
        try:
            CLAIM.get().check_write()
        except LeaseLost as error:
            raise WritesForbidden("the lease on the chunk is over, or only looking is allowed") from error

    def claim(self) -> str | None:
        claim = CLAIM.get(None)
        return f"{claim.work.chunk}:{claim.epoch}" if claim is not None else None

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        claim = CLAIM.get(None)
        await self._until_allowed()
        await self._turns.enter((claim.work.plan if claim is not None else None) or "")
        try:
            yield
        finally:
            self._turns.leave()

    def news(self) -> None:
        """Another executor was throttled: look before the next request."""
        self._looked = 0.0

    async def _until_allowed(self) -> None:
        if time.monotonic() - self._looked > _LOOK_EVERY:
            self._looked = time.monotonic()
            with suppress(*_AWAY):
                row = await self._pool.fetchrow(_LOOK, self._side)
                assert row is not None
                self._concurrency.share(-(-self._budget // max(1, row["workers"])))
                if row["left"] is not None and row["left"] > 0:
                    until = time.monotonic() + row["left"]
                    if until > self._until + 0.1:  # not our own: whoever was told to wait spoke for all
                        self._concurrency.throttled()
                    self._until = max(self._until, until)
        while (left := self._until - time.monotonic()) > 0:
            await asyncio.sleep(min(left, 1.0))

    def throttled(self, retry_after: float | None) -> None:
        self.throttles += 1
        self._concurrency.throttled()
        metrics.SITE_CONCURRENCY.labels(self._side).set(self.limit)
        metrics.SITE_RETRY_AFTER.labels(self._side).set(retry_after or 0)
        wait = retry_after if retry_after is not None else 1.0
        self._until = max(self._until, time.monotonic() + wait)
        log.info("throttled", side=self._side, retry_after=retry_after, limit=self.limit)
        task = asyncio.ensure_future(self._share(wait))
        self._sharing.add(task)
        task.add_done_callback(self._sharing.discard)

    async def _share(self, wait: float) -> None:
        with suppress(*_AWAY):
            await self._pool.execute(_SHARE, self._side, wait)
            if self._wake is not None:
                await self._wake(self._side)

    def observe(self, operation: str, seconds: float, status: int | None) -> None:
        self.requests += 1
        self._concurrency.answered(operation, seconds, status is not None and status < 500 and status != 429)
        metrics.SITE_CONCURRENCY.labels(self._side).set(self.limit)
