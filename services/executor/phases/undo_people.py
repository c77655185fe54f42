"""Undo of groups, memberships and access. Of what the site had before, only what the plan added is taken away; accounts stay, because
no API deletes one."""

from services.executor.entities import work_through
from services.executor.job import Job, Row
from services.executor.phases.people import access_group
from shared.confluence.access import STANDINGS
from shared.confluence.site import NotOnSite
from shared.events.catalog.work import AccessRule, Entity
from shared.events.reasons import Reason

# Memberships of a group that the plan made go with it. Where it was not recorded whether one was there before, it stays.
_MADE = """
INSERT INTO work.inventory (task, epoch, ordinal, kind, id, parent, container)
SELECT $1, $2, row_number() OVER (ORDER BY o.kind, i.parent, o.id) - 1, o.kind, o.id, i.parent, i.container
FROM work.outcome o JOIN work.task t ON t.task = o.task
JOIN work.inventory i ON i.task = o.task AND i.epoch = t.inventory_epoch AND i.kind = o.kind AND i.id = o.id
WHERE t.plan = $3 AND o.outcome = 'migrated' AND (
  (o.kind = 'group' AND NOT coalesce(o.merged, false)) OR (o.kind = 'membership' AND o.merged = false)
  OR (o.kind = 'user' AND EXISTS (SELECT FROM people.standing s WHERE s.plan = ANY($4) AND s.subject = o.id AND s.rule = ANY($5)))
) ON CONFLICT DO NOTHING
"""
_ABSENT = frozenset(rule for rule in AccessRule if "_absent_" in rule.value)
_GAVE = frozenset(rule for rule in AccessRule if STANDINGS[rule].grant and "_with_" not in rule.value)


async def take(job: Job) -> None:
    work = job.claim.work
    await job.pool.execute(
        _MADE,
        work.task,
        job.claim.epoch,
        job.saved.predecessor,
        list(job.chain.plans),
        [rule.value for rule in _ABSENT | _GAVE],
    )


async def _account(job: Job, person: str | None) -> str | None:
    value = await job.pool.fetchval(
        "SELECT account_id FROM people.account WHERE site = $1 AND person = $2", job.site_id, person
    )
    return None if value is None else str(value)


async def _group(job: Job, group: str | None) -> str | None:
    value = await job.pool.fetchval(
        "SELECT group_id FROM people.site_group WHERE site = $1 AND source_group = $2", job.site_id, group
    )
    return None if value is None else str(value)


async def memberships(job: Job) -> None:
    async def handle(row: Row, look: bool) -> Entity:
        group, account = await _group(job, row.parent), await _account(job, row.container)
        if group is None or account is None or account == job.me.account_id:
            return row.skipped(Reason.GONE_ON_SITE if group is None or account is None else Reason.IN_USE)
        await job.site.remove_from_group(group, account)
        return row.migrated(reason=Reason.UNDONE)

    await job.claim.end(await work_through(job, await job.rows(), handle))


async def groups(job: Job) -> None:
    """A group goes if nobody is in it whom this product did not put there."""

    async def handle(row: Row, look: bool) -> Entity:
        group = await _group(job, row.id)
        if group is None:
            return row.skipped(Reason.GONE_ON_SITE)
        ours = {
            r["account_id"]
            for r in await job.pool.fetch(
                "SELECT DISTINCT a.account_id FROM work.inventory i JOIN work.outcome o ON o.task = i.task AND o.kind = i.kind"
                " AND o.id = i.id JOIN people.account a ON a.person = i.container AND a.site = $1"
                " WHERE i.kind = 'membership' AND i.parent = $2 AND o.outcome = 'migrated' AND i.task = ANY($3)",
                job.site_id,
                row.id,
                job.tasks,
            )
        }
        async for member in job.site.group_members(group):
            if member.account_id not in ours:
                return row.skipped(Reason.IN_USE)
        try:
            await job.site.delete_group(group)
        except NotOnSite:
            return row.migrated(reason=Reason.UNDONE) if look else row.skipped(Reason.GONE_ON_SITE)
        return row.migrated(reason=Reason.UNDONE)

    await job.claim.end(await work_through(job, await job.rows(), handle))


async def users(job: Job) -> None:
    giving = await access_group(job)

    async def handle(row: Row, look: bool) -> Entity:
        rule = AccessRule(
            await job.pool.fetchval(
                "SELECT rule FROM people.standing WHERE plan = ANY($1) AND subject = $2"
                " ORDER BY array_position($1, plan) DESC LIMIT 1",
                list(job.chain.plans),
                row.id,
            )
        )
        account = await _account(job, row.id)
        if account is None:
            return row.skipped(Reason.GONE_ON_SITE)
        if account == job.me.account_id:
            return row.skipped(Reason.IN_USE)
        if rule in _GAVE and giving is not None:
            await job.site.remove_from_group(giving, account)
        return row.skipped(Reason.ACCOUNT_STAYS) if rule in _ABSENT else row.migrated(reason=Reason.UNDONE)

    await job.claim.end(await work_through(job, await job.rows(), handle))
