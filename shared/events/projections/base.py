"""What a projection is.

A projection's tables are a function of the log up to its checkpoint and of nothing else: no clock, no other table, no
random value. Only then can it be rebuilt and compared. All its SQL takes the schema as a parameter, because a rebuild
applies the same events to tables of the same shape in another schema.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Protocol, TypeAlias

import asyncpg

from shared.events.contract import Recorded

# As text: asyncpg's classes take parameters in its type stubs only.
Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record] | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"
Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Projection(Protocol):
    """``name``: key of its row in ``<schema>.checkpoint(name, position)``. ``tables``: the tables it alone fills.

    ``apply`` folds consecutive rows of the log into the tables of ``schema``, inside the caller's transaction. It
    raises UnknownEvent or BadEvent for a row it cannot read; any other exception counts against the row at which it
    was raised.
    """

    @property
    def name(self) -> str: ...

    @property
    def schema(self) -> str: ...

    @property
    def tables(self) -> tuple[str, ...]: ...

    async def apply(self, connection: Connection, rows: Sequence[Recorded], schema: str) -> None: ...


class LogReader(Protocol):
    """The part of the event store that projections read."""

    async def read_log(self, after: int, limit: int) -> list[Recorded]: ...

    async def wait_beyond(self, position: int, timeout: float) -> Any: ...


class Status(StrEnum):
    RUNNING = "running"
    NEWER_RELEASE_NEEDED = "newer_release_needed"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class ProjectionState:
    """Where a projection stands. ``position``: applied up to here. ``stopped_at``: the event it cannot pass."""

    name: str
    position: int
    status: Status = Status.RUNNING
    stopped_at: int | None = None
    error: str | None = None  # a class of error, never its text

    @property
    def sentence(self) -> str | None:
        """What is wrong and what to do, for people; None when nothing is."""
        if self.status is Status.NEWER_RELEASE_NEEDED:
            return (
                f"“{self.name}” stands still before event {self.stopped_at}, which a newer release wrote."
                " A newer release is needed: update this service."
            )
        if self.status is Status.STOPPED:
            return (
                f"“{self.name}” stands still before event {self.stopped_at} ({self.error})."
                " What it shows is true up to there. Update this service, or report the event's position."
            )
        return None


@dataclass(frozen=True, slots=True)
class Difference:
    """A row that only the live table (``side`` "live") or only the log (``side`` "log") has."""

    table: str
    side: str
    row: dict[str, Any]


def moment(micros: int) -> datetime:
    """The time of an event as Postgres keeps it. Exact: a float would not hold microseconds."""
    return _EPOCH + timedelta(microseconds=micros)


def identifier(name: str) -> str:
    """A name that may stand in SQL as it is. Names come from code, never from input; this keeps it so."""
    if not name.isascii() or not name.replace("_", "a").isalnum() or name[0].isdigit():
        raise ValueError(f"{name!r} is not a plain identifier")
    return name


async def checkpoint(connection: Connection, projection: Projection, *, lock: bool = False) -> int:
    """The projection's position, 0 before its first event. ``lock``: nobody else moves it until the transaction
    ends."""
    schema = identifier(projection.schema)
    if lock:
        await connection.execute(
            f"INSERT INTO {schema}.checkpoint VALUES ($1, 0) ON CONFLICT (name) DO NOTHING", projection.name
        )
    suffix = " FOR UPDATE" if lock else ""
    found = await connection.fetchval(
        f"SELECT position FROM {schema}.checkpoint WHERE name = $1{suffix}", projection.name
    )
    return int(found or 0)


async def set_checkpoint(connection: Connection, projection: Projection, position: int) -> None:
    await connection.execute(
        f"UPDATE {identifier(projection.schema)}.checkpoint SET position = $2 WHERE name = $1",
        projection.name,
        position,
    )
