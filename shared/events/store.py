"""The event store: appends with an expected version, reads by stream and by position, and waits for what is new.

The log's lock in the database is what makes appends right; the appender here only saves round trips and commits, so any
number of processes may append at once.
"""

import asyncio
import contextlib
import logging
import random
import re
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Literal, Self

import asyncpg

from shared.events.contract import Context, Event, Recorded, encode
from shared.events.database import AWAY, FAILURES
from shared.ops import metrics, tracing

logger = logging.getLogger(__name__)

MAX_COMMANDS = 256  # in one call
MAX_BYTES = 1 << 20  # of bodies in one call; a single command may exceed it
CALLS = 2  # under way at once
SPLIT = 64  # fewer commands than this are not worth two calls
MAX_PAGE_BYTES = 8 << 20  # of bodies in one page of the log; a page has at least one event
POLL = 0.5  # seconds: the longest time a waiting reader depends on a notification

_STREAM = re.compile(r"([a-z]+)-[0-9a-f]{32}")
_ID = re.compile(r"[0-9a-f]{32}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
COLUMNS = "position, event_id, stream, version, type, body, recorded_at, link"
_APPEND = "SELECT outcome, at, actual FROM log.append_v1($1, $2, $3, $4, $5, $6, $7, $8, $9)"
_OF_STREAM = f"SELECT {COLUMNS} FROM log.events WHERE stream = $1 AND version > $2 ORDER BY version LIMIT $3"
_BY_ID = f"SELECT {COLUMNS} FROM log.events WHERE event_id = $1"
_HEAD = "SELECT position, link, log_id, recorded_at FROM log.log_head"
# After a position, so many events and so many bytes of bodies at most, but one event at least.
PAGE = f"""SELECT {COLUMNS} FROM (
  SELECT *, sum(octet_length(body)) OVER (ORDER BY position) - octet_length(body) AS before
  FROM log.events WHERE position > $1 AND position <= $1 + $2
) page WHERE before < $3 ORDER BY position"""
_STREAM_PAGE = 500
_UNIQUE_ID = "events_event_id_key"
READS = (
    3  # tries of a read: after a restart of Postgres the pool may hand out a connection that is not known to be lost
)


class StoreUnavailable(ConnectionError):
    """Postgres did not answer within the store's patience. A command may be recorded: append it again."""


class AppendRefused(Exception):
    """The database refuses the command: this role may not write to the stream, or the schema is another one."""


@dataclass(frozen=True, slots=True)
class Guard:
    """A condition on a stream the command does not write: it is still at this version (-1: it has no event)."""

    stream: str
    version: int


@dataclass(frozen=True, slots=True)
class Append:
    """A command to the store: these events (id, event) after version ``expected`` (-1: the stream has none yet).

    Ids are 32 hexadecimal digits. Derived from the cause, they make the append safe to repeat.
    """

    stream: str
    expected: int
    events: tuple[tuple[str, Event], ...]
    context: Context
    guards: tuple[Guard, ...] = ()


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a command.

    appended: ``position`` and ``version`` of its last event. duplicate: the same, of the earlier append.
    conflict: ``version`` is the actual one of the stream, or of the guard, that is at another version.
    mismatch: one of the ids is in the log for something else; repeating cannot help.
    """

    outcome: Literal["appended", "duplicate", "conflict", "mismatch"]
    position: int | None
    version: int | None

    @property
    def recorded(self) -> bool:
        """The events are in the log, from now or from before."""
        return self.outcome in ("appended", "duplicate")


@dataclass(frozen=True, slots=True)
class Head:
    """The end of the log. ``link``: 32 bytes. ``log_id``: 32 hexadecimal digits. ``recorded_at``: µs since 1970."""

    position: int
    link: bytes
    log_id: str
    recorded_at: int


@dataclass(slots=True, eq=False)
class _Entry:
    """A command on its way: encoded by its caller, answered through the future."""

    stream: str
    expected: int
    ids: list[str]
    types: list[str]
    bodies: list[bytes]
    guards: tuple[Guard, ...]
    size: int
    deadline: float
    answer: "asyncio.Future[Result]" = field(repr=False)


class EventStore:
    """One per process. ``patience``: seconds for which an append is tried while Postgres is away.

    Needs ``start`` (or ``async with``); ``close`` answers everything begun before it ends. The pool stays the caller's.
    """

    def __init__(self, pool: "asyncpg.Pool[Any]", *, patience: float = 15.0) -> None:
        self._pool = pool
        self._patience = patience
        self._queue: deque[_Entry] = deque()
        self._work = asyncio.Event()
        self._closing = False
        self._calls: dict[asyncio.Task[None], set[str]] = {}  # calls under way, and the streams they write
        self._pump: asyncio.Task[None] | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._known = -1  # the highest position this process has heard of
        self._hint = asyncio.Event()
        self._waiters: dict[asyncio.Future[None], int] = {}

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def start(self) -> None:
        if self._pump is None:
            self._closing = False
            self._pump = asyncio.create_task(self._run(), name="event store appender")

    async def close(self) -> None:
        """Sends what is queued, then ends. Waiting readers are told that there is nothing new."""
        self._closing = True
        self._work.set()
        if self._pump is not None:
            await self._pump
            self._pump = None
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)
            self._watcher = None
        for waiter in list(self._waiters):
            waiter.cancel()

    # Appending

    async def append(self, command: Append) -> Result:
        """Appends the command's events, all or none. A conflict is an answer, not an error.

        Raises StoreUnavailable (outcome unknown: repeat with the same ids), AppendRefused, and ValueError for a command
        that is not well formed. If the caller is canceled the command is sent all the same.
        """
        if self._pump is None or self._closing:
            raise RuntimeError("the event store is not started, or is closed")
        entry = self._entry(command)
        self._queue.append(entry)
        self._work.set()
        return await entry.answer

    def _entry(self, command: Append) -> _Entry:
        match = _STREAM.fullmatch(command.stream)
        if match is None:
            raise ValueError(f"{command.stream!r} is no stream: <category>-<32 hexadecimal digits>")
        if not command.events:
            raise ValueError("a command without events")
        ids = [id_ for id_, _ in command.events]
        for id_ in ids:
            if _ID.fullmatch(id_) is None:
                raise ValueError(f"{id_!r} is no event id: 32 hexadecimal digits")
        if len(set(ids)) < len(ids):
            raise ValueError("a command that uses an event id twice")
        types, bodies = [], []
        context = tracing.traced(command.context)
        for _, event in command.events:
            if match[1] != event.CATEGORY:
                raise ValueError(f"{type(event).__name__} belongs to {event.CATEGORY}-streams, not to {command.stream}")
            types.append(type(event).__name__)
            bodies.append(encode(event, context))
        loop = asyncio.get_running_loop()
        deadline, size = loop.time() + self._patience, sum(map(len, bodies))
        return _Entry(
            command.stream,
            command.expected,
            ids,
            types,
            bodies,
            command.guards,
            size,
            deadline,
            loop.create_future(),
        )

    async def _run(self) -> None:
        """Takes what has gathered while earlier calls were under way, until closed and empty.

        Two calls at once: while one is in the database, the callers of the other prepare what they append next.
        """
        while True:
            await self._work.wait()
            self._work.clear()
            while len(self._calls) < CALLS and (batch := self._drain()):
                call = asyncio.create_task(self._finish(batch))
                self._calls[call] = {entry.stream for entry in batch}
                call.add_done_callback(self._ended)
            if self._closing and not self._queue and not self._calls:
                return

    def _ended(self, call: asyncio.Task[None]) -> None:
        del self._calls[call]
        self._work.set()

    async def _finish(self, batch: list[_Entry]) -> None:
        try:
            await self._send(batch)
        except BaseException as error:
            # Nobody may wait for ever, whatever went wrong.
            logger.exception("An append failed in an unforeseen way")
            for entry in batch:
                _fail(entry, AppendRefused(f"The append failed in an unforeseen way: {type(error).__name__}"))
            if not isinstance(error, Exception):
                raise

    def _drain(self) -> list[_Entry]:
        """The next batch, in the order of arrival. What touches a stream that a call under way writes waits."""
        limit = MAX_COMMANDS
        if not self._calls and len(self._queue) >= SPLIT:
            limit = min(limit, len(self._queue) // 2)
        busy = set().union(*self._calls.values()) if self._calls else frozenset[str]()
        batch: list[_Entry] = []
        size = 0
        while self._queue and len(batch) < limit:
            entry = self._queue[0]
            if batch and size + entry.size > MAX_BYTES:
                break
            if entry.stream in busy or any(guard.stream in busy for guard in entry.guards):
                break
            batch.append(self._queue.popleft())
            size += entry.size
        return batch

    async def _send(self, batch: list[_Entry]) -> None:
        try:
            results = await self._call(batch)
        except FAILURES as error:
            # One of them may be at fault, or the connection was lost and the outcome is unknown: one by one, the ids
            # make a repetition harmless and the one at fault fails alone.
            logger.info("An append of %d commands failed (%s); sent again one by one", len(batch), error)
            for entry in batch:
                await self._send_alone(entry, error)
            return
        for entry, result in zip(batch, results, strict=True):
            _answer(entry, result)

    async def _send_alone(self, entry: _Entry, error: BaseException) -> None:
        loop, pause = asyncio.get_running_loop(), 0.05
        while True:
            if _is_temporary(error) and loop.time() >= entry.deadline:
                reason = f"{error or type(error).__name__}"
                _fail(entry, StoreUnavailable(f"Postgres did not take an append for {self._patience:g} s ({reason})."))
                return
            try:
                [result] = await self._call([entry])
                _answer(entry, result)
                return
            except FAILURES as again:
                if isinstance(again, asyncpg.UniqueViolationError) and again.constraint_name == _UNIQUE_ID:
                    _answer(entry, Result("mismatch", None, None))
                    return
                if not _is_temporary(again):
                    _fail(entry, AppendRefused(f"The database refuses to append to {entry.stream}: {again}"))
                    return
                error = again
            await asyncio.sleep(min(pause * random.uniform(0.5, 1), max(entry.deadline - loop.time(), 0)))
            pause = min(pause * 2, 1.0)

    async def _call(self, batch: list[_Entry]) -> list[Result]:
        """One call is one statement in autocommit: the log's lock lives and dies on the server."""
        guards = [(number, guard) for number, entry in enumerate(batch, 1) for guard in entry.guards]
        arguments = (
            [e.stream for e in batch],
            [e.expected for e in batch],
            [len(e.ids) for e in batch],
            [i for e in batch for i in e.ids],
            [t for e in batch for t in e.types],
            [b for e in batch for b in e.bodies],
            [number for number, _ in guards],
            [guard.stream for _, guard in guards],
            [guard.version for _, guard in guards],
        )
        metrics.APPEND_BATCH.observe(len(arguments[3]))
        with metrics.APPEND_SECONDS.time():
            async with self._pool.acquire(timeout=10) as connection:
                rows = await connection.fetch(_APPEND, *arguments)
        results = [Result(*row) for row in rows]
        for result in results:
            metrics.APPENDS.labels(result.outcome).inc()
        for result in reversed(results):
            if result.outcome == "appended" and result.position is not None:
                self._note(result.position)
                break
        return results

    # Reading

    async def read_stream(self, stream: str, after: int = -1) -> list[Recorded]:
        """The events of a stream with a version above ``after``, in order; none for a stream that does not exist."""
        found: list[Recorded] = []
        while True:
            page = [recorded(row) for row in await self._fetch(_OF_STREAM, stream, after, _STREAM_PAGE)]
            found += page
            if len(page) < _STREAM_PAGE:
                return found
            after = page[-1].version

    async def read_log(self, after: int, limit: int = 500) -> list[Recorded]:
        """The events of all streams after a position, in order: at most ``limit``, and fewer where bodies are large.

        Positions have no holes: the last one read is all a reader has to remember. Empty only at the end of the log.
        """
        rows = await self._fetch(PAGE, after, limit, MAX_PAGE_BYTES)
        return [recorded(row) for row in rows]

    async def event(self, event_id: str) -> Recorded | None:
        """The event with this id. A handler that finds the first id of its command has decided already."""
        rows = await self._fetch(_BY_ID, event_id)
        return recorded(rows[0]) if rows else None

    async def head(self) -> Head:
        """The end of the log as it is now."""
        rows = await self._fetch(_HEAD)
        if not rows:
            raise AppendRefused("The log has no head: the schema is damaged. Restore it from a backup.")
        row = rows[0]
        self._note(row["position"])
        return Head(row["position"], row["link"], row["log_id"].hex, _micros(row["recorded_at"]))

    async def _fetch(self, query: str, *arguments: object) -> list[Any]:
        """Rows of a read. Raises StoreUnavailable if Postgres is away."""
        for attempt in range(1, READS + 1):
            try:
                return list(await self._pool.fetch(query, *arguments))
            except FAILURES as error:
                if not _is_temporary(error):
                    raise
                if attempt == READS:
                    reason = f"{error or type(error).__name__}"
                    raise StoreUnavailable(f"Postgres did not answer a read ({reason}).") from error
                await asyncio.sleep(0.05 * attempt)
        raise AssertionError("unreachable")

    # Waiting

    async def wait_beyond(self, position: int, timeout: float) -> bool:
        """Whether the log has an event after ``position``, now or within ``timeout`` seconds.

        Notifications make it quick; polling (every 0.5 s) makes it sure, also while Postgres is away and comes back.
        """
        if self._known > position:
            return True
        if (self._watcher is None or self._watcher.done()) and not self._closing:
            self._watcher = asyncio.create_task(self._watch(), name="event store watcher")
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters[waiter] = position
        self._hint.set()
        try:
            async with asyncio.timeout(timeout):
                await waiter
            return True
        except TimeoutError:
            return False
        finally:
            del self._waiters[waiter]

    def _note(self, position: int) -> None:
        if position > self._known:
            self._known = position
            metrics.LOG_POSITION.set(position)
            for waiter, beyond in self._waiters.items():
                if position > beyond and not waiter.done():
                    waiter.set_result(None)

    def _heard(self, _connection: Any, _pid: int, _channel: str, payload: object) -> None:
        self._note(int(str(payload)))

    async def _watch(self) -> None:
        """Keeps one connection that listens, while there are waiters, and asks for the head besides."""
        listening: Any = None
        retry_at, pause, loop = 0.0, 0.1, asyncio.get_running_loop()
        try:
            while True:
                await self._hint.wait()
                if not self._waiters:
                    self._hint.clear()
                    continue
                if _is_gone(listening) and loop.time() >= retry_at:
                    try:
                        listening = await self._listen(listening)
                        pause = 0.1
                    except FAILURES as error:
                        listening = None
                        logger.info("The log is polled only: listening failed (%s)", error)
                        retry_at, pause = loop.time() + pause, min(pause * 2, 5.0)
                try:
                    async with asyncio.timeout(5):
                        found = await self._pool.fetchval("SELECT position FROM log.log_head")
                    # After a restore the end may be before what was known: the database is right.
                    self._known = min(self._known, found)
                    self._note(found)
                except FAILURES as error:
                    logger.info("The end of the log cannot be read (%s)", error)
                if self._waiters:
                    await asyncio.wait(list(self._waiters), timeout=POLL)
        finally:
            if listening is not None:
                await self._release(listening)

    async def _listen(self, lost: Any) -> Any:
        if lost is not None:
            await self._release(lost)
        connection = await self._pool.acquire(timeout=5)
        try:
            await connection.add_listener("log", self._heard)
        except BaseException:
            await self._pool.release(connection)
            raise
        return connection

    async def _release(self, connection: Any) -> None:
        try:
            if not _is_gone(connection):
                await connection.reset(timeout=1)
        except FAILURES:
            logger.debug("The listening connection was gone already")
            with contextlib.suppress(asyncpg.InterfaceError):
                connection.terminate()
        await self._pool.release(connection)


def _answer(entry: _Entry, result: Result) -> None:
    if result.outcome == "mismatch":
        logger.error("An event id was used twice for different things, in %s", entry.stream)
    if not entry.answer.done():  # its caller may have been canceled
        entry.answer.set_result(result)


def _fail(entry: _Entry, error: Exception) -> None:
    metrics.APPEND_ERRORS.inc()
    if not entry.answer.done():
        entry.answer.set_exception(error)


def _is_gone(connection: Any) -> bool:
    """No connection, or a lost one. A pool takes a lost one back by itself; asking it anything is then an error."""
    try:
        return connection is None or bool(connection.is_closed())
    except asyncpg.InterfaceError:
        return True


def _is_temporary(error: BaseException) -> bool:
    """Worth another try: Postgres is away, or cannot take it at the moment."""
    if isinstance(error, asyncpg.DataError):  # a value that cannot be sent: an InterfaceError of asyncpg, but no outage
        return False
    return isinstance(
        error,
        (
            *AWAY,
            asyncpg.LockNotAvailableError,
            asyncpg.QueryCanceledError,
            asyncpg.TransactionRollbackError,
            asyncpg.InsufficientResourcesError,  # a full disk, say
            asyncpg.ReadOnlySQLTransactionError,  # a standby, for the moment of a switch-over
        ),
    )


def _micros(moment: datetime) -> int:
    return (moment - _EPOCH) // _MICROSECOND


def recorded(row: Any) -> Recorded:
    """A row of COLUMNS as a recorded event."""
    position, event_id, stream, version, type_, body, recorded_at, link = row
    return Recorded(position, event_id.hex, stream, version, type_, body, _micros(recorded_at), link)


# The store cannot be used just now; what was asked may be asked again, with the same ids.
UNAVAILABLE: tuple[type[BaseException], ...] = (*AWAY, StoreUnavailable)
