"""Spaces whatever the API: creating, roles, and who a permission or role gives what."""

import time
import uuid
from dataclasses import dataclass

from sandbox.cloud.state import (
    ANONYMOUS,
    DEFAULT_OPERATIONS,
    NAMESPACE,
    SPACE_OPERATIONS,
    Account,
    Assignment,
    Operation,
    Permission,
    Site,
    Space,
    now,
)
from sandbox.cloud.v2_content import new_content, purge_content
from sandbox.wire import Document


@dataclass(frozen=True, slots=True)
class Role:
    id: str
    name: str
    operations: tuple[Operation, ...]


def _role(name: str, operations: tuple[Operation, ...]) -> Role:
    return Role(str(uuid.uuid5(NAMESPACE, f"role {name}")), name, operations)


#: The system roles, the mightiest first.
ROLES = (
    _role("Admin", SPACE_OPERATIONS),
    _role("Manager", tuple(item for item in SPACE_OPERATIONS if item != ("administer", "space"))),
    _role("Collaborator", DEFAULT_OPERATIONS),
    _role("Viewer", (("read", "space"), ("create", "comment"), ("delete", "space"))),
)


def role_doc(role: Role) -> Document:
    return {
        "id": role.id,
        "type": "SYSTEM",
        "displayName": role.name,
        "description": role.name,
        "spacePermissions": [f"{key}/{target}" for key, target in role.operations],
    }


_ROLE = {role.id: role for role in ROLES}
_EVERYONE = {"anonymous-users": ANONYMOUS}


def regrant(site: Site, space: Space) -> None:
    """Derive ``grants`` after a change of permissions or role assignments."""
    space.grants = {}
    if site.mode == "roles":
        for item in space.assignments:
            for operation in _ROLE[item.role].operations:
                principal = _EVERYONE.get(item.principal_id, item.principal_id)
                space.grants.setdefault(operation, set()).add(principal)
    else:
        for permission in space.permissions.values():
            space.grants.setdefault(permission.operation, set()).add(permission.identifier)


def grant(site: Site, space: Space, subject: str, identifier: str, operation: Operation) -> Permission:
    permission = Permission(site.new_id(), subject, identifier, operation)
    space.permissions[permission.id] = permission
    space.grants.setdefault(operation, set()).add(identifier)
    return permission


def new_space(
    site: Site, key: str, name: str, description: str, creator: Account, private: bool, homepage: bool = True
) -> Space:
    """A space with a homepage named like it. Not private: whoever has access to Confluence gets the defaults."""
    space = Space(
        site.new_id(), key, name, description, creator.id, now(), type="personal" if key[0] == "~" else "global"
    )
    space.known_at = time.monotonic()
    site.spaces[space.id] = space
    site.space_keys[key.lower()] = space
    if site.mode == "roles":
        space.assignments.append(Assignment("USER", creator.id, ROLES[0].id))
        if not private:
            space.assignments.append(Assignment("ACCESS_CLASS", "all-licensed-users", ROLES[2].id))
        regrant(site, space)
    else:
        for operation in SPACE_OPERATIONS:
            grant(site, space, "user", creator.id, operation)
        if not private:
            everyone = site.product_group("confluence")
            for operation in DEFAULT_OPERATIONS:
                grant(site, space, "group", everyone.id, operation)
    if homepage:
        space.homepage = new_content(site, space, "page", name, "", creator).id
    return space


def delete_space(site: Site, space: Space) -> None:
    for id_ in [*space.pages, *space.blogposts]:
        purge_content(site, site.content[id_])
    del site.spaces[space.id]
    del site.space_keys[space.key.lower()]
