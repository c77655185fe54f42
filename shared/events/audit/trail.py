"""One story in the log: everything that came of a request, an event or a plan, through all services."""

import json
from collections.abc import AsyncIterator
from typing import Any

from shared.events.audit.kept import events
from shared.events.contract import Context, Recorded

# What a request may begin, and what then goes on by itself under its own id.
_STORIES = ("plan", "analysis")


async def trail(source: Any, id: str) -> AsyncIterator[tuple[Recorded, Context]]:
    """The events of the story of ``id`` (of a request, event, plan, analysis, task or chunk), in order.

    An event belongs to it by its correlation, command, cause, own id or stream. What it starts goes on under the id of
    its plan or analysis, and so does the trail. Reads the whole log once.
    """
    known = {id}
    end = int(await source.fetchval("SELECT position FROM log.log_head"))
    async for row in events(source, 0, end):
        # Nothing of an unknown kind is left out: only the envelope is read.
        context = _context(row)
        if not known & {context.correlation, context.command, context.causation, row.event_id, row.stream_id}:
            continue
        if row.category != "chunk":  # nothing names an event of a chunk as its cause, and there may be many
            known.add(row.event_id)
        if row.category in _STORIES and context.command is not None:
            known.add(row.stream_id)
        yield row, context


def _context(row: Recorded) -> Context:
    body = json.loads(row.body)
    return Context.model_validate({k: v for k, v in body.items() if k not in ("schema", "data")})
