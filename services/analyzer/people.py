"""Takes down a source's people, groups and memberships, in batches."""

from collections.abc import AsyncIterator, Callable, Iterable
from itertools import islice

import asyncpg

from services.analyzer.domain.addresses import judge
from shared.confluence.model import Person
from shared.confluence.persons import person_key
from shared.confluence.source import Source
from shared.events.types import new_id

_BATCH = 1000

# What was decided about an address holds as long as the address is the same. That it is a duplicate is judged at the end,
# over all; until then it stays what it was.
_PEOPLE = """
INSERT INTO people.person AS p (key, source, id, username, display_name, email, active, directory, address)
SELECT k, $1, i, u, d, e, a, r, j FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::boolean[],
  $8::text[], $9::text[]) AS row(k, i, u, d, e, a, r, j)
ON CONFLICT (source, id) DO UPDATE SET username = excluded.username, display_name = excluded.display_name,
  email = excluded.email, active = excluded.active, directory = excluded.directory,
  address = CASE WHEN p.email IS NOT DISTINCT FROM excluded.email AND p.address = 'duplicate' THEN p.address
                 ELSE excluded.address END,
  repair = CASE WHEN p.email IS NOT DISTINCT FROM excluded.email THEN p.repair END,
  repaired_email = CASE WHEN p.email IS NOT DISTINCT FROM excluded.email THEN p.repaired_email END
"""
# Whoever has no account to come, or another address by now, shares theirs with nobody. Both counts: a duplicate that is
# invalid too stays invalid.
_DUPLICATES = """
UPDATE people.person p SET address = CASE WHEN d.n > 1 THEN 'duplicate' ELSE 'usable' END
FROM (SELECT lower(coalesce(repaired_email, email)) AS email, count(*) AS n FROM people.person
      WHERE source = $1 AND repair IS DISTINCT FROM 'former' AND (repair IS NOT NULL OR address IN ('usable', 'duplicate'))
      GROUP BY 1) d
WHERE p.source = $1 AND p.address IN ('usable', 'duplicate') AND p.repair IS NULL AND lower(p.email) = d.email
  AND p.address <> CASE WHEN d.n > 1 THEN 'duplicate' ELSE 'usable' END
"""


async def take_people(pool: asyncpg.Pool, source_id: str, source: Source, tell: Callable[[int], None]) -> int:
    """Writes down everybody the source lists. How many that are."""
    seen, batch = 0, dict[str, Person]()
    async for person in source.people():
        batch[person.id] = person
        if len(batch) >= _BATCH:
            await _write(pool, source_id, batch.values())
            seen, batch = seen + len(batch), {}
            tell(seen)
    await _write(pool, source_id, batch.values())
    return seen + len(batch)


async def _write(pool: asyncpg.Pool, source_id: str, people: Iterable[Person]) -> None:
    rows = [
        (
            new_id(),
            p.id,
            p.username,
            p.display_name,
            p.email.strip() if p.email and p.email.strip() else None,
            p.active,
            p.directory,
            judge(p.email),
        )
        for p in people
    ]
    if rows:
        await pool.execute(_PEOPLE, source_id, *(list(column) for column in zip(*rows, strict=True)))


async def mark_duplicates(pool: asyncpg.Pool, source_id: str) -> None:
    await pool.execute(_DUPLICATES, source_id)


async def take_groups(
    pool: asyncpg.Pool, analysis: str, source_id: str, source: Source, tell: Callable[[int], None]
) -> tuple[int, int]:
    """Writes down groups and memberships, nested groups flattened. How many of each."""
    groups = memberships = 0
    async for group in source.groups():
        key = await pool.fetchval(
            "INSERT INTO people.source_group (key, source, name, directory) VALUES ($1, $2, $3, $4)"
            " ON CONFLICT (source, name) DO UPDATE SET directory = excluded.directory RETURNING key",
            new_id(),
            source_id,
            group.name,
            group.directory,
        )
        groups += 1
        async for members in _batches(source.members(group.name)):
            keys = await keys_of(pool, source_id, source, members)
            await pool.execute(
                "INSERT INTO people.membership SELECT $1, p, $2 FROM unnest($3::text[]) AS p"
                " ON CONFLICT (source_group, person) DO UPDATE SET analysis = excluded.analysis",
                key,
                analysis,
                keys,
            )
            memberships += len(keys)
        tell(groups)
    await pool.execute(
        "DELETE FROM people.membership m USING people.source_group g"
        " WHERE g.source = $1 AND m.source_group = g.key AND m.analysis <> $2",
        source_id,
        analysis,
    )
    return groups, memberships


async def keys_of(pool: asyncpg.Pool, source_id: str, source: Source, ids: Iterable[str]) -> list[str]:
    """Our keys of these people, in any order; those not met before are asked for one by one."""
    keys: list[str] = []
    remaining = iter(set(ids))
    while part := list(islice(remaining, _BATCH)):
        rows = await pool.fetch("SELECT id, key FROM people.person WHERE source = $1 AND id = ANY($2)", source_id, part)
        known = {row["id"]: str(row["key"]) for row in rows}
        keys += known.values()
        for id in sorted(set(part) - known.keys()):
            keys.append(await person_key(pool, source_id, source, id))
    return keys


async def _batches(ids: AsyncIterator[str]) -> AsyncIterator[list[str]]:
    batch: list[str] = []
    async for id in ids:
        batch.append(id)
        if len(batch) >= _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
