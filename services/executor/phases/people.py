"""Users, groups and memberships: who gets an account, who gets access, who goes into which group.

The rule, by what a person is at the source and on the site:

* enabled and chosen: an account, and access through the site's group that gives it;
* disabled, or only named by content: an account where there was none, so that mentions stay alive, but no access and no
  group at all, because a merged group could give access by the back door;
* access that was there before is never taken away.
"""

from services.executor.entities import work_through
from services.executor.job import Job, Row
from shared.confluence.site import NameTaken, SiteGroup
from shared.events.catalog.work import Entity
from shared.events.reasons import GENERIC_GROUPS, Reason


async def users(job: Job) -> None:
    access: list[SiteGroup] = sorted(await job.site.access_groups(), key=lambda g: g.name)

    async def handle(row: Row, look: bool) -> Entity:
        person = await job.pool.fetchrow(
            "SELECT email, active, address, repair, repaired_email FROM people.person WHERE key = $1", row.id
        )
        if person is None:
            return row.failed(Reason.GONE_AT_SOURCE)
        if person["repair"] == "former":
            return row.skipped(Reason.ADDRESS_UNKNOWN if person["address"] == "unknown" else Reason.ADDRESS_INVALID)
        if person["repair"] is None and person["address"] != "usable":
            return row.skipped(Reason.ADDRESS_UNKNOWN if person["address"] == "unknown" else Reason.ADDRESS_INVALID)
        email = person["repaired_email"] or person["email"]
        account = await job.site.find_account(email)
        if account is None:
            account = await job.site.create_account(email)
        if person["active"] is not False and not row.along and access:
            await job.site.add_to_group(access[0].id, account.account_id)
        await job.pool.execute(
            "INSERT INTO people.account VALUES ($1, $2, $3)"
            " ON CONFLICT (site, person) DO UPDATE SET account_id = excluded.account_id",
            job.site_id,
            row.id,
            account.account_id,
        )
        return row.migrated()

    await job.claim.end(await work_through(job, await job.rows(), handle))


async def groups(job: Job) -> None:
    async def handle(row: Row, look: bool) -> Entity:
        name = await job.pool.fetchval("SELECT name FROM people.source_group WHERE key = $1", row.id)
        if name in GENERIC_GROUPS:
            return row.skipped(Reason.GENERIC_GROUP)
        group = await job.site.find_group(name)
        if group is None:
            try:
                group = await job.site.create_group(name)
            except NameTaken:
                group = await job.site.find_group(name)
        if group is None:
            return row.failed(Reason.SITE_REFUSED)
        await job.pool.execute(
            "INSERT INTO people.site_group VALUES ($1, $2, $3)"
            " ON CONFLICT (site, source_group) DO UPDATE SET group_id = excluded.group_id",
            job.site_id,
            row.id,
            group.id,
        )
        return row.migrated()

    await job.claim.end(await work_through(job, await job.rows(), handle))


async def memberships(job: Job) -> None:
    async def handle(row: Row, look: bool) -> Entity:
        found = await job.pool.fetchrow(
            "SELECT g.name, s.group_id, a.account_id, p.active FROM people.source_group g"
            " LEFT JOIN people.site_group s ON s.source_group = g.key AND s.site = $3"
            " LEFT JOIN people.person p ON p.key = $2 LEFT JOIN people.account a ON a.person = p.key AND a.site = $3"
            " WHERE g.key = $1",
            row.parent,
            row.container,
            job.site_id,
        )
        if found is None:
            return row.failed(Reason.GONE_AT_SOURCE)
        if found["name"] in GENERIC_GROUPS:
            return row.skipped(Reason.GENERIC_GROUP)
        if found["active"] is False or job.saved.users == "none":
            return row.skipped(Reason.ACCESS_WITHHELD)
        if found["group_id"] is None or found["account_id"] is None:
            return row.skipped(Reason.PRINCIPAL_NOT_ON_SITE)
        await job.site.add_to_group(found["group_id"], found["account_id"])
        return row.migrated()

    await job.claim.end(await work_through(job, await job.rows(), handle))
