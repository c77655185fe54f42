"""Tables of the pages: searched, filtered, sorted and cut into pages by the database, for tens of thousands of rows."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg

from services.dashboard.adapters.reads import Reads
from services.dashboard.domain.listing import Listing, Rows, Shape, pattern
from services.dashboard.domain.shapes import PlanSummary, Task
from shared.events.projections.base import Pool

STATUSES = ("READY", "RUNNING", "FINISHED", "STOPPED", "FAILED")
PLANS = Shape(
    ("name", "status", "source", "site", "saved", "started", "ended"),
    "-saved",
    {"status": STATUSES, "source": None, "site": None, "stage": ("test", "production"), "archived": ("1",)},
)
TASK_STATES = ("waiting", "running", "failing", "migrated", "failed", "stopped")
SPACES = Shape(("state", "key", "name", "pages"), "state", {"state": TASK_STATES})
ANALYZED = Shape(
    ("key", "name", "pages", "comments", "attachments", "size"),
    "key",
    {"type": ("global", "personal"), "status": ("current", "archived")},
)

_PLAN_SORTS = {
    "name": "lower(n.name)",
    "status": "p.status",
    "source": "lower(s.name)",
    "site": "lower(i.name)",
    "saved": "p.saved_at",
    "started": "p.started_at",
    "ended": "p.ended_at",
}
_FROM_PLANS = """FROM read.plan p LEFT JOIN people.plan n ON n.id = p.plan LEFT JOIN people.source s ON s.id = p.source
LEFT JOIN people.site i ON i.id = p.site
WHERE (p.archived = $1 OR $1) AND ($2::text[] IS NULL OR p.status = ANY($2)) AND ($3::text IS NULL OR p.source = $3)
  AND ($4::text IS NULL OR p.site = $4) AND ($5::text IS NULL OR p.stage = $5)
  AND ($6::text IS NULL OR n.name ILIKE $6 OR s.name ILIKE $6 OR i.name ILIKE $6)"""
# What needs a look comes first.
_STATE_ORDER = "array_position(ARRAY['failed','failing','stopped','running','waiting','migrated'], state)"
_SPACE_SORTS = {"state": _STATE_ORDER, "key": "lower(key)", "name": "lower(name)", "pages": "pages"}
_SPACES = """WITH every AS (
  SELECT w.space, s.key, s.name, t.task,
         coalesce(t.state, CASE WHEN p.ended_at IS NULL THEN 'waiting' ELSE 'stopped' END) AS state,
         coalesce(k.selected, a.pages, 0) AS pages
  FROM read.plan_space w JOIN read.plan p USING (plan) LEFT JOIN people.space s ON s.source = p.source AND s.space = w.space
  LEFT JOIN read.task t ON t.plan = w.plan AND t.space = w.space
  LEFT JOIN read.task_kind k ON k.task = t.task AND k.kind = 'page'
  LEFT JOIN read.analysis_space a ON a.analysis = p.analysis AND a.space = w.space
  WHERE w.plan = $1)
SELECT space, task, count(*) OVER () AS total FROM every
WHERE ($2::text[] IS NULL OR state = ANY($2)) AND ($3::text IS NULL OR key ILIKE $3 OR name ILIKE $3)"""
_BY_STATE = """SELECT t.space FROM read.task t JOIN read.plan p USING (plan)
LEFT JOIN people.space s ON s.source = p.source AND s.space = t.space
WHERE t.plan = $1 AND t.space IS NOT NULL AND t.state = ANY($2) ORDER BY lower(s.key), t.space LIMIT $3"""
_NOT_BEGUN = """SELECT w.space FROM read.plan_space w WHERE w.plan = $1 AND $2::text[] IS NOT NULL
  AND NOT EXISTS (SELECT FROM read.task t WHERE t.plan = w.plan AND t.space = w.space) ORDER BY w.space LIMIT $3"""
_FIRST_SPACES = (
    (_BY_STATE, ("failed",)),
    (_BY_STATE, ("failing",)),
    (_BY_STATE, ("stopped",)),
    (_BY_STATE, ("running",)),
    (_NOT_BEGUN, ()),
    (_BY_STATE, ("migrated", "done")),
)
_ANALYZED_SORTS = {
    "key": "lower(p.key)",
    "name": "lower(p.name)",
    "pages": "a.pages",
    "comments": "a.comments",
    "attachments": "a.attachments",
    "size": "a.attachment_bytes",
}
_ANALYZED = """SELECT a.*, p.key, p.name, count(*) OVER () AS total FROM read.analysis_space a
LEFT JOIN people.space p ON p.source = $2 AND p.space = a.space
WHERE a.analysis = $1 AND ($3::text[] IS NULL OR a.type = ANY($3)) AND ($4::text[] IS NULL OR a.status = ANY($4))
  AND ($5::text IS NULL OR p.key ILIKE $5 OR p.name ILIKE $5)"""


@dataclass(frozen=True, slots=True)
class LogRow:
    """One event of the log, for a list. ``actor``: what the actor is called today."""

    position: int
    id: str
    stream: str
    type: str
    recorded_at: datetime
    actor_kind: str
    actor: str
    correlation: str
    data: Mapping[str, Any]


class Tables:
    def __init__(self, pool: Pool, reads: Reads) -> None:
        self._pool, self._reads = pool, reads

    async def plans(self, listing: Listing) -> Rows:
        values = (
            listing.one("archived") is not None,
            _many(listing, "status"),
            listing.one("source"),
            listing.one("site"),
            listing.one("stage"),
            pattern(listing.q) if listing.q else None,
        )
        total = int(await self._pool.fetchval(f"SELECT count(*) {_FROM_PLANS}", *values))
        listing = _within(listing, total)
        rows = await self._pool.fetch(
            f"SELECT p.plan {_FROM_PLANS} ORDER BY {_order(listing, _PLAN_SORTS)}, p.plan LIMIT $7 OFFSET $8",
            *values,
            listing.size,
            listing.offset,
        )
        ids = [row["plan"] for row in rows]
        found = {plan.id: plan for plan in await self._reads.summaries(ids)}
        every = int(await self._pool.fetchval("SELECT count(*) FROM read.plan"))
        return Rows([found[id] for id in ids if id in found], total, every, listing)

    async def recent(self, statuses: tuple[str, ...], limit: int) -> list[PlanSummary]:
        """Plans in one of these statuses that are not archived, the last that changed first."""
        rows = await self._pool.fetch(
            "SELECT plan FROM read.plan WHERE status = ANY($1) AND NOT archived"
            " ORDER BY coalesce(ended_at, started_at, saved_at) DESC, plan LIMIT $2",
            list(statuses),
            limit,
        )
        order = [row["plan"] for row in rows]
        found = {plan.id: plan for plan in await self._reads.summaries(order)}
        return [found[id] for id in order if id in found]

    async def counts(self) -> dict[str, int]:
        """How many plans there are in each status (not archived), how many sources and sites."""
        rows = await self._pool.fetch("SELECT status, count(*) AS n FROM read.plan WHERE NOT archived GROUP BY status")
        counted = {row["status"]: int(row["n"]) for row in rows}
        for what in ("source", "site"):
            counted[what] = int(await self._pool.fetchval(f"SELECT count(*) FROM read.{what}"))
        return counted

    async def first_spaces(self, plan: PlanSummary, shape: Listing) -> Rows:
        """Those that need a look, without a look at all the others: by state, those that wait, and last those that are done."""
        found: list[str] = []
        for query, states in _FIRST_SPACES:
            left = shape.size - len(found)
            if left > 0:
                found += [row["space"] for row in await self._pool.fetch(query, plan.id, list(states), left)]
        return Rows(await self._reads.tasks_of(plan, found), plan.spaces.selected, plan.spaces.selected, shape)

    async def plan_spaces(self, plan: PlanSummary, listing: Listing) -> Rows:
        """The spaces of a plan, by default those first that need a look."""
        values = (plan.id, _many(listing, "state"), pattern(listing.q) if listing.q else None)
        rows = await self._page(
            f"{_SPACES} ORDER BY {_order(listing, _SPACE_SORTS)}, lower(key), space", values, listing
        )
        if not rows and listing.page > 1:
            return await self.plan_spaces(plan, _first(listing))
        tasks: list[Task] = await self._reads.tasks_of(plan, [row["space"] for row in rows])
        return Rows(tasks, rows[0]["total"] if rows else 0, plan.spaces.selected, listing)

    async def analyzed_spaces(self, analysis: str, source: str, every: int, listing: Listing) -> Rows:
        values = (
            analysis,
            source,
            _many(listing, "type"),
            _many(listing, "status"),
            pattern(listing.q) if listing.q else None,
        )
        rows = await self._page(f"{_ANALYZED} ORDER BY {_order(listing, _ANALYZED_SORTS)}, a.space", values, listing)
        if not rows and listing.page > 1:
            return await self.analyzed_spaces(analysis, source, every, _first(listing))
        return Rows([dict(row) for row in rows], rows[0]["total"] if rows else 0, every, listing)

    async def matching_spaces(self, analysis: str, source: str, listing: Listing) -> list[str]:
        """Ids of all spaces that a listing's search and filters match, whichever page it shows."""
        values = (
            analysis,
            source,
            _many(listing, "type"),
            _many(listing, "status"),
            pattern(listing.q) if listing.q else None,
        )
        return [row["space"] for row in await self._pool.fetch(f"{_ANALYZED} ORDER BY lower(p.key), a.space", *values)]

    async def space_sums(self, analysis: str, spaces: list[str]) -> dict[str, int]:
        """What these spaces hold together, by the analysis."""
        row = await self._pool.fetchrow(
            "SELECT count(*) AS spaces, coalesce(sum(pages), 0)::bigint AS pages, coalesce(sum(blogposts), 0)::bigint AS"
            " blogposts, coalesce(sum(comments), 0)::bigint AS comments, coalesce(sum(attachments), 0)::bigint AS attachments,"
            " coalesce(sum(attachment_bytes), 0)::bigint AS bytes, count(*) FILTER (WHERE type = 'personal') AS personal,"
            " count(*) FILTER (WHERE status = 'archived') AS archived FROM read.analysis_space"
            " WHERE analysis = $1 AND space = ANY($2)",
            analysis,
            spaces,
        )
        return dict(row) if row else {}

    async def left_behind(self, analysis: str, spaces: list[str]) -> dict[str, int]:
        """What these spaces hold besides and no plan moves, by kind, as the analysis counted it."""
        rows = await self._pool.fetch(
            "SELECT l.key AS kind, sum(l.value::bigint)::bigint AS n FROM read.analysis_space a,"
            " jsonb_each_text(a.left_behind) l WHERE a.analysis = $1 AND a.space = ANY($2) GROUP BY l.key ORDER BY l.key",
            analysis,
            spaces,
        )
        return {row["kind"]: row["n"] for row in rows}

    async def people_of(self, source: str, spaces: list[str]) -> dict[str, Any]:
        """Whom these spaces bring along. ``people``, ``enabled``: how many, and how many of them are so at the source; ``most``,
        ``in_most``: the key of the space that names most of them, and how many."""
        row = await self._pool.fetchrow(
            "SELECT count(DISTINCT r.person) AS people, count(DISTINCT r.person) FILTER (WHERE p.active) AS enabled"
            " FROM people.related r JOIN people.person p ON p.key = r.person WHERE r.source = $1 AND r.space = ANY($2)",
            source,
            spaces,
        )
        most = await self._pool.fetchrow(
            "SELECT s.key AS most, count(*) AS in_most FROM people.related r JOIN people.space s ON s.source = r.source"
            " AND s.space = r.space WHERE r.source = $1 AND r.space = ANY($2) GROUP BY s.key ORDER BY 2 DESC, 1 LIMIT 1",
            source,
            spaces,
        )
        return {"people": 0, "enabled": 0, "most": None, "in_most": 0, **dict(row or {}), **dict(most or {})}

    async def _page(self, query: str, values: tuple[Any, ...], listing: Listing) -> list[asyncpg.Record]:
        place = len(values)
        return await self._pool.fetch(
            f"{query} LIMIT ${place + 1} OFFSET ${place + 2}", *values, listing.size, listing.offset
        )


def _many(listing: Listing, name: str) -> list[str] | None:
    return list(listing.chosen[name]) if name in listing.chosen else None


def _order(listing: Listing, sorts: Mapping[str, str]) -> str:
    return f"{sorts[listing.column]} {'DESC NULLS LAST' if listing.descending else 'NULLS FIRST'}"


def _within(listing: Listing, total: int) -> Listing:
    """A page past the end goes to the first."""
    return _first(listing) if listing.offset >= max(total, 1) else listing


def _first(listing: Listing) -> Listing:
    return Listing(listing.path, listing.shape, listing.q, listing.sort, 1, listing.size, listing.chosen)


_LOG = """SELECT e.position, e.event_id, e.stream, e.type, e.recorded_at, e.body FROM log.events e
WHERE e.position < $1 AND ($2::text IS NULL OR e.type = $2) AND ($3::bytea IS NULL OR position($3 IN e.body) > 0)
  AND ($4::bytea IS NULL OR position($4 IN e.body) > 0)
  AND ($5::text IS NULL OR e.stream = 'plan-' || $5 OR e.stream IN (SELECT 'task-' || task FROM read.task WHERE plan = $5)
       OR e.stream IN (SELECT 'chunk-' || c.chunk FROM read.chunk c JOIN read.task t USING (task) WHERE t.plan = $5))
ORDER BY e.position DESC LIMIT $6"""


class LogTable:
    """The log as a page shows it: newest first, by a cursor of positions."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def newest(
        self,
        *,
        before: int | None = None,
        type: str | None = None,
        actor: str | None = None,
        correlation: str | None = None,
        plan: str | None = None,
        limit: int = 100,
    ) -> list[LogRow]:
        """Events before a position. ``actor`` and ``correlation`` are ids; their place in the stored bytes is searched."""
        rows = await self._pool.fetch(
            _LOG,
            before or 2**62,
            type,
            f'"key":"{actor}"'.encode() if actor else None,
            f'"correlation":"{correlation}"'.encode() if correlation else None,
            plan,
            limit,
        )
        bodies = [json.loads(row["body"]) for row in rows]
        keys = list({body["actor"]["key"] for body in bodies})
        names = {
            row["key"]: row["name"]
            for row in await self._pool.fetch("SELECT key, name FROM people.actor WHERE key = ANY($1)", keys)
        }
        return [
            LogRow(
                row["position"],
                row["event_id"].hex,
                row["stream"],
                row["type"],
                row["recorded_at"],
                body["actor"]["kind"],
                names.get(body["actor"]["key"], body["actor"]["key"]),
                body["correlation"],
                body["data"],
            )
            for row, body in zip(rows, bodies, strict=True)
        ]
