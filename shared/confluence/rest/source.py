"""A Confluence Server or Data Center (7.0 to 10.x) read by REST, and by JSON-RPC where REST has no answer.

Memory is bounded by one page of a list, but for the ids of people already named and the keys of spaces.
"""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import date
from typing import Literal
from urllib.parse import quote, urlsplit

from lxml import etree

from shared.confluence.model import (
    Attachment,
    Comment,
    Content,
    Group,
    Item,
    Permission,
    Person,
    ReaderNote,
    SourceInfo,
    Space,
)
from shared.confluence.rest import shapes
from shared.confluence.rest.client import Client, Forbidden, Json
from shared.confluence.source import FileMissing, NotInSource, SourceUnsupported

#: Asked for in lists; the server silently gives fewer.
PAGE = 200
#: Users whose addresses are asked for at once.
ADDRESSES = 8
#: People remembered, so that bodies that mention the same ones do not ask again.
REMEMBERED = 4096

CONTENT = f"body.storage,version,history,space,ancestors,metadata.labels,{shapes.RESTRICTIONS}"
COMMENT = "body.storage,version,history,container,ancestors,extensions.inlineProperties,extensions.resolution"
ATTACHMENT = "version,history,container,metadata.labels"
ITEM = (
    f"ancestors,version,metadata.labels,extensions.position,{shapes.RESTRICTIONS},"
    "children.attachment.version,children.attachment.metadata.labels"
)
COMMENT_ITEM = "version,ancestors,container.container"
NAMED = f"body.storage,version,history,{shapes.RESTRICTIONS},children.attachment.version,children.attachment.history"
COMMENT_NAMED = "body.storage,version,history,container.container"

#: From which version on.
SCAN, USER_LIST, REST_PERMISSIONS, NESTED_GROUPS, SPACE_CREATOR = (7, 18), (8, 4), (9, 1), (10, 0), (10, 0)
#: The first version without JSON-RPC.
RPC_GONE = (9, 0)


@dataclass(frozen=True, slots=True)
class _About:
    version: str | None
    build: int | None

    @property
    def number(self) -> tuple[int, int]:
        """Major and minor; an unknown version counts as the oldest, so that nothing newer is asked of it."""
        found = re.match(r"(\d+)\.(\d+)", self.version or "")
        return (int(found[1]), int(found[2])) if found else (7, 0)


class RestSource:
    """See ``shared.confluence.source.Source``. Rights needed: an administrator's, to see members of groups and everything."""

    def __init__(
        self, base_url: str, *, token: str | None, username: str | None, password: str | None, timeout: float = 10.0
    ) -> None:
        self._client = Client(base_url, token=token, username=username, password=password, timeout=timeout)
        self._known: _About | None = None
        self._keys: dict[str, str] = {}
        self._people: dict[str, Person | None] = {}
        self._notes: Counter[str] = Counter()
        self._rpc = True
        self._scan = True

    async def close(self) -> None:
        await self._client.close()

    # --- what it is ---------------------------------------------------------------------------------------------------

    async def info(self) -> SourceInfo:
        about = await self._about()
        await self._client.confirm()
        base = self._client.base
        instance = urlsplit(base).netloc + urlsplit(base).path
        return SourceInfo("server", about.version, about.build, base, instance)

    async def notes(self) -> list[ReaderNote]:
        return [ReaderNote(code, count) for code, count in sorted(self._notes.items())]

    async def _about(self) -> _About:
        if self._known is None:
            self._known = await self._detect()
            self._rpc = self._rpc and self._known.number < RPC_GONE
            self._scan = self._scan and self._known.number >= SCAN
        return self._known

    async def _detect(self) -> _About:
        """Version by what every release answers: server-information from 9.1, else the manifest of application links."""
        client = self._client
        response = await client.answer(client.url("/rest/api/server-information"))
        if response.status_code == 200 and "json" in response.headers.get("content-type", ""):
            told = client.decoded(response)
            if isinstance(told, dict) and "version" in told:
                build = told.get("buildNumber")
                return self._supported(_About(str(told["version"]), int(build) if build else None))
        elif response.status_code not in {401, 404}:
            client.check(response)
        response = await client.answer(client.url("/rest/applinks/1.0/manifest"))
        if response.status_code == 200 and b"<manifest" in response.content[:1000]:
            parser = etree.XMLParser(resolve_entities=False, no_network=True)
            try:
                root = etree.fromstring(response.content, parser)
            except etree.XMLSyntaxError:
                root = None
            if root is not None:
                kind, version, build = (root.findtext(x) for x in ("typeId", "version", "buildNumber"))
                if kind != "confluence":
                    raise SourceUnsupported(f"{client.base} is not a Confluence but {kind or 'something else'}.")
                return self._supported(_About(version, int(build) if build and build.isdecimal() else None))
        await self._refuse_cloud()
        me = await client.answer(client.url("/rest/api/user/current"))
        if me.status_code == 404:
            raise SourceUnsupported(
                f"There is no Confluence at {client.base}. Give the address of its dashboard, with the context path if any."
            )
        client.decoded(client.check(me))
        return _About(None, None)

    async def _refuse_cloud(self) -> None:
        host = urlsplit(self._client.base).hostname or ""
        cloud = host.endswith((".atlassian.net", ".jira-dev.com"))
        if not cloud:
            response = await self._client.answer(self._client.url("/wiki/api/v2/spaces", [("limit", "1")]))
            cloud = response.status_code == 200 and "json" in response.headers.get("content-type", "")
        if cloud:
            raise SourceUnsupported(f"{self._client.base} is a Confluence Cloud. Sources are Server and Data Center.")

    def _supported(self, about: _About) -> _About:
        if about.number < (7, 0):
            raise SourceUnsupported(
                f"{self._client.base} is Confluence {about.version}; by REST 7.0 and later are read. "
                "Give an XML export of it instead."
            )
        return about

    # --- people -------------------------------------------------------------------------------------------------------

    async def people(self) -> AsyncIterator[Person]:
        """From 8.4 the list of users. Before: members of groups, then whoever the remote API lists, then authors."""
        about = await self._about()
        if about.number >= USER_LIST:
            try:
                rows = self._client.rows("/rest/api/user/list", [("expand", "status"), ("limit", str(PAGE))])
                async with aclosing(self._with_addresses(rows)) as people:
                    async for person in people:
                        yield person
                await self._client.confirm()
                return
            except (Forbidden, NotInSource):
                self._note("user_list_not_readable")
        seen: set[str] = set()
        async with aclosing(self._with_addresses(self._union(seen))) as people:
            async for person in people:
                yield person
        await self._client.confirm()

    async def _union(self, seen: set[str]) -> AsyncIterator[Json]:
        async for group in self.groups():
            async for row in self._member_rows(group.name):
                if self._first(seen, row):
                    yield row
        for name in await self._rpc_names():
            listed = await self._user_row("username", name)
            if listed is not None and self._first(seen, listed):
                yield listed
        kinds: tuple[Literal["page", "blogpost", "comment"], ...] = ("page", "blogpost", "comment")
        for kind in kinds:
            async for content in self._listing(kind, None, "version,history"):
                for author in self._authors(content):
                    if author not in seen:
                        seen.add(author)
                        found = await self._user_row("key", author)
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
            names = await self._client.rpc("getActiveUsers", True) if self._rpc else []
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
        emails = await asyncio.gather(*(self._email(r.get("username")) for r in rows))
        people = [shapes.person(r, e) for r, e in zip(rows, emails, strict=True)]
        return [p for p in people if p is not None]

    async def _email(self, username: str | None) -> str | None:
        """By JSON-RPC, the only remote call that tells it; None where it is gone or switched off."""
        await self._about()
        if not self._rpc:
            self._notes["emails_not_readable"] = 1
            return None
        if not username:
            return None
        try:
            told = await self._client.rpc("getUser", username)
        except NotInSource:
            if not await self._rpc_answers():
                self._rpc = False
                self._notes["emails_not_readable"] = 1
            return None
        except (Forbidden, SourceUnsupported):
            self._rpc = False
            self._notes["emails_not_readable"] = 1
            return None
        return (told.get("email") or None) if isinstance(told, dict) else None

    async def _rpc_answers(self) -> bool:
        """Whether the remote API is switched on: then a name it refuses is only unknown to it."""
        try:
            return isinstance(await self._client.rpc("getServerInfo"), dict)
        except (NotInSource, Forbidden, SourceUnsupported):
            return False

    async def _user_row(self, by: Literal["key", "username"], value: str) -> Json | None:
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
        if slot not in self._people:
            row = await self._user_row(by, value)
            person = shapes.person(row, await self._email(row.get("username"))) if row else None
            if len(self._people) >= REMEMBERED:
                self._people.pop(next(iter(self._people)))
            self._people[slot] = person
        return self._people[slot]

    # --- groups -------------------------------------------------------------------------------------------------------

    async def groups(self) -> AsyncIterator[Group]:
        async for row in self._client.rows("/rest/api/group", [("limit", str(PAGE))]):
            yield Group(row["name"])
        await self._client.confirm()

    async def members(self, group: str) -> AsyncIterator[str]:
        """Before 10.0 REST does not tell which groups are in a group: members of those are missing, and a note says so."""
        nested = (await self._about()).number >= NESTED_GROUPS
        if not nested:
            self._notes["nested_groups_not_readable"] = 1
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

    # --- spaces -------------------------------------------------------------------------------------------------------

    async def spaces(self) -> AsyncIterator[Space]:
        """Sorted here, so all spaces (not their content) are in memory for a moment."""
        found: dict[str, Space] = {}
        statuses: tuple[Literal["current", "archived"], ...] = ("current", "archived")
        for status in statuses:
            async for row in self._space_rows([("status", status), ("limit", str(PAGE))]):
                space = shapes.space(row, status)
                found.setdefault(space.id, space)
                self._keys[space.id] = space.key
        await self._client.confirm()
        for space in sorted(found.values(), key=lambda s: s.key):
            yield space

    async def _space_rows(self, parameters: list[tuple[str, str]]) -> AsyncGenerator[Json, None]:
        expand = "description.plain,homepage"
        if (await self._about()).number >= SPACE_CREATOR:
            expand += ",creator,creationDate"
        async for row in self._client.rows("/rest/api/space", [*parameters, ("expand", expand)]):
            yield row

    async def space(self, id: str) -> Space:
        key = await self._key(id)
        found = await self.space_by_key(key)
        if found is None or found.id != id:
            self._keys.pop(id, None)
            raise NotInSource(f"Space {id} is not there, or not visible to this user.")
        return found

    async def space_by_key(self, key: str) -> Space | None:
        statuses: tuple[Literal["current", "archived"], ...] = ("current", "archived")
        for status in statuses:
            async with aclosing(self._space_rows([("spaceKey", key), ("status", status)])) as rows:
                async for row in rows:
                    if row["key"].lower() == key.lower():
                        found = shapes.space(row, status)
                        self._keys[found.id] = found.key
                        return found
        await self._client.confirm()
        return None

    async def _key(self, id: str) -> str:
        """REST names spaces by key, the model by id."""
        if id not in self._keys:
            async for row in self._client.rows("/rest/api/space", [("limit", "500")]):
                self._keys[str(row["id"])] = row["key"]
        if id not in self._keys:  # some releases list archived spaces only when asked for
            async for row in self._client.rows("/rest/api/space", [("status", "archived"), ("limit", "500")]):
                self._keys[str(row["id"])] = row["key"]
        if id not in self._keys:
            await self._client.confirm()
            raise NotInSource(f"Space {id} is not there, or not visible to this user.")
        return self._keys[id]

    # --- what is in a space -------------------------------------------------------------------------------------------

    async def items(self, space_id: str) -> AsyncIterator[Item]:
        space = await self.space(space_id)
        kinds: tuple[Literal["page", "blogpost"], ...] = ("page", "blogpost")
        for kind in kinds:
            async for row in self._listing(kind, space.key, ITEM):
                id = str(row["id"])
                yield shapes.page_item(row, space.homepage_id)
                files: list[str] = []
                async for file in self._attachments(row, ATTACHMENT):
                    files.append(str(file["id"]))
                    yield shapes.attachment_item(file, id)
                if not self._scan:
                    for container in (id, *files):
                        async for comment in self._comments(container, COMMENT_ITEM):
                            yield shapes.comment_item(comment, container)
        if self._scan:
            async for row in self._listing("comment", space.key, COMMENT_ITEM):
                if self._hangs_on_live(row):
                    yield shapes.comment_item(row, str(row["container"]["id"]))
        await self._client.confirm()

    async def related_people(self, space_id: str) -> AsyncIterator[str]:
        space = await self.space(space_id)
        seen: set[str] = set()
        async for id in self._named(space.key):
            if id not in seen:
                seen.add(id)
                yield id
        async for permission in self.permissions(space_id):
            if permission.subject_kind == "person" and permission.subject and permission.subject not in seen:
                seen.add(permission.subject)
                yield permission.subject
        await self._client.confirm()

    async def _named(self, key: str) -> AsyncIterator[str]:
        kinds: tuple[Literal["page", "blogpost"], ...] = ("page", "blogpost")
        for kind in kinds:
            async for row in self._listing(kind, key, NAMED):
                async for id in self._named_by(row):
                    yield id
                containers = [str(row["id"])]
                async for file in self._attachments(row, ATTACHMENT):
                    containers.append(str(file["id"]))
                    for id in self._authors(file):
                        yield id
                if not self._scan:
                    for container in containers:
                        async for comment in self._comments(container, COMMENT_NAMED):
                            async for id in self._named_by(comment):
                                yield id
        if self._scan:
            async for row in self._listing("comment", key, COMMENT_NAMED):
                if self._hangs_on_live(row):
                    async for id in self._named_by(row):
                        yield id

    async def _named_by(self, row: Json) -> AsyncIterator[str]:
        for id in self._authors(row):
            yield id
        for restriction in shapes.restrictions(row):
            if restriction.person:
                yield restriction.person
        body = ((row.get("body") or {}).get("storage") or {}).get("value") or ""
        for by, value in shapes.mentions(body):
            if by == "userkey":
                yield value
            else:
                person = await self.person_by_name(value)
                if person:
                    yield person.id

    @staticmethod
    def _authors(row: Json) -> list[str]:
        told = ((row.get("history") or {}).get("createdBy"), (row.get("version") or {}).get("by"))
        return [id for id in map(shapes.person_id, told) if id]

    @staticmethod
    def _hangs_on_live(row: Json) -> bool:
        """Comments of trashed pages are listed as current themselves. A page's own container, its space, may be archived."""
        container = row.get("container")
        while container and container.get("type") in {"page", "blogpost", "attachment"}:
            if container.get("status", "current") != "current":
                return False
            container = container.get("container")
        return bool(row.get("container"))

    async def _listing(
        self, kind: Literal["page", "blogpost", "comment"], key: str | None, expand: str
    ) -> AsyncIterator[Json]:
        """By cursor where there is one: later pages of /content are slow on large spaces."""
        await self._about()
        parameters = [("type", kind), ("status", "current"), ("expand", expand), ("limit", str(PAGE))]
        if key is not None:
            parameters.append(("spaceKey", key))
        path = "/rest/api/content/scan" if self._scan else "/rest/api/content"
        async for row in self._client.rows(path, parameters):
            if row.get("type") == kind:
                yield row

    async def _attachments(self, row: Json, expand: str) -> AsyncIterator[Json]:
        """Those that came along with the page or, where they were cut off, all of them from their own list."""
        nested = (row.get("children") or {}).get("attachment") or {}
        results = nested.get("results") or []
        cut = "next" in (nested.get("_links") or {}) or len(results) >= int(nested.get("limit") or 1)
        if not cut:
            for file in results:
                yield file
            return
        path = f"/rest/api/content/{row['id']}/child/attachment"
        async for file in self._client.rows(path, [("expand", expand), ("limit", str(PAGE))]):
            if file.get("status", "current") == "current":
                yield file

    def _comments(self, container: str, expand: str) -> AsyncIterator[Json]:
        locations = [("location", x) for x in ("inline", "footer", "resolved")]
        parameters = [("depth", "all"), *locations, ("expand", expand), ("limit", str(PAGE))]
        return self._client.rows(f"/rest/api/content/{container}/child/comment", parameters)

    # --- one entity ---------------------------------------------------------------------------------------------------

    async def content(self, id: str) -> Content:
        row = await self._one(id, ("page", "blogpost"), CONTENT)
        content = shapes.content(row)
        labels = (row.get("metadata") or {}).get("labels") or {}
        if len(labels.get("results") or ()) >= int(labels.get("limit") or 1):
            path, parameters = f"/rest/api/content/{id}/label", [("prefix", "global"), ("limit", str(PAGE))]
            every = [x["name"] async for x in self._client.rows(path, parameters)]
            content = replace(content, labels=tuple(every))
        return content

    async def comment(self, id: str) -> Comment:
        return shapes.comment(await self._one(id, ("comment",), COMMENT))

    async def attachment(self, id: str) -> Attachment:
        return shapes.attachment(await self._one(id, ("attachment",), ATTACHMENT))

    async def _one(self, id: str, kinds: tuple[str, ...], expand: str) -> Json:
        try:
            row: Json = await self._client.json(f"/rest/api/content/{quote(id, safe='')}", [("expand", expand)])
        except NotInSource:
            await self._client.confirm()
            raise
        if row.get("type") not in kinds or row.get("status", "current") != "current":
            raise NotInSource(f"{id} is no live {' or '.join(kinds)} of {self._client.base}.")
        return row

    @asynccontextmanager
    async def open_attachment(self, id: str) -> AsyncIterator[AsyncIterator[bytes]]:
        row = await self._one(id, ("attachment",), ATTACHMENT)
        link = (row.get("_links") or {}).get("download")
        if not link:
            raise FileMissing(f"The source lists attachment {id} without an address of its bytes.")
        async with AsyncExitStack() as stack:
            try:
                pieces = await stack.enter_async_context(self._client.download(link))
            except NotInSource as e:
                raise FileMissing(f"The source lists attachment {id}, but does not have its bytes.") from e
            yield pieces

    # --- rights -------------------------------------------------------------------------------------------------------

    async def permissions(self, space_id: str) -> AsyncIterator[Permission]:
        """By REST from 9.1, before that by JSON-RPC; where neither answers, none, and a note."""
        key = await self._key(space_id)
        about = await self._about()
        try:
            if about.number >= REST_PERMISSIONS:
                async for permission in self._rest_permissions(key):
                    yield permission
                return
            if self._rpc:
                async for permission in self._rpc_permissions(key):
                    yield permission
                return
        except (NotInSource, Forbidden):
            await self._client.confirm()
        self._note("permissions_not_readable")

    async def _rest_permissions(self, key: str) -> AsyncIterator[Permission]:
        rows = await self._client.json(f"/rest/api/space/{quote(key, safe='~')}/permissions")
        for n, row in enumerate(rows, 1):
            told, subject = row.get("operation") or {}, row.get("subject") or {}
            operation = shapes.PERMISSIONS.get((str(told.get("targetType")), str(told.get("operationKey"))))
            if operation is None:
                self._note("permission_unknown")
                continue
            kind = str(subject.get("type"))
            if kind == "group":
                yield Permission(f"p{n}", operation, "group", subject["name"])
            elif kind == "anonymous":
                yield Permission(f"p{n}", operation, "anonymous")
            elif shapes.person_id(subject):
                yield Permission(f"p{n}", operation, "person", shapes.person_id(subject))
            else:
                self._note("permission_subject_unknown")

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
                    person = await self.person_by_name(row["userName"])
                    if person:
                        yield Permission(f"p{n}", operation, "person", person.id)
                    else:
                        self._note("permission_subject_unknown")
                else:
                    yield Permission(f"p{n}", operation, "anonymous")

    def _note(self, code: str) -> None:
        self._notes[code] += 1

    # --- links --------------------------------------------------------------------------------------------------------

    async def find_content(self, space_key: str, title: str, posting_day: date | None = None) -> str | None:
        kind = "page" if posting_day is None else "blogpost"
        parameters = [("spaceKey", space_key), ("title", title), ("type", kind), ("status", "current"), ("limit", "25")]
        if posting_day is not None:
            parameters.append(("postingDay", posting_day.isoformat()))
        try:
            async with aclosing(self._client.rows("/rest/api/content", parameters)) as rows:
                async for row in rows:
                    if row.get("type") == kind and str(row.get("title", "")).lower() == title.lower():
                        return str(row["id"])
        except NotInSource:
            pass
        await self._client.confirm()
        return None
