"""Conservation: nothing selected is lost, nothing counts twice, nothing appears from nowhere.

For each task and kind the set of inventory ids equals the disjoint union of the ids that ended as migrated, skipped
or failed, and of those never begun when the task ended, of which only the number is recorded. Sums are its display,
not its proof.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from shared.events.projections.base import Connection

Key = tuple[str, str]  # kind, id


@dataclass(frozen=True, slots=True)
class Conservation:
    """``lost``: selected, without an outcome, beyond those the task's end accounts for (negative: it accounts for
    more than there are). ``doubled``: more than one outcome. ``invented``: an outcome for what was never selected."""

    lost: Mapping[str, int] = field(default_factory=dict)  # by kind
    doubled: Mapping[str, int] = field(default_factory=dict)
    invented: Mapping[str, int] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return not (self.lost or self.doubled or self.invented)


def conserved(inventory_ids: Iterable[Key], outcomes: Iterable[Key], remainder: Mapping[str, int]) -> Conservation:
    """One task. ``outcomes``: one key for each recorded outcome, repeated if recorded twice. ``remainder``: by kind."""
    selected, ended = set(inventory_ids), Counter(outcomes)
    lost = Counter(kind for kind, _ in selected - ended.keys())
    lost.subtract(remainder)
    return Conservation(
        lost={kind: count for kind, count in sorted(lost.items()) if count},
        doubled=dict(sorted(Counter(kind for (kind, _), count in ended.items() if count > 1).items())),
        invented=dict(sorted(Counter(kind for kind, _ in ended.keys() - selected).items())),
    )


# The same over the tables, task by task, so that the database holds one task's keys at a time and this process none.
_BY_KIND = """
WITH selected AS (SELECT kind, id FROM work.inventory WHERE task = $1 AND epoch = $2),
ended AS (SELECT kind, id, count(*) AS times FROM work.outcome WHERE task = $1 GROUP BY kind, id),
both_sides AS (
  SELECT coalesce(s.kind, e.kind) AS kind, s.id IS NOT NULL AS was_selected, coalesce(e.times, 0) AS times
  FROM selected s FULL JOIN ended e ON e.kind = s.kind AND e.id = s.id
), counted AS (
  SELECT kind, count(*) FILTER (WHERE was_selected AND times = 0) AS without,
         count(*) FILTER (WHERE times > 1) AS doubled, count(*) FILTER (WHERE NOT was_selected) AS invented
  FROM both_sides GROUP BY kind
)
SELECT coalesce(c.kind, r.kind) AS kind, coalesce(c.without, 0) - coalesce(r.count, 0) AS lost,
       coalesce(c.doubled, 0) AS doubled, coalesce(c.invented, 0) AS invented
FROM counted c FULL JOIN (SELECT kind, count FROM read.remainder WHERE task = $1) r ON r.kind = c.kind
"""


async def plan_conserved(connection: Connection, plan: str) -> Conservation:
    """A whole plan, from the inventory and the recorded outcomes. True also of a running plan only once it has ended:
    until then what is not done yet counts as lost."""
    sums = {"lost": Counter[str](), "doubled": Counter[str](), "invented": Counter[str]()}
    for task in await connection.fetch("SELECT task, inventory_epoch FROM work.task WHERE plan = $1", plan):
        # A task without an inventory selected nothing, and -1 is no epoch.
        epoch = -1 if task["inventory_epoch"] is None else task["inventory_epoch"]
        for row in await connection.fetch(_BY_KIND, task["task"], epoch):
            for side, counts in sums.items():
                if row[side]:
                    # Absolute: one task's missing entity must not be outweighed by another's surplus.
                    counts[row["kind"]] += abs(row[side])
    return Conservation(**{side: dict(sorted(counts.items())) for side, counts in sums.items()})
