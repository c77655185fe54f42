"""The process manager's own projection: tasks, chunks and outcomes as the log tells them, in schema ``work``.

Every row is applied on its own: an event that cannot be applied is noted in ``poison`` and the rest goes on, so that one
damaged plan never stops the others. From then on the events of that plan's tasks and chunks are passed over: what follows
an event that was not understood means nothing without it. PlanUnstuck makes good for them, in their order, from the log.
An event type this release does not know stops everything before it (UnknownEvent).
"""

import json
from collections.abc import Sequence
from typing import Any, ClassVar

import asyncpg

from shared.events.catalog.analysis import AnalysisCompleted, AnalysisFailed, AnalysisPlanned, AnalysisStarted
from shared.events.catalog.check import ChecksCompleted, ChecksStarted
from shared.events.catalog.chunk import ChunkClaimed, ChunkEnded, ChunkReleased, EntityEnded
from shared.events.catalog.plan import (
    PlanArchived,
    PlanCheckDecided,
    PlanFailed,
    PlanFinished,
    PlanPaused,
    PlanResumed,
    PlanSaved,
    PlanScheduled,
    PlanStarted,
    PlanStartRefused,
    PlanStopped,
    PlanStopRequested,
    PlanStuck,
    PlanUnscheduled,
    PlanUnstuck,
)
from shared.events.catalog.target import CredentialExpired, SiteCredentialReplaced, SiteRegistered
from shared.events.catalog.task import InventoryTaken, PhasePlanned, SpaceFailing, TaskEnding, TaskStarted
from shared.events.catalog.work import Entity, Kind, Outcome, Phase
from shared.events.contract import BadEvent, Event, Recorded, UnknownEvent
from shared.events.database import AWAY
from shared.events.reasons import Reason
from shared.events.store import COLUMNS, recorded

Connection = asyncpg.Connection | asyncpg.pool.PoolConnectionProxy  # what statements run on


class WorkProjection:
    """See ``shared.events.projections``: ``apply`` runs inside the runner's transaction."""

    name: ClassVar[str] = "work"
    schema: ClassVar[str] = "work"
    tables: ClassVar[tuple[str, ...]] = (
        "plan",
        "analysis",
        "site",
        "poison",
        "task",
        "chunk",
        "outcome",
        "id_map",
        "open_link",
    )

    async def apply(self, connection: Any, rows: Sequence[Recorded], schema: str) -> None:
        poisoned = await _poisoned(connection, schema)
        for row in rows:
            if row.category in _CATEGORIES:
                await _apply_in_turn(connection, row, schema, poisoned)


_CATEGORIES = ("plan", "task", "chunk", "analysis", "site")

# Trouble of the database, not of the event: the page is applied again.
_TRANSIENT: tuple[type[BaseException], ...] = (
    *AWAY,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.TransactionRollbackError,
    asyncpg.LockNotAvailableError,
)


async def _poisoned(c: Connection, s: str) -> set[str]:
    """The plans that have an event which could not be applied."""
    return {r["plan"] for r in await c.fetch(f"SELECT DISTINCT plan FROM {s}.poison WHERE plan IS NOT NULL")}


async def _apply_in_turn(c: Connection, row: Recorded, s: str, poisoned: set[str]) -> None:
    if row.type == PlanUnstuck.__name__ and row.stream_id in poisoned:
        await _make_good(c, row, s)
        poisoned.clear()
        poisoned |= await _poisoned(c, s)
    if poisoned and row.category in ("task", "chunk") and await _owner(c, row, s) in poisoned:
        return
    code = await _apply_guarded(c, row, s)
    if code is not None:
        plan = await _owner(c, row, s)
        await c.execute(f"INSERT INTO {s}.poison VALUES ($1, $2, $3) ON CONFLICT DO NOTHING", row.position, plan, code)
        if plan is not None:
            poisoned.add(plan)


async def _apply_guarded(c: Connection, row: Recorded, s: str) -> str | None:
    """None, or the code of why the event cannot be applied."""
    try:
        event = row.event
    except BadEvent:
        return "bad_event"
    savepoint = c.transaction()
    await savepoint.start()
    try:
        await _apply(c, row, event, s)
    except (LookupError, ValueError, TypeError):  # ValueError: also a value that asyncpg cannot send
        await savepoint.rollback()
        return "undecidable"
    except _TRANSIENT:
        raise
    except asyncpg.PostgresError:
        await savepoint.rollback()
        return "undecidable"
    await savepoint.commit()
    return None


async def _owner(c: Connection, row: Recorded, s: str) -> str | None:
    """The plan an event belongs to: as the tables say, or, of a task or chunk they do not know, as its envelope says."""
    if row.category == "plan":
        return row.stream_id
    if row.category not in ("task", "chunk"):
        return None
    plan = await c.fetchval(f"SELECT plan FROM {s}.{row.category} WHERE {row.category} = $1", row.stream_id)
    if plan is None:
        try:
            correlation = str(json.loads(row.body)["correlation"])
        except (ValueError, LookupError, TypeError):
            return None
        plan = await c.fetchval(f"SELECT plan FROM {s}.plan WHERE plan = $1", correlation)
    return None if plan is None else str(plan)


# The events of one plan from a position on: of its own stream, and those whose envelope or stream tells that they are its.
_PASSED_OVER = """
SELECT {columns} FROM log.events WHERE position > $2 AND position < $3 AND (
  stream = 'plan-' || $1 OR (split_part(stream, '-', 1) IN ('task', 'chunk') AND (
    position(convert_to('"correlation":"' || $1 || '"', 'UTF8') IN body) > 0
    OR stream IN (SELECT 'task-' || task FROM {s}.task WHERE plan = $1)
    OR stream IN (SELECT 'chunk-' || chunk FROM {s}.chunk WHERE plan = $1))))
ORDER BY position LIMIT 500
"""


async def _make_good(c: Connection, unstuck: Recorded, s: str) -> None:
    """Applies what was passed over since the plan's first poison. What still cannot be applied is noted again."""
    plan = unstuck.stream_id
    first = await c.fetchval(f"SELECT min(position) FROM {s}.poison WHERE plan = $1", plan)
    await c.execute(f"DELETE FROM {s}.poison WHERE plan = $1", plan)
    after, poisoned = first - 1, set[str]()
    query = _PASSED_OVER.format(columns=COLUMNS, s=s)
    while page := [recorded(r) for r in await c.fetch(query, plan, after, unstuck.position)]:
        for row in page:
            if row.type != PlanUnstuck.__name__:
                await _apply_in_turn(c, row, s, poisoned)
        after = page[-1].position


async def _apply(c: Connection, row: Recorded, event: Event, s: str) -> None:
    match event:
        case AnalysisStarted():
            await c.execute(
                f"INSERT INTO {s}.analysis VALUES ($1, $2, 'running', $3)", event.analysis, event.source, row.position
            )
            await c.execute(
                f"INSERT INTO {s}.chunk (chunk, task, phase, depth, first_ordinal, last_ordinal, entities, planned_at, state)"
                " VALUES ($1, $2, $3, 0, 0, 0, 0, $4, 'planned')",
                event.chunk,
                event.analysis,
                Phase.ANALYSIS.value,
                row.position,
            )
        case AnalysisPlanned():
            await c.executemany(
                f"INSERT INTO {s}.chunk (chunk, task, phase, depth, first_ordinal, last_ordinal, entities, planned_at, state)"
                " VALUES ($1, $2, $3, 1, $4, $5, $6, $7, 'planned')",
                [
                    (k.chunk, event.analysis, Phase.ANALYSIS.value, k.first, k.last, k.last - k.first + 1, row.position)
                    for k in event.chunks
                ],
            )
        case ChecksStarted():
            await c.execute(
                f"INSERT INTO {s}.checks (round, plan, source, site, state, position)"
                " VALUES ($1, $2, $3, $4, 'running', $5)",
                event.analysis,
                event.plan,
                event.source,
                event.site,
                row.position,
            )
            await c.execute(
                f"INSERT INTO {s}.chunk (chunk, task, phase, depth, first_ordinal, last_ordinal, entities, planned_at, state)"
                " VALUES ($1, $2, $3, 0, 0, 0, 0, $4, 'planned')",
                event.chunk,
                event.analysis,
                Phase.ANALYSIS.value,
                row.position,
            )
        case ChecksCompleted():
            await c.execute(
                f"UPDATE {s}.checks SET state = 'completed', results = $2, position = $3,"
                " completed_at = to_timestamp($4::bigint / 1000000.0) WHERE round = $1",
                event.analysis,
                {r.check.value: {"result": r.result, "findings": r.findings} for r in event.results},
                row.position,
                row.recorded_at,
            )
        case AnalysisCompleted() | AnalysisFailed():
            state = "completed" if isinstance(event, AnalysisCompleted) else "failed"
            await c.execute(
                f"UPDATE {s}.analysis SET state = $2, position = $3 WHERE analysis = $1",
                event.analysis,
                state,
                row.position,
            )
        case SiteRegistered():
            await c.execute(f"INSERT INTO {s}.site VALUES ($1, $2)", event.site, event.sandbox)
        case CredentialExpired() | SiteCredentialReplaced():
            over = isinstance(event, CredentialExpired)
            await c.execute(f"UPDATE {s}.site SET expired = $2 WHERE site = $1", event.site, over)
        case TaskStarted():
            await c.execute(
                f"INSERT INTO {s}.task (task, plan, kind, space, target, marker, version, state, started_at, what)"
                " VALUES ($1, $2, $3, $4, $5, $6, $7, 'running', to_timestamp($8::bigint / 1000000.0), $9)",
                event.task,
                event.plan,
                event.kind.value,
                event.space,
                event.target,
                event.marker,
                row.version,
                row.recorded_at,
                event.what,
            )
        case PhasePlanned():
            await _phase_planned(c, row, event, s)
        case InventoryTaken():
            await _touch(
                c, s, row, "UPDATE {s}.task SET version = $2, inventory_epoch = $3 WHERE task = $1", event.epoch
            )
        case SpaceFailing():
            await _touch(
                c,
                s,
                row,
                "UPDATE {s}.task SET version = $2, state = 'failing', failing = $3 WHERE task = $1 AND state = 'running'",
                event.reason.value,
            )
        case TaskEnding():
            await _touch(
                c,
                s,
                row,
                "UPDATE {s}.task SET version = $2, state = 'ended', ending = $3 WHERE task = $1",
                {"type": row.type, **event.model_dump(mode="json", exclude_none=True)},
            )
        case ChunkClaimed():
            await c.execute(
                f"UPDATE {s}.chunk SET state = 'claimed', epoch = $2, attempt = $3, version = $4,"
                " changed_at = to_timestamp($5::bigint / 1000000.0) WHERE chunk = $1",
                event.chunk,
                event.epoch,
                event.attempt,
                row.version,
                row.recorded_at,
            )
        case EntityEnded():
            await _outcomes(c, s, row, event.chunk, (event.entity,))
            await c.execute(f"UPDATE {s}.chunk SET version = $2 WHERE chunk = $1", event.chunk, row.version)
        case ChunkReleased():
            await _outcomes(c, s, row, event.chunk, event.entities)
            await c.execute(
                f"UPDATE {s}.chunk SET state = 'planned', version = $2, changed_at = to_timestamp($3::bigint / 1000000.0)"
                " WHERE chunk = $1",
                event.chunk,
                row.version,
                row.recorded_at,
            )
        case ChunkEnded():
            await _outcomes(c, s, row, event.chunk, event.entities)
            await c.execute(
                f"UPDATE {s}.chunk SET state = 'ended', version = $2, fatal = $3 WHERE chunk = $1",
                event.chunk,
                row.version,
                event.fatal.value if event.fatal else None,
            )
        case PlanSaved():
            await c.execute(
                f"INSERT INTO {s}.plan (plan, source, site, version, status, digest, spaces, ledger, predecessor, follow)"
                " VALUES ($1, $2, $3, $4, 'READY', $5, $6, $7, $8, $9)",
                event.plan,
                event.source,
                event.site,
                row.version,
                event.digest,
                len(event.spaces),
                event.ledger,
                event.predecessor,
                event.follow,
            )
        case PlanStarted():
            await _plan(c, s, row, "status = 'RUNNING', start_at = NULL, consent = $3", event.consent)
            await _open_ledger(c, s, event.plan)
        case PlanScheduled():
            await _plan(
                c,
                s,
                row,
                "start_at = to_timestamp($3::bigint / 1000000.0), start_consent = $4",
                event.start_at,
                event.consent,
            )
        case PlanUnscheduled() | PlanStartRefused():
            await _plan(c, s, row, "start_at = NULL")
        case PlanCheckDecided():
            await _plan(c, s, row, "status = status")
            if event.excluded:
                await c.execute(
                    f"INSERT INTO {s}.plan_check VALUES ($1, $2) ON CONFLICT DO NOTHING", event.plan, event.check.value
                )
            else:
                await c.execute(
                    f"DELETE FROM {s}.plan_check WHERE plan = $1 AND name = $2", event.plan, event.check.value
                )
        case PlanPaused():
            await _plan(c, s, row, "paused = true, paused_for = $3", event.reason)
        case PlanResumed():
            await _plan(c, s, row, "paused = false, paused_for = NULL")
        case PlanStopRequested():
            await _plan(c, s, row, "stop_requested = true")
        case PlanFinished():
            await _plan(c, s, row, "status = 'FINISHED'")
            await _close_ledger(c, s, event.plan)
        case PlanFailed():
            await _plan(c, s, row, "status = 'FAILED'")
            await _close_ledger(c, s, event.plan)
        case PlanStopped():
            await _plan(c, s, row, "status = 'STOPPED'")
            await _close_ledger(c, s, event.plan)
        case PlanArchived():
            await _plan(c, s, row, "archived = true, start_at = NULL")
        case PlanStuck():
            await _plan(c, s, row, "stuck = $3", event.position)
        case PlanUnstuck():
            await _plan(c, s, row, "stuck = NULL")
        case _:
            pass


async def _touch(c: Connection, s: str, row: Recorded, statement: str, *values: Any) -> None:
    await c.execute(statement.format(s=s), row.stream_id, row.version, *values)


async def _plan(c: Connection, s: str, row: Recorded, assignment: str, *values: Any) -> None:
    await c.execute(
        f"UPDATE {s}.plan SET version = $2, {assignment} WHERE plan = $1", row.stream_id, row.version, *values
    )


async def _phase_planned(c: Connection, row: Recorded, event: PhasePlanned, s: str) -> None:
    plan = await c.fetchval(
        f"UPDATE {s}.task SET version = $2, phase = $3, depth = $4, slices = $5, planned = $6, last_ordinal = $7"
        " WHERE task = $1 RETURNING plan",
        event.task,
        row.version,
        event.phase.value,
        event.depth,
        event.slice + 1,
        event.last,
        event.chunks[-1].last if event.chunks else -1,
    )
    await c.executemany(
        f"INSERT INTO {s}.chunk (chunk, task, plan, phase, depth, first_ordinal, last_ordinal, entities, planned_at, state)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 'planned')",
        [
            (k.chunk, event.task, plan, event.phase.value, event.depth, k.first, k.last, k.count, row.position)
            for k in event.chunks
        ],
    )


# A dry run begins with what is known about the site, and what it learns is forgotten when it has ended.
_LEDGERS = {"id_map": "source, kind, id, target, task", "open_link": "source, target, kind, id, task"}


async def _open_ledger(c: Connection, s: str, plan: str) -> None:
    for table, columns in _LEDGERS.items():
        await c.execute(
            f"INSERT INTO {s}.{table} (site, {columns}) SELECT p.ledger, {', '.join(f'm.{n}' for n in columns.split(', '))}"
            f" FROM {s}.plan p JOIN {s}.{table} m ON m.site = p.site AND m.source = p.source"
            " WHERE p.plan = $1 AND p.ledger <> p.site ON CONFLICT DO NOTHING",
            plan,
        )


async def _close_ledger(c: Connection, s: str, plan: str) -> None:
    for table in _LEDGERS:
        await c.execute(
            f"DELETE FROM {s}.{table} m USING {s}.plan p WHERE p.plan = $1 AND p.ledger <> p.site AND m.site = p.ledger",
            plan,
        )


async def _outcomes(c: Connection, s: str, row: Recorded, chunk: str, entities: Sequence[Entity]) -> None:
    if not entities:
        return
    home = await c.fetchrow(
        f"SELECT k.task, p.ledger AS site, p.source FROM {s}.chunk k LEFT JOIN {s}.plan p ON p.plan = k.plan WHERE k.chunk = $1",
        chunk,
    )
    if home is None:
        raise LookupError("a chunk that no phase planned")
    await c.executemany(
        f"INSERT INTO {s}.outcome (position, task, chunk, kind, id, outcome, reason, target, target_version, digest, pending,"
        " merged) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
        [
            (
                row.position,
                home["task"],
                chunk,
                e.kind.value,
                e.id,
                e.outcome.value,
                e.reason.value if e.reason else None,
                e.target,
                e.target_version,
                e.digest,
                bool(e.pending),
                e.merged,
            )
            for e in entities
        ],
    )
    undone = [e for e in entities if e.reason is Reason.UNDONE and e.target]
    if undone:
        await c.executemany(
            f"DELETE FROM {s}.id_map WHERE site = $1 AND source = $2 AND kind = $3 AND id = $4 AND target = $5",
            [(home["site"], home["source"], e.kind.value, e.id, e.target) for e in undone],
        )
        return
    await _made_anew(c, s, home, entities)
    mapped = [(home["site"], home["source"], e.kind.value, e.id, e.target, home["task"]) for e in entities if e.target]
    if mapped:
        await c.executemany(
            f"INSERT INTO {s}.id_map VALUES ($1, $2, $3, $4, $5, $6)"
            " ON CONFLICT (site, source, kind, id) DO UPDATE SET target = excluded.target, task = excluded.task",
            mapped,
        )
    await _open_links(c, s, home, entities)


async def _made_anew(c: Connection, s: str, home: asyncpg.Record, entities: Sequence[Entity]) -> None:
    """A space that is another one than before is a new one: what was in the old one is not on the site any more."""
    for space in (e for e in entities if e.kind is Kind.SPACE and e.target):
        known = await c.fetchval(
            f"SELECT target FROM {s}.id_map WHERE site = $1 AND source = $2 AND kind = 'space' AND id = $3",
            home["site"],
            home["source"],
            space.id,
        )
        if known is not None and known != space.target:
            await c.execute(
                f"DELETE FROM {s}.id_map m USING {s}.task t WHERE t.task = m.task AND m.site = $1 AND m.source = $2"
                " AND t.space = $3 AND t.task <> $4",
                home["site"],
                home["source"],
                space.id,
                home["task"],
            )


async def _open_links(c: Connection, s: str, home: asyncpg.Record, entities: Sequence[Entity]) -> None:
    """A body links to what it said last: what it waited for before is not asked any more."""
    told = [(e, kind) for e in entities if (kind := _LINKING.get(e.kind)) and e.outcome is Outcome.MIGRATED]
    told = [(e, kind) for e, kind in told if e.waits is not None or e.rewritten is not None]
    if not told:
        return
    of = (home["site"], home["source"])
    await c.executemany(
        f"DELETE FROM {s}.open_link WHERE site = $1 AND source = $2 AND id = $3 AND (kind = 'comment') = $4",
        [(*of, e.id, kind == "comment") for e, kind in told],
    )
    await c.executemany(
        f"INSERT INTO {s}.open_link (site, source, target, kind, id, task) VALUES ($1, $2, $3, $4, $5, $6)"
        " ON CONFLICT DO NOTHING",
        [(*of, target, kind, e.id, home["task"]) for e, kind in told for target in e.waits or ()],
    )


# Whose outcome tells what a body links to. Ids are one number space at the source: which of page and blog post it is the id
# map tells.
_LINKING = {Kind.BODY: "body", Kind.LINK: "body", Kind.COMMENT: "comment"}


__all__ = ["UnknownEvent", "WorkProjection"]
