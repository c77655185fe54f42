"""Users, groups and memberships: who gets an account, who gets access, who goes into which group.

Who gets what is the table in ``shared.confluence.access``. Here it is carried out: the row of the table that a person
stands in is written down before anything is done for them, and what is done follows from it in every attempt.
"""

import asyncpg

from services.executor.entities import work_through
from services.executor.job import Job, Row
from shared.confluence import access
from shared.confluence.access import STANDINGS
from shared.confluence.site import Account, AccountHidden, NameTaken
from shared.events.catalog.work import AccessRule, Entity, Outcome
from shared.events.reasons import GENERIC_GROUPS, Reason

_PERSON = """
SELECT p.email, p.active, p.address, p.repair, p.repaired_email, m.account_id AS mapped FROM people.person p
LEFT JOIN people.user_map m ON m.map = $2 AND m.person = p.key WHERE p.key = $1
"""
_GROUP = """
SELECT g.name AS source_name, m.name, m.map IS NOT NULL AS mapped FROM people.source_group g
LEFT JOIN people.group_map m ON m.map = $2 AND m.source_group = g.key WHERE g.key = $1
"""
_MEMBERSHIP = """
SELECT g.name AS source_name, m.name, m.map IS NOT NULL AS mapped, s.group_id, s.synced, a.account_id, p.active, w.rule
FROM people.source_group g
LEFT JOIN people.group_map m ON m.map = $5 AND m.source_group = g.key
LEFT JOIN people.site_group s ON s.source_group = g.key AND s.site = $3
LEFT JOIN people.person p ON p.key = $2
LEFT JOIN people.account a ON a.person = p.key AND a.site = $3
LEFT JOIN LATERAL (
  SELECT rule FROM people.standing w WHERE w.subject = p.key AND w.plan = ANY($4) ORDER BY array_position($4, w.plan) LIMIT 1
) w ON true
WHERE g.key = $1
"""


async def access_group(job: Job) -> str | None:
    """The id of the site's group through which this plan gives access to Confluence; None: the plan has to name one."""
    named = await job.pool.fetchval("SELECT access_group FROM people.plan WHERE id = $1", job.saved.plan)
    return access.access_group({g.name: g.id for g in await job.site.access_groups()}, named)


async def users(job: Job) -> None:
    giving = {group.id for group in await job.site.access_groups()}
    granting = await access_group(job)

    async def handle(row: Row, look: bool) -> Entity:
        person = await job.pool.fetchrow(_PERSON, row.id, job.saved.map)
        if person is None:
            return row.failed(Reason.GONE_AT_SOURCE)
        email = person["repaired_email"] or person["email"]
        if person["mapped"] is None:
            unknown = Reason.ADDRESS_UNKNOWN if person["address"] == "unknown" else Reason.ADDRESS_INVALID
            if person["repair"] == "former" or (person["repair"] is None and person["address"] != "usable"):
                return row.skipped(unknown)
            account = await job.site.find_account(email)
        else:
            account = Account(person["mapped"], None, None)
        rule = await _rule(job, row, account, giving, enabled=person["active"] is not False)
        standing = STANDINGS[rule]
        if account is None:
            account = await _created(job, email)
        await job.pool.execute(
            "INSERT INTO people.account VALUES ($1, $2, $3)"
            " ON CONFLICT (site, person) DO UPDATE SET account_id = excluded.account_id",
            job.site_id,
            row.id,
            account.account_id,
        )
        if standing.grant:
            if granting is None:
                return row.ended(Outcome.FAILED, Reason.ACCESS_GROUP_UNNAMED, rule=rule)
            await job.site.add_to_group(granting, account.account_id)
        return row.migrated(rule=rule)

    await job.claim.end(await work_through(job, await job.rows(), handle))


async def _created(job: Job, email: str) -> Account:
    """A new account. Two people of the source may have one address, and another chunk may just have made it for the other."""
    try:
        return await job.site.create_account(email)
    except AccountHidden:
        found = await job.site.find_account(email)
        if found is None:
            raise
        return found


async def _rule(job: Job, row: Row, account: Account | None, giving: set[str], *, enabled: bool) -> AccessRule:
    """The row of the table, as it was when this plan first came to the person."""
    if (noted := await _noted(job, row.id)) is not None:
        return AccessRule(noted)
    before: access.Before = "absent"
    if account is not None:
        groups = {group.id for group in await job.site.groups_of(account.account_id)}
        before = "with" if groups & giving else "without"
    rule = access.rule(enabled=enabled, before=before, along=row.along)
    return AccessRule(await _note(job, row, rule.value))


async def _noted(job: Job, subject: str) -> str | None:
    """What was written down about a person or group when this plan, or one that it follows, first came to it."""
    found = await job.pool.fetchval(
        "SELECT rule FROM people.standing WHERE plan = ANY($1) AND subject = $2 ORDER BY array_position($1, plan) DESC"
        " LIMIT 1",
        list(job.chain.plans),
        subject,
    )
    return None if found is None else str(found)


async def _note(job: Job, row: Row, rule: str) -> str:
    """Writes it down, unless someone was quicker, and returns what stands there."""
    await job.pool.execute(
        "INSERT INTO people.standing VALUES ($1, $2, $3) ON CONFLICT DO NOTHING", job.saved.plan, row.id, rule
    )
    return await _noted(job, row.id) or rule


def group_outcome(source_name: str, mapped: bool, name: str | None) -> Reason | str:
    """What becomes of a group of the source: its name on the site, or the reason why it does not move.

    >>> group_outcome("staff", False, None), group_outcome("staff", True, "team"), group_outcome("staff", True, None).value
    ('staff', 'team', 'group_dropped')
    """
    if source_name.lower() in GENERIC_GROUPS:
        return Reason.GENERIC_GROUP
    if not mapped:
        return source_name
    if name is None:
        return Reason.GROUP_DROPPED
    return Reason.GENERIC_GROUP if name.lower() in GENERIC_GROUPS else name


async def groups(job: Job) -> None:
    async def handle(row: Row, look: bool) -> Entity:
        found = await job.pool.fetchrow(_GROUP, row.id, job.saved.map)
        if found is None:
            return row.failed(Reason.GONE_AT_SOURCE)
        name = group_outcome(found["source_name"], found["mapped"], found["name"])
        if isinstance(name, Reason):
            return row.skipped(name)
        group = await job.site.find_group(name)
        merged = await _note(job, row, "created" if group is None else "merged") == "merged"
        if group is None:
            try:
                group = await job.site.create_group(name)
            except NameTaken:
                group = await job.site.find_group(name)
        if group is None:
            return row.failed(Reason.SITE_REFUSED)
        await job.pool.execute(
            "INSERT INTO people.site_group (site, source_group, group_id, synced) VALUES ($1, $2, $3, $4)"
            " ON CONFLICT (site, source_group) DO UPDATE SET group_id = excluded.group_id, synced = excluded.synced",
            job.site_id,
            row.id,
            group.id,
            group.synced,
        )
        return row.skipped(Reason.DIRECTORY_GROUP) if group.synced else row.migrated(merged=merged or None)

    await job.claim.end(await work_through(job, await job.rows(), handle))


async def memberships(job: Job) -> None:
    """In a group that the site had before it is told who was in it: an undo takes away only who was not."""
    merged: dict[str | None, bool] = {}
    groups_of: dict[str, frozenset[str]] = {}

    async def there(row: Row, found: asyncpg.Record, look: bool) -> bool | None:
        if row.parent not in merged:
            merged[row.parent] = await _noted(job, row.parent or "") == "merged"
        if not merged[row.parent]:
            return None
        account = found["account_id"]
        if account not in groups_of:
            groups_of[account] = frozenset(group.id for group in await job.site.groups_of(account))
        return found["group_id"] in groups_of[account]

    async def handle(row: Row, look: bool) -> Entity:
        found = await job.pool.fetchrow(
            _MEMBERSHIP, row.parent, row.container, job.site_id, list(job.chain.plans), job.saved.map
        )
        if found is None:
            return row.failed(Reason.GONE_AT_SOURCE)
        name = group_outcome(found["source_name"], found["mapped"], found["name"])
        if isinstance(name, Reason):
            return row.skipped(name)
        if found["synced"]:
            return row.skipped(Reason.DIRECTORY_GROUP)
        if found["active"] is False or job.saved.users == "none":
            return row.skipped(Reason.ACCESS_WITHHELD)
        if found["group_id"] is None or found["account_id"] is None:
            return row.skipped(Reason.PRINCIPAL_NOT_ON_SITE)
        if found["rule"] is None or not STANDINGS[AccessRule(found["rule"])].memberships:
            return row.skipped(Reason.ACCESS_WITHHELD)
        before = await there(row, found, look)
        await job.site.add_to_group(found["group_id"], found["account_id"])
        return row.migrated(merged=before)

    await job.claim.end(await work_through(job, await job.rows(), handle))
