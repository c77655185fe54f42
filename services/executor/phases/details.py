"""What hangs on pages: labels, the order among siblings, restrictions. All of it can be written again without harm."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from services.executor.entities import work_through
from services.executor.job import Job, Row
from services.executor.phases import restricting
from services.executor.phases.above import Above
from services.executor.phases.common import why_not_there
from services.executor.phases.shades import Shades
from shared.confluence.site import NotOnSite, SiteForbids, SiteRefused, TooLarge
from shared.confluence.source import NotInSource
from shared.events.catalog.work import Entity, Kind
from shared.events.reasons import Reason


async def labels(job: Job) -> None:
    """Labels of pages, blog posts and files, and a space's categories. One that the site refuses is left out, and listed."""
    shades = Shades(job)

    async def handle(row: Row, look: bool) -> Entity:
        kind = Kind(row.parent or "page")
        target = await job.target(kind, row.id)
        if target is None:
            return row.skipped(await why_not_there(job, kind, row.id))
        if kind is Kind.SPACE:
            add = partial(job.site.add_space_labels, (await job.space()).key)
            names = (await job.source.space(row.id)).labels
        else:
            await shades.over(row.id)
            add = partial(job.site.add_labels, target)
            holder = job.source.attachment if kind is Kind.ATTACHMENT else job.content
            names = (await holder(row.id)).labels
        return row.migrated(reason=None if await _took_all(add, names) else Reason.SITE_REFUSED)

    await job.claim.end(await work_through(job, await job.rows(), handle))


async def _took_all(add: Callable[[Sequence[str]], Awaitable[None]], names: Sequence[str]) -> bool:
    """Adds all at once or, where the site refuses that, each by itself. There may be none any more."""
    try:
        if names:
            await add(names)
    except SiteRefused:
        if len(names) == 1:
            return False
        return all([await _took_all(add, [name]) for name in names])
    return True


# Keys under which Confluence itself keeps what belongs to its editor: on the site they are the site's own.
SITES_OWN = frozenset(
    {
        "editor",
        "content-appearance-draft",
        "content-appearance-published",
        "fabric-published-content-eligibility",
        "page-title-property-draft",
        "page-title-property-published",
        "sync-rev",
        "sync-rev-source",
        "ncs-step-version",
        "ncs-step-version-source",
        "collabService",
    }
)


async def properties(job: Job) -> None:
    """Content properties, with the source's keys and values. One that the site refuses is left out, and listed."""
    shades = Shades(job)

    async def handle(row: Row, look: bool) -> Entity:
        kind = Kind(row.parent or "page")
        target = await job.target(kind, row.id)
        if target is None:
            return row.skipped(Reason.PARENT_NOT_MOVED)
        await shades.over(row.id)
        refused = False
        for key, value in await job.source.properties(row.id):
            if key in SITES_OWN:
                continue
            try:
                await job.site.set_property("page" if kind is Kind.PAGE else "blogpost", target, key, value)
            except (SiteRefused, TooLarge):
                refused = True
        return row.migrated(reason=Reason.SITE_REFUSED if refused else None)

    await job.claim.end(await work_through(job, await job.rows(), handle))


async def watches(job: Job) -> None:
    """Who watched goes on watching. Someone without an account, or whom the site does not let watch, is left out."""

    async def handle(row: Row, look: bool) -> Entity:
        target = await job.target(Kind(row.parent or "page"), row.id)
        if target is None:
            return row.skipped(Reason.PARENT_NOT_MOVED)
        space = row.parent == Kind.SPACE
        missing = False
        for person in await job.source.watchers("space" if space else "content", row.id):
            account = await job.account(person)
            if account is None:
                missing = True
                continue
            try:
                if space:
                    await job.site.watch_space((await job.space()).key, account)
                else:
                    await job.site.watch_content(target, account)
            except (SiteRefused, SiteForbids, NotOnSite):
                missing = True  # who may not see it cannot watch it
        return row.migrated(reason=Reason.PRINCIPAL_NOT_ON_SITE if missing else None)

    await job.claim.end(await work_through(job, await job.rows(), handle))


async def order(job: Job) -> None:
    """Puts siblings into the source's order, moving only those that stand wrong."""

    async def handle(row: Row, look: bool) -> Entity:
        wanted = [
            str(r["target"])
            for r in await job.pool.fetch(
                "SELECT m.target FROM work.inventory i JOIN work.id_map m ON m.site = $3 AND m.source = $4"
                " AND m.kind = 'page' AND m.id = i.id WHERE i.task = $1 AND i.epoch = $2 AND i.kind = 'page'"
                # Not “IS NOT DISTINCT FROM”: no index helps with that.
                f" AND {'i.parent IS NULL' if row.parent is None else 'i.parent = $5'}"
                " AND NOT i.homepage ORDER BY i.position NULLS LAST, i.ordinal",
                job.claim.work.task,
                job.listing,
                job.site_id,
                job.source_id,
                *(() if row.parent is None else (row.parent,)),
            )
        ]
        parent = await job.target(Kind.PAGE, row.parent) if row.parent else None
        if row.parent and parent is None:
            return row.skipped(Reason.PARENT_NOT_MOVED)
        if parent is None:
            there = [p.id for p in await job.site.root_pages((await job.space()).id)]
        else:
            there = [p.id async for p in job.site.children(parent)]
        both = set(wanted).intersection(there)
        if job.saved.follow is not None and await _rearranged(job, row, there):
            return row.skipped(Reason.CHANGED_ON_SITE)
        await _arrange(job, row, [id for id in there if id in both], [id for id in wanted if id in both])
        return row.migrated()

    await job.claim.end(await work_through(job, await job.rows(), handle))


async def _rearranged(job: Job, row: Row, there: list[str]) -> bool:
    """Whether those that an earlier plan put into order stand in another one on the site now. ``there``: as they stand."""
    before = job.chain.listing
    if before is None or job.chain.unfinished or job.has_begun(row):
        return False
    rows = await job.pool.fetch(
        "SELECT m.target FROM work.inventory i JOIN work.id_map m ON m.site = $3 AND m.source = $4 AND m.kind = 'page'"
        " AND m.id = i.id WHERE i.task = $1 AND i.epoch = $2 AND i.kind = 'page' AND NOT i.homepage"
        f" AND {'i.parent IS NULL' if row.parent is None else 'i.parent = $5'} ORDER BY i.position NULLS LAST, i.ordinal",
        before.task,
        before.listing,
        job.site_id,
        job.source_id,
        *(() if row.parent is None else (row.parent,)),
    )
    standing = set(there)
    put = [str(r["target"]) for r in rows if r["target"] in standing]
    known = set(put)
    return [id for id in there if id in known] != put


async def _arrange(job: Job, row: Row, there: list[str], wanted: list[str]) -> None:
    """Moves every page that does not stand right behind its predecessor. ``there`` and ``wanted`` hold the same ids."""
    current = list(there)
    for n, id in enumerate(wanted):
        if current[n] == id:
            continue
        if n == 0:
            await job.site.move_page(id, "before", current[0])
        else:
            await job.site.move_page(id, "after", wanted[n - 1])
        job.begun(row)
        current.remove(id)
        current.insert(n, id)


async def restrictions(job: Job) -> None:
    """Restricts pages as at the source. The migrator stays in every list, or it would lose the page.

    A holder who is not on the site is left out; where none is left, the page stays closed. A restriction that the site
    refuses closes the page to all but the migrator; the space is then not opened. What is not at the source any more, nobody
    knows who might see: it is closed while nobody has seen the space.
    """
    above = Above(job)

    async def handle(row: Row, look: bool) -> Entity:
        target = await job.target(Kind(row.parent or "page"), row.id)
        if target is None:
            return row.skipped(Reason.PARENT_NOT_MOVED)
        try:
            content = await job.source.content(row.id)
            if content.space_id != job.space_id:
                raise NotInSource("the page is in another space by now")
        except NotInSource:
            if not await job.unseen():
                return row.skipped(Reason.GONE_AT_SOURCE)
            return row.migrated(reason=Reason.KEPT_CLOSED, digest=await restricting.close(job, target))
        earlier = await job.into_earlier()
        # In a space of its own the pages above it are there, and restricted as well: all but those above a chosen tree.
        hiding = await above.hiding(content, target) if earlier or job.scope.roots else []
        try:
            if earlier:
                now = await restricting.bring(job, content, target, hiding, await above.restricted(content))
                if now is None:
                    return row.skipped(Reason.CHANGED_ON_SITE)
            else:
                now = await restricting.wanted(job, content, hiding)
                await restricting.set_as(job, target, now)
        except restricting.Refused:
            return row.failed(Reason.KEPT_PRIVATE)
        return row.migrated(reason=now.reason, digest=now.digest)

    await job.claim.end(await work_through(job, await job.rows(), handle))
