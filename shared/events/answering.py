"""Answers commands: one queue per service, so that each command reaches one replica, and a reply for everyone who asks.

On NATS are ids only: command and reply lie in ``people.letter``.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from faststream.nats import NatsBroker, NatsMessage
from opentelemetry.trace import SpanKind
from pydantic import ValidationError

from shared.events.commands import Command, Problem, Reply
from shared.events.letters import Answered, Letter, Letters
from shared.events.store import UNAVAILABLE
from shared.events.types import derived_id
from shared.ops import tracing

log = structlog.get_logger(__name__)

_SERVICES = "5c1f0f7e6b5d4f2e9a3b7c8d9e0f1a2b"


def service_key(name: str) -> str:
    """The actor key of a service: the same for all its replicas and for ever."""
    return derived_id(_SERVICES, name)


def answer(
    broker: NatsBroker,
    owner: str,
    command_type: type[Command],
    handle: Callable[[Any], Awaitable[Reply]],
    letters: Letters,
) -> None:
    """Subscribes ``handle`` to the command's subject."""

    subject = command_type.SUBJECT
    attributes = {
        "messaging.system": "nats",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.template": subject,
    }

    async def respond(letter: Letter, message: NatsMessage) -> Answered:
        parent = message.headers.get(tracing.HEADER)
        with tracing.span(f"process {subject}", SpanKind.CONSUMER, attributes, parent=parent) as span:
            try:
                text = await letters.open(letter.letter)
                if text is None:
                    return _without_names(
                        "letter_lost", 409, f"The {owner} did not find the command.", "Send it again."
                    )
                command = command_type.model_validate_json(text)
                ids = {"correlation_id": command.correlation, "command_id": command.command_id}
                span.set_attributes(ids)
                with structlog.contextvars.bound_contextvars(**ids):
                    await letters.answer(letter.letter, await decided(command))
                return Answered()
            except ValidationError:
                log.warning("command not understood", type=command_type.__name__)
                return _without_names(
                    "command_unreadable",
                    502,
                    f"The {owner} does not understand the command.",
                    "Update the services to one release.",
                )
            except UNAVAILABLE as error:
                log.warning("command not decided", type=command_type.__name__, error=type(error).__name__)
                return _without_names(
                    "store_unavailable",
                    503,
                    "The event store does not answer.",
                    "Send the command again with the same idempotency key in a moment.",
                )

    async def decided(command: Command) -> Reply:
        try:
            reply = await handle(command)
        except UNAVAILABLE:
            raise
        except Exception as error:
            log.exception("command failed", type=type(command).__name__, error=type(error).__name__)
            return Reply(
                problem=Problem(
                    code="unexpected_error",
                    status=500,
                    detail=f"The {owner} could not decide about it.",
                    way_on=f"See the log of the {owner} under this correlation: {command.correlation}.",
                )
            )
        log.info("command answered", type=type(command).__name__, problem=reply.problem and reply.problem.code)
        return reply

    broker.subscriber(command_type.SUBJECT, queue=owner)(respond)


def _without_names(code: str, status: int, detail: str, way_on: str) -> Answered:
    return Answered(problem=Problem(code=code, status=status, detail=detail, way_on=way_on))
