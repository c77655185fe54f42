"""What an analysis found, drilled down to rows: as pages of JSON, or whole as CSV."""

from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query
from fastapi.responses import StreamingResponse

from services.dashboard.adapters.analyses import Sort
from services.dashboard.domain.access import Permission
from services.dashboard.domain.problems import not_found
from services.dashboard.domain.shapes import AnalyzedSpace, Changes, Finding, MacroUses, Spaces
from services.dashboard.handlers.context import Needs, Parts, PartsOf, shown
from shared.events.types import Id
from shared.ops.tables import table

router = APIRouter(
    tags=["analyses"], dependencies=[Depends(Needs(Permission.READ, Permission.OPERATE)), Depends(shown)]
)

_SPACE_COLUMNS = tuple(name for name in AnalyzedSpace.model_fields if name not in ("guardrails", "left_behind"))
CSV: dict[int | str, dict[str, object]] = {200: {"content": {"text/csv": {}}}}


def csv_answer(name: str, header: Sequence[str], rows: AsyncIterator[Sequence[object]]) -> StreamingResponse:
    """A file to save, streamed."""
    headers = {"Content-Disposition": f'attachment; filename="{name}.csv"'}
    return StreamingResponse(table(header, rows), media_type="text/csv; charset=utf-8", headers=headers)


async def _analysis(service: Parts, analysis: Id) -> None:
    if not await service.reads.analyses([analysis]):
        raise not_found("analysis", analysis)


@router.get("/analyses/{analysis}/spaces", summary="Spaces of an analysis")
async def spaces(
    service: PartsOf,
    analysis: Id,
    search: Annotated[str | None, Query(max_length=200, description="Text in key or name.")] = None,
    type: Literal["global", "personal"] | None = None,
    status: Literal["current", "archived"] | None = None,
    guardrail: Annotated[str | None, Query(max_length=60)] = None,
    sort: Sort = "key",
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    offset: Annotated[int, Query(ge=0, lt=2**31)] = 0,
) -> Spaces:
    """Filtered, searched and sorted by the server."""
    await _analysis(service, analysis)
    return await service.analyses.spaces(
        analysis,
        search=search or None,
        type=type,
        status=status,
        guardrail=guardrail,
        sort=sort,
        limit=limit,
        offset=offset,
    )


@router.get("/analyses/{analysis}/spaces.csv", summary="Spaces as CSV", response_model=None, responses=CSV)
async def spaces_csv(service: PartsOf, analysis: Id) -> StreamingResponse:
    await _analysis(service, analysis)

    async def rows() -> AsyncIterator[Sequence[object]]:
        async for space in service.analyses.every_space(analysis):
            yield [getattr(space, name) for name in _SPACE_COLUMNS]

    return csv_answer("spaces", _SPACE_COLUMNS, rows())


@router.get("/analyses/{analysis}/findings", summary="What guardrails point out")
async def findings(
    service: PartsOf,
    analysis: Id,
    guardrail: Annotated[str | None, Query(max_length=60)] = None,
    space: Annotated[str | None, Query(max_length=60, description="Id of a space.")] = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 1000,
) -> list[Finding]:
    """Page by page, with what the guardrail counts. All of them: as CSV."""
    await _analysis(service, analysis)
    found: list[Finding] = []
    async for each in service.analyses.findings(analysis, guardrail, space):
        found.append(each)
        if len(found) >= limit:
            break
    return found


@router.get("/analyses/{analysis}/findings.csv", summary="Findings as CSV", response_model=None, responses=CSV)
async def findings_csv(
    service: PartsOf, analysis: Id, guardrail: Annotated[str | None, Query(max_length=60)] = None
) -> StreamingResponse:
    await _analysis(service, analysis)

    async def rows() -> AsyncIterator[Sequence[object]]:
        async for found in service.analyses.findings(analysis, guardrail):
            yield list(found.model_dump().values())

    return csv_answer("findings", tuple(Finding.model_fields), rows())


@router.get("/analyses/{analysis}/macros", summary="Macros in use")
async def macros(service: PartsOf, analysis: Id) -> list[MacroUses]:
    """With uses, pages, and whether there is such a macro on Cloud."""
    await _analysis(service, analysis)
    return await service.analyses.macros(analysis)


@router.get("/analyses/{analysis}/macros.csv", summary="Pages of macros, CSV", response_model=None, responses=CSV)
async def macros_csv(
    service: PartsOf, analysis: Id, macro: Annotated[str | None, Query(max_length=200)] = None
) -> StreamingResponse:
    await _analysis(service, analysis)
    header = ("macro", "space", "content", "title", "uses")
    return csv_answer("macros", header, service.analyses.macro_pages(analysis, macro))


@router.get("/analyses/{analysis}/changes", summary="What changed since")
async def changes(
    service: PartsOf,
    analysis: Id,
    since: Annotated[
        str | None, Query(max_length=60, description="An earlier analysis; default: the one before.")
    ] = None,
) -> Changes:
    """Spaces that were added, removed or changed between two snapshots of the source."""
    await _analysis(service, analysis)
    found = await service.analyses.changes(analysis, since)
    if found is None:
        raise not_found("analysis", since or "before this one")
    return found
