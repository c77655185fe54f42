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


async def why_not_there(job: Job, kind: Kind, id: str) -> Reason:
    """Why something does not move that hangs on what did not: what was skipped has nothing hanging on it, for the same reason."""
    reason = await job.pool.fetchval(
        "SELECT reason FROM work.outcome WHERE task = $1 AND kind = $2 AND id = $3 AND outcome = 'skipped'",
        job.claim.work.task,
        kind.value,
        id,
    )
    return Reason(reason) if reason else Reason.PARENT_NOT_MOVED


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
