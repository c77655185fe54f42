"""What the phases of pages and blog posts share: their titles, the digest of a body, the outcome of one that moved."""

import hashlib
from collections.abc import Iterator

from services.executor.bodies import Body
from services.executor.job import Job, Row
from shared.confluence.site import SiteContent
from shared.events.catalog.work import Entity, Kind
from shared.events.reasons import Reason

_MOST_CLASHES = 50


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def titles(title: str) -> Iterator[tuple[str, Reason | None]]:
    """The title, then what it becomes where it is taken."""
    title = title[:255] or "Untitled"
    yield title, None
    for n in range(2, _MOST_CLASHES):
        suffix = f" ({n})"
        yield title[: 255 - len(suffix)] + suffix, Reason.TITLE_CLASH


async def why_not_there(job: Job, id: str | None) -> Reason:
    """Why what something hangs on has not moved: on a file that the source does not hold nothing can, and that was known before."""
    without_file = await job.pool.fetchval(
        "SELECT true FROM work.outcome WHERE task = $1 AND kind = 'attachment' AND id = $2 AND reason = 'file_missing'",
        job.claim.work.task,
        id,
    )
    return Reason.FILE_MISSING if without_file else Reason.PARENT_NOT_MOVED


async def read(job: Job, kind: Kind, target: str, body: bool = False) -> SiteContent:
    return await job.site.content("blogpost" if kind is Kind.BLOGPOST else "page", target, body)


def moved(row: Row, content: SiteContent, body: Body, reason: Reason | None, adopted: bool = False) -> Entity:
    """``adopted``: made by an earlier attempt, with the body of that moment, which may know fewer targets than this one:
    what is on the site is not what was rewritten just now, so the second pass has to write it. What a body says is told
    once, when it is written for good."""
    pending = body.pending or adopted
    return row.migrated(
        content.id,
        reason,
        target_version=content.version,
        digest=None if adopted else digest(body.text),
        pending=pending or None,
        adopted=adopted or None,
        **({} if pending else body.told),
    )
