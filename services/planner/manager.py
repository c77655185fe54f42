"""The process manager: reads the log, keeps the tables of work, and decides what each plan and task needs next.

It pages the log by position. One transaction writes the projection and the checkpoint; only after it, decisions are made
from what is then in the tables and appended with expected versions and derived ids. Decisions look at the state, not at
the event that led there, so one that was lost with a crash is made the next time anybody looks. Two managers at once are
harmless: one conflicts and looks again.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import asyncpg
import structlog

from services.planner import endings, logins
from services.planner.domain import plans, tasks
from services.planner.slices import cut
from services.planner.starting import Starting, check_of
from shared.confluence.spacekey import site_key
from shared.events.catalog.chunk import ChunkEnded
from shared.events.catalog.plan import (
    PlanFailed,
    PlanFinished,
    PlanStarted,
    PlanStartRefused,
    PlanStopped,
    PlanStuck,
)
from shared.events.catalog.target import SpaceReleased, SpaceReserved
from shared.events.catalog.task import InventoryTaken, PhasePlanned, SpaceFailing, TaskEnding, TaskStarted
from shared.events.catalog.work import Kind, Phase, TaskKind
from shared.events.contract import Actor, BadEvent, Context, Event, Recorded, UnknownEvent
from shared.events.projections.work import WorkProjection
from shared.events.reasons import Reason
from shared.events.store import UNAVAILABLE, Append, EventStore, Guard
from shared.events.types import derived_id, new_id
from shared.ops.settings import Settings

log = structlog.get_logger(__name__)

_CHECKPOINT = "work"
_PAGE = 500
_MOST_KNOWN = 1000
# Phases of a space up to its last page; once planned beyond them, links to its pages can be resolved.
_BEFORE_LINKS = (Phase.INVENTORY.value, Phase.SPACE.value, Phase.PAGE.value, Phase.BLOGPOST.value)
# Before this phase of a task the space's key on the site has to be its own.
_RESERVES = {TaskKind.SPACE: Phase.SPACE, TaskKind.UNDO: Phase.INVENTORY}


class _Overtaken(Exception):
    """The log has moved on since the tables were read: decide when they have."""


def _is_passing(error: Exception) -> bool:
    """Trouble of the database, not of a plan: everything is tried again, by this leader or the next."""
    if isinstance(error, ValueError):  # a value that asyncpg cannot send is an InterfaceError too
        return False
    return isinstance(
        error,
        (
            *UNAVAILABLE,
            asyncpg.OperatorInterventionError,
            asyncpg.InsufficientResourcesError,
            asyncpg.TransactionRollbackError,
            asyncpg.LockNotAvailableError,
            asyncpg.ReadOnlySQLTransactionError,
        ),
    )


class Manager:
    """``step`` once for each turn of the leader's loop."""

    def __init__(self, store: EventStore, pool: asyncpg.Pool, settings: Settings, service_key: str) -> None:
        self._store, self._pool, self._settings = store, pool, settings
        self._actor = Actor(kind="service", key=service_key, authentication="database_role")
        self._projection = WorkProjection()
        self._position: int | None = None
        self._dirty_tasks: set[str] = set()
        self._dirty_plans: set[str] = set()
        self._plans: dict[str, plans.Plan] = {}
        self._depths_of: dict[tuple[str, int], dict[Kind, list[int]]] = {}  # by task and its inventory's epoch
        self._linkable: set[str] = set()  # plans all of whose pages are on the site

    @property
    def position(self) -> int:
        """The manager's checkpoint: everything up to here is in the tables."""
        return self._position or 0

    async def start(self) -> None:
        """Takes up where the last leader left: every running plan is looked at anew."""
        self._position = (
            await self._pool.fetchval("SELECT position FROM work.checkpoint WHERE name = $1", _CHECKPOINT) or 0
        )
        await self.look_at_all()

    async def start_due(self) -> None:
        """Starts the plans whose time has come; where a check forbids it, that is recorded and the plan stays READY."""
        due = await self._pool.fetch(
            "SELECT plan, version FROM work.plan WHERE status = 'READY' AND NOT archived AND start_at <= clock_timestamp()"
        )
        for row in due:
            plan = await self._plan(row["plan"])
            if plan is None or plan.start_at is None or plan.version != row["version"]:
                continue  # the tables or the log have moved on: it is looked at again
            prepared = await Starting(self._store, self._pool, self._settings.least_release).prepare(
                plan.saved, False, scheduled=True
            )
            event: Event
            if isinstance(prepared, PlanStarted):
                event = prepared
            else:
                code = prepared.problem.code if prepared.problem else ""
                event = PlanStartRefused(plan=plan.id, check=check_of(code))
            await self._append(
                f"plan-{plan.id}", plan.version, derived_id(plan.id, f"due:{plan.version}"), event, plan.id
            )

    async def forget_dry_runs(self) -> None:
        """What dry runs kept beside the log goes when they have ended."""
        ended = [
            r["ledger"]
            for r in await self._pool.fetch(
                "SELECT ledger FROM work.plan WHERE ledger <> site AND status IN ('FINISHED', 'FAILED', 'STOPPED')"
            )
        ]
        if ended:
            await self._pool.execute("DELETE FROM people.dry_object WHERE ledger = ANY($1)", ended)
            await self._pool.execute("DELETE FROM people.account WHERE site = ANY($1)", ended)
            await self._pool.execute("DELETE FROM people.site_group WHERE site = ANY($1)", ended)
            await self._pool.execute("DELETE FROM work.taken WHERE site = ANY($1)", ended)

    async def mind_logins(self) -> None:
        await logins.mind(self._store, self._pool, self._append)

    async def look_at_all(self) -> None:
        self._dirty_plans |= {
            r["plan"] for r in await self._pool.fetch("SELECT plan FROM work.plan WHERE status = 'RUNNING'")
        }
        self._dirty_tasks |= {
            r["task"]
            for r in await self._pool.fetch(
                "SELECT task FROM work.task t JOIN work.plan p USING (plan) WHERE p.status = 'RUNNING' AND t.state <> 'ended'"
            )
        }

    async def step(self) -> bool:
        """One page of the log and the decisions that follow; false when there was nothing new."""
        rows: Sequence[Recorded] = await self._store.read_log(self.position, _PAGE)
        if rows:
            rows = await self._project(rows)
        if len(rows) < _PAGE:
            await self._decide()
        return bool(rows)

    async def _project(self, rows: Sequence[Recorded]) -> Sequence[Recorded]:
        """Effect and checkpoint in one transaction. An unknown type stops before it: a newer release must lead."""
        unknown: UnknownEvent | None = None
        known: list[Recorded] = []
        for row in rows:
            try:
                if row.category in ("plan", "task", "chunk", "analysis", "site"):
                    _ = row.event
            except UnknownEvent as error:
                unknown = error
                break
            except BadEvent as error:  # the projection notes it as poison
                log.warning("event cannot be read", position=row.position, error=str(error))
            known.append(row)
        if known:
            async with self._pool.acquire() as connection, connection.transaction():
                advanced = await connection.fetchval(
                    "INSERT INTO work.checkpoint AS c VALUES ($1, $2) ON CONFLICT (name)"
                    " DO UPDATE SET position = excluded.position WHERE c.position = $3 RETURNING true",
                    _CHECKPOINT,
                    known[-1].position,
                    self.position,
                )
                if not advanced:  # another manager was here: read its checkpoint and go on from there
                    self._position = await connection.fetchval(
                        "SELECT position FROM work.checkpoint WHERE name = $1", _CHECKPOINT
                    )
                    self._plans.clear()
                    await self.look_at_all()
                    return known
                await self._projection.apply(connection, known, "work")
            self._position = known[-1].position
            for row in known:
                await self._mark(row)
            await self._report_poison()
        if unknown is not None:
            raise unknown
        return known

    async def _mark(self, row: Recorded) -> None:
        """Notes whose turn it is to be decided about."""
        if row.category == "plan":
            self._dirty_plans.add(row.stream_id)
            self._plans.pop(row.stream_id, None)
            if row.type in ("PlanStopRequested", "PlanResumed", "PlanUnstuck"):
                await self._mark_tasks(row.stream_id)
        elif row.category == "task":
            self._dirty_tasks.add(row.stream_id)
            if row.type in ("TaskStarted", "SpaceMigrated", "SpaceFailed", "SpaceSkipped", "TaskEnded") or (
                row.type == "PhasePlanned" and b'"attachment"' in row.body
            ):
                plan = await self._pool.fetchval("SELECT plan FROM work.task WHERE task = $1", row.stream_id)
                if plan:
                    self._dirty_plans.add(plan)
                    if plan not in self._linkable and await self._pages_are_there(plan):
                        await self._mark_tasks(plan)  # the links of all spaces waited for these pages
        elif row.type in ("ChunkEnded", "ChunkReleased"):
            task = await self._pool.fetchval("SELECT task FROM work.chunk WHERE chunk = $1", row.stream_id)
            if task:
                self._dirty_tasks.add(task)

    async def _mark_tasks(self, plan: str) -> None:
        self._dirty_tasks |= {
            r["task"]
            for r in await self._pool.fetch("SELECT task FROM work.task WHERE plan = $1 AND state <> 'ended'", plan)
        }

    async def _report_poison(self) -> None:
        rows = await self._pool.fetch(
            "SELECT x.position, x.plan, x.code FROM work.poison x JOIN work.plan p ON p.plan = x.plan"
            " WHERE p.stuck IS NULL AND p.status = 'RUNNING'"
        )
        for row in rows:
            await self._stick(row["plan"], row["position"], row["code"])

    async def _stick(self, plan_id: str, position: int, code: Any) -> None:
        log.error("plan is stuck", plan=plan_id, position=position, code=code)
        # From the log: where the plan's own event is the one that cannot be read, the tables do not hold its version.
        version = (await self._store.read_stream(f"plan-{plan_id}"))[-1].version
        await self._append(
            f"plan-{plan_id}",
            version,
            derived_id(plan_id, f"stuck:{position}:{version}"),
            PlanStuck(plan=plan_id, position=position, code=code),
            plan_id,
        )

    async def _decide(self) -> None:
        """Decides about everything marked. A plan whose decision fails is stuck; the others go on."""
        marked, self._dirty_tasks = self._dirty_tasks, set()
        for task in sorted(marked):
            await self._guarded(task, None)
        marked, self._dirty_plans = self._dirty_plans, set()
        for plan in sorted(marked):
            await self._guarded(None, plan)

    async def _guarded(self, task: str | None, plan: str | None) -> None:
        try:
            if task is not None:
                await self._decide_task(task)
            elif plan is not None:
                await self._decide_plan(plan)
        except _Overtaken:
            # Whoever made it so has appended something; when that is read, or at the next sweep, it is this one's turn.
            log.info("decision overtaken", plan=plan, task=task)
        except UnknownEvent:
            raise
        except Exception as error:
            if _is_passing(error):
                (self._dirty_tasks if task else self._dirty_plans).add(task or plan or "")
                raise
            owner = plan or await self._pool.fetchval("SELECT plan FROM work.task WHERE task = $1", task)
            log.exception("no decision possible", plan=owner, task=task, error=type(error).__name__)
            if owner:
                if isinstance(error, BadEvent):
                    await self._stick(owner, error.position, "bad_event")
                else:
                    await self._stick(owner, self.position, "undecidable")

    # -- plans ---------------------------------------------------------------------------------------------------

    async def _plan(self, plan_id: str) -> plans.Plan | None:
        """The plan folded from its stream, kept while the stream's version stands."""
        if plan_id not in self._plans:
            rows = await self._store.read_stream(f"plan-{plan_id}")
            # Up to the checkpoint only, as the tables: a stop seen before the tasks that were started just in front of it
            # would end the plan without them.
            folded = plans.fold([(r.version, r.event) for r in rows if r.position <= self.position])
            if folded is None:
                return None
            if len(self._plans) > 100:
                self._plans.clear()
            self._plans[plan_id] = folded
        return self._plans[plan_id]

    async def _decide_plan(self, plan_id: str) -> None:
        # By the tables first: the stream of a stuck plan may be what cannot be read.
        if not await self._pool.fetchval(
            "SELECT status = 'RUNNING' AND stuck IS NULL FROM work.plan WHERE plan = $1", plan_id
        ):
            return
        plan = await self._plan(plan_id)
        if plan is None or plan.status is not plans.Status.RUNNING or plan.stuck:
            return
        rows = await self._pool.fetch(
            "SELECT t.*, (SELECT count(*) FROM work.chunk k WHERE k.task = t.task AND k.state = 'claimed') AS claimed"
            " FROM work.task t WHERE t.plan = $1",
            plan_id,
        )
        briefs = [
            plans.TaskBrief(
                r["task"],
                TaskKind(r["kind"]),
                r["space"],
                r["state"] == "ended",
                r["claimed"],
                r["ending"],
                r["phase"] not in (None, *_BEFORE_LINKS),
            )
            for r in rows
        ]
        step = plans.advance(plan, briefs)
        if isinstance(step, plans.End):
            # One ending: whichever of the three comes first takes the one event id there is.
            assert isinstance(step.event, PlanFinished | PlanFailed | PlanStopped)
            await self._append(f"plan-{plan_id}", plan.version, derived_id(plan_id, "ended"), step.event, plan_id)
        elif step:
            for start in step:
                await self._start(plan, start)

    async def _start(self, plan: plans.Plan, start: plans.Start) -> None:
        task = plans.task_id(plan.id, start.kind, start.space)
        target = marker = None
        if start.space is not None:
            key = await self._pool.fetchval(
                "SELECT key FROM people.space WHERE source = $1 AND space = $2", plan.saved.source, start.space
            )
            if key is None:
                raise LookupError("a space without a key")
            new_key = await self._pool.fetchval(
                "SELECT key FROM people.plan_key WHERE plan = $1 AND space = $2", plan.id, start.space
            )
            target = await self._target(plan.saved.ledger, (new_key or site_key(key)).lower())
            marker = derived_id(task, "marker")
        event = TaskStarted(
            task=task,
            plan=plan.id,
            kind=start.kind,
            space=start.space,
            target=target,
            marker=marker,
            what=plan.saved.scope(start.space).what if start.space is not None else "all",
        )
        # The guard: whoever decides by an old state of the plan starts nothing in one that is over.
        guard = Guard(f"plan-{plan.id}", plan.version)
        await self._append(f"task-{task}", -1, derived_id(task, "started"), event, plan.id, guard)

    async def _target(self, site: str, key: str) -> str:
        """The random name of this key on this site."""
        await self._pool.execute(
            "INSERT INTO people.target VALUES ($1, $2, $3) ON CONFLICT (site, lower_key) DO NOTHING",
            new_id(),
            site,
            key,
        )
        return str(
            await self._pool.fetchval("SELECT id FROM people.target WHERE site = $1 AND lower_key = $2", site, key)
        )

    # -- tasks ---------------------------------------------------------------------------------------------------

    async def _task(self, task_id: str) -> tasks.Task | None:
        r = await self._pool.fetchrow(
            "SELECT t.*, p.stop_requested, p.paused,"
            " (SELECT count(*) FROM work.chunk k WHERE k.task = t.task AND k.state <> 'ended') AS open_chunks,"
            " (SELECT count(*) FROM work.chunk k WHERE k.task = t.task AND k.state = 'claimed') AS claimed,"
            " (SELECT min(fatal) FROM work.chunk k WHERE k.task = t.task AND fatal IS NOT NULL) AS fatal"
            " FROM work.task t JOIN work.plan p ON p.plan = t.plan"
            " WHERE t.task = $1 AND t.state <> 'ended' AND p.status = 'RUNNING' AND p.stuck IS NULL",
            task_id,
        )
        if r is None:
            return None
        return tasks.Task(
            task=r["task"],
            plan=r["plan"],
            kind=TaskKind(r["kind"]),
            space=r["space"],
            version=r["version"],
            failing=Reason(r["failing"]) if r["failing"] else None,
            inventory_epoch=r["inventory_epoch"],
            phase=Phase(r["phase"]) if r["phase"] else None,
            depth=r["depth"],
            slices=r["slices"],
            planned=r["planned"],
            last_ordinal=r["last_ordinal"],
            open_chunks=r["open_chunks"],
            claimed=r["claimed"],
            fatal=Reason(r["fatal"]) if r["fatal"] else None,
            stopping=r["stop_requested"],
            paused=r["paused"],
        )

    async def _decide_task(self, task_id: str) -> None:
        task = await self._task(task_id)
        if task is None:
            return
        depths = await self._depths(task)
        match tasks.advance(task, depths, await self._pages_are_there(task.plan)):
            case tasks.PlanSlice() as slice_:
                await self._plan_slice(task, slice_)
            case tasks.TakeInventory():
                await self._take_inventory(task)
            case tasks.Fail(reason):
                await self._append_task(task, "failing", SpaceFailing(task=task.task, plan=task.plan, reason=reason))
            case tasks.Finish() as finish:
                await self._finish(task, finish)
            case tasks.Wait():
                pass

    async def _pages_are_there(self, plan_id: str) -> bool:
        """Whether every space of the plan has its pages on the site, or has ended: only then every link can be resolved."""
        if plan_id in self._linkable:
            return True
        ready = await self._pool.fetchval(
            "SELECT p.spaces <= (SELECT count(*) FROM work.task t WHERE t.plan = p.plan AND t.kind = 'space'"
            " AND (t.state <> 'running' OR t.phase <> ALL($2))) FROM work.plan p WHERE p.plan = $1",
            plan_id,
            list(_BEFORE_LINKS),
        )
        if ready:
            self._linkable.add(plan_id)
        return bool(ready)

    async def _depths(self, task: tasks.Task) -> dict[Kind, list[int]]:
        """Of each kind the depths at which the inventory has rows."""
        if task.inventory_epoch is None:
            return {}
        # An inventory that was taken does not change, and going over it costs the more the larger the space is.
        known = self._depths_of.get((task.task, task.inventory_epoch))
        if known is not None:
            return known
        found: dict[Kind, list[int]] = {}
        for r in await self._pool.fetch(
            "SELECT DISTINCT kind, depth FROM work.inventory WHERE task = $1 AND epoch = $2 ORDER BY kind, depth",
            task.task,
            task.inventory_epoch,
        ):
            found.setdefault(Kind(r["kind"]), []).append(r["depth"])
        if len(self._depths_of) >= _MOST_KNOWN:
            self._depths_of.clear()
        self._depths_of[task.task, task.inventory_epoch] = found
        return found

    async def _plan_slice(self, task: tasks.Task, s: tasks.PlanSlice) -> None:
        if s.phase is _RESERVES.get(task.kind) and not await self._reserve(task):
            plan = await self._plan(task.plan)
            follows = plan is not None and plan.saved.follow is not None
            reason = Reason.SPACE_BUSY if follows else Reason.SPACE_KEY_CONFLICT
            await self._append_task(task, "failing", SpaceFailing(task=task.task, plan=task.plan, reason=reason))
            return
        chunks, last = await cut(self._pool, task, s, self._settings.chunk_size)
        event = PhasePlanned(
            task=task.task, plan=task.plan, phase=s.phase, depth=s.depth, slice=s.slice, last=last, chunks=chunks
        )
        await self._append_task(task, f"planned:{s.phase.value}:{s.depth}:{s.slice}", event)

    async def _take_inventory(self, task: tasks.Task) -> None:
        chunk = tasks.chunk_id(task.task, Phase.INVENTORY, 0, 0)
        for row in reversed(await self._store.read_stream(f"chunk-{chunk}")):
            event = row.event
            if isinstance(event, ChunkEnded) and event.inventory is not None:
                taken = InventoryTaken(
                    task=task.task,
                    plan=task.plan,
                    chunk=chunk,
                    epoch=event.epoch,
                    counts=event.inventory.counts,
                    digest=event.inventory.digest,
                )
                await self._append_task(task, "inventory", taken)
                return
        raise LookupError("an inventory chunk without an inventory")

    async def _finish(self, task: tasks.Task, finish: tasks.Finish) -> None:
        plan = await self._plan(task.plan)
        skips = plan is not None and plan.saved.key_conflicts == "skip"
        if skips and task.failing is Reason.SPACE_KEY_CONFLICT:
            finish = replace(finish, reason=Reason.SPACE_KEY_CONFLICT, skipped=True)
        event: TaskEnding = await endings.ending(self._pool, task, finish)
        if task.space is not None:
            await self._release(task)
        await self._append_task(task, "ended", event)

    # -- reservations --------------------------------------------------------------------------------------------

    async def _reserve(self, task: tasks.Task) -> bool:
        """Makes the space's key on the site the task's own; false if it is another plan's."""
        row = await self._pool.fetchrow(
            "SELECT t.target, t.marker, p.ledger AS site FROM work.task t JOIN work.plan p USING (plan) WHERE t.task = $1",
            task.task,
        )
        if row is None:
            raise LookupError("a task without a plan")
        holder, version = None, -1
        for recorded in await self._store.read_stream(f"target-{row['target']}"):
            version = recorded.version
            event = recorded.event
            holder = event.plan if isinstance(event, SpaceReserved) else None
        if holder == task.plan:
            return True
        if holder is not None:
            return False
        reserved = SpaceReserved(
            target=row["target"], site=row["site"], plan=task.plan, task=task.task, marker=row["marker"]
        )
        name = derived_id(task.task, "reserved")
        # The guard: a task that is over would never release it.
        guard = Guard(f"task-{task.task}", task.version)
        if await self._append(f"target-{row['target']}", version, name, reserved, task.plan, guard):
            return True
        raise _Overtaken

    async def _release(self, task: tasks.Task) -> None:
        target = await self._pool.fetchval("SELECT target FROM work.task WHERE task = $1", task.task)
        stream = await self._store.read_stream(f"target-{target}")
        if stream and isinstance(last := stream[-1].event, SpaceReserved) and last.plan == task.plan:
            released = SpaceReleased(target=target, plan=task.plan)
            await self._append(
                f"target-{target}", stream[-1].version, derived_id(task.task, "released"), released, task.plan
            )

    # -- appends -------------------------------------------------------------------------------------------------

    async def _append_task(self, task: tasks.Task, name: str, event: Event) -> None:
        await self._append(f"task-{task.task}", task.version, derived_id(task.task, name), event, task.plan)

    async def _append(self, stream: str, expected: int, event_id: str, event: Event, plan: str, *guards: Guard) -> bool:
        """Appends a decision. A conflict means that the log has moved on: what it says is read and decided about anew."""
        context = Context(actor=self._actor, correlation=plan, causation=plan)
        result = await self._store.append(Append(stream, expected, ((event_id, event),), context, guards))
        if not result.recorded:
            log.info("decision overtaken", stream=stream, type=type(event).__name__, outcome=result.outcome)
        return result.recorded
