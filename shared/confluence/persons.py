"""Keys for the people whom content names. Events know people only by these random keys."""

import asyncpg

from shared.confluence.source import Source
from shared.events.types import new_id


async def person_key(pool: asyncpg.Pool, source_id: str, source: Source, id: str) -> str:
    """Our key for a person of the source, by the source's own id; made when it is met for the first time.

    Someone whom the source's list of people does not have has no known address. Someone whom the source does not know at
    all any more can have no account: a Former user from the start.
    """
    find = "SELECT key FROM people.person WHERE source = $1 AND id = $2"
    if (key := await pool.fetchval(find, source_id, id)) is not None:
        return str(key)
    person = await source.person(id)
    await pool.execute(
        "INSERT INTO people.person (key, source, id, username, display_name, active, address, repair)"
        " VALUES ($1, $2, $3, $4, $5, $6, 'unknown', $7) ON CONFLICT (source, id) DO NOTHING",
        new_id(),
        source_id,
        id,
        person.username if person else None,
        person.display_name if person else None,
        person.active if person else None,
        None if person else "former",
    )
    return str(await pool.fetchval(find, source_id, id))
