"""v1: who am I, accounts, groups and their members; what the site is."""

from sandbox.cloud.call import V1, Call, Route
from sandbox.cloud.people import anonymous_doc, person_doc, remove_group
from sandbox.cloud.rules import v1_json, v1_refuse
from sandbox.cloud.state import Account, Group
from sandbox.wire import Answer, Document, answer


def _current(call: Call) -> Answer:
    # A wrong token is no error here: it makes the caller anonymous.
    return answer(anonymous_doc(call) if call.account is None else person_doc(call, call.account))


def _anonymous(call: Call) -> Answer:
    return answer(anonymous_doc(call))


def _user(call: Call) -> Answer:
    call.v1_member()
    id_ = call.request.get("accountId")
    if not id_:
        raise v1_refuse(400, "accountId is required")
    account = call.site.accounts.get(id_)
    if account is None:
        raise v1_refuse(404, f"No user found with account id: {id_}")
    return answer(person_doc(call, account))


def _bulk(call: Call) -> Answer:
    call.v1_member()
    ids = call.request.all("accountId")
    if not ids:
        raise v1_refuse(400, "accountId is required")
    found = [call.site.accounts[id_] for id_ in ids if id_ in call.site.accounts]
    return call.v1_list(found, lambda account: person_doc(call, account), default=200)


def _member_of(call: Call) -> Answer:
    call.v1_member()
    account = call.site.accounts.get(call.request.get("accountId") or "")
    if account is None:
        raise v1_refuse(404, "No user found with this account id")
    return call.v1_list(
        [call.site.groups[id_] for id_ in account.groups], lambda group: group_doc(call, group), default=200
    )


def group_doc(call: Call, group: Group) -> Document:
    return {
        "type": "group",
        "name": group.name,
        "id": group.id,
        "managedBy": "EXTERNAL" if group.synced else "ADMINS",
        "usageType": "USERBASE_GROUP",
        "_links": {"self": f"{call.request.origin}/wiki/rest/api/group/by-id?id={group.id}"},
    }


def _groups(call: Call) -> Answer:
    call.v1_member()
    access = call.request.get("accessType")
    if access not in (None, "user", "admin", "site-admin"):
        raise v1_refuse(400, "accessType must be user, admin or site-admin")
    found = [
        group
        for group in call.site.groups.values()
        if access is None or (group.admin if access != "user" else "confluence" in group.products)
    ]
    found.sort(key=lambda group: group.name.lower())
    return call.v1_list(found, lambda group: group_doc(call, group), most=1000, default=200)


def _by_name(call: Call) -> Answer:
    call.v1_member()
    group = call.site.group_names.get((call.request.get("name") or "").lower())
    if group is None:
        raise v1_refuse(404, "No group found with this name")
    return answer(group_doc(call, group))


def _by_id(call: Call) -> Answer:
    call.v1_member()
    group = call.site.groups.get(call.request.get("id") or "")
    if group is None:
        raise v1_refuse(404, "No group found with this id")
    return answer(group_doc(call, group))


def _picker(call: Call) -> Answer:
    call.v1_member()
    query = call.request.get("query")
    if query is None:
        raise v1_refuse(400, "query is required")
    found = [group for group in call.site.groups.values() if query.lower() in group.name.lower()]
    found.sort(key=lambda group: group.name.lower())
    return call.v1_list(found, lambda group: group_doc(call, group), default=200)


def _create_group(call: Call) -> Answer:
    call.v1_admin()
    document = v1_json(call.request)
    name = document.get("name") if isinstance(document, dict) else None
    if not isinstance(name, str) or not name.strip() or len(name) > 255:
        raise v1_refuse(400, "A group name is required")
    if name.lower() in call.site.group_names:
        raise v1_refuse(400, f"Group '{name}' already exists")
    group = call.site.add_group(name)
    call.request.did("created", "group", group.id, f"group {name.lower()}")
    return answer(group_doc(call, group), 201)


def _delete_group(call: Call) -> Answer:
    call.v1_admin()
    group = _group(call, call.request.get("id"))
    remove_group(call.site, group)
    call.request.did("deleted", "group", group.id, f"group {group.name.lower()}")
    return Answer(204)


def _group(call: Call, id_: str | None) -> Group:
    group = call.site.groups.get(id_ or "")
    if group is None:
        raise v1_refuse(404, f"No group with id {id_}")
    if group.synced:
        raise v1_refuse(403, f"Group {group.name} is managed by an identity provider")
    return group


def _member(call: Call, id_: object) -> Account:
    account = call.site.accounts.get(str(id_))
    if account is None:
        raise v1_refuse(404, f"No user found with account id: {id_}")
    return account


def _join(call: Call) -> Answer:
    call.v1_admin()
    document = v1_json(call.request)
    if not isinstance(document, dict) or not isinstance(document.get("accountId"), str):
        raise v1_refuse(400, "accountId is required")
    group = _group(call, call.request.get("groupId"))
    account = _member(call, document["accountId"])
    if not call.site.seat_left(account, group.products):
        raise v1_refuse(400, "The user limit of the license is reached")
    if account.id not in group.members:
        call.site.join(account, group)
        call.request.did("created", "membership", account.id, f"member {account.email} of {group.name.lower()}")
    return Answer(201)


def _leave(call: Call) -> Answer:
    call.v1_admin()
    group = _group(call, call.request.get("groupId"))
    account = _member(call, call.request.get("accountId"))
    if account.id not in group.members:
        raise v1_refuse(404, "The user is not in the group")
    call.site.leave(account, group)
    call.request.did("deleted", "membership", account.id, f"member {account.email} of {group.name.lower()}")
    return Answer(204)


def _members(call: Call) -> Answer:
    """An unknown group is an empty page, and suspended accounts are left out: so it answers in fact."""
    call.v1_member()
    group = call.site.groups.get(call.params[0])
    members = [call.site.accounts[id_] for id_ in group.members] if group is not None else []
    found = [account for account in members if account.active]
    return call.v1_list(found, lambda account: person_doc(call, account), default=200)


def _system_info(call: Call) -> Answer:
    call.v1_user()
    return answer(
        {
            "cloudId": call.site.cloud_id,
            "commitHash": "0" * 40,
            "baseUrl": f"{call.request.origin}/wiki",
            "edition": "standard",
            "siteTitle": call.site.name,
            "defaultLocale": "en_US",
            "defaultTimeZone": "UTC",
            "microsPerimeter": "commercial",
        }
    )


def _tenant(call: Call) -> Answer:
    return answer({"cloudId": call.site.cloud_id})


ROUTES: list[Route] = [
    ("GET", f"{V1}/user/current", _current),
    ("GET", f"{V1}/user/anonymous", _anonymous),
    ("GET", f"{V1}/user", _user),
    ("GET", f"{V1}/user/bulk", _bulk),
    ("GET", f"{V1}/user/memberof", _member_of),
    ("GET", f"{V1}/group", _groups),
    ("POST", f"{V1}/group", _create_group),
    ("GET", f"{V1}/group/by-name", _by_name),
    ("GET", f"{V1}/group/by-id", _by_id),
    ("DELETE", f"{V1}/group/by-id", _delete_group),
    ("GET", f"{V1}/group/picker", _picker),
    ("POST", f"{V1}/group/userByGroupId", _join),
    ("DELETE", f"{V1}/group/userByGroupId", _leave),
    ("GET", f"{V1}/group/{{groupId}}/membersByGroupId", _members),
    ("GET", f"{V1}/settings/systemInfo", _system_info),
    ("GET", "/_edge/tenant_info", _tenant),
]
