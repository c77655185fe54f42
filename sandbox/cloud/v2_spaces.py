"""v2: spaces, their permissions and roles, labels, properties, accounts by id and by address."""

import re

from sandbox.cloud import rules
from sandbox.cloud.call import V2, Call, Handler, Route
from sandbox.cloud.people import invite
from sandbox.cloud.rules import v2_id, v2_missing, v2_refuse
from sandbox.cloud.spaces import ROLES, new_space, regrant, role_doc
from sandbox.cloud.state import Account, Assignment, Permission, Property, Space, Version, now
from sandbox.cloud.v2_comments import visible_attachment
from sandbox.cloud.v2_content import property_doc
from sandbox.wire import Answer, Document, answer

_SPACE_SORTS = ("id", "-id", "key", "-key", "name", "-name")
_ADDRESS = re.compile(r"[^@\s]+@[^@\s.]+(\.[^@\s.]+)+")


def space_doc(call: Call, space: Space, wanted: str | None = None) -> Document:
    description = {wanted: {"representation": wanted, "value": space.description}} if wanted else None
    return {
        "id": str(space.id),
        "key": space.key,
        "name": space.name,
        "type": space.type,
        "status": space.status,
        "authorId": space.creator,
        "createdAt": space.created,
        "homepageId": str(space.homepage) if space.homepage is not None else None,
        "description": description,
        "icon": None,
        "spaceOwnerId": space.creator,
        "currentActiveAlias": space.key,
        "_links": {"webui": f"/spaces/{space.key}", "base": f"{call.request.origin}/wiki"},
    }


def _spaces(call: Call) -> Answer:
    rules.v2_query(
        call.request,
        {
            "ids": None,
            "keys": None,
            "type": ("global", "collaboration", "knowledge_base", "personal"),
            "status": ("current", "archived"),
            "labels": None,
            "favorited-by": None,
            "not-favorited-by": None,
            "sort": _SPACE_SORTS,
            "description-format": ("plain", "view"),
            "include-icon": ("true", "false"),
            "cursor": None,
            "limit": None,
        },
    )
    ids, keys = set(rules.v2_ids(call.request, "ids")), set(call.request.all("keys"))
    labels = set(call.request.all("labels"))
    kind, status = call.request.get("type"), call.request.get("status")
    found = [
        space
        for space in call.site.spaces.values()
        if call.site.sees_space(call.account, space)
        and call.site.listed(space)
        and (not ids or space.id in ids)
        and (not keys or space.key in keys)
        and (kind is None or space.type == kind)
        and (status is None or space.status == status)
        and (not labels or labels & {name for _, name in space.labels})
    ]
    sort = call.request.get("sort") or "id"
    name = sort.lstrip("-")
    found.sort(key=lambda space: (str(getattr(space, name)) if name != "id" else "", space.id))
    if sort.startswith("-"):
        found.reverse()
    wanted = call.request.get("description-format")
    return call.v2_list(found, lambda space: space_doc(call, space, wanted))


def _space(call: Call) -> Answer:
    flags = rules.bools(
        "include-icon",
        "include-operations",
        "include-properties",
        "include-permissions",
        "include-role-assignments",
        "include-labels",
    )
    rules.v2_query(call.request, {"description-format": ("plain", "view"), **flags})
    space = call.v2_space(v2_id(call.params[0], "space"))
    return answer(space_doc(call, space, call.request.get("description-format")))


def _create_space(call: Call) -> Answer:
    account = call.user()
    document = rules.v2_json(call.request, rules.SPACE_CREATE)
    site = call.site
    if site.mode != "roles":
        raise v2_refuse(400, "Creating spaces by this operation needs a site with roles", "INVALID_REQUEST")
    if not site.is_admin(account):
        raise v2_refuse(404, "Not permitted to create a space", "NOT_FOUND")
    key = document.get("key") or document.get("alias")
    if not key:
        raise v2_refuse(400, "One of 'key' and 'alias' is required")
    if not re.fullmatch(r"[A-Za-z0-9]{1,255}", key):
        raise v2_refuse(400, "'key' must hold letters and digits only")
    if key.lower() in site.space_keys:
        raise v2_refuse(400, f"A space already exists with key {key}")
    given = [_assignment(call, item) for item in document.get("roleAssignments") or []]
    if given and all(item.role != ROLES[0].id for item in given):
        raise v2_refuse(400, "At least one assignment of the Admin role is needed")
    description = (document.get("description") or {}).get("value") or ""
    space = new_space(site, key, document["name"], description, account, private=bool(given))
    if given:
        space.assignments = given
        regrant(site, space)
    call.request.did("created", "space", space.id, f"space {space.key}")
    return answer(space_doc(call, space), 201)


def _assignment(call: Call, document: Document) -> Assignment:
    principal = document["principal"]
    role = document.get("roleId")
    if role is None or all(known.id != role for known in ROLES):
        raise v2_refuse(400, "'roleId' is not a known role")
    kind, id_ = principal["principalType"], principal["principalId"]
    if (kind == "USER" and id_ not in call.site.accounts) or (kind == "GROUP" and id_ not in call.site.groups):
        raise v2_refuse(400, "'principalId' is not known")
    return Assignment(kind, id_, role)


def _role_mode(call: Call) -> Answer:
    call.user()
    return answer({"mode": {"roles": "ROLES", "transition": "ROLES_TRANSITION"}.get(call.site.mode, "PRE_ROLES")})


def _roles(call: Call) -> Answer:
    rules.v2_query(
        call.request,
        {
            "space-id": None,
            "role-type": ("SYSTEM", "CUSTOM", "system", "custom"),
            "principal-id": None,
            "principal-type": ("USER", "GROUP", "ACCESS_CLASS"),
            "cursor": None,
            "limit": None,
        },
    )
    call.user()
    return call.v2_list(ROLES, role_doc)


def _assignment_doc(item: Assignment) -> Document:
    return {"principal": {"principalType": item.principal_type, "principalId": item.principal_id}, "roleId": item.role}


def _assignments(call: Call) -> Answer:
    space = call.v2_space(v2_id(call.params[0], "space"))
    get = call.request.get
    rules.v2_query(
        call.request,
        {
            "role-id": None,
            "role-type": None,
            "principal-id": None,
            "principal-type": ("USER", "GROUP", "ACCESS_CLASS"),
            "cursor": None,
            "limit": None,
        },
    )
    wanted = [
        item
        for item in space.assignments
        if get("principal-type") in (None, item.principal_type)
        and get("principal-id") in (None, item.principal_id)
        and get("role-id") in (None, item.role)
    ]
    return call.v2_list(wanted, _assignment_doc)


def _assign(call: Call) -> Answer:
    call.user()
    document = rules.read_json(call.request)
    rules.list_of(rules.ASSIGNMENT)(document, "body")
    space = call.v2_space(v2_id(call.params[0], "space"))
    call.v2_may(space, ("administer", "space"))
    if call.site.mode != "roles":
        raise v2_refuse(400, "Roles are not enabled on this site", "INVALID_REQUEST")
    kept = list(space.assignments)
    for item in document:
        principal = item["principal"]
        kept = [
            old
            for old in kept
            if (old.principal_type, old.principal_id) != (principal["principalType"], principal["principalId"])
        ]
        if item.get("roleId") is not None:
            kept.append(_assignment(call, item))
    if all(item.role != ROLES[0].id for item in kept):
        raise v2_refuse(400, "A space needs at least one principal with the Admin role")
    space.assignments = kept
    regrant(call.site, space)
    call.request.did("updated", "permission", space.id, f"roles of space {space.key}")
    return call.v2_list(space.assignments, _assignment_doc)


def _permissions(call: Call) -> Answer:
    rules.v2_query(call.request, {"cursor": None, "limit": None})
    space = call.v2_space(v2_id(call.params[0], "space"))

    def render(item: Permission) -> Document:
        key, target = item.operation
        return {
            "id": str(item.id),
            "principal": {"type": item.subject, "id": item.identifier},
            "operation": {"key": key, "targetType": target},
        }

    return call.v2_list(list(space.permissions.values()), render)


def _labels_of(kind: str) -> Handler:
    def labels(call: Call) -> Answer:
        rules.v2_query(
            call.request,
            {"prefix": ("my", "team", "global", "system"), "sort": None, "cursor": None, "limit": None},
        )
        prefix = call.request.get("prefix")
        items = _labelled(call, kind)
        found = [(name, id_) for name, id_ in items.items() if prefix is None or name[0] == prefix]
        return call.v2_list(found, lambda item: {"id": str(item[1]), "name": item[0][1], "prefix": item[0][0]})

    return labels


def _labelled(call: Call, kind: str) -> dict[tuple[str, str], int]:
    if kind == "space":
        return call.v2_space(v2_id(call.params[0], "space")).labels
    if kind == "attachment":
        return visible_attachment(call, call.params[0]).labels
    return call.v2_content(v2_id(call.params[0]), "page" if kind == "page" else "blogpost").labels


def _holder(call: Call, kind: str, write: bool) -> tuple[dict[int, Property], str]:
    """The properties of what the path names, and its identity. Raises 404 where the caller may not."""
    if kind == "space":
        space = call.v2_space(v2_id(call.params[0], "space"))
        if write:
            call.v2_may(space, ("administer", "space"))
        return space.properties, f"space {space.key}"
    if kind == "comment":
        comment = call.site.comments.get(v2_id(call.params[0], "comment"))
        if comment is None:
            raise v2_missing("comment")
        return comment.properties, f"comment {comment.id}"
    if kind == "attachment":
        attachment = visible_attachment(call, call.params[0])
        content = call.site.content[attachment.container]
        properties, identity = (
            attachment.properties,
            f"attachment {attachment.filename} on {call.site.identity(content)}",
        )
    else:
        content = call.v2_content(v2_id(call.params[0]), "page" if kind == "page" else "blogpost")
        properties, identity = content.properties, call.site.identity(content)
    if write and not call.site.edits(call.account, content):
        raise v2_refuse(404, "Not permitted to update this content", "NOT_FOUND")
    return properties, identity


def _property_routes(kind: str, base: str) -> list[Route]:
    def listing(call: Call) -> Answer:
        rules.v2_query(call.request, {"key": None, "sort": ("key", "-key"), "cursor": None, "limit": None})
        properties, _ = _holder(call, kind, False)
        key = call.request.get("key")
        return call.v2_list([item for item in properties.values() if key is None or item.key == key], property_doc)

    def create(call: Call) -> Answer:
        account = call.user()
        document = rules.v2_json(call.request, rules.PROPERTY_CREATE)
        properties, identity = _holder(call, kind, True)
        if any(item.key == document["key"] for item in properties.values()):
            raise v2_refuse(409, f"A property with key {document['key']} already exists", "CONFLICT")
        item = Property(call.site.new_id(), document["key"], document.get("value"), Version(1, account.id, now()))
        properties[item.id] = item
        call.request.did("created", "property", item.id, f"property {item.key} of {identity}")
        return answer(property_doc(item), 201 if kind == "space" else 200)

    def find(properties: dict[int, Property], call: Call) -> Property:
        item = properties.get(v2_id(call.params[1], "property"))
        if item is None:
            raise v2_missing("property")
        return item

    def read(call: Call) -> Answer:
        return answer(property_doc(find(_holder(call, kind, False)[0], call)))

    def update(call: Call) -> Answer:
        account = call.user()
        document = rules.v2_json(call.request, rules.PROPERTY_UPDATE)
        properties, identity = _holder(call, kind, True)
        item = find(properties, call)
        if document["key"] != item.key:
            raise v2_refuse(400, "The key of a property cannot be changed")
        if document["version"]["number"] != item.version.number + 1:
            raise v2_refuse(409, f"Current version: {item.version.number}", "CONFLICT")
        item.value = document.get("value")
        item.version = Version(item.version.number + 1, account.id, now(), document["version"].get("message") or "")
        call.request.did("updated", "property", item.id, f"property {item.key} of {identity}")
        return answer(property_doc(item))

    def delete(call: Call) -> Answer:
        call.user()
        properties, identity = _holder(call, kind, True)
        item = find(properties, call)
        del properties[item.id]
        call.request.did("deleted", "property", item.id, f"property {item.key} of {identity}")
        return Answer(204)

    return [
        ("GET", base, listing),
        ("POST", base, create),
        ("GET", f"{base}/{{property-id}}", read),
        ("PUT", f"{base}/{{property-id}}", update),
        ("DELETE", f"{base}/{{property-id}}", delete),
    ]


def _user_doc(call: Call, account: Account) -> Document:
    visible = account.email_visible or call.site.is_admin(call.account)
    return {
        "displayName": account.name,
        "timeZone": None,
        "personalSpaceId": None,
        "isExternalCollaborator": False,
        "accountStatus": "active" if account.active else "inactive",
        "accountId": account.id,
        "email": account.email if visible and account.email_visible else "",
        "accountType": "atlassian",
        "publicName": account.name,
        "profilePicture": {"path": "/wiki/aa-avatar/default", "isDefault": True},
    }


def _users_bulk(call: Call) -> Answer:
    call.user()
    document = rules.v2_json(call.request, rules.ACCOUNT_IDS)
    found = [call.site.accounts[id_] for id_ in document["accountIds"] if id_ in call.site.accounts]
    return answer({"results": [_user_doc(call, account) for account in found], "_links": {}})


def _check_access(call: Call) -> Answer:
    call.user()
    emails = rules.v2_json(call.request, rules.EMAILS)["emails"]
    without, invalid = [], []
    for email in emails:
        if not _ADDRESS.fullmatch(email):
            invalid.append(email)
            continue
        account = call.site.by_email.get(email.lower())
        if account is None or not call.site.has_product(account, "confluence"):
            without.append(email)
    return answer({"emailsWithoutAccess": without, "invalidEmails": invalid})


def _invite(call: Call) -> Answer:
    account = call.user()
    emails = rules.v2_json(call.request, rules.EMAILS)["emails"]
    if not call.site.is_admin(account):
        raise v2_refuse(404, "Not permitted to invite", "NOT_FOUND")
    for email in emails:
        if _ADDRESS.fullmatch(email):
            invite(call, email, ["confluence"], [], mail=True)
    return Answer(200)


ROUTES: list[Route] = [
    ("GET", f"{V2}/spaces", _spaces),
    ("POST", f"{V2}/spaces", _create_space),
    ("GET", f"{V2}/spaces/{{id}}", _space),
    ("GET", f"{V2}/spaces/{{id}}/permissions", _permissions),
    ("GET", f"{V2}/spaces/{{id}}/role-assignments", _assignments),
    ("POST", f"{V2}/spaces/{{id}}/role-assignments", _assign),
    ("GET", f"{V2}/space-role-mode", _role_mode),
    ("GET", f"{V2}/space-roles", _roles),
    ("GET", f"{V2}/spaces/{{id}}/labels", _labels_of("space")),
    ("GET", f"{V2}/pages/{{id}}/labels", _labels_of("page")),
    ("GET", f"{V2}/blogposts/{{id}}/labels", _labels_of("blogpost")),
    ("GET", f"{V2}/attachments/{{id}}/labels", _labels_of("attachment")),
    ("POST", f"{V2}/users-bulk", _users_bulk),
    ("POST", f"{V2}/user/access/check-access-by-email", _check_access),
    ("POST", f"{V2}/user/access/invite-by-email", _invite),
    *_property_routes("page", f"{V2}/pages/{{id}}/properties"),
    *_property_routes("blogpost", f"{V2}/blogposts/{{id}}/properties"),
    *_property_routes("space", f"{V2}/spaces/{{id}}/properties"),
    *_property_routes("attachment", f"{V2}/attachments/{{id}}/properties"),
    *_property_routes("comment", f"{V2}/comments/{{id}}/properties"),
]
