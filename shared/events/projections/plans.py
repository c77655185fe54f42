"""The projection "plans": the state of every plan and task, and the counts of what became of every entity."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import ClassVar

from shared.events.catalog import analysis, chunk, plan, target, task
from shared.events.catalog.work import Entity, Outcome
from shared.events.contract import Recorded
from shared.events.projections import sums
from shared.events.projections.base import Connection, moment


class Plans:
    """States and sums; what did not simply move (``reason``, ``remainder``); references of bodies, differences that
    verification found, and what is left behind at the source."""

    name: ClassVar[str] = "plans"
    schema: ClassVar[str] = "read"
    tables: ClassVar[tuple[str, ...]] = (
        "plan",
        "plan_space",
        "task",
        "chunk",
        "task_kind",
        "plan_kind",
        "pace",
        "weight",
        "cause",
        "reason",
        "remainder",
        "reference",
        "difference",
        "left_behind",
    )

    async def apply(self, connection: Connection, rows: Sequence[Recorded], schema: str) -> None:
        for row in rows:
            event, at = row.event, moment(row.recorded_at)
            if isinstance(event, plan.PlanEvent):
                await _plan(connection, schema, row, event, at)
            elif isinstance(event, task.TaskEvent):
                await _task(connection, schema, row, event, at)
            elif isinstance(event, chunk.ChunkEvent):
                await _chunk(connection, schema, row, event, at)
            elif isinstance(event, analysis.SpacesAnalyzed):
                await sums.analyzed(connection, schema, event)
            elif isinstance(event, analysis.AnalysisCompleted):
                await sums.analysis_completed(connection, schema, event)
            elif isinstance(event, target.SpaceReserved):
                await connection.execute(
                    f"UPDATE {schema}.task SET target = $2 WHERE task = $1", event.task, event.target
                )


# The one table of what a lifecycle event changes on its plan; $2 is the time of the event.
_CHANGES: dict[type[plan.PlanEvent], str] = {
    plan.PlanStarted: "status = 'RUNNING', started_at = $2, start_at = NULL, start_refused = NULL",
    plan.PlanUnscheduled: "start_at = NULL",
    plan.PlanCheckDecided: "status = status",
    plan.PlanResumed: "paused = false, paused_for = NULL",
    plan.PlanStopRequested: "stopping = true, stop_requested_at = $2",
    plan.PlanFinished: "status = 'FINISHED', ended_at = $2, stopping = false, paused = false",
    plan.PlanFailed: "status = 'FAILED', ended_at = $2, stopping = false, paused = false",
    plan.PlanStopped: "status = 'STOPPED', ended_at = $2, stopping = false, paused = false",
    plan.PlanArchived: "archived = true, start_at = NULL",
    plan.PlanUnstuck: "stuck = NULL, stuck_code = NULL",
}


async def _plan(connection: Connection, schema: str, row: Recorded, event: plan.PlanEvent, at: datetime) -> None:
    if isinstance(event, plan.PlanSaved):
        await connection.execute(
            f"INSERT INTO {schema}.plan (plan, source, site, analysis, stage, users, groups, spaces_selected, accepted,"
            " predecessor, status, version, position, saved_at, key_conflicts, addresses, copy_of, dry_run, follow)"
            " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 'READY', $11, $12, $13, $14, $15, $16, $17, $18)",
            event.plan,
            event.source,
            event.site,
            event.analysis,
            event.stage,
            event.users,
            event.groups,
            len(event.spaces),
            [reason.value for reason in event.accepted],
            event.predecessor,
            row.version,
            row.position,
            at,
            event.key_conflicts,
            event.addresses,
            event.copy_of,
            event.dry_run,
            event.follow,
        )
        scopes = {scope.space: scope for scope in event.scopes}
        whole, new_keys = plan.SpaceScope(space="0"), set(event.new_keys)
        await connection.executemany(
            f"INSERT INTO {schema}.plan_space VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
            [
                (event.plan, s, scopes.get(s, whole).what, list(scopes.get(s, whole).roots), s in new_keys)
                for s in event.spaces
            ],
        )
        await sums.saved(connection, schema, event)
        return
    if isinstance(event, plan.PlanStuck):
        change = "stuck = $5, stuck_code = $6"
        more: tuple[object, ...] = (event.position, event.code)
    elif isinstance(event, plan.PlanScheduled):
        change, more = "start_at = to_timestamp($5::bigint / 1000000.0), start_refused = NULL", (event.start_at,)
    elif isinstance(event, plan.PlanPaused):
        change, more = "paused = true, paused_for = $5", (event.reason,)
    elif isinstance(event, plan.PlanStartRefused):
        change, more = "start_at = NULL, start_refused = $5", (event.check.value,)
    else:
        change, more = _CHANGES[type(event)], ()
        if isinstance(event, plan.PlanEnding):
            change += ", conserved = $5"
            more = (event.conserved,)
        if isinstance(event, plan.PlanStarted):
            change += ", consent = $5"
            more = (event.consent,)
    await connection.execute(
        # $2 is mentioned again for the changes that do not need it: Postgres wants to know every parameter's type
        f"UPDATE {schema}.plan SET {change}, version = $3, position = $4"
        " WHERE plan = $1 AND $2::timestamptz IS NOT NULL",
        event.plan,
        at,
        row.version,
        row.position,
        *more,
    )


async def _task(connection: Connection, schema: str, row: Recorded, event: task.TaskEvent, at: datetime) -> None:
    match event:
        case task.TaskStarted():
            await connection.execute(
                f"INSERT INTO {schema}.task (task, plan, kind, space, target, state, started_at, position)"
                " VALUES ($1, $2, $3, $4, $5, 'running', $6, $7)",
                event.task,
                event.plan,
                event.kind.value,
                event.space,
                event.target,
                at,
                row.position,
            )
            await sums.started(connection, schema, event)
        case task.InventoryTaken():
            await sums.inventoried(connection, schema, event)
            await _inventory(connection, schema, event)
        case task.PhasePlanned():
            await connection.execute(
                f"INSERT INTO {schema}.chunk (chunk, task, phase, depth, entities, state)"
                " SELECT c, $1, $2, $3, n, 'planned' FROM unnest($4::text[], $5::bigint[]) AS u(c, n)",
                event.task,
                event.phase.value,
                event.depth,
                [planned.chunk for planned in event.chunks],
                [planned.count for planned in event.chunks],
            )
            await connection.execute(
                f"UPDATE {schema}.task SET phase = $2, depth = $3, position = $4 WHERE task = $1",
                event.task,
                event.phase.value,
                event.depth,
                row.position,
            )
        case task.SpaceFailing():
            await connection.execute(
                f"UPDATE {schema}.task SET state = 'failing', reason = $2, position = $3 WHERE task = $1",
                event.task,
                event.reason.value,
                row.position,
            )
        case task.TaskEnding():
            await _task_ended(connection, schema, row, event, at)


async def _inventory(connection: Connection, schema: str, event: task.InventoryTaken) -> None:
    """A second inventory of a task takes the place of the first: what the plan's sums change by is the difference."""
    await connection.execute(
        f"WITH told AS (SELECT u.kind, u.n FROM unnest($3::text[], $4::bigint[]) AS u(kind, n)),"
        f" more AS (SELECT t.kind, t.n - coalesce(k.selected, 0) AS n FROM told t"
        f"          LEFT JOIN {schema}.task_kind k ON k.task = $1 AND k.kind = t.kind),"
        f" kept AS (INSERT INTO {schema}.task_kind (task, kind, selected) SELECT $1, kind, n FROM told"
        "           ON CONFLICT (task, kind) DO UPDATE SET selected = excluded.selected),"
        f" summed AS (INSERT INTO {schema}.plan_kind AS p (plan, kind, selected) SELECT $2, kind, n FROM more"
        "             ON CONFLICT (plan, kind) DO UPDATE SET selected = p.selected + excluded.selected)"
        f" UPDATE {schema}.task SET selected = coalesce(selected, 0) + coalesce((SELECT sum(n) FROM more), 0) WHERE task = $1",
        event.task,
        event.plan,
        [counted.kind.value for counted in event.counts],
        [counted.count for counted in event.counts],
    )


async def _task_ended(connection: Connection, schema: str, row: Recorded, event: task.TaskEnding, at: datetime) -> None:
    state = "done" if event.reason is None else "failed"
    reason = None if event.reason is None else event.reason.value
    target_space: str | None = None
    match event:
        case task.SpaceMigrated():
            state, target_space = "migrated", event.target_space
            await _count_space(connection, schema, event.plan, "spaces_migrated")
        case task.SpaceFailed():
            state, target_space = "failed", event.target_space
            await _count_space(connection, schema, event.plan, "spaces_failed")
        case task.SpaceSkipped():
            state = "done"
        case task.TaskEnded(stopped=True):
            state = "stopped"
    await connection.execute(
        f"UPDATE {schema}.task SET state = $2, ended_at = $3, reason = coalesce($4, reason),"
        " target_space = coalesce($5, target_space), position = $6, phase = NULL, depth = NULL WHERE task = $1",
        event.task,
        state,
        at,
        reason,
        target_space,
        row.position,
    )
    await sums.ended(connection, schema, event)
    if event.remainder and event.remainder_reason is not None:
        await _remainder(connection, schema, row, event, event.remainder_reason.value)


async def _count_space(connection: Connection, schema: str, plan_id: str, column: str) -> None:
    await connection.execute(f"UPDATE {schema}.plan SET {column} = {column} + 1 WHERE plan = $1", plan_id)


async def _remainder(connection: Connection, schema: str, row: Recorded, event: task.TaskEnding, reason: str) -> None:
    listed = [(event.task, counted.kind.value, counted.count) for counted in event.remainder if counted.count]
    await connection.executemany(
        f"INSERT INTO {schema}.remainder VALUES ($1, $2, $3, $4, $5)",
        [(*each, reason, row.position) for each in listed],
    )
    await connection.executemany(
        f"WITH summed AS (INSERT INTO {schema}.plan_kind AS p (plan, kind, skipped) VALUES ($4, $2, $3)"
        "  ON CONFLICT (plan, kind) DO UPDATE SET skipped = p.skipped + excluded.skipped),"
        f" one AS (UPDATE {schema}.task SET done = done + $3 WHERE task = $1)"
        f" INSERT INTO {schema}.task_kind AS k (task, kind, skipped) VALUES ($1, $2, $3)"
        " ON CONFLICT (task, kind) DO UPDATE SET skipped = k.skipped + excluded.skipped",
        [(*each, event.plan) for each in listed],
    )
    for task_id, kind, count in listed:
        await sums.caused(connection, schema, task_id, kind, "skipped", reason, count, [])


async def _chunk(connection: Connection, schema: str, row: Recorded, event: chunk.ChunkEvent, at: datetime) -> None:
    """Chunks of analyses are not in the table: their events change nothing here."""
    match event:
        case chunk.ChunkClaimed():
            await _chunk_state(connection, schema, event.chunk, "claimed", event.attempt, at)
        case chunk.EntityEnded():
            await _outcomes(connection, schema, row, event.chunk, (event.entity,), at)
        case chunk.ChunkReleased():
            await _outcomes(connection, schema, row, event.chunk, event.entities, at)
            await _chunk_state(connection, schema, event.chunk, "planned", None, None)
        case chunk.ChunkEnded():
            await _outcomes(connection, schema, row, event.chunk, event.entities, at)
            await _found(connection, schema, row, event)
            await _chunk_state(connection, schema, event.chunk, "ended", None, None)


async def _found(connection: Connection, schema: str, row: Recorded, event: chunk.ChunkEnded) -> None:
    """What verification found, and what the inventory counted besides."""
    found: list[tuple[str, str, str]] = [
        (each.kind.value, each.id, each.what) for each in (*event.differences, *event.mended)
    ]
    found += [("content", id, "stray") for id in event.strays]
    await connection.executemany(
        f"INSERT INTO {schema}.difference SELECT c.task, $2, $3, $4, $5 FROM {schema}.chunk c WHERE c.chunk = $1"
        " ON CONFLICT DO NOTHING",
        [(event.chunk, *each, row.position) for each in found],
    )
    left = event.inventory.left if event.inventory is not None else None
    await connection.executemany(
        f"INSERT INTO {schema}.left_behind SELECT c.task, $2, $3, $4 FROM {schema}.chunk c WHERE c.chunk = $1"
        " ON CONFLICT (task, kind) DO UPDATE SET count = excluded.count, position = excluded.position",
        [(event.chunk, each.kind, each.count, row.position) for each in left or ()],
    )


async def _references(
    connection: Connection, schema: str, row: Recorded, chunk_id: str, entities: Sequence[Entity]
) -> None:
    told: list[tuple[str, str, str, str, int]] = [
        (entity.kind.value, entity.id, each.kind, each.why, each.count)
        for entity in entities
        for each in entity.references or ()
    ]
    told += [(e.kind.value, e.id, "any", "rewritten", e.rewritten) for e in entities if e.rewritten]
    await connection.executemany(
        f"INSERT INTO {schema}.reference SELECT c.task, $2, $3, $4, $5, $6, $7 FROM {schema}.chunk c WHERE c.chunk = $1"
        " ON CONFLICT DO NOTHING",
        [(chunk_id, *each, row.position) for each in told],
    )


async def _chunk_state(
    connection: Connection, schema: str, chunk_id: str, state: str, attempt: int | None, claimed: datetime | None
) -> None:
    await connection.execute(
        f"UPDATE {schema}.chunk SET state = $2, attempt = coalesce($3, attempt), claimed_at = $4 WHERE chunk = $1",
        chunk_id,
        state,
        attempt,
        claimed,
    )


async def _outcomes(
    connection: Connection, schema: str, row: Recorded, chunk_id: str, entities: Sequence[Entity], at: datetime
) -> None:
    """Sums of task and plan, and the plan's pace: the time since the claim counts for the kind that most of it was."""
    counted = Counter((entity.kind.value, entity.outcome) for entity in entities)
    kinds = sorted({kind for kind, _ in counted})
    if not kinds:
        return
    await connection.execute(
        f"WITH c AS (SELECT c.task, t.plan, c.claimed_at FROM {schema}.chunk c JOIN {schema}.task t USING (task) WHERE c.chunk = $1),"
        " u AS (SELECT * FROM unnest($2::text[], $3::bigint[], $4::bigint[], $5::bigint[]) AS u(kind, migrated, skipped, failed)),"
        f" summed AS (INSERT INTO {schema}.plan_kind AS p (plan, kind, migrated, skipped, failed)"
        "   SELECT c.plan, u.kind, u.migrated, u.skipped, u.failed FROM c, u"
        "   ON CONFLICT (plan, kind) DO UPDATE SET migrated = p.migrated + excluded.migrated,"
        "   skipped = p.skipped + excluded.skipped, failed = p.failed + excluded.failed),"
        f" one AS (UPDATE {schema}.task t SET done = t.done + (SELECT sum(migrated + skipped + failed) FROM u) FROM c"
        "   WHERE t.task = c.task),"
        f" paced AS (INSERT INTO {schema}.pace AS q (plan, minute, kind, done, micros)"
        "   SELECT c.plan, date_trunc('minute', $6::timestamptz, 'UTC'), u.kind, u.migrated + u.skipped + u.failed,"
        "   CASE u.kind WHEN $7 THEN greatest(0, coalesce(extract(epoch FROM $6 - c.claimed_at) * 1000000, 0))::bigint ELSE 0 END"
        "   FROM c, u ON CONFLICT (plan, minute, kind) DO UPDATE SET done = q.done + excluded.done,"
        "   micros = q.micros + excluded.micros)"
        f" INSERT INTO {schema}.task_kind AS k (task, kind, migrated, skipped, failed)"
        " SELECT c.task, u.kind, u.migrated, u.skipped, u.failed FROM c, u"
        " ON CONFLICT (task, kind) DO UPDATE SET migrated = k.migrated + excluded.migrated,"
        " skipped = k.skipped + excluded.skipped, failed = k.failed + excluded.failed",
        chunk_id,
        kinds,
        *(
            [counted[kind, outcome] for kind in kinds]
            for outcome in (Outcome.MIGRATED, Outcome.SKIPPED, Outcome.FAILED)
        ),
        at,
        max(kinds, key=lambda kind: sum(n for (each, _), n in counted.items() if each == kind)),
    )
    await _references(connection, schema, row, chunk_id, entities)
    told = [entity for entity in entities if entity.reason is not None]
    if told:
        await connection.execute(
            f"INSERT INTO {schema}.reason SELECT c.task, u.kind, u.id, u.outcome, u.reason, $2 FROM {schema}.chunk c,"
            " unnest($3::text[], $4::text[], $5::text[], $6::text[]) AS u(kind, id, outcome, reason) WHERE c.chunk = $1"
            " ON CONFLICT DO NOTHING",
            chunk_id,
            row.position,
            [entity.kind.value for entity in told],
            [entity.id for entity in told],
            [entity.outcome.value for entity in told],
            [entity.reason.value for entity in told if entity.reason is not None],
        )
        causes = [(e.kind.value, e.outcome.value, e.reason.value, e.id) for e in told if e.reason is not None]
        await sums.caused_in_chunk(connection, schema, chunk_id, causes)
    for entity in entities:
        if entity.kind == "space" and entity.target is not None:
            await connection.execute(
                f"UPDATE {schema}.task t SET target_space = $2 FROM {schema}.chunk c"
                " WHERE c.chunk = $1 AND t.task = c.task",
                chunk_id,
                entity.target,
            )
