"""Keeps a login to a site alive: an access token for each request, renewed by one process at a time.

The steps of a renewal are in this order, and a process may die between any two of them: take the right to renew (in the
vault, for a while); send the refresh token; store what came back; only then use it. Died before it was sent: the right runs
out and another renews. Died after it was stored: everybody reads it there. Died between: nobody has the next token, the
authorization server refuses the used one, and the login is over. That is told as such, never as a failure of the work.
"""

import asyncio
import json
import time
from pathlib import Path

import asyncpg
import structlog

from shared.confluence.cloud.oauth import Authorization, Tokens
from shared.confluence.site import LoginExpired, SiteUnavailable
from shared.ops import vault
from shared.ops.settings import Settings

log = structlog.get_logger(__name__)

AGAIN = "The login to this site is over. Log in again: cloudward site login SITE. Plans that wait for it then go on."
_RIGHT = 3.0  # times the longest wait for an answer: so long the right to renew lasts
_LOOK_AGAIN = 0.1


def authorization(settings: Settings) -> Authorization | None:
    """The authorization server, where this deployment has an app of its own there; None where it has none. Raises VaultError."""
    if settings.atlassian_client_id is None:
        return None
    return Authorization(
        settings.atlassian_auth_url,
        settings.atlassian_api_url,
        settings.atlassian_client_id,
        _client_secret(settings.atlassian_client_secret_file),
        settings.request_timeout,
    )


def _client_secret(file: Path | None) -> str:
    try:
        if file is not None:
            return file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        pass
    raise vault.VaultError(
        "The secret of the app for logins cannot be read: set CLOUDWARD_ATLASSIAN_CLIENT_SECRET_FILE to its file."
    )


class Login:
    """The tokens of one credential of the vault. Safe for concurrent use within one event loop."""

    def __init__(self, pool: asyncpg.Pool, key: bytes, secret: str, server: Authorization, timeout: float) -> None:
        self._pool, self._key, self._secret = pool, key, secret
        self._server, self._right = server, timeout * _RIGHT
        self._timeout = timeout
        self._version = -1
        self._tokens: Tokens | None = None
        self._turn = asyncio.Lock()

    async def token(self) -> str:
        """An access token that is good for a while. Raises LoginExpired, SiteUnavailable, VaultError."""
        if self._tokens is None or not self._tokens.fresh:
            async with self._turn:
                if self._tokens is None or not self._tokens.fresh:
                    await self._renew(None)
        assert self._tokens is not None
        return self._tokens.access

    async def refused(self, token: str) -> None:
        """A site has refused this token though it looked good: afterwards there is another one, or LoginExpired is raised."""
        async with self._turn:
            if self._tokens is None or self._tokens.access == token:
                await self._renew(token)

    async def _renew(self, bad: str | None) -> None:
        """Reads what others have stored, or renews. ``bad``: an access token that is no good whatever its time says."""
        until = time.monotonic() + self._right + 2 * self._timeout
        while time.monotonic() < until:
            await self._read()
            assert self._tokens is not None
            if self._tokens.fresh and self._tokens.access != bad:
                return
            began = time.monotonic()
            match await self._pool.fetchval(
                "SELECT vault.begin_refresh_v1($1, $2, $3)", self._secret, self._version, self._right
            ):
                case "granted":
                    if await self._refresh(self._tokens, began):
                        return
                case "refused":
                    raise LoginExpired(AGAIN)
                case _:
                    await asyncio.sleep(_LOOK_AGAIN)  # another process renews; it stores what it gets
        raise SiteUnavailable("log in: another process has not renewed the login in time")

    async def _read(self) -> None:
        row = await self._pool.fetchrow(
            "SELECT version, nonce, ciphertext, refused FROM vault.secret WHERE id = $1", self._secret
        )
        if row is None or row["ciphertext"] is None:
            raise vault.VaultError(f"There is no login {self._secret}. Log in again: cloudward site login SITE.")
        if row["refused"]:
            raise LoginExpired(AGAIN)
        if row["version"] != self._version:
            content = json.loads(vault.unseal(self._key, self._secret, row["nonce"], row["ciphertext"]))
            self._tokens, self._version = Tokens.read(content), row["version"]

    async def _refresh(self, old: Tokens, began: float) -> bool:
        """With the right in hand. True: the next tokens are stored, and are now in use here."""
        if time.monotonic() - began > self._timeout:
            return False  # this process was held up: the right may be another's before the answer would be stored
        try:
            new = await self._server.refresh(old.refresh)
        except LoginExpired:
            await self._pool.execute("SELECT vault.end_refresh_v1($1, $2, true)", self._secret, self._version)
            log.warning("login refused", secret=self._secret, version=self._version)
            return False  # unless somebody has stored another login meanwhile, the next look says so
        except SiteUnavailable:
            await self._pool.execute("SELECT vault.end_refresh_v1($1, $2, false)", self._secret, self._version)
            raise
        sealed = vault.seal(self._key, self._secret, json.dumps(new.document()).encode())
        stored = await self._pool.fetchval(
            "SELECT vault.store_refresh_v1($1, $2, $3, $4)", self._secret, self._version, *sealed
        )
        if stored:
            self._tokens, self._version = new, self._version + 1
            log.info("login renewed", version=self._version)
        return bool(stored)
