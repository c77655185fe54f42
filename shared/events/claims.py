"""Claims and leases: how a worker gets the sole right to work on a chunk, keeps it, and hands in what it did.

The claim is an event, with the chunk's expected version and guards on the plan and the task: in the log every claim stands
before a stop or does not exist. The lease is a row with a deadline by the database's clock; the worker goes by its own
monotonic clock, and stops writing well before anyone else may take over. A worker that lost its lease appends nothing:
its expected version is no longer true.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Literal

import asyncpg
import structlog
from opentelemetry.trace import SpanKind

from shared.events.catalog.chunk import (
    ChunkClaimed,
    ChunkEnded,
    ChunkReleased,
    Difference,
    EntityEnded,
    InventoryResult,
    InvitationBegun,
)
from shared.events.catalog.work import Entity, Kind, Phase
from shared.events.contract import Actor, BadEvent, Context, Event, UnknownEvent
from shared.events.reasons import Reason
from shared.events.restoring import restored_since_start
from shared.events.store import UNAVAILABLE, Append, EventStore, Guard
from shared.events.types import derived_id, new_id
from shared.ops import metrics, tracing
from shared.ops.settings import Settings

log = structlog.get_logger(__name__)


class LeaseLost(Exception):
    """The right to work on the chunk is gone: send no write, append nothing."""


class Busy(Exception):
    """The chunk may be claimable in a moment: the plan or task changed just now."""


@dataclass(frozen=True, slots=True)
class Work:
    """A chunk as planned. ``first`` to ``last``: ordinals of the task's inventory, of the phase's kind and this depth."""

    chunk: str
    task: str
    plan: str | None
    phase: Phase
    depth: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class History:
    """What the chunk's own stream says. ``recorded``: entities that already have their outcome."""

    version: int = -1
    epoch: int = 0
    works: int = 0  # claims for work that did not end in a release
    open_claim: bool = False
    ended: bool = False
    progressed: bool = False  # an entity was recorded since the last claim
    recorded: frozenset[tuple[Kind, str]] = frozenset()
    begun: frozenset[str] = frozenset()  # people whose invitation may have been sent


def fold(events: Sequence[tuple[int, Event]]) -> History:
    """The history of a chunk from its (version, event) pairs."""
    version, epoch, works, open_claim, ended, progressed = -1, 0, 0, False, False, False
    recorded: set[tuple[Kind, str]] = set()
    begun: set[str] = set()
    for at, event in events:
        version = at
        match event:
            case ChunkClaimed():
                epoch, open_claim, progressed = event.epoch, True, False
                works += event.purpose == "work"
            case EntityEnded():
                recorded.add((event.entity.kind, event.entity.id))
                progressed = True
            case InvitationBegun():
                begun.add(event.person)
            case ChunkReleased():
                recorded |= {(e.kind, e.id) for e in event.entities}
                open_claim, works = False, works - 1
            case ChunkEnded():
                recorded |= {(e.kind, e.id) for e in event.entities}
                open_claim, ended = False, True
            case _:
                pass
    return History(version, epoch, works, open_claim, ended, progressed, frozenset(recorded), frozenset(begun))


# From this attempt on, entities are recorded one by one; after so many the one under way is given up.
ONE_BY_ONE, GIVE_UP_AFTER = 3, 5


@dataclass(slots=True)
class Claim:
    """A chunk in hand. Use ``async with``; inside, ``check_write`` before every write to the site."""

    work: Work
    purpose: Literal["work", "settle"]
    epoch: int
    attempt: int
    recorded: frozenset[tuple[Kind, str]]
    begun: frozenset[str]
    give_up_first: bool
    settled_as: Reason  # what a settler records of an entity that it does not find on the site
    _claims: "Claims"
    _version: int
    _deadline: float
    progress: dict[str, Any] = field(default_factory=dict)
    _renewal: asyncio.Task[None] | None = None
    _lost: bool = False
    _ended: bool = False
    _stopping: bool = False
    _began: float = 0.0

    @property
    def one_by_one(self) -> bool:
        return self.attempt >= ONE_BY_ONE

    @property
    def look_first(self) -> bool:
        """An earlier attempt may have made what this one is about to make."""
        return self.attempt > 1 or self.purpose == "settle"

    @property
    def draining(self) -> bool:
        """The process is shutting down: release the chunk between two entities."""
        return self._claims.draining.is_set()

    async def rest(self, seconds: float) -> bool:
        """Waits. True, at once, if the wait is useless: the process is shutting down, or the plan is to stop.

        What an earlier attempt may have made is waited for even then: only the site can tell what is there.
        """
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if self.draining or (self._stopping and not self.look_first):
                return True
            await asyncio.sleep(min(left, 0.25))
        return False

    def check_write(self) -> None:
        """Raises LeaseLost when a write may no longer be sent."""
        if self._lost or time.monotonic() >= self._deadline or self.purpose == "settle":
            raise LeaseLost(self.work.chunk)

    async def __aenter__(self) -> "Claim":
        self._began = time.monotonic()
        self._renewal = asyncio.create_task(self._renew(), name=f"lease {self.work.chunk}")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._renewal:
            self._renewal.cancel()
            with suppress(asyncio.CancelledError):
                await self._renewal
        if self._ended:
            await self._claims.drop_lease(self.work.chunk, self.epoch)
        else:
            metrics.CHUNKS.labels(self.work.phase.value, "lost" if self._lost else "interrupted").inc()

    @property
    def unanswered(self) -> list[str]:
        """People whose invitation may have been sent, and who have no outcome."""
        return sorted(person for person in self.begun if (Kind.INVITATION, person) not in self.recorded)

    async def invitation_begun(self, person: str) -> None:
        await self._append(InvitationBegun(chunk=self.work.chunk, epoch=self.epoch, person=person), f"begun:{person}")
        self.begun |= {person}

    async def entity_ended(self, entity: Entity) -> None:
        await self._append(EntityEnded(chunk=self.work.chunk, epoch=self.epoch, entity=entity), entity.kind + entity.id)
        _count([entity])
        self.recorded |= {(entity.kind, entity.id)}

    async def release(self, entities: Sequence[Entity]) -> None:
        await self._append(ChunkReleased(chunk=self.work.chunk, epoch=self.epoch, entities=tuple(entities)), "released")
        self._ended = True
        _count(entities)
        metrics.CHUNKS.labels(self.work.phase.value, "released").inc()

    async def end(
        self,
        entities: Sequence[Entity],
        *,
        inventory: InventoryResult | None = None,
        fatal: Reason | None = None,
        strays: Sequence[str] = (),
        differences: Sequence[Difference] = (),
        mended: Sequence[Difference] = (),
    ) -> None:
        event = ChunkEnded(
            chunk=self.work.chunk,
            epoch=self.epoch,
            entities=tuple(entities),
            inventory=inventory,
            fatal=fatal,
            strays=tuple(strays),
            differences=tuple(differences),
            mended=tuple(mended),
        )
        await self._append(event, "ended")
        self._ended = True
        _count(entities)
        phase = self.work.phase.value
        metrics.CHUNKS.labels(phase, "fatal" if fatal else "settled" if self.purpose == "settle" else "ended").inc()
        metrics.CHUNK_SECONDS.labels(phase).observe(time.monotonic() - self._began)

    async def _append(self, event: Event, name: str) -> None:
        claims = self._claims
        result = await claims.store.append(
            Append(
                stream=f"chunk-{self.work.chunk}",
                expected=self._version,
                events=((derived_id(self.work.chunk, f"{self.epoch}:{name}"), event),),
                context=claims.context(self.work),
            )
        )
        if result.outcome not in ("appended", "duplicate") or result.version is None:
            self._lost = True
            raise LeaseLost(self.work.chunk)
        self._version = result.version

    async def _renew(self) -> None:
        claims, settings = self._claims, self._claims.settings
        while not self._lost:
            await asyncio.sleep(settings.lease_renewal)
            sent = time.monotonic()
            try:
                kept = await claims.pool.fetchrow(
                    "UPDATE work.lease SET expires_at = clock_timestamp() + make_interval(secs => $4), progress = $5"
                    " WHERE chunk = $1 AND epoch = $2 AND worker = $3 AND expires_at > clock_timestamp() RETURNING"
                    " (SELECT p.stop_requested FROM work.chunk k JOIN work.plan p USING (plan) WHERE k.chunk = $1)",
                    self.work.chunk,
                    self.epoch,
                    claims.worker,
                    settings.lease,
                    self.progress,
                    timeout=settings.request_timeout,
                )
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                log.warning("lease not renewed", chunk=self.work.chunk, error=type(error).__name__)
                continue  # the deadline stands where the last success put it
            if not kept:
                self._lost = True
                log.warning("lease lost", chunk=self.work.chunk, epoch=self.epoch)
                return
            self._deadline = sent + settings.lease - settings.request_timeout
            self._stopping = bool(kept["stop_requested"])


class Claims:
    """Takes chunks for one worker process."""

    def __init__(self, store: EventStore, pool: asyncpg.Pool, settings: Settings, service_key: str) -> None:
        self.store, self.pool, self.settings = store, pool, settings
        self.worker = new_id()
        self.draining = asyncio.Event()
        self._causes: dict[str, str | None] = {}
        self._actor = Actor(kind="service", key=service_key, authentication="database_role")

    def context(self, work: Work) -> Context:
        return Context(actor=self._actor, correlation=work.plan or work.task, causation=work.chunk)

    @asynccontextmanager
    async def traced(self, claim: "Claim") -> AsyncIterator[None]:
        """A trace of its own for the chunk, linked to the command that led to it."""
        work, link = claim.work, None
        if tracing.on():
            stream = f"plan-{work.plan}" if work.plan is not None else f"analysis-{work.task}"
            if self._causes.get(stream) is None:
                traces = [r.context.trace for r in await self.store.read_stream(stream)]
                self._causes[stream] = next((trace for trace in reversed(traces) if trace), None)
            link = self._causes[stream]
        ids = {"chunk": work.chunk, "plan": work.plan or "", "phase": work.phase.value, "attempt": claim.attempt}
        with tracing.span(
            f"chunk {work.phase.value}", SpanKind.CONSUMER, {**ids, "epoch": claim.epoch}, link=link, new=True
        ):
            yield

    async def take(self, chunk: str) -> Claim | None:
        """The claim on a chunk, or None where there is nothing to do. Raises Busy where a moment later there may be."""
        row = await self.pool.fetchrow(
            "SELECT k.*, p.status, p.stop_requested, p.paused, p.stuck, p.version AS plan_version, t.state AS task_state,"
            " t.version AS task_version FROM work.chunk k LEFT JOIN work.plan p ON p.plan = k.plan"
            " LEFT JOIN work.task t ON t.task = k.task WHERE k.chunk = $1",
            chunk,
        )
        if row is None or row["state"] == "ended":
            return None
        work = Work(
            chunk,
            row["task"],
            row["plan"],
            Phase(row["phase"]),
            row["depth"],
            row["first_ordinal"],
            row["last_ordinal"],
        )
        try:
            history = fold([(r.version, r.event) for r in await self.store.read_stream(f"chunk-{chunk}")])
        except (BadEvent, UnknownEvent) as error:
            log.warning("a chunk whose events this release cannot read", chunk=chunk, position=error.position)
            return None
        if history.ended:
            return None
        purpose = _purpose(row, history)
        if purpose is None:
            return None
        guards: tuple[Guard, ...] = ()
        if work.plan is not None:
            guards = (
                Guard(f"plan-{work.plan}", row["plan_version"]),
                Guard(f"task-{work.task}", row["task_version"]),
            )
        epoch, sent = history.epoch + 1, time.monotonic()
        if not await self._lease(chunk, epoch, history):
            return None
        attempt = history.works + 1
        if work.plan is not None and await restored_since_start(self.pool, work.plan):
            attempt += 1  # what the log does not know of any more may be on the site
        claimed = ChunkClaimed(
            chunk=chunk,
            epoch=epoch,
            task=work.task,
            plan=work.plan,
            worker=self.worker,
            attempt=attempt,
            purpose=purpose,
        )
        result = await self.store.append(
            Append(f"chunk-{chunk}", history.version, ((new_id(), claimed),), self.context(work), guards)
        )
        if not result.recorded or result.version is None:  # a duplicate is this very claim, its first answer lost
            await self.drop_lease(chunk, epoch)
            raise Busy(chunk)
        metrics.CHUNK_ATTEMPTS.labels("first" if attempt == 1 else "retry").inc()
        if history.open_claim:
            metrics.LEASES_EXPIRED.inc()
        return Claim(
            work=work,
            purpose=purpose,
            epoch=epoch,
            attempt=attempt,
            recorded=history.recorded,
            begun=history.begun,
            give_up_first=purpose == "work" and history.works >= GIVE_UP_AFTER and not history.progressed,
            settled_as=Reason.PLAN_STOPPED if row["stop_requested"] else Reason.SPACE_FAILED,
            _claims=self,
            _version=result.version,
            _deadline=sent + self.settings.lease - self.settings.request_timeout,
        )

    async def _lease(self, chunk: str, epoch: int, history: History) -> bool:
        """Enters the lease of the new epoch, if the one before is over and nobody else just did."""
        if history.open_claim:
            live = await self.pool.fetchval(
                "SELECT coalesce((SELECT expires_at FROM work.lease WHERE chunk = $1 AND epoch = $2),"
                " (SELECT recorded_at + make_interval(secs => $3) FROM log.events WHERE stream = $4 AND version = $5))"
                " + make_interval(secs => $6) > clock_timestamp()",
                chunk,
                epoch - 1,
                self.settings.lease,
                f"chunk-{chunk}",
                history.version,
                self.settings.request_timeout,
            )
            if live:
                return False
        return bool(
            await self.pool.fetchval(
                "INSERT INTO work.lease AS l (chunk, epoch, worker, expires_at)"
                " VALUES ($1, $2, $3, clock_timestamp() + make_interval(secs => $4))"
                " ON CONFLICT (chunk, epoch) DO UPDATE SET worker = excluded.worker, expires_at = excluded.expires_at"
                " WHERE l.expires_at + make_interval(secs => $5) < clock_timestamp() RETURNING true",
                chunk,
                epoch,
                self.worker,
                self.settings.lease,
                self.settings.request_timeout,
            )
        )

    async def take_hinted(self, hint: bytes) -> "Claim | float | None":
        """The claim on a hint's chunk; None where there is nothing to do; seconds to wait where a look later is worth it."""
        try:
            return await self.take(str(json.loads(hint)["chunk"]))
        except Busy:
            return 0.2
        except (ValueError, KeyError, TypeError):
            log.warning("a hint that is none", size=len(hint))
            return None
        except UNAVAILABLE as error:
            log.warning("claim not possible now", error=type(error).__name__)
            return 2.0

    async def drop_lease(self, chunk: str, epoch: int) -> None:
        with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            await self.pool.execute(
                "DELETE FROM work.lease WHERE chunk = $1 AND epoch = $2 AND worker = $3", chunk, epoch, self.worker
            )


def _count(entities: Sequence[Entity]) -> None:
    for entity in entities:
        metrics.ENTITIES.labels(entity.kind.value, entity.outcome.value).inc()


def _purpose(row: Any, history: History) -> Literal["work", "settle"] | None:
    """What a claim is for, as plan and task stand: work while both run, settle what a dead worker left, else nothing."""
    if row["plan"] is None:
        return "work"  # an analysis
    over = row["stop_requested"] or row["task_state"] == "failing"
    if row["status"] == "RUNNING" and row["task_state"] == "running" and not over:
        return None if row["paused"] or row["stuck"] is not None else "work"
    if row["status"] == "RUNNING" and over and history.open_claim:
        return "settle"
    return None
