"""The pages: plans, one plan, and the actions on it. Whole without JavaScript; live with it."""

from typing import Annotated
from uuid import uuid4

from fastapi import APIRouter, Depends, Form, Query, Request
from fastapi.responses import RedirectResponse, Response

from services.dashboard.domain.access import Permission
from services.dashboard.domain.problems import ProblemError, not_found
from services.dashboard.domain.shapes import PlanDetail
from services.dashboard.handlers import plans as plan_api
from services.dashboard.handlers.context import Needs, Parts, PartsOf, envelope, parts, send
from services.dashboard.handlers.live import live, region
from services.dashboard.handlers.rendering import Verb, actions, page
from shared.events.commands import ArchivePlan, PausePlan, PlanCommand, ResumePlan, RunPlan, StopPlan

router = APIRouter(include_in_schema=False, dependencies=[Depends(Needs(Permission.READ, Permission.OPERATE))])

_PLAN_COMMANDS: dict[str, type[PlanCommand]] = {
    "stop": StopPlan,
    "pause": PausePlan,
    "resume": ResumePlan,
    "archive": ArchivePlan,
}


def problem_page(request: Request, error: ProblemError) -> Response:
    return page(parts(request), "problem.html", status=error.status, problem=error.document)


@router.get("/")
async def plans_page(service: PartsOf) -> Response:
    return page(service, "plans.html", plans=await service.reads.plans(), live="/live/plans")


@router.get("/plans/{plan}")
async def plan_page(service: PartsOf, plan: str, after: Annotated[int | None, Query(ge=0)] = None) -> Response:
    await service.caught_up(after)
    return page(service, "plan.html", plan=await _plan(service, plan), live=f"/live/plans/{plan}")


@router.get("/plans/{plan}/report.json")
async def report_document(service: PartsOf, plan: str) -> Response:
    return await plan_api.report(service, plan)


@router.get("/plans/{plan}/{verb}")
async def confirm_page(service: PartsOf, plan: str, verb: Verb) -> Response:
    """What exactly happens if I do this?"""
    found = await _plan(service, plan)
    allowed = dict(actions(found))
    if verb not in allowed:
        return RedirectResponse(f"/plans/{plan}", 303)
    sites = await service.reads.sites(found.site.id)
    consent = verb == "run" and not (sites and sites[0].sandbox)
    return page(
        service, "confirm.html", plan=found, verb=verb, label=allowed[verb], command=uuid4().hex, consent=consent
    )


@router.post("/plans/{plan}/{verb}")
async def act(
    service: PartsOf,
    plan: str,
    verb: Verb,
    command: Annotated[str, Form(pattern=r"^[0-9a-f]{32}$")],
    consent: Annotated[bool, Form()] = False,
) -> Response:
    """The command's id makes a double click one command."""
    await _plan(service, plan)
    if verb == "run":
        recorded = await send(service, RunPlan(**envelope(command), plan=plan, consent=consent))
    else:
        recorded = await send(service, _PLAN_COMMANDS[verb](**envelope(command), plan=plan))
    return RedirectResponse(f"/plans/{plan}?after={recorded.position or 0}", 303)


@router.get("/live/plans")
async def live_plans(request: Request, service: PartsOf) -> Response:
    async def regions() -> dict[str, str]:
        found = await service.reads.plans()
        return {"plans": region("plans", plans=found), **{f"say-{p.id}": f"{p.name}: {p.status}" for p in found}}

    return live(request, service, regions)


@router.get("/live/plans/{plan}")
async def live_plan(request: Request, service: PartsOf, plan: str) -> Response:
    await _plan(service, plan)

    async def regions() -> dict[str, str]:
        found = await _plan(service, plan)
        names = ("head", "kinds", "tasks", "causes")
        return {**{n: region(n, plan=found) for n in names}, f"say-{plan}": f"{found.name}: {found.status}"}

    return live(request, service, regions)


async def _plan(service: Parts, plan: str) -> PlanDetail:
    found = await service.reads.plan(plan)
    if found is None:
        raise not_found("plan", plan)
    return found
