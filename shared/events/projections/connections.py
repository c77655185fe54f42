"""The projection "connections": sources, sites and the analyses of sources."""

import json
from collections.abc import Sequence
from typing import ClassVar

from shared.events.catalog import analysis, source, target
from shared.events.catalog.analysis import SpaceNumbers
from shared.events.contract import Recorded
from shared.events.projections.base import Connection, moment


class Connections:
    """Tables ``source``, ``site``, ``analysis``, ``analysis_space``, ``analysis_guardrail``."""

    name: ClassVar[str] = "connections"
    schema: ClassVar[str] = "read"
    tables: ClassVar[tuple[str, ...]] = ("source", "site", "analysis", "analysis_space", "analysis_guardrail")

    async def apply(self, connection: Connection, rows: Sequence[Recorded], schema: str) -> None:
        for row in rows:
            await _fold(connection, row, schema)


async def _fold(connection: Connection, row: Recorded, schema: str) -> None:
    event, at = row.event, moment(row.recorded_at)
    match event:
        case source.SourceRegistered():
            await connection.execute(
                f"INSERT INTO {schema}.source (source, kind, registered_at) VALUES ($1, $2, $3)",
                event.source,
                event.kind,
                at,
            )
        case source.AddressesRepaired():
            await connection.execute(
                f"UPDATE {schema}.source SET merged = $2, generated = $3, former = $4, repaired_at = $5,"
                " corrected = $6"
                " WHERE source = $1",
                event.source,
                event.merged,
                event.generated,
                event.former,
                at,
                event.corrected,
            )
        case target.SiteRegistered():
            await connection.execute(
                f"INSERT INTO {schema}.site VALUES ($1, $2, $3, $4)", event.site, event.credential, event.sandbox, at
            )
        case target.SiteCredentialReplaced():
            await connection.execute(
                f"UPDATE {schema}.site SET credential = $2, expired = false, replaced_at = $3 WHERE site = $1",
                event.site,
                event.credential,
                at,
            )
        case target.CredentialExpired():
            await connection.execute(f"UPDATE {schema}.site SET expired = true WHERE site = $1", event.site)
        case source.SourceCredentialReplaced():
            await connection.execute(f"UPDATE {schema}.source SET replaced_at = $2 WHERE source = $1", event.source, at)
        case analysis.AnalysisStarted():
            await connection.execute(
                f"INSERT INTO {schema}.analysis (analysis, source, chunk, position, state, started_at)"
                " VALUES ($1, $2, $3, $4, 'running', $5)",
                event.analysis,
                event.source,
                event.chunk,
                row.position,
                at,
            )
        case analysis.AnalysisPlanned():
            await connection.execute(
                f"UPDATE {schema}.analysis SET spaces_listed = $2, chunks_planned = chunks_planned + $3 WHERE analysis = $1",
                event.analysis,
                event.spaces,
                len(event.chunks),
            )
        case analysis.PeopleListed():
            await connection.execute(
                f"UPDATE {schema}.analysis SET users_listed = $2 WHERE analysis = $1", event.analysis, event.users
            )
        case analysis.SpacesAnalyzed():
            await connection.execute(
                f"UPDATE {schema}.analysis SET chunks_done = chunks_done + 1 WHERE analysis = $1", event.analysis
            )
            numbers = tuple(name for name in SpaceNumbers.model_fields if name not in ("guardrails", "left"))
            places = ", ".join(f"${place}" for place in range(2, len(numbers) + 2))
            await connection.executemany(
                f"INSERT INTO {schema}.analysis_space (analysis, {', '.join(numbers)}, left_behind)"
                f" VALUES ($1, {places}, ${len(numbers) + 2}::text::jsonb)",
                [(event.analysis, *(getattr(space, name) for name in numbers), _left(space)) for space in event.spaces],
            )
            await connection.executemany(
                f"INSERT INTO {schema}.analysis_guardrail VALUES ($1, $2, $3, $4)",
                [
                    (event.analysis, space.space, found.guardrail.value, found.count)
                    for space in event.spaces
                    for found in space.guardrails
                ],
            )
        case analysis.AnalysisCompleted():
            sums = event.model_dump(exclude={"analysis", "source", "release", "slices", "guardrails"})
            columns = ", ".join(f"{name} = ${place}" for place, name in enumerate(sums, 4))
            await connection.execute(
                f"UPDATE {schema}.analysis SET state = 'completed', ended_at = $2, release = $3, {columns}"
                " WHERE analysis = $1",
                event.analysis,
                at,
                event.release,
                *sums.values(),
            )
        case analysis.AnalysisFailed():
            await connection.execute(
                f"UPDATE {schema}.analysis SET state = 'failed', ended_at = $2, code = $3 WHERE analysis = $1",
                event.analysis,
                at,
                event.code.value,
            )
        case _:
            pass


def _left(space: SpaceNumbers) -> str | None:
    return None if space.left is None else json.dumps({each.kind: each.count for each in space.left})
