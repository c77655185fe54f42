"""The pages of a plan's checks: what a run would meet, said before it."""

import asyncio
from typing import Annotated, Any
from uuid import uuid4

from fastapi import APIRouter, Depends, Form
from fastapi.responses import RedirectResponse, Response, StreamingResponse

from services.dashboard.domain.access import Permission
from services.dashboard.domain.inputs import DecideIn
from services.dashboard.domain.problems import not_found
from services.dashboard.domain.shapes import CheckOut
from services.dashboard.handlers import plans as plan_api
from services.dashboard.handlers.context import Needs, Parts, PartsOf, plan_of
from services.dashboard.handlers.rendering import page
from shared.events.checks import Check

router = APIRouter(include_in_schema=False, dependencies=[Depends(Needs(Permission.READ, Permission.OPERATE))])

PATIENCE = 15.0  # seconds a form waits for source and site to be asked
ROWS = 100  # of what a check found are on its page; all of them are in its table
_ORDER = ("error", "warning", "not_checked", "passed")

Command = Annotated[str, Form(pattern=r"^[0-9a-f]{32}$")]


def ordered(checks: list[CheckOut]) -> list[CheckOut]:
    """What forbids the run first, then the other errors, what warns, what is not known, what passed; left out ones last."""
    return sorted(checks, key=lambda c: (c.excluded, not c.forbids, _ORDER.index(c.result)))


@router.get("/plans/{plan}/checks")
async def checks_page(service: PartsOf, plan: str, round: str | None = None) -> Response:
    """``round``: what was asked just now; the page says so where it is not answered yet."""
    found = await plan_of(service, plan)
    checks = ordered(await plan_api.list_checks(service, plan))
    asked = [check.checked_at for check in checks if check.checked_at is not None]
    return page(
        service,
        "checks.html",
        plan=found,
        checks=checks,
        asked_at=max(asked, default=None),
        waiting=round is not None and not await service.reads.round_completed(round),
        command=uuid4().hex,
    )


@router.post("/plans/{plan}/checks")
async def run_checks(service: PartsOf, plan: str, command: Command) -> Response:
    recorded = await plan_api.run_checks(service, command, plan)
    try:
        async with asyncio.timeout(PATIENCE):
            while not await service.reads.round_completed(recorded.id):
                await asyncio.sleep(0.2)
    except TimeoutError:
        pass
    return RedirectResponse(f"/plans/{plan}/checks?round={recorded.id}", 303)


@router.get("/plans/{plan}/checks/{check}")
async def check_page(service: PartsOf, plan: str, check: str) -> Response:
    found = await plan_of(service, plan)
    judged = await _check(service, plan, check)
    columns = list(dict.fromkeys(name for row in judged.findings for name in row))
    more: dict[str, Any] = {"columns": columns, "most": ROWS, "command": uuid4().hex}
    return page(service, "check.html", plan=found, check=judged, **more)


@router.get("/plans/{plan}/checks/{check}/findings.csv")
async def findings(service: PartsOf, plan: str, check: str) -> StreamingResponse:
    return await plan_api.findings(service, plan, (await _check(service, plan, check)).check)


@router.post("/plans/{plan}/checks/{check}")
async def decide(
    service: PartsOf, plan: str, check: str, command: Command, excluded: Annotated[bool, Form()]
) -> Response:
    """Leaves a check out, or takes it in again."""
    judged = await _check(service, plan, check)
    recorded = await plan_api.decide_check(service, command, plan, judged.check, DecideIn(excluded=excluded))
    await service.caught_up(recorded.position)
    return RedirectResponse(f"/plans/{plan}/checks", 303)


async def _check(service: Parts, plan: str, name: str) -> CheckOut:
    if name not in set(Check):
        raise not_found("check", name)
    for each in await plan_api.list_checks(service, plan):
        if each.check == name:
            return each
    raise not_found("check", name)
