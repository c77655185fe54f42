"""Webhooks as the database holds them, and their delivery log."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from services.dashboard.domain.access import Caller
from services.dashboard.domain.problems import ProblemError, not_found
from services.dashboard.domain.webhooks import TEST, new_secret
from shared.events.catalog.webhook import (
    Told,
    WebhookEvent,
    WebhookRegistered,
    WebhookRemoved,
    WebhookSecretRotated,
)
from shared.events.contract import Actor, Context
from shared.events.projections.base import Connection, Pool
from shared.events.store import Append, EventStore
from shared.events.types import derived_id, new_id
from shared.ops.vault import seal

OVERLAP = "1 day"  # for which a rotated secret still signs besides the new one
KEPT = "30 days"  # the delivery log

_WEBHOOKS = """
SELECT w.id, w.name, w.url, w.events, w.created_at, d.state AS last_state, d.created_at AS last_at,
       (SELECT count(*) FROM hook.delivery n WHERE n.webhook = w.id AND n.state = 'waiting') AS waiting,
       (SELECT count(*) FROM hook.delivery n WHERE n.webhook = w.id AND n.state = 'failed') AS failed
FROM people.webhook w LEFT JOIN LATERAL (SELECT state, created_at FROM hook.delivery d WHERE d.webhook = w.id
  AND d.state <> 'waiting' ORDER BY d.created_at DESC, d.id DESC LIMIT 1) d ON true
WHERE w.removed_at IS NULL AND ($1::text IS NULL OR w.id = $1) AND ($3::text IS NULL
  OR (lower(w.name), w.id) > (SELECT lower(b.name), b.id FROM people.webhook b WHERE b.id = $3))
ORDER BY lower(w.name), w.id LIMIT $2
"""
_DELIVERIES = """
SELECT d.id, d.event, d.position, d.plan, n.name AS plan_name, d.state, d.attempts, d.created_at, d.ended_at,
       CASE WHEN d.state = 'waiting' THEN d.due_at END AS due_at, a.status, a.problem, a.ms, a.at AS tried_at
FROM hook.delivery d LEFT JOIN people.plan n ON n.id = d.plan
LEFT JOIN hook.attempt a ON a.delivery = d.id AND a.attempt = d.attempts
WHERE d.webhook = $1 AND ($2::timestamptz IS NULL OR (d.created_at, d.id) < ($2, $3))
ORDER BY d.created_at DESC, d.id DESC LIMIT $4
"""


@dataclass(frozen=True, slots=True)
class Webhook:
    """``last_state``: of its last delivery that has ended; ``waiting``, ``failed``: how many deliveries are so."""

    id: str
    name: str
    url: str
    events: list[Told]
    created_at: datetime
    last_state: str | None
    last_at: datetime | None
    waiting: int
    failed: int


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event for one webhook. ``status``, ``problem``, ``ms``, ``tried_at``: of the last attempt; ``due_at``: of the next."""

    id: str
    event: str
    position: int | None
    plan: str | None
    plan_name: str | None
    state: str
    attempts: int
    created_at: datetime
    ended_at: datetime | None
    due_at: datetime | None
    status: int | None
    problem: str | None
    ms: int | None
    tried_at: datetime | None


class Webhooks:
    """``key``: the vault's; None: nothing can be sealed, so there can be no webhook."""

    def __init__(self, pool: Pool, store: EventStore, key: bytes | None) -> None:
        self._pool, self._store, self._key = pool, store, key

    async def all(self, *, limit: int | None = None, before: str | None = None) -> list[Webhook]:
        """By name; ``before``: only those that come after this one in that order."""
        return [Webhook(**row) for row in await self._pool.fetch(_WEBHOOKS, None, limit, before)]

    async def one(self, id: str) -> Webhook:
        """Raises ProblemError where there is none, or none any more."""
        for row in await self._pool.fetch(_WEBHOOKS, id, None, None):
            return Webhook(**row)
        raise not_found("webhook", id)

    async def register(
        self, command: str, by: Caller, name: str, url: str, events: Sequence[Told]
    ) -> tuple[str, str | None]:
        """Id and secret. The secret is given once: a repeated command gets the id alone."""
        id, secret = derived_id(command, "webhook"), new_secret()
        async with self._pool.acquire() as connection, connection.transaction():
            taken = await connection.fetchval(
                "SELECT id FROM people.webhook WHERE name = $1 AND removed_at IS NULL", name
            )
            if taken is not None and taken != id:
                raise ProblemError(
                    "name_taken",
                    409,
                    "A webhook of this name is there already.",
                    "Choose another name, or remove that one.",
                )
            made = await connection.fetchval(
                "INSERT INTO people.webhook (id, name, url, events, since)"
                " SELECT $1, $2, $3, $4, position FROM log.log_head ON CONFLICT (id) DO NOTHING RETURNING id",
                id,
                name,
                url,
                list(events),
            )
            if made is None:
                return id, None
            await self._keep(connection, id, secret)
        await self._tell(by.actor, WebhookRegistered(webhook=id, events=tuple(events)))
        return id, secret

    async def rotate(self, by: Caller, id: str) -> str:
        """The new secret. The one before signs for another day, so that the receiver can take its time."""
        await self.one(id)
        secret = new_secret()
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(
                f"UPDATE vault.webhook_secret SET ends_at = now() + interval '{OVERLAP}' WHERE webhook = $1 AND ends_at IS NULL",
                id,
            )
            await self._keep(connection, id, secret)
        await self._tell(by.actor, WebhookSecretRotated(webhook=id))
        return secret

    async def remove(self, by: Caller, id: str) -> None:
        """Nothing is sent to it any more, also nothing that waits. Twice is harmless."""
        async with self._pool.acquire() as connection, connection.transaction():
            known = await connection.fetchrow("SELECT removed_at FROM people.webhook WHERE id = $1 FOR UPDATE", id)
            if known is None:
                raise not_found("webhook", id)
            if known["removed_at"] is not None:
                return
            await connection.execute("UPDATE people.webhook SET removed_at = now(), url = '' WHERE id = $1", id)
            await connection.execute("DELETE FROM vault.webhook_secret WHERE webhook = $1", id)
            await connection.execute("DELETE FROM hook.delivery WHERE webhook = $1", id)
        await self._tell(by.actor, WebhookRemoved(webhook=id))

    # -- deliveries ----------------------------------------------------------------------------------------------

    async def deliveries(self, id: str, before: str | None, limit: int) -> list[Delivery]:
        """Newest first; ``before``: the id of the last one seen."""
        at = None
        if before is not None:
            at = await self._pool.fetchval(
                "SELECT created_at FROM hook.delivery WHERE webhook = $1 AND id = $2", id, before
            )
            if at is None:
                raise not_found("delivery", before)
        return [Delivery(**row) for row in await self._pool.fetch(_DELIVERIES, id, at, before, limit)]

    async def test(self, command: str, id: str) -> str:
        """Has something sent at once that is no event. The delivery's id."""
        await self.one(id)
        delivery = derived_id(command, "delivery")
        await self._pool.execute(
            "INSERT INTO hook.delivery (id, webhook, event) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
            delivery,
            id,
            TEST,
        )
        return delivery

    async def replay(self, id: str, delivery: str) -> None:
        """Sends it again under the same id, whatever became of it before; attempts count on, pauses begin anew."""
        known = await self._pool.fetchval(
            "UPDATE hook.delivery SET state = 'waiting', round = 0, due_at = clock_timestamp(), ended_at = NULL"
            " WHERE webhook = $1 AND id = $2 RETURNING id",
            id,
            delivery,
        )
        if known is None:
            raise not_found("delivery", delivery)

    async def _keep(self, connection: Connection, webhook: str, secret: str) -> None:
        if self._key is None:
            raise ProblemError(
                "no_vault_key",
                409,
                "This deployment has no key to seal the webhook's secret with, so nothing was made.",
                "Set CLOUDWARD_SECRET_KEY_FILE and try again.",
            )
        id = new_id()
        nonce, sealed = seal(self._key, id, secret.encode())
        await connection.execute(
            "INSERT INTO vault.webhook_secret (id, webhook, nonce, ciphertext) VALUES ($1, $2, $3, $4)",
            id,
            webhook,
            nonce,
            sealed,
        )

    async def _tell(self, actor: Actor, event: WebhookEvent) -> None:
        stream, id = f"webhook-{event.webhook}", new_id()
        context = Context(actor=actor, correlation=id, causation=id)
        for _ in range(5):
            version = await self._pool.fetchval("SELECT max(version) FROM log.events WHERE stream = $1", stream)
            expected = -1 if version is None else int(version)
            if (await self._store.append(Append(stream, expected, ((id, event),), context))).recorded:
                break
