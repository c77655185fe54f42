"""Logging in to a site with an Atlassian account: from the click to a login that a site can be added with.

The tokens are sealed the moment they are there; from then on this service cannot read them.
"""

import json
import secrets
from uuid import uuid4

import structlog

from services.dashboard.domain.access import digest
from services.dashboard.domain.problems import ProblemError, not_found
from services.dashboard.domain.shapes import Login, LoginSite
from shared.confluence.cloud import CloudSite
from shared.confluence.cloud.oauth import Authorization, Resource, Tokens
from shared.confluence.cloud.transport import Gateway
from shared.confluence.site import LoginExpired, SiteError
from shared.events.projections.base import Pool
from shared.ops.vault import seal

log = structlog.get_logger("dashboard")

LASTS = "10 minutes"  # from the click to the answer
_FORGOTTEN = "DELETE FROM people.login WHERE state <> 'open' AND created_at < now() - interval '1 day'"


class _Once:
    """The token of a login that has just been made, for the few questions that are asked right away."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens

    async def token(self) -> str:
        return self._tokens.access

    async def refused(self, token: str) -> None:
        raise LoginExpired("the site refuses the login")


class Logins:
    def __init__(self, pool: Pool, key: bytes | None, server: Authorization | None, timeout: float) -> None:
        self._pool, self._key, self._server, self._timeout = pool, key, server, timeout

    @property
    def able(self) -> bool:
        """Whether this deployment can log in at all."""
        return self._server is not None and self._key is not None

    async def begin(self, redirect: str, back: str | None) -> Login:
        """A login that waits for the browser. ``back``: the page to go to afterwards, with ``LOGIN`` for the id."""
        server, _ = self._able()
        id, state = uuid4().hex, secrets.token_urlsafe(32)
        await self._pool.execute(_FORGOTTEN)
        await self._pool.execute(
            "INSERT INTO people.login (id, digest, redirect, back, state) VALUES ($1, $2, $3, $4, 'asked')",
            id,
            digest(state),
            redirect,
            back.replace("LOGIN", id) if back else None,
        )
        return Login(id=id, state="asked", url=server.address(state, redirect))

    async def answered(self, state: str, code: str | None) -> tuple[Login, str | None]:
        """What the browser brings back, once, and the page to go on with. Raises ProblemError for what nobody began."""
        server, key = self._able()
        row = await self._pool.fetchrow(
            "UPDATE people.login SET digest = sha256(digest) WHERE digest = $1 AND state = 'asked'"
            f" AND created_at > now() - interval '{LASTS}' RETURNING id, redirect, back",
            digest(state),
        )
        if row is None:
            raise ProblemError(
                "answer_invalid",
                403,
                "This answer belongs to no login that began here within 10 minutes, or was used already.",
                "Begin again: cloudward site login, or Sites › Log in with Atlassian.",
            )
        if code is None:
            await self._pool.execute("UPDATE people.login SET state = 'denied' WHERE id = $1", row["id"])
            return await self.get(row["id"]), row["back"]
        try:
            tokens = await server.exchange(code, row["redirect"])
            who = await server.identity(tokens)
            sites = [await self._asked(server, tokens, each) for each in await server.sites(tokens)]
        except (LoginExpired, SiteError) as error:
            log.warning("login_failed", error=type(error).__name__, detail=str(error))
            await self._pool.execute("UPDATE people.login SET state = 'failed' WHERE id = $1", row["id"])
            return await self.get(row["id"]), row["back"]
        nonce, ciphertext = seal(key, row["id"], json.dumps(tokens.document()).encode())
        await self._pool.execute(
            "INSERT INTO vault.secret (id, nonce, ciphertext) VALUES ($1, $2, $3)", row["id"], nonce, ciphertext
        )
        await self._pool.execute(
            "UPDATE people.login SET state = 'open', secret = id, account_id = $2, name = $3, email = $4, sites = $5"
            " WHERE id = $1",
            row["id"],
            who.account_id,
            who.name,
            who.email,
            [site.model_dump() for site in sites],
        )
        return await self.get(row["id"]), row["back"]

    async def _asked(self, server: Authorization, tokens: Tokens, found: Resource) -> LoginSite:
        """A site of the login, with whether the account administers it."""
        confluence, jira = (f"{server.api_url}/ex/{product}/{found.cloud_id}" for product in ("confluence", "jira"))
        gateway = Gateway(confluence, jira, _Once(tokens))
        site = CloudSite(found.url, email=None, token=None, timeout=self._timeout, gateway=gateway)
        admin: bool | None
        try:
            admin = "site_admin" in await site.rights()
        except (LoginExpired, SiteError):
            admin = None
        finally:
            await site.aclose()
        return LoginSite(cloud_id=found.cloud_id, url=found.url, name=found.name, site_admin=admin)

    async def get(self, id: str) -> Login:
        row = await self._pool.fetchrow("SELECT id, state, name, email, sites FROM people.login WHERE id = $1", id)
        if row is None:
            raise not_found("login", id)
        return Login(**dict(row))

    def _able(self) -> tuple[Authorization, bytes]:
        if self._server is None:
            raise ProblemError(
                "no_login",
                409,
                "This deployment has no app of its own at Atlassian to log in with.",
                "Give an API token instead; or make an OAuth 2.0 app and set CLOUDWARD_ATLASSIAN_CLIENT_ID: docs/guide/connect.md.",
            )
        if self._key is None:
            raise ProblemError(
                "no_vault_key",
                409,
                "This deployment has no key to seal a login with.",
                "Set CLOUDWARD_SECRET_KEY_FILE.",
            )
        return self._server, self._key
