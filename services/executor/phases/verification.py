"""Verification: what the space holds on the site, read back by id and by the lists of a page, against what was recorded.

Titles, the tree, the text of bodies and comments, sizes and digests of files, labels, restrictions. A body whose digest is that
of what was sent is right; of another one, which the site may have written in its own way, the text is compared. It also finds
strays: content that the migrator's account made in the space and that stands for nothing, left behind by a worker that lost its
lease with a request under way. They are removed, and named in the chunk's end.

While nobody has seen the space, it is also the last look at who may see a page: what came to be hidden at the source since it was
listed is hidden here before the space is opened, and what is not there any more is closed. The chunk's end names both.
"""

import hashlib
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal

import asyncpg
import structlog

from services.executor.bodies import Bodies
from services.executor.job import Draining, Job, Row
from services.executor.phases import restricting
from services.executor.phases.above import Above
from services.executor.phases.comments import quoted
from services.executor.phases.common import digest
from shared.confluence import storage
from shared.confluence.model import Content
from shared.confluence.site import NotOnSite, SiteAttachment, SiteComment, SiteContent
from shared.confluence.source import NotInSource
from shared.events.catalog.chunk import Difference
from shared.events.catalog.work import Kind, Outcome
from shared.events.reasons import Reason

log = structlog.get_logger(__name__)


_CLOCKS_APART = timedelta(minutes=2)

What = Literal["missing", "title", "size", "parent", "text", "digest", "place", "unreadable", "restricted", "closed"]


@dataclass(slots=True)
class Findings:
    """``differences``: by the source's ids. ``mended``: what was put right."""

    differences: list[Difference] = field(default_factory=list)
    mended: list[Difference] = field(default_factory=list)

    def differs(self, kind: Kind, id: str, what: What) -> None:
        self.differences.append(Difference(kind=kind, id=id, what=what))


@dataclass(frozen=True, slots=True)
class Sent:
    """What was recorded of something that moved: the source's id, bytes, digest and reason of its outcome, its parent."""

    id: str
    size: int | None
    digest: str | None
    reason: str | None


async def verify(job: Job) -> None:
    """Goes over the chunk's pages and blog posts; the first chunk also looks for stray ones in the whole space."""
    rows = await job.rows(Kind.BODY)
    if job.claim.purpose == "settle":
        await job.claim.end(())
        return
    verifier = _Verifier(job, await Bodies.of(job))
    for n, row in enumerate(rows):
        job.claim.progress.update(done=n, of=len(rows))
        if job.claim.draining:
            await job.claim.release(())
            raise Draining
        await verifier.content(row)
    found = verifier.found
    if await _is_first(job):
        await _stray_contents(job)
        # Nothing more is made in this space, and what stands for what is recorded.
        await job.pool.execute("DELETE FROM work.taken WHERE task = $1", job.claim.work.task)
    if found.differences:
        log.warning("verification found differences", space=job.space_id, count=len(found.differences))
    chunk = job.claim.work.chunk
    strays = await job.pool.fetch("SELECT id FROM work.stray WHERE chunk = $1 ORDER BY length(id), id", chunk)
    await job.claim.end(
        (),
        strays=[row["id"] for row in strays],
        differences=found.differences[:500],
        mended=found.mended[:500],
        fatal=Reason.VERIFICATION_DIFFERENCE if found.differences else None,
    )
    await job.pool.execute("DELETE FROM work.stray WHERE chunk = $1", chunk)


async def _is_first(job: Job) -> bool:
    first = await job.pool.fetchval(
        "SELECT min(first_ordinal) FROM work.chunk WHERE task = $1 AND phase = 'verification'", job.claim.work.task
    )
    return bool(first == job.claim.work.first)


async def _stray_contents(job: Job) -> None:
    space = await job.space()
    for kind in ("page", "blogpost"):
        async for found in job.site.contents("page" if kind == "page" else "blogpost", space.id):
            if found.id != space.homepage_id and await _is_stray(job, found):
                await _remove(job, "page" if kind == "page" else "blogpost", found.id)


async def _remove(
    job: Job, kind: Literal["page", "blogpost", "attachment", "comment", "inline_comment"], id: str
) -> None:
    """Removes a stray; first it is noted, for the answer may be lost, or this attempt."""
    await job.pool.execute("INSERT INTO work.stray VALUES ($1, $2) ON CONFLICT DO NOTHING", job.claim.work.chunk, id)
    await job.site.delete_content(kind, id)


async def _is_stray(job: Job, found: SiteContent | SiteAttachment | SiteComment) -> bool:
    """Made by the migrator's account, standing for nothing. In a space that was open before, people may use that account too:
    there only what came since the task began, by the site's clock or by ours."""
    if found.author != job.me.account_id or await job.is_mapped(found.id):
        return False
    if await job.unseen():
        return True
    return found.created_at is not None and found.created_at > job.started_at - _CLOCKS_APART


class _Verifier:
    def __init__(self, job: Job, bodies: Bodies) -> None:
        self._job, self._bodies, self.found, self._above = job, bodies, Findings(), Above(job)
        # What earlier plans moved into a space that is open by now is people's own matter.
        self._looked_at = job.tasks if job.chain.unfinished else [job.claim.work.task]

    async def content(self, row: Row) -> None:
        kind = Kind(row.parent or "page")
        target = await self._job.target(kind, row.id)
        if target is None:
            return  # it did not move, and its outcome says so
        place: Literal["page", "blogpost"] = "blogpost" if kind is Kind.BLOGPOST else "page"
        try:
            seen = await self._job.site.content(place, target, body=True)
        except NotOnSite:
            self.found.differs(kind, row.id, "missing")
            return
        sent = await self._sent(kind, row.id)
        own = sent is not None and seen.last_editor == self._job.me.account_id  # else people work on it already
        unseen = await self._job.unseen()
        content = await self._at_source(row.id) if own or unseen else None
        item = await self._listed(kind, row.id) if own or unseen else None
        if unseen:
            await self._hidden(row, item, seen, sent, content)
        if content is not None and sent is not None and own:
            await self._page(row, kind, item, seen, sent, content)
        await self._attachments(row, place, target)
        await self._comments(row, place, target)
        await self._besides(row, place, target, content)

    async def _at_source(self, id: str) -> Content | None:
        """None: it is not in this space any more."""
        try:
            content = await self._job.source.content(id)
        except NotInSource:
            return None
        return content if content.space_id == self._job.space_id else None

    async def _hidden(
        self, row: Row, item: asyncpg.Record | None, seen: SiteContent, sent: Sent | None, content: Content | None
    ) -> None:
        """Hides it as the source does now; what is gone there, nobody knows who might see."""
        job = self._job
        if content is None:
            if "read" not in await job.site.restrictions(seen.id):
                await restricting.close(job, seen.id)
                self.found.mended.append(Difference(kind=Kind.RESTRICTION, id=row.id, what="closed"))
            return
        lost = sent is None or sent.reason == Reason.PARENT_NOT_MOVED
        where_it_was = item is not None and not lost and item["parent"] == content.parent
        above = [] if where_it_was else await self._above.hiding(content, seen.id)
        if not above and not restricting.hides(content):
            return
        now = await restricting.wanted(job, content, above)
        last = await job.restricted(row.id, seen.id)
        if (last is not None and last["digest"] == now.digest) or (
            restricting.digest(await job.site.restrictions(seen.id)) == now.digest
        ):
            return
        refused = await job.own_outcome(Kind.RESTRICTION, row.id)
        if refused is not None and refused["outcome"] == Outcome.FAILED:
            return  # it is closed, and the space stays private
        what: What = "restricted"
        try:
            await restricting.set_as(job, seen.id, now)
        except restricting.Refused:
            what = "closed"
        self.found.mended.append(Difference(kind=Kind.RESTRICTION, id=row.id, what=what))

    async def _listed(self, kind: Kind, id: str) -> asyncpg.Record | None:
        return await self._job.pool.fetchrow(
            "SELECT parent, homepage FROM work.inventory WHERE task = $1 AND epoch = $2 AND kind = $3 AND id = $4",
            self._job.claim.work.task,
            self._job.listing,
            kind.value,
            id,
        )

    async def _sent(self, kind: Kind, id: str) -> Sent | None:
        """Of a page what was last recorded: by the second pass over its body, if that wrote."""
        written = await self._job.written(kind, id)
        if written is None or written.task not in self._looked_at:
            return None
        return Sent(id, None, None if written.pending else written.digest, written.reason)

    async def _page(
        self, row: Row, kind: Kind, item: asyncpg.Record | None, seen: SiteContent, sent: Sent, content: Content
    ) -> None:
        if item is not None and kind is Kind.PAGE and not item["homepage"] and sent.reason != Reason.PARENT_NOT_MOVED:
            parent = await self._job.target(Kind.PAGE, item["parent"]) if item["parent"] else None
            if seen.parent != parent:
                self.found.differs(kind, row.id, "parent")
        title = content.title[:255] or "Untitled"
        # A renamed one keeps the beginning of its title.
        renamed = sent.reason == Reason.TITLE_CLASH and seen.title.startswith(title[:200])
        if seen.title.strip() != title.strip() and not renamed:
            self.found.differs(kind, row.id, "title")
        if content.format == "storage" and digest(_own(seen.body)) != sent.digest:
            wanted = (await self._bodies.rewrite(content)).text
            if storage.plain_text(_own(seen.body)) != storage.plain_text(wanted):
                self.found.differs(Kind.BODY, row.id, "text")

    async def _moved(self, kind: Kind, container: str) -> dict[str, Sent] | None:
        """By target: what moved onto this page or blog post. None: there was nothing to move."""
        rows = await self._job.pool.fetch(
            "SELECT o.outcome, o.target, i.id, i.size, o.digest, o.reason FROM work.task t JOIN work.inventory i"
            " ON i.task = t.task AND i.epoch = t.inventory_epoch JOIN work.outcome o"
            " ON o.task = i.task AND o.kind = i.kind AND o.id = i.id WHERE t.task = ANY($1)"
            " AND i.kind = $2 AND i.container = $3 ORDER BY o.position",
            self._looked_at,
            kind.value,
            container,
        )
        found: dict[str, Sent] = {}
        for r in rows:
            if r["outcome"] != Outcome.MIGRATED or r["target"] is None:
                continue
            sent = Sent(str(r["id"]), r["size"], r["digest"], r["reason"])
            if (other := found.get(str(r["target"]))) is not None and other.id != sent.id:
                self.found.differs(kind, sent.id, "missing")  # one thing on the site cannot stand for two
            else:
                found[str(r["target"])] = sent
        return found if rows else None

    async def _attachments(self, row: Row, place: Literal["page", "blogpost"], target: str) -> None:
        expected = await self._moved(Kind.ATTACHMENT, row.id)
        if expected is None:
            return
        there: dict[str, SiteAttachment] = {}
        async for found in self._job.site.attachments(place, target):
            there[found.id] = found
        for id, sent in expected.items():
            if id not in there:
                self.found.differs(Kind.ATTACHMENT, sent.id, "missing")
            elif there[id].author == self._job.me.account_id:
                await self._file(target, there[id], sent)
                await self._thread(Kind.ATTACHMENT, id, sent.id)
        for found in there.values():
            if found.id not in expected and await _is_stray(self._job, found):
                await _remove(self._job, "attachment", found.id)

    async def _file(self, container: str, there: SiteAttachment, sent: Sent) -> None:
        if sent.size is not None and there.size != sent.size:
            self.found.differs(Kind.ATTACHMENT, sent.id, "size")
        elif self._job.saved.dry_run:
            return  # it keeps no bytes to be read back
        elif sent.digest is not None and there.size <= self._job.settings.verify_bytes:
            sha = hashlib.sha256()
            try:
                async for chunk in self._job.site.download_attachment(container, there.id):
                    sha.update(chunk)
            except NotOnSite:
                self.found.differs(Kind.ATTACHMENT, sent.id, "unreadable")
                return
            if sha.hexdigest() != sent.digest:
                self.found.differs(Kind.ATTACHMENT, sent.id, "digest")

    async def _comments(self, row: Row, place: Literal["page", "blogpost"], target: str) -> None:
        await self._thread(Kind.PAGE if place == "page" else Kind.BLOGPOST, target, row.id)

    async def _thread(self, kind: Kind, target: str, id: str) -> None:
        """All comments on a page, blog post or file, with their answers."""
        expected = await self._moved(Kind.COMMENT, id)
        if expected is None:
            return
        there: dict[str, SiteComment] = {}
        places: dict[Kind, Literal["page", "blogpost", "attachment"]] = {
            Kind.PAGE: "page",
            Kind.BLOGPOST: "blogpost",
            Kind.ATTACHMENT: "attachment",
        }
        async for found in self._job.site.footer_comments(places[kind], target):
            there[found.id] = found
        if kind is not Kind.ATTACHMENT:
            async for found in self._job.site.inline_comments("page" if kind is Kind.PAGE else "blogpost", target):
                there[found.id] = found
        waiting = list(there.values())
        while waiting:
            above = waiting.pop()
            replies = self._job.site.inline_replies if above.inline else self._job.site.comment_replies
            async for found in replies(above.id):
                there[found.id] = found
                waiting.append(found)
        for comment, sent in expected.items():
            if comment not in there:
                self.found.differs(Kind.COMMENT, sent.id, "missing")
            elif there[comment].author == self._job.me.account_id:
                await self._words(there[comment], sent)
        for found in reversed(there.values()):
            if found.id not in expected and await _is_stray(self._job, found):
                await _remove(self._job, "inline_comment" if found.inline else "comment", found.id)

    async def _words(self, there: SiteComment, sent: Sent) -> None:
        if digest(there.body) == sent.digest:
            return
        try:
            comment = await self._job.source.comment(sent.id)
        except NotInSource:
            return  # nothing is left to compare with
        if comment.format != "storage":
            return
        wanted = (await self._bodies.rewrite(comment)).text
        if not there.inline and comment.parent is None:
            wanted = quoted(comment, wanted)
        if storage.plain_text(there.body) != storage.plain_text(wanted):
            self.found.differs(Kind.COMMENT, sent.id, "text")

    async def _besides(
        self, row: Row, place: Literal["page", "blogpost"], target: str, content: Content | None
    ) -> None:
        """Labels, if the site took them all, and restrictions, of those that have any."""
        kinds = {
            Kind(r["kind"])
            for r in await self._job.pool.fetch(
                "SELECT o.kind FROM work.outcome o WHERE o.task = $1 AND o.id = $2 AND o.kind IN ('label', 'restriction')"
                " AND o.outcome = 'migrated' AND (o.kind = 'restriction' OR o.reason IS NULL)"
                " AND NOT EXISTS (SELECT FROM work.inventory i WHERE i.task = $1 AND i.epoch = $3"
                " AND i.kind = o.kind AND i.id = o.id AND i.gone)",
                self._job.claim.work.task,
                row.id,
                self._job.epoch,
            )
        }
        if Kind.RESTRICTION in kinds and not await self._job.site.restrictions(target):
            self.found.differs(Kind.RESTRICTION, row.id, "missing")
        content = content or (await self._at_source(row.id) if Kind.LABEL in kinds else None)
        if Kind.LABEL in kinds and content is not None:
            await self._labels(place, target, row.id, content.labels)
        for id in await self._labeled_files(row.id):
            file = await self._job.target(Kind.ATTACHMENT, id)
            with suppress(NotInSource, NotOnSite):  # nothing is left to compare with; or it is missing, which is told
                if file is not None:
                    await self._labels("attachment", file, id, (await self._job.source.attachment(id)).labels)

    async def _labeled_files(self, container: str) -> list[str]:
        """Those of a page or blog post whose labels this task has all moved, by the source's ids."""
        rows = await self._job.pool.fetch(
            "SELECT i.id FROM work.inventory i JOIN work.outcome o ON o.task = i.task AND o.kind = i.kind AND o.id = i.id"
            " WHERE i.task = $1 AND i.epoch = $2 AND i.kind = 'label' AND i.container = $3 AND o.outcome = 'migrated'"
            " AND o.reason IS NULL",
            self._job.claim.work.task,
            self._job.epoch,
            container,
        )
        return [row["id"] for row in rows]

    async def _labels(
        self, place: Literal["page", "blogpost", "attachment"], target: str, id: str, wanted: Collection[str]
    ) -> None:
        there = {name.lower() for name in await self._job.site.labels(place, target)}
        if not {name.lower() for name in wanted} <= there:
            self.found.differs(Kind.LABEL, id, "missing")


def _own(body: str | None) -> str:
    """A body of the site without the marks that it puts there for comments on pieces of its text."""
    return storage.unwrap_inline_markers(body or "").text
