"""A chunk in hand, with both sides open and the look-ups that its phase needs."""

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import asyncpg

from services.executor.dry.site import DrySite
from services.executor.following import Chain
from shared.confluence.cloud import CloudSite
from shared.confluence.model import Content
from shared.confluence.site import Account, SiteSpace
from shared.confluence.source import Source
from shared.confluence.spacekey import site_key
from shared.events.catalog.plan import PlanSaved, SpaceScope
from shared.events.catalog.work import ACCOUNTS, BY_DEPTH, Entity, Kind, Outcome, Phase
from shared.events.claims import Claim
from shared.events.reasons import Reason
from shared.ops.settings import Settings

# Phases that write a page's or post's body after it was made.
_WRITING = [Kind.BODY.value, Kind.VERSION.value, Kind.OWNER.value]


@dataclass(frozen=True, slots=True)
class Written:
    """What this plan and those before it wrote of a page or blog post. ``digest``: of the body, where it is known; ``pending``:
    it still holds references that only the second pass can resolve; ``reason``, ``task``: of the outcome that made it;
    ``foreign``: links were mended in a body that somebody else had written."""

    target: str
    version: int = 0
    digest: str | None = None
    pending: bool = False
    reason: str | None = None
    task: str = ""
    foreign: bool = False


class Draining(Exception):
    """The process is shutting down: let go of the chunk between two entities."""


class ChangedOnSite(Exception):
    """Somebody decided on the site otherwise than the source has it now: nothing is written there."""


class SpaceGone(Exception):
    """The space of the task is not on the site (any more), or not ours."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the inventory. ``ordinal`` orders the work; see ``shared.confluence.model.Item`` for the rest."""

    kind: Kind
    id: str
    ordinal: int = 0
    version: int = 0
    parent: str | None = None
    container: str | None = None
    depth: int = 0
    position: int | None = None
    size: int | None = None
    has_file: bool = True
    dangling: bool = False
    homepage: bool = False
    along: bool = False
    gone: bool = False  # it moved before and is not at the source any more

    def ended(self, outcome: Outcome, reason: Reason | None = None, **more: Any) -> Entity:
        return Entity(kind=self.kind, id=self.id, outcome=outcome, reason=reason, version=self.version, **more)

    def migrated(self, target: str | None = None, reason: Reason | None = None, **more: Any) -> Entity:
        return self.ended(Outcome.MIGRATED, reason, target=target, **more)

    def skipped(self, reason: Reason) -> Entity:
        return self.ended(Outcome.SKIPPED, reason)

    def failed(self, reason: Reason) -> Entity:
        return self.ended(Outcome.FAILED, reason)


_COLUMNS = (
    "kind, id, ordinal, version, parent, container, depth, position, size, has_file, dangling, homepage, along, gone"
)


async def rows_of(pool: asyncpg.Pool, claim: Claim, epoch: int | None, kind: Kind | None = None) -> list[Row]:
    """See ``Job.rows``. ``epoch``: the valid one of the task's inventory. At most a chunk's worth of rows."""
    work = claim.work
    wanted = kind or ACCOUNTS.get(work.phase)
    # Conditions that do not apply are left out, not switched off: the plan of the query must be good for a large space.
    wheres, values = ["task = $1", "epoch = $2", "kind = $3"], [work.task, epoch, wanted.value if wanted else None]
    if work.phase is not Phase.SPACE:
        wheres.append("ordinal BETWEEN $4 AND $5")
        values += [work.first, work.last]
    if work.phase in BY_DEPTH:
        wheres.append(f"depth = ${len(values) + 1}")
        values.append(work.depth)
    records = await pool.fetch(
        f"SELECT {_COLUMNS} FROM work.inventory WHERE {' AND '.join(wheres)} ORDER BY ordinal", *values
    )
    rows = [Row(**{**dict(r), "kind": Kind(r["kind"])}) for r in records]
    return [row for row in rows if (row.kind, row.id) not in claim.recorded]


@dataclass(slots=True)
class Job:
    """Everything a phase needs. ``me``: the migrator's account."""

    claim: Claim
    pool: asyncpg.Pool
    settings: Settings
    saved: PlanSaved
    space_id: str | None  # at the source
    marker: str | None
    epoch: int | None  # of the task's inventory
    opened: Source | None  # an invitation needs no source
    site: CloudSite | DrySite
    me: Account
    bases: tuple[str, ...]  # addresses under which the source's own links are written
    chain: Chain
    started_at: datetime  # of the task
    _begun: set[tuple[Kind, str]] = field(default_factory=set)
    _space: SiteSpace | None = None
    _source_key: str | None = None
    _keys: dict[str, str] = field(default_factory=dict)
    _into_earlier: bool | None = None

    @property
    def scope(self) -> SpaceScope:
        """What of the task's space moves."""
        assert self.space_id is not None
        return self.saved.scope(self.space_id)

    @property
    def site_id(self) -> str:
        """The id under which it is kept what became what on the site: a dry run keeps its own."""
        return self.saved.ledger

    @property
    def ledgers(self) -> list[str]:
        """Those of plans whose work on the site this one knows."""
        return list(dict.fromkeys([self.site_id, self.saved.site]))

    @property
    def source_id(self) -> str:
        return self.saved.source

    @property
    def source(self) -> Source:
        if self.opened is None:
            raise LookupError("the source was not opened")
        return self.opened

    async def rows(self, kind: Kind | None = None) -> list[Row]:
        """The chunk's inventory rows (of the phase's own kind, unless named) that have no outcome yet, in order."""
        return await rows_of(self.pool, self.claim, self.epoch, kind)

    # -- who is what on the site ---------------------------------------------------------------------------------

    async def target(self, kind: Kind, id: str) -> str | None:
        """The id on the site of what has moved."""
        value = await self.pool.fetchval(
            "SELECT target FROM work.id_map WHERE site = $1 AND source = $2 AND kind = $3 AND id = $4",
            self.site_id,
            self.source_id,
            kind.value,
            id,
        )
        return None if value is None else str(value)

    async def source_page(self, target: str) -> str | None:
        """The page of the source that this page of the site stands for."""
        value = await self.pool.fetchval(
            "SELECT id FROM work.id_map WHERE site = $1 AND source = $2 AND kind = 'page' AND target = $3",
            self.site_id,
            self.source_id,
            target,
        )
        return None if value is None else str(value)

    async def takes_page(self, id: str) -> bool:
        """Whether the task places this page of the source."""
        return bool(
            await self.pool.fetchval(
                "SELECT true FROM work.inventory WHERE task = $1 AND epoch = $2 AND kind = 'page' AND id = $3 AND NOT gone",
                self.claim.work.task,
                self.epoch,
                id,
            )
        )

    async def content_target(self, id: str) -> tuple[Kind, str] | None:
        """Kind and id on the site of a page, blog post or attachment of the source."""
        row = await self.pool.fetchrow(
            "SELECT kind, target FROM work.id_map WHERE site = $1 AND source = $2 AND id = $3"
            " AND kind IN ('page', 'blogpost', 'attachment')",
            self.site_id,
            self.source_id,
            id,
        )
        return None if row is None else (Kind(row["kind"]), str(row["target"]))

    async def is_mapped(self, target: str) -> bool:
        """Whether this id of the site is the recorded outcome of an entity of the source."""
        return bool(
            await self.pool.fetchval(
                "SELECT true FROM work.id_map WHERE site = $1 AND target = $2 LIMIT 1", self.site_id, target
            )
        )

    async def take(self, row: Row, target: str) -> bool:
        """Lets what was made or found on the site stand for this row, and for no other, whoever looks at the same moment.

        False: it stands for another row already, which was made or found by this chunk, by another one or by an earlier plan.
        """
        taken = bool(
            await self.pool.fetchval(
                "INSERT INTO work.taken AS t (site, target, source, kind, id, task) SELECT $1, $2, $3, $4, $5, $6"
                " WHERE NOT EXISTS (SELECT FROM work.id_map m WHERE m.site = $1 AND m.target = $2"
                " AND (m.source, m.kind, m.id) <> ($3, $4, $5))"
                " ON CONFLICT (site, target) DO UPDATE SET task = excluded.task"
                " WHERE (t.source, t.kind, t.id) = (excluded.source, excluded.kind, excluded.id) RETURNING true",
                self.site_id,
                target,
                self.source_id,
                row.kind.value,
                row.id,
                self.claim.work.task,
            )
        )
        if taken:
            self.begun(row)
        return taken

    def begun(self, row: Row) -> None:
        """Something was written for this row, or may have been: an answer was lost."""
        self._begun.add((row.kind, row.id))

    def has_begun(self, row: Row) -> bool:
        """Whether this attempt, or an earlier one, may have written for this row already."""
        return self.claim.look_first or (row.kind, row.id) in self._begun

    async def person_key(self, id: str) -> str | None:
        """Our key for a person of the source, by the source's id."""
        value = await self.pool.fetchval(
            "SELECT key FROM people.person WHERE source = $1 AND id = $2", self.source_id, id
        )
        return None if value is None else str(value)

    async def account(self, id: str) -> str | None:
        """The account on the site of a person of the source, by the source's id."""
        value = await self.pool.fetchval(
            "SELECT a.account_id FROM people.person p JOIN people.account a ON a.person = p.key AND a.site = $3"
            " WHERE p.source = $1 AND p.id = $2",
            self.source_id,
            id,
            self.site_id,
        )
        return None if value is None else str(value)

    async def former_name(self, id: str | None) -> str | None:
        """The name behind "Former user", where the plan wants it."""
        if id is None or not self.saved.options.former_names:
            return None
        value = await self.pool.fetchval(
            "SELECT coalesce(display_name, username) FROM people.person WHERE source = $1 AND id = $2",
            self.source_id,
            id,
        )
        return None if value is None else str(value)

    async def group(self, name: str) -> str | None:
        """The group's id on the site, by its name at the source."""
        value = await self.pool.fetchval(
            "SELECT s.group_id FROM people.source_group g JOIN people.site_group s ON s.source_group = g.key"
            " AND s.site = $3 WHERE g.source = $1 AND g.name = $2 AND NOT EXISTS (SELECT FROM people.group_map m"
            " WHERE m.map = $4 AND m.source_group = g.key AND m.name IS NULL)",
            self.source_id,
            name,
            self.site_id,
            self.saved.map,
        )
        return None if value is None else str(value)

    @property
    def tasks(self) -> list[str]:
        """This task, and those of the plans that this one follows about the same thing."""
        return [self.claim.work.task, *self.chain.tasks]

    @property
    def listing(self) -> int | None:
        """The epoch under which the whole listing of the source stands, where the inventory is a part of it."""
        return -self.epoch if self.epoch is not None and self.saved.follow is not None else self.epoch

    async def outcome(self, kind: Kind, id: str) -> asyncpg.Record | None:
        """What became of an entity of this task, or of those before it, that has moved: target, target_version, digest,
        pending, reason, task."""
        return await self.pool.fetchrow(
            "SELECT target, target_version, digest, pending, reason, task FROM work.outcome"
            " WHERE task = ANY($1) AND kind = $2 AND id = $3 AND outcome = 'migrated' ORDER BY position DESC LIMIT 1",
            self.tasks,
            kind.value,
            id,
        )

    async def listed_by(self, task: str | None, kind: Kind, id: str) -> asyncpg.Record | None:
        """As it was listed at the source when this task, an earlier plan's, came to it: version, parent, resolved."""
        return await self.pool.fetchrow(
            "SELECT i.version, i.parent, i.resolved FROM work.inventory i JOIN work.task t ON t.task = i.task"
            " AND t.inventory_epoch = i.epoch WHERE i.task = $1 AND i.kind = $2 AND i.id = $3",
            task,
            kind.value,
            id,
        )

    async def own_outcome(self, kind: Kind, id: str) -> asyncpg.Record | None:
        """The outcome that this task has recorded of an entity: outcome, reason."""
        return await self.pool.fetchrow(
            "SELECT outcome, reason FROM work.outcome WHERE task = $1 AND kind = $2 AND id = $3 LIMIT 1",
            self.claim.work.task,
            kind.value,
            id,
        )

    async def content(self, id: str) -> Content:
        """A page or blog post of the source; where it stands there is told only where that decides who may see it now."""
        return await self.source.content(id, placed=await self.into_earlier())

    async def restricted(self, id: str, target: str) -> asyncpg.Record | None:
        """What was recorded last of the restrictions of what stands at ``target``, by whichever plan: digest."""
        return await self.pool.fetchrow(
            "SELECT o.digest FROM work.task t JOIN work.plan p USING (plan) JOIN work.outcome o ON o.task = t.task"
            " AND o.kind = 'restriction' AND o.id = $4 AND o.outcome = 'migrated'"
            " WHERE p.ledger = ANY($1) AND p.source = $2 AND t.kind = 'space' AND t.space = $3"
            " AND o.position > (SELECT min(position) FROM work.outcome WHERE target = $5)"
            " ORDER BY o.position DESC LIMIT 1",
            self.ledgers,
            self.source_id,
            self.space_id,
            id,
            target,
        )

    async def written(self, kind: Kind, id: str) -> Written | None:
        """What was last written of a page or blog post that is on the site."""
        rows = await self.pool.fetch(
            "SELECT kind, target, target_version, digest, pending, reason, task, position FROM work.outcome"
            " WHERE task = ANY($1) AND kind = ANY($2) AND id = $3 AND outcome = 'migrated'"
            " UNION ALL SELECT o.kind, o.target, o.target_version, o.digest, o.pending, o.reason, o.task, o.position"
            " FROM work.outcome o JOIN work.task t ON t.task = o.task JOIN work.plan p ON p.plan = t.plan"
            " WHERE o.kind = 'link' AND o.id = $3 AND o.outcome = 'migrated' AND p.ledger = ANY($4) AND p.source = $5"
            " ORDER BY position",
            self.tasks,
            [kind.value, *_WRITING],
            id,
            self.ledgers,
            self.source_id,
        )
        written: Written | None = None
        for r in rows:
            if r["kind"] == kind.value and (written is None or r["target"] != written.target):
                written = Written(r["target"])  # made, or made anew
            if written is None or (r["kind"] == kind.value and r["target_version"] is None):
                continue  # only looked at
            version = max(written.version, r["target_version"] or 0)
            if r["kind"] == kind.value:
                pending, digest = r["pending"], r["digest"]
                written = replace(written, pending=pending, digest=digest, reason=r["reason"], task=r["task"])
            elif r["kind"] == Kind.BODY:
                written = replace(written, pending=False, digest=r["digest"] or written.digest)
            foreign = r["kind"] == Kind.LINK and r["reason"] == Reason.CHANGED_ON_SITE
            written = replace(written, version=version, foreign=written.foreign or foreign)
        return written

    # -- the space -----------------------------------------------------------------------------------------------

    async def source_key(self) -> str:
        if self._source_key is None:
            assert self.space_id is not None
            self._source_key = (await self.source.space(self.space_id)).key
        return self._source_key

    async def key_on_site(self, key: str) -> str:
        """The key on the site of a space with this key at the source: as this plan says if it takes the space along, else
        as the plan said that moved it."""
        if (known := self._keys.get(key.lower())) is not None:
            return known
        space = await self.pool.fetchval(
            "SELECT space FROM people.space WHERE source = $1 AND lower(key) = lower($2)", self.source_id, key
        )
        given = None
        if space is not None:
            plan = self.saved.plan if space in self.saved.spaces else await self._moved_by(space)
            given = await self.pool.fetchval(
                "SELECT key FROM people.plan_key WHERE plan = $1 AND space = $2", plan, space
            )
        self._keys[key.lower()] = found = str(given) if given is not None else site_key(key)
        return found

    async def _moved_by(self, space: str) -> str | None:
        """The plan that moved a space of the source to the site."""
        plan = await self.pool.fetchval(
            "SELECT t.plan FROM work.id_map m JOIN work.task t ON t.task = m.task"
            " WHERE m.site = $1 AND m.source = $2 AND m.kind = 'space' AND m.id = $3",
            self.site_id,
            self.source_id,
            space,
        )
        return None if plan is None else str(plan)

    async def taken_over(self) -> SiteSpace | None:
        """The space that an earlier plan made on the site, where this one goes on in it: it adds attachments or rights to
        what is there, or fills what was made ahead for attachments only."""
        earlier = await self.pool.fetchval(
            "SELECT target FROM work.id_map WHERE site = $1 AND source = $2 AND kind = 'space' AND id = $3 AND task <> $4",
            self.site_id,
            self.source_id,
            self.space_id,
            self.claim.work.task,
        )
        if earlier is None:
            return None
        if self.scope.what == "all" and self.saved.follow is None and await self.moved_whole(earlier):
            return None
        found = await self.site.find_space(await self.key_on_site(await self.source_key()))
        return found if found is not None and found.id == earlier else None

    async def unseen(self) -> bool:
        """Whether nobody but the migrator has seen the task's space on the site: neither this plan nor one before it opened it."""
        return self.chain.unfinished or not await self.into_earlier()

    async def moved_whole(self, target: str) -> bool:
        """Whether a plan moved this space, page or blog post of the site whole, not only what hangs on it."""
        return bool(
            await self.pool.fetchval(
                "SELECT true FROM work.outcome o JOIN work.task t ON t.task = o.task JOIN work.plan p ON p.plan = t.plan"
                " WHERE o.target = $1 AND o.kind IN ('space', 'page', 'blogpost') AND o.outcome = 'migrated'"
                " AND p.ledger = ANY($2) AND t.what = 'all' AND t.task <> $3 LIMIT 1",
                target,
                self.ledgers,
                self.claim.work.task,
            )
        )

    async def into_earlier(self) -> bool:
        """Whether the task's space was made by an earlier plan: what that one moved is then there already."""
        if self._into_earlier is None:
            self._into_earlier = bool(
                await self.pool.fetchval(
                    "SELECT true FROM work.outcome o JOIN work.outcome mine ON mine.task = $1 AND mine.kind = 'space'"
                    " AND mine.target = o.target WHERE o.kind = 'space' AND o.id = $2 AND o.task <> $1 LIMIT 1",
                    self.claim.work.task,
                    self.space_id,
                )
            )
        return self._into_earlier

    @property
    def markers(self) -> list[str]:
        """The marker of this task's reservation, and of those of the plans that it follows."""
        return [*([self.marker] if self.marker else []), *self.chain.markers]

    async def space(self) -> SiteSpace:
        """The task's space on the site. Raises SpaceGone when it is not there."""
        if self._space is None:
            assert self.space_id is not None
            target = await self.target(Kind.SPACE, self.space_id)
            found = await self.site.find_space(await self.key_on_site(await self.source_key()))
            if found is None or found.id != target:
                raise SpaceGone
            self._space = found
        return self._space
