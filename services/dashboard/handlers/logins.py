"""Logging in to a site with an Atlassian account: the API, and the way of the browser there and back."""

from typing import Annotated
from uuid import uuid4

from fastapi import APIRouter, Depends, Form, Query, Request
from fastapi.responses import RedirectResponse, Response
from pydantic import ValidationError

from services.dashboard.domain.access import Permission
from services.dashboard.domain.inputs import ReplaceIn, SiteIn
from services.dashboard.domain.problems import ProblemError
from services.dashboard.domain.shapes import Login
from services.dashboard.handlers import connections
from services.dashboard.handlers.context import Needs, Parts, PartsOf, everybody
from services.dashboard.handlers.rendering import page
from shared.events.types import Id

api = APIRouter(dependencies=[Depends(Needs(Permission.READ, Permission.OPERATE))])
operating = [Depends(Needs(Permission.OPERATE))]
router = APIRouter(include_in_schema=False)

Text = Annotated[str, Form(max_length=2000)]


@api.post("/logins", status_code=201, tags=["sites"], summary="Begin a login with an Atlassian account")
async def begin(request: Request, service: PartsOf) -> Login:
    """Send a browser to the answer's ``url``, then read the login until it is open, and add a site by it."""
    return await service.logins.begin(_redirect(request, service), None)


@api.get("/logins/{login}", tags=["sites"], summary="A login, and the sites that it opens")
async def show(service: PartsOf, login: Id) -> Login:
    return await service.logins.get(login)


@router.get("/oauth/callback", dependencies=[Depends(everybody)])
async def callback(
    service: PartsOf,
    state: Annotated[str, Query(max_length=200)] = "",
    code: Annotated[str | None, Query(max_length=4000)] = None,
) -> Response:
    """Atlassian sends the browser here. The state proves that the login began here; nothing else is needed or shown."""
    login, back = await service.logins.answered(state, code)
    if back is not None:
        return RedirectResponse(back, 303)
    return page(service, "login_done.html", login=login)


@router.get("/sites/login", dependencies=operating)
async def log_in(request: Request, service: PartsOf) -> Response:
    """To Atlassian, and back to the list of the account's sites; another account is another login."""
    begun = await service.logins.begin(_redirect(request, service), "/sites/login/LOGIN")
    return RedirectResponse(begun.url or "/sites", 303)


@router.get("/sites/{site}/login", dependencies=operating)
async def log_in_again(request: Request, service: PartsOf, site: Id) -> Response:
    await connections.show_site(service, site)
    begun = await service.logins.begin(_redirect(request, service), f"/sites/login/LOGIN?site={site}")
    return RedirectResponse(begun.url or "/sites", 303)


@router.get("/sites/login/{login}", dependencies=operating)
async def pick(service: PartsOf, login: Id, site: Annotated[str | None, Query(max_length=64)] = None) -> Response:
    """The sites of the account, to pick one and confirm."""
    return await _pick(service, login, site, {}, {})


@router.post("/sites/login/{login}", dependencies=operating)
async def confirm(
    service: PartsOf,
    login: Id,
    command: Annotated[str, Form(pattern=r"^[0-9a-f]{32}$")],
    name: Text = "",
    url: Text = "",
    site: Annotated[str | None, Form(max_length=64)] = None,
) -> Response:
    values = {"name": name.strip(), "url": url}
    try:
        if site:
            recorded = await connections.replace_site_credential(service, command, site, ReplaceIn(login=login))
        else:
            body = SiteIn(name=values["name"], url=url, kind="oauth", login=login)
            recorded = await connections.register_site(service, command, body)
    except ValidationError:
        errors = {"name": "Give it a name of at most 200 characters."} if url else {"url": "Pick a site."}
        return await _pick(service, login, site, values, errors, 422)
    except ProblemError as error:
        return await _pick(service, login, site, values, {"name": f"{error} {error.way_on}"}, 422)
    await service.caught_up(recorded.position)
    return RedirectResponse("/sites", 303)


async def _pick(
    service: Parts, login: str, site: str | None, values: dict[str, str], errors: dict[str, str], status: int = 200
) -> Response:
    found = await service.logins.get(login)
    again = await connections.show_site(service, site) if site else None
    return page(
        service,
        "login_pick.html",
        status=status,
        login=found,
        site=again,
        values=values,
        errors=errors,
        command=uuid4().hex,
    )


def _redirect(request: Request, service: Parts) -> str:
    return f"{service.public_url or str(request.base_url).rstrip('/')}/oauth/callback"
