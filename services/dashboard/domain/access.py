"""Who may call: the bearer token for the API, and what is derived from it for the pages."""

import hashlib
import hmac
from pathlib import Path
from uuid import UUID, uuid5

from shared.events.contract import Actor

_KEYS = UUID("5a3f6b0e-6f0b-4c57-9d52-31a5c1d86f50")  # namespace of Idempotency-Key values
TOKEN_ACTOR = Actor(kind="token", key=uuid5(_KEYS, "the token of CLOUDWARD_TOKEN_FILE").hex)


class Access:
    """One token for everything in this release. The cookie and the forms' key are one-way derivations of it, so that
    neither a browser's cookie jar nor a page's source holds the token."""

    def __init__(self, token: str) -> None:
        if len(token) < 16:
            raise ValueError("The API token is too short: at least 16 characters.")
        self._token = token.encode()
        self.cookie = self._derive("cookie")
        self.form_key = self._derive("form")

    @classmethod
    def from_file(cls, file: Path) -> "Access":
        return cls(file.read_text(encoding="utf-8").strip())

    def _derive(self, purpose: str) -> str:
        return hmac.new(self._token, f"cloudward {purpose}".encode(), hashlib.sha256).hexdigest()

    def bearer(self, header: str | None) -> bool:
        scheme, _, value = (header or "").partition(" ")
        return scheme.lower() == "bearer" and hmac.compare_digest(value.strip().encode(), self._token)

    def token(self, value: str) -> bool:
        return hmac.compare_digest(value.encode(), self._token)

    def signed_in(self, cookie: str | None) -> bool:
        return cookie is not None and hmac.compare_digest(cookie.encode(), self.cookie.encode())

    def form(self, key: str | None) -> bool:
        return key is not None and hmac.compare_digest(key.encode(), self.form_key.encode())


def command_id(idempotency_key: str) -> str:
    """The command that a caller's Idempotency-Key names: the same key always names the same command."""
    return uuid5(_KEYS, idempotency_key).hex
