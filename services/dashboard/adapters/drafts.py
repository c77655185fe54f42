"""Drafts, kept from step to step and from one browser to another."""

import json

from services.dashboard.domain.draft import Draft
from shared.events.projections.base import Pool
from shared.events.types import new_id

KEPT = "30 days"


class Drafts:
    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def begin(self, actor: str, draft: Draft) -> str:
        id = new_id()
        await self._pool.execute(f"DELETE FROM people.draft WHERE updated_at < now() - interval '{KEPT}'")
        await self._pool.execute(
            "INSERT INTO people.draft (id, actor, data) VALUES ($1, $2, $3::text::jsonb)",
            id,
            actor,
            draft.model_dump_json(),
        )
        return id

    async def get(self, id: str) -> Draft | None:
        data = await self._pool.fetchval("SELECT data::text FROM people.draft WHERE id = $1", id)
        return None if data is None else Draft.model_validate(json.loads(data))

    async def save(self, id: str, draft: Draft) -> None:
        await self._pool.execute(
            "UPDATE people.draft SET data = $2::text::jsonb, updated_at = now() WHERE id = $1",
            id,
            draft.model_dump_json(),
        )

    async def drop(self, id: str) -> None:
        await self._pool.execute("DELETE FROM people.draft WHERE id = $1", id)

    async def open(self) -> list[tuple[str, Draft, str]]:
        """Those that anybody began, the last one touched first; with who that was."""
        rows = await self._pool.fetch(
            "SELECT d.id, d.data::text AS data, coalesce(a.name, d.actor) AS name FROM people.draft d"
            " LEFT JOIN people.actor a ON a.key = d.actor ORDER BY d.updated_at DESC LIMIT 20"
        )
        return [(row["id"], Draft.model_validate(json.loads(row["data"])), row["name"]) for row in rows]
