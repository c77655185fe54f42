"""Tokens, one-time links and sessions, as the database holds them: digests only. Each change is an event."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from services.dashboard.domain.access import LINK_ACTOR, TOKEN_ACTOR, Caller, Role, digest, form_key, same
from services.dashboard.domain.problems import ProblemError, not_found
from shared.events.catalog.access import AccessEvent, SignedIn, SignedOut, SignIn, TokenCreated, TokenRevoked
from shared.events.contract import Actor, Context
from shared.events.projections.base import Pool
from shared.events.store import Append, EventStore
from shared.events.types import derived_id, new_id

IDLE = "12 hours"  # a session that nobody used for so long is over
LASTING = "7 days"  # and so is every session
LINK_LASTS = "12 hours"
LOGIN_LASTS = "10 minutes"  # at the identity provider

_ACTOR = "INSERT INTO people.actor (key, kind, name) VALUES ($1, $2, $3) ON CONFLICT (key) DO UPDATE SET name = excluded.name"


@dataclass(frozen=True, slots=True)
class Token:
    """A token without its secret. Times are timezone-aware."""

    id: str
    name: str
    role: Role
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    used_at: datetime | None


@dataclass(frozen=True, slots=True)
class Login:
    """A login under way at the identity provider. ``back``: the path to go to afterwards."""

    nonce: str
    verifier: str
    back: str


class Access:
    def __init__(self, pool: Pool, store: EventStore, token: str) -> None:
        """``token``: the deployment's own, an administrator's."""
        self._pool, self.store, self._token = pool, store, token

    async def introduce(self) -> None:
        """Names the actors that every deployment has."""
        for actor, name in ((TOKEN_ACTOR, "API token"), (LINK_ACTOR, "Local administrator")):
            await self._pool.execute(_ACTOR, actor.key, actor.kind, name)

    # -- who calls -----------------------------------------------------------------------------------------------

    async def bearer(self, header: str | None) -> Caller | None:
        """The caller of an ``Authorization`` header; None unless it carries a token that is valid now."""
        scheme, _, value = (header or "").partition(" ")
        secret = value.strip()
        if scheme.lower() != "bearer" or not secret:
            return None
        if same(secret, self._token):
            return Caller(TOKEN_ACTOR, Role.ADMIN)
        row = await self._pool.fetchrow(
            "SELECT id, role, used_at IS NULL OR used_at < now() - interval '1 minute' AS stale FROM vault.token"
            " WHERE digest = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())",
            digest(secret),
        )
        if row is None:
            return None
        if row["stale"]:
            await self._pool.execute("UPDATE vault.token SET used_at = now() WHERE id = $1", row["id"])
        return Caller(Actor(kind="token", key=row["id"], authentication="token"), Role(row["role"]))

    async def session(self, cookie: str | None) -> Caller | None:
        """The caller of a session's cookie; None where the session is over or never was."""
        if not cookie:
            return None
        row = await self._pool.fetchrow(
            "SELECT actor, role, authentication, used_at < now() - interval '1 minute' AS stale FROM vault.session"
            f" WHERE digest = $1 AND expires_at > now() AND used_at > now() - interval '{IDLE}'",
            digest(cookie),
        )
        if row is None:
            return None
        if row["stale"]:
            await self._pool.execute("UPDATE vault.session SET used_at = now() WHERE digest = $1", digest(cookie))
        return Caller(
            Actor(kind="person", key=row["actor"], authentication=row["authentication"]),
            Role(row["role"]),
            form_key(cookie),
        )

    async def name(self, actor: Actor) -> str:
        """What an actor is called; its key where the name was erased."""
        name = await self._pool.fetchval("SELECT name FROM people.actor WHERE key = $1", actor.key)
        return str(name or actor.key)

    # -- sessions ------------------------------------------------------------------------------------------------

    async def open_session(self, actor: Actor, role: Role, method: SignIn) -> str:
        """Logs somebody in. Returns the session's cookie."""
        cookie = secrets.token_urlsafe(32)
        await self._tell(actor, SignedIn(subject=actor.key, role=role.value, method=method))
        await self._pool.execute(
            "INSERT INTO vault.session (digest, actor, role, authentication, expires_at)"
            f" VALUES ($1, $2, $3, $4, now() + interval '{LASTING}')",
            digest(cookie),
            actor.key,
            role.value,
            method,
        )
        await self._pool.execute(
            f"DELETE FROM vault.session WHERE expires_at < now() OR used_at < now() - interval '{IDLE}'"
        )
        return cookie

    async def close_session(self, cookie: str, caller: Caller) -> None:
        gone = await self._pool.fetchval("DELETE FROM vault.session WHERE digest = $1 RETURNING actor", digest(cookie))
        if gone is not None:
            await self._tell(caller.actor, SignedOut(subject=caller.actor.key))

    async def new_link(self, command: str, role: Role) -> str:
        """The secret part of a link that logs in once. It cannot be told a second time: a repeated command is refused."""
        code = secrets.token_urlsafe(32)
        await self._pool.execute("DELETE FROM vault.sign_in_link WHERE expires_at < now()")
        made = await self._pool.fetchval(
            "INSERT INTO vault.sign_in_link (id, digest, role, expires_at)"
            f" VALUES ($1, $2, $3, now() + interval '{LINK_LASTS}') ON CONFLICT (id) DO NOTHING RETURNING id",
            command,
            digest(code),
            role.value,
        )
        if made is None:
            raise ProblemError(
                "link_given",
                409,
                "This request got its link already, and it is not kept.",
                "Ask for one with a new key.",
            )
        return code

    async def use_link(self, code: str) -> str | None:
        """The session's cookie; None for a link that was used, is too old, or never was."""
        role = await self._pool.fetchval(
            "UPDATE vault.sign_in_link SET used_at = now() WHERE digest = $1 AND used_at IS NULL AND expires_at > now()"
            " RETURNING role",
            digest(code),
        )
        return None if role is None else await self.open_session(LINK_ACTOR, Role(role), "one_time_link")

    # -- the identity provider -----------------------------------------------------------------------------------

    async def begin_login(self, state: str, login: Login) -> None:
        await self._pool.execute("DELETE FROM vault.sign_in WHERE expires_at < now()")
        await self._pool.execute(
            "INSERT INTO vault.sign_in (digest, nonce, verifier, back, expires_at)"
            f" VALUES ($1, $2, $3, $4, now() + interval '{LOGIN_LASTS}')",
            digest(state),
            login.nonce,
            login.verifier,
            login.back,
        )

    async def take_login(self, state: str) -> Login | None:
        """The login that this answer belongs to, once."""
        row = await self._pool.fetchrow(
            "DELETE FROM vault.sign_in WHERE digest = $1 AND expires_at > now() RETURNING nonce, verifier, back",
            digest(state),
        )
        return None if row is None else Login(row["nonce"], row["verifier"], row["back"])

    async def identified(self, issuer: str, subject: str, name: str) -> Actor:
        """Our person for a provider's subject: a random key, made at the first login."""
        await self._pool.execute(
            "INSERT INTO people.identity (issuer, subject, actor) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
            issuer,
            subject,
            new_id(),
        )
        key = await self._pool.fetchval(
            "SELECT actor FROM people.identity WHERE issuer = $1 AND subject = $2", issuer, subject
        )
        actor = Actor(kind="person", key=str(key), authentication="oidc")
        await self._pool.execute(_ACTOR, actor.key, actor.kind, name)
        return actor

    # -- tokens --------------------------------------------------------------------------------------------------

    async def tokens(self, *, limit: int | None = None, before: str | None = None) -> list[Token]:
        """Those that are neither revoked nor expired first, newest first; ``before``: only those that come after this one in
        that order."""
        rows = await self._pool.fetch(
            "WITH t AS (SELECT id, name, role, created_at, expires_at, revoked_at, used_at,"
            " revoked_at IS NOT NULL OR coalesce(expires_at < now(), false) AS over, now() - created_at AS age FROM vault.token)"
            " SELECT id, name, role, created_at, expires_at, revoked_at, used_at FROM t WHERE $2::text IS NULL"
            " OR (over, age, id) > (SELECT over, age, id FROM t WHERE id = $2) ORDER BY over, age, id LIMIT $1",
            limit,
            before,
        )
        return [Token(**{**dict(row), "role": Role(row["role"])}) for row in rows]

    async def create_token(
        self, command: str, by: Caller, name: str, role: Role, days: int | None
    ) -> tuple[str, str | None]:
        """Id and secret. The secret is given once: a repeated command gets the id alone."""
        id, secret = derived_id(command, "token"), f"cw_{secrets.token_urlsafe(32)}"
        taken = await self._pool.fetchval("SELECT id FROM vault.token WHERE name = $1 AND revoked_at IS NULL", name)
        if taken is not None and taken != id:
            raise ProblemError(
                "name_taken", 409, "A token of this name is there already.", "Choose another name, or revoke that one."
            )
        made = await self._pool.fetchval(
            "INSERT INTO vault.token (id, name, digest, role, created_by, expires_at)"
            " VALUES ($1, $2, $3, $4, $5, now() + $6::int * interval '1 day') ON CONFLICT (id) DO NOTHING RETURNING id",
            id,
            name,
            digest(secret),
            role.value,
            by.actor.key,
            days,
        )
        if made is None:
            return id, None
        await self._pool.execute(_ACTOR, id, "token", name)
        await self._tell(by.actor, TokenCreated(subject=id, role=role.value, days=days))
        return id, secret

    async def revoke_token(self, by: Caller, id: str) -> None:
        row = await self._pool.fetchrow("SELECT revoked_at FROM vault.token WHERE id = $1", id)
        if row is None:
            raise not_found("token", id)
        if row["revoked_at"] is None:
            await self._pool.execute("UPDATE vault.token SET revoked_at = now() WHERE id = $1", id)
            await self._tell(by.actor, TokenRevoked(subject=id))

    # -- the log -------------------------------------------------------------------------------------------------

    async def _tell(self, actor: Actor, event: AccessEvent) -> None:
        await self.tell(actor, [event])

    async def tell(self, actor: Actor, events: Sequence[AccessEvent]) -> None:
        """Appends events about access, after whatever their subject's stream holds by now."""
        for event in events:
            stream, id = f"access-{event.subject}", new_id()
            context = Context(actor=actor, correlation=id, causation=id)
            for _ in range(5):
                version = await self._pool.fetchval("SELECT max(version) FROM log.events WHERE stream = $1", stream)
                expected = -1 if version is None else int(version)
                result = await self.store.append(Append(stream, expected, ((id, event),), context))
                if result.recorded:
                    break
