"""What a dry run would have made, kept beside the log until the run has ended, so that its later steps find it."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import asyncpg

_COLUMNS = "id, space, holder, position, state, body"


@dataclass(frozen=True, slots=True)
class Made:
    """``state``: what the site would answer about it. ``gone``: it is on the site, and the dry run would have removed it."""

    id: str
    space: str | None
    holder: str | None
    position: float | None
    state: Mapping[str, Any]
    body: str | None

    @property
    def gone(self) -> bool:
        return bool(self.state.get("gone"))


class SlotTaken(Exception):
    """Something of this name is there already."""


class Objects:
    """Of one dry run. Ids of what it makes are from a range that no site reaches."""

    def __init__(self, pool: asyncpg.Pool, ledger: str) -> None:
        self._pool, self._ledger = pool, ledger

    async def new_id(self) -> str:
        return str(await self._pool.fetchval("SELECT nextval('people.dry_id')"))

    async def get(self, kind: str, id: str, *, body: bool = False) -> Made | None:
        row = await self._pool.fetchrow(
            f"SELECT {_columns(body)} FROM people.dry_object WHERE ledger = $1 AND kind = $2 AND id = $3",
            self._ledger,
            kind,
            id,
        )
        return None if row is None else Made(**dict(row))

    async def in_slot(self, kind: str, slot: str) -> Made | None:
        row = await self._pool.fetchrow(
            f"SELECT {_columns(True)} FROM people.dry_object WHERE ledger = $1 AND kind = $2 AND slot = $3",
            self._ledger,
            kind,
            slot,
        )
        return None if row is None else Made(**dict(row))

    async def held(self, kind: str, holder: str) -> list[Made]:
        """What hangs on something, in the order of its making or, of pages, of their places."""
        rows = await self._pool.fetch(
            f"SELECT {_columns(True)} FROM people.dry_object WHERE ledger = $1 AND kind = $2 AND holder = $3"
            " ORDER BY position, length(id), id",
            self._ledger,
            kind,
            holder,
        )
        return [Made(**dict(row)) for row in rows]

    async def of_space(self, kind: str, space: str) -> AsyncIterator[Made]:
        after = ""
        while True:
            rows = await self._pool.fetch(
                f"SELECT {_columns(False)} FROM people.dry_object WHERE ledger = $1 AND kind = $2 AND space = $3"
                " AND id > $4 ORDER BY id LIMIT 500",
                self._ledger,
                kind,
                space,
                after,
            )
            for row in rows:
                yield Made(**dict(row))
            if not rows:
                return
            after = rows[-1]["id"]

    async def put(
        self,
        kind: str,
        id: str,
        state: Mapping[str, Any],
        *,
        space: str | None = None,
        holder: str | None = None,
        slot: str | None = None,
        position: float | None = None,
        body: str | None = None,
    ) -> None:
        """Makes it or writes it anew; a body of None stays as it is. Raises ``SlotTaken``."""
        try:
            await self._pool.execute(
                "INSERT INTO people.dry_object AS o (ledger, kind, id, space, holder, position, slot, state, body)"
                " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (ledger, kind, id) DO UPDATE SET"
                " space = excluded.space, holder = excluded.holder, position = coalesce(excluded.position, o.position),"
                " slot = excluded.slot, state = excluded.state, body = coalesce(excluded.body, o.body)",
                self._ledger,
                kind,
                id,
                space,
                holder,
                position,
                slot,
                dict(state),
                body,
            )
        except asyncpg.UniqueViolationError as error:
            raise SlotTaken from error

    async def remove(self, kind: str, id: str) -> bool:
        """Whether it was there."""
        return bool(
            await self._pool.fetchval(
                "DELETE FROM people.dry_object WHERE ledger = $1 AND kind = $2 AND id = $3 RETURNING true",
                self._ledger,
                kind,
                id,
            )
        )

    async def last_position(self, holder: str) -> float:
        found = await self._pool.fetchval(
            "SELECT max(position) FROM people.dry_object WHERE ledger = $1 AND kind = 'page' AND holder = $2",
            self._ledger,
            holder,
        )
        return float(found or 0.0)

    async def renumber(self, holder: str) -> None:
        """Spreads the places of siblings evenly again."""
        await self._pool.execute(
            "UPDATE people.dry_object o SET position = n.place FROM (SELECT id, row_number() OVER (ORDER BY position,"
            " length(id), id)::float8 AS place FROM people.dry_object WHERE ledger = $1 AND kind = 'page'"
            " AND holder = $2) n WHERE o.ledger = $1 AND o.kind = 'page' AND o.id = n.id",
            self._ledger,
            holder,
        )


def _columns(body: bool) -> str:
    return _COLUMNS if body else _COLUMNS.replace("body", "NULL::text AS body")
