"""The space itself: made private, with the reservation's marker in its description, the one free field of the call."""

from services.executor.entities import work_through
from services.executor.job import Job, Row
from shared.confluence.site import KeyTaken, SiteSpace
from shared.confluence.spacekey import site_key
from shared.events.catalog.work import Entity, Outcome
from shared.events.reasons import FATAL, Reason


async def create(job: Job) -> None:
    """Creates the space, or recognizes it by the marker; a foreign space under its key is fatal."""

    async def handle(row: Row, look: bool) -> Entity:
        assert job.space_id is not None
        assert job.marker is not None
        space = await job.source.space(job.space_id)
        key = site_key(space.key)
        found = await job.site.find_space(key) if look else None
        if found is not None and not ours(found, job.marker):
            return row.failed(Reason.SPACE_KEY_CONFLICT)
        adopted = found is not None
        if found is None:
            try:
                found = await job.site.create_private_space(key, space.name[:200] or key, job.marker)
            except KeyTaken:
                found = await job.site.find_space(key)
                if found is None or not ours(found, job.marker):
                    return row.failed(Reason.SPACE_KEY_CONFLICT)
                adopted = True
        reason = Reason.NO_CLOUD_COUNTERPART if space.status == "archived" else None
        return row.migrated(found.id, reason, adopted=adopted or None)

    done = await work_through(job, await job.rows(), handle)
    fatal = next((e.reason for e in done if e.outcome is Outcome.FAILED), None)
    if fatal is not None and fatal not in FATAL:
        fatal = Reason.SPACE_NOT_CREATED
    await job.claim.end(done, fatal=fatal)


def ours(space: SiteSpace, marker: str) -> bool:
    return marker in space.description
