"""Commands for the tests of the store."""

from shared.events.catalog.chunk import ChunkClaimed
from shared.events.catalog.plan import PlanStarted
from shared.events.contract import Actor, Context, Event
from shared.events.store import Append, Guard
from shared.events.types import new_id

CONTEXT = Context(actor=Actor(kind="service", key="0" * 32), correlation="1" * 32, causation="2" * 32, command="3" * 32)


def plan() -> str:
    return "plan-" + new_id()


def started(stream: str) -> Event:
    return PlanStarted(plan=stream.partition("-")[2], consent="given")


def claimed(stream: str) -> Event:
    return ChunkClaimed(
        chunk=stream.partition("-")[2], epoch=1, task="4" * 32, worker="5" * 32, attempt=1, purpose="work"
    )


def command(
    stream: str, expected: int = -1, count: int = 1, *, ids: list[str] | None = None, guards: tuple[Guard, ...] = ()
) -> Append:
    """A command that appends ``count`` events to a stream of plans or chunks."""
    make = claimed if stream.startswith("chunk-") else started
    names = ids or [new_id() for _ in range(count)]
    return Append(stream, expected, tuple((name, make(stream)) for name in names), CONTEXT, guards)
