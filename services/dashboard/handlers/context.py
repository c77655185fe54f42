"""What handlers share: the service's parts, who calls, and the command that a request is."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Protocol, TypeVar
from urllib.parse import urlencode
from uuid import uuid4

from fastapi import Depends, Header, Query, Request, Response

from services.dashboard.adapters.access import Access
from services.dashboard.adapters.analyses import AnalysisReads
from services.dashboard.adapters.commands import Commands
from services.dashboard.adapters.logins import Logins
from services.dashboard.adapters.oidc import Provider
from services.dashboard.adapters.pace import Paces
from services.dashboard.adapters.reads import Reads
from services.dashboard.adapters.secrets import Secrets
from services.dashboard.adapters.tables import LogTable, Tables
from services.dashboard.adapters.webhooks import Webhooks
from services.dashboard.domain.access import (
    CALLER,
    Attempts,
    Caller,
    Permission,
    Role,
    command_id,
    roles_with,
    same,
)
from services.dashboard.domain.problems import ProblemError, not_found
from services.dashboard.domain.shapes import PlanDetail, Recorded
from services.dashboard.handlers.feeds import Feeds
from shared.events.commands import Command
from shared.events.projections.base import LogReader, ProjectionState
from shared.events.projections.runner import Runner
from shared.events.types import Id
from shared.ops.outgoing import Guard

API = "/api/v1"
MOST = 2**53 - 1  # of a position, as of every integer in the log
CATCH_UP = 5.0  # seconds a read waits for what a command has just done


@dataclass(frozen=True, slots=True)
class Cookies:
    """Names of our cookies. Over TLS they are bound to this very host (``__Host-``) and never sent in the clear."""

    secure: bool = False

    @property
    def session(self) -> str:
        return f"{'__Host-' if self.secure else ''}cloudward"

    @property
    def state(self) -> str:
        return f"{'__Host-' if self.secure else ''}cloudward-login"


@dataclass(frozen=True, slots=True)
class Parts:
    """The service, put together by ``app``. ``notices``: sentences that every page shows. ``ending`` is set when the process is told to end: streams then close."""

    reads: Reads
    secrets: Secrets
    commands: Commands
    store: LogReader
    runners: tuple[Runner, ...]
    access: Access
    ending: asyncio.Event
    logins: Logins
    provider: Provider | None = None
    roles: Mapping[str, Role] = field(default_factory=dict)  # group at the identity provider → role
    public_url: str | None = None
    cookies: Cookies = Cookies()
    attempts: Attempts = field(default_factory=Attempts)
    guard: Guard = field(default_factory=Guard)
    feeds: Feeds = field(default_factory=Feeds)
    notices: Callable[[], list[str]] = list

    @property
    def analyses(self) -> AnalysisReads:
        return AnalysisReads(self.reads.pool)

    @property
    def webhooks(self) -> Webhooks:
        return Webhooks(self.reads.pool, self.access.store, self.secrets.key)

    @property
    def paces(self) -> Paces:
        return Paces(self.reads.pool)

    @property
    def tables(self) -> Tables:
        return Tables(self.reads.pool, self.reads)

    @property
    def log_table(self) -> LogTable:
        return LogTable(self.reads.pool)

    @property
    def position(self) -> int:
        """Everything up to here is shown by every read model."""
        return min((runner.state.position for runner in self.runners), default=0)

    @property
    def stalled(self) -> list[ProjectionState]:
        return [runner.state for runner in self.runners if runner.state.sentence is not None]

    async def caught_up(self, position: int | None) -> None:
        """Waits a moment for the read models to show ``position``; afterwards they show what they can."""
        if position and any(runner.state.position < position for runner in self.runners):
            position = min(position, await self.reads.head())  # what is not in the log yet is waited for by nobody
            await asyncio.gather(*(runner.reached(position, CATCH_UP) for runner in self.runners))


def parts(request: Request) -> Parts:
    found: Parts = request.app.state.parts
    return found


class SignedOut(Exception):
    """The page needs a login first."""


class Needs:
    """What a route needs, as its dependency: ``read`` for GET, ``write`` for everything else.

    The API takes bearer tokens only and no cookie, so no other site can make a browser call it. Pages take the session's
    cookie, and each form of theirs carries the session's key besides.
    """

    def __init__(self, read: Permission, write: Permission | None = None) -> None:
        self.read, self.write = read, write or read

    def permission(self, method: str) -> Permission:
        return self.read if method in ("GET", "HEAD") else self.write

    async def __call__(self, request: Request) -> Caller:
        """The caller. Raises SignedOut, or ProblemError for one that may not."""
        caller = await (_bearer(request) if request.url.path.startswith(API) else _session(request))
        permission = self.permission(request.method)
        if not caller.may(permission):
            raise ProblemError(
                "role_not_permitted",
                403,
                f"The role {caller.role} does not permit this.",
                f"It takes the role {roles_with(permission)}. Ask an administrator of this deployment.",
            )
        CALLER.set(caller)
        return caller


async def everybody() -> None:
    """Names a route that asks nobody who they are: the login's own pages."""


async def _bearer(request: Request) -> Caller:
    caller = await parts(request).access.bearer(request.headers.get("authorization"))
    if caller is None:
        raise ProblemError(
            "unauthorized",
            401,
            "The request carries no valid bearer token.",
            "Send 'Authorization: Bearer <token>'. `cloudward up` writes one into the data folder; an administrator"
            " makes others: cloudward token create.",
        )
    return caller


async def _session(request: Request) -> Caller:
    service = parts(request)
    caller = await service.access.session(request.cookies.get(service.cookies.session))
    if caller is None:
        raise SignedOut
    if request.method not in ("GET", "HEAD"):
        key = (await request.form()).get("key")
        if not same(caller.form_key, key if isinstance(key, str) else None):
            raise ProblemError("foreign_form", 403, "The form is not from this page.", "Open the page and try again.")
    return caller


async def shown(
    request: Request,
    after: Annotated[
        int | None, Query(ge=0, le=MOST, description="Wait a moment until this position, a command's answer, is shown.")
    ] = None,
) -> None:
    await parts(request).caught_up(after)


class Identified(Protocol):
    @property
    def id(self) -> str: ...


Shown = TypeVar("Shown", bound=Identified)


@dataclass(frozen=True, slots=True)
class Cut:
    """Which part of a list is asked for."""

    before: Annotated[Id | None, Query(description="The last one of the page before.")] = None
    limit: Annotated[int, Query(ge=1, le=1000)] = 200

    def linked(self, response: Response, path: str, found: list[Shown], **asked: str) -> list[Shown]:
        """The list, and where there may be more, the next page in the header ``Link``."""
        if len(found) == self.limit:
            query = urlencode({**asked, "limit": self.limit, "before": found[-1].id})
            response.headers["Link"] = f'<{API}{path}?{query}>; rel="next"'
        return found


CutOf = Annotated[Cut, Depends()]


def named_command(
    request: Request,
    idempotency_key: Annotated[
        str | None,
        Header(
            min_length=1,
            max_length=255,
            description="Names the command: the same key again has no second effect and gives the first answer.",
        ),
    ] = None,
) -> str:
    # By path besides: a key that is used again for something else must not be taken for the first command.
    return command_id(f"{request.url.path} {idempotency_key}") if idempotency_key else uuid4().hex


PartsOf = Annotated[Parts, Depends(parts)]
CommandId = Annotated[str, Depends(named_command)]


def envelope(id: str) -> dict[str, Any]:
    """The part that all commands have."""
    return {"command_id": id, "actor": CALLER.get().actor, "correlation": id}


async def send(service: Parts, command: Command) -> Recorded:
    reply = await service.commands.send(command)
    position = reply.result.get("position")
    return Recorded(id=reply.id or command.command_id, position=position, result=reply.result)


async def plan_exists(service: Parts, plan: Id) -> None:
    """By its events, which the read model may not have yet. Raises ProblemError where there is none."""
    if not await service.reads.has_stream("plan", plan):
        raise not_found("plan", plan)


async def plan_of(service: Parts, plan: str) -> PlanDetail:
    """A page's plan, with the tasks of users and groups only. Raises ProblemError where there is none."""
    found = await service.reads.plan(plan, spaces=False)
    if found is None:
        raise not_found("plan", plan)
    return found
