"""A Confluence Server or Data Center (5.10 to 10.x) read by REST, and by JSON-RPC where REST has no answer.

Memory is bounded by one page of a list, but for the ids of people already named and the keys of spaces.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import replace
from datetime import date
from typing import Any, Literal
from urllib.parse import quote, urlencode, urlsplit

from shared.confluence.cloud.gate import Gate
from shared.confluence.model import (
    Attachment,
    Comment,
    Content,
    FileVersion,
    Group,
    Item,
    Named,
    Permission,
    Person,
    ReaderNote,
    Revision,
    SourceInfo,
    Space,
    Surveyed,
)
from shared.confluence.rest import shapes
from shared.confluence.rest.client import Client, Forbidden, Json
from shared.confluence.rest.instance import PAGE, SPACE_CREATOR, WATCHERS, Instance
from shared.confluence.rest.people import People
from shared.confluence.rest.rights import Rights
from shared.confluence.source import FileMissing, NotInSource

CONTENT = f"body.storage,version,history,space,metadata.labels,{shapes.RESTRICTIONS}"
COMMENT = "body.storage,version,history,container,ancestors,extensions.inlineProperties,extensions.resolution"
ATTACHMENT = "version,history,container,metadata.labels"
ITEM = (
    f"ancestors,version,metadata.labels,extensions.position,{shapes.RESTRICTIONS},"
    "children.attachment.version,children.attachment.metadata.labels"
)
SURVEY = (
    f"{CONTENT},ancestors,extensions.position,"
    "children.attachment.version,children.attachment.history,children.attachment.metadata.labels"
)
SURVEYED_FILE = "version,history,metadata.labels"
SURVEYED_COMMENT = "body.storage,version,history,ancestors,container.container"
COMMENT_ITEM = "version,ancestors,container.container,extensions.resolution"
NAMED = f"body.storage,version,history,{shapes.RESTRICTIONS},children.attachment.version,children.attachment.history"
COMMENT_NAMED = "body.storage,version,history,container.container"

#: Contents whose comments are asked for at once, where they cannot be listed by space.
ABREAST = 8


class RestSource:
    """See ``shared.confluence.source.Source``. Rights needed: an administrator's, to see members of groups and everything."""

    def __init__(
        self,
        base_url: str,
        *,
        token: str | None,
        username: str | None,
        password: str | None,
        timeout: float = 10.0,
        gate: Gate | None = None,
        id: str = "",
    ) -> None:
        self._client = Client(
            base_url, token=token, username=username, password=password, timeout=timeout, gate=gate, id=id
        )
        self._instance = Instance(self._client)
        self._people = People(self._instance)
        self._rights = Rights(self._instance, self._people)
        self._keys: dict[str, str] = {}
        self._spelled: dict[str, str] = {}

    async def close(self) -> None:
        await self._client.close()

    # --- what it is ---------------------------------------------------------------------------------------------------

    async def info(self) -> SourceInfo:
        about = await self._instance.about()
        await self._client.confirm()
        await self._instance.require_rpc()
        base = self._client.base
        instance = urlsplit(base).netloc + urlsplit(base).path
        return SourceInfo("server", about.version, about.build, (about.base or base).rstrip("/"), instance)

    async def notes(self) -> list[ReaderNote]:
        return [ReaderNote(code, count) for code, count in sorted(self._instance.noted.items())]

    # --- people and rights --------------------------------------------------------------------------------------------

    def people(self) -> AsyncIterator[Person]:
        return self._people.people()

    async def person(self, id: str) -> Person | None:
        return await self._people.person(id)

    async def person_by_name(self, username: str) -> Person | None:
        return await self._people.person_by_name(username)

    def groups(self) -> AsyncIterator[Group]:
        return self._people.groups()

    def members(self, group: str) -> AsyncIterator[str]:
        return self._people.members(group)

    async def permissions(self, space_id: str) -> AsyncIterator[Permission]:
        async for permission in self._rights.permissions(await self._key(space_id)):
            yield permission

    # --- spaces -------------------------------------------------------------------------------------------------------

    async def spaces(self) -> AsyncIterator[Space]:
        """Sorted here, so all spaces (not their content) are in memory for a moment."""
        found: dict[str, Space] = {}
        statuses: tuple[Literal["current", "archived"], ...] = ("current", "archived")
        for status in statuses:
            async for row in self._space_rows([("status", status), ("limit", str(PAGE))]):
                space = shapes.space(row, status)
                found.setdefault(space.id, space)
                self._remember(space.id, space.key)
        await self._client.confirm()
        for space in sorted(found.values(), key=lambda s: s.key):
            yield space

    async def _space_rows(self, parameters: list[tuple[str, str]]) -> AsyncGenerator[Json, None]:
        expand = "description.plain,homepage,metadata.labels"
        if (await self._instance.about()).number >= SPACE_CREATOR:
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
                        self._remember(found.id, found.key)
                        return found
        await self._client.confirm()
        return None

    def _remember(self, id: str, key: str) -> None:
        self._keys[id] = key
        self._spelled[key.lower()] = key

    async def _key(self, id: str) -> str:
        """REST names spaces by key, the model by id."""
        if id not in self._keys:
            async for row in self._client.rows("/rest/api/space", [("limit", "500")]):
                self._remember(str(row["id"]), row["key"])
        if id not in self._keys:  # some releases list archived spaces only when asked for
            async for row in self._client.rows("/rest/api/space", [("status", "archived"), ("limit", "500")]):
                self._remember(str(row["id"]), row["key"])
        if id not in self._keys:
            await self._client.confirm()
            raise NotInSource(f"Space {id} is not there, or not visible to this user.")
        return self._keys[id]

    # --- what is in a space -------------------------------------------------------------------------------------------

    async def items(self, space_id: str) -> AsyncIterator[Item]:
        space = await self.space(space_id)
        containers: list[str] = []
        kinds: tuple[Literal["page", "blogpost"], ...] = ("page", "blogpost")
        for kind in kinds:
            async for row, properties, watchers in self._besides(self._instance.listing(kind, space.key, ITEM)):
                id = str(row["id"])
                yield shapes.page_item(row, space.homepage_id, properties, watchers)
                containers.append(id)
                async for file in self._attachments(row, ATTACHMENT):
                    containers.append(str(file["id"]))
                    yield shapes.attachment_item(file, id)
                async for container, comment in self._comments_on(containers, COMMENT_ITEM):
                    yield shapes.comment_item(comment, container)
        async for container, comment in self._comments_on(containers, COMMENT_ITEM, last=True):
            yield shapes.comment_item(comment, container)
        async for container, comment in self._comments_of_space(space.key, COMMENT_ITEM):
            yield shapes.comment_item(comment, container)
        await self._client.confirm()

    async def _besides(self, rows: AsyncIterator[Json]) -> AsyncIterator[tuple[Json, int, int]]:
        """Each content with the numbers of its properties and watchers, which no list tells: asked for several at once."""
        batch: list[Json] = []
        async for row in rows:
            batch.append(row)
            if len(batch) == ABREAST:
                for told in await asyncio.gather(*map(self._numbers, batch)):
                    yield told
                batch = []
        for told in await asyncio.gather(*map(self._numbers, batch)):
            yield told

    async def _numbers(self, row: Json) -> tuple[Json, int, int]:
        id = str(row["id"])
        await self._rights.complete(row)
        return row, len(await self.properties(id)), len(await self.watchers("content", id))

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
        for id in await self.watchers("space", space_id):
            if id not in seen:
                seen.add(id)
                yield id
        await self._client.confirm()

    async def _named(self, key: str) -> AsyncIterator[str]:
        containers: list[str] = []
        kinds: tuple[Literal["page", "blogpost"], ...] = ("page", "blogpost")
        for kind in kinds:
            async for row in self._instance.listing(kind, key, NAMED):
                async for id in self._named_by(await self._rights.complete(row)):
                    yield id
                for id in await self.watchers("content", str(row["id"])):
                    yield id
                containers.append(str(row["id"]))
                async for file in self._attachments(row, ATTACHMENT):
                    containers.append(str(file["id"]))
                    for id in shapes.authors(file):
                        yield id
                async for _, comment in self._comments_on(containers, COMMENT_NAMED):
                    async for id in self._named_by(comment):
                        yield id
        async for _, comment in self._comments_on(containers, COMMENT_NAMED, last=True):
            async for id in self._named_by(comment):
                yield id
        async for _, comment in self._comments_of_space(key, COMMENT_NAMED):
            async for id in self._named_by(comment):
                yield id

    async def survey(self, space: Space) -> AsyncIterator[Surveyed]:
        self._remember(space.id, space.key)
        containers: list[str] = []
        kinds: tuple[Literal["page", "blogpost"], ...] = ("page", "blogpost")
        for kind in kinds:
            async for row in self._instance.listing(kind, space.key, SURVEY):
                yield shapes.page_item(row, space.homepage_id)
                yield shapes.content(row)
                async for id in self._named_by(row):
                    yield Named(id)
                containers.append(str(row["id"]))
                async for file in self._attachments(row, SURVEYED_FILE):
                    containers.append(str(file["id"]))
                    yield shapes.attachment_item(file, str(row["id"]))
                    for id in shapes.authors(file):
                        yield Named(id)
                async for container, comment in self._comments_on(containers, SURVEYED_COMMENT):
                    async for found in self._surveyed_comment(container, comment):
                        yield found
        async for container, comment in self._comments_on(containers, SURVEYED_COMMENT, last=True):
            async for found in self._surveyed_comment(container, comment):
                yield found
        async for container, comment in self._comments_of_space(space.key, SURVEYED_COMMENT):
            async for found in self._surveyed_comment(container, comment):
                yield found
        async for permission in self._rights.permissions(space.key):
            if permission.subject_kind == "person" and permission.subject:
                yield Named(permission.subject)
        await self._client.confirm()

    async def _surveyed_comment(self, container: str, row: Json) -> AsyncIterator[Surveyed]:
        yield shapes.comment_item(row, container)
        async for id in self._named_by(row):
            yield Named(id)

    async def _named_by(self, row: Json) -> AsyncIterator[str]:
        for id in shapes.authors(row):
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

    async def _attachments(self, row: Json, expand: str) -> AsyncIterator[Json]:
        """Those that came along with the page or, where they did not or were cut off, all of them from their own list."""
        nested = (row.get("children") or {}).get("attachment") or {}
        results = nested.get("results")
        cut = "next" in (nested.get("_links") or {}) or len(results or ()) >= int(nested.get("limit") or 1)
        if results is not None and not cut:
            for file in results:
                yield file
            return
        path = f"/rest/api/content/{row['id']}/child/attachment"
        async for file in self._client.rows(path, [("expand", expand), ("limit", str(PAGE))]):
            if file.get("status", "current") == "current":
                yield file

    async def _comments_of_space(self, key: str, expand: str) -> AsyncIterator[tuple[str, Json]]:
        """With what they hang on; only where comments can be listed by space. Comments of trashed pages are left out."""
        if not await self._instance.scans("comment"):
            return
        async for row in self._instance.listing("comment", key, expand):
            container = row.get("container")
            if not container:
                self._instance.note("comment_without_container")
            elif self._live(container):
                yield str(container["id"]), row

    @staticmethod
    def _live(container: Json | None) -> bool:
        """A comment on something trashed is itself listed as current. The space, outermost, may be archived."""
        while container and container.get("type") in {"page", "blogpost", "attachment"}:
            if container.get("status", "current") != "current":
                return False
            container = container.get("container")
        return True

    async def _comments_on(
        self, containers: list[str], expand: str, *, last: bool = False
    ) -> AsyncIterator[tuple[str, Json]]:
        """Where comments cannot be listed by space: of the containers gathered so far, when there are enough (or it is
        the last time). Empties the list."""
        if await self._instance.scans("comment"):
            containers.clear()
        while len(containers) >= ABREAST or (last and containers):
            part, containers[:] = containers[:ABREAST], containers[ABREAST:]
            answers = await asyncio.gather(*(self._comments(c, expand) for c in part))
            for container, comments in zip(part, answers, strict=True):
                for comment in comments:
                    yield container, comment

    async def _comments(self, container: str, expand: str) -> list[Json]:
        locations = [("location", x) for x in ("inline", "footer", "resolved")]
        parameters = [("depth", "all"), *locations, ("expand", expand), ("limit", str(PAGE))]
        try:
            path = f"/rest/api/content/{container}/child/comment"
            return [row async for row in self._client.rows(path, parameters)]
        except NotInSource:  # removed since it was listed; that it is no lost credential is confirmed at the end
            return []

    # --- one entity ---------------------------------------------------------------------------------------------------

    async def content(self, id: str, *, placed: bool = True) -> Content:
        expand = f"{CONTENT},ancestors" if placed else CONTENT
        row = await self._rights.complete(await self._one(id, ("page", "blogpost"), expand))
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

    async def versions(self, id: str, last: int) -> AsyncIterator[Revision]:
        """By their numbers, which every release answers; one that was removed is passed over."""
        current = shapes.number(await self._one(id, ("page", "blogpost"), "version"))
        for n in range(max(1, current - last), current):
            row = await self._version(id, n, "body.storage,version")
            if row is not None:
                yield shapes.revision(row)

    async def file_versions(self, id: str) -> list[FileVersion]:
        row = await self._one(id, ("attachment",), ATTACHMENT)
        earlier = [await self._file_version(id, n) for n in range(1, shapes.number(row))]
        return [version for version in (*earlier, shapes.file_version(row)) if version is not None]

    async def _file_version(self, id: str, number: int) -> FileVersion | None:
        """An earlier one. Where the server tells the current one, whatever number it is asked for, all that can be known of an
        earlier one is whether its bytes are there."""
        row = await self._version(id, number, "version")
        if row is None or shapes.number(row) == number:
            return None if row is None else shapes.file_version(row)
        try:
            async with self.open_attachment(id, number):
                return FileVersion(number, size=None, comment=None, editor=None, edited_at=None)
        except FileMissing:
            return None

    async def _version(self, id: str, number: int, expand: str) -> Json | None:
        parameters = [("status", "historical"), ("version", str(number)), ("expand", expand)]
        try:
            row: Json = await self._client.json(f"/rest/api/content/{quote(id, safe='')}", parameters)
        except NotInSource:
            await self._client.confirm()
            return None
        return row

    async def properties(self, id: str) -> list[tuple[str, Any]]:
        path = f"/rest/api/content/{quote(id, safe='')}/property"
        try:
            return [(str(r["key"]), r.get("value")) async for r in self._client.rows(path, [("limit", "100")])]
        except NotInSource:  # removed since it was listed, or a release that has none
            return []

    async def watchers(self, kind: Literal["content", "space"], id: str) -> list[str]:
        """From 10.0 on; older releases do not tell them by REST."""
        if (await self._instance.about()).number < WATCHERS:
            self._instance.note_once("watchers_not_readable")
            return []
        place = (
            f"content/{quote(id, safe='')}" if kind == "content" else f"space/{quote(await self._key(id), safe='~')}"
        )
        try:
            rows = self._client.rows(f"/rest/api/{place}/watchers", [("limit", str(PAGE))])
            return [person async for row in rows if (person := shapes.person_id(row.get("watcher") or row))]
        except (Forbidden, NotInSource):
            self._instance.note_once("watchers_not_readable")
            return []

    async def left_behind(self, space_id: str) -> dict[str, int]:
        """Drafts and trash; what else there is, REST does not tell."""
        key = await self._key(space_id)
        counts: dict[str, int] = {}
        for name, status in (("draft", "draft"), ("trash", "trashed")):
            for kind in ("page", "blogpost"):
                parameters = [("spaceKey", key), ("type", kind), ("status", status), ("limit", str(PAGE))]
                try:
                    async for row in self._client.rows("/rest/api/content", parameters):
                        counts[name] = counts.get(name, 0) + (row.get("status") == status)
                except (Forbidden, NotInSource):
                    await self._client.confirm()
        return {kind: count for kind, count in counts.items() if count}

    @asynccontextmanager
    async def open_attachment(self, id: str, version: int | None = None) -> AsyncIterator[AsyncIterator[bytes]]:
        row = await self._one(id, ("attachment",), ATTACHMENT)
        link = (row.get("_links") or {}).get("download")
        if not link:
            raise FileMissing(f"The source lists attachment {id} without an address of its bytes.")
        if version is not None and version != shapes.number(row):
            link = f"{link.partition('?')[0]}?{urlencode({'version': version, 'api': 'v2'})}"
        async with AsyncExitStack() as stack:
            try:
                pieces = await stack.enter_async_context(self._client.download(link))
            except NotInSource as e:
                raise FileMissing(f"The source lists attachment {id}, but does not have its bytes.") from e
            yield pieces

    # --- links --------------------------------------------------------------------------------------------------------

    async def find_content(self, space_key: str, title: str, posting_day: date | None = None) -> str | None:
        kind = "page" if posting_day is None else "blogpost"
        key = self._spelled.get(space_key.lower(), space_key)
        parameters = [("spaceKey", key), ("title", title), ("type", kind), ("status", "current"), ("limit", "25")]
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
