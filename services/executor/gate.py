"""Governs the requests of this process to one site: how many at once, when not at all, and whether the worker may write.

Concurrency rises by one after a row of good answers and halves on a 429 (additive increase, multiplicative decrease).
``Retry-After`` is shared with all executors through ``work.throttle``, by the database's clock.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar

import asyncpg
import structlog

from shared.confluence.site import WritesForbidden
from shared.events.claims import Claim, LeaseLost
from shared.ops.settings import Settings

log = structlog.get_logger(__name__)

# The claim under which the running task works; every chunk runs in a task of its own.
CLAIM: ContextVar[Claim] = ContextVar("claim")

_GOOD_IN_A_ROW = 20
_SHARE_EVERY = 2.0


class SiteGate:
    """One per site and process. See ``shared.confluence.cloud.gate.Gate``."""

    def __init__(self, site: str, pool: asyncpg.Pool, settings: Settings) -> None:
        self._site, self._pool = site, pool
        self._most = settings.site_concurrency
        self.limit = max(1, settings.site_concurrency // 2)
        self._busy = 0
        self._good = 0
        self._until = 0.0  # monotonic: nothing is sent before
        self._looked = 0.0
        self._free = asyncio.Condition()
        self._sharing: set[asyncio.Task[None]] = set()
        self.requests = 0
        self.throttles = 0

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
        await self._until_allowed()
        async with self._free:
            await self._free.wait_for(lambda: self._busy < self.limit)
            self._busy += 1
        try:
            yield
        finally:
            self._busy -= 1
            async with self._free:
                self._free.notify()

    async def _until_allowed(self) -> None:
        if time.monotonic() - self._looked > _SHARE_EVERY:
            self._looked = time.monotonic()
            with suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
                left = await self._pool.fetchval(
                    "SELECT extract(epoch FROM until - clock_timestamp())::float8 FROM work.throttle WHERE site = $1",
                    self._site,
                )
                if left is not None:
                    self._until = max(self._until, time.monotonic() + left)
        while (left := self._until - time.monotonic()) > 0:
            await asyncio.sleep(min(left, 1.0))

    def throttled(self, retry_after: float | None) -> None:
        self.throttles += 1
        self._good = 0
        self.limit = max(1, self.limit // 2)
        wait = retry_after if retry_after is not None else 1.0
        self._until = max(self._until, time.monotonic() + wait)
        log.info("site throttles", site=self._site, retry_after=retry_after, limit=self.limit)
        task = asyncio.ensure_future(self._share(wait))
        self._sharing.add(task)
        task.add_done_callback(self._sharing.discard)

    async def _share(self, wait: float) -> None:
        with suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            await self._pool.execute(
                "INSERT INTO work.throttle VALUES ($1, clock_timestamp() + make_interval(secs => $2)) ON CONFLICT (site)"
                " DO UPDATE SET until = greatest(work.throttle.until, excluded.until)",
                self._site,
                wait,
            )

    def observe(self, operation: str, seconds: float, status: int | None) -> None:
        self.requests += 1
        if status is None or status >= 500 or status == 429:
            self._good = 0
            return
        self._good += 1
        if self._good >= _GOOD_IN_A_ROW and self.limit < self._most:
            self._good = 0
            self.limit += 1
