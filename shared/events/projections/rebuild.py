"""Rebuilding a projection from the log, and comparing it with the log.

Both fill tables of the same shape in a schema beside the live one. A rebuild then puts them in the live tables' place
in one transaction, so that nobody ever sees half a projection and no number jumps back. A comparison puts nothing
anywhere.

Run by the owner of the tables: service roles may not create schemas.
"""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from shared.events.contract import Recorded
from shared.events.database import session
from shared.events.projections.base import (
    Connection,
    Difference,
    Pool,
    Projection,
    checkpoint,
    identifier,
    set_checkpoint,
)

_PAGE = 1000
_LONG = 6 * 3600  # seconds: sorting a whole table may take its time
_CLOSE = 2000  # events: so near to the live checkpoint the swap's transaction does the rest


class Busy(Exception):
    """Another rebuild or comparison of this projection is under way."""


async def rebuild(pool: Pool, projection: Projection) -> int:
    """Fills new tables from the log and swaps them for the live ones. Returns the position they stand at.

    Raises Busy; UnknownEvent, BadEvent or what ``apply`` raises if the log cannot be folded: the live tables then stay.
    """
    async with _shadow(pool, projection) as (connection, shadow):
        position = await _fill_until_close(connection, projection, shadow)
        async with connection.transaction():
            live = await checkpoint(connection, projection, lock=True)  # from here on the runner waits
            position = await _fill(connection, projection, shadow, position, live)
            await _swap(connection, projection, shadow)
            await set_checkpoint(connection, projection, position)
        return position


async def compare(pool: Pool, projection: Projection, limit: int = 100) -> list[Difference]:
    """The rows in which the live tables differ from what the log says at the live checkpoint; at most ``limit`` for
    each table and side. Empty: they are equal. Nobody has to wait meanwhile: the live tables are read in one
    snapshot."""
    async with _shadow(pool, projection) as (connection, shadow):
        position = await _fill_until_close(connection, projection, shadow)
        async with connection.transaction(isolation="repeatable_read"):
            live = await checkpoint(connection, projection)
            await _fill(connection, projection, shadow, position, live)
            found = []
            for table in projection.tables:
                ours, theirs = f"{identifier(projection.schema)}.{identifier(table)}", f"{shadow}.{table}"
                for side, one, other in (("live", ours, theirs), ("log", theirs, ours)):
                    rows = await connection.fetch(
                        f"SELECT to_jsonb(d)::text AS row FROM (SELECT * FROM {one} EXCEPT ALL SELECT * FROM {other}) d"
                        f" ORDER BY 1 LIMIT {int(limit)}",
                        timeout=_LONG,
                    )
                    found += [Difference(table, side, json.loads(row["row"])) for row in rows]
            return found


@asynccontextmanager
async def _shadow(pool: Pool, projection: Projection) -> AsyncIterator[tuple[Connection, str]]:
    """A connection, and the name of a schema with empty tables of the projection's shape; gone afterwards."""
    live, shadow = identifier(projection.schema), identifier(f"{projection.schema}_{projection.name}_next")
    async with session(pool) as connection:
        # The log may be long: this is a person's job, not a service's request.
        await connection.execute("SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0")
        if not await connection.fetchval("SELECT pg_try_advisory_lock(hashtextextended($1, 0))", shadow):
            raise Busy(f"Another rebuild or comparison of “{projection.name}” is under way. Wait until it is done.")
        try:
            await connection.execute(f"DROP SCHEMA IF EXISTS {shadow} CASCADE")  # left by one that was killed
            await connection.execute(f"CREATE SCHEMA {shadow}")
            for table in projection.tables:
                await connection.execute(
                    f"CREATE TABLE {shadow}.{identifier(table)} (LIKE {live}.{table} INCLUDING ALL)"
                )
            yield connection, shadow
        finally:
            if not connection.is_closed():
                await connection.execute(f"DROP SCHEMA IF EXISTS {shadow} CASCADE")


async def _fill_until_close(connection: Connection, projection: Projection, shadow: str) -> int:
    """Fills the shadow, each page in a transaction of its own, until little is left up to the live checkpoint."""
    position = 0
    while (goal := await checkpoint(connection, projection)) - position > _CLOSE:
        while position < goal:
            async with connection.transaction():
                position = await _page(connection, projection, shadow, position, goal)
    return position


async def _fill(connection: Connection, projection: Projection, shadow: str, position: int, upto: int) -> int:
    while position < upto:
        position = await _page(connection, projection, shadow, position, upto)
    return position


async def _page(connection: Connection, projection: Projection, shadow: str, after: int, upto: int) -> int:
    rows = await connection.fetch(
        "SELECT position, event_id, stream, version, type, body, link,"
        " (extract(epoch FROM recorded_at) * 1000000)::bigint AS recorded_at"
        " FROM log.events WHERE position > $1 AND position <= $2 ORDER BY position LIMIT $3",
        after,
        upto,
        _PAGE,
    )
    if not rows:
        raise LookupError(f"The log has no event {after + 1}, which “{projection.name}” has already seen.")
    recorded = [
        Recorded(
            position=row["position"],
            event_id=row["event_id"].hex,
            stream=row["stream"],
            version=row["version"],
            type=row["type"],
            body=row["body"],
            recorded_at=row["recorded_at"],
            link=row["link"],
        )
        for row in rows
    ]
    await projection.apply(connection, recorded, shadow)
    return recorded[-1].position


async def _swap(connection: Connection, projection: Projection, shadow: str) -> None:
    """Puts the shadow's tables in the live ones' place, with their owner and their privileges."""
    live = identifier(projection.schema)
    for table in projection.tables:
        owner = await connection.fetchval(
            "SELECT quote_ident(tableowner) FROM pg_tables WHERE schemaname = $1 AND tablename = $2", live, table
        )
        grants = await connection.fetch(
            "SELECT a.privilege_type AS privilege, quote_ident(r.rolname) AS role FROM pg_class c"
            " JOIN pg_namespace n ON n.oid = c.relnamespace, aclexplode(c.relacl) a"
            " JOIN pg_roles r ON r.oid = a.grantee"
            " WHERE n.nspname = $1 AND c.relname = $2 AND a.grantee <> c.relowner",
            live,
            table,
        )
        await connection.execute(f"DROP TABLE {live}.{table}")
        await connection.execute(f"ALTER TABLE {shadow}.{table} OWNER TO {owner}")
        await connection.execute(f"ALTER TABLE {shadow}.{table} SET SCHEMA {live}")
        for grant in grants:
            await connection.execute(f"GRANT {grant['privilege']} ON {live}.{table} TO {grant['role']}")
