"""The analyzer's commands: register a source, analyze it, decide about unusable addresses."""

import asyncio
from pathlib import Path
from typing import Literal

import asyncpg

from services.analyzer.domain.addresses import generated
from services.analyzer.people import mark_duplicates
from shared.confluence.export import detect
from shared.confluence.source import SourceError
from shared.events import commands as c
from shared.events.catalog.analysis import AnalysisStarted
from shared.events.catalog.check import ChecksStarted
from shared.events.catalog.source import AddressesRepaired, BaseUrlsSet, SourceCredentialReplaced, SourceRegistered
from shared.events.deciding import Decider, refused
from shared.events.store import EventStore
from shared.events.types import derived_id
from shared.ops.settings import Settings


class Handlers(Decider):
    """One method for each command; ``COMMANDS`` below maps them."""

    def __init__(self, store: EventStore, pool: asyncpg.Pool, settings: Settings) -> None:
        super().__init__(store)
        self._pool, self._settings = pool, settings

    async def register_source(self, command: c.RegisterSource) -> c.Reply:
        if (done := await self.recorded(command)) is not None:
            return done
        source = derived_id(command.command_id, "source")
        taken = await self._pool.fetchval("SELECT id FROM people.source WHERE name = $1", command.name)
        if taken is not None and taken != source:
            return refused("name_taken", "A source of this name is there already.", "Choose another name.")
        if command.kind in ("xml", "csv") and (no := self._outside(Path(command.location))) is not None:
            return no
        kind = await asyncio.to_thread(_kind, command)
        await self._pool.execute(
            "INSERT INTO people.source (id, name, kind, location, secret, base_urls) VALUES ($1, $2, $3, $4, $5, $6)"
            " ON CONFLICT (id) DO NOTHING",
            source,
            command.name,
            kind,
            command.location.rstrip("/"),
            command.secret,
            command.base_urls,
        )
        event = SourceRegistered(source=source, kind=kind)
        return await self.decide(command, f"source-{source}", -1, event)

    def _outside(self, location: Path) -> c.Reply | None:
        """Refuses a path that is not under one of the folders that the operator allows."""
        roots = [Path(r).resolve() for r in self._settings.export_roots.split(":") if r]
        resolved = location.resolve()
        if not any(resolved.is_relative_to(root) for root in roots):
            return refused(
                "path_not_allowed",
                "Exports are read only from folders that the operator named, and this path is in none of them.",
                "Move the export there, or add its folder: cloudward up --exports FOLDER, or CLOUDWARD_EXPORT_ROOTS.",
                422,
            )
        if not resolved.exists():
            return refused("export_missing", "There is nothing at this path.", "Check the path.", 422)
        return None

    async def replace_source_credential(self, command: c.ReplaceSourceCredential) -> c.Reply:
        if (done := await self.recorded(command)) is not None:
            return done
        rows = await self._store.read_stream(f"source-{command.source}")
        if not rows:
            return refused("source_unknown", "There is no such source.", "List them: cloudward source list.", 404)
        if isinstance(first := rows[0].event, SourceRegistered) and first.kind in ("xml", "csv"):
            return refused("no_credential", "An export is read without a credential.", "Nothing to do.", 422)
        # First the credential, then the event that tells of it: a command that dies between is sent again.
        await self._pool.execute("UPDATE people.source SET secret = $2 WHERE id = $1", command.source, command.secret)
        event = SourceCredentialReplaced(source=command.source)
        return await self.decide(command, f"source-{command.source}", rows[-1].version, event)

    async def set_base_urls(self, command: c.SetBaseUrls) -> c.Reply:
        if (done := await self.recorded(command)) is not None:
            return done
        rows = await self._store.read_stream(f"source-{command.source}")
        if not rows:
            return refused("source_unknown", "There is no such source.", "List them: cloudward source list.", 404)
        await self._pool.execute(
            "UPDATE people.source SET base_urls = $2 WHERE id = $1", command.source, command.base_urls
        )
        event = BaseUrlsSet(source=command.source, urls=len(command.base_urls))
        return await self.decide(command, f"source-{command.source}", rows[-1].version, event)

    async def analyze(self, command: c.Analyze) -> c.Reply:
        if (done := await self.recorded(command)) is not None:
            return done
        if not await self._pool.fetchval("SELECT true FROM people.source WHERE id = $1", command.source):
            return refused("source_unknown", "There is no such source.", "List them: cloudward source list.", 404)
        analysis = derived_id(command.command_id, "analysis")
        event = AnalysisStarted(analysis=analysis, source=command.source, chunk=derived_id(analysis, "chunk"))
        return await self.decide(command, f"analysis-{analysis}", -1, event)

    async def run_checks(self, command: c.RunChecks) -> c.Reply:
        """A round of checks is recorded as work; its results are read by the plan."""
        if (done := await self.recorded(command)) is not None:
            return done
        round_ = derived_id(command.command_id, "checks")
        event = ChecksStarted(
            analysis=round_,
            plan=command.plan,
            source=command.source,
            site=command.site,
            chunk=derived_id(round_, "chunk"),
        )
        return await self.decide(command, f"analysis-{round_}", -1, event)

    async def repair_addresses(self, command: c.RepairAddresses) -> c.Reply:
        done = await self.recorded(command)
        rows = await self._store.read_stream(f"source-{command.source}")
        if done is not None:
            made = next(r.event for r in rows if r.position == done.result["position"])
            assert isinstance(made, AddressesRepaired)
            counts = made.model_dump(include={"merged", "generated", "former"})
            return done.model_copy(update={"result": {**done.result, **counts}})
        if not rows:
            return refused("source_unknown", "There is no such source.", "List them: cloudward source list.", 404)
        people = await self._pool.fetch(
            "SELECT key, email, address FROM people.person WHERE source = $1 AND address <> 'usable' AND repair IS NULL",
            command.source,
        )
        counts = {"merged": 0, "generated": 0, "former": 0}
        changes: list[tuple[str, str, str | None]] = []
        for person in people:
            choice = command.duplicates if person["address"] == "duplicate" else command.others
            match choice:
                case "merge":
                    changes.append((person["key"], "merged", str(person["email"]).lower()))
                case "generate":
                    changes.append((person["key"], "generated", generated(person["key"])))
                case "former":
                    changes.append((person["key"], "former", None))
                case _:
                    continue
            counts[changes[-1][1]] += 1
        await self._pool.executemany(
            "UPDATE people.person SET repair = $2, repaired_email = $3 WHERE key = $1", changes
        )
        await mark_duplicates(self._pool, command.source)
        event = AddressesRepaired(source=command.source, **counts)
        reply = await self.decide(command, f"source-{command.source}", rows[-1].version, event)
        return reply.model_copy(update={"result": {**reply.result, **counts}})


def _kind(command: c.RegisterSource) -> Literal["rest", "xml", "csv", "backup"]:
    """Of an export the form that it has; of what cannot be opened the one that was said, and the analysis tells what is wrong."""
    if command.kind not in ("xml", "csv"):
        return command.kind
    try:
        return detect(Path(command.location))
    except SourceError:
        return command.kind


COMMANDS: dict[type[c.Command], str] = {
    c.RegisterSource: "register_source",
    c.SetBaseUrls: "set_base_urls",
    c.ReplaceSourceCredential: "replace_source_credential",
    c.Analyze: "analyze",
    c.RunChecks: "run_checks",
    c.RepairAddresses: "repair_addresses",
}
