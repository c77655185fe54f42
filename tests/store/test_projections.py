"""Projections fold a history into what people see, survive what they cannot read, and equal what the log says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from shared.events.catalog import chunk, plan, source, target, task
from shared.events.catalog.analysis import AnalysisCompleted, AnalysisStarted, SpaceNumbers, SpacesAnalyzed
from shared.events.catalog.work import Entity, Kind, KindCount, LeftCount, Outcome, Phase, Tally, TaskKind
from shared.events.contract import Actor, Context, Event, Recorded
from shared.events.database import open_pool
from shared.events.projections.base import Status
from shared.events.projections.connections import Connections
from shared.events.projections.conservation import plan_conserved
from shared.events.projections.plans import Plans
from shared.events.projections.rebuild import compare, rebuild
from shared.events.projections.runner import Runner
from shared.events.reasons import Reason
from shared.events.store import Append, EventStore
from tests.servers import Database

CONTEXT = Context(actor=Actor(kind="service", key="0" * 32), correlation="1" * 32, causation="2" * 32)


def id_of(name: str) -> str:
    """A readable id: the same name, the same id."""
    return name.encode().hex().ljust(32, "0")[:32]


SOURCE, SITE, ANALYSIS, PLAN = id_of("source"), id_of("site"), id_of("analysis"), id_of("plan")
USERS, SPACE_A, SPACE_B = id_of("users"), id_of("task-a"), id_of("task-b")


def counts(**kinds: int) -> tuple[KindCount, ...]:
    return tuple(KindCount(kind=Kind(kind), count=count) for kind, count in kinds.items())


def ended(
    kind: str, id: str, outcome: str = "migrated", reason: str | None = None, target: str | None = None
) -> Entity:
    return Entity(
        kind=Kind(kind), id=id, outcome=Outcome(outcome), reason=Reason(reason) if reason else None, target=target
    )


def claimed(name: str, task_id: str) -> Event:
    return chunk.ChunkClaimed(
        chunk=id_of(name), epoch=1, task=task_id, plan=PLAN, worker=id_of("worker"), attempt=1, purpose="work"
    )


def finished(name: str, *entities: Entity) -> Event:
    return chunk.ChunkEnded(chunk=id_of(name), epoch=1, entities=entities)


def phase(task_id: str, name: Phase, *chunks: str, count: int = 1) -> Event:
    pieces = tuple(
        task.ChunkPlan(chunk=id_of(each), first=n * count, last=max(0, (n + 1) * count - 1), count=count)
        for n, each in enumerate(chunks)
    )
    return task.PhasePlanned(task=task_id, plan=PLAN, phase=name, depth=0, slice=0, last=True, chunks=pieces)


def history() -> list[Event]:
    """A plan with users and two spaces: one moves with a missing file and a defect, the other has a key conflict."""
    inventory = {"epoch": 1, "digest": "0" * 64}
    ending: dict[str, Any] = {"tallies": (), "reasons": (), "conserved": True}
    return [
        source.SourceRegistered(source=SOURCE, kind="xml"),
        target.SiteRegistered(site=SITE, credential="sandbox", sandbox=True),
        AnalysisStarted(analysis=ANALYSIS, source=SOURCE, chunk=id_of("intake")),
        SpacesAnalyzed(
            analysis=ANALYSIS,
            slice=0,
            spaces=tuple(
                SpaceNumbers(
                    space=space, type="global", status="current", pages=pages, blogposts=0, comments=1, attachments=1,
                    attachment_bytes=10, missing_files=0,
                    left=(LeftCount(kind="draft", count=pages),),
                )
                for space, pages in (("1", 3), ("2", 1))
            ),
        ),
        AnalysisCompleted(
            analysis=ANALYSIS, source=SOURCE, release="8.5.6", users=2, groups=0, spaces=2, pages=4, blogposts=0, comments=2,
            attachments=2, attachment_bytes=20, missing_files=1, addresses_invalid=0, addresses_duplicate=2,
            addresses_unknown=0, slices=1,
        ),
        source.AddressesRepaired(source=SOURCE, merged=1, generated=0, former=0),
        plan.PlanSaved(
            plan=PLAN, source=SOURCE, site=SITE, analysis=ANALYSIS, stage="test", users="all", groups=False, spaces=("1", "2"),
            accepted=(Reason.FILE_MISSING,), digest="0" * 64,
        ),
        plan.PlanStarted(plan=PLAN, consent="not_needed_for_sandbox"),
        task.TaskStarted(task=USERS, plan=PLAN, kind=TaskKind.USERS),
        phase(USERS, Phase.INVENTORY, "u0", count=0),
        claimed("u0", USERS),
        finished("u0"),
        task.InventoryTaken(task=USERS, plan=PLAN, chunk=id_of("u0"), counts=counts(user=2), **inventory),
        phase(USERS, Phase.USER, "u1", count=2),
        claimed("u1", USERS),
        chunk.EntityEnded(chunk=id_of("u1"), epoch=1, entity=ended("user", id_of("ann"))),
        finished("u1", ended("user", id_of("bob"))),
        task.TaskEnded(task=USERS, plan=PLAN, remainder=(), stopped=False, **ending),
        task.TaskStarted(task=SPACE_A, plan=PLAN, kind=TaskKind.SPACE, space="1", target=id_of("ta"), marker=id_of("m")),
        phase(SPACE_A, Phase.INVENTORY, "a0", count=0),
        claimed("a0", SPACE_A),
        finished("a0"),
        task.InventoryTaken(
            task=SPACE_A, plan=PLAN, chunk=id_of("a0"), counts=counts(space=1, page=3, attachment=1), **inventory
        ),
        phase(SPACE_A, Phase.SPACE, "a1"),
        claimed("a1", SPACE_A),
        finished("a1", ended("space", "1", target="9001")),
        phase(SPACE_A, Phase.PAGE, "a2", count=3),
        claimed("a2", SPACE_A),
        chunk.ChunkReleased(chunk=id_of("a2"), epoch=1, entities=(ended("page", "11"),)),
        claimed("a2", SPACE_A),
        finished("a2", ended("page", "12"), ended("page", "13", reason="title_clash")),
        phase(SPACE_A, Phase.ATTACHMENT, "a3"),
        claimed("a3", SPACE_A),
        finished("a3", ended("attachment", "21", "skipped", "file_missing")),
        task.SpaceMigrated(task=SPACE_A, plan=PLAN, remainder=(), space="1", target_space="9001", **ending),
        task.TaskStarted(task=SPACE_B, plan=PLAN, kind=TaskKind.SPACE, space="2", target=id_of("tb"), marker=id_of("n")),
        phase(SPACE_B, Phase.INVENTORY, "b0", count=0),
        claimed("b0", SPACE_B),
        finished("b0"),
        task.InventoryTaken(task=SPACE_B, plan=PLAN, chunk=id_of("b0"), counts=counts(space=1, page=1), **inventory),
        phase(SPACE_B, Phase.SPACE, "b1"),
        claimed("b1", SPACE_B),
        finished("b1", ended("space", "2", "failed", "space_key_conflict")),
        task.SpaceFailing(task=SPACE_B, plan=PLAN, reason=Reason.SPACE_KEY_CONFLICT),
        task.SpaceFailed(
            task=SPACE_B, plan=PLAN, remainder=counts(page=1), remainder_reason=Reason.SPACE_FAILED, space="2",
            reason=Reason.SPACE_KEY_CONFLICT, **ending,
        ),
        plan.PlanFailed(
            plan=PLAN, tallies=(Tally(kind=Kind.PAGE, selected=4, migrated=3, skipped=1, failed=0),), reasons=(),
            spaces_migrated=1, spaces_failed=1, conserved=True,
        ),
    ]  # fmt: skip


OWNERS = {"plan": "planner", "task": "planner", "site": "planner", "source": "analyzer", "analysis": "analyzer"}


class Log:
    """Writes events as the services that own their streams would."""

    def __init__(self, stores: dict[str, EventStore]) -> None:
        self.stores = stores
        self.versions: dict[str, int] = {}

    async def append(self, events: Sequence[Event]) -> None:
        for event in events:
            stream = f"{event.CATEGORY}-{getattr(event, event.CATEGORY)}"
            version = self.versions.get(stream, -1)
            store = self.stores[OWNERS.get(event.CATEGORY, "executor")]
            result = await store.append(Append(stream, version, ((uuid4().hex, event),), CONTEXT))
            assert result.recorded, result
            self.versions[stream] = version + 1


@pytest.fixture
async def log(database: Database) -> AsyncIterator[Log]:
    pools = {
        role: await open_pool(database.settings(role), application="test")
        for role in ("planner", "analyzer", "executor")
    }
    stores = {role: EventStore(pool) for role, pool in pools.items()}
    for store in stores.values():
        await store.start()
    yield Log(stores)
    for store in stores.values():
        await store.close()
    for pool in pools.values():
        await pool.close()


@pytest.fixture
async def pool(database: Database) -> AsyncIterator[asyncpg.Pool[asyncpg.Record]]:
    """The dashboard's: it owns the read models, and may not create tables."""
    pool = await open_pool(database.settings("dashboard"), application="test")
    yield pool
    await pool.close()


@pytest.fixture
async def owner(database: Database) -> AsyncIterator[asyncpg.Pool[asyncpg.Record]]:
    pool = await asyncpg.create_pool(database.admin_dsn, min_size=1, max_size=2)
    yield pool
    await pool.close()


async def show(pool: asyncpg.Pool[asyncpg.Record], query: str) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in await pool.fetch(query)]


async def test_a_history_folds_to_states_and_sums_that_agree(log: Log, pool: asyncpg.Pool[asyncpg.Record]) -> None:
    await log.append(history())
    for projection in (Connections(), Plans()):
        state = await Runner(pool, log.stores["planner"], projection, page=7).catch_up()
        assert (state.status, state.position) == (Status.RUNNING, len(history()))

    assert await show(pool, "SELECT state, pages, release FROM read.analysis") == [("completed", 4, "8.5.6")]
    assert await show(pool, "SELECT merged, generated, former FROM read.source") == [(1, 0, 0)]
    assert await show(
        pool,
        "SELECT status, stopping, paused, stuck, conserved, spaces_selected, spaces_migrated, spaces_failed FROM read.plan",
    ) == [("FAILED", False, False, None, True, 2, 1, 1)]
    assert await show(pool, "SELECT space, state, reason, target_space FROM read.task ORDER BY position") == [
        (None, "done", None, None),
        ("1", "migrated", None, "9001"),
        ("2", "failed", "space_key_conflict", None),
    ]
    assert await show(
        pool, "SELECT task, kind, selected, migrated, skipped, failed FROM read.task_kind ORDER BY task, kind"
    ) == sorted(
        [
            (SPACE_A, "attachment", 1, 0, 1, 0),
            (SPACE_A, "page", 3, 3, 0, 0),
            (SPACE_A, "space", 1, 1, 0, 0),
            (SPACE_B, "page", 1, 0, 1, 0),
            (SPACE_B, "space", 1, 0, 0, 1),
            (USERS, "user", 2, 2, 0, 0),
        ]
    )
    assert await show(pool, "SELECT kind, id, outcome, reason FROM read.reason ORDER BY position") == [
        ("page", "13", "migrated", "title_clash"),
        ("attachment", "21", "skipped", "file_missing"),
        ("space", "2", "failed", "space_key_conflict"),
    ]


@pytest.mark.parametrize(
    ("events", "status", "stopping", "paused"),
    [
        ([], "READY", False, False),
        ([plan.PlanStarted(plan=PLAN, consent="given")], "RUNNING", False, False),
        ([plan.PlanStarted(plan=PLAN, consent="given"), plan.PlanPaused(plan=PLAN)], "RUNNING", False, True),
        ([plan.PlanStarted(plan=PLAN, consent="given"), plan.PlanStopRequested(plan=PLAN)], "RUNNING", True, False),
        *(
            ([plan.PlanStarted(plan=PLAN, consent="given"), plan.PlanStopRequested(plan=PLAN), end], status, False, False)
            for end, status in (
                (kind(plan=PLAN, tallies=(), reasons=(), spaces_migrated=0, spaces_failed=0, conserved=True), word)
                for kind, word in (
                    (plan.PlanStopped, "STOPPED"),
                    (plan.PlanFinished, "FINISHED"),
                    (plan.PlanFailed, "FAILED"),
                )
            )
        ),
    ],
    ids=["saved", "started", "paused", "stopping", "stopped", "finished", "failed"],
)  # fmt: skip
async def test_a_plans_status_follows_from_its_events_alone(
    log: Log,
    pool: asyncpg.Pool[asyncpg.Record],
    events: list[Event],
    status: str,
    stopping: bool,
    paused: bool,
) -> None:
    await log.append([history()[6], *events])
    await Runner(pool, log.stores["planner"], Plans()).catch_up()
    assert await show(pool, "SELECT status, stopping, paused FROM read.plan") == [(status, stopping, paused)]


async def test_a_rebuilt_projection_equals_the_live_one_and_keeps_its_privileges(
    log: Log, pool: asyncpg.Pool[asyncpg.Record], owner: asyncpg.Pool[asyncpg.Record]
) -> None:
    events = history()
    await log.append(events[:30])
    runner = Runner(pool, log.stores["planner"], Plans())
    await runner.catch_up()
    before = {
        table: await show(pool, f"SELECT to_jsonb(t)::text FROM read.{table} t ORDER BY 1") for table in Plans.tables
    }
    assert await rebuild(owner, Plans()) == 30
    for table, rows in before.items():
        assert await show(pool, f"SELECT to_jsonb(t)::text FROM read.{table} t ORDER BY 1") == rows, table

    await log.append(events[30:])
    state = await runner.catch_up()
    assert (state.status, state.position) == (Status.RUNNING, len(events))
    assert await compare(owner, Plans()) == []
    left = await show(owner, "SELECT count(*) FROM pg_namespace WHERE nspname LIKE '%next'")
    assert left == [(0,)]


async def test_compare_finds_a_planted_difference_and_rebuild_mends_it(
    log: Log, pool: asyncpg.Pool[asyncpg.Record], owner: asyncpg.Pool[asyncpg.Record]
) -> None:
    await log.append(history())
    await Runner(pool, log.stores["planner"], Plans()).catch_up()
    await pool.execute("UPDATE read.task_kind SET migrated = 2 WHERE task = $1 AND kind = 'page'", SPACE_A)
    await pool.execute("DELETE FROM read.reason WHERE id = '21'")
    found = {(d.table, d.side, d.row.get("migrated"), d.row.get("id")) for d in await compare(owner, Plans())}
    assert found == {("task_kind", "live", 2, None), ("task_kind", "log", 3, None), ("reason", "log", None, "21")}
    await rebuild(owner, Plans())
    assert await compare(owner, Plans()) == []


async def test_an_event_that_cannot_be_read_stops_its_projection_before_it_and_no_other(
    log: Log, pool: asyncpg.Pool[asyncpg.Record]
) -> None:
    class Brittle(Plans):
        async def apply(self, connection: Any, rows: Sequence[Recorded], schema: str) -> None:
            for row in rows:
                if row.type == "PlanStarted":
                    raise ArithmeticError("planted")
                await super().apply(connection, [row], schema)

    await log.append(history())
    brittle = Runner(pool, log.stores["planner"], Brittle())
    state = await brittle.catch_up()
    assert (state.status, state.position, state.stopped_at, state.error) == (Status.STOPPED, 7, 8, "ArithmeticError")
    assert state.sentence is not None and "event 8" in state.sentence
    assert await show(pool, "SELECT status FROM read.plan") == [("READY",)]

    other = await Runner(pool, log.stores["planner"], Connections()).catch_up()
    assert (other.status, other.position) == (Status.RUNNING, len(history()))
    # A release that can read it goes on where this one stood still.
    assert (await Runner(pool, log.stores["planner"], Plans()).catch_up()).position == len(history())


async def test_an_event_type_of_a_newer_release_is_waited_before_not_skipped(
    log: Log, pool: asyncpg.Pool[asyncpg.Record]
) -> None:
    await log.append(history()[:7])
    body = json.dumps({"data": {}, "schema": 1, **CONTEXT.model_dump(mode="json", exclude_none=True)}).encode()
    planner = log.stores["planner"]._pool
    await planner.fetch(
        "SELECT * FROM log.append_v1($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        *([f"plan-{PLAN}"], [0], [1], [uuid4()], ["PlanTeleported"], [body], [], [], []),
    )
    log.versions[f"plan-{PLAN}"] = 1
    await log.append([plan.PlanStarted(plan=PLAN, consent="given")])
    state = await Runner(pool, log.stores["planner"], Plans()).catch_up()
    assert (state.status, state.position, state.stopped_at) == (Status.NEWER_RELEASE_NEEDED, 7, 8)
    assert state.sentence is not None and "newer release is needed" in state.sentence.lower()
    assert await show(pool, "SELECT status FROM read.plan") == [("READY",)]


async def test_two_runners_of_one_projection_apply_every_event_once(
    log: Log, pool: asyncpg.Pool[asyncpg.Record], owner: asyncpg.Pool[asyncpg.Record]
) -> None:
    runners = [Runner(pool, log.stores["planner"], Plans(), page=3) for _ in range(2)]
    ending = asyncio.Event()
    running = [asyncio.create_task(runner.run(ending)) for runner in runners]
    await log.append(history())
    for runner in runners:
        assert await runner.reached(len(history()), 10)
    ending.set()
    await asyncio.gather(*running)
    assert await compare(owner, Plans()) == []


@pytest.mark.parametrize(
    ("damage", "side"),
    [
        (None, None),
        ("DELETE FROM work.outcome WHERE id = '12'", "lost"),
        ("INSERT INTO work.outcome (position, task, chunk, kind, id, outcome) SELECT 999, task, chunk, kind, id, outcome"
         " FROM work.outcome WHERE id = '12'", "doubled"),
        ("INSERT INTO work.outcome (position, task, chunk, kind, id, outcome) SELECT position, task, chunk, kind, '77', outcome"
         " FROM work.outcome WHERE id = '12'", "invented"),
    ],
    ids=["whole", "lost", "doubled", "invented"],
)  # fmt: skip
async def test_a_plan_is_conserved_only_if_no_entity_is_lost_doubled_or_invented(
    log: Log,
    pool: asyncpg.Pool[asyncpg.Record],
    owner: asyncpg.Pool[asyncpg.Record],
    damage: str | None,
    side: str | None,
) -> None:
    await log.append(history())
    await Runner(pool, log.stores["planner"], Plans()).catch_up()
    for task_id, kind, ids in (
        (SPACE_A, "page", ("11", "12", "13")),
        (SPACE_A, "attachment", ("21",)),
        (SPACE_B, "page", ("31",)),
    ):
        await owner.execute(
            "INSERT INTO work.task (task, plan, kind, version, state, inventory_epoch, started_at)"
            " VALUES ($1, $2, 'space', 0, 'ended', 1, now()) ON CONFLICT DO NOTHING",
            task_id,
            PLAN,
        )
        for ordinal, id in enumerate(ids):
            await owner.execute(
                "INSERT INTO work.inventory (task, epoch, ordinal, kind, id) VALUES ($1, 1, $2, $3, $4)",
                task_id,
                ordinal + (100 if kind == "attachment" else 0),
                kind,
                id,
            )
            if task_id == SPACE_A:
                await owner.execute(
                    "INSERT INTO work.outcome (position, task, chunk, kind, id, outcome) VALUES (1, $1, 'c', $2, $3, 'migrated')",
                    task_id,
                    kind,
                    id,
                )
    if damage is not None:
        await owner.execute(damage)
    async with pool.acquire() as connection:
        found = await plan_conserved(connection, PLAN)
    assert found.ok is (damage is None)
    assert {name: dict(getattr(found, name)) for name in ("lost", "doubled", "invented") if getattr(found, name)} == (
        {side: {"page": 1}} if side else {}
    )
