"""What hangs on content, as a dry run sees it: comments, files, labels, properties, restrictions."""

import contextlib
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from dataclasses import replace
from typing import Any, Literal, TypeVar

from services.executor.dry.objects import Made, SlotTaken
from services.executor.dry.overlay import (
    Overlay,
    attachment_of,
    below,
    check_body,
    check_labels,
    comment_of,
    is_made,
    now,
    state_of,
)
from shared.confluence.cloud.content import Kind, Operation, Representation
from shared.confluence.site import (
    NameTaken,
    NotOnSite,
    SiteAttachment,
    SiteComment,
    VersionConflict,
)

There = TypeVar("There", SiteComment, SiteAttachment)


class Besides(Overlay):
    """Part of ``DrySite``."""

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
        check_body(body, "storage")
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
        return comment_of(made)

    async def footer_comments(
        self, container_kind: Literal["page", "blogpost", "attachment"], container_id: str
    ) -> AsyncIterator[SiteComment]:
        there = self._real.footer_comments(container_kind, container_id)
        async for each in self._comments(there, container_id, container_id):
            if not each.inline:
                yield each

    async def inline_comments(self, container_kind: Kind, container_id: str) -> AsyncIterator[SiteComment]:
        there = self._real.inline_comments(container_kind, container_id)
        async for each in self._comments(there, container_id, container_id):
            if each.inline:
                yield each

    def comment_replies(self, comment_id: str) -> AsyncIterator[SiteComment]:
        return self._comments(self._real.comment_replies(comment_id), comment_id, below(comment_id))

    def inline_replies(self, comment_id: str) -> AsyncIterator[SiteComment]:
        return self._comments(self._real.inline_replies(comment_id), comment_id, below(comment_id))

    def _comments(self, there: AsyncIterator[SiteComment], on: str, holder: str) -> AsyncIterator[SiteComment]:
        return self._with_made("comment", there, on, holder, comment_of)

    async def _with_made(
        self, kind: str, there: AsyncIterator[There], on: str, holder: str, shape: Callable[[Made], There]
    ) -> AsyncIterator[There]:
        """``there``: what the site holds on ``on``. It comes first, but for what a dry run changed; then that and what it made."""
        if not is_made(on):
            async for found in there:
                if await self._made.get(kind, found.id) is None:
                    yield found
        for made in await self._made.held(kind, holder):
            yield shape(made)

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
        if not is_made(content_id):
            kinds: tuple[Kind, ...] = ("page", "blogpost")
            for kind in kinds:
                with contextlib.suppress(NotOnSite):
                    async for there in self.attachments(kind, content_id):
                        if there.filename == filename:
                            raise NameTaken("create attachment: a file of this name is there", 400)
        id = f"att{await self._made.new_id()}"
        made = SiteAttachment(
            id, content_id, filename, 1, await self._read(chunks), media_type, self._me.account_id, now()
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
            attachment_id, content_id, filename, version, bytes_, media_type, self._me.account_id, now()
        )
        await self._put_attachment(there)
        return there

    def attachments(self, content_kind: Literal["page", "blogpost"], content_id: str) -> AsyncIterator[SiteAttachment]:
        there = self._real.attachments(content_kind, content_id)
        return self._with_made("attachment", there, content_id, content_id, attachment_of)

    async def download_attachment(
        self, content_id: str, attachment_id: str, version: int | None = None
    ) -> AsyncIterator[bytes]:
        """Of what is on the site. A dry run keeps no bytes of what it would have sent."""
        if await self._made.get("attachment", attachment_id) is not None:
            raise NotOnSite("download attachment: a dry run keeps no files", 404)
        async for chunk in self._real.download_attachment(content_id, attachment_id, version):
            yield chunk

    async def add_labels(self, content_id: str, names: Collection[str]) -> None:
        self._gate.check_write()
        check_labels(names)
        known = await self._made.get("labels", content_id)
        both = {*(known.state["names"] if known is not None else ()), *(name.lower() for name in names)}
        await self._made.put("labels", content_id, {"names": sorted(both)})

    async def labels(self, kind: Literal["page", "blogpost", "attachment"], content_id: str) -> list[str]:
        made = await self._made.get("labels", content_id)
        there = [] if is_made(content_id) else await self._real.labels(kind, content_id)
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
            return {} if is_made(content_id) else await self._real.restrictions(content_id)
        operations: tuple[Operation, ...] = ("read", "update")
        return {o: (made.state[o][0], made.state[o][1]) for o in operations if o in made.state}

    async def watch_content(self, content_id: str, account_id: str) -> None:
        self._gate.check_write()

    async def _comment(
        self, body: str, representation: Representation, container: str | None, parent: str | None, inline: bool
    ) -> SiteComment:
        self._gate.check_write()
        check_body(body, representation)
        made = SiteComment(await self._made.new_id(), container, parent, 1, self._me.account_id, now(), body, inline)
        await self._put_comment(made)
        return made

    async def _put_comment(self, comment: SiteComment) -> None:
        holder = comment.container if comment.parent is None else below(comment.parent)
        await self._made.put("comment", comment.id, state_of(comment, "body"), holder=holder, body=comment.body)

    async def _put_attachment(self, made: SiteAttachment) -> None:
        slot = f"{made.container} {made.filename.casefold()}"
        await self._made.put("attachment", made.id, state_of(made), holder=made.container, slot=f"attachment {slot}")

    async def _read(self, chunks: AsyncIterator[bytes]) -> int:
        size = 0
        async for chunk in chunks:
            self._gate.check_write()
            size += len(chunk)
        self._gate.check_write()
        return size
