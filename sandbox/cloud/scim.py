"""SCIM 2.0: an identity provider owns accounts of verified domains, and groups that nobody else may change.

Only on a site that has a verified domain (option ``domains``). Shapes after RFC 7643 and 7644 and the extension
``urn:scim:schemas:extension:atlassian-external:1.0``, which carries the account id.
"""

import hmac
import re
import uuid
from typing import Any

from sandbox.cloud.call import Call, Handler, Route
from sandbox.cloud.people import new_account, remove_group
from sandbox.cloud.rules import plain_json
from sandbox.cloud.state import NAMESPACE, Account, Group
from sandbox.wire import Answer, Document, answer

_BASE = "/scim/directory/{directoryId}"
_USER = "urn:ietf:params:scim:schemas:core:2.0:User"
_GROUP = "urn:ietf:params:scim:schemas:core:2.0:Group"
_EXTENSION = "urn:scim:schemas:extension:atlassian-external:1.0"
_FILTER = re.compile(r'\s*(\w+)\s+eq\s+"([^"]*)"\s*', re.IGNORECASE)
_MEMBER = re.compile(r'members\[value eq "([^"]+)"\]', re.IGNORECASE)


def _error(status: int, detail: str) -> Answer:
    schema = "urn:ietf:params:scim:api:messages:2.0:Error"
    reply = answer({"schemas": [schema], "status": str(status), "detail": detail}, status)
    reply.content_type = "application/scim+json"
    return reply


def _reply(document: Document, status: int = 200) -> Answer:
    reply = answer(document, status)
    reply.content_type = "application/scim+json"
    return reply


def _scim(handler: Handler) -> Handler:
    """Guards an operation: 401 without the directory's key, 404 where there is no such directory."""

    def guarded(call: Call) -> Answer:
        header = call.request.headers.get("authorization", "")
        if not hmac.compare_digest(header.encode(), f"Bearer {call.site.scim_key}".encode()):
            return _error(401, "Unauthorized")
        if call.params[0] != call.site.directory_id or not call.site.domains:
            return _error(404, "No directory with this id")
        return handler(call)

    return guarded


def _user_doc(call: Call, account: Account) -> Document:
    id_ = account.scim
    return {
        "schemas": [_EXTENSION, _USER],
        "id": id_,
        "userName": account.email,
        "emails": [{"value": account.email, "type": "work", "primary": True}],
        "name": {"formatted": account.name},
        "displayName": account.name,
        "active": account.active,
        "groups": [
            {"value": group.id, "display": group.name, "type": "Group"}
            for key in account.groups
            if (group := call.site.groups[key]).synced
        ],
        _EXTENSION: {"atlassianAccountId": account.id},
        "meta": {
            "resourceType": "User",
            "location": f"{call.request.origin}/scim/directory/{call.params[0]}/Users/{id_}",
        },
    }


def _group_doc(call: Call, group: Group) -> Document:
    members = [call.site.accounts[id_] for id_ in group.members]
    return {
        "schemas": [_GROUP],
        "id": group.id,
        "displayName": group.name,
        "members": [{"type": "User", "value": item.scim, "display": item.name} for item in members if item.scim],
        "meta": {"resourceType": "Group"},
    }


def _listed(call: Call, found: list[Document]) -> Answer:
    start, count = call.request.get("startIndex") or "1", call.request.get("count") or "100"
    if not start.isdecimal() or not count.isdecimal() or int(start) < 1:
        return _error(400, "startIndex and count must be numbers")
    page = found[int(start) - 1 : int(start) - 1 + min(int(count), 100)]
    schema = "urn:ietf:params:scim:api:messages:2.0:ListResponse"
    return _reply(
        {
            "schemas": [schema],
            "totalResults": len(found),
            "startIndex": int(start),
            "itemsPerPage": len(page),
            "Resources": page,
        }
    )


def _filtered(call: Call, *names: str) -> str | None:
    """The value that ``filter`` asks for, ``""`` where it cannot be read, None without one."""
    text = call.request.get("filter")
    if text is None:
        return None
    match = _FILTER.fullmatch(text)
    return match[2].lower() if match and match[1].lower() in names else ""


def _users(call: Call) -> Answer:
    wanted = _filtered(call, "username", "email")
    if wanted == "":
        return _error(400, "Only userName eq and email eq are supported in a filter")
    accounts = [item for item in call.site.accounts.values() if item.scim and wanted in (None, item.email.lower())]
    return _listed(call, [_user_doc(call, item) for item in accounts])


def _fields(call: Call) -> tuple[str, str, bool] | Answer:
    """Address, name and whether active, of a user in the body."""
    document = plain_json(call.request)
    if not isinstance(document, dict):
        return _error(400, "A user is required")
    emails = document.get("emails")
    primary = next((item for item in emails if isinstance(item, dict)), None) if isinstance(emails, list) else None
    email = (primary or {}).get("value") or document.get("userName")
    if not isinstance(email, str) or email.count("@") != 1 or not isinstance(document.get("userName"), str):
        return _error(400, "userName and an address are required")
    if email.rpartition("@")[2].lower() not in call.site.domains:
        return _error(400, "The domain of the address is not verified by the organization")
    name = document.get("displayName")
    return (
        email,
        name if isinstance(name, str) and name else email.partition("@")[0],
        document.get("active") is not False,
    )


def _create_user(call: Call) -> Answer:
    fields = _fields(call)
    if isinstance(fields, Answer):
        return fields
    email, name, active = fields
    site = call.site
    account = site.by_email.get(email.lower())
    if account is not None and account.scim:
        return _error(409, "A user with this userName exists already in the directory")
    created = account is None
    account = account or new_account(site, email)
    account.name, account.active, account.managed = name, active, True
    account.scim = str(uuid.uuid5(NAMESPACE, f"scim {site.name} {email.lower()}"))
    call.request.did("created" if created else "updated", "account", account.id, f"account {email.lower()}")
    return _reply(_user_doc(call, account), 201)


def _user(call: Call, id_: object) -> Account | None:
    return next((item for item in call.site.accounts.values() if item.scim and item.scim == id_), None)


def _read_user(call: Call) -> Answer:
    account = _user(call, call.params[1])
    return _reply(_user_doc(call, account)) if account is not None else _error(404, "No user with this id")


def _change_user(call: Call) -> Answer:
    account = _user(call, call.params[1])
    if account is None:
        return _error(404, "No user with this id")
    if call.request.method == "PUT":
        fields = _fields(call)
        if isinstance(fields, Answer):
            return fields
        _, account.name, account.active = fields
    elif call.request.method == "DELETE":
        # Leaving the directory suspends the account and frees its seats; the account itself stays.
        account.active, account.scim = False, None
    else:
        for operation in _operations(call):
            value = operation.get("value")
            if str(operation.get("path", "")).lower() == "active":
                value = {"active": value}
            if isinstance(value, dict) and "active" in value:
                account.active = str(value["active"]).lower() == "true"
            if isinstance(value, dict) and isinstance(value.get("displayName"), str):
                account.name = value["displayName"]
    call.request.did("updated", "account", account.id, f"account {account.email.lower()}")
    return Answer(204) if call.request.method == "DELETE" else _reply(_user_doc(call, account))


def _operations(call: Call) -> list[Document]:
    document = plain_json(call.request)
    found = document.get("Operations") if isinstance(document, dict) else None
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def _groups(call: Call) -> Answer:
    wanted = _filtered(call, "displayname")
    if wanted == "":
        return _error(400, "Only displayName eq is supported in a filter")
    groups = [item for item in call.site.groups.values() if item.synced and wanted in (None, item.name.lower())]
    return _listed(call, [_group_doc(call, item) for item in groups])


def _create_group(call: Call) -> Answer:
    document = plain_json(call.request)
    name = document.get("displayName") if isinstance(document, dict) else None
    if not isinstance(name, str) or not name.strip():
        return _error(400, "displayName is required")
    if name.lower() in call.site.group_names:
        return _error(409, "A group with this name exists already")
    group = call.site.add_group(name, synced=True)
    call.request.did("created", "group", group.id, f"group {name.lower()}")
    _set_members(call, group, document.get("members"), replace=True)
    return _reply(_group_doc(call, group), 201)


def _set_members(call: Call, group: Group, members: Any, replace: bool) -> None:
    if replace:
        for id_ in list(group.members):
            call.site.leave(call.site.accounts[id_], group)
    for item in members if isinstance(members, list) else []:
        account = _user(call, item.get("value")) if isinstance(item, dict) else None
        if account is not None:
            call.site.join(account, group)
            call.request.did("created", "membership", account.id, f"member {account.email} of {group.name.lower()}")


def _change_group(call: Call) -> Answer:
    group = call.site.groups.get(call.params[1])
    if group is None or not group.synced:
        return _error(404, "No group with this id")
    if call.request.method == "GET":
        return _reply(_group_doc(call, group))
    if call.request.method == "DELETE":
        remove_group(call.site, group)
        call.request.did("deleted", "group", group.id, f"group {group.name.lower()}")
        return Answer(204)
    if call.request.method == "PUT":
        document = plain_json(call.request)
        _set_members(call, group, document.get("members") if isinstance(document, dict) else None, replace=True)
        return _reply(_group_doc(call, group))
    for operation in _operations(call):
        verb, path = str(operation.get("op", "")).lower(), str(operation.get("path", ""))
        one = _MEMBER.fullmatch(path)
        if verb == "remove" and one:
            account = _user(call, one[1])
            if account is not None:
                call.site.leave(account, group)
        elif path.lower() == "members" and verb in ("add", "replace"):
            _set_members(call, group, operation.get("value"), replace=verb == "replace")
    call.request.did("updated", "group", group.id, f"group {group.name.lower()}")
    return _reply(_group_doc(call, group))


ROUTES: list[Route] = [
    ("GET", f"{_BASE}/Users", _scim(_users)),
    ("POST", f"{_BASE}/Users", _scim(_create_user)),
    ("GET", f"{_BASE}/Users/{{id}}", _scim(_read_user)),
    ("PUT", f"{_BASE}/Users/{{id}}", _scim(_change_user)),
    ("PATCH", f"{_BASE}/Users/{{id}}", _scim(_change_user)),
    ("DELETE", f"{_BASE}/Users/{{id}}", _scim(_change_user)),
    ("GET", f"{_BASE}/Groups", _scim(_groups)),
    ("POST", f"{_BASE}/Groups", _scim(_create_group)),
    ("GET", f"{_BASE}/Groups/{{id}}", _scim(_change_group)),
    ("PUT", f"{_BASE}/Groups/{{id}}", _scim(_change_group)),
    ("PATCH", f"{_BASE}/Groups/{{id}}", _scim(_change_group)),
    ("DELETE", f"{_BASE}/Groups/{{id}}", _scim(_change_group)),
]
