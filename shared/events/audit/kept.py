"""The tree as the database has it: leaves from the events, large complete subtrees from ``log.subtree``."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import asyncpg

from shared.events.audit.note import BadNote, PublicKey, opened
from shared.events.audit.tree import Frontier, Range, fold, node, pieces
from shared.events.contract import Recorded
from shared.events.record import leaf, record
from shared.events.store import MAX_PAGE_BYTES, PAGE, recorded

KEPT = 8  # the lowest level of subtrees that are kept: below it, at most 255 events are read instead
_PAGE = 1000

# What statements run on: a pool or a connection.
Source = Any


class Incomplete(Exception):
    """The log has no event where the tree has a leaf."""

    def __init__(self, position: int) -> None:
        super().__init__(f"There is no event at position {position}.")
        self.position = position


async def pages(source: Source, after: int, upto: int) -> AsyncIterator[list[Any]]:
    """The rows (COLUMNS) behind position ``after`` up to ``upto``, a page at a time; the next one is fetched meanwhile.

    Raises Incomplete at the first hole, before the page that has it.
    """
    position = after
    ahead: asyncio.Task[list[Any]] | None = None
    try:
        while position < upto:
            page = await (ahead or _fetch(source, position, upto))
            ahead = None
            expected = range(position + 1, position + 1 + len(page))
            if not page or [row[0] for row in page] != list(expected):
                here = zip(expected, page, strict=True)
                raise Incomplete(next((number for number, row in here if row[0] != number), position + 1))
            position += len(page)
            if position < upto:
                ahead = asyncio.create_task(_fetch(source, position, upto))
            yield page
    finally:
        if ahead is not None:
            ahead.cancel()
            await asyncio.gather(ahead, return_exceptions=True)


async def _fetch(source: Source, position: int, upto: int) -> list[Any]:
    return list(await source.fetch(PAGE, position, min(_PAGE, upto - position), MAX_PAGE_BYTES))


async def events(source: Source, after: int, upto: int) -> AsyncIterator[Recorded]:
    """The events behind position ``after`` up to ``upto``. Raises Incomplete at the first hole."""
    position = after
    while position < upto:
        page = await _fetch(source, position, upto)
        if not page:
            raise Incomplete(position + 1)
        for row in map(recorded, page):
            if row.position != position + 1:
                raise Incomplete(position + 1)
            yield row
            position += 1


class KeptTree:
    """Hashes of any part of the tree, each for the cost of at most 255 events and one row for each larger subtree."""

    def __init__(self, source: Source) -> None:
        self._source = source

    async def root(self, size: int) -> bytes:
        return (await self.frontier(size)).root

    async def frontier(self, size: int) -> Frontier:
        return Frontier(size, await self.subtrees(list(pieces(0, size))))

    async def ranges(self, ranges: Sequence[Range]) -> list[bytes]:
        """The root of the tree over each range of leaves, as paths of proofs name them."""
        parts = [list(pieces(*each)) for each in ranges]
        hashes = iter(await self.subtrees([piece for part in parts for piece in part]))
        return [fold([next(hashes) for _ in part]) for part in parts]

    async def subtrees(self, wanted: Sequence[tuple[int, int]]) -> list[bytes]:
        """The hash of each complete subtree (level, number). One that should be kept and is not is computed."""
        large = [piece for piece in wanted if piece[0] >= KEPT]
        kept: dict[tuple[int, int], bytes] = {}
        if large:
            rows = await self._source.fetch(
                "SELECT level, number, hash FROM log.subtree JOIN unnest($1::int[], $2::bigint[]) AS w(level, number)"
                " USING (level, number)",
                [level for level, _ in large],
                [number for _, number in large],
            )
            kept = {(row["level"], row["number"]): row["hash"] for row in rows}
        return [kept.get(piece) or await self._subtree(*piece) for piece in wanted]

    async def _subtree(self, level: int, number: int) -> bytes:
        if level > KEPT:
            left, right = await self.subtrees([(level - 1, 2 * number), (level - 1, 2 * number + 1)])
            return node(left, right)
        start, frontier = number << level, Frontier()
        async for row in events(self._source, start, start + (1 << level)):
            frontier.add(leaf(record(row)))
        return frontier.root


async def newest_note(source: Source, upto: int | None = None) -> str | None:
    """The newest checkpoint that the database has, as a signed note; ``upto``: of at most so many events."""
    note = await source.fetchval(
        "SELECT note FROM log.checkpoint WHERE $1::bigint IS NULL OR size <= $1 ORDER BY size DESC LIMIT 1", upto
    )
    return None if note is None else str(note)


def readable(note: str, trusted: Sequence[PublicKey]) -> str | None:
    """Why a note is not to be believed; None where it is."""
    try:
        opened(note, trusted)
    except BadNote as error:
        return str(error)
    return None


async def log_id(source: Source) -> str:
    """The log's id: 32 hexadecimal digits."""
    found = await source.fetchval("SELECT log_id FROM log.log_head")
    if found is None:
        raise asyncpg.NoDataFoundError("The row that keeps the end of the log is gone.")
    return str(found.hex)
