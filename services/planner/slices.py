"""Cuts a phase into chunks: ranges of the inventory's ordinals.

Chunks are done side by side, and the site shows comments in the order in which they came: those on one page, post or file are
one chunk's, however many they are up to ``_MOST_TOGETHER``.
"""

import asyncpg

from services.planner.domain.tasks import PlanSlice, Task, chunk_id, ranged_kind
from shared.events.catalog.task import ChunkPlan
from shared.events.catalog.work import BY_DEPTH, Phase

CHUNKS_IN_SLICE = 500
_MOST_TOGETHER = 1000

# Phases that are one piece of work whatever the inventory holds.
_SINGLE = frozenset({Phase.INVENTORY, Phase.SPACE})
# Phases with at least one chunk, because the first one does something for the space as a whole.
_AT_LEAST_ONE = frozenset({Phase.VERIFICATION, Phase.OPENING})


async def cut(pool: asyncpg.Pool, task: Task, s: PlanSlice, chunk_size: int) -> tuple[tuple[ChunkPlan, ...], bool]:
    """The chunks of the next slice, and whether it is the phase's last."""
    if s.phase in _SINGLE:
        return (ChunkPlan(chunk=chunk_id(task.task, s.phase, s.depth, 0), first=0, last=0, count=0),), True
    kind = ranged_kind(s.phase)
    together = s.phase is Phase.COMMENT
    # ``run``: how many rows come before those of the same container that this one is among.
    rows = await pool.fetch(
        "WITH listed AS (SELECT ordinal, row_number() OVER w - 1 AS n, container IS DISTINCT FROM lag(container) OVER w AS new"
        "  FROM work.inventory WHERE task = $1 AND epoch = $2 AND kind = $3 AND ($4::int IS NULL OR depth = $4)"
        "  AND ordinal > $5 WINDOW w AS (ORDER BY ordinal) ORDER BY ordinal LIMIT $6::int * $7::int),"
        " runs AS (SELECT ordinal, n, max(n) FILTER (WHERE new OR n = 0) OVER (ORDER BY ordinal) AS run FROM listed),"
        " parts AS (SELECT ordinal, CASE WHEN $8 THEN run + (n - run) / $9::int * $9 ELSE n END / $6 AS part FROM runs)"
        " SELECT min(ordinal) AS first, max(ordinal) AS last, count(*) AS n FROM parts GROUP BY part ORDER BY part",
        task.task,
        task.inventory_epoch,
        kind.value if kind else None,
        s.depth if s.phase in BY_DEPTH else None,
        s.after,
        chunk_size,
        CHUNKS_IN_SLICE,
        together,
        max(_MOST_TOGETHER, chunk_size),
    )
    last = sum(row["n"] for row in rows) < chunk_size * CHUNKS_IN_SLICE
    if together and not last and len(rows) > 1:
        rows.pop()  # the slice may end among those of one container: the next one begins with them
    chunks = tuple(
        ChunkPlan(
            chunk=chunk_id(task.task, s.phase, s.depth, r["first"]), first=r["first"], last=r["last"], count=r["n"]
        )
        for r in rows
    )
    if not chunks and s.slice == 0 and s.phase in _AT_LEAST_ONE:
        chunks = (ChunkPlan(chunk=chunk_id(task.task, s.phase, s.depth, 0), first=0, last=0, count=0),)
    return chunks, last
