"""Jira Cloud on the same site: finding and creating accounts, groups. And the administration of the organization.

Sources: Jira platform v3, users and groups; the organization API has no public document, its shapes follow published
clients and are marked so in the project's reference.
"""

import re

from sandbox.cloud.call import Call, Handler, Route
from sandbox.cloud.people import invite
from sandbox.cloud.state import Account, Group, Mail
from sandbox.wire import Answer, Document, Refusal, answer

_PRODUCTS = ("jira-core", "jira-servicedesk", "jira-product-discovery", "jira-software")
_ADDRESS = re.compile(r"[^@\s]+@[^@\s.]+(\.[^@\s.]+)+")
_J = "/rest/api/3"
_O = "/admin/v2/orgs/{orgId}"


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
    import json

    try:
        document = json.loads(call.request.body)
    except ValueError as error:
        raise _refuse(400, "There was an error parsing JSON. Check that your request body is valid.") from error
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
    if not isinstance(products, list):
        raise _refuse(400, "products is required", "products")
    if any(product not in _PRODUCTS for product in products):
        raise _refuse(400, f"Valid products are {', '.join(_PRODUCTS)}", "products")
    site = call.site
    account = site.by_email.get(email.lower())
    if account is not None:
        if not site.has_product(account, "jira"):
            raise _refuse(400, "A user with that email address already exists.", "emailAddress")
        return answer(_user_doc(call, account), 201)
    if products and site.seats is not None and site.seats_used("jira") >= site.seats:
        raise _refuse(400, "Your license does not allow more users.")
    account = site.add_account(email, email.partition("@")[0], invited=True)
    if products:
        site.join(account, site.product_group("jira"))
    site.mails.append(Mail(email, "account", f"Set up your account for {site.name}"))
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
    if "confluence" in group.products and not call.site.seat_left(account):
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


def _paged(call: Call, values: list[Document]) -> Answer:
    start, limit = _page(call, 50)
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


# the organization


def _org(handler: Handler) -> Handler:
    def guarded(call: Call) -> Answer:
        if call.request.headers.get("authorization") != f"Bearer {call.site.org_key}":
            return _org_error(401, "ADMIN-401-1", "Unauthorized")
        if call.params[0] != call.site.org_id or (len(call.params) > 1 and call.params[1] != call.site.directory_id):
            return _org_error(404, "ADMIN-404-1", "Not found")
        return handler(call)

    return guarded


def _org_error(status: int, code: str, title: str) -> Answer:
    return answer({"errors": [{"id": code, "status": str(status), "code": code, "title": title}]}, status)


def _directory_doc(account: Account) -> Document:
    return {
        "accountId": account.id,
        "accountType": "atlassian",
        "accountStatus": "active" if account.active else "inactive",
        "status": "active" if account.active else "suspended",
        "membershipStatus": "active" if account.active else "suspended",
        "name": account.name,
        "email": account.email,
        "claimStatus": "unmanaged",
        "groups": sorted(account.groups),
    }


def _org_list(call: Call, accounts: list[Account], limit_text: str | None, cursor: str | None) -> Answer:
    limit = int(limit_text) if limit_text and limit_text.isdecimal() and 1 <= int(limit_text) <= 100 else 100
    start = int(cursor) if cursor and cursor.isdecimal() else 0
    links: Document = {"self": cursor or ""}
    if start + limit < len(accounts):
        links["next"] = str(start + limit)
    return answer({"data": [_directory_doc(account) for account in accounts[start : start + limit]], "links": links})


def _directory_users(call: Call) -> Answer:
    emails = {email.lower() for email in call.request.all("emails")}
    ids = set(call.request.all("accountIds"))
    found = [
        account
        for account in call.site.accounts.values()
        if (not emails or account.email.lower() in emails) and (not ids or account.id in ids)
    ]
    return _org_list(call, found, call.request.get("limit"), call.request.get("cursor"))


def _directory_search(call: Call) -> Answer:
    document = _json(call)
    emails = document.get("emails")
    if emails is not None and not (isinstance(emails, list) and all(isinstance(email, str) for email in emails)):
        return _org_error(400, "ADMIN-400-1", "emails must be a list of strings")
    wanted = {email.lower() for email in emails or []}
    found = [account for account in call.site.accounts.values() if not wanted or account.email.lower() in wanted]
    return _org_list(call, found, str(document.get("limit") or ""), str(document.get("cursor") or ""))


def _directories(call: Call) -> Answer:
    return answer({"data": [{"directoryId": call.site.directory_id, "name": "Default"}], "links": {}})


def _org_invite(call: Call) -> Answer:
    document = _json(call)
    emails = document.get("emails")
    if not isinstance(emails, list) or not emails or not all(isinstance(email, str) for email in emails):
        return _org_error(400, "ADMIN-400-1", "emails is required")
    resources = [
        str(rule.get("resource", "")) for rule in document.get("permissionRules") or [] if isinstance(rule, dict)
    ]
    products = [product for product in ("confluence", "jira") if any(f":{product}" in name for name in resources)]
    groups = [call.site.groups.get(str(id_)) for id_ in document.get("additionalGroups") or []]
    if None in groups:
        return _org_error(404, "ADMIN-404-2", "Group not found")
    mail = document.get("sendNotification", True) is not False
    invited: list[Document] = []
    failed: list[Document] = []
    for email in emails:
        if not _ADDRESS.fullmatch(email):
            failed.append({"email": email, "code": "INVALID_EMAIL"})
            continue
        account = invite(call, email, products, mail)
        if account is None:
            failed.append({"email": email, "code": "USER_LIMIT"})
            continue
        for group in groups:
            if group is not None:
                call.site.join(account, group)
        invited.append({"email": email, "accountId": account.id})
    if not invited:
        status = 409 if all(item["code"] == "USER_LIMIT" for item in failed) else 400
        return _org_error(status, f"ADMIN-{status}-3", failed[0]["code"])
    return answer({"data": invited, "errors": failed}, 206 if failed else 200)


ROUTES: list[Route] = [
    ("GET", f"{_J}/user/search", _search),
    ("GET", f"{_J}/users/search", _all_users),
    ("GET", f"{_J}/users", _all_users),
    ("GET", f"{_J}/user", _one_user),
    ("POST", f"{_J}/user", _create_user),
    ("GET", f"{_J}/myself", _myself),
    ("POST", f"{_J}/group", _create_group),
    ("GET", f"{_J}/group/bulk", _groups),
    ("GET", f"{_J}/group/member", _members),
    ("POST", f"{_J}/group/user", _join),
    ("DELETE", f"{_J}/group/user", _leave),
    ("GET", f"{_J}/groups/picker", _picker),
    ("GET", f"{_O}/directories", _org(_directories)),
    ("GET", f"{_O}/directories/{{directoryId}}/users", _org(_directory_users)),
    ("POST", f"{_O}/directories/{{directoryId}}/users/search", _org(_directory_search)),
    ("POST", f"{_O}/users/invite", _org(_org_invite)),
]
