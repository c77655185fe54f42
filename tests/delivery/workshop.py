"""One database with process managers, commands and workers in this process: no NATS, no other process.

Plans go all the way: managers start tasks and cut phases, workers claim chunks as executors do and end them with made-up
outcomes. Only what an executor would do at source and site is left out.
"""

import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from services.planner.handlers import COMMANDS, Handlers
from services.planner.manager import Manager
from shared.events.catalog.chunk import InventoryResult
from shared.events.catalog.plan import PlanSaved, PlanStarted
from shared.events.catalog.task import ChunkPlan, InventoryTaken, PhasePlanned, TaskStarted
from shared.events.catalog.work import ACCOUNTS, BY_DEPTH, Entity, Kind, KindCount, Outcome, Phase, TaskKind
from shared.events.claims import Busy, Claim, Claims
from shared.events.commands import PlanCommand, Reply
from shared.events.contract import Actor, Context, Event
from shared.events.database import open_pool
from shared.events.reasons import Reason
from shared.events.store import Append, EventStore
from shared.events.types import new_id
from tests.servers import Database

ACTOR = Actor(kind="service", key=new_id())
QUICK = {"lease": 0.6, "request_timeout": 0.2, "chunk_size": 1, "database_pool": 12}
PAGES = 3

# What a task's inventory holds, by the task's kind: (kind, id, depth).
INVENTORIES: dict[str, tuple[tuple[Kind, str, int], ...]] = {
    "users": ((Kind.USER, "1", 0), (Kind.USER, "2", 0)),
    "groups": (
        (Kind.GROUP, "1", 0),
        (Kind.GROUP, "2", 0),
        (Kind.MEMBERSHIP, "3", 0),
        (Kind.MEMBERSHIP, "4", 0),
    ),
    "space": (
        (Kind.SPACE, "1", 0),
        *((Kind.PAGE, str(n + 10), 0) for n in range(PAGES)),
        (Kind.LABEL, "10", 0),
    ),
}


class Workshop:
    """``planner`` and ``executor``: stores of these roles, with ``pools`` of the same names."""

    def __init__(self, database: Database, stack: AsyncExitStack) -> None:
        self.database, self._stack = database, stack
        self.settings = database.settings("planner", **QUICK)
        self.pools: dict[str, Any] = {}
        self.stores: dict[str, EventStore] = {}

    async def open(self) -> None:
        for role in ("planner", "executor"):
            settings = self.database.settings(role, **QUICK)
            self.pools[role] = await open_pool(settings, application="tests")
            self._stack.push_async_callback(self.pools[role].close)
            self.stores[role] = await self._stack.enter_async_context(EventStore(self.pools[role]))
        self.planner, self.executor = self.stores["planner"], self.stores["executor"]
        self.handlers = Handlers(self.planner, self.pools["planner"])
        self.admin = await self.database.connect()
        self._stack.push_async_callback(self.admin.close)
        owner = self.database.settings("planner").model_copy(update={"database_url": self.database.admin_dsn})
        self.owners_pool = await open_pool(owner, application="tests")
        self._stack.push_async_callback(self.owners_pool.close)

    async def manager(self) -> Manager:
        """A process manager as a leading planner has one."""
        manager = Manager(self.planner, self.pools["planner"], self.settings, ACTOR.key)
        await manager.start()
        return manager

    def worker(self) -> Claims:
        return Claims(self.executor, self.pools["executor"], self.settings, ACTOR.key)

    # -- plans ---------------------------------------------------------------------------------------------------

    async def plan(self, *, users: str = "none", groups: bool = False, spaces: int = 0, keys: bool = True) -> str:
        """A running plan. ``keys``: whether the keys of its spaces are known; without them no space can be started."""
        plan, source, chosen = new_id(), new_id(), tuple(str(n + 1) for n in range(spaces))
        saved = PlanSaved(
            plan=plan,
            source=source,
            site=new_id(),
            analysis=new_id(),
            stage="test",
            users=users,
            groups=groups,
            spaces=chosen,
            accepted=(),
            digest=hashlib.sha256().hexdigest(),
        )
        if keys:
            for space in chosen:
                await self.admin.execute(
                    "INSERT INTO people.space VALUES ($1, $2, $3, $3)", source, space, f"KEY{space}"
                )
        await self.append("planner", f"plan-{plan}", -1, saved, PlanStarted(plan=plan, consent="given"), plan=plan)
        return plan

    async def append(self, role: str, stream: str, expected: int, *events: Event, plan: str) -> None:
        context = Context(actor=ACTOR, correlation=plan, causation=plan)
        command = Append(stream, expected, tuple((new_id(), e) for e in events), context)
        assert (await self.stores[role].append(command)).outcome == "appended"

    async def group_task(self, plan: str, chunks: int = 2) -> tuple[str, list[str]]:
        """A task of the plan whose groups, one in each chunk, are planned; as if a manager had done it."""
        task, ids = new_id(), [new_id() for _ in range(chunks)]
        rows = [(task, 1, n, "group", str(n)) for n in range(chunks)] + [(task, 1, chunks, "membership", "0")]
        await self.pools["executor"].executemany(
            "INSERT INTO work.inventory (task, epoch, ordinal, kind, id) VALUES ($1, $2, $3, $4, $5)", rows
        )
        pieces = tuple(ChunkPlan(chunk=c, first=n, last=n, count=1) for n, c in enumerate(ids))
        await self.append(
            "planner",
            f"task-{task}",
            -1,
            TaskStarted(task=task, plan=plan, kind=TaskKind.GROUPS),
            InventoryTaken(task=task, plan=plan, chunk=new_id(), epoch=1, counts=(), digest="0" * 64),
            PhasePlanned(task=task, plan=plan, phase=Phase.GROUP, depth=0, slice=0, last=True, chunks=pieces),
            plan=plan,
        )
        return task, ids

    async def plant(self, role: str, stream: str, type_: str, body: bytes) -> int:
        """An event as no code of this release would write it, at the end of a stream. Its position."""
        connection = await self.database.connect(f"cw_{role}")
        try:
            version = await connection.fetchval(
                "SELECT coalesce(max(version), -1) FROM log.events WHERE stream = $1", stream
            )
            row = await connection.fetchrow(
                "SELECT * FROM log.append_v1($1, $2, $3, $4, $5, $6, '{}', '{}', '{}')",
                [stream],
                [version],
                [1],
                [new_id()],
                [type_],
                [body],
            )
            assert row["outcome"] == "appended"
            return int(row["at"])
        finally:
            await connection.close()

    async def command(self, type_: type[PlanCommand], plan: str) -> Reply:
        """Sends the planner a command about a plan."""
        verb = COMMANDS[type_]
        command = type_(command_id=new_id(), actor=ACTOR, correlation=new_id(), plan=plan)
        reply: Reply = await getattr(self.handlers, verb)(command)
        return reply

    # -- work ----------------------------------------------------------------------------------------------------

    async def claimable(self, plans: Sequence[str]) -> list[str]:
        rows = await self.pools["planner"].fetch(
            "SELECT chunk FROM work.chunk WHERE plan = ANY($1) AND state = 'planned' ORDER BY planned_at, chunk",
            list(plans),
        )
        return [r["chunk"] for r in rows]

    async def take(self, worker: Claims, chunk: str) -> Claim | None:
        try:
            return await worker.take(chunk)
        except Busy:
            return None

    async def end(self, claim: Claim) -> None:
        """Ends a chunk: everything in it migrated, or skipped where it is only settled."""
        pool, work = self.pools["executor"], claim.work
        task = await pool.fetchrow("SELECT kind, inventory_epoch FROM work.task WHERE task = $1", work.task)
        settled = claim.purpose == "settle"
        if work.phase is Phase.INVENTORY:
            rows = INVENTORIES[task["kind"]]
            await pool.executemany(
                "INSERT INTO work.inventory (task, epoch, ordinal, kind, id, depth) VALUES ($1, $2, $3, $4, $5, $6)",
                [(work.task, claim.epoch, n, kind.value, id_, depth) for n, (kind, id_, depth) in enumerate(rows)],
            )
            kinds = sorted({kind for kind, _, _ in rows})
            counts = tuple(KindCount(kind=k, count=sum(kind is k for kind, _, _ in rows)) for k in kinds)
            await claim.end((), inventory=InventoryResult(counts=counts, digest=hashlib.sha256().hexdigest()))
        else:
            found = []
            if (accounts := ACCOUNTS.get(work.phase)) is not None:
                found = await pool.fetch(
                    "SELECT id FROM work.inventory WHERE task = $1 AND epoch = $2 AND kind = $3"
                    " AND ($4 OR (depth = $5 OR NOT $6) AND ordinal BETWEEN $7 AND $8)",
                    work.task,
                    task["inventory_epoch"],
                    accounts.value,
                    work.phase is Phase.SPACE,
                    work.depth,
                    work.phase in BY_DEPTH,
                    work.first,
                    work.last,
                )
            left = [r["id"] for r in found if (accounts, r["id"]) not in claim.recorded]
            outcome = Outcome.SKIPPED if settled else Outcome.MIGRATED
            reason = Reason.PLAN_STOPPED if settled else None
            target = None if settled else "9"
            await claim.end(
                [Entity(kind=accounts, id=i, outcome=outcome, reason=reason, target=target) for i in left]
                if accounts
                else ()
            )
        await claim._claims.drop_lease(work.chunk, claim.epoch)

    async def drive(self, manager: Manager, plans: Sequence[str], most: int = 60) -> None:
        """Until the manager has nothing to decide and nobody anything to claim."""
        worker = self.worker()
        for _ in range(most):
            while await manager.step():
                pass
            chunks = await self.claimable(plans)
            claims = [c for chunk in chunks if (c := await self.take(worker, chunk)) is not None]
            if not claims:
                return
            for claim in claims:
                await self.end(claim)
        raise AssertionError("no end in sight")

    # -- what the log says ---------------------------------------------------------------------------------------

    async def events(self, *, plan: str | None = None, task: str | None = None) -> list[Event]:
        stream = f"plan-{plan}" if plan is not None else f"task-{task}"
        return [row.event for row in await self.planner.read_stream(stream)]

    async def types(self, plan: str) -> list[str]:
        return [row.type for row in await self.planner.read_stream(f"plan-{plan}")]

    async def tasks(self, plan: str) -> dict[str, str]:
        """Of each kind of task (of spaces: the kind and the space) its id."""
        rows = await self.admin.fetch("SELECT task, kind, space FROM work.task WHERE plan = $1", plan)
        return {r["kind"] + (r["space"] or ""): r["task"] for r in rows}


@asynccontextmanager
async def open_workshop(database: Database) -> AsyncIterator[Workshop]:
    async with AsyncExitStack() as stack:
        workshop = Workshop(database, stack)
        await workshop.open()
        yield workshop
