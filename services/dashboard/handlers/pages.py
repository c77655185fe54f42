"""The pages: plans, one plan, and the actions on it. Whole without JavaScript; live with it."""

from time import monotonic
from typing import Annotated, Any
from uuid import uuid4

from fastapi import APIRouter, Depends, Form, Query, Request
from fastapi.responses import RedirectResponse, Response

from services.dashboard.adapters.invitations import Invitations
from services.dashboard.adapters.pace import Pace
from services.dashboard.adapters.tables import PLANS, SPACES, STATUSES
from services.dashboard.domain import attention
from services.dashboard.domain.access import Permission
from services.dashboard.domain.listing import Listing, Rows
from services.dashboard.domain.problems import ProblemError
from services.dashboard.domain.shapes import CheckOut, PlanDetail
from services.dashboard.handlers import plans as plan_api
from services.dashboard.handlers.context import Needs, Parts, PartsOf, envelope, parts, plan_of, send
from services.dashboard.handlers.live import live, region
from services.dashboard.handlers.past import past_plan
from services.dashboard.handlers.rendering import FOLLOWING, INVITATIONS, Verb, actions, invitations, page, typed
from shared.events.catalog.plan import Follow
from shared.events.checks import Check
from shared.events.commands import (
    ArchivePlan,
    CopyPlan,
    FollowPlan,
    PausePlan,
    PlanCommand,
    ResumePlan,
    RunPlan,
    StopPlan,
)
from shared.events.types import derived_id

router = APIRouter(include_in_schema=False, dependencies=[Depends(Needs(Permission.READ, Permission.OPERATE))])

PACE = 2.0  # seconds between two looks at rate, time left and what is under way: they shall not flicker
FIRST = 25  # spaces shown on the plan's own page
_PLAN_COMMANDS: dict[str, type[PlanCommand]] = {
    "stop": StopPlan,
    "pause": PausePlan,
    "resume": ResumePlan,
    "archive": ArchivePlan,
}


def problem_page(request: Request, error: ProblemError) -> Response:
    return page(parts(request), "problem.html", status=error.status, problem=error.document)


@router.get("/")
async def overview_page(service: PartsOf) -> Response:
    """What needs somebody now, what runs, what ended last."""
    return page(service, "overview.html", **await _overview(service))


@router.get("/plans")
async def plans_page(request: Request, service: PartsOf) -> Response:
    listing = Listing.read("/plans", PLANS, request.query_params.multi_items())
    rows = await service.tables.plans(listing)
    return page(service, "plans.html", rows=rows, filters=await _plan_filters(service))


@router.get("/plans/{plan}")
async def plan_page(service: PartsOf, plan: str, after: Annotated[int | None, Query(ge=0)] = None) -> Response:
    await service.caught_up(after)
    found = await plan_of(service, plan)
    rows = await _first_spaces(service, found)
    pace = await service.paces.of(found)
    return page(service, "plan.html", plan=found, rows=rows, pace=pace, live=f"/live/plans/{plan}")


@router.get("/plans/{plan}/spaces")
async def spaces_page(request: Request, service: PartsOf, plan: str) -> Response:
    """Every space of a plan, searched, filtered and sorted."""
    found = await plan_of(service, plan)
    listing = Listing.read(f"/plans/{plan}/spaces", SPACES, request.query_params.multi_items())
    return page(service, "spaces.html", plan=found, rows=await service.tables.plan_spaces(found, listing))


@router.get("/plans/{plan}/past")
async def past_page(service: PartsOf, plan: str, at: Annotated[str | None, Query(max_length=40)] = None) -> Response:
    """The plan as it was. Without ``at``: as it was after its last event."""
    found = await plan_of(service, plan)
    marks = await _marks(service, plan)
    shown = await past_plan(service, plan, at or str(marks[-1][0]))
    return page(service, "past.html", plan=found, past=shown, marks=marks)


@router.get("/plans/{plan}/report.json")
async def report_document(service: PartsOf, plan: str) -> Response:
    return await plan_api.report(service, plan)


@router.get("/plans/{plan}/{verb}")
async def confirm_page(service: PartsOf, plan: str, verb: Verb) -> Response:
    """What exactly happens if I do this?"""
    found = await plan_of(service, plan)
    allowed = dict(actions(found)) | invitations(found)
    if verb not in allowed:
        return RedirectResponse(f"/plans/{plan}", 303)
    if verb in INVITATIONS:
        told = await Invitations(service.reads.pool).told(plan)
        return page(
            service, "confirm_invite.html", plan=found, verb=verb, label=allowed[verb], command=uuid4().hex, told=told
        )
    if verb in FOLLOWING:
        name = f"{found.name} ({FOLLOWING[verb][1]})"[:200]
        removed = await service.reads.undo(plan) if verb == "undo" else None
        return page(
            service,
            "confirm_follow.html",
            plan=found,
            verb=verb,
            label=allowed[verb],
            command=uuid4().hex,
            name=name,
            removed=removed,
        )
    return await _confirm(service, found, verb)


async def _confirm(service: Parts, found: PlanDetail, verb: Verb, error: str | None = None) -> Response:
    sites = await service.reads.sites(found.site.id)
    consent = verb == "run" and not (sites and sites[0].sandbox)
    label = dict(actions(found)).get(verb, verb.capitalize())
    forbidding = await _forbidding(service, found.id) if verb in ("run", "dry-run") and found.follow != "undo" else []
    return page(
        service,
        "confirm.html",
        status=422 if error else 200,
        plan=found,
        verb=verb,
        label=label,
        command=uuid4().hex,
        consent=consent,
        forbidding=forbidding,
        begun=await service.reads.begun(found.id) if verb == "stop" else 0,
        name=f"{found.name[:190]} (copy)",
        error=error,
    )


async def _forbidding(service: Parts, plan: str) -> list[CheckOut]:
    """The checks that the run would be refused for, but for the consent that the form asks for. None where nobody answers."""
    try:
        checks = await plan_api.list_checks(service, plan)
    except ProblemError:
        return []
    return [check for check in checks if check.forbids and check.check is not Check.CONSENT]


@router.post("/plans/{plan}/{verb}")
async def act(
    service: PartsOf,
    plan: str,
    verb: Verb,
    command: Annotated[str, Form(pattern=r"^[0-9a-f]{32}$")],
    consent: Annotated[bool, Form()] = False,
    name: Annotated[str, Form(max_length=200)] = "",
    site: Annotated[str, Form(max_length=200)] = "",
) -> Response:
    """The command's id makes a double click one command."""
    found = await plan_of(service, plan)
    if typed(found, verb) and site.strip() != found.site.name:
        return await _confirm(
            service, found, verb, f"Nothing was done: this is not the site’s name, {found.site.name}."
        )
    if verb == "copy":
        copied = await send(service, CopyPlan(**envelope(command), plan=plan, name=name.strip() or f"{plan} copy"))
        return RedirectResponse(f"/plans/{copied.id}?after={copied.position or 0}", 303)
    if verb in FOLLOWING:
        follow = FollowPlan(
            **envelope(command), plan=plan, name=name.strip() or f"{plan} {verb}", follow=FOLLOWING[verb][0]
        )
        recorded = await send(service, follow)
        return RedirectResponse(f"/plans/{recorded.id}?after={recorded.position or 0}", 303)
    if verb in INVITATIONS:
        name = await _free_name(service, f"{found.name[:170]} ({'reminded' if verb == 'remind' else 'invited'}")
        how: Follow = "remind" if verb == "remind" else "invite"
        plan = (await send(service, FollowPlan(**envelope(command), plan=plan, name=name, follow=how))).id
        recorded = await send(service, RunPlan(**envelope(derived_id(command, "run")), plan=plan))
    elif verb == "run":
        recorded = await send(service, RunPlan(**envelope(command), plan=plan, consent=consent))
    elif verb == "dry-run":
        name = await _free_name(service, f"{found.name[:180]} (dry run")
        copied = await send(service, CopyPlan(**envelope(command), plan=plan, name=name, dry_run=True))
        plan = copied.id
        recorded = await send(service, RunPlan(**envelope(derived_id(command, "run")), plan=plan))
    else:
        recorded = await send(service, _PLAN_COMMANDS[verb](**envelope(command), plan=plan))
    return RedirectResponse(f"/plans/{plan}?after={recorded.position or 0}", 303)


async def _free_name(service: Parts, beginning: str) -> str:
    """``beginning`` with the bracket closed, or with the first number before it that makes a new name."""
    name, n = f"{beginning})", 1
    while await service.reads.plan_named(name) is not None:
        n += 1
        name = f"{beginning} {n})"
    return name


@router.get("/live/overview")
async def live_overview(request: Request, service: PartsOf) -> Response:
    async def regions() -> dict[str, str]:
        values = await _overview(service)
        return {
            "attention": region("attention", needs=values["needs"], counts=values["counts"]),
            "running": region("running", plans=values["running"]),
        }

    return live(request, service, "overview", regions)


@router.get("/live/plans")
async def live_plans(request: Request, service: PartsOf) -> Response:
    listing = Listing.read("/plans", PLANS, request.query_params.multi_items())

    async def regions() -> dict[str, str]:
        rows = await service.tables.plans(listing)
        return {"plans": region("plans", rows=rows), **{f"say-{p.id}": f"{p.name}: {p.status}" for p in rows.rows}}

    return live(request, service, f"plans {listing.query()}", regions)


@router.get("/live/plans/{plan}")
async def live_plan(request: Request, service: PartsOf, plan: str) -> Response:
    await plan_of(service, plan)
    last: list[tuple[float, Pace]] = []

    async def regions() -> dict[str, str]:
        found = await plan_of(service, plan)
        rows = await _first_spaces(service, found)
        if not last or monotonic() - last[0][0] > PACE or found.ended_at is not None:
            last[:] = [(monotonic(), await service.paces.of(found))]
        pace = last[0][1]
        return {
            **({name: region(name, plan=found, pace=pace) for name in ("pace", "chart")} if found.started_at else {}),
            **{name: region(name, plan=found) for name in ("head", "kinds", "causes")},
            "tasks": region("tasks", plan=found, rows=rows),
            f"say-{plan}": f"{found.name}: {found.status}",
        }

    return live(request, service, f"plan {plan}", regions)


async def _overview(service: Parts) -> dict[str, Any]:
    counts = await service.tables.counts()
    counts["plans"] = sum(counts.get(status, 0) for status in STATUSES)
    running = await service.tables.recent(("RUNNING",), 20)
    ended = await service.tables.recent(("FINISHED", "STOPPED", "FAILED"), 5)
    waiting = await service.tables.recent(("FAILED", "READY"), 50)
    sources = await service.reads.sources()
    needs = attention.needs([*running, *waiting], sources, service.stalled, counts.get("FAILED", 0))
    return {"needs": needs, "counts": counts, "running": running, "ended": ended}


async def _plan_filters(service: Parts) -> list[tuple[str, str, list[tuple[str, str]]]]:
    """Name in the URL, label, and the values with their words."""
    return [
        ("status", "Status", [(status, status) for status in STATUSES]),
        ("source", "Source", [(source.id, source.name) for source in await service.reads.sources()]),
        ("site", "Site", [(site.id, site.name) for site in await service.reads.sites()]),
        ("archived", "Archived", [("1", "Shown too")]),
    ]


async def _first_spaces(service: Parts, plan: PlanDetail) -> Rows:
    return await service.tables.first_spaces(
        plan, Listing(f"/plans/{plan.id}/spaces", SPACES, sort="state", size=FIRST)
    )


async def _marks(service: Parts, plan: str) -> list[tuple[int, str]]:
    """Positions and types of the plan's own events: what its status changed at."""
    rows = await service.reads.pool.fetch(
        "SELECT position, type FROM log.events WHERE stream = $1 ORDER BY version LIMIT 200", f"plan-{plan}"
    )
    return [(row["position"], row["type"]) for row in rows]
