"""Invitations after a run: asked for as a plan of their own, and listed as JSON and CSV."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from fastapi.responses import StreamingResponse

from services.dashboard.adapters.invitations import Invitations
from services.dashboard.domain.access import Permission
from services.dashboard.domain.inputs import InviteIn
from services.dashboard.domain.shapes import Invitation, InvitationsOut, Recorded
from services.dashboard.handlers.analyses import CSV, csv_answer
from services.dashboard.handlers.context import CommandId, Needs, PartsOf, envelope, plan_exists, send, shown
from shared.events.commands import FollowPlan
from shared.events.types import Id

router = APIRouter(tags=["plans"], dependencies=[Depends(Needs(Permission.READ, Permission.OPERATE))])


@router.post("/plans/{plan}/invitations", status_code=201, summary="Invite people by a new plan")
async def invite(service: PartsOf, id: CommandId, plan: Id, body: InviteIn) -> Recorded:
    """The new plan, once it is run, has the organization mail the people to whom this plan gave access and who were not invited yet,
    or as a reminder those who were. Each person is asked for at most once by a plan, whatever happens."""
    await plan_exists(service, plan)
    follow = FollowPlan(**envelope(id), plan=plan, name=body.name, follow="remind" if body.reminder else "invite")
    return await send(service, follow)


@router.get("/plans/{plan}/invitations", summary="Who was invited", dependencies=[Depends(shown)])
async def list_invitations(
    service: PartsOf,
    plan: Id,
    limit: Annotated[int, Query(ge=0, le=1000)] = 100,
    offset: Annotated[int, Query(ge=0, lt=2**31)] = 0,
) -> InvitationsOut:
    """How many people could be invited or reminded, and who was: when, by which plan, and what became of it."""
    await plan_exists(service, plan)
    return await Invitations(service.reads.pool).told(plan, limit, offset)


@router.get(
    "/plans/{plan}/invitations.csv",
    summary="Who was invited, as CSV",
    response_model=None,
    responses=CSV,
    dependencies=[Depends(shown)],
)
async def invitations_csv(service: PartsOf, plan: Id) -> StreamingResponse:
    await plan_exists(service, plan)
    return csv_answer("invitations", list(Invitation.model_fields), Invitations(service.reads.pool).rows(plan))
