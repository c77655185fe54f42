"""Comments, by depth: replies come after what they answer.

An inline comment cannot be joined to its marker by any public API; it becomes a footer comment that quotes the text it
was about.
"""

from collections.abc import AsyncIterator
from html import escape

from services.executor.bodies import Bodies
from services.executor.entities import work_through
from services.executor.job import Job, Row
from shared.confluence import storage
from shared.confluence.model import Comment
from shared.confluence.site import SiteComment
from shared.events.catalog.work import Entity, Kind
from shared.events.reasons import Reason


async def move(job: Job) -> None:
    bodies = await Bodies.of(job, final=True)

    async def handle(row: Row, look: bool) -> Entity:
        comment = await job.source.comment(row.id)
        container = await job.content_target(row.container or "")
        if container is None:
            return row.skipped(await _why_without_container(job, row))
        kind, target = container
        defect = None
        parent = await job.target(Kind.COMMENT, row.parent) if row.parent else None
        if row.parent and parent is None:
            defect = Reason.PARENT_NOT_MOVED
        text = _quoted(comment, (await bodies.rewrite(comment)).text)
        if look:
            async for found in _siblings(job, kind, target, parent):
                if await _adoptable(job, found, text):
                    job.taken.add(found.id)
                    return row.migrated(found.id, defect, target_version=found.version, adopted=True)
        made = await job.site.create_footer_comment(
            body=text,
            representation=comment.format,
            parent_id=parent,
            page_id=target if parent is None and kind is Kind.PAGE else None,
            blogpost_id=target if parent is None and kind is Kind.BLOGPOST else None,
            attachment_id=target if parent is None and kind is Kind.ATTACHMENT else None,
        )
        return row.migrated(made.id, defect, target_version=made.version)

    await job.claim.end(await work_through(job, await job.rows(), handle))


async def _why_without_container(job: Job, row: Row) -> Reason:
    """A comment on a file that the source does not hold has nothing to hang on, and that was known before."""
    without_file = await job.pool.fetchval(
        "SELECT true FROM work.outcome WHERE task = $1 AND kind = 'attachment' AND id = $2 AND reason = 'file_missing'",
        job.claim.work.task,
        row.container,
    )
    return Reason.FILE_MISSING if without_file else Reason.PARENT_NOT_MOVED


def _quoted(comment: Comment, body: str) -> str:
    if comment.location == "inline" and comment.selection and comment.format == "storage":
        return f"<blockquote><p>{escape(comment.selection)}</p></blockquote>{body}"
    return body


def _siblings(job: Job, kind: Kind, container: str, parent: str | None) -> AsyncIterator[SiteComment]:
    if parent is not None:
        return job.site.comment_replies(parent)
    place = {Kind.PAGE: "page", Kind.BLOGPOST: "blogpost"}.get(kind, "attachment")
    if place == "page":
        return job.site.footer_comments("page", container)
    return job.site.footer_comments("blogpost" if place == "blogpost" else "attachment", container)


async def _adoptable(job: Job, found: SiteComment, text: str) -> bool:
    """Of several equal ones each is taken once, in the order of the source."""
    return (
        found.author == job.me.account_id
        and storage.plain_text(found.body) == storage.plain_text(text)
        and not await job.is_mapped(found.id)
    )
