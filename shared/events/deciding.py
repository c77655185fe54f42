"""What command handlers of every service have in common: one effect per command, appended with an expected version."""

from typing import Any

from shared.events.commands import Command, Problem, Reply
from shared.events.contract import Context, Event
from shared.events.store import Append, EventStore
from shared.events.types import derived_id


def refused(code: str, detail: str, way_on: str, status: int = 409, **more: Any) -> Reply:
    """A refusal: what and why, and what the user can do. ``status`` is the HTTP status of the API's answer."""
    return Reply(problem=Problem(code=code, status=status, detail=detail, way_on=way_on, **more))


OVERTAKEN = "overtaken"


class Decider:
    """Base of command handlers. A command's first event has an id that follows from the command's."""

    def __init__(self, store: EventStore) -> None:
        self._store = store

    async def recorded(self, command: Command) -> Reply | None:
        """The answer that an earlier delivery of the same command got; None for a new one."""
        row = await self._store.event(derived_id(command.command_id, "0"))
        if row is None:
            return None
        return Reply(id=row.stream_id, result={"position": row.position})

    async def decide(self, command: Command, stream: str, expected: int, event: Event) -> Reply:
        """Appends the decision to ``stream``, and answers with the id of what the stream is about."""
        context = Context(
            actor=command.actor,
            correlation=command.correlation,
            causation=command.command_id,
            command=command.command_id,
        )
        entry = (derived_id(command.command_id, "0"), event)
        result = await self._store.append(Append(stream, expected, (entry,), context))
        if result.recorded:
            return Reply(id=stream.partition("-")[2], result={"position": result.position})
        if result.outcome == "mismatch":
            return refused("key_reused", "This idempotency key was used for another command.", "Use a new key.", 422)
        return refused(OVERTAKEN, "Something else happened to it at the same moment.", "Look again, then repeat.")
