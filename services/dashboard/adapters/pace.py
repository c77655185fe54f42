"""What a plan does now, how fast, and what holds it up: from the read model and the executors' own rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from services.dashboard.domain import pace, words
from services.dashboard.domain.pace import Chart, Doing, Left, Minute
from services.dashboard.domain.shapes import PlanSummary
from shared.events.projections.base import Pool

NOW = 5  # chunks that are told

_NOW = """
SELECT c.phase, s.key, c.entities, c.claimed_at AS since, c.attempt FROM read.chunk c JOIN read.task t USING (task)
JOIN read.plan p USING (plan) LEFT JOIN people.space s ON s.source = p.source AND s.space = t.space
WHERE c.state = 'claimed' AND t.plan = $1 AND c.claimed_at IS NOT NULL ORDER BY c.claimed_at, c.chunk LIMIT $2
"""
_AGAIN = """
SELECT count(*) AS chunks, coalesce(sum(c.attempt - 1), 0)::bigint AS attempts,
       count(*) FILTER (WHERE c.state = 'ended') AS ended
FROM read.chunk c JOIN read.task t USING (task) WHERE c.attempt > 1 AND t.plan = $1
"""


@dataclass(frozen=True, slots=True)
class Pace:
    """``rate``: entities a second over the last five minutes; ``again``: chunks that took more than one attempt, how many attempts
    more that were, and how many of these chunks have ended."""

    rate: float
    left: Left | None
    chart: Chart | None
    now: Sequence[Doing]
    throttled: datetime | None
    again: tuple[int, int, int]
    at: datetime
    last: datetime | None


class Paces:
    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def of(self, plan: PlanSummary) -> Pace:
        rows = await self._pool.fetch(
            "SELECT minute AS at, kind, done, micros FROM read.pace WHERE plan = $1 ORDER BY minute", plan.id
        )
        minutes = [Minute(**row) for row in rows]
        now = datetime.now(UTC)
        running = plan.started_at is not None and plan.ended_at is None
        doing = await self._pool.fetch(_NOW, plan.id, NOW) if running else []
        until = None
        if running:
            until = await self._pool.fetchval(
                "SELECT until FROM work.throttle WHERE site = $1 AND until > clock_timestamp()", plan.site.id
            )
        again = await self._pool.fetchrow(_AGAIN, plan.id)
        assert again is not None
        to_go = {kind: max(0, counts.selected - words.done(counts)) for kind, counts in plan.kinds.items()}
        uncounted = max(0, plan.total - plan.done - sum(to_go.values()))
        moving = running and not plan.paused and not plan.stopping
        return Pace(
            rate=pace.per_second(minutes, now, pace.WINDOW / 3) if running else 0.0,
            left=pace.left(minutes, to_go, uncounted, now) if moving and until is None else None,
            chart=pace.chart(minutes, plan.ended_at or now),
            now=[Doing(**row) for row in doing],
            throttled=until,
            again=(again["chunks"], again["attempts"], again["ended"]),
            at=now,
            last=minutes[-1].at if minutes else None,
        )
