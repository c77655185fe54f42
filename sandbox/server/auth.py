"""Who a request comes from. Strict where Confluence is odd: a bad token is answered as anonymous, a bad password is 401,
and after some bad passwords a CAPTCHA shuts the account's API out until a login in the browser."""

import base64
import binascii

from sandbox.sample.model import Instance, User
from sandbox.server.errors import Refusal
from sandbox.versions import Version

#: Failed logins after which a CAPTCHA is asked for.
CAPTCHA_AFTER = 3


class Door:
    """``tokens``: personal access token to user name. ``passwords``: user name to password; everybody else's password is
    their user name."""

    def __init__(
        self, instance: Instance, version: Version, tokens: dict[str, str], passwords: dict[str, str], base: str
    ) -> None:
        self.instance = instance
        self.version = version
        self.tokens = tokens
        self.passwords = passwords
        self.base = base
        self.failures: dict[str, int] = {}

    def user(self, authorization: str | None) -> User | None:
        """The user, None for anonymous. Raises Refusal for a bad password."""
        scheme, _, value = (authorization or "").partition(" ")
        if scheme.lower() == "bearer" and self.version.has("pat"):
            found = self.instance.user_by_name(self.tokens.get(value.strip(), ""))
            return found if found and found.active else None
        if scheme.lower() == "basic":
            return self._basic(value)
        return None

    def _basic(self, value: str) -> User:
        try:
            name, _, password = base64.b64decode(value, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            name, password = "", ""
        name = name.lower()
        if self.failures.get(name, 0) >= CAPTCHA_AFTER:
            raise Refusal(
                403,
                "Basic Authentication Failure - Reason : AUTHENTICATION_DENIED",
                plain=True,
                headers={
                    "X-Seraph-LoginReason": "AUTHENTICATION_DENIED",
                    "X-Authentication-Denied-Reason": f"CAPTCHA_CHALLENGE; login-url={self.base}/login.action",
                },
            )
        user = self.instance.user_by_name(name)
        if user is None or not user.active or password != self.passwords.get(name, name):
            self.failures[name] = self.failures.get(name, 0) + 1
            raise Refusal(
                401,
                "Basic Authentication Failure - Reason : AUTHENTICATED_FAILED",
                plain=True,
                headers={
                    "X-Seraph-LoginReason": "AUTHENTICATED_FAILED",
                    "WWW-Authenticate": 'Basic realm="Confluence"',
                },
            )
        self.failures.pop(name, None)
        return user
