"""Verification: what the space holds on the site, read back by id and by list, against what was recorded.

It also finds strays: content that the migrator's account made in the space and that stands for nothing, left behind by a
worker that lost its lease with a request under way. They are removed, and named in the chunk's end.
"""

import structlog

from services.executor.job import Draining, Job, Row
from shared.confluence.site import NotOnSite, SiteAttachment, SiteComment
from shared.events.catalog.chunk import Difference
from shared.events.catalog.work import Kind
from shared.events.reasons import Reason

log = structlog.get_logger(__name__)


async def verify(job: Job) -> None:
    """Goes over the chunk's pages and blog posts; the first chunk also looks for stray ones in the whole space."""
    strays: list[str] = []
    differences: list[Difference] = []
    rows = await job.rows(Kind.BODY)
    if job.claim.purpose == "settle":
        await job.claim.end(())
        return
    for n, row in enumerate(rows):
        job.claim.progress.update(done=n, of=len(rows))
        if job.claim.draining:
            await job.claim.release(())
            raise Draining
        await _content(job, row, strays, differences)
    if await _is_first(job) and not await job.into_earlier():
        await _stray_contents(job, strays)
    if differences:
        log.warning("verification found differences", space=job.space_id, count=len(differences))
    await job.claim.end(
        (),
        strays=strays,
        differences=differences[:500],
        fatal=Reason.VERIFICATION_DIFFERENCE if differences else None,
    )


async def _is_first(job: Job) -> bool:
    first = await job.pool.fetchval(
        "SELECT min(first_ordinal) FROM work.chunk WHERE task = $1 AND phase = 'verification'", job.claim.work.task
    )
    return bool(first == job.claim.work.first)


async def _stray_contents(job: Job, strays: list[str]) -> None:
    space = await job.space()
    for kind in ("page", "blogpost"):
        async for found in job.site.contents("page" if kind == "page" else "blogpost", space.id):
            if (
                found.author == job.me.account_id
                and found.id != space.homepage_id
                and not await job.is_mapped(found.id)
            ):
                await job.site.delete_content("page" if kind == "page" else "blogpost", found.id)
                strays.append(found.id)


async def _content(job: Job, row: Row, strays: list[str], differences: list[Difference]) -> None:
    kind = Kind(row.parent or "page")
    target = await job.target(kind, row.id)
    if target is None:
        return  # it did not move, and its outcome says so
    place = "page" if kind is Kind.PAGE else "blogpost"
    try:
        await job.site.content("page" if place == "page" else "blogpost", target)
    except NotOnSite:
        differences.append(Difference(kind=kind, id=row.id, what="missing"))
        return
    await _attachments(job, row, place, target, strays, differences)
    await _comments(job, row, place, target, strays, differences)


async def _mapped(job: Job, kind: Kind, container: str) -> dict[str, tuple[str, int | None]]:
    """Target → (source id, size) of what moved onto this page or blog post."""
    return {
        str(r["target"]): (str(r["id"]), r["size"])
        for r in await job.pool.fetch(
            "SELECT m.target, i.id, i.size FROM work.inventory i JOIN work.id_map m ON m.site = $5 AND m.source = $6"
            " AND m.kind = i.kind AND m.id = i.id WHERE i.task = $1 AND i.epoch = $2 AND i.kind = $3 AND i.container = $4",
            job.claim.work.task,
            job.epoch,
            kind.value,
            container,
            job.site_id,
            job.source_id,
        )
    }


async def _attachments(
    job: Job, row: Row, place: str, target: str, strays: list[str], differences: list[Difference]
) -> None:
    expected = await _mapped(job, Kind.ATTACHMENT, row.id)
    if not expected:
        return
    there: dict[str, SiteAttachment] = {}
    async for found in job.site.attachments("page" if place == "page" else "blogpost", target):
        there[found.id] = found
    for id in expected:
        if id not in there:
            differences.append(Difference(kind=Kind.ATTACHMENT, id=expected[id][0], what="missing"))
    for found in there.values():
        if found.id not in expected and found.author == job.me.account_id and not await job.is_mapped(found.id):
            await job.site.delete_content("attachment", found.id)
            strays.append(found.id)


async def _comments(
    job: Job, row: Row, place: str, target: str, strays: list[str], differences: list[Difference]
) -> None:
    expected = await _mapped(job, Kind.COMMENT, row.id)
    if not expected:
        return
    there: dict[str, SiteComment] = {}
    waiting: list[str] = []
    async for found in job.site.footer_comments("page" if place == "page" else "blogpost", target):
        there[found.id] = found
        waiting.append(found.id)
    while waiting:
        async for found in job.site.comment_replies(waiting.pop()):
            there[found.id] = found
            waiting.append(found.id)
    for id in expected:
        if id not in there:
            differences.append(Difference(kind=Kind.COMMENT, id=expected[id][0], what="missing"))
    for found in reversed(there.values()):
        if found.id not in expected and found.author == job.me.account_id and not await job.is_mapped(found.id):
            await job.site.delete_content("comment", found.id)
            strays.append(found.id)
