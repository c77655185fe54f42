"""One analysis: takes an export in where there is one, then counts, space by space.

It is a chunk with claim and lease. What is recorded already is not counted again when another analyzer takes over.
"""

import asyncio
import re
from collections import Counter
from pathlib import Path

import asyncpg
import structlog

from services.analyzer.domain.addresses import judge
from shared.confluence.export import ExportDamaged, NoExport, Progress, take_in
from shared.confluence.model import Person, Space
from shared.confluence.peers import open_source
from shared.confluence.persons import person_key
from shared.confluence.source import Source, SourceError, SourceUnauthorized, SourceUnreachable, SourceUnsupported
from shared.events.catalog.analysis import (
    AnalysisCompleted,
    AnalysisFailed,
    AnalysisFailure,
    AnalysisStarted,
    SpaceNumbers,
    SpacesAnalyzed,
)
from shared.events.claims import Claim
from shared.events.contract import Actor, Context, Event
from shared.events.store import Append, EventStore
from shared.events.types import derived_id, new_id
from shared.ops.settings import Settings
from shared.ops.vault import VaultError

log = structlog.get_logger(__name__)

_SPACES_IN_EVENT = 100
_RELEASE = re.compile(r"[0-9]{1,6}(?:\.[0-9A-Za-z]{1,16}){0,5}(?:-[0-9A-Za-z]{1,40})?")

_FAILURES: tuple[tuple[type[Exception], AnalysisFailure], ...] = (
    (NoExport, AnalysisFailure.NOT_AN_EXPORT),
    (ExportDamaged, AnalysisFailure.EXPORT_DAMAGED),
    (SourceUnreachable, AnalysisFailure.SOURCE_UNREACHABLE),
    (SourceUnauthorized, AnalysisFailure.SOURCE_UNAUTHORIZED),
    (VaultError, AnalysisFailure.SOURCE_UNAUTHORIZED),
    (SourceUnsupported, AnalysisFailure.SOURCE_UNSUPPORTED),
    (SourceError, AnalysisFailure.UNEXPECTED_ERROR),
)


class Analysis:
    """Runs the analysis that a claim is about."""

    def __init__(self, store: EventStore, pool: asyncpg.Pool, settings: Settings, actor: Actor, claim: Claim) -> None:
        self._store, self._pool, self._settings = store, pool, settings
        self._actor, self._claim = actor, claim
        self._id = claim.work.task
        self._source_id = ""
        self._version = -1
        self._slices: list[SpacesAnalyzed] = []

    async def run(self) -> None:
        for row in await self._store.read_stream(f"analysis-{self._id}"):
            self._version = row.version
            match row.event:
                case AnalysisStarted() as started:
                    self._source_id = started.source
                case SpacesAnalyzed() as slice_:
                    self._slices.append(slice_)
                case AnalysisCompleted() | AnalysisFailed():
                    await self._claim.end(())  # a worker before this one got that far
                    return
                case _:
                    pass
        try:
            await self._analyze()
        except (SourceError, VaultError) as error:
            code = next(code for kind, code in _FAILURES if isinstance(error, kind))
            await self._fail(code, str(error))
        except LookupError as error:
            log.exception("analysis failed", error=type(error).__name__)
            await self._fail(
                AnalysisFailure.UNEXPECTED_ERROR, "Something unforeseen went wrong. See the analyzer's log."
            )
        await self._claim.end(())

    async def _fail(self, code: AnalysisFailure, text: str) -> None:
        log.warning("analysis not possible", code=code)
        await self._pool.execute(
            "INSERT INTO people.message VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET text = excluded.text",
            self._id,
            text,
        )
        await self._append("failed", AnalysisFailed(analysis=self._id, source=self._source_id, code=code))

    async def _analyze(self) -> None:
        row = await self._pool.fetchrow("SELECT kind, location FROM people.source WHERE id = $1", self._source_id)
        if row is None:
            raise LookupError("no such source")
        if row["kind"] != "rest":
            await self._take_in(Path(row["location"]))
        source = await open_source(self._pool, self._settings, self._source_id)
        try:
            await self._count(source)
        finally:
            await source.close()

    async def _take_in(self, location: Path) -> None:
        def tell(progress: Progress) -> None:
            self._claim.progress.update(stage=progress.stage, done=progress.done, of=progress.total)

        name = await take_in(location, self._settings.export_store, tell)
        await self._pool.execute("UPDATE people.source SET export = $2 WHERE id = $1", self._source_id, name)

    async def _count(self, source: Source) -> None:
        info = await source.info()
        await self._pool.execute(
            "UPDATE people.source SET info = $2 WHERE id = $1",
            self._source_id,
            {"product": info.product, "version": info.version, "build": info.build, "base_url": info.base_url},
        )
        self._claim.progress.update(stage="people", done=0, of=None)
        users = 0
        async for person in source.people():
            await self._person(person)
            users += 1
            self._claim.progress["done"] = users
        await self._mark_duplicates()
        groups = 0
        async for _ in source.groups():
            groups += 1
        await self._count_spaces(source)
        addresses = {
            r["address"]: int(r["n"])
            for r in await self._pool.fetch(
                "SELECT address, count(*) AS n FROM people.person WHERE source = $1 GROUP BY address", self._source_id
            )
        }
        numbers = [n for s in self._slices for n in s.spaces]
        version = info.version if info.version and _RELEASE.fullmatch(info.version) else None
        await self._append(
            "completed",
            AnalysisCompleted(
                analysis=self._id,
                source=self._source_id,
                release=version,
                users=users,
                groups=groups,
                spaces=len(numbers),
                pages=sum(n.pages for n in numbers),
                blogposts=sum(n.blogposts for n in numbers),
                comments=sum(n.comments for n in numbers),
                attachments=sum(n.attachments for n in numbers),
                attachment_bytes=sum(n.attachment_bytes for n in numbers),
                missing_files=sum(n.missing_files for n in numbers),
                addresses_invalid=addresses.get("invalid", 0),
                addresses_duplicate=addresses.get("duplicate", 0),
                addresses_unknown=addresses.get("unknown", 0),
                slices=len(self._slices),
            ),
        )

    async def _person(self, person: Person) -> None:
        """Keeps what was decided about an address as long as the address is the same."""
        await self._pool.execute(
            "INSERT INTO people.person AS p (key, source, id, username, display_name, email, active, address)"
            " VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (source, id) DO UPDATE SET"
            " username = excluded.username, display_name = excluded.display_name, email = excluded.email,"
            " active = excluded.active, address = excluded.address,"
            " repair = CASE WHEN p.email IS NOT DISTINCT FROM excluded.email THEN p.repair END,"
            " repaired_email = CASE WHEN p.email IS NOT DISTINCT FROM excluded.email THEN p.repaired_email END",
            new_id(),
            self._source_id,
            person.id,
            person.username,
            person.display_name,
            person.email.strip() if person.email else None,
            person.active,
            judge(person.email),
        )

    async def _mark_duplicates(self) -> None:
        await self._pool.execute(
            "UPDATE people.person SET address = 'duplicate' WHERE source = $1 AND address = 'usable' AND lower(email) IN"
            " (SELECT lower(email) FROM people.person WHERE source = $1 AND address = 'usable' GROUP BY 1 HAVING count(*) > 1)",
            self._source_id,
        )

    async def _count_spaces(self, source: Source) -> None:
        known = {n.space for s in self._slices for n in s.spaces}
        batch: list[SpaceNumbers] = []
        done = len(known)
        self._claim.progress.update(stage="spaces", done=done, of=None)
        async for space in source.spaces():
            if space.id in known:
                continue
            batch.append(await self._space(source, space))
            done += 1
            self._claim.progress["done"] = done
            if len(batch) >= _SPACES_IN_EVENT:
                await self._slice(batch)
                batch = []
            await asyncio.sleep(0)
        if batch:
            await self._slice(batch)

    async def _space(self, source: Source, space: Space) -> SpaceNumbers:
        await self._pool.execute(
            "INSERT INTO people.space VALUES ($1, $2, $3, $4) ON CONFLICT (source, space) DO UPDATE SET"
            " key = excluded.key, name = excluded.name",
            self._source_id,
            space.id,
            space.key,
            space.name,
        )
        async for person in source.related_people(space.id):
            await person_key(self._pool, self._source_id, source, person)
        counts: Counter[str] = Counter()
        async for item in source.items(space.id):
            counts[item.kind] += 1
            if item.kind == "attachment":
                counts["bytes"] += item.size or 0
                counts["missing"] += not item.has_file
        return SpaceNumbers(
            space=space.id,
            type=space.type,
            status=space.status,
            pages=counts["page"],
            blogposts=counts["blogpost"],
            comments=counts["comment"],
            attachments=counts["attachment"],
            attachment_bytes=counts["bytes"],
            missing_files=counts["missing"],
        )

    async def _slice(self, spaces: list[SpaceNumbers]) -> None:
        event = SpacesAnalyzed(analysis=self._id, slice=len(self._slices), spaces=tuple(spaces))
        await self._append(f"slice:{event.slice}", event)
        self._slices.append(event)

    async def _append(self, name: str, event: Event) -> None:
        context = Context(actor=self._actor, correlation=self._id, causation=self._claim.work.chunk)
        entry = (derived_id(self._id, name), event)
        result = await self._store.append(Append(f"analysis-{self._id}", self._version, (entry,), context))
        if not result.recorded or result.version is None:
            raise LookupError("another analyzer went on with this analysis")
        self._version = result.version
