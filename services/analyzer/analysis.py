"""One chunk of an analysis: the first one takes an export in, lists people, groups and spaces, and cuts the spaces into
chunks; those count, any number of analyzers side by side. Whoever records the last part completes the analysis.

Each part ends in one event with an id of its own: what is recorded already is not counted again when another analyzer takes
over, and what two count at once is recorded once.
"""

import asyncio
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
import structlog

from services.analyzer.domain.survey import SpaceSurvey
from services.analyzer.people import keys_of, mark_duplicates, take_groups, take_people
from shared.confluence.export import NOTES, ExportDamaged, NoExport, Progress, take_in
from shared.confluence.model import Space
from shared.confluence.peers import open_server, open_source
from shared.confluence.rest.backup import fetch
from shared.confluence.source import (
    NotInSource,
    Source,
    SourceError,
    SourceUnauthorized,
    SourceUnreachable,
    SourceUnsupported,
)
from shared.events.catalog.analysis import (
    AnalysisCompleted,
    AnalysisFailed,
    AnalysisFailure,
    AnalysisPlanned,
    AnalysisStarted,
    GroupsListed,
    Guardrail,
    GuardrailCount,
    PeopleListed,
    SpaceNumbers,
    SpacesAnalyzed,
    SpacesChunk,
)
from shared.events.claims import Claim
from shared.events.contract import Actor, Context, Event
from shared.events.store import COLUMNS, Append, EventStore, recorded
from shared.events.types import derived_id
from shared.ops.settings import Settings
from shared.ops.vault import VaultError

log = structlog.get_logger(__name__)

HEAD, SPACES = 0, 1  # depths of an analysis' chunks
_CHUNKS_IN_EVENT = 500
_LISTED_AT_ONCE = 1000
_ROWS_KEPT = 2000  # findings of a space that are held before they are written
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

# How many parts of an analysis are recorded, without reading what is in them.
_PARTS = """
SELECT type, count(*) AS n, max(version) AS version FROM log.events WHERE stream = $1 GROUP BY type
"""
_OF_TYPE = f"SELECT {COLUMNS} FROM log.events WHERE stream = $1 AND type = $2 ORDER BY version"

E = TypeVar("E", bound=Event)


class Sources:
    """The sources that this process has open, kept between chunks: a new client would list all spaces again."""

    def __init__(self, pool: asyncpg.Pool, settings: Settings) -> None:
        self._pool, self._settings = pool, settings
        self._open: dict[tuple[str, str | None], Source] = {}
        self._opening = asyncio.Lock()

    async def get(self, source: str) -> Source:
        """Raises SourceError, VaultError, LookupError."""
        async with self._opening:
            export = await self._pool.fetchval("SELECT export FROM people.source WHERE id = $1", source)
            if (source, export) not in self._open:
                self._open[source, export] = await open_source(self._pool, self._settings, source)
            return self._open[source, export]

    async def close(self) -> None:
        for source in self._open.values():
            await source.close()
        self._open.clear()


class Analysis:
    """Runs the chunk that a claim is about."""

    def __init__(
        self, store: EventStore, pool: asyncpg.Pool, settings: Settings, actor: Actor, claim: Claim, sources: Sources
    ) -> None:
        self._store, self._pool, self._settings, self._sources = store, pool, settings, sources
        self._actor, self._claim = actor, claim
        self._id = claim.work.task
        self._source_id = ""

    async def run(self) -> None:
        parts = await self._parts()
        (started,) = await self._events(AnalysisStarted)
        self._source_id = started.source
        if parts.keys() & {AnalysisCompleted.__name__, AnalysisFailed.__name__}:
            await self._claim.end(())  # a worker before this one got that far, or another chunk failed
            return
        try:
            if self._claim.work.depth == HEAD:
                await self._head(parts)
            else:
                await self._count()
            await self._complete()
        except (SourceError, VaultError) as error:
            code = next(code for kind, code in _FAILURES if isinstance(error, kind))
            await self._fail(code, str(error))
        except LookupError as error:
            log.exception("analysis failed", error=type(error).__name__)
            await self._fail(
                AnalysisFailure.UNEXPECTED_ERROR, "Something unforeseen went wrong. See the analyzer's log."
            )
        await self._claim.end(())

    async def _parts(self) -> Mapping[str, tuple[int, int]]:
        """By type of event: how many there are, and the version of the last one."""
        rows = await self._pool.fetch(_PARTS, f"analysis-{self._id}")
        return {row["type"]: (row["n"], row["version"]) for row in rows}

    async def _fail(self, code: AnalysisFailure, text: str) -> None:
        log.warning("analysis not possible", code=code)
        await self._pool.execute(
            "INSERT INTO people.message VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET text = excluded.text",
            self._id,
            text,
        )
        await self._append("ended", AnalysisFailed(analysis=self._id, source=self._source_id, code=code))

    # -- the first chunk -------------------------------------------------------------------------------------------

    async def _head(self, parts: Mapping[str, tuple[int, int]]) -> None:
        if AnalysisPlanned.__name__ not in parts:
            row = await self._pool.fetchrow("SELECT kind, location FROM people.source WHERE id = $1", self._source_id)
            if row is None:
                raise LookupError("no such source")
            if row["kind"] == "backup" and PeopleListed.__name__ not in parts:
                await self._back_up()
            elif row["kind"] != "rest" and PeopleListed.__name__ not in parts:
                await self._take_in(Path(row["location"]))
        source = await self._sources.get(self._source_id)
        if AnalysisPlanned.__name__ not in parts:
            info = await source.info()
            told: dict[str, Any] = {
                "product": info.product,
                "version": info.version,
                "build": info.build,
                "base_url": info.base_url,
            }
            if info.base_url is None:  # an export, which was read whole by now
                told["notes"] = [
                    {"code": note.code, "count": note.count, "examples": note.examples, "meaning": NOTES[note.code]}
                    for note in await source.notes()
                ]
            await self._pool.execute("UPDATE people.source SET info = $2 WHERE id = $1", self._source_id, told)
            if PeopleListed.__name__ not in parts:
                self._claim.progress.update(stage="people", done=0, of=None)
                users = await take_people(self._pool, self._source_id, source, self._tell)
                await self._append("people", PeopleListed(analysis=self._id, users=users))
            if GroupsListed.__name__ not in parts:
                self._claim.progress.update(stage="groups", done=0, of=None)
                groups, members = await take_groups(self._pool, self._id, self._source_id, source, self._tell)
                await self._append("groups", GroupsListed(analysis=self._id, groups=groups, memberships=members))
        await self._plan(source)

    def _tell(self, done: int) -> None:
        self._claim.progress["done"] = done

    async def _back_up(self) -> None:
        """The server's own backup, fetched and taken in like any export; the file is not needed afterwards."""

        def tell(stage: str, done: int, of: int | None) -> None:
            self._claim.progress.update(stage=stage, done=done, of=of)

        file = self._settings.data / "backups" / f"{self._id}.zip"
        client = await open_server(self._pool, self._settings, self._source_id)
        try:
            if not file.exists():  # else a worker before this one got that far
                await fetch(client, file, tell)
            await self._take_in(file)
        finally:
            await client.close()
        file.unlink(missing_ok=True)

    async def _take_in(self, location: Path) -> None:
        def tell(progress: Progress) -> None:
            self._claim.progress.update(stage=progress.stage, done=progress.done, of=progress.total)

        name = await take_in(location, self._settings.export_store, tell)
        await self._pool.execute("UPDATE people.source SET export = $2 WHERE id = $1", self._source_id, name)

    async def _plan(self, source: Source) -> None:
        """Lists the spaces and cuts them into chunks. A listing whose first slice is recorded is the one that counts."""
        planned = await self._events(AnalysisPlanned)
        if planned:
            epoch, spaces, slices = planned[0].epoch, planned[0].spaces, len(planned)
            if planned[-1].last:
                return
        else:
            epoch, slices = self._claim.epoch, 0
            spaces = await self._list(source, epoch)
        size = self._settings.analysis_spaces
        firsts = range(0, spaces, size)
        while True:
            part = firsts[slices * _CHUNKS_IN_EVENT : (slices + 1) * _CHUNKS_IN_EVENT]
            chunks = tuple(
                SpacesChunk(
                    chunk=derived_id(self._id, f"spaces:{first}"), first=first, last=min(first + size, spaces) - 1
                )
                for first in part
            )
            last = (slices + 1) * _CHUNKS_IN_EVENT >= len(firsts)
            event = AnalysisPlanned(
                analysis=self._id, epoch=epoch, slice=slices, last=last, spaces=spaces, chunks=chunks
            )
            await self._append(f"planned:{slices}", event)
            if last:
                return
            slices += 1

    async def _list(self, source: Source, epoch: int) -> int:
        self._claim.progress.update(stage="spaces", done=0, of=None)
        ordinal, batch = 0, list[Space]()
        async for space in source.spaces():
            batch.append(space)
            if len(batch) >= _LISTED_AT_ONCE:
                ordinal = await self._write_listing(epoch, ordinal, batch)
                batch = []
        return await self._write_listing(epoch, ordinal, batch)

    async def _write_listing(self, epoch: int, ordinal: int, spaces: list[Space]) -> int:
        await self._pool.executemany(
            "INSERT INTO people.space VALUES ($1, $2, $3, $4) ON CONFLICT (source, space) DO UPDATE SET"
            " key = excluded.key, name = excluded.name",
            [(self._source_id, s.id, s.key, s.name) for s in spaces],
        )
        await self._pool.executemany(
            "INSERT INTO work.analysis_listing VALUES ($1, $2, $3, $4, $5, $6, $7)",
            [(self._id, epoch, n, s.id, s.type, s.status, s.homepage_id) for n, s in enumerate(spaces, ordinal)],
        )
        self._claim.progress["done"] = ordinal + len(spaces)
        return ordinal + len(spaces)

    # -- the other chunks ------------------------------------------------------------------------------------------

    async def _count(self) -> None:
        work = self._claim.work
        first = (await self._events(AnalysisPlanned))[0]
        part = work.first // max(1, work.last - work.first + 1) if work.first else 0
        name = f"slice:{work.first}"
        if await self._store.event(derived_id(self._id, name)) is not None:
            return
        rows = await self._pool.fetch(
            "SELECT l.*, s.key, s.name FROM work.analysis_listing l"
            " JOIN people.space s ON s.source = $2 AND s.space = l.space"
            " WHERE l.analysis = $1 AND l.epoch = $3 AND l.ordinal BETWEEN $4 AND $5 ORDER BY l.ordinal",
            self._id,
            self._source_id,
            first.epoch,
            work.first,
            work.last,
        )
        source = await self._sources.get(self._source_id)
        numbers: list[SpaceNumbers] = []
        for n, row in enumerate(rows):
            self._claim.progress.update(stage="spaces", done=n, of=len(rows))
            space = Space(row["space"], row["key"], row["name"], row["type"], row["status"], row["homepage"], "")
            if (counted := await self._space(source, space)) is not None:
                numbers.append(counted)
        await self._append(name, SpacesAnalyzed(analysis=self._id, slice=part, spaces=tuple(numbers)))

    async def _space(self, source: Source, space: Space) -> SpaceNumbers | None:
        """The numbers of a space; what it points out is written beside. None: it is gone since the listing."""
        await self._forget(space.id)
        survey = SpaceSurvey(space)
        try:
            async for found in source.survey(space):
                survey.see(found)
                if len(survey.findings) + len(survey.uses) + len(survey.holders) >= _ROWS_KEPT:
                    await self._keep(survey)
            left = await source.left_behind(space.id)
        except NotInSource:
            log.info("a space is gone since it was listed", space=space.id)
            await self._forget(space.id)
            return None
        numbers = survey.finish(left)
        await self._keep(survey)
        related = await keys_of(self._pool, self._source_id, source, survey.named)
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(
                "DELETE FROM people.related WHERE source = $1 AND space = $2", self._source_id, space.id
            )
            await connection.execute(
                "INSERT INTO people.related SELECT $1, $2, k FROM unnest($3::text[]) k ON CONFLICT DO NOTHING",
                self._source_id,
                space.id,
                related,
            )
        return numbers

    async def _forget(self, space: str) -> None:
        """What an earlier attempt wrote about a space."""
        for table in ("finding", "macro_use", "restriction_holder"):
            await self._pool.execute(f"DELETE FROM people.{table} WHERE analysis = $1 AND space = $2", self._id, space)

    async def _keep(self, survey: SpaceSurvey) -> None:
        prefix = (self._id, survey.space.id)
        rows: tuple[tuple[str, int, list[tuple[Any, ...]]], ...] = (
            ("finding", 6, [(f.guardrail.value, f.content, f.title, f.number) for f in survey.findings]),
            ("macro_use", 6, [(u.macro, u.content, u.title, u.uses) for u in survey.uses]),
            ("restriction_holder", 5, [(h.content, h.person, h.title) for h in survey.holders]),
        )
        for table, columns, found in rows:
            if found:
                places = ", ".join(f"${n + 1}" for n in range(columns))
                await self._pool.executemany(
                    f"INSERT INTO people.{table} VALUES ({places}) ON CONFLICT DO NOTHING",
                    [prefix + row for row in found],
                )
        survey.findings, survey.uses, survey.holders = [], [], []

    # -- the end ---------------------------------------------------------------------------------------------------

    async def _complete(self) -> None:
        """Ends the analysis if this was its last part."""
        planned = await self._events(AnalysisPlanned)
        parts = await self._parts()
        chunks = sum(len(event.chunks) for event in planned)
        if not planned or not planned[-1].last or parts.get(SpacesAnalyzed.__name__, (0, 0))[0] < chunks:
            return
        await mark_duplicates(self._pool, self._source_id)
        source = await self._sources.get(self._source_id)
        info = await source.info()
        addresses = {
            r["address"]: int(r["n"])
            for r in await self._pool.fetch(
                "SELECT address, count(*) AS n FROM people.person WHERE source = $1 GROUP BY address", self._source_id
            )
        }
        sums, guardrails, people = Counter[str](), Counter[Guardrail](), Counter[str]()
        for row in await self._store.read_stream(f"analysis-{self._id}"):
            match event := row.event:
                case PeopleListed():
                    people["users"] = event.users
                case GroupsListed():
                    people.update(groups=event.groups, memberships=event.memberships)
                case SpacesAnalyzed():
                    sums["slices"] += 1
                    for space in event.spaces:
                        sums["spaces"] += 1
                        for name in _SUMMED:
                            sums[name] += getattr(space, name) or 0
                        guardrails.update({g.guardrail: g.count for g in space.guardrails})
                case _:
                    pass
        version = info.version if info.version and _RELEASE.fullmatch(info.version) else None
        await self._append(
            "ended",
            AnalysisCompleted(
                analysis=self._id,
                source=self._source_id,
                release=version,
                users=people["users"],
                groups=people["groups"],
                memberships=people["memberships"],
                spaces=sums["spaces"],
                addresses_invalid=addresses.get("invalid", 0),
                addresses_duplicate=addresses.get("duplicate", 0),
                addresses_unknown=addresses.get("unknown", 0),
                slices=sums["slices"],
                **{name: sums[name] for name in _SUMMED},
                guardrails=tuple(GuardrailCount(guardrail=g, count=n) for g, n in sorted(guardrails.items())),
            ),
        )

    async def _events(self, kind: type[E]) -> list[E]:
        """The events of one type that the analysis has so far."""
        rows = await self._pool.fetch(_OF_TYPE, f"analysis-{self._id}", kind.__name__)
        events = [recorded(row).event for row in rows]
        return [event for event in events if isinstance(event, kind)]

    async def _append(self, name: str, event: Event) -> None:
        """Records a part once, after whatever the others have recorded meanwhile. Raises LeaseLost."""
        context = Context(actor=self._actor, correlation=self._id, causation=self._claim.work.chunk)
        stream, entry = f"analysis-{self._id}", (derived_id(self._id, name), event)
        while True:
            self._claim.check_write()
            parts = await self._parts()
            expected = max((version for _, version in parts.values()), default=-1)
            if parts.keys() & {AnalysisCompleted.__name__, AnalysisFailed.__name__}:
                return  # nothing is recorded of an analysis that has ended
            result = await self._store.append(Append(stream, expected, (entry,), context))
            if result.outcome != "conflict":
                return  # recorded, now or (mismatch: counted a moment later by another) before
            if await self._store.event(entry[0]) is not None:
                return


_SUMMED = (
    "pages",
    "blogposts",
    "comments",
    "attachments",
    "attachment_bytes",
    "missing_files",
    "macros",
)
