"""Settings: tokens for machines, and links that log somebody in."""

from typing import Annotated
from uuid import uuid4

from fastapi import APIRouter, Depends, Form
from fastapi.responses import RedirectResponse, Response
from pydantic import ValidationError

from services.dashboard.domain.access import CALLER, PERMITTED, Permission, Role
from services.dashboard.domain.inputs import TokenIn
from services.dashboard.domain.problems import ProblemError
from services.dashboard.handlers.context import Needs, Parts, PartsOf
from services.dashboard.handlers.rendering import page

router = APIRouter(include_in_schema=False, dependencies=[Depends(Needs(Permission.ADMINISTER, Permission.ADMINISTER))])

Command = Annotated[str, Form(pattern=r"^[0-9a-f]{32}$")]


@router.get("/settings")
async def settings_page(service: PartsOf) -> Response:
    return await _page(service)


@router.post("/settings/tokens")
async def create_token(
    service: PartsOf,
    command: Command,
    name: Annotated[str, Form(max_length=400)] = "",
    role: Annotated[str, Form()] = "operator",
    days: Annotated[str, Form(max_length=5)] = "90",
) -> Response:
    """The page that follows shows the token, this once."""
    try:
        body = TokenIn.model_validate(
            {"name": name.strip(), "role": role, "days": int(days) if days.isdigit() else None}
        )
        _, secret = await service.access.create_token(command, CALLER.get(), body.name, body.role, body.days)
    except ValidationError:
        return await _page(service, status=422, error="Give the token a name, a role and a number of days.", name=name)
    except ProblemError as error:
        return await _page(service, status=error.status, error=f"{error} {error.way_on}", name=name)
    if secret is None:
        return RedirectResponse("/settings", 303)
    return await _page(service, made=secret, made_name=body.name)


@router.post("/settings/tokens/{token}/revoke")
async def revoke_token(service: PartsOf, token: str) -> Response:
    await service.access.revoke_token(CALLER.get(), token)
    return RedirectResponse("/settings", 303)


async def _page(service: Parts, *, status: int = 200, **more: str) -> Response:
    values: dict[str, object] = {"error": None, "made": None, "made_name": None, "name": "", **more}
    return page(
        service,
        "settings.html",
        status=status,
        tokens=await service.access.tokens(),
        roles=list(Role),
        permitted=PERMITTED,
        command=uuid4().hex,
        **values,
    )
