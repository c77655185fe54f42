"""Takes hints, claims analyses, and runs them."""

import asyncio
from collections.abc import Awaitable, Callable

import asyncpg
import structlog

from services.analyzer.analysis import Analysis, Sources
from services.analyzer.checks import Checks
from shared.events.answering import service_key
from shared.events.catalog.check import ChecksStarted
from shared.events.claims import Claim, Claims, LeaseLost
from shared.events.contract import Actor
from shared.events.store import UNAVAILABLE, EventStore
from shared.ops.settings import Settings

log = structlog.get_logger(__name__)

_INTERRUPTIONS: tuple[type[BaseException], ...] = (LeaseLost, *UNAVAILABLE)


class Analyzer:
    """One per process. An analysis that is cut short goes on from what is recorded, here or in another process."""

    def __init__(self, store: EventStore, pool: asyncpg.Pool, claims: Claims, settings: Settings) -> None:
        self._store, self._pool, self._claims, self._settings = store, pool, claims, settings
        self._actor = Actor(kind="service", key=service_key("analyzer"), authentication="database_role")
        self._running: set[asyncio.Task[None]] = set()
        self._sources = Sources(pool, settings)

    async def work(self, hint: bytes, acknowledge: Callable[[], Awaitable[None]]) -> float | None:
        """See ``shared.events.serving.Work``."""
        claim = await self._claims.take_hinted(hint)
        if isinstance(claim, float):
            return claim
        await acknowledge()
        if claim is not None:
            task = asyncio.create_task(self._run(claim))
            self._running.add(task)
            await asyncio.wait({task})
            self._running.discard(task)
        return None

    def drain(self) -> None:
        """Lets go of what is under way: what is not recorded yet is counted again by whoever goes on."""
        self._claims.draining.set()
        for task in self._running:
            task.cancel()

    async def close(self) -> None:
        await self._sources.close()

    async def _work_of(self, claim: Claim) -> Analysis | Checks:
        """By how its stream begins."""
        first = (await self._store.read_stream(f"analysis-{claim.work.task}"))[0].event
        if isinstance(first, ChecksStarted):
            return Checks(self._store, self._pool, self._settings, self._actor, claim)
        return Analysis(self._store, self._pool, self._settings, self._actor, claim, self._sources)

    async def _run(self, claim: Claim) -> None:
        with structlog.contextvars.bound_contextvars(analysis=claim.work.task, attempt=claim.attempt):
            try:
                async with claim, self._claims.traced(claim):
                    try:
                        await (await self._work_of(claim)).run()
                    except asyncio.CancelledError:
                        await claim.release(())
                        raise
            except _INTERRUPTIONS as error:
                log.warning("analysis interrupted", error=type(error).__name__)
            except asyncio.CancelledError:
                log.info("analysis released")
            else:
                log.info("analysis ended")
