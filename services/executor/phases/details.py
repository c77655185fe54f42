"""What hangs on pages: labels, the order among siblings, restrictions. All of it can be written again without harm."""

from typing import Literal

from services.executor.entities import work_through
from services.executor.job import Job, Row
from shared.confluence.model import Restriction
from shared.confluence.site import NotOnSite, SiteError, SiteForbids, SiteRefused, TooLarge
from shared.events.catalog.work import Entity, Kind
from shared.events.reasons import GENERIC_GROUPS, Reason


async def labels(job: Job) -> None:
    async def handle(row: Row, look: bool) -> Entity:
        target = await job.target(Kind(row.parent or "page"), row.id)
        if target is None:
            return row.skipped(Reason.PARENT_NOT_MOVED)
        if row.parent == Kind.SPACE:
            await job.site.add_space_labels((await job.space()).key, (await job.source.space(row.id)).labels)
        else:
            await job.site.add_labels(target, (await job.source.content(row.id)).labels)
        return row.migrated()

    await job.claim.end(await work_through(job, await job.rows(), handle))


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

    async def handle(row: Row, look: bool) -> Entity:
        kind = Kind(row.parent or "page")
        target = await job.target(kind, row.id)
        if target is None:
            return row.skipped(Reason.PARENT_NOT_MOVED)
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
                job.epoch,
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
        await _arrange(job, [id for id in there if id in both], [id for id in wanted if id in both])
        return row.migrated()

    await job.claim.end(await work_through(job, await job.rows(), handle))


async def _arrange(job: Job, there: list[str], wanted: list[str]) -> None:
    """Moves every page that does not stand right behind its predecessor. ``there`` and ``wanted`` hold the same ids."""
    current = list(there)
    for n, id in enumerate(wanted):
        if current[n] == id:
            continue
        if n == 0:
            await job.site.move_page(id, "before", current[0])
        else:
            await job.site.move_page(id, "after", wanted[n - 1])
        current.remove(id)
        current.insert(n, id)


async def restrictions(job: Job) -> None:
    """Restricts pages as at the source. The migrator stays in every list, or it would lose the page.

    A holder who is not on the site is left out; where none is left, the page stays closed. A restriction that the site
    refuses closes the page to all but the migrator; the space is then not opened.
    """

    async def handle(row: Row, look: bool) -> Entity:
        target = await job.target(Kind(row.parent or "page"), row.id)
        if target is None:
            return row.skipped(Reason.PARENT_NOT_MOVED)
        content = await job.source.content(row.id)
        wanted: dict[Literal["read", "update"], tuple[list[str], list[str]]] = {}
        missing, held = False, set[str]()
        for restriction in content.restrictions:
            accounts, groups = wanted.setdefault(restriction.operation, ([job.me.account_id], []))
            account, group = await _holder(job, restriction)
            missing |= account is None and group is None
            if account or group:
                held.add(restriction.operation)
            if account and account not in accounts:
                accounts.append(account)
            if group and group not in groups:
                groups.append(group)
        try:
            await job.site.set_restrictions(target, wanted)
        except SiteError:
            await job.site.set_restrictions(target, {"read": ([job.me.account_id], [])})
            return row.failed(Reason.KEPT_PRIVATE)
        closed = "read" in wanted and "read" not in held
        reason = Reason.PRINCIPAL_NOT_ON_SITE if missing else None
        return row.migrated(reason=Reason.KEPT_CLOSED if closed else reason)

    await job.claim.end(await work_through(job, await job.rows(), handle))


async def _holder(job: Job, restriction: Restriction) -> tuple[str | None, str | None]:
    if restriction.person is not None:
        return await job.account(restriction.person), None
    if restriction.group is None or restriction.group.lower() in GENERIC_GROUPS:
        return None, None
    return None, await job.group(restriction.group)
