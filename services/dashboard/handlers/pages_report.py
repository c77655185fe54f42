"""The pages that a plan's end leaves to read: the report, made to be printed, and one cause with everything that ended so."""

from collections import Counter
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from fastapi.responses import Response

from services.dashboard.adapters.checklist import Checklist
from services.dashboard.adapters.invitations import Invitations
from services.dashboard.domain import words
from services.dashboard.domain.access import Permission
from services.dashboard.domain.problems import not_found
from services.dashboard.handlers import checklist as checklist_api
from services.dashboard.handlers import invitations as invitations_api
from services.dashboard.handlers.context import MOST, Needs, PartsOf, plan_of
from services.dashboard.handlers.rendering import invitable, page
from shared.events.reasons import EXPLANATIONS, MENDED, Reason
from shared.events.types import Id

router = APIRouter(include_in_schema=False, dependencies=[Depends(Needs(Permission.READ))])

PAGE = 100


@router.get("/plans/{plan}/report")
async def report_page(service: PartsOf, plan: Id) -> Response:
    """Sums, causes, what is left behind and what is to do by hand; the lists themselves are one link further."""
    found = await plan_of(service, plan)
    found_by = Counter(each.what for each in await service.reads.differences(plan))
    mended = [words.mended(found_by.pop(what), what) for what in MENDED if what in found_by]
    left: Counter[str] = Counter()
    for each in await service.reads.left_behind(plan):
        left[each.kind] += each.count
    return page(
        service,
        "report.html",
        plan=found,
        differences=found_by.total(),
        mended=mended,
        left=[(kind, count, words.LEFT_BEHIND.get(kind, "")) for kind, count in left.most_common()],
        lines=await Checklist(service.reads.pool).lines(plan),
        told=await Invitations(service.reads.pool).told(plan) if invitable(found) else None,
    )


@router.get("/plans/{plan}/checklist/{line}.csv")
async def checklist_document(service: PartsOf, plan: Id, line: str) -> Response:
    return await checklist_api.checklist_csv(service, plan, line)


@router.get("/plans/{plan}/invitations.csv")
async def invitations_document(service: PartsOf, plan: Id) -> Response:
    return await invitations_api.invitations_csv(service, plan)


@router.get("/plans/{plan}/problems/{reason}")
async def cause_page(
    service: PartsOf, plan: Id, reason: Reason, after: Annotated[int, Query(ge=0, le=MOST)] = 0
) -> Response:
    """Everything that ended for one reason. ``after``: position of the last event of the page before."""
    found = await plan_of(service, plan)
    rows = await service.reads.caused(plan, reason.value, after, PAGE)
    total = sum(group.count for group in found.reasons if group.reason == reason.value)
    if not total:
        raise not_found("problem", reason.value)
    more = rows[-1]["position"] if len(rows) >= PAGE else None
    explained = EXPLANATIONS[reason]
    return page(
        service,
        "cause.html",
        plan=found,
        reason=reason.value,
        meaning=explained.meaning,
        way_on=explained.way_on,
        rows=rows,
        total=total,
        after=after,
        more=more,
    )
