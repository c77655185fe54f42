"""JetStream holds hints and nothing else: whatever is lost there, every plan ends right without any command."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import nats
import pytest
import pytest_asyncio
from nats.aio.client import Client

from shared.events import topology
from tests.e2e.world import Move, World

pytestmark = [pytest.mark.slow, pytest.mark.chaos]


@pytest_asyncio.fixture(loop_scope="session")
async def admin(house: World) -> AsyncIterator[Client]:
    """A user of NATS who may do everything; none of the services is one."""
    nats_ = house.house.nats
    client = await nats.connect(
        nats_.url, user="admin", password=nats_.password("admin"), max_reconnect_attempts=-1, reconnect_time_wait=0.1
    )
    yield client
    await client.close()


async def under_way(house: World, move: Move, ended: int) -> None:
    """Waits until so many chunks of the plan have ended; more are to come."""
    async with asyncio.timeout(60):
        while (await chunks(house, move))[0] < ended:
            await asyncio.sleep(0.02)
    assert await house.status(move) == "RUNNING"


async def chunks(house: World, move: Move) -> tuple[int, int]:
    """Of the plan: chunks that have ended, and all."""
    (row,) = await house.rows(
        "SELECT count(*) FILTER (WHERE state = 'ended') AS ended, count(*) AS n FROM work.chunk WHERE plan = $1",
        move.plan,
    )
    return row["ended"], row["n"]


async def ends_right(house: World, move: Move, undisturbed: str) -> None:
    report = await house.ended(move, timeout=90)
    assert report["status"] == "FINISHED", report
    assert report["conserved"]
    assert await house.twice(move) == []
    assert await house.canonical(move) == undisturbed


async def test_jetstreams_folder_is_deleted_in_the_middle_of_a_plan(
    house: World, source: str, undisturbed: str
) -> None:
    move = await house.plan(source)
    await house.run(move)
    await under_way(house, move, 4)
    await house.house.nats.restart(empty=True)
    await ends_right(house, move, undisturbed)


async def test_every_message_of_work_is_purged_again_and_again(
    house: World, source: str, undisturbed: str, admin: Client
) -> None:
    move = await house.plan(source)
    await house.run(move)
    for ended in range(2, 20, 4):
        await under_way(house, move, ended)
        await admin.jetstream().purge_stream(topology.WORK)
    await ends_right(house, move, undisturbed)


async def test_messages_of_work_are_acknowledged_by_somebody_who_does_nothing(
    house: World, source: str, undisturbed: str, admin: Client
) -> None:
    durable = topology.DURABLES[topology.EXECUTOR]
    thief = await admin.jetstream().pull_subscribe_bind(durable=durable.name, stream=durable.stream)
    stolen = 0

    async def steal() -> None:
        nonlocal stolen
        with suppress(TimeoutError):
            for message in await thief.fetch(10, timeout=0.5):
                await message.ack()
                stolen += 1

    executors = ("executor-1", "executor-2")
    await asyncio.gather(*(house.house.hold(name) for name in executors))
    move = await house.plan(source)
    await house.run(move)
    async with asyncio.timeout(30):
        while stolen < 2:  # the first hint, and the same chunk's next one
            await steal()
    for name in executors:
        house.house.release(name)
    while stolen < 5 and await house.status(move) == "RUNNING":  # whatever can be had in front of the executors
        await steal()
    await thief.unsubscribe()
    await ends_right(house, move, undisturbed)


async def test_a_durable_is_deleted_while_its_readers_wait(
    house: World, source: str, undisturbed: str, admin: Client
) -> None:
    move = await house.plan(source)
    await house.run(move)
    await under_way(house, move, 4)
    await admin.jetstream().delete_consumer(topology.WORK, topology.EXECUTOR)
    await ends_right(house, move, undisturbed)
