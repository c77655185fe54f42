"""Undo: what one plan made is removed from the site, if nobody has touched it since.

A page or blog post is one thing with all that hangs on it: it goes to the trash whole, from the bottom of the tree up, or stays
whole. What hangs on a page that another plan made is looked at by itself. A space goes last, when nothing is in it any more.
Touched is what has another version than was recorded, or what somebody else's things hang on or lie under.
"""

from typing import Literal

from services.executor.entities import work_through
from services.executor.job import Job, Row
from services.executor.phases import common
from shared.confluence.site import NotOnSite, SiteComment
from shared.events.catalog.work import Entity, Kind, Outcome
from shared.events.reasons import Reason

# Who made something is the task that named it first. Deepest first: the order of depths is turned round.
_MADE = """
INSERT INTO work.inventory (task, epoch, ordinal, kind, id, version, parent, container, depth, homepage)
SELECT $1, $2, row_number() OVER (ORDER BY g.kind, g.container, g.id) - 1, g.kind, g.id, g.version, g.parent, g.container,
       CASE WHEN g.kind IN ('page', 'comment') THEN max(g.depth) OVER (PARTITION BY g.kind) - g.depth ELSE 0 END, g.homepage
FROM (
  SELECT DISTINCT ON (o.kind, o.id) o.kind, o.id, o.target, i.version, i.parent, i.container, i.depth, i.homepage
  FROM work.outcome o JOIN work.task t ON t.task = o.task
  JOIN work.inventory i ON i.task = o.task AND i.epoch = t.inventory_epoch AND i.kind = o.kind AND i.id = o.id
  JOIN work.id_map m ON m.site = $4 AND m.source = $5 AND m.kind = o.kind AND m.id = o.id AND m.target = o.target
  WHERE t.plan = $3 AND t.kind = 'space' AND t.space = $6 AND o.outcome = 'migrated'
    AND o.kind IN ('space', 'page', 'blogpost', 'attachment', 'comment')
    AND NOT EXISTS (
      SELECT FROM work.outcome e JOIN work.task et ON et.task = e.task JOIN work.plan ep ON ep.plan = et.plan
      WHERE e.target = o.target AND e.kind = o.kind AND ep.ledger = ANY($7) AND ep.plan <> $3 AND e.position < o.position)
  ORDER BY o.kind, o.id, o.position
) g ON CONFLICT DO NOTHING
"""


async def take(job: Job) -> None:
    """The inventory of an undo: what the plan made in this space, and no other before it."""
    work = job.claim.work
    await job.pool.execute(
        _MADE, work.task, job.claim.epoch, job.saved.predecessor, job.site_id, job.source_id, job.space_id, job.ledgers
    )


class _Things:
    """What is on the site, against what was recorded of it."""

    def __init__(self, job: Job) -> None:
        self._job = job

    async def known(self, kind: Kind, target: str) -> int | None:
        """The version that was recorded last of something that the plan made; None: it did not make it."""
        job = self._job
        value = await job.pool.fetchval(
            "SELECT max(o.target_version) FROM work.inventory i JOIN work.outcome o ON o.kind = i.kind AND o.id = i.id"
            " AND o.task = ANY($4) WHERE i.task = $1 AND i.epoch = $2 AND i.kind = $3 AND o.target = $5",
            job.claim.work.task,
            job.epoch,
            kind.value,
            job.tasks,
            target,
        )
        return None if value is None else int(value)

    async def in_use(self, kind: Kind, target: str) -> bool:
        """Whether something that the plan did not make, or that somebody changed, is below a page or hangs on it."""
        site = self._job.site
        place: Literal["page", "blogpost"] = "blogpost" if kind is Kind.BLOGPOST else "page"
        if kind is Kind.PAGE:
            async for _ in site.children(target):
                return True
        async for file in site.attachments(place, target):
            if await self.known(Kind.ATTACHMENT, file.id) != file.version:
                return True
            async for comment in site.footer_comments("attachment", file.id):
                if await self._talked(comment):
                    return True
        async for comment in site.footer_comments(place, target):
            if await self._talked(comment):
                return True
        async for comment in site.inline_comments(place, target):
            if await self._talked(comment):
                return True
        return False

    async def _talked(self, comment: SiteComment) -> bool:
        if await self.known(Kind.COMMENT, comment.id) != comment.version:
            return True
        return await self.answered(comment)

    async def answered(self, comment: SiteComment) -> bool:
        replies = self._job.site.inline_replies if comment.inline else self._job.site.comment_replies
        async for reply in replies(comment.id):
            if await self._talked(reply):
                return True
        return False


def _undone(row: Row, target: str) -> Entity:
    return row.migrated(target, Reason.UNDONE)


async def contents(job: Job) -> None:
    """Pages, by depth from the bottom up, and blog posts."""
    things = _Things(job)

    async def handle(row: Row, look: bool) -> Entity:
        target = await job.target(row.kind, row.id)
        if target is None:
            return row.skipped(Reason.GONE_ON_SITE)
        try:
            seen = await common.read(job, row.kind, target)
        except NotOnSite:
            return _undone(row, target) if look else row.skipped(Reason.GONE_ON_SITE)
        written = await job.written(row.kind, row.id)
        if written is None or seen.version != written.version or written.foreign:
            return row.skipped(Reason.CHANGED_ON_SITE)
        if await things.in_use(row.kind, target):
            return row.skipped(Reason.IN_USE)
        await job.site.delete_content("blogpost" if row.kind is Kind.BLOGPOST else "page", target)
        return _undone(row, target)

    await job.claim.end(await work_through(job, await job.rows(), handle))


async def _with_its_container(job: Job, row: Row) -> Entity | None:
    """What hangs on something of the plan shares its lot; None: it hangs on something that another plan made."""
    for kind in (Kind.PAGE, Kind.BLOGPOST, Kind.ATTACHMENT):
        own = await job.own_outcome(kind, row.container or "")
        if own is None:
            continue
        if own["outcome"] == Outcome.MIGRATED:
            target = await job.target(row.kind, row.id)
            return row.skipped(Reason.GONE_ON_SITE) if target is None else _undone(row, target)
        return row.skipped(Reason.GONE_ON_SITE if own["reason"] == Reason.GONE_ON_SITE else Reason.IN_USE)
    return None


async def attachments(job: Job) -> None:
    things = _Things(job)

    async def handle(row: Row, look: bool) -> Entity:
        if (shared := await _with_its_container(job, row)) is not None:
            return shared
        target, container = await job.target(row.kind, row.id), await job.content_target(row.container or "")
        if target is None or container is None:
            return row.skipped(Reason.GONE_ON_SITE)
        found = None
        async for file in job.site.attachments("page" if container[0] is Kind.PAGE else "blogpost", container[1]):
            found = file if file.id == target else found
        if found is None:
            return _undone(row, target) if look else row.skipped(Reason.GONE_ON_SITE)
        if found.version != await things.known(Kind.ATTACHMENT, target):
            return row.skipped(Reason.CHANGED_ON_SITE)
        await job.site.delete_content("attachment", target)
        return _undone(row, target)

    await job.claim.end(await work_through(job, await job.rows(), handle))


async def comments(job: Job) -> None:
    """By depth, replies before what they answer."""
    things = _Things(job)

    async def handle(row: Row, look: bool) -> Entity:
        if (shared := await _with_its_container(job, row)) is not None:
            return shared
        target = await job.target(row.kind, row.id)
        if target is None:
            return row.skipped(Reason.GONE_ON_SITE)
        seen = await _comment(job, target)
        if seen is None:
            return _undone(row, target) if look else row.skipped(Reason.GONE_ON_SITE)
        if seen.version != await things.known(Kind.COMMENT, target):
            return row.skipped(Reason.CHANGED_ON_SITE)
        if await things.answered(seen):
            return row.skipped(Reason.IN_USE)
        await job.site.delete_content("inline_comment" if seen.inline else "comment", target)
        return _undone(row, target)

    await job.claim.end(await work_through(job, await job.rows(), handle))


async def _comment(job: Job, target: str) -> SiteComment | None:
    for inline in (False, True):
        try:
            return await job.site.comment(target, inline=inline)
        except NotOnSite:
            continue
    return None


async def space(job: Job) -> None:
    """The space, if the plan made it and nothing is in it but the homepage that came with it, on which nothing hangs."""
    things = _Things(job)

    async def handle(row: Row, look: bool) -> Entity:
        target = await job.target(Kind.SPACE, row.id)
        key = await job.key_on_site(await job.source_key())
        there = await job.site.find_space(key)
        if target is None:
            return row.skipped(Reason.GONE_ON_SITE)
        if there is None or there.id != target:
            return _undone(row, target) if look else row.skipped(Reason.GONE_ON_SITE)
        async for page in job.site.contents("page", there.id, archived=True):
            empty = page.id == there.homepage_id and page.last_editor == job.me.account_id
            if not empty or await job.is_mapped(page.id) or await things.in_use(Kind.PAGE, page.id):
                return row.skipped(Reason.IN_USE)
        async for _ in job.site.contents("blogpost", there.id):
            return row.skipped(Reason.IN_USE)
        task = await job.site.delete_space(key)
        while task is not None and not await job.site.long_task_finished(task):
            await job.claim.rest(0.5)
        return _undone(row, target)

    await job.claim.end(await work_through(job, await job.rows(), handle))
