"""Pages and blog posts as a dry run sees them."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime
from typing import Literal

from services.executor.dry.objects import Made, SlotTaken
from services.executor.dry.overlay import (
    ROOT,
    Overlay,
    check_body,
    content_of,
    day,
    is_made,
    now,
    slot,
    space_of,
    state_of,
)
from shared.confluence.cloud.content import Kind, Representation
from shared.confluence.site import (
    NotOnSite,
    SiteContent,
    SiteRefused,
    TitleTaken,
    VersionConflict,
)


class Contents(Overlay):
    """Part of ``DrySite``."""

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
        check_body(body, representation)
        await self._check_title("page", space_id, title, None)
        id = await self._made.new_id()
        if parent_id is None and not root_level:
            home = await self._made.get("space", space_id)
            parent_id = space_of(home).homepage_id if home is not None else None
        page = self._new("page", id, space_id, title, parent_id)
        place = await self._made.last_position(parent_id or ROOT + space_id) + 1
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
        check_body(body, representation)
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
        return content_of(made)

    async def find_content(self, kind: Kind, space_id: str, title: str) -> list[SiteContent]:
        found = [
            content async for content in self._contents(kind, space_id) if kind == "blogpost" and content.title == title
        ]
        if kind == "page":
            made = await self._made.in_slot("page", slot("page", space_id, title))
            found = [content_of(made)] if made is not None and made.state["title"] == title else []
        if not is_made(space_id):
            for content in await self._real.find_content(kind, space_id, title):
                if await self._made.get(kind, content.id) is None:
                    found.append(content)
        return found

    async def contents(
        self, kind: Kind, space_id: str, body: bool = False, *, archived: bool = False
    ) -> AsyncIterator[SiteContent]:
        async for content in self._contents(kind, space_id):
            yield content
        if not is_made(space_id):
            async for content in self._real.contents(kind, space_id, body, archived=archived):
                if await self._made.get(kind, content.id) is None:
                    yield content

    async def root_pages(self, space_id: str) -> list[SiteContent]:
        if is_made(space_id):
            return [content_of(each) for each in await self._made.held("page", ROOT + space_id)]
        for page in await self._real.root_pages(space_id):
            await self._taken_in(page.id, page)
        return [content_of(each) for each in await self._made.held("page", ROOT + space_id)]

    async def children(self, page_id: str) -> AsyncIterator[SiteContent]:
        if not is_made(page_id):
            async for page in self._real.children(page_id):
                await self._taken_in(page.id, page)
        for each in await self._made.held("page", page_id):
            yield content_of(each)

    def _new(
        self, kind: Kind, id: str, space: str, title: str, parent: str | None, created_at: datetime | None = None
    ) -> SiteContent:
        me = self._me.account_id
        return SiteContent(id, kind, space, title, 1, me, created_at or now(), me, parent, owner=me)

    async def _check_title(self, kind: Kind, space_id: str, title: str, post: SiteContent | None) -> None:
        """By what is on the site; what the run itself made is found by its slot."""
        if not title.strip() or len(title) > 255:
            raise SiteRefused("a title has 1 to 255 characters", 400)
        if is_made(space_id):
            return
        for there in await self._real.find_content(kind, space_id, title):
            if await self._made.get(kind, there.id) is None and (post is None or day(there) == day(post)):
                raise TitleTaken(f"create {kind}: the title is taken", 400)

    async def _put(self, content: SiteContent, body: str | None, position: float | None = None) -> SiteContent:
        try:
            await self._made.put(
                content.kind,
                content.id,
                state_of(content, "body"),
                space=content.space_id,
                holder=(content.parent or ROOT + content.space_id) if content.kind == "page" else None,
                slot=slot(content.kind, content.space_id, content.title, content),
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
        check_body(body, representation)
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
        parent = None if holder.startswith(ROOT) else holder
        await self._put(replace(content_of(page), parent=parent), None, place)

    async def _contents(self, kind: Kind, space_id: str) -> AsyncIterator[SiteContent]:
        async for made in self._made.of_space(kind, space_id):
            if not made.gone:
                yield content_of(made)
