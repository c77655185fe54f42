"""People of a source as the dashboard shows them: addresses, domains, groups, maps. All of it from ``people.*``."""

from collections.abc import AsyncIterator, Sequence

from services.dashboard.domain.shapes import Domain, PersonAddress
from shared.events.projections.base import Pool
from shared.events.types import derived_id

_ADDRESSES = """
SELECT p.id, p.username, p.display_name, p.email, p.address, p.active, p.directory, p.repair, p.repaired_email
FROM people.person p WHERE p.source = $1 AND ($2::text IS NULL AND p.address <> 'usable' OR p.address = $2 OR $2 = 'all')
ORDER BY p.address, lower(p.email), p.id
"""
_DOMAINS = """
SELECT domain, count(*) AS people, bool_or(trusted) AS trusted FROM (
  SELECT a.domain, d.trusted FROM (
    SELECT lower(split_part(coalesce(p.repaired_email, p.email), '@', 2)) AS domain FROM people.person p
    WHERE p.source = $1 AND coalesce(p.repaired_email, p.email) LIKE '%@%'
      AND (p.repair IN ('corrected', 'merged') OR p.repair IS NULL AND p.address IN ('usable', 'duplicate'))
  ) a LEFT JOIN people.domain d ON d.source = $1 AND d.domain = a.domain
) found GROUP BY domain ORDER BY 2 DESC, 1
"""


class PeopleReads:
    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def upload(self, command: str, name: str, text: str) -> str:
        """Puts a file where the service that decides about it can read it, once."""
        id = derived_id(command, f"upload {name}")
        await self._pool.execute(
            "INSERT INTO people.upload (id, text) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING",
            id,
            text.replace("\0", ""),
        )
        return id

    async def addresses(self, source: str, kind: str | None) -> AsyncIterator[PersonAddress]:
        """``kind``: invalid, duplicate, unknown, usable or all; None: every one that cannot be used as it is."""
        async with self._pool.acquire() as connection, connection.transaction(readonly=True):
            async for row in connection.cursor(_ADDRESSES, source, kind, prefetch=500):
                yield PersonAddress(**dict(row))

    async def domains(self, source: str) -> list[Domain]:
        rows = await self._pool.fetch(_DOMAINS, source)
        return [Domain(domain=r["domain"], people=r["people"], trusted=r["trusted"]) for r in rows]


def correction_row(person: PersonAddress) -> Sequence[object]:
    """A line of the table that is sent back with corrections."""
    error = "" if person.address == "usable" or person.repair else person.address
    kind = {True: "active", False: "disabled", None: ""}[person.active]
    new = person.repaired_email if person.repair == "corrected" else None
    tombstone = "true" if person.repair == "former" else ""
    return [person.id, person.username, error, person.email, new, tombstone, kind]
