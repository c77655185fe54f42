"""Claims about appending."""

import asyncio
import logging
import signal
import subprocess
import sys
import time
from pathlib import Path

import asyncpg
import pytest

from shared.events.database import open_pool
from shared.events.store import Append, AppendRefused, EventStore, Guard, Result, StoreUnavailable
from shared.events.types import derived_id, new_id
from shared.events.verify import verify_links
from shared.ops.settings import Settings
from tests.store.commands import CONTEXT, claimed, command, plan, started
from tests.store.logs import Log
from tests.store.wire import Wire


async def count(log: Log) -> int:
    return await (await log.connect()).fetchval("SELECT count(*) FROM log.events")


async def test_a_new_stream_begins_at_version_0_and_positions_begin_at_1(store: EventStore) -> None:
    stream = plan()
    assert await store.append(command(stream)) == Result("appended", 1, 0)
    assert await store.append(command(stream, 0, 3)) == Result("appended", 4, 3)
    assert [e.position for e in await store.read_stream(stream)] == [1, 2, 3, 4]
    assert [e.version for e in await store.read_stream(stream, after=1)] == [2, 3]


async def test_what_is_read_is_what_was_appended(store: EventStore) -> None:
    stream = plan()
    sent = command(stream)
    await store.append(sent)
    [event] = await store.read_stream(stream)
    assert (event.event_id, event.event, event.context) == (sent.events[0][0], sent.events[0][1], CONTEXT)
    assert (event.category, event.stream_id) == ("plan", stream[5:])
    assert await store.event(event.event_id) == event
    assert await store.event(new_id()) is None
    assert abs(event.recorded_at / 1e6 - time.time()) < 60


async def test_the_same_command_twice_has_one_effect(store: EventStore, log: Log) -> None:
    cause, stream = new_id(), plan()
    sent = command(stream, ids=[derived_id(cause, "0"), derived_id(cause, "1")])
    first = await store.append(sent)
    other = await log.store()  # another process, and at the same time as well
    answers = [await store.append(sent), *await asyncio.gather(*(s.append(sent) for s in (store, other) * 5))]
    assert first == Result("appended", 2, 1)
    assert set(answers) == {Result("duplicate", 2, 1)}
    assert await count(log) == 2


async def test_the_same_command_twice_in_one_batch_has_one_effect(store: EventStore, log: Log) -> None:
    sent = command(plan())
    answers = await asyncio.gather(*(store.append(sent) for _ in range(4)))
    assert [a.outcome for a in answers] == ["appended", "duplicate", "duplicate", "duplicate"]
    assert {(a.position, a.version) for a in answers} == {(1, 0)}
    assert await count(log) == 1


async def test_a_repeated_command_is_a_duplicate_though_its_stream_has_gone_on(store: EventStore) -> None:
    stream = plan()
    sent = command(stream)
    await store.append(sent)
    await store.append(command(stream, 0))
    assert await store.append(sent) == Result("duplicate", 1, 0)


async def test_a_stale_expected_version_conflicts_and_harms_no_neighbor_in_its_batch(store: EventStore) -> None:
    stream = plan()
    await store.append(command(stream, count=3))
    neighbors = [command(plan()) for _ in range(2)]
    answers = await asyncio.gather(
        store.append(neighbors[0]),
        store.append(command(stream, 1)),
        store.append(command(plan(), 0)),
        store.append(neighbors[1]),
    )
    assert answers == [
        Result("appended", 4, 0),
        Result("conflict", None, 2),
        Result("conflict", None, -1),
        Result("appended", 5, 0),
    ]
    first, second = [(await store.read_stream(n.stream))[0] for n in neighbors]
    assert first.recorded_at == second.recorded_at, "they were meant to share a batch"


async def test_a_stale_guard_conflicts_and_harms_no_neighbor_in_its_batch(store: EventStore) -> None:
    guarded, untouched = plan(), plan()
    await store.append(command(guarded, count=2))
    answers = await asyncio.gather(
        store.append(command(plan(), guards=(Guard(guarded, 1), Guard(untouched, -1)))),
        store.append(command(plan(), guards=(Guard(guarded, 1), Guard(untouched, 0)))),
        store.append(command(plan(), guards=(Guard(guarded, 0),))),
        store.append(command(plan(), 7, guards=(Guard(guarded, 0),))),
        store.append(command(plan())),
    )
    assert answers == [
        Result("appended", 3, 0),
        Result("conflict", None, -1),
        Result("conflict", None, 1),
        Result("conflict", None, -1),  # its own stream comes first
        Result("appended", 4, 0),
    ]


async def test_two_commands_on_one_stream_in_one_batch_behave_as_if_one_came_after_the_other(store: EventStore) -> None:
    stream, neighbor = plan(), plan()
    answers = await asyncio.gather(
        store.append(command(stream, count=2)),
        store.append(command(stream, 1)),
        store.append(command(neighbor)),
        store.append(command(stream, 1)),
        store.append(command(plan(), guards=(Guard(stream, 2),))),
        store.append(command(plan(), guards=(Guard(stream, -1),))),
    )
    assert answers == [
        Result("appended", 2, 1),
        Result("appended", 3, 2),
        Result("appended", 4, 0),
        Result("conflict", None, 2),
        Result("appended", 5, 0),
        Result("conflict", None, 2),
    ]


async def test_of_many_racing_for_one_version_exactly_one_wins(log: Log) -> None:
    stores, stream = [await log.store(size=2) for _ in range(8)], plan()
    for version in range(-1, 20):
        answers = await asyncio.gather(*(s.append(command(stream, version)) for s in stores))
        assert sorted(a.outcome for a in answers) == ["appended"] + ["conflict"] * 7
        assert {a.version for a in answers} == {version + 1}


async def test_a_guard_and_the_event_it_excludes_never_both_get_in(log: Log) -> None:
    """A claim guards the plan at the version where it ran; a stop moves the plan on. In the log one of them is first."""
    claims, stops = await log.store("cw_executor"), await log.store("cw_planner")
    for _ in range(40):
        stream = plan()
        await stops.append(command(stream))
        chunks = ["chunk-" + new_id() for _ in range(4)]
        *claimed_, stop = await asyncio.gather(
            *(claims.append(command(c, guards=(Guard(stream, 0),))) for c in chunks), stops.append(command(stream, 0))
        )
        assert stop.position is not None
        for answer in claimed_:
            assert answer.outcome == "conflict" or (answer.position is not None and answer.position < stop.position)


async def test_a_reused_event_id_is_a_mismatch_and_harms_no_neighbor_in_its_batch(
    store: EventStore, log: Log, caplog: pytest.LogCaptureFixture
) -> None:
    taken, stream = new_id(), plan()
    await store.append(command(stream, ids=[taken]))
    with caplog.at_level(logging.CRITICAL):
        answers = await asyncio.gather(
            store.append(command(plan())),
            store.append(command(plan(), ids=[taken])),  # its first id
            store.append(command(plan(), ids=[new_id(), taken])),  # a later one
            store.append(command(stream, 0, ids=[taken, new_id()])),  # with others
            store.append(command(plan())),
        )
    assert [a.outcome for a in answers] == ["appended", "mismatch", "mismatch", "mismatch", "appended"]
    assert await count(log) == 3


async def test_a_rolled_back_append_leaves_no_hole(log: Log, store: EventStore) -> None:
    connection = await log.connect("cw_planner")
    append = "SELECT * FROM log.append_v1($1, $2, $3, $4, $5, $6, '{}', '{}', '{}')"
    arguments = ([plan()], [-1], [1], [new_id()], ["PlanStarted"], [b"{}"])
    await store.append(command(plan()))
    transaction = connection.transaction()
    await transaction.start()
    assert (await connection.fetchrow(append, *arguments))["at"] == 2
    await transaction.rollback()
    with pytest.raises(asyncpg.UniqueViolationError):  # and one that fails by itself
        await connection.fetchrow(append, [plan()], [-1], [2], [new_id()] * 2, ["PlanStarted"] * 2, [b"{}"] * 2)
    assert await store.append(command(plan())) == Result("appended", 2, 0)
    assert [e.position for e in await store.read_log(0)] == [1, 2]
    assert (await verify_links(await log.pool())).ok


async def test_a_paused_client_blocks_nobody(log: Log, store: EventStore) -> None:
    """Stopped at any instruction, also in the middle of an append: the lock lives on the server and ends there."""
    program = f"""
import asyncio, sys
sys.path.insert(0, {str(Path.cwd())!r})
from tests.store.commands import command, plan
from shared.events.database import open_pool
from shared.events.store import EventStore
from shared.ops.settings import Settings
async def main():
    pool = await open_pool(Settings(database_url={log.dsn("cw_planner")!r}), application="paused")
    async with EventStore(pool) as store:
        async def client():
            while True:
                await store.append(command(plan()))
        print("ready", flush=True)
        await asyncio.gather(*(client() for _ in range(8)))
asyncio.run(main())
"""
    with await asyncio.to_thread(subprocess.Popen, [sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert await asyncio.to_thread(process.stdout.readline) == b"ready\n"
            before = (await store.head()).position
            for moment in range(12):
                await asyncio.sleep(0.02 + moment * 0.0037)
                process.send_signal(signal.SIGSTOP)
                async with asyncio.timeout(2):
                    assert (await store.append(command(plan()))).outcome == "appended"
                process.send_signal(signal.SIGCONT)
            assert (await store.head()).position > before + 24, "the paused client was meant to append too"
        finally:
            process.kill()


async def test_a_client_that_holds_the_lock_in_its_own_transaction_loses_it(log: Log, store: EventStore) -> None:
    """Nobody should, but who does is thrown out: 5 s for every service role, here shortened."""
    connection = await log.connect("cw_planner")
    assert await connection.fetchval("SHOW idle_in_transaction_session_timeout") == "5s"
    await connection.execute("SET idle_in_transaction_session_timeout = '300ms'; BEGIN")
    await connection.fetch(
        "SELECT * FROM log.append_v1($1, $2, $3, $4, $5, $6, '{}', '{}', '{}')",
        *([plan()], [-1], [1], [new_id()], ["PlanStarted"], [b"{}"]),
    )
    begin = time.monotonic()
    assert await store.append(command(plan())) == Result("appended", 1, 0)
    assert 0.1 < time.monotonic() - begin < 3
    connection.terminate()  # the server has ended it: a farewell could meet a closed socket


async def test_a_cancelled_caller_cancels_neither_its_append_nor_its_neighbors(store: EventStore) -> None:
    sent = [command(plan()) for _ in range(6)]
    tasks = [asyncio.create_task(store.append(c)) for c in sent]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert [isinstance(a, asyncio.CancelledError) for a in answers] == [True, False] * 3
    assert await store.wait_beyond(5, 5)
    assert all([await store.read_stream(c.stream) for c in sent])
    assert [(await store.append(c)).outcome for c in sent] == ["duplicate"] * 6


async def test_closing_answers_everything_begun(log: Log) -> None:
    store = EventStore(await log.pool())
    await store.start()
    tasks = [asyncio.create_task(store.append(command(plan()))) for _ in range(50)]
    await asyncio.sleep(0)
    await store.close()
    assert [t.result().outcome for t in tasks] == ["appended"] * 50
    with pytest.raises(RuntimeError):
        await store.append(command(plan()))


async def test_time_never_falls_in_the_log_whatever_the_clock_does(log: Log, store: EventStore) -> None:
    await store.append(command(plan()))
    admin = await log.connect()
    await admin.execute(
        "UPDATE log.log_head SET recorded_at = recorded_at + interval '1 hour'"
    )  # as if it was set back
    ahead = (await store.head()).recorded_at
    await store.append(command(plan()))
    assert [e.recorded_at for e in await store.read_log(1)] == [ahead]


async def test_a_malformed_command_is_refused_before_it_is_sent(store: EventStore, log: Log) -> None:
    stream = plan()
    id_ = new_id()
    for bad in (
        Append("plan-1", -1, ((new_id(), started(stream)),), CONTEXT),
        Append("plan " + new_id(), -1, ((new_id(), started(stream)),), CONTEXT),
        Append(stream, -1, (), CONTEXT),
        Append(stream, -1, (("x", started(stream)),), CONTEXT),
        Append(stream, -1, ((id_, started(stream)), (id_, started(stream))), CONTEXT),
        Append(stream, -1, ((new_id(), claimed("chunk-" + new_id())),), CONTEXT),
    ):
        with pytest.raises(ValueError):
            await store.append(bad)
    assert await count(log) == 0


async def test_an_answer_that_was_lost_is_asked_for_again_and_the_effect_is_one(log: Log) -> None:
    async with Wire(log.dsn("cw_planner")) as wire:
        pool = await open_pool(Settings(database_url=wire.dsn), application="tests")
        async with EventStore(pool) as store:
            await store.append(command(plan()))
            wire.holding = True  # from here on the server works, and its answers get lost
            sent = [command(plan()) for _ in range(5)]
            tasks = [asyncio.create_task(store.append(c)) for c in sent]
            await asyncio.wait_for(wire.sent_while_holding.wait(), 5)
            wire.holding = False
            wire.drop()
            answers = await asyncio.gather(*tasks)
        await pool.close()
    assert {a.outcome for a in answers} <= {"appended", "duplicate"}
    assert sorted(a.position for a in answers if a.position) == [2, 3, 4, 5, 6]
    assert await count(log) == 6


async def test_an_outage_shorter_than_the_patience_is_not_noticed_by_callers(log: Log) -> None:
    async with Wire(log.dsn("cw_planner")) as wire:
        pool = await open_pool(Settings(database_url=wire.dsn), application="tests")
        async with EventStore(pool, patience=10) as store:
            await store.append(command(plan()))
            await wire.cut()
            tasks = [asyncio.create_task(store.append(command(plan()))) for _ in range(40)]
            await asyncio.sleep(0.4)
            await wire.mend()
            answers = await asyncio.gather(*tasks)
        await pool.close()
    assert {a.outcome for a in answers} == {"appended"}
    assert await count(log) == 41


async def test_an_outage_longer_than_the_patience_is_told_and_the_same_command_succeeds_afterwards(log: Log) -> None:
    async with Wire(log.dsn("cw_planner")) as wire:
        pool = await open_pool(Settings(database_url=wire.dsn), application="tests")
        async with EventStore(pool, patience=0.5) as store:
            await store.append(command(plan()))
            await wire.cut()
            sent = [command(plan()) for _ in range(40)]
            begin = time.monotonic()
            answers = await asyncio.gather(*(store.append(c) for c in sent), return_exceptions=True)
            assert all(isinstance(a, StoreUnavailable) for a in answers)
            assert time.monotonic() - begin < 3, "callers must not wait for each other's patience"
            await wire.mend()
            assert {(await store.append(c)).outcome for c in sent} == {"appended"}
        await pool.close()


async def test_connections_that_are_terminated_all_the_time_lose_and_double_nothing(
    log: Log, store: EventStore
) -> None:
    admin, done, sent, recorded = await log.connect(), False, 0, 0

    async def client() -> None:
        nonlocal sent, recorded
        while not done:
            sent += 1
            assert (await store.append(command(plan()))).recorded
            recorded += 1

    async def terminate() -> None:
        await admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND usename = 'cw_planner'"
        )

    clients = [asyncio.create_task(client()) for _ in range(16)]
    for times in range(1, 9):
        await asyncio.sleep(0.12)
        while recorded < 8 * times:  # a slow machine needs time to connect again
            await asyncio.sleep(0.02)
        await terminate()
    done = True
    await asyncio.gather(*clients)
    assert await count(log) == sent == recorded
    assert (await verify_links(admin)).checked == sent


async def test_a_role_that_may_not_write_a_stream_is_told_so_and_its_neighbors_are_not_harmed(log: Log) -> None:
    store = await log.store("cw_executor")
    good, bad = "chunk-" + new_id(), plan()
    answer, refusal = await asyncio.gather(
        store.append(command(good)), store.append(command(bad)), return_exceptions=True
    )
    assert answer == Result("appended", 1, 0)
    assert isinstance(refusal, AppendRefused) and "cw_executor may not append" in str(refusal)
