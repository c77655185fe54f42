"""Jira Cloud on the same site: finding and creating accounts, groups, which groups give Jira and how many seats are left.

Source: Jira platform v3, users and groups, application roles, permissions of the caller.
"""

import re

from sandbox.cloud.call import Call, Route
from sandbox.cloud.people import new_account, remove_group
from sandbox.cloud.rules import plain_json, strings
from sandbox.cloud.state import Account, Group, now
from sandbox.wire import Answer, Document, Refusal, answer

_PRODUCTS = ("jira-core", "jira-servicedesk", "jira-product-discovery", "jira-software")
_ADDRESS = re.compile(r"[^@\s]+@[^@\s.]+(\.[^@\s.]+)+")
_PERMISSIONS = {"ADMINISTER": "Administer Jira", "USER_PICKER": "Browse users and groups"}
_J = "/rest/api/3"


def jira_error(status: int, message: str, field: str | None = None) -> Answer:
    if field is not None:
        return answer({"errorMessages": [], "errors": {field: message}}, status)
    return answer({"errorMessages": [message], "errors": {}}, status)


def _refuse(status: int, message: str, field: str | None = None) -> Refusal:
    return Refusal(jira_error(status, message, field))


def _browser(call: Call) -> Account:
    """An account with access to Jira. Raises 404 on a site without Jira, 401 for anonymous and 403 for others."""
    if not call.site.jira:
        raise Refusal(Answer(404, b"<html><body>Page unavailable</body></html>", "text/html;charset=UTF-8"))
    if call.account is None:
        raise _refuse(401, "You are not authenticated. Authentication required to perform this operation.")
    if not call.site.has_product(call.account, "jira"):
        raise _refuse(403, "You do not have permission to access Jira.")
    return call.account


def _admin(call: Call) -> Account:
    account = _browser(call)
    if not call.site.is_admin(account):
        raise _refuse(403, "You do not have permission to administer Jira.")
    return account


def _json(call: Call) -> Document:
    document = plain_json(call.request)
    if not isinstance(document, dict):
        raise _refuse(400, "Invalid request payload. Refer to the REST API documentation and try again.")
    return document


def _user_doc(call: Call, account: Account) -> Document:
    document: Document = {
        "self": f"{call.request.origin}{_J}/user?accountId={account.id}",
        "accountId": account.id,
        "accountType": "atlassian",
        "avatarUrls": {},
        "displayName": account.name,
        "active": account.active,
        "timeZone": "UTC",
        "locale": "en_US",
    }
    if account.email_visible:
        document["emailAddress"] = account.email
    return document


def _page(call: Call, default: int) -> tuple[int, int]:
    start, limit = call.request.get("startAt") or "0", call.request.get("maxResults") or str(default)
    if not start.isdecimal() or not limit.isdecimal():
        raise _refuse(400, "startAt and maxResults must be numbers")
    return int(start), min(int(limit), 1000)


def _search(call: Call) -> Answer:
    """A prefix match on words of the name and on the address, also where the address is hidden in the answer."""
    _browser(call)
    query, id_ = call.request.get("query"), call.request.get("accountId")
    if query is None and id_ is None:
        raise _refuse(400, "One of the parameters 'query', 'accountId' or 'property' is required")
    text = (query or "").lower()
    found = [
        account
        for account in call.site.accounts.values()
        if (id_ is None or account.id == id_)
        and (
            account.email.lower().startswith(text)
            or any(word.startswith(text) for word in (account.name.lower(), *account.name.lower().split()))
        )
    ]
    start, limit = _page(call, 50)
    return answer([_user_doc(call, account) for account in found[start : start + limit]])


def _all_users(call: Call) -> Answer:
    _browser(call)
    start, limit = _page(call, 50)
    return answer([_user_doc(call, account) for account in list(call.site.accounts.values())[start : start + limit]])


def _myself(call: Call) -> Answer:
    return answer(_user_doc(call, _browser(call)))


def _one_user(call: Call) -> Answer:
    _browser(call)
    account = call.site.accounts.get(call.request.get("accountId") or "")
    if account is None:
        raise _refuse(404, "Specified user does not exist or you do not have required permissions")
    return answer(_user_doc(call, account))


def _create_user(call: Call) -> Answer:
    _admin(call)
    document = _json(call)
    email, products = document.get("emailAddress"), document.get("products")
    if not isinstance(email, str) or not _ADDRESS.fullmatch(email):
        raise _refuse(400, "A valid email address is required.", "emailAddress")
    if not strings(products):
        raise _refuse(400, "products is required", "products")
    if any(product not in _PRODUCTS for product in products):
        raise _refuse(400, f"Valid products are {', '.join(_PRODUCTS)}", "products")
    site = call.site
    account = site.by_email.get(email.lower())
    if account is not None:
        if not site.has_product(account, "jira"):
            raise _refuse(400, "A user with that email address already exists.", "emailAddress")
        return answer(_user_doc(call, account), 201)
    if products and "jira" in site.seats and site.seats_used("jira") >= site.seats["jira"]:
        raise _refuse(400, "Your license does not allow more users.")
    account = new_account(site, email)
    if products:
        site.join(account, site.product_group("jira"))
    if products:
        site.mail(email, "invitation", f"You are invited to {site.name}")
    elif email.lower() not in site.elsewhere:
        # Without a product nobody is invited, but whoever has no Atlassian account yet has to set one up.
        site.mail(email, "account", f"Set up your account for {site.name}")
    call.request.did("created", "account", account.id, f"account {email.lower()}")
    return answer(_user_doc(call, account), 201)


def _group_doc(call: Call, group: Group) -> Document:
    return {
        "name": group.name,
        "groupId": group.id,
        "self": f"{call.request.origin}{_J}/group?groupId={group.id}",
    }


def _create_group(call: Call) -> Answer:
    _admin(call)
    name = _json(call).get("name")
    if not isinstance(name, str) or not name.strip() or len(name) > 255:
        raise _refuse(400, "A group name is required", "name")
    if name.lower() in call.site.group_names:
        raise _refuse(400, "A group or user with this name already exists.", "name")
    group = call.site.add_group(name)
    call.request.did("created", "group", group.id, f"group {name.lower()}")
    return answer(_group_doc(call, group) | {"users": {"size": 0, "items": []}, "expand": "users"}, 201)


def _group(call: Call) -> Group:
    id_, name = call.request.get("groupId"), call.request.get("groupname")
    group = call.site.groups.get(id_ or "") or call.site.group_names.get((name or "").lower())
    if group is None:
        raise _refuse(404, "The group was not found.")
    return group


def _join(call: Call) -> Answer:
    _admin(call)
    group = _group(call)
    if group.synced:
        raise _refuse(400, "The group is managed by an identity provider.")
    account = call.site.accounts.get(str(_json(call).get("accountId")))
    if account is None:
        raise _refuse(404, "The user was not found.")
    if account.id in group.members:
        raise _refuse(400, "User is already a member of the group.")
    if not call.site.seat_left(account, group.products):
        raise _refuse(400, "Your license does not allow more users.")
    call.site.join(account, group)
    call.request.did("created", "membership", account.id, f"member {account.email} of {group.name.lower()}")
    return answer(_group_doc(call, group), 201)


def _leave(call: Call) -> Answer:
    _admin(call)
    group = _group(call)
    account = call.site.accounts.get(call.request.get("accountId") or "")
    if account is None or account.id not in group.members:
        raise _refuse(404, "The user is not in the group.")
    call.site.leave(account, group)
    call.request.did("deleted", "membership", account.id, f"member {account.email} of {group.name.lower()}")
    return Answer(200)


def _paged(call: Call, values: list[Document], default: int = 50) -> Answer:
    start, limit = _page(call, default)
    page = values[start : start + limit]
    return answer(
        {
            "self": f"{call.request.origin}{call.request.path}",
            "maxResults": limit,
            "startAt": start,
            "total": len(values),
            "isLast": start + limit >= len(values),
            "values": page,
        }
    )


def _groups(call: Call) -> Answer:
    _browser(call)
    ids, names = call.request.all("groupId"), [name.lower() for name in call.request.all("groupName")]
    found = [
        {"name": group.name, "groupId": group.id}
        for group in sorted(call.site.groups.values(), key=lambda group: group.name.lower())
        if (not ids and not names) or group.id in ids or group.name.lower() in names
    ]
    return _paged(call, found)


def _members(call: Call) -> Answer:
    _browser(call)
    inactive = call.request.get("includeInactiveUsers") == "true"
    members = [call.site.accounts[id_] for id_ in _group(call).members]
    return _paged(call, [_user_doc(call, account) for account in members if account.active or inactive])


def _delete_group(call: Call) -> Answer:
    _admin(call)
    group = _group(call)
    if group.synced:
        raise _refuse(400, "The group is managed by an identity provider.")
    remove_group(call.site, group)
    call.request.did("deleted", "group", group.id, f"group {group.name.lower()}")
    return Answer(200)


def _users_bulk(call: Call) -> Answer:
    _browser(call)
    ids = call.request.all("accountId")
    if not ids:
        raise _refuse(400, "The query parameter 'accountId' is required")
    found = [call.site.accounts[id_] for id_ in ids if id_ in call.site.accounts]
    return _paged(call, [_user_doc(call, account) for account in found], 10)


def _groups_of(call: Call) -> Answer:
    _browser(call)
    account = call.site.accounts.get(call.request.get("accountId") or "")
    if account is None:
        raise _refuse(404, "The user was not found.")
    return answer([_group_doc(call, call.site.groups[id_]) for id_ in account.groups])


def _server_info(call: Call) -> Answer:
    _browser(call)
    return answer(
        {
            "baseUrl": call.request.origin,
            "version": "1001.0.0-SNAPSHOT",
            "versionNumbers": [1001, 0, 0],
            "deploymentType": "Cloud",
            "buildNumber": 100_000,
            "buildDate": "2025-09-01T00:00:00.000+0000",
            "serverTime": now().replace("Z", "+0000"),
            "scmInfo": "0" * 40,
            "serverTitle": "Jira",
        }
    )


def _my_permissions(call: Call) -> Answer:
    """Global permissions of the caller; those that this stand-in knows. Source: Jira platform v3, permissions."""
    account = _browser(call)
    names = call.request.all("permissions")
    if not names:
        raise _refuse(400, "The 'permissions' query parameter is required.")
    unknown = [name for name in names if name not in _PERMISSIONS]
    if unknown:
        raise _refuse(400, f"Unrecognized permission keys: {', '.join(unknown)}")
    return answer(
        {
            "permissions": {
                name: {
                    "id": str(list(_PERMISSIONS).index(name)),
                    "key": name,
                    "name": _PERMISSIONS[name],
                    "type": "GLOBAL",
                    "description": _PERMISSIONS[name],
                    "havePermission": name != "ADMINISTER" or call.site.is_admin(account),
                }
                for name in names
            }
        }
    )


def _roles(call: Call) -> Answer:
    """Who may use Jira, and how many seats are left. Source: Jira platform v3, application roles."""
    _admin(call)
    site = call.site
    used, limit = site.seats_used("jira"), site.seats.get("jira")
    groups = sorted((group for group in site.groups.values() if "jira" in group.products), key=lambda group: group.name)
    default = [site.product_group("jira")]
    return answer(
        [
            {
                "key": "jira-software",
                "name": "Jira Software",
                "groups": [group.name for group in groups],
                "groupDetails": [_group_doc(call, group) for group in groups],
                "defaultGroups": [group.name for group in default],
                "defaultGroupsDetails": [_group_doc(call, group) for group in default],
                "selectedByDefault": True,
                "defined": True,
                "numberOfSeats": -1 if limit is None else limit,
                "remainingSeats": -1 if limit is None else max(0, limit - used),
                "userCount": used,
                "userCountDescription": "users",
                "hasUnlimitedSeats": limit is None,
                "platform": False,
            }
        ]
    )


def _picker(call: Call) -> Answer:
    _browser(call)
    query = (call.request.get("query") or "").lower()
    found = [
        {"name": group.name, "groupId": group.id, "html": group.name, "labels": []}
        for group in sorted(call.site.groups.values(), key=lambda group: group.name.lower())
        if query in group.name.lower()
    ]
    return answer(
        {"header": f"Showing {len(found)} of {len(found)} matching groups", "total": len(found), "groups": found}
    )


ROUTES: list[Route] = [
    ("GET", f"{_J}/user/search", _search),
    ("GET", f"{_J}/users/search", _all_users),
    ("GET", f"{_J}/users", _all_users),
    ("GET", f"{_J}/user", _one_user),
    ("POST", f"{_J}/user", _create_user),
    ("GET", f"{_J}/myself", _myself),
    ("POST", f"{_J}/group", _create_group),
    ("DELETE", f"{_J}/group", _delete_group),
    ("GET", f"{_J}/user/bulk", _users_bulk),
    ("GET", f"{_J}/user/groups", _groups_of),
    ("GET", f"{_J}/serverInfo", _server_info),
    ("GET", f"{_J}/mypermissions", _my_permissions),
    ("GET", f"{_J}/applicationrole", _roles),
    ("GET", f"{_J}/group/bulk", _groups),
    ("GET", f"{_J}/group/member", _members),
    ("POST", f"{_J}/group/user", _join),
    ("DELETE", f"{_J}/group/user", _leave),
    ("GET", f"{_J}/groups/picker", _picker),
]
