"""Streams and durables on a real server."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import pytest_asyncio
from nats.aio.client import Client
from nats.js.errors import NotFoundError

from shared.events import topology
from tests.servers import NatsServer


@pytest_asyncio.fixture(loop_scope="session")
async def empty(nats: NatsServer) -> AsyncIterator[NatsServer]:
    """No stream at all; afterwards everything is there again."""
    admin = await nats.connect()
    for config in topology.streams():
        await admin.jetstream().delete_stream(str(config.name))
    await admin.close()
    yield nats
    await nats.reset()


@pytest_asyncio.fixture(loop_scope="session")
async def planner(nats: NatsServer) -> AsyncIterator[Client]:
    client = await nats.connect("planner")
    yield client
    await client.close()


async def test_upgrade_creates_everything_and_twice_is_harmless(empty: NatsServer) -> None:
    client = await empty.connect("migrate")
    js = client.jetstream()
    assert await topology.upgrade(js) == ["EVENTS", "WORK", "WORK.executor", "WORK.analyzer"]
    assert await topology.upgrade(js) == []
    assert await topology.missing(js) == []
    for durable in topology.DURABLES.values():
        config = (await js.consumer_info(durable.stream, durable.name)).config
        assert (config.max_deliver, config.ack_wait, config.filter_subject) == (-1, 30.0, durable.subject)
    await client.close()


async def test_the_planner_creates_what_is_missing_and_changes_nothing_that_is_there(
    empty: NatsServer, planner: Client
) -> None:
    admin = await empty.connect()
    events, _ = topology.streams()
    await admin.jetstream().add_stream(replace(events, max_age=3600.0))
    assert await topology.create_missing(planner.jetstream()) == ["WORK", "WORK.executor", "WORK.analyzer"]
    assert (await admin.jetstream().stream_info("EVENTS")).config.max_age == 3600.0
    assert await topology.create_missing(planner.jetstream()) == []
    await admin.jetstream().delete_consumer("WORK", "executor")
    assert await topology.create_missing(planner.jetstream()) == ["WORK.executor"]
    await admin.close()


async def test_a_lost_folder_of_jetstream_is_made_good(nats: NatsServer) -> None:
    await nats.restart(empty=True)
    client = await nats.connect("planner")
    with pytest.raises(NotFoundError):
        await client.jetstream().stream_info("WORK")
    assert len(await topology.create_missing(client.jetstream())) == 4
    await client.close()


async def test_waiting_names_what_is_missing(empty: NatsServer, planner: Client) -> None:
    with pytest.raises(TimeoutError, match=r"EVENTS, WORK, WORK\.executor"):
        await topology.wait(planner.jetstream(), patience=0.1)
