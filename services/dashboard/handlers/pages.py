"""The pages: plans, one plan, and the actions on it. Whole without JavaScript; live with it."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal
from uuid import uuid4

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from services.dashboard.domain import words
from services.dashboard.domain.problems import ProblemError, not_found
from services.dashboard.domain.shapes import PlanDetail, PlanSummary
from services.dashboard.handlers import plans as plan_api
from services.dashboard.handlers.context import Parts, PartsOf, envelope, parts, send
from services.dashboard.handlers.events import BEAT, STREAM_HEADERS
from shared.events.commands import ArchivePlan, PausePlan, PlanCommand, ResumePlan, RunPlan, StopPlan

router = APIRouter(include_in_schema=False)

COOKIE = "cloudward"
COALESCE = 0.25  # seconds between two updates of a page: nobody reads faster
Regions = Callable[[], Awaitable[dict[str, str]]]
Verb = Literal["run", "stop", "pause", "resume", "archive"]

_PLAN_COMMANDS: dict[str, type[PlanCommand]] = {
    "stop": StopPlan,
    "pause": PausePlan,
    "resume": ResumePlan,
    "archive": ArchivePlan,
}
# What a plan may be asked, by its state; the first is the primary one.
ACTIONS: dict[str, tuple[tuple[Verb, str], ...]] = {
    "READY": (("run", "Run plan"), ("archive", "Archive")),
    "RUNNING": (("stop", "Stop plan"), ("pause", "Pause")),
    "paused": (("resume", "Go on"), ("stop", "Stop plan")),
    "stopping": (),
    "FINISHED": (("archive", "Archive"),),
    "STOPPED": (("archive", "Archive"),),
    "FAILED": (("archive", "Archive"),),
}


def actions(plan: PlanSummary) -> tuple[tuple[Verb, str], ...]:
    state = "stopping" if plan.stopping else "paused" if plan.paused else plan.status
    return tuple((verb, label) for verb, label in ACTIONS[state] if not (verb == "archive" and plan.archived))


def when(value: datetime | None) -> str:
    return f"{value.astimezone(UTC):%-d %b %Y, %H:%M} UTC" if value else ""


_templates = Environment(
    loader=FileSystemLoader(Path(__file__).parent.parent / "templates"),
    autoescape=select_autoescape(),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.filters |= {"when": when, "number": words.number}
_templates.globals |= {"words": words, "actions": actions}


def page(service: Parts, name: str, *, status: int = 200, **values: object) -> HTMLResponse:
    html = _templates.get_template(name).render(
        position=service.position, stalled=service.stalled, form_key=service.access.form_key, **values
    )
    return HTMLResponse(html, status, headers={"Cache-Control": "no-store"})


class SignedOut(Exception):
    """The page needs a sign-in first."""


def _require(request: Request, service: Parts) -> None:
    if not service.access.signed_in(request.cookies.get(COOKIE)):
        raise SignedOut


def signed_out(request: Request) -> HTMLResponse:
    return page(parts(request), "signin.html", status=401)


def problem_page(request: Request, error: ProblemError) -> HTMLResponse:
    return page(parts(request), "problem.html", status=error.status, problem=error.document)


@router.get("/")
async def plans_page(request: Request, service: PartsOf, token: str | None = None) -> Response:
    if token is not None:
        if not service.access.token(token):
            raise SignedOut
        answer = RedirectResponse("/", 303)
        answer.set_cookie(COOKIE, service.access.cookie, httponly=True, samesite="strict", path="/")
        return answer
    _require(request, service)
    return page(service, "plans.html", plans=await service.reads.plans(), live="/live/plans")


@router.get("/plans/{plan}")
async def plan_page(
    request: Request, service: PartsOf, plan: str, after: Annotated[int | None, Query(ge=0)] = None
) -> Response:
    _require(request, service)
    await service.caught_up(after)
    return page(service, "plan.html", plan=await _plan(service, plan), live=f"/live/plans/{plan}")


@router.get("/plans/{plan}/report.json")
async def report_document(request: Request, service: PartsOf, plan: str) -> Response:
    _require(request, service)
    return await plan_api.report(service, plan)


@router.get("/plans/{plan}/{verb}")
async def confirm_page(request: Request, service: PartsOf, plan: str, verb: Verb) -> Response:
    """What exactly happens if I do this?"""
    _require(request, service)
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
    request: Request,
    service: PartsOf,
    plan: str,
    verb: Verb,
    key: Annotated[str, Form()],
    command: Annotated[str, Form(pattern=r"^[0-9a-f]{32}$")],
    consent: Annotated[bool, Form()] = False,
) -> Response:
    """A form of ours only: its key is known to no other site, and the command's id makes a double click one command."""
    _require(request, service)
    if not service.access.form(key):
        raise ProblemError("foreign_form", 403, "The form is not from this page.", "Open the plan and try again.")
    await _plan(service, plan)
    if verb == "run":
        recorded = await send(service, RunPlan(**envelope(command), plan=plan, consent=consent))
    else:
        recorded = await send(service, _PLAN_COMMANDS[verb](**envelope(command), plan=plan))
    return RedirectResponse(f"/plans/{plan}?after={recorded.position or 0}", 303)


@router.get("/live/plans")
async def live_plans(request: Request, service: PartsOf) -> Response:
    _require(request, service)

    async def regions() -> dict[str, str]:
        found = await service.reads.plans()
        return {"plans": _region("plans", plans=found), **{f"say-{p.id}": f"{p.name}: {p.status}" for p in found}}

    return _live(service, regions)


@router.get("/live/plans/{plan}")
async def live_plan(request: Request, service: PartsOf, plan: str) -> Response:
    _require(request, service)
    await _plan(service, plan)

    async def regions() -> dict[str, str]:
        found = await _plan(service, plan)
        names = ("head", "kinds", "tasks", "causes")
        return {**{n: _region(n, plan=found) for n in names}, f"say-{plan}": f"{found.name}: {found.status}"}

    return _live(service, regions)


async def _plan(service: Parts, plan: str) -> PlanDetail:
    found = await service.reads.plan(plan)
    if found is None:
        raise not_found("plan", plan)
    return found


def _region(name: str, **values: object) -> str:
    """The same macro as the page uses, so that page and update cannot differ."""
    html: str = getattr(_templates.get_template("regions.html").module, name)(**values)
    return html


def _live(service: Parts, regions: Regions) -> StreamingResponse:
    return StreamingResponse(_updates(service, regions), media_type="text/event-stream", headers=STREAM_HEADERS)


async def _updates(service: Parts, regions: Regions) -> AsyncIterator[str]:
    """State, not history: the page's regions as they are now, then each one that changes. A slow reader costs
    nothing, because only the newest state is ever sent."""
    moved = asyncio.Event()
    undo = [runner.on_move(lambda _: moved.set()) for runner in service.runners]
    shown: dict[str, str] = {}
    try:
        yield "retry: 1000\n\n"
        while not service.ending.is_set():
            moved.clear()
            position = service.position
            for name, text in (await regions()).items():
                if shown.get(name) == text:
                    continue
                if not name.startswith("say-"):
                    yield _message("region", position, {"id": name, "html": text})
                elif name in shown:
                    yield _message("say", position, {"text": text})
                shown[name] = text
            yield f"event: beat\ndata: {position}\n\n"
            await asyncio.sleep(COALESCE)
            await _either(moved, service.ending, BEAT)
    finally:
        for each in undo:
            each()


def _message(event: str, position: int, value: dict[str, str]) -> str:
    return f"id: {position}\nevent: {event}\ndata: {json.dumps(value)}\n\n"


async def _either(one: asyncio.Event, other: asyncio.Event, timeout: float) -> None:
    waits = [asyncio.ensure_future(one.wait()), asyncio.ensure_future(other.wait())]
    try:
        await asyncio.wait(waits, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
