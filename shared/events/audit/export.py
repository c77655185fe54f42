"""Exports: events as NDJSON CloudEvents, bodies verbatim, with what shows that they are the log's.

One line is one CloudEvent. Beside the events there are lines of these types:

``cloudward.export.begun``       what was chosen, and where the log stood;
``cloudward.export.hashes``      in place of events that were not chosen: the complete subtrees over them;
``cloudward.export.checkpoint``  behind the event at its size: a signed checkpoint;
``cloudward.export.ended``       how many events there were: a file without this line was cut off.

So a reader computes the tree's root from any export, also from one of a few events, in one pass and with little memory.
The form of the lines is fixed to the byte: docs/audit.md and ``verify_log.py`` define it.
"""

import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from shared.events.audit.kept import KeptTree, log_id, pages
from shared.events.audit.tree import node, pieces
from shared.events.contract import Recorded, canonical
from shared.events.record import leaf, record
from shared.events.store import recorded

#: Level of gzip for a packed export: a higher one halves the pace and saves a seventh of the size.
PACKED = 1
MOST_CHECKPOINTS = 100  # in one export: each costs its reader a signature check
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class NothingToExport(Exception):
    """The choice cannot be exported. The text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Selection:
    """All events; or those of one plan with its tasks and chunks; or those from position ``first`` to ``last``."""

    kind: Literal["all", "plan", "range"] = "all"
    plan: str | None = None
    first: int = 1
    last: int | None = None


@dataclass(slots=True)
class Exported:
    """What an export holds. ``size``: the tree of its newest checkpoint, 0 without one; ``last``: its last position."""

    log: str
    first: int = 0
    last: int = 0
    events: int = 0
    size: int = 0


def line(row: Recorded, source: str) -> bytes:
    """An event as a CloudEvent; ``source``: the log's id. The body stands in it byte for byte, last."""
    moment = _EPOCH + timedelta(microseconds=row.recorded_at)
    return _line(
        source, row.position, UUID(row.event_id), row.stream, row.version, row.type, row.body, moment, row.link
    )


def _line(
    source: str, position: int, id: UUID, stream: str, version: int, type: str, body: bytes, at: datetime, link: bytes
) -> bytes:
    """The same of a row of the table as it is read; ``at`` in UTC."""
    return (
        f'{{"specversion":"1.0","id":"{id.hex}","source":"/cloudward/log/{source}","type":"{type}",'
        f'"subject":"{stream}","time":"{at.isoformat(timespec="microseconds")[:26]}Z","datacontenttype":"application/json",'
        f'"position":"{position}","version":{version},"link":"{link.hex()}","data":'
    ).encode() + body + b"}\n"  # fmt: skip


def note_line(kind: str, log: str, number: int, data: dict[str, Any]) -> bytes:
    """A line that is no event; ``number`` makes its id unique within the export."""
    return canonical(
        {
            "specversion": "1.0",
            "id": f"{kind}-{number}",
            "source": f"/cloudward/log/{log}",
            "type": f"cloudward.export.{kind}",
            "datacontenttype": "application/json",
            "data": data,
        }
    ) + b"\n"  # fmt: skip


@dataclass(slots=True)
class _Plan:
    """The streams of one plan, learned while the log is read: its own, its tasks', their chunks' and targets'."""

    plan: str
    streams: set[str] = field(default_factory=set)

    def chosen(self, row: Recorded) -> bool:
        if not self.streams:
            self.streams.add(f"plan-{self.plan}")
        if row.category == "target":
            return bool(json.loads(row.body)["data"].get("plan") == self.plan)
        if row.type == "TaskStarted" and json.loads(row.body)["data"]["plan"] == self.plan:
            self.streams.add(row.stream)
        if row.stream not in self.streams:
            return False
        if row.type == "PhasePlanned":
            self.streams.update(f"chunk-{each['chunk']}" for each in json.loads(row.body)["data"]["chunks"])
        return True


async def position_at(source: Any, moment: datetime) -> int:
    """The position of the last event that was recorded at ``moment`` or before; 0 if there is none.

    Times never fall along the log, so this takes a few look-ups, not a scan.
    """
    low, high = 0, int(await source.fetchval("SELECT position FROM log.log_head"))
    while low < high:
        middle = (low + high + 1) // 2
        found = await source.fetchval("SELECT recorded_at <= $2 FROM log.events WHERE position = $1", middle, moment)
        if found:
            low = middle
        else:
            high = middle - 1
    return low


async def export(source: Any, selection: Selection, write: Callable[[bytes], Awaitable[None]]) -> Exported:
    """Writes the lines of an export, a page of events in memory at a time.

    A choice of events needs a checkpoint, and ends with the newest one; an export of all has the events behind it too.
    Raises NothingToExport, and Incomplete for a log with a hole.
    """
    log = await log_id(source)
    head = await source.fetchrow("SELECT position, link FROM log.log_head")
    notes = {
        row["size"]: row["note"]
        for row in await source.fetch("SELECT size, note FROM log.checkpoint WHERE size <= $1 ORDER BY size", head[0])
    }
    newest = max(notes, default=0)
    partial = selection.kind != "all"
    end = newest if partial else head["position"]
    first, last = selection.first, min(end, end if selection.last is None else selection.last)
    if partial and not newest:
        raise NothingToExport("The log is under no checkpoint yet. Run `cloudward audit seal` first.")
    if partial and first > last:
        raise NothingToExport(f"No position from {first} on is under a checkpoint: the newest is of {newest} events.")
    told = Exported(log, size=newest)
    chosen = {"kind": selection.kind, "first": first, "last": last}
    if selection.plan is not None:
        chosen["plan"] = selection.plan
    begun = {
        "format": "cloudward-export-1",
        "log": log,
        "selection": chosen,
        "head": head["position"],
        "link": head["link"].hex(),
    }
    await write(note_line("begun", log, 0, begun))
    signed = {newest: notes[newest]} if partial and newest else _thinned(notes)
    parts = _chosen(source, selection, first, last, end)
    async for part in parts:
        if isinstance(part, list):
            lines = [_line(log, *row) for row in part]
            start, size = part[0][0], part[-1][0]
            told.first, told.last, told.events = told.first or start, size, told.events + len(part)
        else:
            size, hashes = part
            lines = [note_line("hashes", log, size, {"hashes": hashes, "upto": size})]
            start = size
        for each in signed.keys() & range(start, size + 1):
            lines[each - start] += note_line("checkpoint", log, each, {"note": signed[each], "size": each})
        await write(b"".join(lines))
    await write(note_line("ended", log, end, {"events": told.events, "position": end}))
    if selection.kind == "plan" and not told.events:
        raise NothingToExport("No event of this plan is under a checkpoint.")
    return told


def _thinned(notes: dict[int, str]) -> dict[int, str]:
    """At most MOST_CHECKPOINTS of them, evenly chosen, the newest among them."""
    sizes = sorted(notes)
    step = -(-len(sizes) // MOST_CHECKPOINTS) or 1
    return {size: notes[size] for size in sizes[::-1][::step]}


# Rows of the log that follow each other; or, for a run of events left out, its last position and the subtrees over it.
Part = list[Any] | tuple[int, list[list[Any]]]


async def _chosen(source: Any, selection: Selection, first: int, last: int, end: int) -> AsyncIterator[Part]:
    """The chosen events, and the subtrees in place of the others."""
    if selection.kind != "plan":
        if first > 1:
            yield first - 1, await _kept(source, 0, first - 1)
        async for page in pages(source, first - 1, last):
            yield page
        if last < end:
            yield end, await _kept(source, last, end)
        return
    plan, run = _Plan(selection.plan or ""), _Run()
    async for page in pages(source, 0, end):
        for raw, row in zip(page, map(recorded, page), strict=True):
            if plan.chosen(row):
                if run.length:
                    yield row.position - 1, run.taken()
                yield [raw]
            else:
                run.add(row.position - 1, leaf(record(row)))
    if run.length:
        yield end, run.taken()


async def _kept(source: Any, start: int, end: int) -> list[list[Any]]:
    wanted = list(pieces(start, end))
    found = await KeptTree(source).subtrees(wanted)
    return [[level, base64.b64encode(each).decode()] for (level, _), each in zip(wanted, found, strict=True)]


class _Run:
    """Consecutive leaves that were not chosen, as the fewest complete subtrees. Memory: two for each level."""

    def __init__(self) -> None:
        self.length = 0
        self._parts: list[tuple[int, int, bytes]] = []  # level, number, hash

    def add(self, index: int, leaf_hash: bytes) -> None:
        level, number, current = 0, index, leaf_hash
        while number & 1 and self._parts and self._parts[-1][:2] == (level, number - 1):
            current = node(self._parts.pop()[2], current)
            level, number = level + 1, number >> 1
        self._parts.append((level, number, current))
        self.length += 1

    def taken(self) -> list[list[Any]]:
        """The subtrees, and a new beginning."""
        found = [[level, base64.b64encode(each).decode()] for level, _, each in self._parts]
        self._parts, self.length = [], 0
        return found
