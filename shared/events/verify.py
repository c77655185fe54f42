"""Checks a whole log by its links: that no event was changed, removed, added or moved since it was appended.

The links alone cannot show that somebody with all rights over the database computed all of them anew: that is what signed
checkpoints outside the database are for.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal

import asyncpg

from shared.events.record import leaf, link, origin, record
from shared.events.store import PAGE, recorded

_PAGE = 1000
_PAGE_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of a check. ``checked``: events whose link is right, from position 1 on. ``link``: the last right one.

    Where something is off, ``position`` is the first place and ``problem`` says how: ``link`` (the event there, or its
    link, is not what was appended), ``missing`` (there is no event at this position), ``head`` (the end of the log, as the
    database keeps it, is not where the events end).
    """

    log_id: str
    checked: int
    link: bytes
    position: int | None = None
    problem: Literal["link", "missing", "head"] | None = None
    message: str = "Every event is as it was appended."

    @property
    def ok(self) -> bool:
        return self.problem is None


async def verify_links(
    pool: "asyncpg.Pool[Any]", each: Callable[[int, bytes], Awaitable[None]] | None = None
) -> Verdict:
    """Reads the log from its first event to the end it had when the check began, a page at a time.

    ``pool`` (or a connection): of any role that may read the log. Events appended meanwhile are left to the next check.
    ``each`` is called with the position and the leaf hash of every event whose link is right, in order.
    """
    # One statement, so one moment: nothing can be appended between the head and what lies behind it.
    row = await pool.fetchrow(
        "SELECT log_id, position, link, (SELECT min(position) FROM log.events e WHERE e.position > h.position) AS beyond,"
        " (SELECT min(position) FROM log.events e WHERE e.position < 1) AS before FROM log.log_head h"
    )
    if row is None:
        return Verdict("", 0, b"", 0, "head", "The row that keeps the end of the log is gone.")
    log_id, end, last, beyond, before = row[0].hex, row[1], row[2], row[3], row[4]
    current, position = origin(log_id), 0

    def verdict(where: int, problem: Literal["link", "missing", "head"], message: str) -> Verdict:
        return Verdict(log_id, position, current, where, problem, message)

    while position < end:
        page = await pool.fetch(PAGE, position, min(_PAGE, end - position), _PAGE_BYTES)
        for event in map(recorded, page):
            if event.position == position:
                return verdict(position, "link", f"There are two events at position {position}.")
            if event.position != position + 1:
                break
            hashed = leaf(record(event))
            expected = link(current, hashed)
            if event.link != expected:
                return verdict(
                    event.position,
                    "link",
                    f"The event at position {event.position} is not the one that was appended: its link does not follow"
                    " from it and the link before.",
                )
            current, position = expected, event.position
            if each is not None:
                await each(position, hashed)
        else:
            if page:
                continue
        return verdict(
            position + 1,
            "missing",
            f"There is no event at position {position + 1}, though the log goes on to {end}.",
        )
    if current != last:
        return verdict(end, "head", f"The end of the log is kept with another link than that of the event at {end}.")
    if before is not None:
        return verdict(before, "head", f"There is an event at position {before}; a log begins at 1.")
    if beyond is not None:
        return verdict(beyond, "head", f"There is an event at position {beyond}, behind the end of the log at {end}.")
    return Verdict(log_id, position, current)
