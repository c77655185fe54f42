"""JSON-RPC (4.1 to 8.x): ``POST /rpc/json-rpc/confluenceservice-v2/<method>`` with the parameters as a JSON array."""

from collections.abc import Callable
from typing import Any

from sandbox.sample.model import User
from sandbox.server.call import Call
from sandbox.server.errors import Refusal

Method = Callable[[Call, list[Any]], Any]


class RpcError(Exception):
    """Answered as an ``error`` object."""


def server_info(call: Call, _: list[Any]) -> Any:
    v = call.version
    return {
        "majorVersion": v.major,
        "minorVersion": v.minor,
        "patchLevel": v.patch,
        "buildId": str(v.build),
        "developmentBuild": False,
        "baseUrl": call.base,
    }


def _user(call: Call, name: str) -> User:
    user = call.instance.user_by_name(name)
    if user is None:
        raise RpcError(f"com.atlassian.confluence.rpc.RemoteException: No user with username '{name}' found.")
    return user


def get_user(call: Call, parameters: list[Any]) -> Any:
    """The only remote call that tells the address."""
    user = _user(call, str(parameters[0]))
    return {
        "name": user.username,
        "fullname": user.display_name,
        "email": user.email,
        "url": f"{call.base}/display/~{user.username}",
        "key": user.key,
    }


def active_users(call: Call, parameters: list[Any]) -> Any:
    """Names; with true also of users that are disabled."""
    everyone = bool(parameters and parameters[0])
    return sorted(u.username for u in call.instance.users.values() if u.active or everyone)


def user_groups(call: Call, parameters: list[Any]) -> Any:
    user = _user(call, str(parameters[0]))
    return sorted(g.name for g in call.instance.groups.values() if user.key in g.users)


def groups(call: Call, _: list[Any]) -> Any:
    return sorted(call.instance.groups)


def permission_sets(call: Call, parameters: list[Any]) -> Any:
    space = call.instance.space_by_key(str(parameters[0]))
    if space is None or not call.viewer.sees_space(space):
        raise RpcError(f"com.atlassian.confluence.rpc.RemoteException: No space found for key: {parameters[0]}")
    if not call.viewer.may_in(space, "SETSPACEPERMISSIONS"):
        raise RpcError("com.atlassian.confluence.rpc.NotPermittedException: No permission to see this.")
    sets: dict[str, list[dict[str, str | None]]] = {}
    for p in space.permissions:
        name = call.instance.users[p.user].username if p.user and p.user in call.instance.users else None
        if p.user and name is None:
            continue
        sets.setdefault(p.type, []).append({"type": p.type, "userName": name, "groupName": p.group})
    return [{"type": t, "spacePermissions": rows} for t, rows in sets.items()]


def content_permission_sets(call: Call, parameters: list[Any]) -> Any:
    """Who may see and edit a content. A user that no directory has any more goes by the key."""
    content = call.content(str(parameters[0]))
    sets = []
    for type, operation in (("View", "read"), ("Edit", "update")):
        rows = []
        for r in content.restrictions:
            if r.operation == operation:
                user = call.instance.users.get(r.user) if r.user else None
                rows.append({"type": type, "userName": user.username if user else r.user, "groupName": r.group})
        if rows:
            sets.append({"type": type, "contentPermissions": rows})
    return sets


def spaces(call: Call, _: list[Any]) -> Any:
    found = [s for s in call.instance.spaces.values() if call.viewer.sees_space(s)]
    return [{"key": s.key, "name": s.name, "type": s.type, "url": f"{call.base}/display/{s.key}"} for s in found]


def space(call: Call, parameters: list[Any]) -> Any:
    found = call.space(str(parameters[0]))
    return {
        "key": found.key,
        "name": found.name,
        "type": found.type,
        "homePage": found.homepage,
        "description": found.description,
        "url": f"{call.base}/display/{found.key}",
        "spaceStatus": found.status.upper(),
    }


METHODS: dict[str, Method] = {
    "getServerInfo": server_info,
    "getUser": get_user,
    "getActiveUsers": active_users,
    "getUserGroups": user_groups,
    "getGroups": groups,
    "getSpacePermissionSets": permission_sets,
    "getContentPermissionSets": content_permission_sets,
    "getSpaces": spaces,
    "getSpace": space,
}


def answer(call: Call, method: str, parameters: Any) -> Any:
    """Result of a method, or an ``error`` object."""
    if call.viewer.user is None:
        return _error("com.atlassian.confluence.rpc.NotPermittedException: Anonymous users may not use the remote API.")
    if method not in METHODS:
        return _error(f"Unknown method: {method}")
    if not isinstance(parameters, list):
        return _error("Parameters must be an array")
    try:
        return METHODS[method](call, parameters)
    except (RpcError, Refusal) as e:
        return _error(str(e))
    except (IndexError, ValueError):
        return _error(f"Wrong parameters for {method}")


def _error(message: str) -> dict[str, Any]:
    return {"error": {"code": 500, "message": message, "data": None}}
