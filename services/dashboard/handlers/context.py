"""What handlers share: the service's parts, who calls, and the command that a request is."""

import asyncio
from dataclasses import dataclass
from typing import Annotated, Any
from uuid import uuid4

from fastapi import Depends, Header, Query, Request

from services.dashboard.adapters.commands import Commands
from services.dashboard.adapters.reads import Reads
from services.dashboard.adapters.secrets import Secrets
from services.dashboard.domain.access import TOKEN_ACTOR, Access, command_id
from services.dashboard.domain.problems import ProblemError
from services.dashboard.domain.shapes import Recorded
from shared.events.commands import Command
from shared.events.projections.base import LogReader, ProjectionState
from shared.events.projections.runner import Runner

CATCH_UP = 5.0  # seconds a read waits for what a command has just done


@dataclass(frozen=True, slots=True)
class Parts:
    """The service, put together by ``app``. ``ending`` is set when the process is told to end: streams then close."""

    reads: Reads
    secrets: Secrets
    commands: Commands
    store: LogReader
    runners: tuple[Runner, ...]
    access: Access
    ending: asyncio.Event

    @property
    def position(self) -> int:
        """Everything up to here is shown by every read model."""
        return min((runner.state.position for runner in self.runners), default=0)

    @property
    def stalled(self) -> list[ProjectionState]:
        return [runner.state for runner in self.runners if runner.state.sentence is not None]

    async def caught_up(self, position: int | None) -> None:
        """Waits a moment for the read models to show ``position``; afterwards they show what they can."""
        if position:
            await asyncio.gather(*(runner.reached(position, CATCH_UP) for runner in self.runners))


def parts(request: Request) -> Parts:
    found: Parts = request.app.state.parts
    return found


def authorized(request: Request) -> None:
    """The API takes the bearer token only: no cookie, so no other site can make a browser call it."""
    if not parts(request).access.bearer(request.headers.get("authorization")):
        raise ProblemError(
            "unauthorized",
            401,
            "The request carries no valid bearer token.",
            "Send 'Authorization: Bearer <token>'; `cloudward up` writes the token into the data folder.",
        )


async def shown(
    request: Request,
    after: Annotated[
        int | None, Query(ge=0, description="Wait a moment until this position, a command's answer, is shown.")
    ] = None,
) -> None:
    await parts(request).caught_up(after)


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
    return {"command_id": id, "actor": TOKEN_ACTOR, "correlation": id}


async def send(service: Parts, command: Command) -> Recorded:
    reply = await service.commands.send(command)
    position = reply.result.get("position")
    return Recorded(id=reply.id or command.command_id, position=position, result=reply.result)
