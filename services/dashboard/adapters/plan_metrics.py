"""Metrics of the plans that run, from the read models: a few rows for each task, however large a plan is."""

import asyncio
import contextlib
import time
from collections import deque

import structlog

from shared.events.projections.base import Pool
from shared.events.store import UNAVAILABLE
from shared.ops import metrics

log = structlog.get_logger(__name__)

_EVERY = 10.0
_WINDOW = 600.0
_QUERY = """
SELECT p.plan, p.stuck IS NOT NULL AS stuck, p.paused, coalesce(bool_or(t.until > clock_timestamp()), false) AS throttled,
       coalesce(sum(k.selected), 0)::bigint AS selected, coalesce(sum(k.migrated + k.skipped + k.failed), 0)::bigint AS done
FROM read.plan p LEFT JOIN read.task USING (plan) LEFT JOIN read.task_kind k USING (task)
  LEFT JOIN work.throttle t ON t.site = p.site
WHERE p.status = 'RUNNING' GROUP BY p.plan
"""
_OF_PLANS = (
    metrics.PLAN_RUNNING,
    metrics.PLAN_STUCK,
    metrics.PLAN_PAUSED,
    metrics.PLAN_THROTTLED,
    metrics.PLAN_ENTITIES,
    metrics.PLAN_DONE,
    metrics.PLAN_RATE,
    metrics.PLAN_SECONDS_LEFT,
)


class PlanMetrics:
    """``run`` until ``stop``; a plan that no longer runs is no longer exported."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._past: dict[str, deque[tuple[float, int]]] = {}

    async def run(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                await self.look()
            except UNAVAILABLE as error:
                log.info("plans not measured", error=type(error).__name__)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), _EVERY)

    async def look(self) -> None:
        rows = await self._pool.fetch(_QUERY)
        broken = await self._pool.fetchval("SELECT count(*) FROM read.plan WHERE NOT conserved")
        metrics.CONSERVATION.set(broken)
        for metric in _OF_PLANS:
            metric.clear()
        self._past = {row["plan"]: self._past.get(row["plan"], deque()) for row in rows}
        for row in rows:
            plan, rate = row["plan"], self._rate(row["plan"], row["done"])
            metrics.PLAN_RUNNING.labels(plan).set(1)
            metrics.PLAN_STUCK.labels(plan).set(row["stuck"])
            metrics.PLAN_PAUSED.labels(plan).set(row["paused"])
            metrics.PLAN_THROTTLED.labels(plan).set(row["throttled"])
            metrics.PLAN_ENTITIES.labels(plan).set(row["selected"])
            metrics.PLAN_DONE.labels(plan).set(row["done"])
            metrics.PLAN_RATE.labels(plan).set(rate)
            if rate > 0:
                metrics.PLAN_SECONDS_LEFT.labels(plan).set((row["selected"] - row["done"]) / rate)

    def _rate(self, plan: str, done: int) -> float:
        past, now = self._past[plan], time.monotonic()
        past.append((now, done))
        while now - past[0][0] > _WINDOW:
            past.popleft()
        passed = now - past[0][0]
        return (done - past[0][1]) / passed if passed > 0 else 0.0
