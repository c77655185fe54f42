"""The space itself: made private, with the reservation's marker in its description, the one free field of the call."""

from collections.abc import Sequence

from services.executor.entities import work_through
from services.executor.job import Job, Row
from shared.confluence.site import KeyTaken, SiteSpace
from shared.events.catalog.work import Entity, Kind, Outcome
from shared.events.reasons import FATAL, Reason


async def create(job: Job) -> None:
    """Creates the space, or recognizes it by the marker; a foreign space under its key is fatal."""

    def conflict(row: Row) -> Entity:
        if job.saved.key_conflicts == "skip":
            return row.skipped(Reason.SPACE_KEY_CONFLICT)
        return row.failed(Reason.SPACE_KEY_CONFLICT)

    async def handle(row: Row, look: bool) -> Entity:
        assert job.space_id is not None
        assert job.marker is not None
        space = await job.source.space(job.space_id)
        key = await job.key_on_site(space.key)
        if (known := await job.taken_over()) is not None:
            return row.migrated(known.id, adopted=True)
        if job.saved.follow is not None and await job.target(Kind.SPACE, row.id) is not None:
            return row.failed(Reason.GONE_ON_SITE)  # what was moved before went with it
        found = await job.site.find_space(key) if look else None
        if found is not None and not ours(found, job.markers):
            return conflict(row)
        adopted = found is not None
        if found is None:
            try:
                found = await job.site.create_private_space(key, space.name[:200] or key, job.marker)
            except KeyTaken:
                found = await job.site.find_space(key)
                if found is None or not ours(found, job.markers):
                    return conflict(row)
                adopted = True
        if space.homepage_id is None:
            await _free_title(job, found, space.name[:200] or key)
        reason = Reason.NO_CLOUD_COUNTERPART if space.status == "archived" else None
        return row.migrated(found.id, reason, adopted=adopted or None)

    done = await work_through(job, await job.rows(), handle)
    fatal = next((e.reason for e in done if e.outcome is Outcome.FAILED or e.reason is Reason.SPACE_KEY_CONFLICT), None)
    if fatal is not None and fatal not in FATAL:
        fatal = Reason.SPACE_NOT_CREATED
    await job.claim.end(done, fatal=fatal)


async def _free_title(job: Job, space: SiteSpace, name: str) -> None:
    """The site makes a homepage called like the space. Where the source has none, its first page at the top takes that
    place; until it comes, its title must not be in the way of a page that is called so."""
    assert job.marker is not None
    has_pages = await job.pool.fetchval(
        "SELECT true FROM work.inventory WHERE task = $1 AND epoch = $2 AND kind = 'page' LIMIT 1",
        job.claim.work.task,
        job.epoch,
    )
    if has_pages and space.homepage_id is not None:
        seen = await job.site.content("page", space.homepage_id, body=True)
        if seen.title == name and seen.last_editor == job.me.account_id:
            title = f"{name} {job.marker[:8]}"
            await job.site.update_page(seen.id, title=title, body=seen.body or "", version=seen.version)


def ours(space: SiteSpace, markers: Sequence[str]) -> bool:
    return any(marker in space.description for marker in markers)
