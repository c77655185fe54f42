"""Logging in and out: by the organization's identity provider, or by a link that works once."""

import time
from typing import Annotated

import structlog
from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import RedirectResponse, Response

from services.dashboard.adapters.access import Login
from services.dashboard.adapters.oidc import Provider, ProviderRefused
from services.dashboard.domain.access import CALLER, LINK_ACTOR, Permission, local_path, mapped_role
from services.dashboard.domain.problems import ProblemError
from services.dashboard.handlers.context import Needs, Parts, PartsOf, everybody
from services.dashboard.handlers.rendering import page
from shared.events.catalog.access import SignIn, SignInRefused

router = APIRouter(include_in_schema=False)
log = structlog.get_logger("dashboard")

_SENTENCES = {
    "link_invalid": "This link was used already, is older than 12 hours, or was never one.",
    "provider_refused": "The identity provider did not confirm who you are.",
    "answer_invalid": "This answer of the identity provider belongs to no login that began here within 10 minutes.",
    "no_role": "You are known to the identity provider, but none of your groups has a role here.",
}


@router.get("/sign-in", dependencies=[Depends(everybody)])
async def sign_in(
    request: Request,
    service: PartsOf,
    code: Annotated[str | None, Query(max_length=200)] = None,
    back: Annotated[str | None, Query(max_length=500)] = None,
) -> Response:
    """The page; with a link's ``code``, the login itself."""
    if code is None:
        return signed_out(service, back)
    _wait(request, service)
    cookie = await service.access.use_link(code)
    if cookie is None:
        return await _refused(request, service, "one_time_link", "link_invalid")
    return _welcome(service, cookie, back)


@router.get("/sign-in/oidc", dependencies=[Depends(everybody)])
async def to_provider(
    request: Request, service: PartsOf, back: Annotated[str | None, Query(max_length=500)] = None
) -> Response:
    provider = _provider(service)
    _wait(request, service)
    state, login = provider.login(local_path(back))
    try:
        address = await provider.address(state, login, _redirect(request, service))
    except ProviderRefused as error:
        log.warning("identity_provider_away", error=str(error))
        return await _refused(request, service, "oidc", "provider_refused")
    await service.access.begin_login(state, login)
    answer = RedirectResponse(address, 303)
    # Lax, because the provider's answer comes from another site.
    answer.set_cookie(
        service.cookies.state,
        state,
        httponly=True,
        samesite="lax",
        path="/",
        secure=service.cookies.secure,
        max_age=600,
    )
    return answer


@router.get("/sign-in/answer", dependencies=[Depends(everybody)])
async def from_provider(
    request: Request,
    service: PartsOf,
    state: Annotated[str, Query(max_length=200)] = "",
    code: Annotated[str | None, Query(max_length=4000)] = None,
) -> Response:
    """The provider sends the browser back here. Only the browser that began this login can end it."""
    provider = _provider(service)
    _wait(request, service)
    login: Login | None = None
    if state and request.cookies.get(service.cookies.state) == state:
        login = await service.access.take_login(state)
    if login is None:
        return await _refused(request, service, "oidc", "answer_invalid")
    if code is None:
        return await _refused(request, service, "oidc", "provider_refused")
    try:
        who = await provider.identity(code, login, _redirect(request, service))
    except ProviderRefused as error:
        log.warning("login_not_confirmed", error=str(error))
        return await _refused(request, service, "oidc", "provider_refused")
    actor = await service.access.identified(who.issuer, who.subject, who.name)
    role = mapped_role(who.groups, service.roles)
    if role is None:
        return await _refused(request, service, "oidc", "no_role", actor.key)
    answer = _welcome(service, await service.access.open_session(actor, role, "oidc"), login.back)
    answer.delete_cookie(service.cookies.state)
    return answer


@router.post("/sign-out", dependencies=[Depends(Needs(Permission.READ))])
async def sign_out(request: Request, service: PartsOf) -> Response:
    cookie = request.cookies.get(service.cookies.session)
    assert cookie is not None
    await service.access.close_session(cookie, CALLER.get())
    answer = RedirectResponse("/sign-in", 303)
    answer.delete_cookie(service.cookies.session)
    return answer


def signed_out(service: Parts, back: str | None, code: str | None = None, status: int = 200) -> Response:
    return page(
        service,
        "signin.html",
        status=status,
        oidc=service.provider is not None,
        back=local_path(back),
        sentence=_SENTENCES[code] if code else None,
        code=code,
    )


def _provider(service: Parts) -> Provider:
    if service.provider is None:
        raise ProblemError(
            "no_identity_provider",
            404,
            "This deployment has no identity provider.",
            "Log in by a one-time link: cloudward login prints one.",
        )
    return service.provider


def _redirect(request: Request, service: Parts) -> str:
    return f"{service.public_url or str(request.base_url).rstrip('/')}/sign-in/answer"


def _welcome(service: Parts, cookie: str, back: str | None) -> RedirectResponse:
    answer = RedirectResponse(local_path(back), 303)
    answer.set_cookie(
        service.cookies.session, cookie, httponly=True, samesite="lax", path="/", secure=service.cookies.secure
    )
    answer.headers["Cache-Control"] = "no-store"
    return answer


def _address(request: Request) -> str:
    return request.client.host if request.client else ""


def _wait(request: Request, service: Parts) -> None:
    seconds = service.attempts.wait(_address(request), time.monotonic())
    if seconds:
        raise ProblemError(
            "too_many_attempts",
            429,
            "From this address somebody failed to log in too often.",
            f"Wait {seconds:.0f} seconds, then try again.",
        )


async def _refused(
    request: Request, service: Parts, method: SignIn, code: str, subject: str = LINK_ACTOR.key
) -> Response:
    address = _address(request)
    if service.attempts.failed(address, time.monotonic()):
        log.warning("sign_in_refused", method=method, code=code, address=address)
        event = SignInRefused.model_validate({"subject": subject, "method": method, "code": code})
        await service.access.tell(LINK_ACTOR, [event])
    return signed_out(service, None, code, 401 if code != "no_role" else 403)
