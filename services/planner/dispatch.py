"""Hands out the work: a sweep over the chunks that somebody could claim now, offered as hints on NATS.

A hint holds a chunk's id and nothing else. Losing one costs time only: what nobody claimed is offered again. Plans take
turns, and within a plan its tasks, so that a large space does not keep a small one waiting.
"""

import asyncio
import json

import asyncpg
import structlog
from nats.aio.client import Client
from nats.errors import Error as NatsError

from shared.ops.settings import Settings

log = structlog.get_logger(__name__)

# Claimable: a planned chunk of a running task; a claimed one whose lease is over (to be taken over, or settled when its
# plan stops or its space fails). An analysis has neither plan nor site.
#
# Hints are taken in the order in which they were given, and a chunk in hand is not interrupted: whoever waits, waits behind
# all that are out. So where several plans run on a site none of them has more than its part of the budget out, and one that
# comes later finds workers free.
_CLAIMABLE = """
WITH open AS (
  SELECT k.chunk, k.phase, k.plan, k.task, k.planned_at, p.site,
         coalesce(l.expires_at, k.changed_at + make_interval(secs => $1)) + make_interval(secs => $2) AS free_at,
         k.state, k.changed_at, o.offered_at, coalesce(o.offers, 0) AS offers,
         p.status = 'RUNNING' AND p.stuck IS NULL AND NOT p.stop_requested AND t.state = 'running' AS goes_on,
         p.status = 'RUNNING' AND (p.stop_requested OR t.state = 'failing') AS winds_up, coalesce(p.paused, false) AS paused
  FROM work.chunk k
  LEFT JOIN work.plan p ON p.plan = k.plan
  LEFT JOIN work.task t ON t.task = k.task
  LEFT JOIN work.lease l ON l.chunk = k.chunk AND l.epoch = k.epoch AND k.state = 'claimed'
  LEFT JOIN work.offer o ON o.chunk = k.chunk
  WHERE k.state <> 'ended' AND (k.plan IS NULL OR p.status = 'RUNNING')
), out AS (
  SELECT site, plan FROM open
  WHERE (state = 'claimed' AND free_at > clock_timestamp())
     OR (state = 'planned' AND offered_at > clock_timestamp() - make_interval(secs => $3)
         AND offered_at > coalesce(changed_at, 'epoch'))
), busy AS (
  SELECT site, count(*) AS n FROM out GROUP BY site
), own AS (
  SELECT plan, count(*) AS n FROM out GROUP BY plan
), rivals AS (
  SELECT site, count(*) AS n FROM work.plan WHERE status = 'RUNNING' AND stuck IS NULL AND NOT paused GROUP BY site
), claimable AS (
  SELECT chunk, phase, site, offers, planned_at, plan,
         row_number() OVER (PARTITION BY plan, task ORDER BY planned_at, chunk) AS turn, task
  FROM open
  WHERE (plan IS NULL OR (goes_on AND NOT paused) OR (winds_up AND state = 'claimed'))
    AND (state = 'planned' OR free_at <= clock_timestamp())
    AND (offered_at IS NULL OR offered_at <= clock_timestamp() - make_interval(secs => $3) OR offered_at <= changed_at)
), turns AS (
  SELECT c.*, coalesce(own.n, 0) + row_number() OVER (PARTITION BY c.plan ORDER BY turn, task) AS plan_turn
  FROM claimable c LEFT JOIN own ON own.plan = c.plan
), ranked AS (
  SELECT *, row_number() OVER (PARTITION BY site ORDER BY plan_turn, plan) AS place FROM turns
)
SELECT r.chunk, r.phase, r.offers FROM ranked r LEFT JOIN busy b ON b.site IS NOT DISTINCT FROM r.site
LEFT JOIN rivals v ON v.site = r.site
WHERE r.place <= greatest(2 * $4 - coalesce(b.n, 0), 0)
  AND (r.plan IS NULL OR r.plan_turn <= CASE WHEN v.n > 1 THEN greatest($4 / v.n, 1) ELSE $4 + $4 / 4 END)
ORDER BY r.place
"""


class Dispatch:
    """``sweep`` offers what can be claimed: at most twice a site's concurrency budget at a time, a little more than the budget to
    one plan, and its part of the budget where others run beside it."""

    def __init__(self, pool: asyncpg.Pool, nats: Client, settings: Settings) -> None:
        self._pool, self._nats, self._settings = pool, nats, settings
        self._stream = nats.jetstream()

    async def sweep(self) -> int:
        """How many hints were given."""
        if not self._nats.is_connected:
            return 0
        s = self._settings
        rows = await self._pool.fetch(_CLAIMABLE, s.lease, s.request_timeout, s.reoffer, s.site_concurrency)
        if not rows:
            return 0
        await self._pool.executemany(
            "INSERT INTO work.offer VALUES ($1, 1, clock_timestamp())"
            " ON CONFLICT (chunk) DO UPDATE SET offers = work.offer.offers + 1, offered_at = clock_timestamp()",
            [(r["chunk"],) for r in rows],
        )
        given = await asyncio.gather(*(self._offer(row) for row in rows))
        if not all(given):
            await self.forget([row["chunk"] for row, taken in zip(rows, given, strict=True) if not taken])
        return sum(given)

    async def _offer(self, row: asyncpg.Record) -> bool:
        try:
            await self._stream.publish(
                "work.analysis" if row["phase"] == "analysis" else "work.chunk",
                json.dumps({"chunk": row["chunk"]}).encode(),
                timeout=2,
                headers={"Nats-Msg-Id": f"{row['chunk']}:{row['offers'] + 1}"},
            )
        except (NatsError, TimeoutError, OSError) as error:
            log.warning("hint not given yet", chunk=row["chunk"], error=type(error).__name__)
            return False
        return True

    async def forget(self, chunks: list[str] | None = None) -> None:
        """Makes these offers (or all) due again: the stream that held them is gone, or did not take them."""
        await self._pool.execute(
            "UPDATE work.offer SET offered_at = 'epoch' WHERE $1::text[] IS NULL OR chunk = ANY($1)", chunks
        )
