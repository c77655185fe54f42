"""v2: admin keys, the roles and permissions there are, and what the caller may do with an object."""

import time
from datetime import UTC, datetime

from sandbox.cloud import rules
from sandbox.cloud.call import V2, Call, Handler, Route
from sandbox.cloud.rules import v2_id, v2_missing, v2_refuse
from sandbox.cloud.spaces import ROLES, role_doc
from sandbox.cloud.state import SPACE_OPERATIONS, Account, Content, Operation
from sandbox.wire import Answer, Document, answer

_LONGEST = 60  # minutes


def _keeper(call: Call) -> Account:
    """A site administrator on a plan that has admin keys. Raises 404 for others, as the document says."""
    account = call.user()
    if not call.site.is_admin(account) or call.site.plan not in ("premium", "enterprise"):
        raise v2_missing("admin key")
    return account


def _key_doc(account: Account, expires: float) -> Document:
    moment = datetime.fromtimestamp(expires, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
    return {"accountId": account.id, "expirationTime": moment}


def _read_key(call: Call) -> Answer:
    account = _keeper(call)
    expires = call.site.admin_keys.get(account.id, 0.0)
    if expires <= time.time():
        raise v2_missing("admin key")
    return answer(_key_doc(account, expires))


def _take_key(call: Call) -> Answer:
    """Ten minutes unless asked otherwise. Only requests with ``Atl-Confluence-With-Admin-Key: true`` use it."""
    account = _keeper(call)
    document = rules.v2_json(call.request, rules.ADMIN_KEY) if call.request.body else {}
    minutes = document.get("durationInMinutes") or 10
    if not 1 <= minutes <= _LONGEST:
        raise v2_refuse(400, f"'durationInMinutes' must be from 0 to {_LONGEST}")
    expires = call.site.admin_keys[account.id] = time.time() + 60 * minutes
    call.request.did("created", "admin-key", account.id, f"admin key of {account.email}")
    return answer(_key_doc(account, expires))


def _drop_key(call: Call) -> Answer:
    account = _keeper(call)
    call.site.admin_keys.pop(account.id, None)
    call.request.did("deleted", "admin-key", account.id, f"admin key of {account.email}")
    return Answer(204)


def _space_permissions(call: Call) -> Answer:
    rules.v2_query(call.request, {"cursor": None, "limit": None})
    call.user()

    def render(operation: Operation) -> Document:
        key, target = operation
        return {
            "id": f"{key}/{target}",
            "displayName": f"{key} {target}",
            "description": f"{key} {target}",
            "requiredPermissionIds": [] if operation == ("read", "space") else ["read/space"],
        }

    return call.v2_list(SPACE_OPERATIONS, render)


def _role(call: Call) -> Answer:
    call.user()
    for role in ROLES:
        if role.id == call.params[0]:
            return answer(role_doc(role) | {"_links": {"base": f"{call.request.origin}/wiki"}})
    raise v2_missing("space role")


def _of_content(kind: str) -> Handler:
    def operations(call: Call) -> Answer:
        site, account = call.site, call.account
        if kind == "space":
            space = call.v2_space(v2_id(call.params[0], "space"))
            found = [pair for pair in SPACE_OPERATIONS if site.allows(account, space, pair)]
        else:
            content: Content = call.v2_content(v2_id(call.params[0]), "page" if kind == "page" else "blogpost")
            space = site.spaces[content.space]
            found = [("read", kind)]
            found += [("update", kind)] if site.edits(account, content) else []
            found += [("delete", kind)] if site.allows(account, space, ("delete", kind)) else []
            found += [(verb, "comment") for verb in ("create",) if site.allows(account, space, (verb, "comment"))]
        return answer({"operations": [{"operation": verb, "targetType": target} for verb, target in found]})

    return operations


ROUTES: list[Route] = [
    ("GET", f"{V2}/admin-key", _read_key),
    ("POST", f"{V2}/admin-key", _take_key),
    ("DELETE", f"{V2}/admin-key", _drop_key),
    ("GET", f"{V2}/space-permissions", _space_permissions),
    ("GET", f"{V2}/space-roles/{{id}}", _role),
    ("GET", f"{V2}/spaces/{{id}}/operations", _of_content("space")),
    ("GET", f"{V2}/pages/{{id}}/operations", _of_content("page")),
    ("GET", f"{V2}/blogposts/{{id}}/operations", _of_content("blogpost")),
]
