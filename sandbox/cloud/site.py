"""One Cloud site: its starting state by options, who a request comes from, and the table of all operations."""

import base64
import binascii
import json
import time

from sandbox.cloud import (
    jira,
    organization,
    scim,
    v1_content,
    v1_people,
    v1_search,
    v1_spaces,
    v2_admin,
    v2_comments,
    v2_content,
    v2_lists,
    v2_spaces,
)
from sandbox.cloud.call import Call
from sandbox.cloud.oauth import Grant
from sandbox.cloud.rules import v1_error, v2_error
from sandbox.cloud.scopes import alternatives, gone, suffice
from sandbox.cloud.spaces import delete_space, new_space
from sandbox.cloud.state import Account, Site
from sandbox.cloud.v2_content import new_content
from sandbox.faults import Rule
from sandbox.wire import Answer, Document, Refusal, Request, Router, answer

MIGRATOR, MIGRATOR_TOKEN = "migrator@example.com", "sandbox-token"
READER, READER_TOKEN = "reader@example.com", "reader-token"

OPTIONS = frozenset(
    {
        "mode", "jira", "seats", "spaces", "users", "groups", "tokens", "directory_lag", "latency",
        "upload_limit", "journal", "faults", "rate_limit", "watched", "org", "directory", "org_key", "scim_key", "plan", "domains", "atlassian_accounts",
        "scoped_tokens", "v1_gone", "search_lag",
    }
)  # fmt: skip

_REMOVED = "This deprecated endpoint has been removed."

_ROUTER = Router()
for _method, _template, _handler in [
    *v2_content.ROUTES,
    *v2_comments.ROUTES,
    *v2_lists.ROUTES,
    *v2_spaces.ROUTES,
    *v1_spaces.ROUTES,
    *v1_content.ROUTES,
    *v1_people.ROUTES,
    *v1_search.ROUTES,
    *v2_admin.ROUTES,
    *jira.ROUTES,
    *organization.ROUTES,
    *scim.ROUTES,
]:
    _ROUTER.add(_method, _template, _handler)

#: Every operation that is served, as (method, template).
OPERATIONS = tuple(_ROUTER.operations)


class Cloud:
    """A site behind its front."""

    def __init__(self, name: str, options: Document) -> None:
        unknown = set(options) - OPTIONS
        if unknown:
            raise ValueError(f"unknown options of a cloud site: {', '.join(sorted(unknown))}")
        self.site = Site(name, options)
        self.upload_limit: int = options.get("upload_limit", 104_857_600)
        self._v1_gone: bool = options.get("v1_gone", False)
        self._headers: dict[str, Account] = {}
        self._expired: set[str] = set()
        _plant(self.site, options)
        tokens = {MIGRATOR: MIGRATOR_TOKEN, READER: READER_TOKEN} | dict(options.get("tokens", {}))
        self._logins = {email.lower(): token for email, token in tokens.items()}
        self._scoped = {
            _basic(email, item["token"]): Grant(email, frozenset(item["scopes"]), (self.site.cloud_id,), "")
            for email, item in dict(options.get("scoped_tokens", {})).items()
        }

    def caller(self, header: str | None) -> Account | None:
        """The account of Basic credentials. A wrong token makes the caller anonymous, as it does on the real site."""
        if header is None:
            return None
        account = self._headers.get(header) or self._login(header)
        if account is None:
            return None  # not remembered: whoever has no account yet may get one
        if len(self._headers) > 1_000:
            self._headers.clear()
        self._headers[header] = account
        expired = self._expired and account.email.lower() in self._expired
        return account if account.active and not expired else None

    def _login(self, header: str) -> Account | None:
        kind, _, value = header.partition(" ")
        if kind.lower() != "basic":
            return None
        try:
            email, _, token = base64.b64decode(value, validate=True).decode().partition(":")
        except (binascii.Error, ValueError):
            return None
        expected = self._logins.get(email.lower())
        return self.site.by_email.get(email.lower()) if expected is not None and token == expected else None

    def scoped(self, header: str | None) -> Grant | None:
        """What a scoped API token allows: such tokens are for the gateway only."""
        return self._scoped.get(header or "")

    def _account(self, request: Request) -> Account | None:
        if request.grant is None:
            return self.caller(request.headers.get("authorization"))
        account = self.site.by_email.get(request.grant.email.lower())
        return account if account is not None and account.active else None

    def resolve(self, request: Request) -> None:
        method = "GET" if request.method == "HEAD" else request.method
        handler, request.route, request.params, allowed = _ROUTER.find(method, request.path)
        account = self._account(request)
        request.account = account.email if account is not None else "anonymous"
        request.handler = handler
        request.allowed = allowed

    async def handle(self, request: Request) -> Answer:
        handler = request.handler
        if request.method == "GET" and request.body:
            # The edge in front of Cloud refuses it before Confluence sees it.
            return answer({"code": 403, "message": "Forbidden"}, 403)
        if handler is None:
            if request.allowed:
                headers = [("Allow", ", ".join(sorted(set(request.allowed))))]
                return answer({"statusCode": 405, "message": "Method Not Allowed"}, 405, headers)
            if request.path.startswith("/wiki/api/v2/"):
                return v2_error(404, "Not Found", "NOT_FOUND")
            return v1_error(404, f"null for uri: {request.path}")
        refused = self._at_the_gate(request)
        if refused is not None:
            return refused
        call = Call(self.site, request, self._account(request))
        if call.account is not None and request.headers.get("atl-confluence-with-admin-key") == "true":
            expires = self.site.admin_keys.get(call.account.id, 0.0)
            self.site.elevated = call.account.id if expires > time.time() else None
        try:
            reply: Answer = handler(call)
        except Refusal as refusal:
            return refusal.reply
        finally:
            self.site.elevated = None
        return reply

    def _at_the_gate(self, request: Request) -> Answer | None:
        """What the gateway refuses, or the site's own host where the token is one for the gateway."""
        if request.grant is None:
            if self.scoped(request.headers.get("authorization")) is not None:
                return answer({"code": 401, "message": "Unauthorized; scoped tokens are for api.atlassian.com"}, 401)
            return v1_error(410, _REMOVED) if self._v1_gone and gone(request.method, request.route) else None
        if gone(request.method, request.route):
            return v1_error(410, _REMOVED)
        if not alternatives(request.method, request.route):
            return v1_error(403, "Apps cannot access this REST resource")
        if not suffice(request.method, request.route, request.grant.scopes):
            return answer({"code": 401, "message": "Unauthorized; scope does not match"}, 401)
        return None

    def befall(self, rule: Rule, request: Request | None) -> None:
        """What comes over a site: a space deleted by somebody, no storage left, tokens that expire."""
        site = self.site
        if rule.what in ("storage-full", "storage-free"):
            site.storage_full = rule.what == "storage-full"
        elif rule.what == "expire-tokens":
            self._expired |= {rule.account} if rule.account is not None else set(self._logins)
        elif rule.what == "restore-tokens":
            self._expired.clear()
        elif rule.space is not None:
            space = site.space_keys.get(rule.space.lower())
            if space is not None:
                delete_space(site, space)
        if request is not None:
            request.account = account.email if (account := self._account(request)) is not None else "anonymous"

    def too_large(self, request: Request, limit: int) -> Answer:
        text = f"Request too large. Requests for this resource can be at most {limit} bytes"
        if request.path.startswith("/wiki/api/v2/"):
            return v2_error(413, f"RequestEntityTooLargeException: {text}", "REQUEST_TOO_LARGE")
        return answer({"statusCode": 413, "message": text}, 413)


def _basic(email: str, token: str) -> str:
    return f"Basic {base64.b64encode(f'{email}:{token}'.encode()).decode()}"


def _plant(site: Site, options: Document) -> None:
    """The site before anyone migrates to it: default groups and accounts, then what the options ask for."""
    admins = site.add_group("site-admins", products=frozenset(("confluence", "jira")), admin=True)
    users = site.add_group(f"confluence-users-{site.name}", products=frozenset(("confluence",)))
    jira_users = site.add_group(f"jira-users-{site.name}", products=frozenset(("jira",)))
    migrator = site.add_account(MIGRATOR, "Migrator")
    reader = site.add_account(READER, "Reader")
    for group in (admins, users, jira_users):
        site.join(migrator, group)
    site.join(reader, users)
    for user in options.get("users", []):
        account = site.by_email.get(user["email"].lower()) or site.add_account(
            user["email"],
            user.get("name") or user["email"].partition("@")[0],
            active=user.get("active", True),
            email_visible=user.get("email_visible", True),
            managed=user["email"].rpartition("@")[2].lower() in site.domains,
        )
        for product in user.get("access", ["confluence"]):
            site.join(account, site.product_group(product))
    for entry in options.get("groups", []):
        item = {"name": entry} if isinstance(entry, str) else entry
        group = site.group_names.get(item["name"].lower()) or site.add_group(
            item["name"], products=frozenset(item.get("access", [])), synced=item.get("synced", False)
        )
        for email in item.get("members", []):
            site.join(site.by_email[email.lower()], group)
    for entry in options.get("spaces", []):
        item = {"key": entry} if isinstance(entry, str) else entry
        owner = migrator if item.get("visible", True) else _hidden_owner(site)
        space = new_space(site, item["key"], item.get("name") or item["key"], "", owner, not item.get("visible", True))
        if item.get("trashed") or item.get("archived"):
            space.status = "trashed" if item.get("trashed") else "archived"
        for title in item.get("pages", []):
            new_content(site, space, "page", title, f"<p>{json.dumps(title)[1:-1]}</p>", owner, space.homepage)


def _hidden_owner(site: Site) -> Account:
    """Someone whose private space the migrator cannot see."""
    email = "owner@example.com"
    account = site.by_email.get(email)
    if account is None:
        account = site.add_account(email, "Owner")
        site.join(account, site.product_group("confluence"))
    return account
