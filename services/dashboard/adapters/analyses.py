"""What analyses found, drilled down to rows. Lists are paged or streamed: a source may have ten thousands of spaces."""

from collections.abc import AsyncIterator
from typing import Literal

import asyncpg

from services.dashboard.adapters.reads import ANALYZED_SPACES, analyzed_space
from services.dashboard.domain.shapes import AnalyzedSpace, Changes, Finding, MacroUses, SpaceChange, Spaces
from shared.confluence.macros import macro
from shared.events.projections.base import Pool

Sort = Literal["key", "name", "pages", "attachments", "attachment_bytes", "last_edit"]
_SORTS: dict[str, str] = {
    "key": "lower(p.key), s.space",
    "name": "lower(p.name), s.space",
    **{
        name: f"s.{name} DESC NULLS LAST, lower(p.key), s.space"
        for name in ("pages", "attachments", "attachment_bytes", "last_edit")
    },
}
# ``$2``: text in key or name; ``$3``/``$4``: type and status; ``$5``: guardrail that the space has.
_WHERE = """
WHERE s.analysis = $1 AND ($2::text IS NULL OR strpos(lower(p.key), lower($2)) > 0 OR strpos(lower(p.name), lower($2)) > 0)
  AND ($3::text IS NULL OR s.type = $3) AND ($4::text IS NULL OR s.status = $4)
  AND ($5::text IS NULL OR EXISTS (SELECT FROM read.analysis_guardrail g
                                   WHERE g.analysis = s.analysis AND g.space = s.space AND g.guardrail = $5))
"""
_COUNT = f"""
SELECT count(*) FROM read.analysis_space s JOIN read.analysis a USING (analysis)
LEFT JOIN people.space p ON p.source = a.source AND p.space = s.space {_WHERE}
"""
# Restrictions whose holder has left: disabled at the source, or not known to it any more.
_DEPARTED = """
SELECT 'restriction_departed' AS guardrail, h.space, s.key, h.content, h.title, NULL::bigint AS number
FROM people.restriction_holder h JOIN read.analysis a USING (analysis)
LEFT JOIN people.person p ON p.source = a.source AND p.id = h.person
LEFT JOIN people.space s ON s.source = a.source AND s.space = h.space
WHERE h.analysis = $1 AND ($3::text IS NULL OR h.space = $3)
  AND (p.key IS NULL OR p.active IS NOT TRUE AND (p.active IS FALSE OR p.repair = 'former'))
"""
_FINDINGS = f"""
SELECT * FROM (
  SELECT f.guardrail, f.space, s.key, f.content, f.title, f.number FROM people.finding f JOIN read.analysis a USING (analysis)
  LEFT JOIN people.space s ON s.source = a.source AND s.space = f.space
  WHERE f.analysis = $1 AND ($3::text IS NULL OR f.space = $3)
  UNION ALL {_DEPARTED}
) found WHERE $2::text IS NULL OR guardrail = $2 ORDER BY guardrail, key, content
"""
_COMPARED = ("pages", "blogposts", "comments", "attachments", "attachment_bytes", "last_edit")
_NOW = ", ".join(f"n.{name} AS now_{name}, b.{name} AS before_{name}" for name in _COMPARED)
_CHANGES = f"""
SELECT coalesce(n.space, b.space) AS space, p.key, p.name, n.space IS NULL AS removed, b.space IS NULL AS added, {_NOW}
FROM (SELECT * FROM read.analysis_space WHERE analysis = $1) n
FULL JOIN (SELECT * FROM read.analysis_space WHERE analysis = $2) b USING (space)
LEFT JOIN people.space p ON p.source = $3 AND p.space = coalesce(n.space, b.space)
WHERE n.space IS NULL OR b.space IS NULL OR ({", ".join(f"n.{name}" for name in _COMPARED)})
   IS DISTINCT FROM ({", ".join(f"b.{name}" for name in _COMPARED)})
ORDER BY p.key, 1
"""


class AnalysisReads:
    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def spaces(
        self,
        analysis: str,
        *,
        search: str | None = None,
        type: str | None = None,
        status: str | None = None,
        guardrail: str | None = None,
        sort: Sort = "key",
        limit: int = 100,
        offset: int = 0,
    ) -> Spaces:
        """A page of an analysis' spaces, found by what key or name hold."""
        given = (analysis, search, type, status, guardrail)
        total = await self._pool.fetchval(_COUNT, *given)
        rows = await self._pool.fetch(
            f"{ANALYZED_SPACES} {_WHERE} ORDER BY {_SORTS[sort]} LIMIT $6 OFFSET $7", *given, limit, offset
        )
        more = offset + len(rows)
        return Spaces(
            total=total, next=more if rows and more < total else None, spaces=[analyzed_space(row) for row in rows]
        )

    async def every_space(self, analysis: str) -> AsyncIterator[AnalyzedSpace]:
        query = f"{ANALYZED_SPACES} WHERE s.analysis = $1 ORDER BY p.key"
        async for row in self._stream(query, analysis):
            yield analyzed_space(row)

    async def findings(
        self, analysis: str, guardrail: str | None = None, space: str | None = None
    ) -> AsyncIterator[Finding]:
        """Every page, blog post or attachment that a guardrail points out."""
        async for row in self._stream(_FINDINGS, analysis, guardrail, space):
            yield Finding(
                guardrail=row["guardrail"],
                space=row["key"] or row["space"],
                content=row["content"],
                title=row["title"],
                number=row["number"],
            )

    async def departed(self, analysis: str) -> int:
        """How many pages have a restriction held by someone who has left."""
        return int(
            await self._pool.fetchval(
                f"SELECT count(DISTINCT content) FROM ({_DEPARTED}) d WHERE $2::text IS NULL", analysis, None, None
            )
        )

    async def macros(self, analysis: str) -> list[MacroUses]:
        """Every macro name in use, most used first."""
        rows = await self._pool.fetch(
            "SELECT macro, sum(uses)::bigint AS uses, count(*) AS pages FROM people.macro_use WHERE analysis = $1"
            " GROUP BY macro ORDER BY 2 DESC, 1",
            analysis,
        )
        return [
            MacroUses(
                macro=row["macro"],
                uses=row["uses"],
                pages=row["pages"],
                availability=macro(row["macro"]).availability,
                note=macro(row["macro"]).note,
            )
            for row in rows
        ]

    async def macro_pages(self, analysis: str, name: str | None) -> AsyncIterator[tuple[str, str, str, str, int]]:
        """Macro, space key, page id, title and uses of every page that has the macro (or any)."""
        query = (
            "SELECT m.macro, coalesce(s.key, m.space) AS key, m.content, m.title, m.uses FROM people.macro_use m"
            " JOIN read.analysis a USING (analysis) LEFT JOIN people.space s ON s.source = a.source AND s.space = m.space"
            " WHERE m.analysis = $1 AND ($2::text IS NULL OR m.macro = $2) ORDER BY m.macro, 2, m.content"
        )
        async for row in self._stream(query, analysis, name):
            yield row["macro"], row["key"], row["content"], row["title"], row["uses"]

    async def changes(self, analysis: str, since: str | None) -> Changes | None:
        """What changed between two snapshots of a source. ``since`` None: the completed one before. None: there is none."""
        row = await self._pool.fetchrow(
            "SELECT b.analysis, b.ended_at, a.source FROM read.analysis a JOIN read.analysis b ON b.source = a.source"
            " WHERE a.analysis = $1 AND b.state = 'completed' AND ($2::text IS NULL AND b.position < a.position"
            " OR b.analysis = $2) ORDER BY b.position DESC LIMIT 1",
            analysis,
            since,
        )
        if row is None:
            return None
        rows = await self._pool.fetch(_CHANGES, analysis, row["analysis"], row["source"])
        return Changes(
            analysis=analysis,
            since=row["analysis"],
            since_at=row["ended_at"],
            spaces=[_change(each) for each in rows],
        )

    async def _stream(self, query: str, *arguments: object) -> AsyncIterator[asyncpg.Record]:
        async with self._pool.acquire() as connection, connection.transaction(readonly=True):
            async for row in connection.cursor(query, *arguments, prefetch=500):
                yield row


def _change(row: asyncpg.Record) -> SpaceChange:
    def side(prefix: str) -> dict[str, int | None]:
        return {name: row[f"{prefix}_{name}"] for name in _COMPARED}

    what: Literal["added", "removed", "changed"] = (
        "removed" if row["removed"] else "added" if row["added"] else "changed"
    )
    return SpaceChange(
        space=row["space"],
        key=row["key"],
        name=row["name"],
        what=what,
        before=None if row["added"] else side("before"),
        now=None if row["removed"] else side("now"),
    )
