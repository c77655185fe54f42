"""v1: spaces, their permissions and labels, long tasks."""

import re
import uuid
from typing import Any

from sandbox.cloud.call import V1, Call, Route
from sandbox.cloud.rules import v1_json, v1_refuse
from sandbox.cloud.spaces import delete_space, grant, new_space
from sandbox.cloud.state import ANONYMOUS, SPACE_OPERATIONS, Operation, Space
from sandbox.cloud.v1_labels import add_labels, label_results
from sandbox.wire import Answer, Document, answer

_KEY = re.compile(r"[A-Za-z0-9]{1,255}")


def space_doc(call: Call, space: Space) -> Document:
    base = call.request.origin
    expand = set(call.request.all("expand"))
    document: Document = {
        "id": space.id,
        "key": space.key,
        "name": space.name,
        "type": space.type,
        "status": space.status,
        "_expandable": {
            "settings": "",
            "metadata": "",
            "operations": "",
            "lookAndFeel": "",
            "permissions": "",
            "icon": "",
        },
        "_links": {
            "webui": f"/spaces/{space.key}",
            "self": f"{base}/wiki/rest/api/space/{space.key}",
            "base": f"{base}/wiki",
        },
    }
    if {"description", "description.plain"} & expand or call.request.method in ("POST", "PUT"):
        document["description"] = {
            "plain": {"value": space.description, "representation": "plain", "embeddedContent": []}
        }
    home = call.site.content.get(space.homepage) if space.homepage is not None else None
    if home is not None and ("homepage" in expand or call.request.method in ("POST", "PUT")):
        document["homepage"] = {"id": str(home.id), "type": "page", "status": home.status, "title": home.title}
    return document


def _create(private: bool) -> Any:
    def create(call: Call) -> Answer:
        account = call.v1_member()
        document = v1_json(call.request)
        site = call.site
        if not isinstance(document, dict):
            raise v1_refuse(400, "Space is required")
        key, name = document.get("key"), document.get("name")
        if not site.is_admin(account):
            raise v1_refuse(403, "User is not permitted to create a space")
        if not isinstance(key, str) or not _KEY.fullmatch(key):
            raise v1_refuse(400, f"Invalid space key: {key}. Keys hold up to 255 letters and digits")
        if not isinstance(name, str) or not name.strip() or len(name) > 200:
            raise v1_refuse(400, "A space name of at most 200 characters is required")
        description = _plain(document.get("description"))
        if key.lower() in site.space_keys:
            # Also where the other space is in the trash or the caller may not see it.
            raise v1_refuse(400, f"A space already exists with key {key}")
        given = _initial(call, document.get("permissions"))
        space = new_space(site, key, name, description or "", account, private or given is not None)
        for kind, identifier, pair in given or ():
            if identifier not in space.grants.get(pair, ()):
                grant(site, space, kind, identifier, pair)
        call.request.did("created", "space", space.id, f"space {space.key}")
        return answer(space_doc(call, space))

    return create


def _initial(call: Call, permissions: Any) -> list[tuple[str, str, Operation]] | None:
    """The permissions that a new space is asked to have besides its creator's, None where the request names none."""
    if permissions is None:
        return None
    _no_roles(call)
    if not isinstance(permissions, list):
        raise v1_refuse(400, "permissions must be a list")
    found: list[tuple[str, str, Operation]] = []
    for item in permissions:
        operation = item.get("operation") if isinstance(item, dict) else None
        if not isinstance(operation, dict):
            raise v1_refuse(400, "A permission needs an operation")
        pair = (str(operation.get("operation")), str(operation.get("targetType")))
        if pair not in SPACE_OPERATIONS:
            raise v1_refuse(400, f"Invalid operation {pair[0]} {pair[1]}")
        if item.get("anonymousAccess") is True:
            found.append(("user", ANONYMOUS, pair))
        subjects = item.get("subjects")
        for kind, name, known in (("user", "accountId", call.site.accounts), ("group", "id", call.site.groups)):
            inner = subjects.get(kind) if isinstance(subjects, dict) else None
            results = inner.get("results") if isinstance(inner, dict) else None
            for subject in results if isinstance(results, list) else []:
                identifier = subject.get(name) if isinstance(subject, dict) else None
                if not isinstance(identifier, str) or identifier not in known:
                    raise v1_refuse(400, f"No {kind} with identifier {identifier}")
                found.append((kind, identifier, pair))
    return found


def _plain(description: Any) -> str | None:
    if description is None:
        return None
    plain = description.get("plain") if isinstance(description, dict) else None
    if not isinstance(plain, dict) or not isinstance(plain.get("value", ""), str):
        raise v1_refuse(400, "description must hold plain.value")
    if plain.get("representation", "plain") != "plain":
        raise v1_refuse(400, "description.plain must have the representation plain")
    return str(plain.get("value", ""))


def _list(call: Call) -> Answer:
    keys = call.request.all("spaceKey")
    found = [
        space
        for space in call.site.spaces.values()
        if call.site.sees_space(call.account, space) and call.site.listed(space) and (not keys or space.key in keys)
    ]
    return call.v1_list(found, lambda space: space_doc(call, space))


def _read(call: Call) -> Answer:
    return answer(space_doc(call, call.v1_space(call.params[0])))


def _administered(call: Call) -> Space:
    call.v1_member()
    space = call.v1_space(call.params[0])
    call.v1_may(space, ("administer", "space"))
    return space


def _update(call: Call) -> Answer:
    space = _administered(call)
    document = v1_json(call.request)
    if not isinstance(document, dict):
        raise v1_refuse(400, "Space is required")
    name = document.get("name")
    if name is not None and (not isinstance(name, str) or not name.strip() or len(name) > 200):
        raise v1_refuse(400, "A space name of at most 200 characters is required")
    description = _plain(document.get("description"))
    homepage = document.get("homepage")
    if homepage is not None:
        id_ = str(homepage.get("id", "")) if isinstance(homepage, dict) else ""
        page = call.site.content.get(int(id_)) if id_.isdecimal() else None
        if page is None or page.space != space.id or page.kind != "page" or page.status != "current":
            raise v1_refuse(400, "homepage must be a current page of the space")
        space.homepage = page.id
    space.name = name or space.name
    space.description = space.description if description is None else description
    call.request.did("updated", "space", space.id, f"space {space.key}")
    return answer(space_doc(call, space))


def _delete(call: Call) -> Answer:
    space = _administered(call)
    delete_space(call.site, space)
    task = str(uuid.UUID(int=call.site.new_id()))
    call.site.tasks[task] = {
        "id": task,
        "name": {"key": "com.atlassian.confluence.space.delete", "args": []},
        "elapsedTime": 1,
        "percentageComplete": 100,
        "successful": True,
        "finished": True,
        "messages": [],
        "status": "SUCCESS",
        "errors": [],
    }
    call.request.did("deleted", "space", space.id, f"space {space.key}")
    return answer({"id": task, "links": {"status": f"/rest/api/longtask/{task}"}}, 202)


def _task(call: Call) -> Answer:
    call.v1_user()
    task = call.site.tasks.get(call.params[0])
    if task is None:
        raise v1_refuse(404, f"No long task with id {call.params[0]}")
    return answer(task | {"_links": {"base": f"{call.request.origin}/wiki", "context": "/wiki"}})


def _no_roles(call: Call) -> None:
    if call.site.mode == "roles":
        raise v1_refuse(
            400,
            "Space permissions cannot be changed by this operation on a site with roles",
            "com.atlassian.confluence.rbac.InvalidRbacOperationException",
        )


def _permit(call: Call) -> Answer:
    space = _administered(call)
    document = v1_json(call.request)
    _no_roles(call)
    subject = document.get("subject") if isinstance(document, dict) else None
    operation = document.get("operation") if isinstance(document, dict) else None
    if not isinstance(subject, dict) or not isinstance(operation, dict):
        raise v1_refuse(400, "subject and operation are required")
    pair = (str(operation.get("key")), str(operation.get("target")))
    if pair not in SPACE_OPERATIONS:
        raise v1_refuse(400, f"Invalid operation {pair[0]} {pair[1]}")
    kind, identifier = subject.get("type"), subject.get("identifier")
    site = call.site
    if kind not in ("user", "group") or not isinstance(identifier, str):
        raise v1_refuse(400, "subject needs a type (user, group) and an identifier")
    known = identifier in site.accounts or identifier == ANONYMOUS if kind == "user" else identifier in site.groups
    if not known:
        raise v1_refuse(400, f"No {kind} with identifier {identifier}")
    if identifier in space.grants.get(pair, ()):
        raise v1_refuse(400, "Permission already exists")
    if pair != ("read", "space") and identifier not in space.grants.get(("read", "space"), ()):
        raise v1_refuse(400, "The read permission of the space must be granted to the subject first")
    permission = grant(site, space, "user" if kind == "user" else "group", identifier, pair)
    call.request.did("created", "permission", permission.id, f"permission {pair} of {kind} {identifier} in {space.key}")
    return answer(
        {
            "id": permission.id,
            "subject": {"type": kind, "identifier": identifier},
            "operation": {"key": pair[0], "target": pair[1]},
            "_links": {"base": f"{call.request.origin}/wiki"},
        }
    )


def _forbid(call: Call) -> Answer:
    space = _administered(call)
    _no_roles(call)
    text = call.params[1]
    permission = space.permissions.pop(int(text), None) if text.isdecimal() else None
    if permission is None:
        raise v1_refuse(404, f"No permission with id {text}")
    space.grants[permission.operation].discard(permission.identifier)
    call.request.did("deleted", "permission", permission.id, f"permission in {space.key}")
    return Answer(204)


def _label(call: Call) -> Answer:
    space = _administered(call)
    add_labels(call, space.labels, ("global", "team"), f"space {space.key}")
    return answer(label_results(call, space.labels))


def _watchers(call: Call) -> Answer:
    space = _administered(call)
    found = [call.site.accounts[id_] for id_ in space.watchers]
    return call.v1_list(
        found,
        lambda account: {
            "type": "space",
            "watcher": {"type": "known", "accountId": account.id, "displayName": account.name},
            "spaceKey": space.key,
        },
    )


ROUTES: list[Route] = [
    ("GET", f"{V1}/space", _list),
    ("POST", f"{V1}/space", _create(False)),
    ("POST", f"{V1}/space/_private", _create(True)),
    ("GET", f"{V1}/space/{{spaceKey}}", _read),
    ("PUT", f"{V1}/space/{{spaceKey}}", _update),
    ("DELETE", f"{V1}/space/{{spaceKey}}", _delete),
    ("POST", f"{V1}/space/{{spaceKey}}/permission", _permit),
    ("DELETE", f"{V1}/space/{{spaceKey}}/permission/{{id}}", _forbid),
    ("POST", f"{V1}/space/{{spaceKey}}/label", _label),
    ("GET", f"{V1}/space/{{spaceKey}}/watch", _watchers),
    ("GET", f"{V1}/longtask/{{id}}", _task),
]
