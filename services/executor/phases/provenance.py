"""Where content comes from: who made and changed it, and when, kept as a property, since no API lets anyone else be its author.

It is the one thing by which a search on the site finds what somebody without an account has written.
"""

from datetime import datetime
from typing import Any, Literal

from services.executor.entities import work_through
from services.executor.job import Job, Row
from services.executor.phases.common import why_not_there
from shared.confluence import storage
from shared.confluence.model import Attachment, Comment, Content
from shared.confluence.site import SiteRefused
from shared.events.catalog.work import Entity, Kind
from shared.events.reasons import Reason

KEY = "cloudward-origin"
_PLACES: dict[Kind, Literal["page", "blogpost", "attachment", "comment"]] = {
    Kind.PAGE: "page",
    Kind.BLOGPOST: "blogpost",
    Kind.ATTACHMENT: "attachment",
    Kind.COMMENT: "comment",
}


async def note(job: Job) -> None:
    async def handle(row: Row, look: bool) -> Entity:
        kind = Kind(row.parent or "page")
        target = await job.target(kind, row.id)
        if target is None:
            return row.skipped(await why_not_there(job, kind, row.id))
        try:
            await job.site.set_property(
                _PLACES[kind], target, KEY, await origin(job, await _content(job, kind, row.id))
            )
        except SiteRefused:
            return row.migrated(reason=Reason.SITE_REFUSED)
        return row.migrated()

    await job.claim.end(await work_through(job, await job.rows(), handle))


async def _content(job: Job, kind: Kind, id: str) -> Content | Comment | Attachment:
    match kind:
        case Kind.COMMENT:
            return await job.source.comment(id)
        case Kind.ATTACHMENT:
            return await job.source.attachment(id)
        case _:
            return await job.content(id)


async def origin(job: Job, content: Content | Comment | Attachment) -> dict[str, Any]:
    """The value of the property: ``{"id", "version", "author", "created", "editor", "edited"}``, what is not told left out.

    People are ``{"accountId"}`` or, without an account on the site, ``{"name": "Former user"}``.
    """
    value = {
        "id": content.id,
        "version": content.version,
        "author": await _person(job, content.creator),
        "created": _moment(content.created_at),
        "editor": await _person(job, content.modifier),
        "edited": _moment(content.modified_at),
    }
    return {name: told for name, told in value.items() if told is not None}


async def _person(job: Job, id: str | None) -> dict[str, str] | None:
    if id is None:
        return None
    account = await job.account(id)
    if account is not None:
        return {"accountId": account}
    return {"name": storage.former_user(storage.FormerUser(await job.former_name(id)))}


def _moment(when: datetime | None) -> str | None:
    return None if when is None else when.isoformat(timespec="seconds")
