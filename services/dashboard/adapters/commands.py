"""Commands to the services that own the decision: NATS request/reply about a letter in the database."""

import asyncio
from typing import Protocol

import nats.errors
from nats.aio.client import Client
from opentelemetry.trace import SpanKind
from pydantic import ValidationError

from services.dashboard.domain.problems import ProblemError
from shared.events.commands import Command, Reply
from shared.events.letters import Answered, Letter, Letters
from shared.ops import tracing


class Commands(Protocol):
    """Sends a command to its owner. Raises ProblemError if it is refused or nobody answers."""

    async def send(self, command: Command) -> Reply: ...


class NatsCommands:
    """``patience``: seconds within which a service that is just starting may appear; ``timeout``: for one answer;
    ``attempts``: how often a command is sent that is not answered in that time. What went to a connection that died
    unnoticed is lost, and no command takes effect twice."""

    def __init__(
        self, client: Client, letters: Letters, *, patience: float = 10.0, timeout: float = 5.0, attempts: int = 3
    ) -> None:
        self._client, self._letters = client, letters
        self._patience, self._timeout, self._attempts = patience, timeout, attempts

    async def send(self, command: Command) -> Reply:
        attributes = {
            "messaging.system": "nats",
            "messaging.operation.name": "send",
            "messaging.operation.type": "send",
            "messaging.destination.template": command.SUBJECT,
            "command_id": command.command_id,
        }
        with tracing.span(f"send {command.SUBJECT}", SpanKind.PRODUCER, attributes):
            return await self._send(command)

    async def _send(self, command: Command) -> Reply:
        owner = command.SUBJECT.split(".")[1]
        letter = await self._letters.post(command)
        message = Letter(letter=letter).model_dump_json().encode()
        deadline, left = asyncio.get_running_loop().time() + self._patience, self._attempts
        while True:
            try:
                answer = await self._client.request(
                    command.SUBJECT,
                    message,
                    timeout=self._timeout,
                    headers=tracing.headers() or None,
                )
                break
            except nats.errors.NoRespondersError:
                # Nobody has seen the command: it may be sent again without further thought.
                if asyncio.get_running_loop().time() > deadline:
                    await self._letters.take(letter)
                    raise ProblemError(
                        "service_unavailable",
                        503,
                        f"The {owner} does not run, so nothing was recorded.",
                        f"Start the {owner}, then repeat the request.",
                    ) from None
                await asyncio.sleep(0.25)
            except (nats.errors.Error, OSError, TimeoutError) as error:
                left -= 1
                if left and isinstance(error, TimeoutError):
                    continue
                raise ProblemError(
                    "outcome_unknown",
                    504,
                    f"The {owner} did not answer in time; the command may have been recorded.",
                    "Repeat the request with the same Idempotency-Key: it cannot take effect twice.",
                ) from error
        text = await self._letters.take(letter)
        try:
            if text is None and (problem := Answered.model_validate_json(answer.data).problem) is not None:
                raise ProblemError.of(problem)
            reply = Reply.model_validate_json(text or "")
        except ValidationError as error:
            raise ProblemError(
                "bad_reply",
                502,
                f"The {owner} gave an answer that this release does not understand.",
                "Update the services to one release.",
            ) from error
        if reply.problem is not None:
            raise ProblemError.of(reply.problem)
        return reply
