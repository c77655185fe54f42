"""People and groups of an instance: by REST, addresses by JSON-RPC where that still answers."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Literal
from urllib.parse import quote

from shared.confluence.model import Group, Person
from shared.confluence.rest import shapes
from shared.confluence.rest.client import Forbidden, Json
from shared.confluence.rest.instance import NESTED_GROUPS, PAGE, USER, USER_LIST, Instance
from shared.confluence.source import NotInSource, SourceUnsupported

#: Users whose addresses are asked for at once.
ADDRESSES = 8
#: People remembered, so that bodies that mention the same ones do not ask again.
REMEMBERED = 4096


class People:
    """See the methods of the same names in ``shared.confluence.source.Source``."""

    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        self._client = instance.client
        self._known: dict[str, Person | None] = {}
        self._names: dict[str, str] | None = None

    async def people(self) -> AsyncIterator[Person]:
        """From 8.4 the list of users. Before: members of groups, then whoever the remote API lists, then authors."""
        about = await self._instance.about()
        if about.number >= USER_LIST:
            try:
                rows = self._client.rows("/rest/api/user/list", [("expand", "status"), ("limit", str(PAGE))])
                async with aclosing(self._with_addresses(rows)) as people:
                    async for person in people:
                        yield person
                await self._client.confirm()
                return
            except (Forbidden, NotInSource):
                self._instance.note("user_list_not_readable")
        seen: set[str] = set()
        async with aclosing(self._with_addresses(self._union(seen))) as people:
            async for person in people:
                yield person
        await self._client.confirm()

    async def _listed(self, seen: set[str]) -> AsyncIterator[Json]:
        """Members of groups, then whoever else the remote API lists."""
        async for group in self.groups():
            async for row in self._member_rows(group.name):
                if self._first(seen, row):
                    yield row
        for name in await self._rpc_names():
            listed = await self._user_row("username", name)
            if listed is not None and self._first(seen, listed):
                yield listed

    async def _union(self, seen: set[str]) -> AsyncIterator[Json]:
        async for row in self._listed(seen):
            yield row
        kinds: tuple[Literal["page", "blogpost", "comment"], ...] = ("page", "blogpost", "comment")
        for kind in kinds:
            if kind == "comment" and not await self._instance.scans(kind):
                continue  # who wrote them is found with what they hang on, space by space
            async for content in self._instance.listing(kind, None, "version,history"):
                for row in shapes.author_rows(content):
                    if self._first(seen, row):
                        # Before 6.0 what stands at the content is all that is told.
                        found = (
                            row
                            if await self._without_users()
                            else await self._user_row("key", str(shapes.person_id(row)))
                        )
                        if found is not None:
                            yield found

    @staticmethod
    def _first(seen: set[str], row: Json) -> bool:
        id = shapes.person_id(row)
        if id is None or id in seen:
            return False
        seen.add(id)
        return True

    async def _rpc_names(self) -> list[str]:
        """Names of all users, disabled ones too; empty where the remote API is not there."""
        try:
            names = await self._client.rpc("getActiveUsers", True) if self._instance.rpc else []
        except (NotInSource, Forbidden, SourceUnsupported):
            return []
        return [str(n) for n in names] if isinstance(names, list) else []

    async def _with_addresses(self, rows: AsyncIterator[Json]) -> AsyncGenerator[Person, None]:
        batch: list[Json] = []
        async for row in rows:
            batch.append(row)
            if len(batch) == ADDRESSES:
                for person in await self._addressed(batch):
                    yield person
                batch = []
        for person in await self._addressed(batch):
            yield person

    async def _addressed(self, rows: list[Json]) -> list[Person]:
        emails = await asyncio.gather(*map(self._email, rows))
        people = [shapes.person(r, e) for r, e in zip(rows, emails, strict=True)]
        return [p for p in people if p is not None]

    async def _email(self, row: Json) -> str | None:
        """By JSON-RPC, the only remote call that tells it; None where it is gone or switched off."""
        if "email" in row:  # it came by JSON-RPC
            return row["email"] or None
        username = row.get("username")
        await self._instance.about()
        if not self._instance.rpc:
            self._instance.note_once("emails_not_readable")
            return None
        if not username:
            return None
        try:
            told = await self._client.rpc("getUser", username)
        except NotInSource:
            if not await self._instance.rpc_answers():
                self._instance.rpc = False
                self._instance.note_once("emails_not_readable")
            return None
        except (Forbidden, SourceUnsupported):
            self._instance.rpc = False
            self._instance.note_once("emails_not_readable")
            return None
        return (told.get("email") or None) if isinstance(told, dict) else None

    async def _without_users(self) -> bool:
        """Whether REST has no users (before 6.0)."""
        return (await self._instance.about()).number < USER

    async def _rpc_user(self, username: str) -> Json | None:
        """A user as REST would give it, with the address besides. Whether the account is disabled no call tells."""
        try:
            told = await self._client.rpc("getUser", username)
        except NotInSource:
            await self._client.confirm()
            return None
        if not isinstance(told, dict) or not told.get("key"):
            return None
        name, key = str(told.get("name") or username), str(told["key"])
        return {
            "type": "known",
            "userKey": key,
            "username": name,
            "displayName": told.get("fullname"),
            "email": told.get("email"),
        }

    async def _username_of(self, key: str) -> str | None:
        """Before 6.0 nothing finds a user by key: names by key are gathered once, the one list this reader keeps."""
        if self._names is None:
            names: dict[str, str] = {}
            async for row in self._listed(set()):
                if row.get("username"):
                    names[str(shapes.person_id(row))] = row["username"]
            self._names = names
        return self._names.get(key)

    async def _user_row(self, by: Literal["key", "username"], value: str) -> Json | None:
        if await self._without_users():
            name = value if by == "username" else await self._username_of(value)
            return await self._rpc_user(name) if name else None
        try:
            row: Json = await self._client.json("/rest/api/user", [(by, value), ("expand", "status")])
        except NotInSource:
            await self._client.confirm()
            return None
        return row

    async def person(self, id: str) -> Person | None:
        return await self._remembered("key", id)

    async def person_by_name(self, username: str) -> Person | None:
        found = await self._remembered("username", username.lower())
        return found if found and (found.username or "").lower() == username.lower() else None

    async def _remembered(self, by: Literal["key", "username"], value: str) -> Person | None:
        if not value:
            return None
        slot = f"{by}:{value}"
        if slot not in self._known:
            row = await self._user_row(by, value)
            person = shapes.person(row, await self._email(row)) if row else None
            if len(self._known) >= REMEMBERED:
                self._known.pop(next(iter(self._known)))
            self._known[slot] = person
        return self._known[slot]

    # --- groups -------------------------------------------------------------------------------------------------------

    async def groups(self) -> AsyncIterator[Group]:
        async for row in self._client.rows("/rest/api/group", [("limit", str(PAGE))]):
            yield Group(row["name"])
        await self._client.confirm()

    async def members(self, group: str) -> AsyncIterator[str]:
        """Before 10.0 REST does not tell which groups are in a group: members of those are missing, and a note says so."""
        nested = (await self._instance.about()).number >= NESTED_GROUPS
        if not nested:
            self._instance.note_once("nested_groups_not_readable")
        seen: set[str] = set()
        done: set[str] = set()
        todo = [group]
        while todo:
            name = todo.pop()
            if name in done:
                continue
            done.add(name)
            async for row in self._member_rows(name):
                if self._first(seen, row):
                    yield str(shapes.person_id(row))
            if nested:
                path = f"/rest/api/group/{quote(name, safe='')}/groupmember"
                async for row in self._client.rows(path, [("limit", str(PAGE))]):
                    todo.append(row["name"])
        await self._client.confirm()

    def _member_rows(self, group: str) -> AsyncIterator[Json]:
        path = f"/rest/api/group/{quote(group, safe='')}/member"
        return self._client.rows(path, [("expand", "status"), ("limit", str(PAGE))])
