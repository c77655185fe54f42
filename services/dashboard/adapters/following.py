"""What the dashboard tells about plans that follow others: whom they follow, and what an undo would remove."""

import asyncpg

from services.dashboard.domain.shapes import Named, UndoOut

# Who made something is the task that named it first; what was removed is in no map any more.
_MADE = """
SELECT o.kind, count(DISTINCT o.target) AS n FROM work.task t JOIN work.plan p USING (plan) JOIN work.outcome o ON o.task = t.task
JOIN work.id_map m ON m.site = p.ledger AND m.source = p.source AND m.kind = o.kind AND m.id = o.id AND m.target = o.target
WHERE t.plan = $1 AND o.outcome = 'migrated' AND o.kind IN ('space', 'page', 'blogpost', 'attachment', 'comment')
  AND NOT EXISTS (SELECT FROM work.outcome e JOIN work.task et ON et.task = e.task JOIN work.plan ep ON ep.plan = et.plan
                  WHERE e.target = o.target AND e.kind = o.kind AND ep.ledger = p.ledger AND ep.plan <> $1 AND e.position < o.position)
GROUP BY o.kind
"""
_PEOPLE = """
SELECT o.kind, CASE o.kind WHEN 'membership' THEN o.merged ELSE coalesce(o.merged, false) END AS merged, count(*) AS n FROM work.task t JOIN work.outcome o ON o.task = t.task
WHERE t.plan = $1 AND t.kind IN ('users', 'groups') AND o.outcome = 'migrated'
  AND o.kind IN ('group', 'membership', 'user')
  AND NOT EXISTS (SELECT FROM work.outcome u JOIN work.task ut ON ut.task = u.task JOIN work.plan up ON up.plan = ut.plan
                  WHERE up.predecessor = $1 AND up.follow = 'undo' AND up.ledger = up.site AND u.kind = o.kind AND u.id = o.id
                    AND u.reason IN ('undone', 'account_stays', 'gone_on_site'))
GROUP BY 1, 2
"""


async def undo(pool: asyncpg.Pool, plan: str) -> UndoOut:
    made = {r["kind"]: r["n"] for r in await pool.fetch(_MADE, plan)}
    people = {(r["kind"], r["merged"]): r["n"] for r in await pool.fetch(_PEOPLE, plan)}
    merged = {"group": n} if (n := people.get(("group", True), 0)) else {}
    made |= {kind: n for kind in ("group", "membership") if (n := people.get((kind, False), 0))}
    into = await pool.fetchval(
        "SELECT count(*) FROM work.task t JOIN work.outcome o ON o.task = t.task WHERE t.plan = $1 AND o.kind = 'space'"
        " AND o.outcome = 'migrated'",
        plan,
    )
    if into > made.get("space", 0):
        merged["space"] = into - made.get("space", 0)
    return UndoOut(made=made, merged=merged, stay=people.get(("user", False), 0))


async def predecessor(pool: asyncpg.Pool, plan: str) -> Named | None:
    row = await pool.fetchrow(
        "SELECT p.predecessor AS id, coalesce(n.name, p.predecessor) AS name FROM read.plan p"
        " LEFT JOIN people.plan n ON n.id = p.predecessor WHERE p.plan = $1 AND p.predecessor IS NOT NULL",
        plan,
    )
    return None if row is None else Named(**row)
