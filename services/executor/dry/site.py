"""The site as a dry run sees it: what is there, and what the run would have made.

It holds a client of the real site and calls its reads only. Whatever would be a write is kept in ``people.dry_object`` and is
found again by later steps, also by those of other executors. What only a write could tell (a key in the trash, a hidden
account, a seat that is not there, a limit of the site's plan) a dry run cannot know.
"""

import contextlib
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any, Literal
from xml.parsers import expat

import asyncpg

from services.executor.dry.objects import Made, Objects, SlotTaken
from shared.confluence.cloud import CloudSite, RoleAssignment, SiteRole
from shared.confluence.cloud.content import Kind, Operation, Representation
from shared.confluence.cloud.gate import Gate
from shared.confluence.cloud.spaces import RoleMode
from shared.confluence.site import (
    Account,
    KeyTaken,
    NameTaken,
    NotOnSite,
    SiteAttachment,
    SiteComment,
    SiteContent,
    SiteGroup,
    SiteRefused,
    SiteSpace,
    TitleTaken,
    TooLarge,
    VersionConflict,
)

BODY_LIMIT = 5 * 1024 * 1024  # bytes of one body, the site's documented limit
LABEL_LIMIT = 255
_NOT_IN_LABELS = frozenset(" :;,.?&[]()#^*!@\t\n")
_ROOT = "root:"  # holder of the pages without a parent: this and the space


class DrySite:
    """See ``CloudSite`` for what each method means. ``ledger``: the dry run's; ``me``: the account of the credential."""

    def __init__(self, real: CloudSite, pool: asyncpg.Pool, ledger: str, me: Account, gate: Gate) -> None:
        self._real, self._me, self._gate = real, me, gate
        self._made = Objects(pool, ledger)
        self.url = real.url

    async def aclose(self) -> None:
        await self._real.aclose()

    # -- spaces --------------------------------------------------------------------------------------------------

    async def role_mode(self) -> RoleMode:
        return await self._real.role_mode()

    async def create_private_space(self, key: str, name: str, description: str) -> SiteSpace:
        self._gate.check_write()
        if await self._real.find_space(key) is not None:
            raise KeyTaken("create space: a space of this key exists", 400)
        id, homepage = await self._made.new_id(), await self._made.new_id()
        space = SiteSpace(id, key, name, homepage, description, self._me.account_id, _now())
        try:
            await self._made.put("space", id, _state(space), slot=key.casefold())
        except SlotTaken as error:
            raise KeyTaken("create space: a space of this key exists", 400) from error
        await self._put(self._new("page", homepage, id, name, parent=None), body="")
        return space

    async def find_space(self, key: str) -> SiteSpace | None:
        made = await self._made.in_slot("space", key.casefold())
        if made is not None:
            return None if made.gone else _space(made)
        return await self._real.find_space(key)

    async def delete_space(self, key: str) -> str | None:
        self._gate.check_write()
        found = await self.find_space(key)
        if found is not None and not await self._made.remove("space", found.id):
            await self._made.put("space", found.id, {"gone": True}, slot=key.casefold())
        return None

    async def long_task_finished(self, task_id: str) -> bool:
        return await self._real.long_task_finished(task_id)

    async def update_space(
        self, key: str, name: str | None = None, description: str | None = None, homepage_id: str | None = None
    ) -> None:
        self._gate.check_write()
        found = await self.find_space(key)
        if found is None:
            raise NotOnSite("update space: there is none of this key", 404)
        space = replace(
            found,
            name=found.name if name is None else name,
            description=found.description if description is None else description,
            homepage_id=homepage_id or found.homepage_id,
        )
        await self._made.put("space", space.id, _state(space), slot=key.casefold())

    async def space_roles(self, space_id: str) -> AsyncIterator[SiteRole]:
        async for role in self._real.space_roles(space_id):
            yield role

    async def assign_roles(self, space_id: str, assignments: Sequence[RoleAssignment]) -> None:
        self._gate.check_write()

    async def add_space_permission(
        self, space_key: str, subject_type: str, identifier: str, operation_key: str, target: str
    ) -> None:
        self._gate.check_write()

    async def add_space_labels(self, space_key: str, names: Sequence[str]) -> None:
        self._gate.check_write()
        _check_labels(names)

    async def watch_space(self, space_key: str, account_id: str) -> None:
        self._gate.check_write()

    # -- pages and blog posts --------------------------------------------------------------------------------------

    async def create_page(
        self,
        space_id: str,
        title: str,
        body: str,
        *,
        parent_id: str | None = None,
        root_level: bool = False,
        private: bool = False,
        representation: Representation = "storage",
    ) -> SiteContent:
        self._gate.check_write()
        _check_body(body, representation)
        await self._check_title("page", space_id, title, None)
        id = await self._made.new_id()
        if parent_id is None and not root_level:
            home = await self._made.get("space", space_id)
            parent_id = _space(home).homepage_id if home is not None else None
        page = self._new("page", id, space_id, title, parent_id)
        place = await self._made.last_position(parent_id or _ROOT + space_id) + 1
        return await self._put(page, body, position=place)

    async def create_blogpost(
        self,
        space_id: str,
        title: str,
        body: str,
        *,
        created_at: datetime | None,
        private: bool = False,
        representation: Representation = "storage",
    ) -> SiteContent:
        self._gate.check_write()
        _check_body(body, representation)
        post = self._new("blogpost", await self._made.new_id(), space_id, title, None, created_at)
        await self._check_title("blogpost", space_id, title, post)
        return await self._put(post, body)

    async def update_page(
        self,
        page_id: str,
        *,
        title: str,
        body: str,
        version: int,
        parent_id: str | None = None,
        owner_id: str | None = None,
        message: str | None = None,
        representation: Representation = "storage",
    ) -> SiteContent:
        return await self._update("page", page_id, title, body, version, representation, parent_id, owner_id)

    async def update_blogpost(
        self,
        blogpost_id: str,
        *,
        title: str,
        body: str,
        version: int,
        message: str | None = None,
        created_at: datetime | None = None,
        representation: Representation = "storage",
    ) -> SiteContent:
        return await self._update("blogpost", blogpost_id, title, body, version, representation, None, None)

    async def move_page(self, page_id: str, position: Literal["before", "after", "append"], target_id: str) -> None:
        self._gate.check_write()
        page, target = await self._taken_in(page_id), await self._taken_in(target_id)
        if position == "append":
            await self._move(page, target_id, await self._made.last_position(target_id) + 1)
            return
        holder = target.holder or ""
        for _ in range(2):
            siblings = [each for each in await self._made.held("page", holder) if each.id != page_id]
            at = next((n for n, each in enumerate(siblings) if each.id == target_id), 0)
            ahead, behind = (at - 1, at) if position == "before" else (at, at + 1)
            low = siblings[ahead].position or 0.0 if ahead >= 0 else (siblings[behind].position or 0.0) - 2
            high = siblings[behind].position or 0.0 if behind < len(siblings) else low + 2
            place = (low + high) / 2
            if low < place < high:
                break
            await self._made.renumber(holder)  # no number is left between the two
        await self._move(page, holder, place)

    async def delete_content(self, kind: str, content_id: str, purge: bool = False) -> None:
        self._gate.check_write()
        what = "comment" if kind == "inline_comment" else kind
        if not await self._made.remove(what, content_id):
            await self._made.put(what, content_id, {"gone": True})

    async def content(self, kind: Kind, content_id: str, body: bool = False) -> SiteContent:
        made = await self._made.get(kind, content_id, body=body)
        if made is None:
            return await self._real.content(kind, content_id, body)
        if made.gone:
            raise NotOnSite(f"read {kind}: it is in the trash", 404)
        return _content(made)

    async def find_content(self, kind: Kind, space_id: str, title: str) -> list[SiteContent]:
        found = [
            content async for content in self._contents(kind, space_id) if kind == "blogpost" and content.title == title
        ]
        if kind == "page":
            made = await self._made.in_slot("page", _slot("page", space_id, title))
            found = [_content(made)] if made is not None and made.state["title"] == title else []
        if not _is_made(space_id):
            for content in await self._real.find_content(kind, space_id, title):
                if await self._made.get(kind, content.id) is None:
                    found.append(content)
        return found

    async def contents(self, kind: Kind, space_id: str, body: bool = False) -> AsyncIterator[SiteContent]:
        async for content in self._contents(kind, space_id):
            yield content
        if not _is_made(space_id):
            async for content in self._real.contents(kind, space_id, body):
                if await self._made.get(kind, content.id) is None:
                    yield content

    async def root_pages(self, space_id: str) -> list[SiteContent]:
        if _is_made(space_id):
            return [_content(each) for each in await self._made.held("page", _ROOT + space_id)]
        for page in await self._real.root_pages(space_id):
            await self._taken_in(page.id, page)
        return [_content(each) for each in await self._made.held("page", _ROOT + space_id)]

    async def children(self, page_id: str) -> AsyncIterator[SiteContent]:
        if not _is_made(page_id):
            async for page in self._real.children(page_id):
                await self._taken_in(page.id, page)
        for each in await self._made.held("page", page_id):
            yield _content(each)

    # -- comments ------------------------------------------------------------------------------------------------

    async def create_footer_comment(
        self,
        *,
        body: str,
        page_id: str | None = None,
        blogpost_id: str | None = None,
        attachment_id: str | None = None,
        parent_id: str | None = None,
        representation: Representation = "storage",
    ) -> SiteComment:
        return await self._comment(body, representation, page_id or blogpost_id or attachment_id, parent_id, False)

    async def create_inline_comment(
        self,
        *,
        body: str,
        page_id: str | None = None,
        blogpost_id: str | None = None,
        selection: str = "",
        count: int = 1,
        index: int = 0,
        parent_id: str | None = None,
        representation: Representation = "storage",
    ) -> SiteComment:
        return await self._comment(body, representation, page_id or blogpost_id, parent_id, True)

    async def update_comment(
        self, comment_id: str, *, inline: bool, body: str, version: int, resolved: bool | None = None
    ) -> SiteComment:
        self._gate.check_write()
        _check_body(body, "storage")
        seen = await self.comment(comment_id, inline)
        if version != seen.version:
            raise VersionConflict("update comment: there is a newer version", 409)
        written = replace(
            seen, body=body, version=version + 1, resolved=seen.resolved if resolved is None else resolved
        )
        await self._put_comment(written)
        return written

    async def comment(self, comment_id: str, inline: bool) -> SiteComment:
        made = await self._made.get("comment", comment_id, body=True)
        if made is None:
            return await self._real.comment(comment_id, inline)
        if made.gone:
            raise NotOnSite("read comment: it was removed", 404)
        return _comment(made)

    async def footer_comments(
        self, container_kind: Literal["page", "blogpost", "attachment"], container_id: str
    ) -> AsyncIterator[SiteComment]:
        if not _is_made(container_id):
            async for found in self._real.footer_comments(container_kind, container_id):
                if await self._made.get("comment", found.id) is None:
                    yield found
        for each in await self._made.held("comment", container_id):
            if not each.state["inline"]:
                yield _comment(each)

    async def inline_comments(self, container_kind: Kind, container_id: str) -> AsyncIterator[SiteComment]:
        if not _is_made(container_id):
            async for found in self._real.inline_comments(container_kind, container_id):
                if await self._made.get("comment", found.id) is None:
                    yield found
        for each in await self._made.held("comment", container_id):
            if each.state["inline"]:
                yield _comment(each)

    async def comment_replies(self, comment_id: str) -> AsyncIterator[SiteComment]:
        if not _is_made(comment_id):
            async for found in self._real.comment_replies(comment_id):
                if await self._made.get("comment", found.id) is None:
                    yield found
        for each in await self._made.held("comment", _below(comment_id)):
            yield _comment(each)

    async def inline_replies(self, comment_id: str) -> AsyncIterator[SiteComment]:
        if not _is_made(comment_id):
            async for found in self._real.inline_replies(comment_id):
                if await self._made.get("comment", found.id) is None:
                    yield found
        for each in await self._made.held("comment", _below(comment_id)):
            yield _comment(each)

    # -- files -----------------------------------------------------------------------------------------------------

    async def create_attachment(
        self,
        content_id: str,
        filename: str,
        media_type: str,
        chunks: AsyncIterator[bytes],
        size: int | None,
        *,
        comment: str | None = None,
        minor: bool = True,
    ) -> SiteAttachment:
        """Reads the file to its end, and keeps its size only."""
        if not _is_made(content_id):
            for kind in ("page", "blogpost"):
                with contextlib.suppress(NotOnSite):
                    async for there in self.attachments("page" if kind == "page" else "blogpost", content_id):
                        if there.filename == filename:
                            raise NameTaken("create attachment: a file of this name is there", 400)
        id = f"att{await self._made.new_id()}"
        made = SiteAttachment(
            id, content_id, filename, 1, await self._read(chunks), media_type, self._me.account_id, _now()
        )
        try:
            await self._put_attachment(made)
        except SlotTaken as error:
            raise NameTaken("create attachment: a file of this name is there", 400) from error
        return made

    async def add_attachment_version(
        self,
        content_id: str,
        attachment_id: str,
        filename: str,
        media_type: str,
        chunks: AsyncIterator[bytes],
        *,
        size: int | None,
        comment: str | None = None,
        minor: bool = True,
    ) -> SiteAttachment:
        bytes_ = await self._read(chunks)
        made = await self._made.get("attachment", attachment_id)
        version = int(made.state["version"]) + 1 if made is not None else 2
        there = SiteAttachment(
            attachment_id, content_id, filename, version, bytes_, media_type, self._me.account_id, _now()
        )
        await self._put_attachment(there)
        return there

    async def attachments(
        self, content_kind: Literal["page", "blogpost"], content_id: str
    ) -> AsyncIterator[SiteAttachment]:
        if not _is_made(content_id):
            async for found in self._real.attachments(content_kind, content_id):
                if await self._made.get("attachment", found.id) is None:
                    yield found
        for each in await self._made.held("attachment", content_id):
            yield _attachment(each)

    async def download_attachment(
        self, content_id: str, attachment_id: str, version: int | None = None
    ) -> AsyncIterator[bytes]:
        """Of what is on the site. A dry run keeps no bytes of what it would have sent."""
        if await self._made.get("attachment", attachment_id) is not None:
            raise NotOnSite("download attachment: a dry run keeps no files", 404)
        async for chunk in self._real.download_attachment(content_id, attachment_id, version):
            yield chunk

    # -- labels, properties, restrictions, watches -------------------------------------------------------------------

    async def add_labels(self, content_id: str, names: Collection[str]) -> None:
        self._gate.check_write()
        _check_labels(names)
        known = await self._made.get("labels", content_id)
        both = {*(known.state["names"] if known is not None else ()), *(name.lower() for name in names)}
        await self._made.put("labels", content_id, {"names": sorted(both)})

    async def labels(self, kind: Literal["page", "blogpost", "attachment"], content_id: str) -> list[str]:
        made = await self._made.get("labels", content_id)
        there = [] if _is_made(content_id) else await self._real.labels(kind, content_id)
        return [*there, *(str(name) for name in made.state["names"])] if made is not None else there

    async def set_property(
        self,
        kind: Literal["page", "blogpost", "attachment", "comment", "space"],
        content_id: str,
        key: str,
        value: object,
    ) -> None:
        self._gate.check_write()

    async def set_restrictions(
        self, content_id: str, restrictions: Mapping[Operation, tuple[Collection[str], Collection[str]]]
    ) -> None:
        self._gate.check_write()
        wanted: dict[str, Any] = {operation: [list(a), list(g)] for operation, (a, g) in restrictions.items() if a or g}
        await self._made.put("restrictions", content_id, wanted)

    async def restrictions(self, content_id: str) -> dict[Operation, tuple[list[str], list[str]]]:
        made = await self._made.get("restrictions", content_id)
        if made is None:
            return {} if _is_made(content_id) else await self._real.restrictions(content_id)
        operations: tuple[Operation, ...] = ("read", "update")
        return {o: (made.state[o][0], made.state[o][1]) for o in operations if o in made.state}

    async def watch_content(self, content_id: str, account_id: str) -> None:
        self._gate.check_write()

    # -- people ------------------------------------------------------------------------------------------------------

    async def find_account(self, email: str) -> Account | None:
        made = await self._made.in_slot("account", _address(email))
        return Account(made.id, None, email) if made is not None else await self._real.find_account(email)

    async def create_account(self, email: str) -> Account:
        self._gate.check_write()
        id = f"dry:{await self._made.new_id()}"
        try:
            await self._made.put("account", id, {}, slot=_address(email))
        except SlotTaken:
            found = await self.find_account(email)
            if found is not None:
                return found
        return Account(id, None, email)

    async def access_groups(self) -> list[SiteGroup]:
        return await self._real.access_groups()

    async def groups_of(self, account_id: str) -> list[SiteGroup]:
        joined = [SiteGroup(str(each.state["group"]), "") for each in await self._made.held("membership", account_id)]
        return joined if account_id.startswith("dry:") else [*await self._real.groups_of(account_id), *joined]

    async def find_group(self, name: str) -> SiteGroup | None:
        made = await self._made.in_slot("group", _address(name))
        return SiteGroup(made.id, name) if made is not None else await self._real.find_group(name)

    async def create_group(self, name: str) -> SiteGroup:
        self._gate.check_write()
        id = await self._made.new_id()
        try:
            await self._made.put("group", id, {}, slot=_address(name))
        except SlotTaken as error:
            raise NameTaken("create group: a group of this name exists", 400) from error
        return SiteGroup(id, name)

    async def add_to_group(self, group_id: str, account_id: str) -> None:
        self._gate.check_write()
        with contextlib.suppress(SlotTaken):  # a member already
            await self._made.put("membership", f"{group_id} {account_id}", {"group": group_id}, holder=account_id)

    async def remove_from_group(self, group_id: str, account_id: str) -> None:
        self._gate.check_write()
        await self._made.remove("membership", f"{group_id} {account_id}")

    async def delete_group(self, group_id: str) -> None:
        self._gate.check_write()
        await self._made.remove("group", group_id)

    async def group_members(self, group_id: str) -> AsyncIterator[Account]:
        async for member in self._real.group_members(group_id):
            yield member

    # -- inside --------------------------------------------------------------------------------------------------------

    def _new(
        self, kind: Kind, id: str, space: str, title: str, parent: str | None, created_at: datetime | None = None
    ) -> SiteContent:
        me = self._me.account_id
        return SiteContent(id, kind, space, title, 1, me, created_at or _now(), me, parent, owner=me)

    async def _check_title(self, kind: Kind, space_id: str, title: str, post: SiteContent | None) -> None:
        """By what is on the site; what the run itself made is found by its slot."""
        if not title.strip() or len(title) > 255:
            raise SiteRefused("a title has 1 to 255 characters", 400)
        if _is_made(space_id):
            return
        for there in await self._real.find_content(kind, space_id, title):
            if await self._made.get(kind, there.id) is None and (post is None or _day(there) == _day(post)):
                raise TitleTaken(f"create {kind}: the title is taken", 400)

    async def _put(self, content: SiteContent, body: str | None, position: float | None = None) -> SiteContent:
        try:
            await self._made.put(
                content.kind,
                content.id,
                _state(content, "body"),
                space=content.space_id,
                holder=(content.parent or _ROOT + content.space_id) if content.kind == "page" else None,
                slot=_slot(content.kind, content.space_id, content.title, content),
                position=position,
                body=body,
            )
        except SlotTaken as error:
            raise TitleTaken(f"write {content.kind}: the title is taken", 400) from error
        return content

    async def _update(
        self,
        kind: Kind,
        id: str,
        title: str,
        body: str,
        version: int,
        representation: Representation,
        parent_id: str | None,
        owner_id: str | None,
    ) -> SiteContent:
        self._gate.check_write()
        _check_body(body, representation)
        seen = await self.content(kind, id)
        if version != seen.version:
            raise VersionConflict(f"update {kind}: there is a newer version", 409)
        if title != seen.title:
            await self._check_title(kind, seen.space_id, title, seen if kind == "blogpost" else None)
        written = replace(
            seen,
            title=title,
            version=version + 1,
            last_editor=self._me.account_id,
            parent=parent_id or seen.parent,
            owner=owner_id or seen.owner,
        )
        return await self._put(written, body)

    async def _taken_in(self, page_id: str, page: SiteContent | None = None) -> Made:
        """A page of the site among those of the dry run, so that it can be moved."""
        made = await self._made.get("page", page_id)
        if made is None:
            seen = page or await self._real.content("page", page_id, body=True)
            await self._put(replace(seen, body=None), seen.body, float(seen.position or 0))
            made = await self._made.get("page", page_id)
        assert made is not None
        return made

    async def _move(self, page: Made, holder: str, place: float) -> None:
        parent = None if holder.startswith(_ROOT) else holder
        await self._put(replace(_content(page), parent=parent), None, place)

    async def _contents(self, kind: Kind, space_id: str) -> AsyncIterator[SiteContent]:
        async for made in self._made.of_space(kind, space_id):
            if not made.gone:
                yield _content(made)

    async def _comment(
        self, body: str, representation: Representation, container: str | None, parent: str | None, inline: bool
    ) -> SiteComment:
        self._gate.check_write()
        _check_body(body, representation)
        made = SiteComment(await self._made.new_id(), container, parent, 1, self._me.account_id, _now(), body, inline)
        await self._put_comment(made)
        return made

    async def _put_comment(self, comment: SiteComment) -> None:
        holder = comment.container if comment.parent is None else _below(comment.parent)
        await self._made.put("comment", comment.id, _state(comment, "body"), holder=holder, body=comment.body)

    async def _put_attachment(self, made: SiteAttachment) -> None:
        slot = f"{made.container} {made.filename.casefold()}"
        await self._made.put("attachment", made.id, _state(made), holder=made.container, slot=f"attachment {slot}")

    async def _read(self, chunks: AsyncIterator[bytes]) -> int:
        size = 0
        async for chunk in chunks:
            self._gate.check_write()
            size += len(chunk)
        self._gate.check_write()
        return size


def _is_made(id: str) -> bool:
    """Whether an id of content, a space or a file is one that a dry run gave."""
    return len(number := id.removeprefix("att")) >= 16 and number.startswith("9")


def _slot(kind: Kind, space: str, title: str, post: SiteContent | None = None) -> str:
    """Pages of a space differ by title, its blog posts by title and day."""
    day = f" {_day(post)}" if kind == "blogpost" and post is not None else ""
    return f"{kind} {space}{day} {title.casefold()}"


def _day(content: SiteContent) -> str:
    return content.created_at.astimezone(UTC).date().isoformat() if content.created_at else ""


def _address(text: str) -> str:
    return text.strip().casefold()


def _below(comment: str) -> str:
    return f"comment:{comment}"


def _now() -> datetime:
    return datetime.now(UTC)


def _check_body(body: str, representation: Representation) -> None:
    """What the site refuses at once: too large, or no well-formed storage format."""
    if len(body.encode()) > BODY_LIMIT:
        raise TooLarge("the body is larger than the site accepts", 413)
    if representation == "storage":
        parser = expat.ParserCreate()
        parser.UseForeignDTD(True)  # so that entities of HTML are no error
        try:
            parser.Parse(f"<body>{body}</body>", True)
        except expat.ExpatError as error:
            raise SiteRefused("the body is not well-formed storage format", 400) from error


def _check_labels(names: Collection[str]) -> None:
    for name in names:
        if not name or len(name) > LABEL_LIMIT or _NOT_IN_LABELS & set(name):
            raise SiteRefused("a label holds characters that are not allowed, or is too long", 400)


def _state(value: Any, *without: str) -> dict[str, Any]:
    told = {name: field for name, field in asdict(value).items() if name not in without}
    return {name: field.isoformat() if isinstance(field, datetime) else field for name, field in told.items()}


def _fields(made: Made) -> dict[str, Any]:
    fields = dict(made.state)
    if fields.get("created_at") is not None:
        fields["created_at"] = datetime.fromisoformat(fields["created_at"])
    return fields


def _space(made: Made) -> SiteSpace:
    return SiteSpace(**_fields(made))


def _content(made: Made) -> SiteContent:
    return SiteContent(**_fields(made), body=made.body)


def _comment(made: Made) -> SiteComment:
    return SiteComment(**_fields(made), body=made.body or "")


def _attachment(made: Made) -> SiteAttachment:
    return SiteAttachment(**_fields(made))
