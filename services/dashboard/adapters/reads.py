"""What the read models say, in the API's shapes. Names and addresses are joined here, at the last moment."""

import json
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import asyncpg

from services.dashboard.adapters import following
from services.dashboard.domain import words
from services.dashboard.domain.redirects import Mapped
from services.dashboard.domain.shapes import (
    Analysis,
    AnalyzedSpace,
    Counts,
    LeftBehind,
    Named,
    Numbers,
    PlanDetail,
    PlanSummary,
    ReasonGroup,
    Repair,
    ReportedDifference,
    ReportedReason,
    ReportedReference,
    ReportedTask,
    Site,
    Source,
    SpaceCounts,
    Task,
    UndoOut,
)
from shared.confluence.spacekey import site_key
from shared.events.catalog.analysis import AnalysisFailure
from shared.events.projections.base import Connection, Pool
from shared.events.projections.conservation import Conservation, plan_conserved
from shared.events.reasons import EXPLANATIONS, Reason

FAILURES: dict[str, str] = {
    AnalysisFailure.NOT_AN_EXPORT: (
        "This is no Confluence export. Give the zip file, or the folder it was unpacked to, with entities.xml or the tables in it."
    ),
    AnalysisFailure.EXPORT_DAMAGED: (
        "The export is damaged and cannot be read to its end. Make it anew at the source."
    ),
    AnalysisFailure.EXPORT_MISSING: (
        "There is no such file or folder, or the analyzer may not read it. Check the path and CLOUDWARD_EXPORT_ROOTS."
    ),
    AnalysisFailure.SOURCE_UNREACHABLE: (
        "The server does not answer. Check the address and the network, then analyze again; to change the address, add"
        " the source under another name."
    ),
    AnalysisFailure.SOURCE_UNAUTHORIZED: (
        "The server refuses the credential, or answers as to an anonymous visitor."
        " Give it another credential: cloudward source credential."
    ),
    AnalysisFailure.SOURCE_UNSUPPORTED: (
        "This is no Confluence, or a version or kind of export that this release cannot read. The guide lists what it can."
    ),
    AnalysisFailure.UNEXPECTED_ERROR: (
        "The analyzer met an error of its own. Its log says more; analyze again after an update."
    ),
}

PLACES = 6  # keys of spaces that are told for a cause
# The sums are kept by the projection, so that a plan of ten thousand spaces costs no more than one of ten.
_PLANS = """
WITH running AS (  -- how much of the tasks that have begun is done; it only grows, so the bar never falls
  SELECT plan, sum(weight * least(1, coalesce(done::float8 / nullif(selected, 0), 0))) AS part
  FROM read.task WHERE plan = ANY($1) AND ended_at IS NULL GROUP BY plan
), claimed AS (
  SELECT t.plan, count(*) AS chunks FROM read.chunk c JOIN read.task t USING (task)
  WHERE c.state = 'claimed' AND t.plan = ANY($1) GROUP BY t.plan
)
SELECT p.*, n.name, s.name AS source_name, i.name AS site_name, i.url AS site_url,
       p.waiting_spaces AS counting, coalesce(c.chunks, 0) AS chunks_claimed,
       coalesce(floor(100 * (p.weight_done + coalesce(g.part, 0)) / nullif(p.weight, 0)), 0)::int AS percent,
       (SELECT json_object_agg(kind, json_build_object('selected', selected, 'migrated', migrated, 'skipped', skipped,
                                                       'failed', failed))::text
        FROM read.plan_kind k WHERE k.plan = p.plan) AS kinds
FROM read.plan p LEFT JOIN people.plan n ON n.id = p.plan LEFT JOIN people.source s ON s.id = p.source
LEFT JOIN people.site i ON i.id = p.site LEFT JOIN claimed c ON c.plan = p.plan LEFT JOIN running g ON g.plan = p.plan
WHERE p.plan = ANY($1) ORDER BY p.saved_at DESC, p.plan
"""
_TASKS = """
SELECT t.*, s.key, s.name, coalesce(w.what, 'all') AS what, coalesce(w.roots, '{{}}') AS roots, g.key AS new_key,
       (SELECT json_object_agg(k.kind, json_build_object('selected', k.selected, 'migrated', k.migrated, 'skipped',
       k.skipped,
                                                         'failed', k.failed))::text
        FROM read.task_kind k WHERE k.task = t.task) AS kinds
FROM read.task t JOIN read.plan p USING (plan) LEFT JOIN people.space s ON s.source = p.source AND s.space = t.space
LEFT JOIN read.plan_space w ON w.plan = t.plan AND w.space = t.space
LEFT JOIN people.plan_key g ON g.plan = t.plan AND g.space = t.space
WHERE t.plan = $1 AND {which} ORDER BY t.space IS NOT NULL, t.kind DESC, s.key, t.task
"""
_WAITING_SPACES = """
SELECT w.space, w.what, w.roots, s.key, s.name, g.key AS new_key FROM read.plan_space w JOIN read.plan p USING (plan)
LEFT JOIN people.space s ON s.source = p.source AND s.space = w.space
LEFT JOIN people.plan_key g ON g.plan = w.plan AND g.space = w.space
WHERE w.plan = $1 AND ($2::text[] IS NULL OR w.space = ANY($2))
  AND NOT EXISTS (SELECT FROM read.task t WHERE t.plan = w.plan AND t.space = w.space) ORDER BY s.key, w.space
"""
_REASONS = """
SELECT kind, outcome, reason, sum(count)::bigint AS count, (array_agg(e ORDER BY n) FILTER (WHERE e IS NOT NULL))[1:3] AS examples
FROM (
  SELECT kind, outcome, reason, CASE WHEN n = 1 OR n IS NULL THEN count ELSE 0 END AS count, e, n
  FROM read.cause LEFT JOIN unnest(examples) WITH ORDINALITY u(e, n) ON true WHERE plan = $1
  -- A task that failed as a whole, before any entity of it could be named.
  UNION ALL SELECT CASE WHEN t.space IS NULL THEN 'task' ELSE 'space' END, 'failed', t.reason, 1, t.space, 1 FROM read.task t
  WHERE t.plan = $1 AND t.reason IS NOT NULL
    AND NOT EXISTS (SELECT FROM read.reason r WHERE r.task = t.task AND r.reason = t.reason)
) every_one GROUP BY kind, outcome, reason ORDER BY outcome, count DESC, kind, reason
"""
# Where a cause is met: the keys of a few spaces.
_PLACES = """
SELECT c.reason, (array_agg(DISTINCT s.key))[1:$2] AS keys
FROM (SELECT reason, unnest(spaces) AS space FROM read.cause WHERE plan = $1
      UNION SELECT reason, space FROM read.task WHERE plan = $1 AND reason IS NOT NULL) c
JOIN read.plan p ON p.plan = $1 JOIN people.space s ON s.source = p.source AND s.space = c.space GROUP BY c.reason
"""
# Names of examples, where there is one: of people, groups and spaces.
_NAMES = """
SELECT 'user' AS kind, key AS id, coalesce(display_name, username) AS name FROM people.person WHERE key = ANY($1)
UNION ALL SELECT 'group', key, name FROM people.source_group WHERE key = ANY($1)
UNION ALL SELECT 'space', s.space, s.key FROM people.space s JOIN read.plan p USING (source)
          WHERE p.plan = $2 AND s.space = ANY($1)
"""
# Every entity that did not simply move. Those of chunks that never began are in the inventory and have no outcome.
_REPORTED = """
SELECT r.kind, r.id, r.outcome, r.reason FROM read.reason r JOIN read.task t USING (task) WHERE t.plan = $1
UNION ALL
SELECT i.kind, i.id, 'skipped', m.reason FROM work.task t JOIN read.remainder m USING (task)
JOIN work.inventory i ON i.task = t.task AND i.epoch = t.inventory_epoch AND i.kind = m.kind
WHERE t.plan = $1 AND NOT EXISTS (SELECT FROM work.outcome o WHERE o.task = i.task AND o.kind = i.kind AND o.id = i.id)
ORDER BY 3, 1, 2
"""
ANALYZED_SPACES = """
SELECT s.*, p.key, p.name, (SELECT json_object_agg(g.guardrail, g.count)::text FROM read.analysis_guardrail g
                            WHERE g.analysis = s.analysis AND g.space = s.space) AS guardrails
FROM read.analysis_space s JOIN read.analysis a USING (analysis)
LEFT JOIN people.space p ON p.source = a.source AND p.space = s.space
"""
_MAPPED = """
SELECT m.kind, m.id, m.target, coalesce(s.key, t.space) AS key, g.key AS new_key
FROM work.id_map m JOIN work.task t USING (task) JOIN work.plan p USING (plan)
LEFT JOIN people.space s ON s.source = p.source AND s.space = t.space
LEFT JOIN people.plan_key g ON g.plan = t.plan AND g.space = t.space
WHERE t.plan = $1 AND t.space IS NOT NULL ORDER BY s.key, m.kind DESC, length(m.id), m.id
"""
_REFERENCES = """
-- Whether a body was written for good when its page was made or later depends on what was there first: it is one body.
SELECT t.space, CASE WHEN r.kind = 'comment' THEN r.kind ELSE 'body' END AS kind, r.id, r.names, r.why, r.count
FROM read.reference r JOIN read.task t USING (task) WHERE t.plan = $1 ORDER BY t.space, r.id, kind, r.why, r.names
"""
_ANALYSIS = """
SELECT a.*, (SELECT json_object_agg(guardrail, n)::text FROM (SELECT guardrail, sum(count)::bigint AS n
         FROM read.analysis_guardrail g WHERE g.analysis = a.analysis GROUP BY 1) g) AS guardrails,
       extract(epoch FROM clock_timestamp() - a.ended_at)::bigint AS age, (SELECT count(*) FROM read.analysis_space s WHERE s.analysis = a.analysis) AS spaces_analyzed,
       (SELECT l.progress::text FROM work.chunk k JOIN work.lease l USING (chunk) WHERE k.task = a.analysis AND
        k.state <> 'ended' ORDER BY k.depth, l.expires_at DESC LIMIT 1) AS progress
FROM read.analysis a
"""


class Reads:
    def __init__(self, pool: Pool) -> None:
        self.pool = pool

    async def sources(
        self, id: str | None = None, *, limit: int | None = None, before: str | None = None
    ) -> list[Source]:
        """By name; ``before``: only those that come after this one in that order."""
        rows = await self.pool.fetch(
            "SELECT r.*, p.name, p.location, p.base_urls, p.info::text AS info, (SELECT a.analysis FROM read.analysis a"
            " WHERE a.source = r.source ORDER BY a.position DESC LIMIT 1) AS analysis FROM read.source r"
            " JOIN people.source p ON p.id = r.source WHERE ($1::text IS NULL OR r.source = $1) AND ($3::text IS NULL"
            " OR (p.name, p.id) > (SELECT b.name, b.id FROM people.source b WHERE b.id = $3)) ORDER BY p.name, p.id LIMIT $2",
            id,
            limit,
            before,
        )
        found = {a.id: a for a in await self.analyses([row["analysis"] for row in rows if row["analysis"]])}
        return [_source(row, found.get(row["analysis"])) for row in rows]

    async def sites(self, id: str | None = None, *, limit: int | None = None, before: str | None = None) -> list[Site]:
        """By name; ``before``: only those that come after this one in that order."""
        rows = await self.pool.fetch(
            "SELECT r.*, p.name, p.url, coalesce(l.email, l.name) AS account FROM read.site r"
            " JOIN people.site p ON p.id = r.site LEFT JOIN people.login l ON l.id = p.login"
            " WHERE ($1::text IS NULL OR r.site = $1) AND ($3::text IS NULL"
            " OR (p.name, p.id) > (SELECT b.name, b.id FROM people.site b WHERE b.id = $3)) ORDER BY p.name, p.id LIMIT $2",
            id,
            limit,
            before,
        )
        return [
            Site(
                id=row["site"],
                name=row["name"],
                url=row["url"],
                kind=row["credential"],
                sandbox=row["sandbox"],
                registered_at=row["registered_at"],
                replaced_at=row["replaced_at"],
                expired=row["expired"],
                account=row["account"],
            )
            for row in rows
        ]

    async def analyses(self, ids: Iterable[str]) -> list[Analysis]:
        rows = await self.pool.fetch(_ANALYSIS + " WHERE a.analysis = ANY($1) ORDER BY a.position", list(ids))
        return [_analysis(row) for row in rows]

    async def analyses_of(self, source: str) -> list[Analysis]:
        """Newest first."""
        rows = await self.pool.fetch(_ANALYSIS + " WHERE a.source = $1 ORDER BY a.position DESC LIMIT 100", source)
        return [_analysis(row) for row in rows]

    async def analysis(self, id: str, *, spaces: bool = True) -> Analysis | None:
        """One analysis; with all its spaces, if they are wanted."""
        found = await self.analyses([id])
        if not found or not spaces:
            return found[0] if found else None
        rows = await self.pool.fetch(f"{ANALYZED_SPACES} WHERE s.analysis = $1 ORDER BY p.key", id)
        return found[0].model_copy(update={"spaces": [analyzed_space(row) for row in rows]})

    async def plans(self, *, archived: bool = False, limit: int = 200, before: str | None = None) -> list[PlanSummary]:
        """Newest first; ``before``: only those that come after this plan in that order."""
        rows = await self.pool.fetch(
            "SELECT plan FROM read.plan WHERE archived <= $1 AND ($3::text IS NULL OR (saved_at, plan) <"
            " (SELECT saved_at, plan FROM read.plan WHERE plan = $3)) ORDER BY saved_at DESC, plan DESC LIMIT $2",
            archived,
            limit,
            before,
        )
        return await self.summaries([row["plan"] for row in rows])

    async def plan(self, id: str, *, spaces: bool = True) -> PlanDetail | None:
        """``spaces``: with the task of every space, of which there may be thousands; else users and groups only."""
        summaries = await self.summaries([id])
        if not summaries:
            return None
        summary = summaries[0]
        async with self.pool.acquire() as connection:
            choice = await connection.fetchrow(
                "SELECT r.users, r.groups, r.accepted, r.key_conflicts, r.addresses, r.copy_of, r.start_at, r.start_refused,"
                # The planner's tables may be a moment behind ours: then the log says what was saved.
                " coalesce(w.digest, (SELECT convert_from(e.body, 'UTF8')::jsonb #>> '{data,digest}' FROM log.events e"
                "  WHERE e.stream = 'plan-' || r.plan ORDER BY e.version LIMIT 1), '') AS digest,"
                " (SELECT coalesce(jsonb_object_agg(key, n), '{}')::text FROM"
                " (SELECT l.key, sum(l.value::bigint) AS n FROM read.plan_space s JOIN read.analysis_space a"
                "  ON a.analysis = r.analysis AND a.space = s.space, jsonb_each_text(a.left_behind) l WHERE s.plan = r.plan"
                "  GROUP BY l.key) sums) AS left_behind FROM read.plan r LEFT JOIN work.plan w USING (plan) WHERE r.plan = $1",
                id,
            )
            tasks = await self._tasks(connection, summary, None if spaces else [], True)
            reasons = await self._reasons(connection, id, choice["accepted"] if choice else [])
        assert choice is not None
        return PlanDetail(
            **summary.model_dump(),
            **{**choice, "left_behind": json.loads(choice["left_behind"])},
            predecessor=await following.predecessor(self.pool, id),
            tasks=tasks,
            reasons=reasons,
        )

    async def names(self, what: str) -> dict[str, str]:
        """Id to name of every source or site."""
        table = {"source": "source", "site": "site"}[what]
        rows = await self.pool.fetch(f"SELECT id, name FROM people.{table} p JOIN read.{table} r ON r.{table} = p.id")
        return {row["id"]: row["name"] for row in rows}

    async def plan_named(self, name: str) -> str | None:
        """The plan of this name."""
        found = await self.pool.fetchval(
            "SELECT id FROM people.plan n JOIN read.plan p ON p.plan = n.id WHERE name = $1", name
        )
        return None if found is None else str(found)

    async def space_keys(self, source: str) -> dict[str, str] | None:
        """Space to key of the source's last completed analysis; None where there is none."""
        analysis = await self.pool.fetchval(
            "SELECT analysis FROM read.analysis WHERE source = $1 AND state = 'completed' ORDER BY position DESC LIMIT 1",
            source,
        )
        if analysis is None:
            return None
        rows = await self.pool.fetch(
            "SELECT a.space, coalesce(p.key, a.space) AS key FROM read.analysis_space a"
            " LEFT JOIN people.space p ON p.source = $2 AND p.space = a.space WHERE a.analysis = $1",
            analysis,
            source,
        )
        return {row["space"]: row["key"] for row in rows}

    async def round_completed(self, round: str) -> bool:
        return bool(await self.pool.fetchval("SELECT state = 'completed' FROM work.checks WHERE round = $1", round))

    async def check_findings(self, round: str, check: str) -> list[dict[str, Any]]:
        """All that a round of checks found of one."""
        rows = await self.pool.fetch(
            "SELECT found::text AS found FROM people.check_finding WHERE round = $1 AND name = $2 ORDER BY ordinal",
            round,
            check,
        )
        return [json.loads(row["found"]) for row in rows]

    async def has_stream(self, category: str, id: str) -> bool:
        """By the log, not by the read model: what was recorded a moment ago is there."""
        stream = f"{category}-{id}"
        return bool(await self.pool.fetchval("SELECT true FROM log.events WHERE stream = $1 LIMIT 1", stream))

    async def undo(self, plan: str) -> UndoOut:
        """What an undo of the plan would remove, at most."""
        return await following.undo(self.pool, plan)

    async def conservation(self, plan: str) -> Conservation:
        async with self.pool.acquire() as connection:
            return await plan_conserved(connection, plan)

    async def reported(self, plan: str) -> AsyncIterator[ReportedReason]:
        """Every entity that did not simply move, through a cursor: there may be many."""
        async with self.pool.acquire() as connection, connection.transaction(readonly=True):
            async for row in connection.cursor(_REPORTED, plan, prefetch=500):
                yield ReportedReason(**row)

    async def mapped(self, plan: str) -> AsyncIterator[Mapped]:
        """What the plan moved, old id to new, through a cursor: there may be many."""
        async with self.pool.acquire() as connection, connection.transaction(readonly=True):
            async for row in connection.cursor(_MAPPED, plan, prefetch=500):
                new_key = row["new_key"] or site_key(row["key"])
                yield Mapped(row["kind"], row["id"], row["target"], row["key"], new_key)

    async def addresses(self, plan: str) -> tuple[str | None, str]:
        """The source's base URL, where it has one, and the site's."""
        row = await self.pool.fetchrow(
            "SELECT s.info->>'base_url' AS base, s.location, s.base_urls, i.url FROM read.plan p JOIN people.source s ON s.id = p.source"
            " JOIN people.site i ON i.id = p.site WHERE p.plan = $1",
            plan,
        )
        if row is None:
            return None, ""
        found = [row["base"], row["location"], *row["base_urls"]]
        return next((base for base in found if base and "://" in base), None), row["url"]

    async def references(self, plan: str) -> AsyncIterator[ReportedReference]:
        """Every body's references that were rewritten or not resolved, through a cursor."""
        async with self.pool.acquire() as connection, connection.transaction(readonly=True):
            async for row in connection.cursor(_REFERENCES, plan, prefetch=500):
                yield ReportedReference(**row)

    async def differences(self, plan: str) -> list[ReportedDifference]:
        """What verification found; at most 500 for each chunk of a space."""
        rows = await self.pool.fetch(
            "SELECT t.space, d.kind, d.id, d.what FROM read.difference d JOIN read.task t USING (task) WHERE t.plan = $1"
            " ORDER BY t.space, d.kind, d.id, d.what",
            plan,
        )
        return [ReportedDifference(**row) for row in rows]

    async def begun(self, plan: str) -> int:
        """Spaces of a plan whose task has begun and not ended."""
        query = "SELECT count(*) FROM read.task WHERE plan = $1 AND space IS NOT NULL AND ended_at IS NULL"
        return int(await self.pool.fetchval(query, plan))

    async def caused(self, plan: str, reason: str, after: int, limit: int) -> list[asyncpg.Record]:
        """What ended for a reason after a position, whole events at a time, so that the next page can begin after the last."""
        return await self.pool.fetch(
            "SELECT r.kind, r.id, r.outcome, r.position, s.key, coalesce(u.display_name, u.username, g.name) AS name"
            " FROM read.reason r JOIN read.task t USING (task) JOIN read.plan p USING (plan)"
            " LEFT JOIN people.space s ON s.source = p.source AND s.space = t.space"
            " LEFT JOIN people.person u ON r.kind = 'user' AND u.key = r.id"
            " LEFT JOIN people.source_group g ON r.kind = 'group' AND g.key = r.id"
            " WHERE t.plan = $1 AND r.reason = $2 AND r.position > $3"
            " ORDER BY r.position FETCH FIRST $4 ROWS WITH TIES",
            plan,
            reason,
            after,
            limit,
        )

    async def left_behind(self, plan: str) -> list[LeftBehind]:
        rows = await self.pool.fetch(
            "SELECT t.space, l.kind, l.count FROM read.left_behind l JOIN read.task t USING (task) WHERE t.plan = $1"
            " ORDER BY t.space, l.kind",
            plan,
        )
        return [LeftBehind(**row, way_on=words.LEFT_BEHIND.get(row["kind"], "")) for row in rows]

    async def failed_tasks(self, plan: str) -> list[ReportedTask]:
        """Tasks that failed as a whole or because of an entity, each with its reason."""
        rows = await self.pool.fetch(
            "SELECT kind, space, reason FROM read.task WHERE plan = $1 AND reason IS NOT NULL ORDER BY kind, space",
            plan,
        )
        return [ReportedTask(**row) for row in rows]

    async def head(self) -> int:
        return int(await self.pool.fetchval("SELECT position FROM log.log_head") or 0)

    async def log(self, after: int, limit: int, plan: str | None) -> list[asyncpg.Record]:
        """Events after a position; those of one plan: of the plan itself, its tasks and their chunks."""
        if plan is None:
            return await self.pool.fetch(
                "SELECT * FROM log.events WHERE position > $1 ORDER BY position LIMIT $2", after, limit
            )
        return await self.pool.fetch(
            "SELECT e.* FROM log.events e WHERE e.position > $1 AND (e.stream = 'plan-' || $3"
            " OR e.stream IN (SELECT 'task-' || task FROM read.task WHERE plan = $3) OR e.stream IN (SELECT 'chunk-' ||"
            " c.chunk FROM read.chunk c JOIN read.task t USING (task) WHERE t.plan = $3)) ORDER BY e.position LIMIT $2",
            after,
            limit,
            plan,
        )

    async def summaries(self, ids: list[str]) -> list[PlanSummary]:
        return [_summary(row) for row in await self.pool.fetch(_PLANS, ids)]

    async def tasks_of(self, plan: PlanSummary, spaces: list[str]) -> list[Task]:
        """The tasks of these spaces of a plan, in this order."""
        async with self.pool.acquire() as connection:
            found = {task.space: task for task in await self._tasks(connection, plan, spaces, False)}
        return [found[space] for space in spaces if space in found]

    async def _tasks(
        self, connection: Connection, plan: PlanSummary, spaces: list[str] | None, people: bool
    ) -> list[Task]:
        """``spaces``: of these only; ``people``: those of users and groups too."""
        which = "($2::text[] IS NULL OR t.space = ANY($2))" if not people or spaces is None else "t.space IS NULL"
        rows = await connection.fetch(
            _TASKS.format(which=which), plan.id, *([] if which == "t.space IS NULL" else [spaces])
        )
        waiting = [] if spaces == [] else await connection.fetch(_WAITING_SPACES, plan.id, spaces)
        tasks = [_task(row, None if plan.dry_run else plan.site.url) for row in rows]
        begun = plan.status == "READY" or plan.ended_at is None
        return tasks + [
            Task(
                id=None,
                kind="space",
                space=row["space"],
                key=row["key"],
                name=row["name"],
                state="waiting" if begun else "stopped",
                phase=None,
                reason=None,
                kinds={},
                link=None,
                started_at=None,
                ended_at=None,
                what=row["what"],
                roots=row["roots"],
                new_key=row["new_key"],
            )
            for row in waiting
        ]

    async def _reasons(self, connection: Connection, plan: str, accepted: list[str]) -> list[ReasonGroup]:
        groups = []
        rows = await connection.fetch(_REASONS, plan)
        places = {row["reason"]: row["keys"] for row in await connection.fetch(_PLACES, plan, PLACES)}
        shown = [id for row in rows for id in row["examples"] or []]
        names = {(row["kind"], row["id"]): row["name"] for row in await connection.fetch(_NAMES, shown, plan)}
        for row in rows:
            explained = EXPLANATIONS[Reason(row["reason"])]
            groups.append(
                ReasonGroup(
                    kind=row["kind"],
                    outcome=row["outcome"],
                    reason=row["reason"],
                    count=row["count"],
                    meaning=explained.meaning,
                    way_on=explained.way_on,
                    examples=row["examples"] or [],
                    names=[name for id in row["examples"] or [] if (name := names.get((row["kind"], id)))],
                    spaces=places.get(row["reason"], []),
                    accepted=row["outcome"] == "skipped" and row["reason"] in accepted,
                )
            )
        return groups


def analyzed_space(row: asyncpg.Record) -> AnalyzedSpace:
    """Of a row of ``ANALYZED_SPACES``."""
    values = {name: value for name, value in row.items() if name not in ("analysis", "space")}
    micros = values["last_edit"]
    values["last_edit"] = None if micros is None else datetime.fromtimestamp(micros / 1_000_000, UTC)
    values["guardrails"] = json.loads(values["guardrails"]) if values["guardrails"] else {}
    values["left_behind"] = values["left_behind"] or {}
    return AnalyzedSpace(id=row["space"], **values)


def _source(row: asyncpg.Record, analysis: Analysis | None) -> Source:
    repair = None
    if row["repaired_at"] is not None:
        repair = Repair(merged=row["merged"], generated=row["generated"], former=row["former"], at=row["repaired_at"])
        repair = repair.model_copy(update={"corrected": row["corrected"] or 0})
    return Source(
        id=row["source"],
        name=row["name"],
        kind=row["kind"],
        location=row["location"],
        base_urls=row["base_urls"],
        registered_at=row["registered_at"],
        replaced_at=row["replaced_at"],
        info=json.loads(row["info"]) if row["info"] else None,
        repair=repair,
        analysis=analysis,
    )


def _analysis(row: asyncpg.Record) -> Analysis:
    numbers = None
    if row["state"] == "completed":
        numbers = Numbers(**{name: row[name] for name in Numbers.model_fields})
    return Analysis(
        id=row["analysis"],
        source=row["source"],
        state=row["state"],
        started_at=row["started_at"],
        ended_at=row["ended_at"],
        code=row["code"],
        sentence=FAILURES.get(row["code"]) if row["code"] else None,
        release=row["release"],
        numbers=numbers,
        spaces_analyzed=row["spaces_analyzed"],
        spaces_listed=row["spaces_listed"],
        users_listed=row["users_listed"],
        age=row["age"],
        memberships=row["memberships"],
        macros=row["macros"],
        guardrails=json.loads(row["guardrails"]) if row["guardrails"] else {},
        progress=json.loads(row["progress"]) if row["progress"] else None,
    )


def _kinds(text: str | None) -> dict[str, Counts]:
    given = json.loads(text) if text else {}
    # Our own numbers: nothing of them needs to be judged again.
    return {kind: Counts.model_construct(**given[kind]) for kind in words.KIND_WORDS if kind in given}


def _summary(row: asyncpg.Record) -> PlanSummary:
    kinds = _kinds(row["kinds"])
    done = sum(words.done(counts) for counts in kinds.values())
    total = sum(counts.selected for counts in kinds.values()) + row["waiting_entities"]
    pages = kinds["page"].selected if "page" in kinds else 0
    plan = PlanSummary(
        id=row["plan"],
        name=row["name"] or row["plan"],
        status=row["status"],
        stopping=row["stopping"],
        paused=row["paused"],
        paused_for=row["paused_for"],
        guide=words.status_in_guide(row["status"]),
        archived=row["archived"],
        follow=row["follow"],
        stuck=row["stuck"],
        stuck_code=row["stuck_code"],
        source=Named(id=row["source"], name=row["source_name"] or row["source"]),
        site=Named(id=row["site"], name=row["site_name"] or row["site"], url=row["site_url"]),
        stage=row["stage"],
        dry_run=row["dry_run"],
        spaces=SpaceCounts(
            selected=row["spaces_selected"], migrated=row["spaces_migrated"], failed=row["spaces_failed"]
        ),
        kinds=kinds,
        done=done,
        total=max(total, done),
        pages_total=pages + row["waiting_pages"],
        counting=row["counting"],
        chunks_claimed=row["chunks_claimed"],
        conserved=row["conserved"],
        saved_at=row["saved_at"],
        started_at=row["started_at"],
        ended_at=row["ended_at"],
        position=row["position"],
    )
    percent = words.percent(row["percent"], plan.status in ("FINISHED", "FAILED"))
    return plan.model_copy(update={"percent": percent, "line": words.line(plan)})


def _task(row: asyncpg.Record, site_url: str | None) -> Task:
    return Task(
        id=row["task"],
        kind=row["kind"],
        space=row["space"],
        key=row["key"],
        name=row["name"],
        state=row["state"],
        phase=row["phase"],
        reason=row["reason"],
        kinds=_kinds(row["kinds"]),
        link=_link(row, site_url),
        started_at=row["started_at"],
        ended_at=row["ended_at"],
        what=row["what"],
        roots=row["roots"],
        new_key=row["new_key"],
    )


def _link(row: asyncpg.Record, site_url: str | None) -> str | None:
    """Direct link to a space of ours on the site. The key there is the source's, unless the plan gave it another
    one."""
    if row["target_space"] is None or site_url is None or row["key"] is None:
        return None
    return f"{site_url.rstrip('/')}/wiki/spaces/{row['new_key'] or site_key(row['key'])}"


def totals(kinds: Mapping[str, Counts]) -> dict[str, Counts]:
    """The report's kinds: the main seven always, others where there are any."""
    main = ("page", "blogpost", "comment", "attachment", "user", "group", "space")
    every: defaultdict[str, Counts] = defaultdict(Counts, kinds)
    return {kind: every[kind] for kind in (*main, *(k for k in kinds if k not in main))}
