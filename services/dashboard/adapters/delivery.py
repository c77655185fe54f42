"""Delivers what webhooks are told: turns the log into deliveries, sends what is due, and notes each attempt.

Any number of replicas may run it: a delivery is taken under a lock and comes due again by itself if whoever took it dies.
A receiver may therefore get one twice; it has one id (``webhook-id``) whatever happens.
"""

import asyncio
import contextlib
import json
import random
import time
from typing import Any

import aiohttp
import asyncpg
import structlog

from services.dashboard.adapters.webhooks import KEPT
from services.dashboard.domain import webhooks
from services.dashboard.domain.webhooks import GONE, OF_PLAN, TEST
from shared.events.projections.base import LogReader, Pool
from shared.events.store import UNAVAILABLE
from shared.events.types import derived_id
from shared.ops.outgoing import Guard, Refused
from shared.ops.vault import VaultError, unseal

log = structlog.get_logger(__name__)

TIMEOUT = 15.0  # seconds for one attempt
TAKEN = "60 seconds"  # what was taken and not ended comes due again after this
AT_ONCE = 16
_IDLE = 5.0  # seconds: what is due is looked for at least so often
_BREATH = 0.5  # between two looks at a log that moves all the time
_TIDY = 3600.0

_TAKE = f"""
UPDATE hook.delivery d SET due_at = clock_timestamp() + interval '{TAKEN}', attempts = attempts + 1, round = round + 1
FROM people.webhook w WHERE w.id = d.webhook AND w.removed_at IS NULL AND d.id IN (
  SELECT id FROM hook.delivery WHERE state = 'waiting' AND due_at <= clock_timestamp()
  ORDER BY due_at LIMIT {AT_ONCE} FOR UPDATE SKIP LOCKED)
RETURNING d.id, d.webhook, d.event, d.position, d.plan, d.attempts, d.round, d.created_at, w.url
"""
_NAMES = """
SELECT p.plan, n.name, p.source, s.name AS source_name, p.site, i.name AS site_name, p.stage, p.dry_run
FROM read.plan p LEFT JOIN people.plan n ON n.id = p.plan LEFT JOIN people.source s ON s.id = p.source
LEFT JOIN people.site i ON i.id = p.site WHERE p.plan = $1
"""


class Deliveries:
    def __init__(self, pool: Pool, store: LogReader, key: bytes | None, guard: Guard, public_url: str | None) -> None:
        self._pool, self._store, self._key, self._guard, self._url = pool, store, key, guard, public_url
        self.position = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Until ``stop`` is set; trouble with the database is waited out."""
        tidied = 0.0
        async with self._guard.session(timeout=TIMEOUT) as session:
            while not stop.is_set():
                try:
                    await self.enqueue()
                    while not stop.is_set() and await self.send(session):
                        pass
                    if time.monotonic() - tidied > _TIDY:
                        tidied = time.monotonic()
                        await self._pool.execute(
                            f"DELETE FROM hook.delivery WHERE ended_at < now() - interval '{KEPT}'"
                        )
                except UNAVAILABLE as error:
                    log.info("deliveries_wait", error=type(error).__name__)
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(stop.wait(), _IDLE)
                await self._wait(stop)

    async def enqueue(self) -> None:
        """Makes deliveries of what was recorded since, for each webhook that is told it."""
        async with self._pool.acquire() as connection, connection.transaction():
            after = await connection.fetchval("SELECT position FROM hook.cursor FOR UPDATE")
            head = await connection.fetchval("SELECT position FROM log.log_head")
            rows = await connection.fetch(
                "SELECT e.position, e.event_id, e.type, substr(e.stream, 6) AS plan, w.id AS webhook, w.events"
                " FROM log.events e JOIN people.webhook w ON w.removed_at IS NULL AND w.since < e.position"
                " WHERE e.position > $1 AND e.position <= $2 AND e.type = ANY($3)",
                after,
                head,
                list(OF_PLAN),
            )
            await connection.executemany(
                "INSERT INTO hook.delivery (id, webhook, event, position, plan) VALUES ($1, $2, $3, $4, $5)"
                " ON CONFLICT DO NOTHING",
                [
                    (
                        derived_id(row["event_id"].hex, row["webhook"]),
                        row["webhook"],
                        told,
                        row["position"],
                        row["plan"],
                    )
                    for row in rows
                    if (told := OF_PLAN[row["type"]]) in row["events"]
                ],
            )
            if head > after:
                await connection.execute("UPDATE hook.cursor SET position = $1", head)
        self.position = head

    async def send(self, session: aiohttp.ClientSession) -> int:
        """Sends what is due, several at once; how many that was."""
        rows = await self._pool.fetch(_TAKE)
        await asyncio.gather(*(self._deliver(session, row) for row in rows))
        return len(rows)

    async def _deliver(self, session: aiohttp.ClientSession, row: asyncpg.Record) -> None:
        began = time.monotonic()
        status, problem = await self._attempt(session, row)
        ms = int((time.monotonic() - began) * 1000)
        good = status is not None and 200 <= status < 300
        wait = None if good or status == GONE else webhooks.pause(row["round"], random.random())
        state = "delivered" if good else "failed" if wait is None else "waiting"
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(
                "INSERT INTO hook.attempt (delivery, attempt, status, problem, ms)"
                " SELECT $1, $2, $3, $4, $5 WHERE EXISTS (SELECT FROM hook.delivery WHERE id = $1) ON CONFLICT DO NOTHING",
                row["id"],
                row["attempts"],
                status,
                problem,
                ms,
            )
            await connection.execute(
                "UPDATE hook.delivery SET state = $3, due_at = clock_timestamp() + $4::float8 * interval '1 second',"
                " ended_at = CASE WHEN $3 = 'waiting' THEN NULL ELSE clock_timestamp() END WHERE id = $1 AND attempts = $2",
                row["id"],
                row["attempts"],
                state,
                wait or 0.0,
            )

    async def _attempt(self, session: aiohttp.ClientSession, row: asyncpg.Record) -> tuple[int | None, str | None]:
        """The receiver's status, or what kept it from answering: a code, never an error's text."""
        try:
            keys = await self._keys(row["webhook"])
            if not keys:
                return None, "no_secret"
            body = await self._body(row)
            headers = webhooks.headers(keys, row["id"], int(time.time()), body)
            self._guard.check(row["url"])
            async with session.post(row["url"], data=body, headers=headers, allow_redirects=False) as answer:
                # A redirect is no acceptance: it could lead where the address was not allowed to.
                return answer.status, None if answer.status < 300 else "refused"
        except Refused as error:
            return None, error.code
        except VaultError:
            return None, "secret_sealed"
        except TimeoutError:
            return None, "timeout"
        except aiohttp.ClientSSLError:
            return None, "certificate"
        except aiohttp.ClientError as error:
            return None, "address_forbidden" if isinstance(error.__cause__, Refused) else "unreachable"

    async def _keys(self, webhook: str) -> list[str]:
        rows = await self._pool.fetch(
            "SELECT id, nonce, ciphertext FROM vault.webhook_secret WHERE webhook = $1"
            " AND (ends_at IS NULL OR ends_at > now()) ORDER BY created_at DESC",
            webhook,
        )
        if self._key is None:
            return []
        return [unseal(self._key, row["id"], row["nonce"], row["ciphertext"]).decode() for row in rows]

    async def _body(self, row: asyncpg.Record) -> bytes:
        """Made anew from the log each time: the same but for names, which may have been erased meanwhile."""
        if row["event"] == TEST:
            return webhooks.body(TEST, row["created_at"], {"webhook": row["webhook"]})
        event = await self._pool.fetchrow(
            "SELECT recorded_at, body FROM log.events WHERE position = $1", row["position"]
        )
        assert event is not None, "the log forgets nothing"
        named = await self._pool.fetchrow(_NAMES, row["plan"])
        data: dict[str, Any] = {"plan": row["plan"]}
        if named is not None:
            data |= {
                "name": named["name"],
                "stage": named["stage"],
                "dry_run": named["dry_run"],
                "source": {"id": named["source"], "name": named["source_name"]},
                "site": {"id": named["site"], "name": named["site_name"]},
            }
        if self._url is not None:
            data["url"] = f"{self._url}/plans/{row['plan']}"
        sums = json.loads(event["body"])["data"]
        data = webhooks.told_of_plan(row["event"], row["position"], data, sums)
        return webhooks.body(row["event"], event["recorded_at"], data)

    async def _wait(self, stop: asyncio.Event) -> None:
        """Until something is recorded, or what waits may be due."""
        await asyncio.sleep(_BREATH)
        waits = [
            asyncio.ensure_future(self._store.wait_beyond(self.position, _IDLE)),
            asyncio.ensure_future(stop.wait()),
        ]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
