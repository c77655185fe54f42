"""The authorization server and the gateway in front of all sites of this process.

``/authorize`` and ``/oauth/token`` are those of auth.atlassian.com, the rest is api.atlassian.com: accessible resources,
``/me``, and ``/ex/{confluence|jira}/{cloudId}/…`` with an access token. Refresh tokens are used once; one used twice
ends the whole grant, as rotation with reuse detection does. Sources: developer.atlassian.com, OAuth 2.0 (3LO) apps and
refresh tokens; the project's reference, section 2.
"""

import html
import json
import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from sandbox.cloud.state import Account, Site
from sandbox.faults import Rule
from sandbox.wire import Answer, Document, Request, answer

CLIENT_ID, CLIENT_SECRET = "sandbox-client", "sandbox-client-secret"
OPTIONS: dict[str, type | tuple[type, ...]] = {
    "client_id": str,
    "client_secret": str,
    "access_lifetime": (int, float),
    "refresh_lifetime": (int, float),
    "reuse_interval": (int, float),
}
_CODE_LIFETIME = 300.0


@dataclass(slots=True)
class Grant:
    """What one person allowed the app on one consent. ``ended``: revoked, by reuse of a token or by an administrator."""

    email: str
    scopes: frozenset[str]
    sites: tuple[str, ...]
    redirect_uri: str
    ended: bool = False


@dataclass(slots=True)
class _Issued:
    grant: Grant
    expires: float
    used: float | None = None


@dataclass(slots=True)
class Settings:
    """Lifetimes in seconds. ``reuse_interval``: how long a used refresh token is still taken once more."""

    client_id: str = CLIENT_ID
    client_secret: str = CLIENT_SECRET
    access_lifetime: float = 3600.0
    refresh_lifetime: float = 90 * 86_400.0
    reuse_interval: float = 0.0

    def change(self, document: Document) -> None:
        """Raises ``ValueError`` for what is unknown or of the wrong type."""
        for name, value in document.items():
            if name not in OPTIONS or isinstance(value, bool) or not isinstance(value, OPTIONS[name]):
                raise ValueError(f"unknown or wrong option of oauth: {name}")
            setattr(self, name, value)


@dataclass
class Authorization:
    """All codes, tokens and grants. ``sites`` gives the sites that are served, with the address of each."""

    sites: Callable[[], Iterable[tuple[Site, str]]]
    settings: Settings = field(default_factory=Settings)
    clock: Callable[[], float] = time.time
    upload_limit: int = 0
    _codes: dict[str, _Issued] = field(default_factory=dict)
    _access: dict[str, _Issued] = field(default_factory=dict)
    _refresh: dict[str, _Issued] = field(default_factory=dict)

    # the application behind a front

    def resolve(self, request: Request) -> None:
        request.route = request.path
        request.account = "anonymous"
        grant = self.grant(request.headers.get("authorization"))
        if grant is not None:
            request.account = grant.email

    async def handle(self, request: Request) -> Answer:
        handler = {
            ("GET", "/authorize"): self._ask,
            ("POST", "/authorize"): self._decide,
            ("POST", "/oauth/token"): self._token,
            ("GET", "/oauth/token/accessible-resources"): self._resources,
            ("GET", "/me"): self._me,
        }.get((request.method, request.path))
        if handler is not None:
            return handler(request)
        if request.path.startswith("/ex/") and self.grant(request.headers.get("authorization")) is None:
            return answer({"code": 401, "message": "Unauthorized"}, 401)
        return answer({"code": 404, "message": "Not Found"}, 404)

    def too_large(self, request: Request, limit: int) -> Answer:
        del request, limit
        return Answer(413)

    def befall(self, rule: Rule, request: Request | None) -> None:
        del request
        if rule.what == "expire-tokens":
            self.expire(rule.account)

    # the consent

    def _accounts(self) -> dict[str, Account]:
        return {account.email: account for site, _ in self.sites() for account in site.accounts.values()}

    def _parameters(self, pairs: list[tuple[str, str]]) -> dict[str, str] | Answer:
        given = dict(pairs)
        problems = [
            name
            for name, good in (
                ("client_id", given.get("client_id") == self.settings.client_id),
                ("redirect_uri", urlsplit(given.get("redirect_uri", "")).scheme in ("http", "https")),
                ("response_type", given.get("response_type") == "code"),
                ("audience", given.get("audience") == "api.atlassian.com"),
                ("scope", bool(given.get("scope", "").split())),
            )
            if not good
        ]
        if problems:
            text = f"<html><body><h1>Something went wrong</h1><p>invalid {', '.join(problems)}</p></body></html>"
            return Answer(400, text.encode(), "text/html;charset=UTF-8")
        return given

    def _ask(self, request: Request) -> Answer:
        """The page on which a person logs in, picks a site and agrees."""
        given = self._parameters(request.query)
        if isinstance(given, Answer):
            return given
        hidden = "".join(
            f'<input type="hidden" name="{html.escape(name)}" value="{html.escape(value)}">'
            for name, value in given.items()
        )
        accounts = "".join(
            f'<option value="{html.escape(email)}">{html.escape(account.name)} ({html.escape(email)})</option>'
            for email, account in sorted(self._accounts().items())
            if account.active
        )
        sites = "".join(
            f'<option value="{site.cloud_id}">{html.escape(site.name)} ({html.escape(url)})</option>'
            for site, url in self.sites()
        )
        scopes = "".join(f"<li>{html.escape(scope)}</li>" for scope in given["scope"].split())
        page = (
            '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Allow access</title></head><body>'
            '<h1>An app asks for access to your Atlassian account</h1><form method="post" action="/authorize">'
            f'{hidden}<p><label>Account <select name="email">{accounts}</select></label></p>'
            f'<p><label>Site <select name="site">{sites}</select></label></p><ul>{scopes}</ul>'
            '<p><button name="decision" value="accept">Accept</button> '
            '<button name="decision" value="deny">Cancel</button></p></form></body></html>'
        )
        return Answer(200, page.encode(), "text/html;charset=UTF-8")

    def _decide(self, request: Request) -> Answer:
        """Back to the app with a code. Several ``site`` fields grant several sites."""
        try:
            pairs = parse_qsl(request.body.decode(), keep_blank_values=True)
        except ValueError:
            pairs = []
        given = self._parameters(pairs)
        if isinstance(given, Answer):
            return given
        state = {"state": given["state"]} if "state" in given else {}
        if given.get("decision") != "accept":
            text = "User did not authorize the request"
            return _redirect(given["redirect_uri"], {"error": "access_denied", "error_description": text, **state})
        account = self._accounts().get(given.get("email", ""))
        served = {site.cloud_id: site for site, _ in self.sites()}
        chosen = tuple(
            value
            for name, value in pairs
            if name == "site" and value in served and given.get("email", "").lower() in served[value].by_email
        )
        if account is None or not account.active or not chosen:
            text = "<html><body><h1>You do not have access to a site of this app</h1></body></html>"
            return Answer(403, text.encode(), "text/html;charset=UTF-8")
        code = secrets.token_urlsafe(24)
        grant = Grant(account.email, frozenset(given["scope"].split()), chosen, given["redirect_uri"])
        self._codes[code] = _Issued(grant, self.clock() + _CODE_LIFETIME)
        request.account = account.email
        return _redirect(given["redirect_uri"], {"code": code, **state})

    # tokens

    def _token(self, request: Request) -> Answer:
        kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
        try:
            text = request.body.decode()
            given: Any = dict(parse_qsl(text)) if kind == "application/x-www-form-urlencoded" else json.loads(text)
        except (ValueError, RecursionError):
            given = None
        if not isinstance(given, dict):
            return _oauth_error(400, "invalid_request", "The request body cannot be read")
        if (
            given.get("client_id") != self.settings.client_id
            or given.get("client_secret") != self.settings.client_secret
        ):
            return _oauth_error(401, "access_denied", "Unauthorized")
        if given.get("grant_type") == "authorization_code":
            return self._by_code(request, str(given.get("code")), given.get("redirect_uri"))
        if given.get("grant_type") == "refresh_token":
            return self._by_refresh(request, str(given.get("refresh_token")))
        return _oauth_error(400, "unsupported_grant_type", "Unsupported grant type")

    def _by_code(self, request: Request, code: str, redirect_uri: object) -> Answer:
        issued = self._codes.get(code)
        if issued is not None and issued.used is not None:
            issued.grant.ended = True
        if (
            issued is None
            or issued.used is not None
            or issued.expires < self.clock()
            or issued.grant.redirect_uri != redirect_uri
        ):
            return _oauth_error(403, "invalid_grant", "Invalid authorization code")
        issued.used = self.clock()
        return self._issue(request, issued.grant)

    def _by_refresh(self, request: Request, token: str) -> Answer:
        issued, now = self._refresh.get(token), self.clock()
        if issued is None or issued.grant.ended or issued.expires < now:
            return _oauth_error(403, "invalid_grant", "Unknown or invalid refresh token.")
        if issued.used is not None and now - issued.used >= self.settings.reuse_interval:
            # Someone has the token a second time: whoever it is, everything of this grant ends.
            issued.grant.ended = True
            request.did("revoked", "grant", "", f"grant of {issued.grant.email}")
            return _oauth_error(403, "invalid_grant", "Unknown or invalid refresh token.")
        issued.used = now if issued.used is None else issued.used
        return self._issue(request, issued.grant)

    def _issue(self, request: Request, grant: Grant) -> Answer:
        now, settings = self.clock(), self.settings
        access = secrets.token_urlsafe(32)
        self._access = {
            token: item for token, item in self._access.items() if item.expires > now and not item.grant.ended
        }
        self._access[access] = _Issued(grant, now + settings.access_lifetime)
        document = {
            "access_token": access,
            "expires_in": int(settings.access_lifetime),
            "token_type": "Bearer",
            "scope": " ".join(sorted(grant.scopes)),
        }
        if "offline_access" in grant.scopes:
            refresh = secrets.token_urlsafe(32)
            self._refresh[refresh] = _Issued(grant, now + settings.refresh_lifetime)
            document["refresh_token"] = refresh
        request.account = grant.email
        request.did("created", "token", "", f"tokens of {grant.email}")
        return answer(document, headers=[("Cache-Control", "no-store")])

    def grant(self, header: str | None) -> Grant | None:
        """The grant of an access token that is valid now."""
        kind, _, token = (header or "").partition(" ")
        issued = self._access.get(token) if kind.lower() == "bearer" else None
        return issued.grant if issued is not None and not issued.grant.ended and issued.expires > self.clock() else None

    def expire(self, email: str | None = None) -> None:
        """Every access token (of one person) is over; refresh tokens stay good."""
        for issued in self._access.values():
            if email in (None, issued.grant.email):
                issued.expires = 0.0

    def revoke(self, email: str | None = None) -> int:
        """End every grant (of one person). Answers how many ended."""
        grants = {
            id(item.grant): item.grant
            for item in (*self._codes.values(), *self._refresh.values(), *self._access.values())
        }
        ended = [grant for grant in grants.values() if not grant.ended and email in (None, grant.email)]
        for grant in ended:
            grant.ended = True
        return len(ended)

    # what a token opens

    def _resources(self, request: Request) -> Answer:
        grant = self.grant(request.headers.get("authorization"))
        if grant is None:
            return answer({"code": 401, "message": "Unauthorized"}, 401)
        found: list[Document] = []
        for site, url in self.sites():
            account = site.by_email.get(grant.email.lower())
            if site.cloud_id not in grant.sites or account is None:
                continue
            for product in ("confluence", "jira"):
                scopes = sorted(scope for scope in grant.scopes if product in scope)
                if scopes and site.has_product(account, product):
                    avatar = f"{url}/{product}-avatar.png"
                    found.append(
                        {"id": site.cloud_id, "url": url, "name": site.name, "scopes": scopes, "avatarUrl": avatar}
                    )
        return answer(found)

    def _me(self, request: Request) -> Answer:
        grant = self.grant(request.headers.get("authorization"))
        account = self._accounts().get(grant.email) if grant is not None else None
        if grant is None or account is None:
            return answer({"code": 401, "message": "Unauthorized"}, 401)
        if "read:me" not in grant.scopes:
            return answer({"code": 403, "message": "Forbidden"}, 403)
        return answer(
            {
                "account_type": "atlassian",
                "account_id": account.id,
                "email": account.email,
                "name": account.name,
                "nickname": account.name,
                "picture": "",
                "account_status": "active",
            }
        )


def _oauth_error(status: int, error: str, text: str) -> Answer:
    return answer({"error": error, "error_description": text}, status)


def _redirect(uri: str, fields: dict[str, str]) -> Answer:
    return Answer(302, headers=[("Location", f"{uri}{'&' if '?' in uri else '?'}{urlencode(fields)}")])
