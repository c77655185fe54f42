"""Comments, by depth: replies come after what they answer.

A comment on a piece of text is placed again by that text: no public API joins it to a marker that is in a body. Where the
text is not to be found, it becomes a comment below the page that quotes it.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from html import escape

from services.executor.bodies import Bodies, Body
from services.executor.entities import work_through
from services.executor.job import Job, Row
from services.executor.phases.common import digest, why_not_there
from services.executor.phases.shades import Shades
from shared.confluence import storage
from shared.confluence.model import Comment
from shared.confluence.site import NotOnSite, SiteComment, SiteRefused
from shared.events.catalog.work import Entity, Kind
from shared.events.reasons import Reason


@dataclass(frozen=True, slots=True)
class Spot:
    """Where a comment goes: below ``container``, as an answer to ``parent``, or on a piece of the container's text."""

    kind: Kind
    container: str
    parent: str | None = None
    inline: bool = False
    place: storage.Place | None = None


async def move(job: Job) -> None:
    mover = _Mover(job, await Bodies.of(job))
    await job.claim.end(await work_through(job, await job.rows(), mover.handle))


class _Mover:
    """Remembers the text of the page at hand: comments come page by page."""

    def __init__(self, job: Job, bodies: Bodies) -> None:
        self._job, self._bodies, self._shades = job, bodies, Shades(job)
        self._page: tuple[str, str] = ("", "")

    async def handle(self, row: Row, look: bool) -> Entity:
        job = self._job
        comment = await job.source.comment(row.id)
        container = await job.content_target(row.container or "")
        if container is None:
            return row.skipped(await why_not_there(job, Kind.ATTACHMENT, row.container or ""))
        kind, target = container
        parent = await job.target(Kind.COMMENT, row.parent) if row.parent else None
        defect = Reason.PARENT_NOT_MOVED if row.parent and parent is None else None
        body = await self._bodies.rewrite(comment)
        await self._shades.over(row.container or "")
        if job.saved.follow is not None and (there := await job.target(Kind.COMMENT, row.id)) is not None:
            return await _bring(job, row, comment, body, there)
        if parent is not None:
            inline = kind is not Kind.ATTACHMENT and await _on_text(job, comment)
            return await self._make(row, look, comment, body, Spot(kind, target, parent, inline), defect)
        if comment.location == "inline" and kind is not Kind.ATTACHMENT and comment.format == "storage":
            place = storage.place(await self._text(row.container or ""), comment.marker, comment.selection)
            if place is not None:
                try:
                    return await self._make(row, look, comment, body, Spot(kind, target, None, True, place), defect)
                except SiteRefused:
                    pass  # it renders the text otherwise than was foreseen
            defect = Reason.PLACE_NOT_FOUND
        return await self._make(row, look, comment, body, Spot(kind, target), defect)

    async def _text(self, container: str) -> str:
        """The body as it is on the site, the markers still in it."""
        if self._page[0] != container:
            content = await self._job.content(container)
            self._page = (container, (await self._bodies.rewrite(content, markers=True)).text)
        return self._page[1]

    async def _make(
        self, row: Row, look: bool, comment: Comment, body: Body, spot: Spot, defect: Reason | None
    ) -> Entity:
        job = self._job
        text = body.text if spot.inline or spot.parent else quoted(comment, body.text)
        made, adopted = await self._adopted(row, spot, text) if look else None, True
        while made is None:
            new, adopted = await _created(job, comment, spot, text), False
            if await job.take(row, new.id):
                made = new
            # Else a chunk with an equal comment was quicker to find it than this one to say whose it is: then one is missing.
        if comment.resolved and spot.place is not None and not made.resolved:
            made = await job.site.update_comment(made.id, inline=True, body=text, version=made.version, resolved=True)
        return row.migrated(
            made.id, defect, target_version=made.version, digest=digest(text), adopted=adopted or None, **body.told
        )

    async def _adopted(self, row: Row, spot: Spot, text: str) -> SiteComment | None:
        """Of several equal ones each is taken once, in the order of the source."""
        async for found in _siblings(self._job, spot):
            if (
                found.author == self._job.me.account_id
                and storage.plain_text(found.body) == storage.plain_text(text)
                and await self._job.take(row, found.id)
            ):
                return found
        return None


async def _bring(job: Job, row: Row, comment: Comment, body: Body, there: str) -> Entity:
    """What somebody said anew at the source, or closed or reopened there, in the comment that an earlier plan moved."""
    last = await job.outcome(Kind.COMMENT, row.id)
    assert last is not None
    try:
        seen = await job.site.comment(there, inline=False)
    except NotOnSite:
        try:
            seen = await job.site.comment(there, inline=True)
        except NotOnSite:
            return row.skipped(Reason.GONE_ON_SITE)
    text = body.text if seen.inline or comment.parent is not None else quoted(comment, body.text)
    again = job.has_begun(row) and seen.version == last["target_version"] + 1 and digest(seen.body) == digest(text)
    if seen.version != last["target_version"] and not again:
        return row.skipped(Reason.CHANGED_ON_SITE)
    listed = await job.listed_by(last["task"], Kind.COMMENT, row.id)
    # Whoever closed it on the site has the last word, unless the source closed or reopened it since.
    news = comment.parent is None and listed is not None and listed["resolved"] != comment.resolved
    turned = news and seen.inline and seen.resolved != comment.resolved
    if (turned or digest(text) != last["digest"]) and not again:
        resolved = comment.resolved if turned else None
        seen = await job.site.update_comment(
            there, inline=seen.inline, body=text, version=seen.version, resolved=resolved
        )
    return row.migrated(
        there, last["reason"] and Reason(last["reason"]), target_version=seen.version, digest=digest(text), **body.told
    )


async def _created(job: Job, comment: Comment, spot: Spot, text: str) -> SiteComment:
    page = spot.container if spot.parent is None and spot.kind is Kind.PAGE else None
    post = spot.container if spot.parent is None and spot.kind is Kind.BLOGPOST else None
    if spot.place is not None:
        return await job.site.create_inline_comment(
            body=text,
            page_id=page,
            blogpost_id=post,
            selection=spot.place.text,
            count=spot.place.count,
            index=spot.place.index,
        )
    if spot.inline:
        return await job.site.create_inline_comment(body=text, parent_id=spot.parent, representation=comment.format)
    return await job.site.create_footer_comment(
        body=text,
        representation=comment.format,
        parent_id=spot.parent,
        page_id=page,
        blogpost_id=post,
        attachment_id=spot.container if spot.parent is None and spot.kind is Kind.ATTACHMENT else None,
    )


async def _on_text(job: Job, comment: Comment) -> bool:
    """Whether the thread that a reply belongs to hangs on a piece of text on the site."""
    top = comment
    while top.parent is not None:
        top = await job.source.comment(top.parent)
    if top.location != "inline":
        return False
    outcome = await job.outcome(Kind.COMMENT, top.id)
    return outcome is None or outcome["reason"] != Reason.PLACE_NOT_FOUND


def quoted(comment: Comment, body: str) -> str:
    """Of a comment on a piece of text that stands below the page: with the text before it."""
    if comment.location == "inline" and comment.selection and comment.format == "storage":
        return f"<blockquote><p>{escape(comment.selection)}</p></blockquote>{body}"
    return body


def _siblings(job: Job, spot: Spot) -> AsyncIterator[SiteComment]:
    if spot.parent is not None:
        return job.site.inline_replies(spot.parent) if spot.inline else job.site.comment_replies(spot.parent)
    if spot.inline:
        return job.site.inline_comments("page" if spot.kind is Kind.PAGE else "blogpost", spot.container)
    if spot.kind is Kind.PAGE:
        return job.site.footer_comments("page", spot.container)
    return job.site.footer_comments("blogpost" if spot.kind is Kind.BLOGPOST else "attachment", spot.container)
