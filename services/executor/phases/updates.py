"""Bringing to the site what changed at the source since an earlier plan moved it, without touching what people changed there.

What the plans before wrote last is recorded: version, digest, place. Where the site still shows that, it is nobody else's and
may be replaced; where it does not, the change is a conflict, which is listed, and what is on the site stays as it is.
"""

import hashlib

from services.executor.bodies import Body
from services.executor.job import Job, Row, Written
from services.executor.phases import common
from services.executor.phases.shades import Shades
from shared.confluence.model import Content
from shared.confluence.site import NotOnSite, SiteContent, TitleTaken, VersionConflict
from shared.events.catalog.work import Entity, Kind
from shared.events.reasons import Reason


async def bring(job: Job, row: Row, kind: Kind, target: str, content: Content, body: Body, shades: Shades) -> Entity:
    """Text, title and place of a page or blog post that an earlier plan moved."""
    try:
        seen = await common.read(job, kind, target)
    except NotOnSite:
        return row.skipped(Reason.GONE_ON_SITE)
    written = await job.written(kind, row.id)
    # A version above the recorded one may be an earlier attempt's of this very chunk.
    ours = written is not None and not written.foreign and _untouched(job, row, seen, written)
    if kind is Kind.PAGE and not row.homepage:
        place = await _place(job, row, seen, written)
        if isinstance(place, Reason):
            return row.skipped(place)
    else:
        place = False
    same = written is not None and written.digest == hashlib.sha256(body.text.encode()).hexdigest()
    clashed = written is not None and written.reason == Reason.TITLE_CLASH
    titled = _titled(seen.title, content.title, clashed)
    if not (same and titled) and not ours:
        return row.skipped(Reason.CHANGED_ON_SITE)
    if place:
        await _move(job, row, target, content, shades)
    else:
        await shades.draw(content, target)
    if same and titled:
        clash = Reason.TITLE_CLASH if clashed else None
        # A version that somebody else made of it is not recorded: it stays theirs for every plan that comes.
        version = seen.version if ours else written and written.version
        return row.migrated(seen.id, clash, target_version=version, digest=written and written.digest, **body.told)
    update = job.site.update_page if kind is Kind.PAGE else job.site.update_blogpost
    for title, clash in common.titles(content.title):
        try:
            made = await update(
                seen.id, title=title, body=body.text, version=seen.version, representation=content.format
            )
        except TitleTaken:
            continue
        except VersionConflict:
            return row.skipped(Reason.CHANGED_ON_SITE)
        return common.moved(row, made, body, clash)
    return row.failed(Reason.TITLE_CLASH)


def _untouched(job: Job, row: Row, seen: SiteContent, written: Written) -> bool:
    if seen.version == written.version:
        return True
    again = job.has_begun(row) and seen.version == written.version + 1
    return again and seen.last_editor == job.me.account_id


def _titled(there: str, title: str, clashed: bool) -> bool:
    title = title[:255] or "Untitled"
    return there.strip() == title.strip() or (clashed and there.startswith(title[:200]))


async def _place(job: Job, row: Row, seen: SiteContent, written: Written | None) -> bool | Reason:
    """Whether the page has to move, or that it was moved both at the source and on the site."""
    wanted = await job.target(Kind.PAGE, row.parent) if row.parent else None
    if row.parent and wanted is None:
        return False  # it stays where it is until the page above it is there
    if seen.parent == wanted:
        return False
    before = await job.listed_by(written.task if written is not None else None, Kind.PAGE, row.id)
    parent = before["parent"] if before is not None else None
    if written is not None and written.reason == Reason.PARENT_NOT_MOVED:
        parent = None
    elif parent == row.parent:
        return False  # somebody moved it on the site, and nothing is new at the source
    stood = await job.target(Kind.PAGE, parent) if parent else None
    return True if seen.parent == stood else Reason.CHANGED_ON_SITE


async def _move(job: Job, row: Row, target: str, content: Content, shades: Shades) -> None:
    """Below its new parent, or to the top. Its place among the others there is the phase of order's."""
    parent = await job.target(Kind.PAGE, row.parent) if row.parent is not None else None
    async with shades.moving(content, target, parent):
        if parent is not None:
            await job.site.move_page(target, "append", parent)
        elif top := [page.id for page in await job.site.root_pages((await job.space()).id) if page.id != target]:
            await job.site.move_page(target, "after", top[-1])
