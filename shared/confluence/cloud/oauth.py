"""Logging in with an Atlassian account: OAuth 2.0 (3LO) with rotating refresh tokens, and what a login opens.

Source: developer.atlassian.com, "OAuth 2.0 (3LO) apps" and "Refresh tokens": a refresh token is good for one use, its answer
holds the next one, and a used one that comes again ends the login.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

import httpx

from shared.confluence.site import LoginExpired, SiteUnavailable

# What the app asks for: granular scopes for v2, those of v1 that v2 does not replace, and Jira's for accounts. The app must
# have them all switched on in Atlassian's developer console.
SCOPES = (
    "offline_access",
    "read:me",
    *(
        f"{scope}:confluence"
        for scope in (
            "read:page",
            "write:page",
            "delete:page",
            "read:attachment",
            "write:attachment",
            "delete:attachment",
            "read:comment",
            "write:comment",
            "delete:comment",
            "read:space",
            "write:space",
            "delete:space",
            "read:space.permission",
            "write:space.permission",
            "read:space-details",
            "read:content-details",
            "read:content.metadata",
            "read:hierarchical-content",
            "read:content.restriction",
            "write:content.restriction",
            "read:label",
            "write:label",
            "read:user",
            "read:group",
            "write:group",
            "read:watcher",
            "write:watcher",
            "read:configuration",
        )
    ),
    "read:jira-user",
    "read:jira-work",
)

# Answers of the token endpoint by which no later try can succeed.
_FOR_GOOD = frozenset({"invalid_grant", "access_denied", "unauthorized_client", "invalid_client"})


@dataclass(frozen=True, slots=True)
class Tokens:
    """``expires_at``: seconds since 1970 by this machine's clock; ``lifetime``: of the access token, in seconds."""

    access: str
    refresh: str
    expires_at: float
    lifetime: float

    @property
    def fresh(self) -> bool:
        """Whether the access token is good for a while: a request that is sent with it must not meet its end."""
        return time.time() < self.expires_at - min(30.0, self.lifetime / 5)

    def document(self) -> dict[str, Any]:
        return {
            "oauth": {
                "access": self.access,
                "refresh": self.refresh,
                "expires_at": self.expires_at,
                "lifetime": self.lifetime,
            }
        }

    @classmethod
    def read(cls, content: Mapping[str, Any]) -> "Tokens":
        """Raises KeyError or TypeError for what is no login."""
        held = content["oauth"]
        return cls(str(held["access"]), str(held["refresh"]), float(held["expires_at"]), float(held["lifetime"]))

    def __repr__(self) -> str:
        return "Tokens(***)"


@dataclass(frozen=True, slots=True)
class Resource:
    """A site that a login opens."""

    cloud_id: str
    url: str
    name: str


@dataclass(frozen=True, slots=True)
class Identity:
    account_id: str
    name: str | None
    email: str | None


class Authorization:
    """Atlassian's authorization server, as one app sees it. Raises LoginExpired for what is refused for good, SiteUnavailable
    for what may pass. No error's text holds a token."""

    def __init__(self, auth_url: str, api_url: str, client_id: str, client_secret: str, timeout: float = 10.0) -> None:
        self._auth, self.api_url = auth_url.rstrip("/"), api_url.rstrip("/")
        self._client_id, self._secret, self._timeout = client_id, client_secret, timeout

    def address(self, state: str, redirect: str) -> str:
        """Where the browser goes to log in, pick a site and agree."""
        asked = {
            "audience": "api.atlassian.com",
            "client_id": self._client_id,
            "scope": " ".join(SCOPES),
            "redirect_uri": redirect,
            "state": state,
            "response_type": "code",
            "prompt": "consent",
        }
        return f"{self._auth}/authorize?{urlencode(asked)}"

    async def exchange(self, code: str, redirect: str) -> Tokens:
        """The tokens of a login that has just been agreed to."""
        return await self._tokens({"grant_type": "authorization_code", "code": code, "redirect_uri": redirect})

    async def refresh(self, token: str) -> Tokens:
        """The next tokens. From the moment this is sent the token given is used up, whether the answer arrives or not."""
        return await self._tokens({"grant_type": "refresh_token", "refresh_token": token})

    async def sites(self, tokens: Tokens) -> list[Resource]:
        """The sites of the account that the login was given access to."""
        answer = await self._read("/oauth/token/accessible-resources", tokens)
        found: dict[str, Resource] = {}
        for each in answer if isinstance(answer, list) else ():  # one entry for each product
            if isinstance(each, dict) and each.get("id") and each.get("url"):
                found.setdefault(str(each["id"]), Resource(str(each["id"]), str(each["url"]), str(each.get("name"))))
        return list(found.values())

    async def identity(self, tokens: Tokens) -> Identity:
        """Who logged in."""
        answer = await self._read("/me", tokens)
        if not isinstance(answer, dict) or not answer.get("account_id"):
            raise SiteUnavailable("who am I: the answer names nobody")
        return Identity(str(answer["account_id"]), answer.get("name"), answer.get("email"))

    async def _tokens(self, asked: dict[str, str]) -> Tokens:
        body = {"client_id": self._client_id, "client_secret": self._secret, **asked}
        answer = await self._send("POST", f"{self._auth}/oauth/token", json=body)
        told = _document(answer)
        if 400 <= answer.status_code < 500 and answer.status_code != 429:
            code = str(told.get("error"))
            said = code if code in _FOR_GOOD else "refused"
            raise LoginExpired(f"The login to Atlassian is over ({said}). Log in again.")
        if answer.status_code != 200 or not told.get("access_token") or not told.get("refresh_token"):
            raise SiteUnavailable(f"log in: the authorization server answered {answer.status_code}", answer.status_code)
        lifetime = float(told.get("expires_in") or 3600)
        return Tokens(str(told["access_token"]), str(told["refresh_token"]), time.time() + lifetime, lifetime)

    async def _read(self, path: str, tokens: Tokens) -> Any:
        answer = await self._send(
            "GET",
            self.api_url + path,
            headers={"Authorization": f"Bearer {tokens.access}", "Accept": "application/json"},
        )
        if answer.status_code != 200:
            raise SiteUnavailable(f"{path}: answered {answer.status_code}", answer.status_code)
        try:
            return answer.json()
        except ValueError:
            raise SiteUnavailable(f"{path}: the answer is not JSON") from None

    async def _send(self, method: str, url: str, **more: Any) -> httpx.Response:
        try:
            # A client for each of these rare requests: none may come to a connection that a proxy has closed meanwhile.
            # Proxies of the environment, but never for a stand-in on this machine.
            near = urlsplit(url).hostname in ("127.0.0.1", "localhost", "::1")
            async with httpx.AsyncClient(timeout=self._timeout, follow_redirects=False, trust_env=not near) as http:
                return await http.request(method, url, **more)
        except (httpx.HTTPError, OSError) as error:
            raise SiteUnavailable(f"log in: no answer from the authorization server ({type(error).__name__})") from None


def _document(answer: httpx.Response) -> dict[str, Any]:
    try:
        told = answer.json()
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}
