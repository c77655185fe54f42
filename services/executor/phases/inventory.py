"""Inventory: what a task is about, written down once before anything is moved.

The rows are truth beside the log. The chunk's end carries their counts and a digest over them; an inventory that another
epoch wrote half is never looked at.
"""

import contextlib
import hashlib
import json
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from dataclasses import astuple, replace
from typing import Any

import asyncpg

from services.executor.job import Job
from services.executor.phases import invitations, undo, undo_people
from services.executor.phases.choosing import choose
from services.executor.phases.trees import Trees, depths
from shared.confluence.model import Item
from shared.confluence.persons import person_key
from shared.events.catalog.chunk import InventoryResult
from shared.events.catalog.work import Kind, KindCount, LeftCount, TaskKind
from shared.events.types import derived_id, new_id

_BATCH = 1000
VIEWING = "VIEWSPACE"  # the permission that Cloud wants granted before any other
_COLUMNS = (
    "kind",
    "id",
    "version",
    "parent",
    "container",
    "depth",
    "position",
    "size",
    "has_file",
    "dangling",
    "homepage",
    "along",
    "resolved",
)
_DEFAULTS: dict[str, Any] = {
    "version": 0,
    "depth": 0,
    "has_file": True,
    "dangling": False,
    "homepage": False,
    "along": False,
    "resolved": False,
}
_INSERT = (
    f"INSERT INTO work.inventory (task, epoch, ordinal, {', '.join(_COLUMNS)})"
    f" VALUES ($1, $2, $3, {', '.join(f'${n + 4}' for n in range(len(_COLUMNS)))}) ON CONFLICT DO NOTHING"
)


class _Writer:
    """Collects rows and writes them in batches, each with the next ordinal. What a following plan lists it writes under the
    negative epoch."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self.epoch = job.claim.epoch if job.saved.follow is None else -job.claim.epoch
        self._rows: list[tuple[Any, ...]] = []
        self.ordinal = 0

    async def add(self, kind: Kind, id: str, **more: Any) -> None:
        values = {**_DEFAULTS, **more, "kind": kind.value, "id": id}
        work = self._job.claim.work
        self._rows.append((work.task, self.epoch, self.ordinal, *(values.get(c) for c in _COLUMNS)))
        self.ordinal += 1
        if len(self._rows) >= _BATCH:
            await self.flush()

    async def flush(self) -> None:
        if self._rows:
            await self._job.pool.executemany(_INSERT, self._rows)
            self._job.claim.progress["done"] = self.ordinal
            self._rows = []


class _Comments:
    """Comments as a source lists them, some all of a space in the order in which they came, to be gone over page by page: chunks
    are cut from that. On disk, for there may be many."""

    def __init__(self) -> None:
        self._kept = sqlite3.connect("")  # a file in the folder for temporary ones, which goes away by itself
        self._kept.execute("CREATE TABLE comment (n INTEGER PRIMARY KEY, container TEXT, item TEXT)")

    def add(self, item: Item) -> None:
        self._kept.execute(
            "INSERT INTO comment (container, item) VALUES (?, ?)", (item.container, json.dumps(astuple(item)))
        )

    def by_container(self) -> Iterator[Item]:
        """In the order of the first comment on each page, post or file; those on one in the order of the source."""
        query = "SELECT item FROM comment ORDER BY min(n) OVER (PARTITION BY container), n"
        for (item,) in self._kept.execute(query):
            yield Item(*json.loads(item))

    def close(self) -> None:
        self._kept.close()


async def take(job: Job, kind: str) -> None:
    """Takes the inventory of the job's task (users, groups, a space, an undo, invitations) and ends the chunk."""
    if kind in _BY_RECORDS:
        await _BY_RECORDS[kind](job)
        await job.claim.end((), inventory=await _result(job, left={}))
        return
    writer = _Writer(job)
    if kind == "users":
        await _users(job, writer)
    elif kind == "groups":
        await _groups(job, writer)
    else:
        await _space(job, writer)
    await writer.flush()
    if job.saved.follow is not None:
        await choose(job, writer.ordinal)
    if kind == "space" and job.scope.what == "all":
        await _links(job)
    left = await job.source.left_behind(job.space_id) if job.space_id is not None else {}
    await job.claim.end((), inventory=await _result(job, left))


# Taken from what earlier plans recorded: the source is not asked.
_BY_RECORDS = {
    TaskKind.UNDO.value: undo.take,
    TaskKind.UNDO_PEOPLE.value: undo_people.take,
    TaskKind.INVITATIONS.value: invitations.take,
}


async def _users(job: Job, writer: _Writer) -> None:
    """Everybody, or those whom the chosen spaces name; people whom only the content names come along."""
    chosen: set[str] = set()
    if job.saved.users == "all":
        async for key in _keys(job):
            chosen.add(key)
            await writer.add(Kind.USER, key)
    for space in job.saved.spaces:
        async for person in job.source.related_people(space):
            key = await person_key(job.pool, job.source_id, job.source, person)
            if key not in chosen:
                chosen.add(key)
                await writer.add(Kind.USER, key, along=job.saved.users != "related")


async def _keys(job: Job) -> AsyncIterator[str]:
    after = ""
    while True:
        rows = await job.pool.fetch(
            "SELECT key FROM people.person WHERE source = $1 AND key > $2 ORDER BY key LIMIT 1000", job.source_id, after
        )
        for row in rows:
            yield row["key"]
        if not rows:
            return
        after = rows[-1]["key"]


async def _groups(job: Job, writer: _Writer) -> None:
    async for group in job.source.groups():
        key = await _group_key(job, group.name)
        await writer.add(Kind.GROUP, key)
        async for member in job.source.members(group.name):
            person = await person_key(job.pool, job.source_id, job.source, member)
            await writer.add(Kind.MEMBERSHIP, derived_id(key, person), parent=key, container=person)


async def _group_key(job: Job, name: str) -> str:
    await job.pool.execute(
        "INSERT INTO people.source_group VALUES ($1, $2, $3) ON CONFLICT (source, name) DO NOTHING",
        new_id(),
        job.source_id,
        name,
    )
    return str(
        await job.pool.fetchval(
            "SELECT key FROM people.source_group WHERE source = $1 AND name = $2", job.source_id, name
        )
    )


async def _space(job: Job, writer: _Writer) -> None:
    assert job.space_id is not None
    scope = job.scope
    await writer.add(Kind.SPACE, job.space_id)
    space = await job.source.space(job.space_id)
    if scope.what == "all":
        if space.labels:
            await writer.add(Kind.LABEL, job.space_id, parent=Kind.SPACE.value)
        if await job.source.watchers("space", job.space_id):
            await writer.add(Kind.WATCH, job.space_id, parent=Kind.SPACE.value)
    trees = await _trees(job)
    hidden = await _hidden(job) if scope.what == "rights" else ()
    homeless = space.homepage_id is None and scope.what == "all"
    with contextlib.closing(_Comments()) as comments:
        async for item in job.source.items(job.space_id):
            taken = trees.taken(item) if trees else item
            if taken is None:
                continue
            if taken.kind == "comment":
                comments.add(taken)
                continue
            # On the site every space has a homepage: the first page at the top becomes it, and none stands there empty.
            first = homeless and taken.kind == "page" and taken.parent is None
            homeless = homeless and not first
            await _item(job, writer, replace(taken, homepage=True) if first else taken, hidden=taken.id in hidden)
        for item in trees.held_back() if trees is not None else ():
            comments.add(item)
        for item in comments.by_container():
            await _item(job, writer, item)
    if scope.what == "all":
        await writer.flush()
        await _orders(job, writer)
    if scope.what != "attachments":
        async for permission in job.source.permissions(job.space_id):
            await writer.add(Kind.PERMISSION, permission.id, depth=int(permission.operation != VIEWING))


async def _trees(job: Job) -> Trees | None:
    """The page trees that the plan is limited to in this space; None where it takes all pages."""
    if not job.scope.roots:
        return None
    parents, restricted = await _standing(job)
    return Trees(parents, job.scope.roots, restricted)


async def _hidden(job: Job) -> Collection[str]:
    """Pages that are restricted, or below one that is. Where only rights move, they are on the site since an earlier plan, and may
    stand elsewhere there: for each it is seen to that it is hidden."""
    parents, restricted = await _standing(job)
    return depths(parents, restricted)


async def _standing(job: Job) -> tuple[dict[str, str | None], dict[str, int]]:
    """Of every page of the space the page above it; and of each that has restrictions, how many."""
    assert job.space_id is not None
    parents: dict[str, str | None] = {}
    restricted: dict[str, int] = {}
    async for item in job.source.items(job.space_id):
        if item.kind == "page":
            parents[item.id] = item.parent
            if item.restrictions:
                restricted[item.id] = item.restrictions
    return parents, restricted


# What of a space moves: the kinds of items that its inventory then lists.
_LISTED: dict[str, frozenset[str]] = {
    "all": frozenset({"page", "blogpost", "comment", "attachment"}),
    "attachments": frozenset({"page", "blogpost", "attachment"}),
    "rights": frozenset(),
}


async def _item(job: Job, writer: _Writer, item: Item, *, hidden: bool = False) -> None:
    kind, what, options = Kind(item.kind), job.scope.what, job.saved.options
    if item.kind in _LISTED[what]:
        await writer.add(
            kind,
            item.id,
            version=item.version,
            parent=item.parent,
            container=item.container,
            depth=item.depth,
            position=item.position,
            size=item.size,
            has_file=item.has_file,
            dangling=item.dangling,
            homepage=item.homepage,
            resolved=item.resolved,
        )
    page = kind in (Kind.PAGE, Kind.BLOGPOST)
    restricted = page and (item.restrictions or hidden) and what != "attachments"
    besides: dict[Kind, object] = {Kind.RESTRICTION: restricted}
    if what == "all":
        besides |= {
            Kind.PROVENANCE: options.provenance != "none",
            Kind.BODY: page,
            Kind.VERSION: page and options.versions and item.history,
            Kind.OWNER: kind is Kind.PAGE,
            Kind.LABEL: (page or kind is Kind.ATTACHMENT) and item.labels,
            Kind.PROPERTY: page and item.properties,
            Kind.WATCH: page and item.watchers,
        }
    # Of what has no version of its own it is kept how many there are: a plan that follows compares.
    many = {
        Kind.LABEL: item.labels,
        Kind.PROPERTY: item.properties,
        Kind.RESTRICTION: item.restrictions,
        Kind.WATCH: item.watchers,
    }
    for each, there in besides.items():
        if there:
            version = many.get(each, item.version)
            await writer.add(each, item.id, version=version, parent=kind.value, container=item.container)


async def _orders(job: Job, writer: _Writer) -> None:
    """One row for each set of siblings that has an order: parents with several children, and the top of the tree."""
    work = job.claim.work
    parents = await job.pool.fetch(
        "SELECT parent FROM work.inventory WHERE task = $1 AND epoch = $2 AND kind = 'page' AND NOT homepage"
        " GROUP BY parent HAVING count(*) > 1 ORDER BY parent NULLS FIRST",
        work.task,
        writer.epoch,
    )
    for row in parents:
        await writer.add(Kind.ORDER, row["parent"] or job.space_id or "", parent=row["parent"])


async def _links(job: Job) -> None:
    """Bodies that earlier plans moved and that link to what is in this space."""
    task, epoch, follows = job.claim.work.task, job.claim.epoch, job.saved.follow is not None
    await job.pool.execute(
        "INSERT INTO work.inventory (task, epoch, ordinal, kind, id, parent)"
        " SELECT $1, $2, last.ordinal + row_number() OVER (ORDER BY w.id), 'link', w.id, w.kind FROM ("
        "  SELECT DISTINCT o.kind, o.id FROM work.open_link o JOIN work.inventory i ON i.task = $1 AND i.epoch = $5"
        "  AND i.kind IN ('page', 'blogpost', 'attachment') AND i.id = o.target WHERE o.site = $3 AND o.source = $4"
        "  AND NOT EXISTS (SELECT FROM work.inventory own WHERE own.task = $1 AND own.epoch = $2 AND own.id = o.id"
        "  AND own.kind IN ('body', 'comment'))) w,"
        " (SELECT max(ordinal) AS ordinal FROM work.inventory WHERE task = $1 AND epoch IN ($2, $5)) last"
        " ON CONFLICT DO NOTHING",
        task,
        epoch,
        job.site_id,
        job.source_id,
        -epoch if follows else epoch,
    )


async def _result(job: Job, left: Mapping[str, int]) -> InventoryResult:
    """Counts by kind and the digest over all rows, in the order of their ordinals, read back from the database."""
    counts: Counter[Kind] = Counter()
    digest, after = hashlib.sha256(), -1
    work = job.claim.work
    while True:
        rows: Sequence[asyncpg.Record] = await job.pool.fetch(
            f"SELECT ordinal, {', '.join(_COLUMNS)}, gone FROM work.inventory WHERE task = $1 AND epoch = $2 AND ordinal > $3"
            " ORDER BY ordinal LIMIT 5000",
            work.task,
            job.claim.epoch,
            after,
        )
        for row in rows:
            counts[Kind(row["kind"])] += 1
            told = [*row][:-1] + (["gone"] if row["gone"] else [])
            digest.update(("\x1f".join("" if v is None else str(v) for v in told) + "\n").encode())
        if not rows:
            break
        after = rows[-1]["ordinal"]
    return InventoryResult(
        counts=tuple(KindCount(kind=k, count=n) for k, n in sorted(counts.items())),
        digest=digest.hexdigest(),
        left=tuple(LeftCount.model_validate({"kind": k, "count": n}) for k, n in sorted(left.items())) or None,
    )
