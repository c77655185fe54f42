"""Pages, by depth, and blog posts; then the second pass over their bodies, when every page that links may name is there."""

import hashlib
from collections.abc import Iterator

from services.executor.bodies import Bodies
from services.executor.entities import work_through
from services.executor.job import Job, Row
from shared.confluence.model import Content
from shared.confluence.site import SiteContent, TitleTaken, VersionConflict
from shared.events.catalog.work import Entity, Kind
from shared.events.reasons import Reason

_MOST_CLASHES = 50
PLACEHOLDER = "<p>…</p>"  # of a page that is made only to hold attachments, until its space moves whole


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def titles(title: str) -> Iterator[tuple[str, Reason | None]]:
    """The title, then what it becomes where it is taken."""
    title = title[:255] or "Untitled"
    yield title, None
    for n in range(2, _MOST_CLASHES):
        suffix = f" ({n})"
        yield title[: 255 - len(suffix)] + suffix, Reason.TITLE_CLASH


async def pages(job: Job) -> None:
    bodies = await Bodies.of(job)

    async def handle(row: Row, look: bool) -> Entity:
        content = await job.source.content(row.id)
        text, pending = await _body(job, bodies, content)
        if (there := await _there(job, row, Kind.PAGE)) is not None:
            return await _filled(job, row, there, content, text, pending)
        if row.homepage:
            return await _homepage(job, row, content, text, pending)
        parent, defect = None, None
        if row.parent is not None:
            parent = await job.target(Kind.PAGE, row.parent)
            if parent is None:
                defect = Reason.PARENT_NOT_MOVED
        space = await job.space()
        for title, clash in titles(content.title):
            if look and (found := await find(job, "page", space.id, title)):
                if not await adoptable(job, found, content):
                    continue
                job.taken.add(found.id)
                return moved(row, found, text, pending, clash or defect, adopted=True)
            try:
                made = await job.site.create_page(
                    space.id,
                    title,
                    text,
                    parent_id=parent,
                    root_level=parent is None,
                    representation=content.format,
                )
            except TitleTaken:
                continue
            return moved(row, made, text, pending, clash or defect)
        return row.failed(Reason.TITLE_CLASH)

    await job.claim.end(await work_through(job, await job.rows(), handle))


async def _body(job: Job, bodies: Bodies, content: Content) -> tuple[str, bool]:
    """The body for the site, and whether a reference in it waits for the second pass."""
    if job.scope.what == "attachments":
        return PLACEHOLDER, False
    rewritten = await bodies.rewrite(content)
    return rewritten.text, rewritten.pending


async def _there(job: Job, row: Row, kind: Kind) -> str | None:
    """What an earlier plan made of this page or blog post in the space that this plan goes on in."""
    return await job.target(kind, row.id) if await job.into_earlier() else None


async def _filled(job: Job, row: Row, target: str, content: Content, body: str, pending: bool) -> Entity:
    """What was made to hold attachments gets its title and body; where only attachments move, it stays as it is."""
    kind = content.kind
    seen = await job.site.content(kind, target)
    if job.scope.what == "attachments":
        return moved(row, seen, body, False, None, adopted=True)
    if seen.last_editor not in (None, job.me.account_id):
        return row.failed(Reason.CHANGED_ON_SITE)
    update = job.site.update_page if kind == "page" else job.site.update_blogpost
    for title, clash in titles(content.title):
        try:
            made = await update(seen.id, title=title, body=body, version=seen.version, representation=content.format)
        except TitleTaken:
            continue
        return moved(row, made, body, pending, clash)
    return row.failed(Reason.TITLE_CLASH)


async def _homepage(job: Job, row: Row, content: Content, body: str, pending: bool) -> Entity:
    """The space came with a homepage: it takes the title and body of the source's."""
    space = await job.space()
    if space.homepage_id is None:
        return row.failed(Reason.GONE_ON_SITE)
    seen = await job.site.content("page", space.homepage_id)
    if seen.last_editor not in (None, job.me.account_id):
        return row.failed(Reason.CHANGED_ON_SITE)
    for title, clash in titles(content.title):
        try:
            made = await job.site.update_page(
                seen.id, title=title, body=body, version=seen.version, representation=content.format
            )
        except TitleTaken:
            continue
        return moved(row, made, body, pending, clash)
    return row.failed(Reason.TITLE_CLASH)


async def blogposts(job: Job) -> None:
    bodies = await Bodies.of(job)

    async def handle(row: Row, look: bool) -> Entity:
        content = await job.source.content(row.id)
        text, pending = await _body(job, bodies, content)
        if (there := await _there(job, row, Kind.BLOGPOST)) is not None:
            return await _filled(job, row, there, content, text, pending)
        space = await job.space()
        for title, clash in titles(content.title):
            if look:
                found = [
                    c
                    for c in await job.site.find_content("blogpost", space.id, title)
                    if await adoptable(job, c, content)
                ]
                if found:
                    job.taken.add(found[0].id)
                    return moved(row, found[0], text, pending, clash, adopted=True)
            try:
                made = await job.site.create_blogpost(
                    space.id, title, text, created_at=content.created_at, representation=content.format
                )
            except TitleTaken:
                continue
            return moved(row, made, text, pending, clash)
        return row.failed(Reason.TITLE_CLASH)

    await job.claim.end(await work_through(job, await job.rows(), handle))


async def find(job: Job, kind: str, space: str, title: str) -> SiteContent | None:
    found = await job.site.find_content("page" if kind == "page" else "blogpost", space, title)
    return found[0] if found else None


async def adoptable(job: Job, found: SiteContent, content: Content) -> bool:
    """Only what the migrator made, what stands for nothing else yet, and, for blog posts, what has the same day.

    Everything the migrator made in a space that this plan created after reserving it was made after the reservation.
    """
    if found.author != job.me.account_id or await job.is_mapped(found.id):
        return False
    space = await job.space()
    if found.id == space.homepage_id:
        return False
    if content.kind == "blogpost" and content.created_at and found.created_at:
        return abs((content.created_at - found.created_at).total_seconds()) < 1
    return True


def moved(
    row: Row, content: SiteContent, body: str, pending: bool, reason: Reason | None, adopted: bool = False
) -> Entity:
    """``adopted``: made by an earlier attempt, with the body of that moment, which may know fewer targets than this one:
    what is on the site is not what was rewritten just now, so the second pass has to write it."""
    return row.migrated(
        content.id,
        reason,
        target_version=content.version,
        digest=None if adopted else digest(body),
        pending=pending or adopted or None,
        adopted=adopted or None,
    )


async def second_pass(job: Job) -> None:
    """Bodies whose references could not be resolved at first, or name a page that was renamed."""
    bodies = await Bodies.of(job, final=True)
    renamed = await job.pool.fetchval(
        "SELECT true FROM work.outcome o JOIN work.task t ON t.task = o.task"
        " WHERE t.plan = $1 AND o.reason = 'title_clash' LIMIT 1",
        job.saved.plan,
    )

    async def handle(row: Row, look: bool) -> Entity:
        kind = Kind(row.parent or "page")
        first = await job.pool.fetchrow(
            "SELECT target, target_version, digest, pending FROM work.outcome"
            " WHERE task = $1 AND kind = $2 AND id = $3 AND outcome = 'migrated'",
            job.claim.work.task,
            kind.value,
            row.id,
        )
        if first is None:
            return row.skipped(Reason.PARENT_NOT_MOVED)
        if not first["pending"] and not renamed:
            return row.migrated()
        content = await job.source.content(row.id)
        rewritten = await bodies.rewrite(content)
        if digest(rewritten.text) == first["digest"]:
            return row.migrated()
        return await _update(job, row, kind, first["target"], first["target_version"], content, rewritten.text)

    await job.claim.end(await work_through(job, await job.rows(), handle))


async def _update(job: Job, row: Row, kind: Kind, target: str, version: int, content: Content, body: str) -> Entity:
    """Writes the body over the version that was last seen; goes on after a conflict only if that version is ours."""
    place = "page" if kind is Kind.PAGE else "blogpost"
    seen = await job.site.content("page" if place == "page" else "blogpost", target)
    for _ in range(3):
        if seen.version != version and seen.last_editor != job.me.account_id:
            return row.failed(Reason.CHANGED_ON_SITE)
        try:
            if place == "page":
                made = await job.site.update_page(
                    target, title=seen.title, body=body, version=seen.version, representation=content.format
                )
            else:
                made = await job.site.update_blogpost(
                    target, title=seen.title, body=body, version=seen.version, representation=content.format
                )
        except VersionConflict:
            seen = await job.site.content("page" if place == "page" else "blogpost", target)
            continue
        return row.migrated(digest=digest(body), target_version=made.version)
    return row.failed(Reason.CHANGED_ON_SITE)
