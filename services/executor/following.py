"""What a plan follows: the tasks of earlier plans about the same space or people, and what they recorded of an entity.

A following plan is the same pipeline with another inventory. Which rows of what the source holds it takes is decided here,
from what the plans before it recorded.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg

from shared.events.catalog.plan import Follow, PlanSaved
from shared.events.catalog.work import Kind, Outcome
from shared.events.reasons import Reason

_CHAIN = """
WITH RECURSIVE chain AS (
  SELECT plan, predecessor, 0 AS n FROM work.plan WHERE plan = $1
  UNION ALL SELECT p.plan, p.predecessor, n + 1 FROM work.plan p JOIN chain ON p.plan = chain.predecessor
) SELECT c.plan, t.task, t.marker, t.inventory_epoch AS epoch, l.id IS NOT NULL AS listed,
  EXISTS (SELECT FROM work.chunk k WHERE k.task = t.task AND k.phase = 'opening' AND k.epoch > 0 AND (k.state <> 'ended'
    OR EXISTS (SELECT FROM work.outcome o WHERE o.chunk = k.chunk AND o.reason IS DISTINCT FROM 'kept_private'))) AS opened
FROM chain c LEFT JOIN work.task t ON t.plan = c.plan AND t.kind = $2 AND t.space IS NOT DISTINCT FROM $3
LEFT JOIN LATERAL (SELECT id FROM work.inventory i WHERE i.task = t.task AND i.epoch = -t.inventory_epoch LIMIT 1) l ON true
ORDER BY n
"""


# An undo goes by what all plans of this source wrote to the space: a later one's writes are not somebody else's.
_ALL = """
SELECT t.plan, t.task, t.marker, t.inventory_epoch AS epoch FROM work.task t JOIN work.plan p USING (plan)
WHERE p.ledger = ANY($1) AND p.source = $2 AND t.kind = ANY($3) AND t.space IS NOT DISTINCT FROM $4 ORDER BY t.started_at DESC
"""


@dataclass(frozen=True, slots=True)
class Before:
    """A task of an earlier plan about the same thing. ``listing``: epoch under which its whole listing of the source stands;
    ``opened``: it opened its space, or may have."""

    task: str
    marker: str | None
    listing: int | None
    opened: bool = False


@dataclass(frozen=True, slots=True)
class Chain:
    """``plans``: this one first, then those that it follows. ``before``: their tasks about the same thing, newest first."""

    follow: Follow | None = None
    plans: tuple[str, ...] = ()
    before: tuple[Before, ...] = ()

    @property
    def tasks(self) -> list[str]:
        return [task.task for task in self.before]

    @property
    def markers(self) -> list[str]:
        return [task.marker for task in self.before if task.marker]

    @property
    def unfinished(self) -> bool:
        """No plan has opened the space: nobody but the migrator has seen it."""
        return bool(self.before) and not any(task.opened for task in self.before)

    @property
    def listing(self) -> Before | None:
        """The last whole listing of the source."""
        return next((task for task in self.before if task.listing is not None), None)


async def chain_of(pool: asyncpg.Pool, saved: PlanSaved, kind: str, space: str | None) -> Chain:
    if saved.predecessor is None:
        return Chain(saved.follow, (saved.plan,))
    if saved.follow == "undo":
        kinds = ["space"] if space is not None else ["users", "groups"]
        rows = await pool.fetch(_ALL, [saved.site, saved.ledger], saved.source, kinds, space)
        made = tuple(Before(r["task"], r["marker"], r["epoch"]) for r in rows)
        chain = await pool.fetch(_CHAIN, saved.plan, kind, space)
        return Chain(saved.follow, tuple(r["plan"] for r in chain), made)
    rows = await pool.fetch(_CHAIN, saved.plan, kind, space)
    before = [
        Before(r["task"], r["marker"], r["epoch"] and (-r["epoch"] if r["listed"] else r["epoch"]), r["opened"])
        for r in rows[1:]
        if r["task"] is not None
    ]
    return Chain(saved.follow, tuple(r["plan"] for r in rows), tuple(before))


@dataclass(frozen=True, slots=True)
class Listed:
    """A row of what the source holds now, or held when an earlier plan listed it."""

    version: int = 0
    parent: str | None = None
    container: str | None = None
    resolved: bool = False


@dataclass(frozen=True, slots=True)
class Earlier:
    """What earlier plans recorded. ``listed``: it was in an inventory; ``last``: its last outcome; ``moved``: as it was listed
    when it moved; ``reason``: with which defect; ``there``: its id on the site is known, or it never has one."""

    listed: bool = False
    last: Outcome | None = None
    moved: Listed | None = None
    reason: Reason | None = None
    there: bool = True


# Moved once, and not taken again because of a change: what is only told when something is made. Permissions and the order of
# pages are compared as a whole.
_ONCE = frozenset({Kind.VERSION, Kind.OWNER, Kind.PERMISSION, Kind.ORDER, Kind.USER, Kind.GROUP, Kind.MEMBERSHIP})
# Its identity on the site is kept in the map of ids.
MAPPED = frozenset({Kind.PAGE, Kind.BLOGPOST, Kind.ATTACHMENT, Kind.COMMENT})


def takes(follow: Follow, kind: Kind, now: Listed, earlier: Earlier, *, unfinished: bool) -> bool:
    """Whether a plan takes an entity along, by what the plans before it recorded.

    >>> moved = Earlier(True, Outcome.MIGRATED, Listed(version=3))
    >>> takes("continue", Kind.PAGE, Listed(version=4), moved, unfinished=True)
    False
    >>> takes("delta", Kind.PAGE, Listed(version=4), moved, unfinished=False)
    True
    """
    if kind in (Kind.SPACE, Kind.LINK):
        return True
    if kind in (Kind.BODY, Kind.RESTRICTION) and unfinished:
        return True  # verification goes over bodies; and who may see a page is settled when the space is opened
    if follow == "retry" and not earlier.listed:
        return False
    if earlier.moved is None or earlier.last is not Outcome.MIGRATED or not earlier.there:
        return True
    if kind is Kind.PAGE and earlier.reason is Reason.PARENT_NOT_MOVED:
        return True
    if follow != "delta" or kind in _ONCE:
        return False
    if kind is Kind.RESTRICTION:
        return True  # who is in it is not told by a number
    placed = (now.parent, now.container) != (earlier.moved.parent, earlier.moved.container)
    changed = (now.version, now.resolved) != (earlier.moved.version, earlier.moved.resolved)
    return changed or (placed and kind in MAPPED)


_EARLIER = """
WITH wanted AS (SELECT * FROM unnest($2::text[], $3::text[]) AS w(kind, id)),
last AS (
  SELECT DISTINCT ON (o.kind, o.id) o.kind, o.id, o.outcome FROM work.outcome o JOIN wanted USING (kind, id)
  WHERE o.task = ANY($1) ORDER BY o.kind, o.id, o.position DESC
), moved AS (
  SELECT DISTINCT ON (o.kind, o.id) o.kind, o.id, o.reason, i.version, i.parent, i.container, i.resolved
  FROM work.outcome o JOIN wanted USING (kind, id) JOIN work.task t ON t.task = o.task
  JOIN work.inventory i ON i.task = o.task AND i.epoch = t.inventory_epoch AND i.kind = o.kind AND i.id = o.id
  WHERE o.task = ANY($1) AND o.outcome = 'migrated' ORDER BY o.kind, o.id, o.position DESC
)
SELECT w.kind, w.id, l.outcome, m.id IS NOT NULL AS moved, m.reason, m.version, m.parent, m.container, m.resolved,
       t.target IS NOT NULL AS there,
       EXISTS (SELECT FROM work.inventory i JOIN work.task k ON k.task = i.task AND i.epoch = k.inventory_epoch
               WHERE i.task = ANY($1) AND i.kind = w.kind AND i.id = w.id) AS listed
FROM wanted w LEFT JOIN last l USING (kind, id) LEFT JOIN moved m USING (kind, id)
LEFT JOIN work.id_map t ON t.site = $4 AND t.source = $5 AND t.kind = w.kind AND t.id = w.id
"""


async def earlier_of(
    pool: asyncpg.Pool, chain: Chain, site: str, source: str, entities: Sequence[tuple[Kind, str]]
) -> dict[tuple[Kind, str], Earlier]:
    """What the plans before recorded of these entities (at most some thousand)."""
    rows = await pool.fetch(
        _EARLIER, chain.tasks, [kind.value for kind, _ in entities], [id for _, id in entities], site, source
    )
    return {
        (kind := Kind(r["kind"]), r["id"]): Earlier(
            listed=r["listed"],
            last=Outcome(r["outcome"]) if r["outcome"] else None,
            moved=Listed(r["version"], r["parent"], r["container"], r["resolved"]) if r["moved"] else None,
            reason=Reason(r["reason"]) if r["reason"] else None,
            there=r["there"] or kind not in MAPPED,
        )
        for r in rows
    }
