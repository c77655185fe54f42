"""Who may do what: permissions of spaces by REST from 9.1 and restrictions of content from 6.0, before that by JSON-RPC."""

from collections.abc import AsyncIterator
from urllib.parse import quote

from shared.confluence.model import Permission
from shared.confluence.rest import shapes
from shared.confluence.rest.client import Forbidden, Json
from shared.confluence.rest.instance import REST_PERMISSIONS, RESTRICTIONS, Instance
from shared.confluence.rest.people import People
from shared.confluence.source import NotInSource


class Rights:
    def __init__(self, instance: Instance, people: People) -> None:
        self._instance = instance
        self._client = instance.client
        self._people = people

    async def complete(self, row: Json) -> Json:
        """The content with its restrictions, asked for one by one where the release does not give them along with it."""
        if "restrictions" not in row:
            id = str(row["id"])
            if (await self._instance.about()).number >= RESTRICTIONS:
                path = f"/rest/api/content/{quote(id, safe='')}/restriction/byOperation"
                expand = shapes.RESTRICTIONS.replace("restrictions.read", "read").replace(
                    "restrictions.update", "update"
                )
                row["restrictions"] = await self._client.json(path, [("expand", expand)])
            else:
                row["restrictions"] = await self._rpc_restrictions(id)
        return row

    async def _rpc_restrictions(self, id: str) -> Json:
        """As REST would give them. A holder whose name leads to nobody stays a holder: without one the page would be open."""
        try:
            sets = await self._client.rpc("getContentPermissionSets", id)
        except NotInSource:
            await self._instance.require_rpc()
            raise
        told: Json = {}
        for held in sets:
            operation = {"view": "read", "edit": "update"}.get(str(held.get("type")).lower())
            if operation is None:
                self._instance.note("permission_unknown")
                continue
            users, groups = [], []
            for holder in held.get("contentPermissions") or ():
                if holder.get("groupName"):
                    groups.append({"type": "group", "name": holder["groupName"]})
                elif holder.get("userName"):
                    person = await self._people.person_by_name(holder["userName"])
                    users.append({"type": "known", "userKey": person.id if person else holder["userName"]})
            told[operation] = {"restrictions": {"user": {"results": users}, "group": {"results": groups}}}
        return told

    async def permissions(self, key: str) -> AsyncIterator[Permission]:
        """Of the space with this key; where neither way answers, none, and a note."""
        about = await self._instance.about()
        try:
            if about.number >= REST_PERMISSIONS:
                async for permission in self._rest_permissions(key):
                    yield permission
                return
            if self._instance.rpc:
                async for permission in self._rpc_permissions(key):
                    yield permission
                return
        except (NotInSource, Forbidden):
            await self._client.confirm()
        self._instance.note("permissions_not_readable")

    async def _rest_permissions(self, key: str) -> AsyncIterator[Permission]:
        rows = await self._client.json(f"/rest/api/space/{quote(key, safe='~')}/permissions")
        for n, row in enumerate(rows, 1):
            told, subject = row.get("operation") or {}, row.get("subject") or {}
            operation = shapes.PERMISSIONS.get((str(told.get("targetType")), str(told.get("operationKey"))))
            if operation is None:
                self._instance.note("permission_unknown")
                continue
            kind = str(subject.get("type"))
            if kind == "group":
                yield Permission(f"p{n}", operation, "group", subject["name"])
            elif kind == "anonymous":
                yield Permission(f"p{n}", operation, "anonymous")
            elif shapes.person_id(subject):
                yield Permission(f"p{n}", operation, "person", shapes.person_id(subject))
            else:
                self._instance.note("permission_subject_unknown")

    async def _rpc_permissions(self, key: str) -> AsyncIterator[Permission]:
        sets = await self._client.rpc("getSpacePermissionSets", key)
        n = 0
        for held in sets:
            for row in held.get("spacePermissions") or ():
                n += 1
                operation = str(row.get("type") or held.get("type"))
                if row.get("groupName"):
                    yield Permission(f"p{n}", operation, "group", row["groupName"])
                elif row.get("userName"):
                    person = await self._people.person_by_name(row["userName"])
                    if person:
                        yield Permission(f"p{n}", operation, "person", person.id)
                    else:
                        self._instance.note("permission_subject_unknown")
                else:
                    yield Permission(f"p{n}", operation, "anonymous")
