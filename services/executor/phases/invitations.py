"""Invitations: the organization is asked to mail each person, once.

A mail cannot be taken back, and no API tells whether it was sent. So that a person is about to be invited is recorded before the
request; whoever stands so recorded without an answer is reported as not known, by whichever attempt comes to it, and never
asked for a second time.
"""

import asyncio
import time

from services.executor.entities import reason_of
from services.executor.job import Draining, Job, Row
from services.executor.phases.people import access_group
from shared.confluence.cloud import CloudSite
from shared.confluence.site import NotOnSite, OutcomeUnknown, SiteError, SiteUnavailable, Throttled, WritesForbidden
from shared.events.catalog.work import Entity
from shared.events.claims import LeaseLost
from shared.events.reasons import Reason
from shared.events.restoring import restored_since_start

MESSAGE = "Your pages and files are in Confluence Cloud now. At first you may have to set a password."

_TAKE = """
INSERT INTO work.inventory (task, epoch, ordinal, kind, id)
SELECT $1, $2, row_number() OVER (ORDER BY person) - 1, 'invitation', person FROM people.invitable_v1($3, $4, $1)
ON CONFLICT DO NOTHING
"""
_PERSON = """
SELECT coalesce(p.repaired_email, p.email) AS email, a.account_id FROM people.person p
JOIN people.account a ON a.site = $2 AND a.person = p.key WHERE p.key = $1 AND p.active IS NOT FALSE
"""


async def take(job: Job) -> None:
    """One invitation at a time chooses among the people of a site, so that no two of them choose the same person."""
    async with job.pool.acquire() as connection, connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 82))", job.saved.site)
        await connection.execute(
            _TAKE, job.claim.work.task, job.claim.epoch, job.saved.predecessor, job.saved.follow == "remind"
        )


async def send(job: Job) -> None:
    claim, site = job.claim, job.site
    assert isinstance(site, CloudSite)  # an invitation has no dry run
    rows = await job.rows()
    if claim.purpose == "settle":
        await claim.end([row.skipped(claim.settled_as) for row in rows])
        return
    if site.mails_new_people:
        await claim.end([row.failed(Reason.NO_ORGANIZATION) for row in rows])
        return
    if await restored_since_start(job.pool, job.saved.plan):  # the log may have forgotten who was invited
        await claim.end([row.failed(Reason.INVITATION_UNKNOWN) for row in rows])
        return
    giving = {group.id for group in await site.access_groups()}
    granting = await access_group(job)
    for n, row in enumerate(rows):
        claim.progress.update(done=n, of=len(rows))
        if claim.draining:
            await claim.release(())
            raise Draining
        await claim.entity_ended(await _one(job, site, row, giving, granting))
    await claim.end(())


async def _one(job: Job, site: CloudSite, row: Row, giving: set[str], granting: str | None) -> Entity:
    """Only who has the account, and access, that the plan gave: an invitation would give back what somebody took away."""
    person = await job.pool.fetchrow(_PERSON, row.id, job.site_id)
    account = await site.find_account(person["email"]) if person is not None else None
    if person is None or account is None or not account.active or account.account_id != person["account_id"]:
        return row.skipped(Reason.ACCESS_ENDED)
    try:
        groups = giving.intersection([group.id for group in await site.groups_of(account.account_id)])
    except NotOnSite:
        groups = set()
    if not groups:
        return row.skipped(Reason.ACCESS_ENDED)
    job.claim.check_write()
    await job.claim.invitation_begun(row.id)
    return await _invited(job, site, row, person["email"], [granting] if granting in groups else [])


async def _invited(job: Job, site: CloudSite, row: Row, email: str, group_ids: list[str | None]) -> Entity:
    since = time.monotonic()
    while True:
        try:
            taken = await site.invite([email], group_ids=[id for id in group_ids if id], message=MESSAGE)
            return row.migrated() if taken else row.failed(Reason.SITE_REFUSED)
        except OutcomeUnknown:
            return row.failed(Reason.INVITATION_UNKNOWN)
        except WritesForbidden as error:
            raise LeaseLost(job.claim.work.chunk) from error
        except Throttled as error:  # not done
            await asyncio.sleep(error.retry_after or 1.0)
        except SiteUnavailable:  # nothing was sent
            if time.monotonic() - since > job.settings.patience:
                return row.failed(Reason.SITE_UNAVAILABLE)
            await asyncio.sleep(1.0)
        except SiteError as error:
            return row.failed(reason_of(error))
