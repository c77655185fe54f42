"""How a task ends: its sums, what was left, and whether every entity of the inventory is accounted for exactly once."""

from collections import Counter
from typing import Any

import asyncpg

from services.planner.domain.tasks import Finish, Task
from shared.events.catalog.task import SpaceFailed, SpaceMigrated, SpaceSkipped, TaskEnded, TaskEnding
from shared.events.catalog.work import Kind, KindCount, Outcome, ReasonCount, Tally, TaskKind
from shared.events.reasons import Reason

# By sets, not by sums: an id of the inventory without an outcome is lost, one with two is doubled, an outcome without an
# inventory row is invented.
_SETS = """
WITH i AS (SELECT kind, id FROM work.inventory WHERE task = $1 AND epoch = $2),
     o AS (SELECT kind, id, count(*) AS n FROM work.outcome WHERE task = $1 GROUP BY kind, id)
SELECT coalesce(i.kind, o.kind) AS kind, count(i.id) AS selected, count(*) FILTER (WHERE o.id IS NULL) AS lost,
       count(*) FILTER (WHERE o.n > 1) AS doubled, count(*) FILTER (WHERE i.id IS NULL) AS invented
FROM i FULL JOIN o ON o.kind = i.kind AND o.id = i.id GROUP BY 1
"""


async def ending(pool: asyncpg.Pool, task: Task, finish: Finish) -> TaskEnding:
    """The last event of a task whose chunks have all ended, or were never begun."""
    sets = await pool.fetch(_SETS, task.task, task.inventory_epoch)
    outcomes = await pool.fetch(
        "SELECT kind, outcome, reason, count(*) AS n FROM work.outcome WHERE task = $1 GROUP BY kind, outcome, reason",
        task.task,
    )
    by_kind: dict[Kind, Counter[Outcome]] = {Kind(r["kind"]): Counter() for r in sets}
    reasons: Counter[tuple[Kind, Outcome, Reason]] = Counter()
    for r in outcomes:
        kind, outcome = Kind(r["kind"]), Outcome(r["outcome"])
        by_kind[kind][outcome] += r["n"]
        if r["reason"]:
            reasons[kind, outcome, Reason(r["reason"])] += r["n"]
    lost = {Kind(r["kind"]): int(r["lost"]) for r in sets if r["lost"]}
    conserved = not any(r["doubled"] or r["invented"] for r in sets) and not (finish.complete and lost)
    if not finish.complete and finish.reason:
        for kind, n in lost.items():
            by_kind[kind][Outcome.SKIPPED] += n
            reasons[kind, Outcome.SKIPPED, finish.reason] += n
    data: dict[str, Any] = {
        "task": task.task,
        "plan": task.plan,
        "tallies": tuple(
            Tally(
                kind=Kind(r["kind"]),
                selected=r["selected"],
                migrated=by_kind[Kind(r["kind"])][Outcome.MIGRATED],
                skipped=by_kind[Kind(r["kind"])][Outcome.SKIPPED],
                failed=by_kind[Kind(r["kind"])][Outcome.FAILED],
            )
            for r in sorted(sets, key=lambda r: str(r["kind"]))
        ),
        "reasons": tuple(ReasonCount(kind=k, outcome=o, reason=r, count=n) for (k, o, r), n in sorted(reasons.items())),
        "remainder": () if finish.complete else tuple(KindCount(kind=k, count=n) for k, n in sorted(lost.items())),
        "remainder_reason": finish.reason if lost and not finish.complete else None,
        "conserved": conserved,
    }
    if task.kind is not TaskKind.SPACE:
        return TaskEnded(**data, stopped=task.stopping and not finish.complete, reason=task.fatal or task.failing)
    if task.stopping and not finish.complete and task.failing is None:
        return TaskEnded(**data, stopped=True)
    if finish.skipped:
        return SpaceSkipped(**data, space=task.space, reason=finish.reason)
    failed = [r for (_, o, r), _n in reasons.most_common() if o is Outcome.FAILED]
    any_failed = any(counter[Outcome.FAILED] for counter in by_kind.values())
    target = await pool.fetchval(
        "SELECT target FROM work.outcome WHERE task = $1 AND kind = 'space' AND target IS NOT NULL", task.task
    )
    if task.failing is None and not any_failed and conserved and target is not None:
        return SpaceMigrated(**data, space=task.space, target_space=target)
    reason = task.failing or (failed[0] if failed else Reason.UNEXPECTED_ERROR)
    return SpaceFailed(**data, space=task.space, target_space=target, reason=reason)
