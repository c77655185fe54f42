"""Keeps a projection up with the log: page by page, effect and checkpoint in one transaction."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence

import asyncpg
import structlog

from shared.events.contract import BadEvent, Recorded, UnknownEvent, event_types
from shared.events.projections.base import (
    LogReader,
    Pool,
    Projection,
    ProjectionState,
    Status,
    checkpoint,
    set_checkpoint,
)
from shared.ops import metrics

# What passes by itself: the database restarts, fails over, is busy, or someone holds the rows for a moment.
TRANSIENT = (
    OSError,
    asyncpg.InterfaceError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.TransactionRollbackError,
    asyncpg.LockNotAvailableError,
    asyncpg.QueryCanceledError,
)
_RETRY_STOPPED = 30.0  # seconds: what stopped it may have been mended from outside, for instance by a rebuild

log = structlog.get_logger("projection")


class Runner:
    """Runs one projection. Two runners of the same projection, in two processes, do no harm: the checkpoint's row is
    locked while a page is applied, and rows that the other one has applied are left out.

    ``floor``: the longest wait in seconds without a wake-up; notifications only make it quicker.
    """

    def __init__(self, pool: Pool, store: LogReader, projection: Projection, *, page: int = 500, floor: float = 1.0):
        self.projection = projection
        self.state = ProjectionState(projection.name, 0)
        self._pool, self._store, self._page, self._floor = pool, store, page, floor
        self._moved = asyncio.Condition()
        self._listeners: list[Callable[[int], None]] = []

    def on_move(self, listener: Callable[[int], None]) -> Callable[[], None]:
        """Calls ``listener(position)`` after every move. Returns what takes it off again."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    async def run(self, ending: asyncio.Event) -> None:
        """Until ``ending`` is set. Never raises for trouble with the database or with an event: it waits and tries
        again."""
        while not ending.is_set():
            try:
                moved = await self.step()
            except TRANSIENT as error:
                log.warning("projection_waits", projection=self.projection.name, error=type(error).__name__)
                await _pause(ending, self._floor)
                continue
            if self.state.status is not Status.RUNNING:
                await _pause(ending, _RETRY_STOPPED)
            elif not moved:
                await self._wait(ending)

    async def _wait(self, ending: asyncio.Event) -> None:
        beyond = asyncio.ensure_future(self._store.wait_beyond(self.state.position, self._floor))
        ended = asyncio.ensure_future(ending.wait())
        try:
            await asyncio.wait({beyond, ended}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (beyond, ended):
                task.cancel()
            await asyncio.gather(beyond, ended, return_exceptions=True)

    async def catch_up(self) -> ProjectionState:
        """Applies what is in the log now and returns; for tests and tools."""
        while await self.step() and self.state.status is Status.RUNNING:
            pass
        return self.state

    async def reached(self, position: int, timeout: float) -> bool:
        """Waits until the projection shows ``position``. False if it does not within ``timeout`` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout), self._moved:
                await self._moved.wait_for(lambda: self.state.position >= position)
        return self.state.position >= position

    async def step(self) -> int:
        """Applies one page; returns how many events that was. An event it cannot pass is written to ``state``."""
        position = await self._position()
        rows = await self._store.read_log(position, self._page)
        if not rows:
            await self._moved_to(position)
            return 0
        readable = _known(rows)
        try:
            applied = await self._apply(readable)
        except TRANSIENT:
            raise
        except (UnknownEvent, BadEvent) as error:
            await self._apply([r for r in readable if r.position < error.position])
            await self._stop(error.position, error)
            return 0
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not take other projections with it
            await self._one_by_one(readable, error)
            return 0
        if len(readable) < len(rows):
            await self._stop(rows[len(readable)].position, None)
            return 0
        self.state = ProjectionState(self.projection.name, self.state.position)
        metrics.PROJECTION_STOPPED.labels(self.projection.name).set(0)
        return applied

    async def _position(self) -> int:
        async with self._pool.acquire() as connection:
            return await checkpoint(connection, self.projection)

    async def _apply(self, rows: Sequence[Recorded]) -> int:
        if not rows:
            return 0
        async with self._pool.acquire() as connection, connection.transaction():
            position = await checkpoint(connection, self.projection, lock=True)
            fresh = [row for row in rows if row.position > position]
            if fresh:
                await self.projection.apply(connection, fresh, self.projection.schema)
                await set_checkpoint(connection, self.projection, fresh[-1].position)
        await self._moved_to(rows[-1].position)
        return len(rows)

    async def _one_by_one(self, rows: Sequence[Recorded], first: Exception) -> None:
        """The page as a whole failed: finds the event at fault, keeping what comes before it."""
        for row in rows:
            try:
                await self._apply([row])
            except TRANSIENT:
                raise
            except Exception as error:  # noqa: BLE001 - see step
                await self._stop(row.position, error)
                return
        log.warning("page_failed_but_no_event_did", projection=self.projection.name, error=type(first).__name__)

    async def _stop(self, at: int, error: Exception | None) -> None:
        unknown = error is None or isinstance(error, UnknownEvent)
        status = Status.NEWER_RELEASE_NEEDED if unknown else Status.STOPPED
        name = None if error is None else type(error).__name__
        if self.state.stopped_at != at:
            log.error("projection_stopped", projection=self.projection.name, position=at, status=status, error=name)
        self.state = ProjectionState(self.projection.name, at - 1, status, at, name)
        metrics.PROJECTION_STOPPED.labels(self.projection.name).set(1)
        await self._moved_to(at - 1)

    async def _moved_to(self, position: int) -> None:
        if position == self.state.position:
            return
        metrics.PROJECTION_POSITION.labels(self.projection.name).set(position)
        state = self.state
        self.state = ProjectionState(state.name, position, state.status, state.stopped_at, state.error)
        async with self._moved:
            self._moved.notify_all()
        for listener in tuple(self._listeners):
            listener(position)


def _known(rows: Sequence[Recorded]) -> Sequence[Recorded]:
    """The rows before the first of a type that this release does not know."""
    types = event_types()
    for index, row in enumerate(rows):
        if row.type not in types:
            return rows[:index]
    return rows


async def _pause(ending: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(ending.wait(), seconds)
