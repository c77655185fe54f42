"""Claims about reading and waiting."""

import asyncio
import time

import pytest

from shared.events import store as store_module
from shared.events.database import open_pool
from shared.events.store import Append, EventStore, StoreUnavailable
from shared.events.types import new_id
from shared.ops.settings import Settings
from tests.store.commands import CONTEXT, command, plan
from tests.store.logs import Log
from tests.store.wire import Wire


async def test_no_reader_ever_skips_or_repeats_an_event_under_8_concurrent_writers(log: Log) -> None:
    """Every writer as in a process of its own, events by ones and fives, some commands conflicting, some rolled back."""
    stores = [await log.store(size=2) for _ in range(8)]
    appended: list[str] = []
    end = time.monotonic() + 3

    def going() -> bool:
        return time.monotonic() < end or len(appended) <= 500

    async def write(store: EventStore, number: int) -> None:
        stream, version = plan(), -1
        while going():
            sent = command(stream, version if number % 4 or version < 5 else version - 1, 5 if number % 2 else 1)
            answer = await store.append(sent)
            if answer.outcome == "appended":
                appended.extend(id_ for id_, _ in sent.events)
            assert answer.version is not None
            version = answer.version
            if answer.outcome == "conflict":
                stream, version = plan(), -1

    async def roll_back() -> None:
        connection = await log.connect("cw_planner")
        while going():
            transaction = connection.transaction()
            await transaction.start()
            await connection.execute(
                "SELECT log.append_v1($1, '{-1}', '{1}', $2, '{PlanStarted}', $3, '{}', '{}', '{}')",
                *([plan()], [new_id()], [b"{}"]),
            )
            await asyncio.sleep(0.003)
            await transaction.rollback()
            await asyncio.sleep(0.02)

    async def tail(store: EventStore, limit: int) -> list[tuple[int, str]]:
        seen: list[tuple[int, str]] = []
        quiet_since = None
        while quiet_since is None or time.monotonic() < quiet_since:
            cursor = seen[-1][0] if seen else 0
            page = await store.read_log(cursor, limit)
            seen += [(e.position, e.event_id) for e in page]
            if page:
                quiet_since = None
            elif not await store.wait_beyond(cursor, 0.2) and not going():
                quiet_since = quiet_since or time.monotonic() + 0.4
        return seen

    reader = await log.store("cw_dashboard")
    first, second, *_ = await asyncio.gather(
        tail(reader, 500), tail(reader, 7), roll_back(), *(write(s, n) for n, s in enumerate(stores))
    )
    for seen in (first, second):
        assert [position for position, _ in seen] == list(range(1, len(appended) + 1))
        assert sorted(id_ for _, id_ in seen) == sorted(appended)


async def test_a_page_of_the_log_is_bounded_by_number_and_by_bytes(
    store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await asyncio.gather(*(store.append(command(plan())) for _ in range(50)))
    assert [e.position for e in await store.read_log(10, limit=5)] == [11, 12, 13, 14, 15]
    size = len((await store.read_log(0, 1))[0].body)
    monkeypatch.setattr(store_module, "MAX_PAGE_BYTES", size * 3)
    assert [e.position for e in await store.read_log(0)] == [1, 2, 3]
    monkeypatch.setattr(store_module, "MAX_PAGE_BYTES", 1)
    assert [e.position for e in await store.read_log(49)] == [50], "a page has one event at least, however large"
    assert await store.read_log(50) == []


@pytest.mark.parametrize(
    ("query", "arguments"),
    [
        (store_module.PAGE, "100, 500, 1000000"),
        (store_module._OF_STREAM, "'plan-1', 0, 500"),
        (store_module._BY_ID, "gen_random_uuid()"),
    ],
    ids=["page", "stream", "id"],
)
async def test_a_read_goes_by_an_index_whatever_the_size_of_the_log(
    log: Log, store: EventStore, query: str, arguments: str
) -> None:
    for _ in range(6):
        await store.append(command(plan(), count=500))
    admin = await log.connect()
    await admin.execute("ANALYZE log.events")
    await admin.execute(f"SET plan_cache_mode = force_generic_plan; PREPARE read AS {query}")
    lines = await admin.fetch(f"EXPLAIN EXECUTE read({arguments})")
    text = "\n".join(line[0] for line in lines)
    assert "using events_" in text and "Seq Scan" not in text, text


async def test_reads_go_on_after_connections_were_lost_and_say_when_postgres_is_away(log: Log) -> None:
    async with Wire(log.dsn("cw_dashboard")) as wire:
        pool = await open_pool(Settings(database_url=wire.dsn, database_pool=2), application="tests")
        async with EventStore(pool) as store:
            assert (await store.head()).position == 0
            wire.drop()
            assert await store.read_log(0) == []
            await wire.cut()
            with pytest.raises(StoreUnavailable, match="did not answer a read"):
                await store.read_log(0)
            assert not await store.wait_beyond(0, 0.1)
            await wire.mend()
            assert await store.read_stream(plan()) == []
        await pool.close()


async def test_a_long_stream_is_read_whole(store: EventStore) -> None:
    stream = plan()
    for version in range(-1, 1099, 100):
        await store.append(command(stream, version, 100))
    assert [e.version for e in await store.read_stream(stream)] == list(range(1100))


async def test_a_waiting_reader_is_woken_by_another_process_without_polling(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.events.store.POLL", 60.0)
    reader, writer = await log.store("cw_dashboard"), await log.store()
    assert not await reader.wait_beyond(0, 0.3)  # by now it listens
    waiting = asyncio.create_task(reader.wait_beyond(0, 10))
    await asyncio.sleep(0.05)
    await writer.append(command(plan()))
    assert await waiting
    assert await reader.wait_beyond(0, 0)
    assert not await reader.wait_beyond(1, 0.1)


async def test_a_waiting_reader_hears_of_new_events_though_no_notification_reaches_it(log: Log) -> None:
    reader, writer = await log.store("cw_dashboard"), await log.store()
    reader._heard = lambda *_: None  # type: ignore[assignment,method-assign]
    assert not await reader.wait_beyond(0, 0.1)
    waiting = asyncio.create_task(reader.wait_beyond(0, 10))
    await asyncio.sleep(0.05)
    begin = time.monotonic()
    await writer.append(command(plan()))
    assert await waiting
    assert time.monotonic() - begin < 1.5


async def test_a_waiting_reader_survives_the_loss_of_its_listening_connection(log: Log) -> None:
    reader, writer, admin = await log.store("cw_dashboard"), await log.store(), await log.connect()
    assert not await reader.wait_beyond(0, 0.2)
    for position in range(3):
        waiting = asyncio.create_task(reader.wait_beyond(position, 10))
        await asyncio.sleep(0.05)
        killed = await admin.fetchval(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE usename = 'cw_dashboard' AND datname = current_database()"
        )
        assert killed >= 1
        await asyncio.sleep(0.05)
        await writer.append(command(plan()))
        assert await waiting
    await asyncio.sleep(0.7)
    assert await admin.fetchval(
        "SELECT count(*) FROM pg_stat_activity WHERE usename = 'cw_dashboard' AND query ILIKE 'LISTEN%'"
        " AND datname = current_database()"
    ), "it was meant to listen again"


async def test_a_call_notifies_once_with_the_new_end_of_the_log_and_only_if_it_appended(log: Log) -> None:
    heard: list[str] = []
    listener, store = await log.connect("cw_dashboard"), await log.store()
    await listener.add_listener("log", lambda *a: heard.append(a[3]))
    stream = plan()
    await asyncio.gather(*(store.append(command(plan())) for _ in range(10)))
    await asyncio.gather(*(store.append(command(stream, v)) for v in (-1, 0, 1)))  # one after the other, in one call
    await store.append(command(stream, 0))  # a conflict
    await asyncio.sleep(0.2)
    assert heard == ["10", "13"]
    await listener.remove_listener("log", lambda *_: None)


async def test_one_command_may_be_larger_than_a_batch(store: EventStore) -> None:
    stream = plan()
    big: Append = command(stream, count=6000)
    assert sum(300 for _ in big.events) > store_module.MAX_BYTES
    others = [command(plan()) for _ in range(3)]
    answers = await asyncio.gather(*(store.append(c) for c in (others[0], big, *others[1:])))
    assert [a.outcome for a in answers] == ["appended"] * 4
    assert len(await store.read_stream(stream)) == 6000
    assert big.context == CONTEXT
