"""Commands that come with a table: corrected addresses, trusted domains, maps. A bad file is refused whole."""

from typing import Any

import asyncpg

from services.analyzer.domain import corrections as tables
from services.analyzer.people import mark_duplicates
from shared.events import commands as c
from shared.events.catalog.source import AddressesRepaired, DomainsReviewed, MapRecorded
from shared.events.contract import Event
from shared.events.deciding import Decider, refused
from shared.events.store import EventStore
from shared.events.types import derived_id
from shared.ops.tables import BadTable, read_table

_NO_SOURCE = refused("source_unknown", "There is no such source.", "List them: cloudward source list.", 404)
_DOMAINS = """
SELECT DISTINCT lower(split_part(coalesce(repaired_email, email), '@', 2)) AS domain FROM people.person
WHERE source = $1 AND coalesce(repaired_email, email) LIKE '%@%'
AND (repair IN ('corrected', 'merged') OR repair IS NULL AND address IN ('usable', 'duplicate'))
"""


def _refused(name: str, error: BadTable) -> c.Reply:
    return refused(
        "table_refused",
        f"The table of {name} was refused as a whole: line {error.line}: {error.reason}.",
        "Correct that line and send the file again; nothing was changed.",
        422,
        findings=[{"line": error.line, "reason": error.reason}],
    )


class Tables(Decider):
    """One method for each command; ``TABLE_COMMANDS`` below maps them."""

    def __init__(self, store: EventStore, pool: asyncpg.Pool) -> None:
        super().__init__(store)
        self._pool = pool

    async def correct_addresses(self, command: c.CorrectAddresses) -> c.Reply:
        if (done := await self.recorded(command)) is not None:
            return done
        version = await self._version(command.source)
        if version is None:
            return _NO_SOURCE
        rows = await self._pool.fetch(
            "SELECT key, id, email, address, CASE WHEN repair = 'former' THEN NULL ELSE coalesce(repaired_email, email) END"
            " AS effective FROM people.person WHERE source = $1",
            command.source,
        )
        people = {r["id"]: tables.Known(r["key"], r["email"], r["address"], r["effective"]) for r in rows}
        try:
            lines = read_table(await self._text(command.upload), tables.ADDRESS_COLUMNS)
            found = tables.corrections(lines, people)
        except BadTable as error:
            return _refused("addresses", error)
        await self._pool.executemany(
            "UPDATE people.person SET repair = $2, repaired_email = $3 WHERE key = $1",
            [(each.key, each.repair, each.email) for each in found],
        )
        await mark_duplicates(self._pool, command.source)
        counts = {name: sum(each.repair == name for each in found) for name in ("merged", "former", "corrected")}
        return await self._decided(
            command, version, AddressesRepaired(source=command.source, generated=0, **counts), counts
        )

    async def review_domains(self, command: c.ReviewDomains) -> c.Reply:
        if (done := await self.recorded(command)) is not None:
            return done
        version = await self._version(command.source)
        if version is None:
            return _NO_SOURCE
        known = frozenset(r["domain"] for r in await self._pool.fetch(_DOMAINS, command.source))
        try:
            marks = dict.fromkeys(known, True) if command.every else {}
            if command.upload is not None:
                marks |= tables.domains(read_table(await self._text(command.upload), tables.DOMAIN_COLUMNS), known)
        except BadTable as error:
            return _refused("domains", error)
        marks |= {d.casefold(): True for d in command.trusted} | {d.casefold(): False for d in command.untrusted}
        if unknown := sorted(set(marks) - known):
            return refused(
                "domain_unknown",
                f"Nobody of the source has an address of {len(unknown)} of the named domains.",
                "List the domains: cloudward source domains SOURCE.",
                422,
            )
        await self._pool.executemany(
            "INSERT INTO people.domain VALUES ($1, $2, $3)"
            " ON CONFLICT (source, domain) DO UPDATE SET trusted = excluded.trusted",
            [(command.source, domain, trusted) for domain, trusted in marks.items()],
        )
        counts = {"trusted": sum(marks.values()), "untrusted": sum(not trusted for trusted in marks.values())}
        return await self._decided(command, version, DomainsReviewed(source=command.source, **counts), counts)

    async def record_map(self, command: c.RecordMap) -> c.Reply:
        map_ = derived_id(command.command_id, "map")
        if (done := await self.recorded(command)) is not None:
            return done.model_copy(update={"result": {**done.result, "map": map_}})
        version = await self._version(command.source)
        if version is None:
            return _NO_SOURCE
        groups: dict[str, str | None] = {}
        users: dict[str, str] = {}
        try:
            if command.groups is not None:
                rows = await self._pool.fetch(
                    "SELECT name, key FROM people.source_group WHERE source = $1", command.source
                )
                lines = read_table(await self._text(command.groups), tables.GROUP_COLUMNS)
                groups = tables.group_map(lines, {r["name"]: r["key"] for r in rows})
        except BadTable as error:
            return _refused("groups", error)
        try:
            if command.users is not None:
                rows = await self._pool.fetch(
                    "SELECT id, lower(username) AS name, key FROM people.person WHERE source = $1", command.source
                )
                people = {r["name"]: r["key"] for r in rows if r["name"]} | {r["id"]: r["key"] for r in rows}
                users = tables.user_map(read_table(await self._text(command.users), tables.USER_COLUMNS), people)
        except BadTable as error:
            return _refused("users", error)
        if not groups and not users:
            return refused("empty_map", "The map holds neither groups nor users.", "Give at least one line.", 422)
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute("INSERT INTO people.map (id, source) VALUES ($1, $2)", map_, command.source)
            await connection.executemany(
                "INSERT INTO people.group_map VALUES ($1, $2, $3)", [(map_, key, name) for key, name in groups.items()]
            )
            await connection.executemany(
                "INSERT INTO people.user_map VALUES ($1, $2, $3)", [(map_, key, id) for key, id in users.items()]
            )
        counts = {"groups": len(groups), "dropped": sum(name is None for name in groups.values()), "users": len(users)}
        event = MapRecorded(source=command.source, map=map_, **counts)
        return await self._decided(command, version, event, {**counts, "map": map_})

    async def _decided(
        self,
        command: c.CorrectAddresses | c.ReviewDomains | c.RecordMap,
        version: int,
        event: Event,
        result: dict[str, Any],
    ) -> c.Reply:
        reply = await self.decide(command, f"source-{command.source}", version, event)
        return reply.model_copy(update={"result": {**reply.result, **result}})

    async def _version(self, source: str) -> int | None:
        """Of the source's stream; None where there is no such source."""
        rows = await self._store.read_stream(f"source-{source}")
        return rows[-1].version if rows else None

    async def _text(self, upload: str) -> str:
        """The file, which is gone once it is read. Raises BadTable where it is not there."""
        text = await self._pool.fetchval("DELETE FROM people.upload WHERE id = $1 RETURNING text", upload)
        if text is None:
            raise BadTable(1, "the file is not there any more; send it again")
        return str(text)


TABLE_COMMANDS: dict[type[c.Command], str] = {
    c.CorrectAddresses: "correct_addresses",
    c.ReviewDomains: "review_domains",
    c.RecordMap: "record_map",
}
