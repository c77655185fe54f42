"""Publishes the log on NATS, in the order of positions. The event table is the outbox; there is no second one.

Messages are wake-ups with a body for convenience: whoever needs certainty pages the log. The checkpoint is in Postgres and
is not turned back when the stream is lost.
"""

import asyncio
import re
import time
from typing import Any

import asyncpg
import structlog
from nats.aio.client import Client
from nats.errors import Error as NatsError

from shared.events.contract import Recorded
from shared.events.store import EventStore
from shared.ops import tracing

log = structlog.get_logger(__name__)

_BODY_LIMIT = 64 * 1024
_NAME = "relay"
# The envelope's trace, read without parsing the whole body.
_TRACE = re.compile(rb'"trace":"([0-9a-f-]{55})"')
_PATIENCE, _PAUSE = 3.0, 2.0  # seconds: for the answers to one page, and after they did not come


class Relay:
    """``step`` publishes at most one page and says whether there was something to publish."""

    def __init__(self, store: EventStore, pool: asyncpg.Pool, nats: Client) -> None:
        self._store, self._pool = store, pool
        self._nats = nats
        self._stream = nats.jetstream(publish_async_max_pending=4000)
        self._position: int | None = None
        self._not_before = 0.0

    async def step(self) -> bool:
        if not self._nats.is_connected:
            return False
        if self._position is None:
            self._position = (
                await self._pool.fetchval("SELECT position FROM work.checkpoint WHERE name = $1", _NAME) or 0
            )
        rows = await self._store.read_log(self._position, 500)
        if not rows:
            return False
        if time.monotonic() < self._not_before:
            return False
        acks: list[asyncio.Future[Any]] = []
        try:
            async with asyncio.timeout(_PATIENCE):
                for row in rows:
                    acks.append(await self._publish(row))
                await asyncio.gather(*acks)
        except (NatsError, TimeoutError, OSError) as error:
            log.warning("events not published yet", position=self._position, error=type(error).__name__)
            # The leader's loop has more to do than to wait for a server that does not answer.
            self._not_before = time.monotonic() + _PAUSE
            return False
        finally:
            # An answer that never comes would take one of the client's places for ever.
            for ack in acks:
                ack.cancel()
            await asyncio.gather(*acks, return_exceptions=True)
        self._position = rows[-1].position
        await self._pool.execute(
            "INSERT INTO work.checkpoint VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET position = excluded.position"
            " WHERE work.checkpoint.position < excluded.position",
            _NAME,
            self._position,
        )
        return True

    async def _publish(self, row: Recorded) -> Any:
        small = len(row.body) <= _BODY_LIMIT
        trace = _TRACE.search(row.body)
        return await self._stream.publish_async(
            f"evt.{row.category}.{row.type}",
            row.body if small else b"",
            headers={
                "Nats-Msg-Id": row.event_id,
                "Cloudward-Position": str(row.position),
                "Cloudward-Stream": row.stream,
                "Cloudward-Version": str(row.version),
                **({tracing.HEADER: trace[1].decode()} if trace else {}),
            },
        )
