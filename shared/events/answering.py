"""Answers commands: one queue per service, so that each command reaches one replica, and a reply for everyone who asks."""

from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from faststream.nats import NatsBroker, NatsMessage
from opentelemetry.trace import SpanKind

from shared.events.commands import Command, Problem, Reply
from shared.events.store import UNAVAILABLE
from shared.events.types import derived_id
from shared.ops import tracing

log = structlog.get_logger(__name__)

_SERVICES = "5c1f0f7e6b5d4f2e9a3b7c8d9e0f1a2b"


def service_key(name: str) -> str:
    """The actor key of a service: the same for all its replicas and for ever."""
    return derived_id(_SERVICES, name)


def answer(
    broker: NatsBroker, owner: str, command_type: type[Command], handle: Callable[[Any], Awaitable[Reply]]
) -> None:
    """Subscribes ``handle`` to the command's subject."""

    subject = command_type.SUBJECT
    attributes = {
        "messaging.system": "nats",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.template": subject,
    }

    async def respond(command: Command, message: NatsMessage) -> Reply:
        ids = {"correlation_id": command.correlation, "command_id": command.command_id}
        parent = message.headers.get(tracing.HEADER)
        with (
            structlog.contextvars.bound_contextvars(**ids),
            tracing.span(f"process {subject}", SpanKind.CONSUMER, {**attributes, **ids}, parent=parent),
        ):
            try:
                reply = await handle(command)
            except UNAVAILABLE as error:
                log.warning("command not decided", type=type(command).__name__, error=type(error).__name__)
                return Reply(
                    problem=Problem(
                        code="store_unavailable",
                        status=503,
                        detail="The event store does not answer.",
                        way_on="Send the command again with the same idempotency key in a moment.",
                    )
                )
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

    respond.__annotations__["command"] = command_type
    broker.subscriber(command_type.SUBJECT, queue=owner)(respond)
