"""Pages, by depth, and blog posts; then what is written over them: earlier versions, the second pass over their bodies, when
every page that links may name is there, owners, and the links of pages that earlier plans moved."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime

from services.executor.bodies import Bodies, Body
from services.executor.entities import work_through
from services.executor.job import Job, Row
from services.executor.phases import updates
from services.executor.phases.common import digest, moved, read, titles
from services.executor.phases.shades import Shades
from shared.confluence import storage
from shared.confluence.cloud.content import Representation
from shared.confluence.model import Content
from shared.confluence.site import NotOnSite, SiteContent, TitleTaken, VersionConflict
from shared.events.catalog.work import Entity, Kind, Outcome
from shared.events.reasons import Reason

PLACEHOLDER = "<p>…</p>"  # of a page that is made only to hold attachments, until its space moves whole


async def pages(job: Job) -> None:
    bodies, shades = await Bodies.of(job), Shades(job)

    async def handle(row: Row, look: bool) -> Entity:
        content = await job.content(row.id)
        rewritten = await first_body(job, bodies, content)
        if (there := await _there(job, row, Kind.PAGE)) is not None:
            if job.scope.what == "all" and await job.moved_whole(there):
                return await updates.bring(job, row, Kind.PAGE, there, content, rewritten, shades)
            return await _filled(job, row, there, content, rewritten, shades)
        if row.homepage and (done := await _homepage(job, row, content, rewritten, shades)) is not None:
            return done
        parent, defect = None, None
        if row.parent is not None:
            parent = await job.target(Kind.PAGE, row.parent)
            if parent is None:
                defect = Reason.PARENT_NOT_MOVED
        space, private = await job.space(), await shades.private(content, parent)

        async def make(title: str) -> SiteContent:
            return await job.site.create_page(
                space.id,
                title,
                rewritten.text,
                parent_id=parent,
                root_level=parent is None,
                private=private,
                representation=content.format,
            )

        return await _made(job, row, look, content, rewritten, shades, make, defect)

    # The homepage first: until it has its own title, the site's name for it may be in another page's way.
    rows = sorted(await job.rows(), key=lambda row: not row.homepage)
    await job.claim.end(await work_through(job, rows, handle))


async def first_body(job: Job, bodies: Bodies, content: Content) -> Body:
    """The body to make the content with: where earlier versions are replayed, that of the first of them."""
    if job.scope.what == "attachments":
        return Body(PLACEHOLDER)
    if job.saved.options.versions and content.version > 1:
        async for revision in job.source.versions(content.id, job.saved.options.versions):
            first = await bodies.rewrite(revision)
            return Body(first.text, pending=True)
    return await bodies.rewrite(content)


async def _there(job: Job, row: Row, kind: Kind) -> str | None:
    """What an earlier plan made of this page or blog post in the space that this plan goes on in."""
    return await job.target(kind, row.id) if await job.into_earlier() else None


async def _filled(job: Job, row: Row, target: str, content: Content, body: Body, shades: Shades) -> Entity:
    """What was made to hold attachments gets its title and body; where only attachments move, it stays as it is."""
    kind = content.kind
    seen = await job.site.content(kind, target)
    if job.scope.what == "attachments":
        return row.migrated(seen.id, adopted=True)  # no version: this plan did not write the last one
    if seen.last_editor not in (None, job.me.account_id):
        return row.failed(Reason.CHANGED_ON_SITE)
    await shades.draw(content, target)
    update = job.site.update_page if kind == "page" else job.site.update_blogpost
    for title, clash in titles(content.title):
        try:
            made = await update(
                seen.id, title=title, body=body.text, version=seen.version, representation=content.format
            )
        except TitleTaken:
            continue
        return moved(row, made, body, clash)
    return row.failed(Reason.TITLE_CLASH)


async def _homepage(job: Job, row: Row, content: Content, rewritten: Body, shades: Shades) -> Entity | None:
    """The space came with a homepage: it takes the title and body of the source's. None: it stands for another page already, which
    was the source's homepage when an earlier plan moved it."""
    space = await job.space()
    if space.homepage_id is None:
        return row.failed(Reason.GONE_ON_SITE)
    if not await job.take(row, space.homepage_id):
        return None
    seen = await job.site.content("page", space.homepage_id)
    if seen.last_editor not in (None, job.me.account_id):
        return row.failed(Reason.CHANGED_ON_SITE)
    await shades.draw(content, seen.id)
    for title, clash in titles(content.title):
        try:
            made = await job.site.update_page(
                seen.id, title=title, body=rewritten.text, version=seen.version, representation=content.format
            )
        except TitleTaken:
            continue
        return moved(row, made, rewritten, clash)
    return row.failed(Reason.TITLE_CLASH)


async def blogposts(job: Job) -> None:
    bodies, shades = await Bodies.of(job), Shades(job)

    async def handle(row: Row, look: bool) -> Entity:
        content = await job.content(row.id)
        rewritten = await first_body(job, bodies, content)
        if (there := await _there(job, row, Kind.BLOGPOST)) is not None:
            if job.scope.what == "all" and await job.moved_whole(there):
                return await updates.bring(job, row, Kind.BLOGPOST, there, content, rewritten, shades)
            return await _filled(job, row, there, content, rewritten, shades)
        space, private = await job.space(), await shades.private(content, None)

        async def make(title: str) -> SiteContent:
            return await job.site.create_blogpost(
                space.id,
                title,
                rewritten.text,
                created_at=content.created_at,
                private=private,
                representation=content.format,
            )

        return await _made(job, row, look, content, rewritten, shades, make)

    await job.claim.end(await work_through(job, await job.rows(), handle))


async def _made(
    job: Job,
    row: Row,
    look: bool,
    content: Content,
    body: Body,
    shades: Shades,
    make: Callable[[str], Awaitable[SiteContent]],
    defect: Reason | None = None,
) -> Entity:
    """Makes it, or finds what an earlier try made. A title that is taken gets a number."""
    for title, clash in titles(content.title):
        found = await _adopted(job, row, content, title) if look else None
        try:
            made = found or await make(title)
        except TitleTaken:
            # What an earlier try sent may have had its effect since this one looked.
            found = await _adopted(job, row, content, title) if look else None
            if found is None:
                continue
            made = found
        if found is None and not await job.take(row, made.id):
            continue  # somebody was quicker to find it than its maker to say whose it is
        await shades.draw(content, made.id, made_now=True)
        return moved(row, made, body, clash or defect, adopted=found is not None)
    return row.failed(Reason.TITLE_CLASH)


async def _adopted(job: Job, row: Row, content: Content, title: str) -> SiteContent | None:
    """Of this title, what the migrator made and what stands for nothing else: now for this row."""
    for found in await job.site.find_content(content.kind, (await job.space()).id, title):
        if await adoptable(job, found, content) and await job.take(row, found.id):
            return found
    return None


async def adoptable(job: Job, found: SiteContent, content: Content) -> bool:
    """Only what the migrator made and, for blog posts, what has the same day. ``Job.take`` says whether it stands for nothing else.

    Everything the migrator made in a space that this plan created after reserving it was made after the reservation.
    """
    if found.author != job.me.account_id:
        return False
    space = await job.space()
    if found.id == space.homepage_id:
        return False
    if content.kind == "blogpost" and content.created_at and found.created_at:
        return abs((content.created_at - found.created_at).total_seconds()) < 1
    return True


async def second_pass(job: Job) -> None:
    """Bodies whose references could not be resolved at first, or name a page that was renamed."""
    bodies, shades = await Bodies.of(job), Shades(job)
    renamed = await job.pool.fetchval(
        "SELECT true FROM work.outcome o JOIN work.task t ON t.task = o.task"
        " WHERE t.plan = $1 AND o.kind IN ('page', 'blogpost', 'attachment') AND o.reason = 'title_clash' LIMIT 1",
        job.saved.plan,
    )

    async def handle(row: Row, look: bool) -> Entity:
        kind = Kind(row.parent or "page")
        first = await job.written(kind, row.id)
        if first is None:
            return row.skipped(Reason.PARENT_NOT_MOVED)
        own = await job.own_outcome(kind, row.id)
        if own is not None and own["outcome"] == Outcome.SKIPPED:
            return row.skipped(Reason(own["reason"]))  # an earlier plan's, which is left as it is
        if not first.pending and not renamed:
            return row.migrated()
        content = await job.content(row.id)
        rewritten = await bodies.rewrite(content)
        told = rewritten.told if first.pending else {}
        if digest(rewritten.text) == first.digest:
            return row.migrated(**told)
        await shades.draw(content, first.target)
        written = await write_body(
            job,
            row,
            kind,
            first.target,
            first.version,
            rewritten.text,
            content.format,
            await _last(job, content),
        )
        if isinstance(written, Reason):
            return row.failed(written)
        return row.migrated(digest=digest(rewritten.text), target_version=written.version, **told)

    await job.claim.end(await work_through(job, await job.rows(), handle))


async def _last(job: Job, content: Content) -> str | None:
    """What the last version says about itself, where versions are replayed."""
    if not job.saved.options.versions or content.version == 1:
        return None
    return await message(job, content.version, content.modifier, content.modified_at, content.message)


async def message(job: Job, number: int, editor: str | None, when: datetime | None, said: str | None) -> str | None:
    """What a replayed version says: who wrote it when, as the plan's choice of provenance allows, and what that one said of it."""
    if job.saved.options.provenance == "none":
        return said
    name = None
    if editor is not None:
        name = await job.pool.fetchval(
            "SELECT coalesce(p.display_name, p.username) FROM people.person p WHERE p.source = $1 AND p.id = $2"
            " AND EXISTS (SELECT FROM people.account a WHERE a.person = p.key AND a.site = $3)",
            job.source_id,
            editor,
            job.site_id,
        )
    name = name or storage.former_user(storage.FormerUser(await job.former_name(editor)))
    return f"v{number} by {name}" + (f" at {when:%Y-%m-%d %H:%M}" if when else "") + (f": {said}" if said else "")


async def versions(job: Job) -> None:
    """Replays earlier versions behind the first of them, with which the content was made. The last one is the second
    pass's. How many there are on the site tells how far an earlier attempt came."""
    bodies, shades = await Bodies.of(job), Shades(job)

    async def handle(row: Row, look: bool) -> Entity:
        kind = Kind(row.parent or "page")
        first = await job.outcome(kind, row.id)
        if first is None:
            return row.skipped(Reason.PARENT_NOT_MOVED)
        content = await job.content(row.id)
        await shades.draw(content, first["target"])
        seen = await read(job, kind, first["target"])
        number, told = first["target_version"], 0
        async for revision in job.source.versions(row.id, job.saved.options.versions):
            told += 1
            if told == 1:
                continue
            number += 1
            if number <= seen.version:
                continue
            said = await message(job, revision.number, revision.editor, revision.edited_at, revision.message)
            text = (await bodies.rewrite(revision)).text
            written = await write_body(job, row, kind, seen.id, seen.version, text, revision.format, said)
            if isinstance(written, Reason):
                return row.failed(written)
            seen = written
        complete = told == min(job.saved.options.versions, content.version - 1)
        return row.migrated(reason=None if complete else Reason.VERSIONS_INCOMPLETE, target_version=seen.version)

    await job.claim.end(await work_through(job, await job.rows(), handle))


async def owners(job: Job) -> None:
    """Hands pages to whoever made them. It is the last write of a body, and writes the one that is there."""

    async def handle(row: Row, look: bool) -> Entity:
        target = await job.target(Kind.PAGE, row.id)
        if target is None:
            return row.skipped(Reason.PARENT_NOT_MOVED)
        creator = (await job.content(row.id)).creator
        account = await job.account(creator) if creator else None
        if account is None:
            return row.migrated(reason=Reason.PRINCIPAL_NOT_ON_SITE)
        for _ in range(3):
            seen = await job.site.content("page", target, body=True)
            if seen.owner == account:
                # Of an earlier attempt, maybe: then the version is ours.
                ours = look and seen.last_editor == job.me.account_id
                return row.migrated(target_version=seen.version if ours else None)
            if seen.last_editor != job.me.account_id:
                return row.skipped(Reason.CHANGED_ON_SITE)
            try:
                handed = await job.site.update_page(
                    target, title=seen.title, body=seen.body or "", version=seen.version, owner_id=account
                )
            except VersionConflict:
                continue
            return row.migrated(target_version=handed.version)
        return row.skipped(Reason.CHANGED_ON_SITE)

    await job.claim.end(await work_through(job, await job.rows(), handle))


async def links(job: Job) -> None:
    """Mends the links of bodies that earlier plans moved and that name what this space brings.

    The body is the one on the site, whoever wrote it last: only the links are changed in it.
    """
    bodies = await Bodies.of(job)

    async def handle(row: Row, look: bool) -> Entity:
        waited = [
            r["target"]
            for r in await job.pool.fetch(
                "SELECT target FROM work.open_link WHERE site = $1 AND source = $2 AND id = $3",
                job.site_id,
                job.source_id,
                row.id,
            )
        ]
        for _ in range(3):
            try:
                done, mended = await _follow(job, row, bodies, waited)
            except VersionConflict:
                continue
            except NotOnSite:
                return row.skipped(Reason.GONE_ON_SITE)
            return row.migrated(reason=mended.reason, target_version=mended.version, **done.told)
        return row.skipped(Reason.CHANGED_ON_SITE)

    await job.claim.end(await work_through(job, await job.rows(), handle))


@dataclass(frozen=True, slots=True)
class Mended:
    """``version``: on the site after the write. ``reason``: somebody else had written the body in which the links are."""

    version: int | None = None
    reason: Reason | None = None


async def _follow(job: Job, row: Row, bodies: Bodies, waited: list[str]) -> tuple[Body, Mended]:
    found = await job.content_target(row.id)
    if found is not None and found[0] is not Kind.ATTACHMENT:
        seen = await read(job, found[0], found[1], body=True)
        done = await bodies.follow(seen.body or "", waited)
        if not done.rewritten:
            return done, Mended()
        put = await _put(job, found[0], seen, done.text, "storage", None)
        return done, Mended(put.version, None if seen.last_editor == job.me.account_id else Reason.CHANGED_ON_SITE)
    target = await job.target(Kind.COMMENT, row.id)
    if target is None:
        raise NotOnSite("the body is not on the site", 404)
    try:
        comment = await job.site.comment(target, inline=False)
    except NotOnSite:
        comment = await job.site.comment(target, inline=True)
    done = await bodies.follow(comment.body, waited)
    if not done.rewritten:
        return done, Mended()
    answered = await job.site.update_comment(target, inline=comment.inline, body=done.text, version=comment.version)
    return done, Mended(answered.version)


async def write_body(
    job: Job,
    row: Row,
    kind: Kind,
    target: str,
    version: int,
    body: str,
    format: Representation,
    said: str | None,
) -> SiteContent | Reason:
    """Writes the body over the version that was last seen; goes on after a conflict only if that version is ours."""
    for _ in range(3):
        seen = await read(job, kind, target)
        if seen.version != version and seen.last_editor != job.me.account_id:
            return Reason.CHANGED_ON_SITE
        try:
            return await _put(job, kind, seen, body, format, said)
        except VersionConflict:
            continue
    return Reason.CHANGED_ON_SITE


async def _put(
    job: Job, kind: Kind, seen: SiteContent, body: str, format: Representation, said: str | None
) -> SiteContent:
    write = job.site.update_blogpost if kind is Kind.BLOGPOST else job.site.update_page
    return await write(seen.id, title=seen.title, body=body, version=seen.version, message=said, representation=format)
