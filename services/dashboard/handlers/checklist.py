"""The list of what to do after a run, as JSON and, line by line, as CSV."""

from fastapi import APIRouter, Depends
from fastapi.responses import StreamingResponse

from services.dashboard.adapters.checklist import BY_NAME, Checklist
from services.dashboard.domain.access import Permission
from services.dashboard.domain.problems import not_found
from services.dashboard.domain.shapes import ChecklistLine
from services.dashboard.handlers.analyses import CSV, csv_answer
from services.dashboard.handlers.context import Needs, PartsOf, plan_exists, shown
from shared.events.types import Id

router = APIRouter(tags=["plans"], dependencies=[Depends(Needs(Permission.READ)), Depends(shown)])


@router.get("/plans/{plan}/checklist", summary="What to do after the run")
async def checklist(service: PartsOf, plan: Id) -> list[ChecklistLine]:
    """Eleven lines; each tells how many rows it has, the first of them, and where the guide says what to do."""
    await plan_exists(service, plan)
    return await Checklist(service.reads.pool).lines(plan)


@router.get("/plans/{plan}/checklist/{line}.csv", summary="A line as CSV", response_model=None, responses=CSV)
async def checklist_csv(service: PartsOf, plan: Id, line: str) -> StreamingResponse:
    await plan_exists(service, plan)
    found = BY_NAME.get(line)
    if found is None:
        raise not_found("line", line)
    reads = Checklist(service.reads.pool)
    return csv_answer(line, await reads.columns(found, plan), reads.rows(found, plan))
