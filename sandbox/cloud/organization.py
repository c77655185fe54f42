"""The administration of the organization: who is in its directory, inviting, verified domains, seats of each product.

The organization API has no public OpenAPI document; the shapes follow its reference pages (developer.atlassian.com,
cloud/admin/organization: users, directories, domains, workspaces) and published clients.
"""

import hmac
import re

from sandbox.cloud.call import Call, Handler, Route
from sandbox.cloud.people import invite
from sandbox.cloud.rules import plain_json, strings
from sandbox.cloud.state import Account, Group
from sandbox.wire import Answer, Document, answer

ADDRESS = re.compile(r"[^@\s]+@[^@\s.]+(\.[^@\s.]+)+")
_V1 = "/admin/v1/orgs"
_V2 = "/admin/v2/orgs/{orgId}"
_TYPES = {"confluence": "confluence", "jira": "jira-software"}


def _error(status: int, number: int, title: str) -> Answer:
    code = f"ADMIN-{status}-{number}"
    return answer({"errors": [{"id": code, "status": str(status), "code": code, "title": title}]}, status)


def _org(handler: Handler) -> Handler:
    """Guards an operation: 401 without the organization's key, 404 for another organization or directory."""

    def guarded(call: Call) -> Answer:
        header = call.request.headers.get("authorization", "")
        if not hmac.compare_digest(header.encode(), f"Bearer {call.site.org_key}".encode()):
            return _error(401, 1, "Unauthorized")
        ids = (call.site.org_id, call.site.directory_id)
        if any(given != known for given, known in zip(call.params, ids, strict=False)):
            return _error(404, 1, "Not found")
        return handler(call)

    return guarded


def _directory_doc(account: Account) -> Document:
    state = "active" if account.active else "suspended"
    return {
        "accountId": account.id,
        "accountType": "atlassian",
        "accountStatus": "active" if account.active else "inactive",
        "status": state,
        "membershipStatus": state,
        "name": account.name,
        "email": account.email,
        "claimStatus": "managed" if account.managed else "unmanaged",
        "groups": sorted(account.groups),
    }


def _listed(call: Call, items: list[Document], limit_text: str | None, cursor: str | None) -> Answer:
    limit = int(limit_text) if limit_text and limit_text.isdecimal() and 1 <= int(limit_text) <= 100 else 100
    start = int(cursor) if cursor and cursor.isdecimal() and len(cursor) < 12 else 0
    links: Document = {"self": cursor or ""}
    if start + limit < len(items):
        links["next"] = str(start + limit)
    return answer({"data": items[start : start + limit], "links": links})


def _users(call: Call) -> Answer:
    emails = {email.lower() for email in call.request.all("emails")}
    ids = set(call.request.all("accountIds"))
    found = [
        _directory_doc(account)
        for account in call.site.accounts.values()
        if (not emails or account.email.lower() in emails) and (not ids or account.id in ids)
    ]
    return _listed(call, found, call.request.get("limit"), call.request.get("cursor"))


def _search(call: Call) -> Answer:
    document = plain_json(call.request)
    if not isinstance(document, dict):
        return _error(400, 1, "an object is required")
    emails = document.get("emails")
    if emails is not None and not strings(emails):
        return _error(400, 1, "emails must be a list of strings")
    wanted = {email.lower() for email in emails or []}
    found = [
        _directory_doc(account)
        for account in call.site.accounts.values()
        if not wanted or account.email.lower() in wanted
    ]
    return _listed(call, found, str(document.get("limit") or ""), str(document.get("cursor") or ""))


def _directories(call: Call) -> Answer:
    return answer({"data": [{"directoryId": call.site.directory_id, "name": "Default"}], "links": {}})


def _groups(call: Call) -> Answer:
    """The groups of the directory: one for all products, with who owns each."""
    found: list[Document] = [
        {
            "id": group.id,
            "name": group.name,
            "directoryId": call.site.directory_id,
            "managementAccess": "readOnly" if group.synced else "full",
            "counts": {"users": len(group.members)},
        }
        for group in sorted(call.site.groups.values(), key=lambda group: group.name.lower())
    ]
    return _listed(call, found, call.request.get("limit"), call.request.get("cursor"))


def _invite(call: Call) -> Answer:
    document = plain_json(call.request)
    emails = document.get("emails") if isinstance(document, dict) else None
    if not emails or not strings(emails):
        return _error(400, 1, "emails is required")
    rules, ids = document.get("permissionRules") or [], document.get("additionalGroups") or []
    if not isinstance(rules, list) or not strings(ids):
        return _error(400, 1, "permissionRules and additionalGroups must be lists")
    resources = [str(rule.get("resource", "")) for rule in rules if isinstance(rule, dict)]
    products = [product for product in _TYPES if any(f":{product}" in name for name in resources)]
    groups: list[Group] = []
    for id_ in ids:
        group = call.site.groups.get(id_)
        if group is None:
            return _error(404, 2, "Group not found")
        if group.synced:
            return _error(400, 4, "The group is managed by an identity provider")
        groups.append(group)
    text = document.get("notificationText")
    # The flag alone mails nobody: there has to be a text besides.
    mail = document.get("sendNotification") is True and isinstance(text, str) and bool(text.strip())
    invited: list[Document] = []
    failed: list[Document] = []
    for email in emails:
        account = invite(call, email, products, groups, mail) if ADDRESS.fullmatch(email) else None
        if account is not None:
            invited.append({"email": email, "accountId": account.id})
        else:
            failed.append({"email": email, "code": "USER_LIMIT" if ADDRESS.fullmatch(email) else "INVALID_EMAIL"})
    if not invited:
        status = 409 if all(item["code"] == "USER_LIMIT" for item in failed) else 400
        return _error(status, 3, str(failed[0]["code"]))
    return answer({"data": invited, "errors": failed}, 206 if failed else 200)


def _orgs(call: Call) -> Answer:
    base, id_ = f"{call.request.origin}{_V1}", call.site.org_id
    document: Document = {
        "id": id_,
        "type": "orgs",
        "attributes": {"name": f"Organization of {call.site.name}"},
        "links": {"self": f"{base}/{id_}"},
        "relationships": {
            "domains": {"links": {"related": f"{base}/{id_}/domains"}},
            "users": {"links": {"related": f"{base}/{id_}/users"}},
        },
    }
    if call.params:
        return answer({"data": document})
    return answer({"data": [document], "links": {"self": base}, "meta": None})


def _domains(call: Call) -> Answer:
    base = f"{call.request.origin}{_V1}/{call.site.org_id}/domains"
    found = [
        {
            "id": name,
            "type": "domains",
            "attributes": {"name": name, "claim": {"type": "dns", "status": "verified"}},
            "links": {"self": f"{base}/{name}"},
        }
        for name in sorted(call.site.domains)
    ]
    return answer({"data": found, "links": {"self": base}, "meta": {"total": len(found)}})


def _workspaces(call: Call) -> Answer:
    """The products of the site with the seats taken (``usage``) and their limit (``capacity``, null: none)."""
    document = plain_json(call.request) if call.request.body else {}
    if not isinstance(document, dict):
        return _error(400, 1, "an object is required")
    site = call.site
    found = [
        {
            "id": f"ari:cloud:{product}::site/{site.cloud_id}",
            "type": "workspace",
            "attributes": {
                "name": site.name,
                "typeKey": key,
                "type": product.capitalize(),
                "owner": None,
                "status": "online",
                "statusDetails": [],
                "usage": site.seats_used(product),
                "capacity": site.seats.get(product),
                "hostUrl": call.request.origin,
            },
            "links": {"self": f"{call.request.origin}{call.request.path}"},
            "relationships": {},
        }
        for product, key in _TYPES.items()
        if product != "jira" or site.jira
    ]
    total = len(found)
    meta = {"pageSize": total, "startIndex": 1, "endIndex": total, "total": total}
    return answer({"data": found, "links": {"self": None, "prev": None, "next": None}, "meta": meta})


ROUTES: list[Route] = [
    ("GET", _V1, _org(_orgs)),
    ("GET", f"{_V1}/{{orgId}}", _org(_orgs)),
    ("GET", f"{_V1}/{{orgId}}/domains", _org(_domains)),
    ("POST", f"{_V2}/workspaces", _org(_workspaces)),
    ("GET", f"{_V2}/directories", _org(_directories)),
    ("GET", f"{_V2}/directories/{{directoryId}}/users", _org(_users)),
    ("POST", f"{_V2}/directories/{{directoryId}}/users/search", _org(_search)),
    ("GET", f"{_V2}/directories/{{directoryId}}/groups", _org(_groups)),
    ("POST", f"{_V2}/users/invite", _org(_invite)),
]
