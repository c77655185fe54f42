"""Cuts a phase into chunks: ranges of the inventory's ordinals."""

import asyncpg

from services.planner.domain.tasks import PlanSlice, Task, chunk_id, ranged_kind
from shared.events.catalog.task import ChunkPlan
from shared.events.catalog.work import BY_DEPTH, Phase

CHUNKS_IN_SLICE = 500

# Phases that are one piece of work whatever the inventory holds.
_SINGLE = frozenset({Phase.INVENTORY, Phase.SPACE})
# Phases with at least one chunk, because the first one does something for the space as a whole.
_AT_LEAST_ONE = frozenset({Phase.VERIFICATION, Phase.OPENING})


async def cut(pool: asyncpg.Pool, task: Task, s: PlanSlice, chunk_size: int) -> tuple[tuple[ChunkPlan, ...], bool]:
    """The chunks of the next slice, and whether it is the phase's last."""
    if s.phase in _SINGLE:
        return (ChunkPlan(chunk=chunk_id(task.task, s.phase, s.depth, 0), first=0, last=0, count=0),), True
    kind = ranged_kind(s.phase)
    rows = await pool.fetch(
        "SELECT min(ordinal) AS first, max(ordinal) AS last, count(*) AS n FROM ("
        "  SELECT ordinal, (row_number() OVER (ORDER BY ordinal) - 1) / $6 AS part FROM work.inventory"
        "  WHERE task = $1 AND epoch = $2 AND kind = $3 AND ($4::int IS NULL OR depth = $4) AND ordinal > $5"
        "  ORDER BY ordinal LIMIT $6 * $7) parts GROUP BY part ORDER BY part",
        task.task,
        task.inventory_epoch,
        kind.value if kind else None,
        s.depth if s.phase in BY_DEPTH else None,
        s.after,
        chunk_size,
        CHUNKS_IN_SLICE,
    )
    chunks = tuple(
        ChunkPlan(
            chunk=chunk_id(task.task, s.phase, s.depth, r["first"]), first=r["first"], last=r["last"], count=r["n"]
        )
        for r in rows
    )
    if not chunks and s.slice == 0 and s.phase in _AT_LEAST_ONE:
        chunks = (ChunkPlan(chunk=chunk_id(task.task, s.phase, s.depth, 0), first=0, last=0, count=0),)
    return chunks, sum(c.count for c in chunks) < chunk_size * CHUNKS_IN_SLICE
