"""The sealer: signs what the log is now, after it has seen that the log goes on from what was signed before.

Each event is read once, by the first seal after it; what a seal costs does not grow with the log. A checkpoint is written
outside the database first: what a crash leaves undone is done by the next seal.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg

from shared.events.audit.folder import CheckpointFolder
from shared.events.audit.kept import KEPT, Incomplete, events, log_id
from shared.events.audit.note import BadNote, Checkpoint, PublicKey, SigningKey, opened
from shared.events.audit.tree import Frontier
from shared.events.catalog.system import LogSealed
from shared.events.contract import Actor, Context, Event
from shared.events.database import session
from shared.events.record import leaf, link, origin, record
from shared.events.store import Append, EventStore
from shared.events.types import derived_id

_LOCK = 0x7365616C  # session advisory lock: one sealer at a time
_BATCH = 500


class SealRefused(Exception):
    """The log is not what was signed before, or cannot be read: nothing is signed. The text says what and where."""


class Busy(Exception):
    """Another sealer is at work on this log."""


@dataclass(frozen=True, slots=True)
class Sealed:
    """``signed``: a new checkpoint was made; else there was nothing new and ``checkpoint`` is the last one."""

    checkpoint: Checkpoint | None
    signed: bool


class Sealer:
    """``keys``: one, or two while one takes over from the other; each signs every checkpoint."""

    def __init__(self, pool: Any, keys: Sequence[SigningKey], folder: CheckpointFolder) -> None:
        if not keys:
            raise ValueError("a sealer without a key")
        self._pool, self._keys, self._folder = pool, keys, folder

    async def seal(self) -> Sealed:
        """Signs the log up to its end. Raises SealRefused, Busy, OSError of the folder, and asyncpg's errors."""
        async with session(self._pool) as connection:
            if not await connection.fetchval("SELECT pg_try_advisory_lock($1)", _LOCK):
                raise Busy("Another sealer is at work on this log.")
            try:
                return await self._seal(connection)
            except (BadNote, Incomplete) as error:
                raise SealRefused(str(error)) from error

    async def _seal(self, connection: Any) -> Sealed:
        log = await log_id(connection)
        own = [key.public(log) for key in self._keys]
        self._folder.introduce(own)
        head = await connection.fetchrow("SELECT position, link FROM log.log_head")
        end, last = head["position"], head["link"]
        outside = self._outside(self._folder.keys())
        base, frontier = await self._base(connection, self._folder.keys())
        if outside is not None and outside.size > end:
            raise SealRefused(
                f"The log ends at {end}, but {outside.size} events were sealed: it was cut off, or an old backup was restored."
            )
        if outside is not None and base is not None and outside.size == base.size and outside.root != base.root:
            raise SealRefused(
                f"Two checkpoints of {base.size} events differ: the one in the database and the one outside it."
            )
        if base is not None and (outside is None or outside.size < base.size):
            # The folder is new, or was put in the place of a lost one.
            self._folder.write(base.size, await _note(connection, base.size))
        if end == frontier.size or await _only_seals(connection, frontier.size, end):
            return Sealed(base, False)
        frontier = await self._grow(connection, frontier, end, last, log, outside)
        checkpoint = Checkpoint(log, frontier.size, frontier.root)
        if outside is not None and outside.size == checkpoint.size:
            # A crash came between the folder and the database.
            await _insert(connection, checkpoint, frontier, self._folder.note(outside.size))
            return Sealed(checkpoint, True)
        note = checkpoint.signed(self._keys)
        self._folder.write(checkpoint.size, note)
        await _insert(connection, checkpoint, frontier, note)
        return Sealed(checkpoint, True)

    def _outside(self, trusted: list[PublicKey]) -> Checkpoint | None:
        sizes = self._folder.sizes()
        if not sizes:
            return None
        checkpoint = opened(self._folder.note(sizes[-1]), trusted)
        if checkpoint.size != sizes[-1]:
            raise SealRefused(f"{self._folder.file(sizes[-1])} is a checkpoint of {checkpoint.size} events.")
        return checkpoint

    async def _base(self, connection: Any, trusted: list[PublicKey]) -> tuple[Checkpoint | None, Frontier]:
        """The newest checkpoint in the database and the tree under it, believed only as far as signed."""
        row = await connection.fetchrow("SELECT * FROM log.checkpoint ORDER BY size DESC LIMIT 1")
        if row is None:
            return None, Frontier()
        checkpoint = opened(row["note"], trusted)
        try:
            frontier = Frontier.of_bytes(row["size"], row["frontier"])
        except ValueError as error:
            raise SealRefused(f"The checkpoint of {row['size']} events in the database is damaged: {error}.") from error
        if (checkpoint.size, checkpoint.root) != (frontier.size, frontier.root):
            raise SealRefused(f"The checkpoint of {row['size']} events in the database is not the one that was signed.")
        return checkpoint, frontier

    async def _grow(
        self, connection: Any, frontier: Frontier, end: int, last: bytes, log: str, outside: Checkpoint | None
    ) -> Frontier:
        """The tree with all events up to ``end``, each checked by its link; keeps the subtrees that this completes."""
        if frontier.size:
            current = await connection.fetchval("SELECT link FROM log.events WHERE position = $1", frontier.size)
            if current is None:
                raise Incomplete(frontier.size)
        else:
            current = origin(log)
        completed: list[tuple[int, int, bytes]] = []
        async for row in events(connection, frontier.size, end):
            hashed = leaf(record(row))
            current = link(current, hashed)
            if row.link != current:
                raise SealRefused(f"The event at position {row.position} is not the one that was appended.")
            completed += [each for each in frontier.add(hashed) if each[0] >= KEPT]
            if len(completed) >= _BATCH:
                await _keep(connection, completed)
                completed.clear()
            if outside is not None and row.position == outside.size and frontier.root != outside.root:
                raise SealRefused(
                    f"The first {outside.size} events are not those that were sealed outside: the log was rewritten,"
                    " or goes on from an old backup."
                )
        await _keep(connection, completed)
        if current != last:
            raise SealRefused(f"The end of the log is kept with another link than that of the event at {end}.")
        return frontier


async def _note(connection: Any, size: int) -> str:
    return str(await connection.fetchval("SELECT note FROM log.checkpoint WHERE size = $1", size))


async def _only_seals(connection: Any, size: int, end: int) -> bool:
    """Whether all that is new is the sealer's own account of its last seal: a log at rest gets no more seals."""
    if end - size > 1:
        return False
    return bool(
        await connection.fetchval(
            "SELECT type = 'LogSealed' FROM log.events WHERE position = $1 AND EXISTS (SELECT FROM log.checkpoint)", end
        )
    )


async def _keep(connection: Any, completed: list[tuple[int, int, bytes]]) -> None:
    """Replaces what was kept: the events, just read and checked by their links, are right."""
    if completed:
        await connection.execute(
            "INSERT INTO log.subtree AS s SELECT * FROM unnest($1::int[], $2::bigint[], $3::bytea[])"
            " ON CONFLICT (level, number) DO UPDATE SET hash = excluded.hash WHERE s.hash <> excluded.hash",
            *([each[at] for each in completed] for at in range(3)),
        )


async def _insert(connection: Any, checkpoint: Checkpoint, frontier: Frontier, note: str) -> None:
    try:
        await connection.execute(
            "INSERT INTO log.checkpoint (size, root, frontier, note) VALUES ($1, $2, $3, $4)",
            checkpoint.size,
            checkpoint.root,
            bytes(frontier),
            note,
        )
    except asyncpg.UniqueViolationError as error:
        raise SealRefused(f"The database has another checkpoint of {checkpoint.size} events.") from error


async def rebuild_subtrees(pool: Any, upto: int) -> None:
    """Makes the kept subtrees anew from the log: after they were damaged."""
    async with pool.acquire() as connection:
        await connection.execute("DELETE FROM log.subtree")
        frontier, completed = Frontier(), list[tuple[int, int, bytes]]()
        async for row in events(connection, 0, upto):
            completed += [each for each in frontier.add(leaf(record(row))) if each[0] >= KEPT]
            if len(completed) >= _BATCH:
                await _keep(connection, completed)
                completed.clear()
        await _keep(connection, completed)


async def note_event(pool: Any, store: EventStore, name: str, event: Event, stream: str | None = None) -> int | None:
    """Appends an event about the log itself to the log's own stream, or to another; its position.

    ``name`` makes the event's id: what is noted twice under one name is one event. Raises StoreUnavailable and
    AppendRefused.
    """
    from shared.events.answering import service_key

    log = await log_id(pool)
    stream, id_ = stream or f"audit-{log}", derived_id(log, name)
    actor = Actor(kind="service", key=service_key("sealer"), authentication="database_role")
    context = Context(actor=actor, correlation=id_, causation=id_)
    while True:
        tail = await pool.fetchval("SELECT coalesce(max(version), -1) FROM log.events WHERE stream = $1", stream)
        result = await store.append(Append(stream, tail, ((id_, event),), context))
        if result.outcome != "conflict":
            return result.position


async def note_seal(pool: Any, store: EventStore, checkpoint: Checkpoint) -> None:
    """Records in the log that it was sealed."""
    event = LogSealed(size=checkpoint.size, root=checkpoint.root.hex())
    await note_event(pool, store, f"sealed {checkpoint.size}", event)
