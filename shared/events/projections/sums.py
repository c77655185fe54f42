"""Sums that the projection "plans" keeps as events come, so that reading them costs the same for one space and for ten thousand:
how much of a plan each part of it is, how much of that has ended, and what did not simply move by cause."""

from collections.abc import Sequence

from shared.events.catalog import analysis, plan, task
from shared.events.projections.base import Connection

_FEW = 3  # examples of a cause
_PLACES = 6  # spaces it is met in


async def analyzed(connection: Connection, schema: str, event: analysis.SpacesAnalyzed) -> None:
    await _weights(
        connection,
        schema,
        event.analysis,
        [(s.space, s.pages, s.pages + s.blogposts + s.comments + s.attachments) for s in event.spaces],
    )


async def analysis_completed(connection: Connection, schema: str, event: analysis.AnalysisCompleted) -> None:
    await _weights(connection, schema, event.analysis, [("users", 0, event.users), ("groups", 0, event.groups)])


async def _weights(connection: Connection, schema: str, id: str, rows: Sequence[tuple[str, int, int]]) -> None:
    await connection.executemany(
        f"INSERT INTO {schema}.weight VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING", [(id, *row) for row in rows]
    )


async def saved(connection: Connection, schema: str, event: plan.PlanSaved) -> None:
    """The whole of a plan, by its analysis: it never changes again, so that progress never falls."""
    await connection.execute(
        f"UPDATE {schema}.plan p SET (weight, waiting_spaces, waiting_pages, waiting_entities) = ("
        " SELECT coalesce(sum(1 + coalesce(w.entities, 0)), 0) + coalesce((SELECT sum(entities)"
        f"   FROM {schema}.weight o WHERE o.analysis = p.analysis AND o.part = ANY($2)), 0),"
        " count(*), coalesce(sum(w.pages), 0), coalesce(sum(w.entities), 0)"
        f" FROM {schema}.plan_space s LEFT JOIN {schema}.weight w ON w.analysis = p.analysis AND w.part = s.space"
        " WHERE s.plan = p.plan) WHERE plan = $1",
        event.plan,
        ["users"] * (event.users == "all") + ["groups"] * event.groups,
    )


async def started(connection: Connection, schema: str, event: task.TaskStarted) -> None:
    await connection.execute(
        f"UPDATE {schema}.task t SET weight = coalesce((SELECT w.entities FROM {schema}.weight w JOIN {schema}.plan p USING (analysis)"
        "  WHERE p.plan = t.plan AND w.part = coalesce(t.space, t.kind) AND (t.kind <> 'users' OR p.users = 'all')), 0)"
        " + (t.space IS NOT NULL)::int WHERE task = $1",
        event.task,
    )


async def inventoried(connection: Connection, schema: str, event: task.InventoryTaken) -> None:
    """Before the task's sums are set: a second inventory changes nothing here."""
    await connection.execute(
        f"UPDATE {schema}.plan p SET waiting_spaces = waiting_spaces - 1, waiting_pages = waiting_pages - coalesce(w.pages, 0),"
        " waiting_entities = waiting_entities - coalesce(w.entities, 0)"
        f" FROM {schema}.task t LEFT JOIN {schema}.weight w ON w.part = t.space AND w.analysis ="
        f"  (SELECT analysis FROM {schema}.plan WHERE plan = $2)"
        " WHERE t.task = $1 AND t.space IS NOT NULL AND t.selected IS NULL AND p.plan = $2",
        event.task,
        event.plan,
    )


async def ended(connection: Connection, schema: str, event: task.TaskEnding) -> None:
    await connection.execute(
        f"UPDATE {schema}.plan p SET weight_done = weight_done + t.weight FROM {schema}.task t"
        " WHERE t.task = $1 AND p.plan = t.plan",
        event.task,
    )


async def caused(
    connection: Connection, schema: str, task_id: str, kind: str, outcome: str, reason: str, count: int, ids: list[str]
) -> None:
    """``ids``: of entities that ended so; none where only their number is known."""
    await connection.execute(
        f"INSERT INTO {schema}.cause AS c SELECT t.plan, $2, $3, $4, $5, ($6::text[])[1:{_FEW}], array_remove(ARRAY[t.space], NULL)"
        f" FROM {schema}.task t WHERE t.task = $1 ON CONFLICT (plan, kind, outcome, reason) DO UPDATE SET"
        f" count = c.count + excluded.count, examples = (c.examples || excluded.examples)[1:{_FEW}],"
        f" spaces = CASE WHEN c.spaces @> excluded.spaces THEN c.spaces ELSE (c.spaces || excluded.spaces)[1:{_PLACES}] END",
        task_id,
        kind,
        outcome,
        reason,
        count,
        ids,
    )


async def caused_in_chunk(
    connection: Connection, schema: str, chunk_id: str, told: Sequence[tuple[str, str, str, str]]
) -> None:
    """``told``: kind, outcome, reason and id of each entity with a reason."""
    task_id = await connection.fetchval(f"SELECT task FROM {schema}.chunk WHERE chunk = $1", chunk_id)
    groups: dict[tuple[str, str, str], list[str]] = {}
    for kind, outcome, reason, id in told:
        groups.setdefault((kind, outcome, reason), []).append(id)
    for (kind, outcome, reason), ids in groups.items():
        await caused(connection, schema, task_id, kind, outcome, reason, len(ids), ids)
