"""Plans: saved once, then only started, stopped, paused, copied and archived."""

from collections.abc import AsyncIterator
from typing import Annotated, Any, NoReturn
from uuid import uuid4

from fastapi import APIRouter, Body, Depends, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from services.dashboard.adapters.reads import totals
from services.dashboard.domain.access import Permission
from services.dashboard.domain.inputs import CopyIn, DecideIn, PlanIn, RunIn, ScheduleIn
from services.dashboard.domain.problems import ProblemError, immutable, not_found
from services.dashboard.domain.redirects import MEDIA_TYPES, Format, written
from services.dashboard.domain.shapes import CheckOut, PlanDetail, PlanSummary, Recorded, Report, RoundOut, UndoOut
from services.dashboard.domain.tables import to_csv
from services.dashboard.handlers.context import (
    CommandId,
    CutOf,
    Needs,
    Parts,
    PartsOf,
    envelope,
    plan_exists,
    send,
    shown,
)
from shared.events.catalog.plan import Follow
from shared.events.checks import Check
from shared.events.commands import (
    ArchivePlan,
    CopyPlan,
    DecideCheck,
    FollowPlan,
    JudgeChecks,
    PausePlan,
    PlanCommand,
    ResumePlan,
    RetryStuck,
    RunChecks,
    RunPlan,
    SavePlan,
    SchedulePlan,
    StopPlan,
    UnschedulePlan,
)
from shared.events.types import Id

router = APIRouter(tags=["plans"], dependencies=[Depends(Needs(Permission.READ, Permission.OPERATE))])


@router.post("/plans", status_code=201, summary="Save a plan")
async def save_plan(service: PartsOf, id: CommandId, body: PlanIn) -> Recorded:
    return await send(service, SavePlan(**envelope(id), **body.model_dump(mode="json")))


@router.get("/plans", summary="List plans", dependencies=[Depends(shown)])
async def list_plans(
    service: PartsOf,
    response: Response,
    cut: CutOf,
    archived: bool = False,
) -> list[PlanSummary]:
    """Newest first; archived ones only when asked for. Where there are more, the header ``Link`` names the next page."""
    found = await service.reads.plans(archived=archived, limit=cut.limit, before=cut.before)
    return cut.linked(response, "/plans", found, archived=str(archived).lower())


@router.get("/plans/{plan}", summary="One plan", dependencies=[Depends(shown)])
async def show_plan(service: PartsOf, plan: Id) -> PlanDetail:
    """With its tasks, the numbers of each, and what did not move by cause."""
    found = await service.reads.plan(plan)
    if found is None:
        raise not_found("plan", plan)
    return found


@router.put("/plans/{plan}", include_in_schema=False, response_model=None)
@router.patch("/plans/{plan}", include_in_schema=False, response_model=None)
@router.delete("/plans/{plan}", include_in_schema=False, response_model=None)
async def refuse_change(plan: Id) -> NoReturn:
    raise immutable()


@router.post("/plans/{plan}/run", status_code=202, summary="Run a plan")
async def run_plan(service: PartsOf, id: CommandId, plan: Id, body: Annotated[RunIn | None, Body()] = None) -> Recorded:
    await plan_exists(service, plan)
    given = body or RunIn()
    return await send(service, RunPlan(**envelope(id), plan=plan, consent=given.consent, digest=given.digest))


@router.post("/plans/{plan}/schedule", status_code=202, summary="Start a plan at a time")
async def schedule_plan(service: PartsOf, id: CommandId, plan: Id, body: ScheduleIn) -> Recorded:
    """It starts by itself then, if nothing forbids it. Consent is needed now, where it is needed at all."""
    await plan_exists(service, plan)
    start_at = max(0, int(body.start_at.timestamp() * 1_000_000))  # what is long past the planner refuses as past
    return await send(service, SchedulePlan(**envelope(id), plan=plan, start_at=start_at, consent=body.consent))


@router.post("/plans/{plan}/unschedule", status_code=202, summary="Take back a start time")
async def unschedule_plan(service: PartsOf, id: CommandId, plan: Id) -> Recorded:
    return await _command(service, UnschedulePlan, id, plan)


@router.post("/plans/{plan}/copy", status_code=201, summary="Copy a plan")
async def copy_plan(service: PartsOf, id: CommandId, plan: Id, body: CopyIn) -> Recorded:
    """A new plan that holds the same, by the source's last analysis; as a dry run it writes nothing to the site."""
    await plan_exists(service, plan)
    return await send(service, CopyPlan(**envelope(id), plan=plan, name=body.name, dry_run=body.dry_run))


@router.post("/plans/{plan}/continue", status_code=201, summary="Continue a plan in a new one")
async def continue_plan(service: PartsOf, id: CommandId, plan: str, body: CopyIn) -> Recorded:
    """Of one that was stopped or failed: the new plan takes what is not on the site yet, and nothing twice."""
    return await _follow(service, id, plan, body.name, "continue")


@router.post("/plans/{plan}/retry-failed", status_code=201, summary="Retry what failed in a new plan")
async def retry_failed(service: PartsOf, id: CommandId, plan: str, body: CopyIn) -> Recorded:
    """Only what failed or was left of the plan's own inventory; not what came to the source since."""
    return await _follow(service, id, plan, body.name, "retry")


@router.post("/plans/{plan}/delta", status_code=201, summary="Bring what changed since in a new plan")
async def delta_plan(service: PartsOf, id: CommandId, plan: str, body: CopyIn) -> Recorded:
    """What is new or changed at the source. What somebody changed on the site stays as it is and is listed as a conflict; what
    was deleted at the source is listed and stays."""
    return await _follow(service, id, plan, body.name, "delta")


@router.post("/plans/{plan}/undo", status_code=201, summary="Undo a plan by a new one")
async def undo_plan(service: PartsOf, id: CommandId, plan: str, body: CopyIn) -> Recorded:
    """The new plan, once it is run, removes from the site what this one made and nobody has touched since."""
    return await _follow(service, id, plan, body.name, "undo")


@router.get("/plans/{plan}/undo", summary="What an undo would remove", dependencies=[Depends(shown)])
async def preview_undo(service: PartsOf, plan: str) -> UndoOut:
    """In numbers, by what is recorded: at most this much. What somebody has touched since only the run finds out; it stays."""
    await plan_exists(service, plan)
    return await service.reads.undo(plan)


async def _follow(service: Parts, id: str, plan: str, name: str, follow: Follow) -> Recorded:
    await plan_exists(service, plan)
    return await send(service, FollowPlan(**envelope(id), plan=plan, name=name, follow=follow))


@router.get("/plans/{plan}/checks", summary="Checks of a plan", dependencies=[Depends(shown)])
async def list_checks(service: PartsOf, plan: Id) -> list[CheckOut]:
    """All of them as they stand, each with its meaning, whether it forbids the run, and the first of its findings. What has
    to be asked of source and site is as old as the last round: see ``checked_at``."""
    await plan_exists(service, plan)
    reply = await service.commands.send(JudgeChecks(**envelope(uuid4().hex), plan=plan))
    return [CheckOut(**each) for each in reply.result["checks"]]


@router.post("/plans/{plan}/checks", status_code=202, summary="Run the checks of a plan")
async def run_checks(service: PartsOf, id: CommandId, plan: Id) -> Recorded:
    """Source and site are asked; the answer's id names the round."""
    await service.caught_up(await service.reads.head())
    found = await show_plan(service, plan)
    return await send(service, RunChecks(**envelope(id), plan=plan, source=found.source.id, site=found.site.id))


@router.get("/check-rounds/{round}", summary="Whether a round of checks is done", dependencies=[Depends(shown)])
async def show_round(service: PartsOf, round: Id) -> RoundOut:
    return RoundOut(round=round, completed=await service.reads.round_completed(round))


@router.post("/plans/{plan}/checks/{check}", status_code=202, summary="Leave a check out, or take it in again")
async def decide_check(service: PartsOf, id: CommandId, plan: Id, check: Check, body: DecideIn) -> Recorded:
    await plan_exists(service, plan)
    return await send(service, DecideCheck(**envelope(id), plan=plan, check=check, excluded=body.excluded))


@router.get(
    "/plans/{plan}/checks/{check}/findings.csv", summary="Findings of a check", response_class=StreamingResponse
)
async def findings(service: PartsOf, plan: Id, check: Check) -> StreamingResponse:
    """All findings as CSV, one line each."""
    judged = next((each for each in await list_checks(service, plan) if each.check == check), None)
    if judged is None:
        raise not_found("check", check.value)
    rows = await service.reads.check_findings(judged.round, check.value) if judged.round else judged.findings
    headers = {"Content-Disposition": f'attachment; filename="{check.value}.csv"'}
    return StreamingResponse(iter([to_csv(rows)]), media_type="text/csv", headers=headers)


@router.post("/plans/{plan}/stop", status_code=202, summary="Stop a plan")
async def stop_plan(service: PartsOf, id: CommandId, plan: Id) -> Recorded:
    """Nothing new begins; what is under way is finished and recorded. A stopped plan cannot be resumed."""
    return await _command(service, StopPlan, id, plan)


@router.post("/plans/{plan}/pause", status_code=202, summary="Pause a plan")
async def pause_plan(service: PartsOf, id: CommandId, plan: Id) -> Recorded:
    return await _command(service, PausePlan, id, plan)


@router.post("/plans/{plan}/resume", status_code=202, summary="Go on with a paused plan")
async def resume_plan(service: PartsOf, id: CommandId, plan: Id) -> Recorded:
    return await _command(service, ResumePlan, id, plan)


@router.post("/plans/{plan}/archive", status_code=202, summary="Archive a plan")
async def archive_plan(service: PartsOf, id: CommandId, plan: Id) -> Recorded:
    """Hides it from lists. Nothing deletes a plan."""
    return await _command(service, ArchivePlan, id, plan)


@router.post("/plans/{plan}/retry-stuck", status_code=202, summary="Try a stuck plan again")
async def retry_stuck(service: PartsOf, id: CommandId, plan: Id) -> Recorded:
    return await _command(service, RetryStuck, id, plan)


@router.get("/plans/{plan}/report", summary="The report", response_model=Report, dependencies=[Depends(shown)])
async def report(service: PartsOf, plan: Id) -> StreamingResponse:
    """What was selected and what became of it, by sets and in sums; every entity that did not simply move, with its
    reason."""
    found = await show_plan(service, plan)
    proof = await service.reads.conservation(plan)
    kinds = totals(found.kinds)
    sums_agree = all(c.selected == c.migrated + c.skipped + c.failed for c in kinds.values())
    differences = {"lost": proof.lost, "doubled": proof.doubled, "invented": proof.invented}
    head = Report(
        source=found.source.name,
        plan=found.id,
        dry_run=found.dry_run,
        status=found.status,
        kinds=kinds,
        conserved=proof.ok and sums_agree and found.conserved is not False,
        differences={side: dict(counts) for side, counts in differences.items() if counts},
        tasks=await service.reads.failed_tasks(plan),
        verification=await service.reads.differences(plan),
        left_behind=await service.reads.left_behind(plan),
        reasons=[],
    )
    return StreamingResponse(_document(service, head), media_type="application/json")


async def _document(service: Parts, head: Report) -> AsyncIterator[str]:
    """The document as it is read: reasons and references may be many and are never all in memory."""
    yield head.model_dump_json(exclude={"reasons", "references"})[:-1]
    many: dict[str, AsyncIterator[BaseModel]] = {
        "reasons": service.reads.reported(head.plan),
        "references": service.reads.references(head.plan),
    }
    for name, rows in many.items():
        yield f',"{name}":['
        comma = ""
        async for row in rows:
            yield comma + row.model_dump_json()
            comma = ","
        yield "]"
    yield "}"


_MAPS: dict[int | str, dict[str, Any]] = {
    200: {"content": {media.partition(";")[0]: {} for media in MEDIA_TYPES.values()}, "description": "By ``format``."}
}


@router.get(
    "/plans/{plan}/idmap",
    summary="Old ids to new ones",
    response_model=None,
    responses=_MAPS,
    dependencies=[Depends(shown)],
)
async def id_map(service: PartsOf, plan: Id, format: Format = "json") -> StreamingResponse:
    """What the plan moved: old id and address to new id and address, as CSV or JSON, or as redirect rules for a web server."""
    found = await show_plan(service, plan)
    if found.dry_run:
        raise ProblemError(
            "nothing_moved", 409, "A dry run moves nothing: there are no ids on the site.", "Ask the plan that ran."
        )
    old, site = await service.reads.addresses(plan)
    pieces = written(format, service.reads.mapped(plan), old=old, site=site)
    return StreamingResponse(pieces, media_type=MEDIA_TYPES[format])


async def _command(service: Parts, kind: type[PlanCommand], id: str, plan: Id) -> Recorded:
    await plan_exists(service, plan)
    return await send(service, kind(**envelope(id), plan=plan))
