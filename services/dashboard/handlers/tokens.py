"""Tokens for machines, and links that log a browser in once."""

from typing import Annotated

from fastapi import APIRouter, Body, Depends, Response

from services.dashboard.domain.access import CALLER, Permission
from services.dashboard.domain.inputs import SignInLinkIn, TokenIn
from services.dashboard.domain.shapes import Recorded, SignInLink, TokenMade, TokenShown
from services.dashboard.handlers.context import CommandId, CutOf, Needs, PartsOf
from shared.events.types import Id

router = APIRouter(tags=["access"], dependencies=[Depends(Needs(Permission.ADMINISTER, Permission.ADMINISTER))])


@router.get("/tokens", summary="List tokens")
async def list_tokens(service: PartsOf, response: Response, cut: CutOf) -> list[TokenShown]:
    """Without their secrets, which are nowhere. Valid ones first. Where there are more, the header ``Link`` names the next
    page."""
    found = await service.access.tokens(limit=cut.limit, before=cut.before)
    shown = [TokenShown.model_validate(token, from_attributes=True) for token in found]
    return cut.linked(response, "/tokens", shown)


@router.post("/tokens", status_code=201, summary="Create a token")
async def create_token(service: PartsOf, id: CommandId, body: TokenIn) -> TokenMade:
    """The secret is in this answer and nowhere else; the same key again gives the id without it."""
    made, secret = await service.access.create_token(id, CALLER.get(), body.name, body.role, body.days)
    return TokenMade(id=made, token=secret)


@router.post("/tokens/{token}/revoke", summary="Revoke a token")
async def revoke_token(service: PartsOf, id: CommandId, token: Id) -> Recorded:
    """It is refused from now on. Twice is harmless."""
    await service.access.revoke_token(CALLER.get(), token)
    return Recorded(id=token)


@router.post("/sign-in-links", status_code=201, summary="Make a link that logs in once")
async def make_link(service: PartsOf, id: CommandId, body: Annotated[SignInLinkIn | None, Body()] = None) -> SignInLink:
    """For whoever opens it first, within 12 hours. ``path`` belongs behind the dashboard's address."""
    code = await service.access.new_link(id, (body or SignInLinkIn()).role)
    return SignInLink(path=f"/sign-in?code={code}")
