"""Connections to NATS as the services' users, on a real server."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

import nats.errors
import pytest
import pytest_asyncio
from nats.aio.client import Client
from nats.js.errors import NotFoundError

from cli.embedded.nats import free_port
from shared.events import topology
from shared.ops import bus
from shared.ops.settings import Settings
from tests.servers import NatsServer


@pytest_asyncio.fixture(loop_scope="session")
async def fresh(nats: NatsServer) -> AsyncIterator[NatsServer]:
    await nats.reset()
    yield nats
    await nats.reset()


async def _connect(server: NatsServer, user: str) -> Client:
    return await bus.connect(Settings(**server.settings(user)), user)


async def test_a_wrong_password_is_refused_at_once_with_a_way_on(nats: NatsServer, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("wrong")
    settings = Settings(nats_url=nats.url, nats_user="planner", nats_password_file=tmp_path / "password")
    began = time.monotonic()
    with pytest.raises(bus.NatsUnavailable, match=r"refuses the user planner.*Check CLOUDWARD_NATS_USER"):
        await bus.connect(settings, "planner", patience=30)
    assert time.monotonic() - began < 5


async def test_an_absent_server_is_named_after_the_patience() -> None:
    settings = Settings(nats_url=f"nats://127.0.0.1:{free_port()}")
    with pytest.raises(bus.NatsUnavailable, match=r"does not answer.*tried for 0.3 s.*CLOUDWARD_NATS_URL"):
        await bus.connect(settings, "planner", patience=0.3)


async def test_hints_wait_while_the_durable_is_missing_and_come_when_it_is_made(fresh: NatsServer) -> None:
    await fresh.restart(empty=True)
    executor, planner = await _connect(fresh, "executor"), await _connect(fresh, "planner")
    hints = bus.Hints(executor, topology.DURABLES[topology.EXECUTOR])
    began = time.monotonic()
    assert await hints.fetch(1, timeout=2) == []
    assert hints.refused
    assert time.monotonic() - began >= 1.0
    await topology.create_missing(planner.jetstream())
    await planner.jetstream().publish("work.chunk", b"one", headers={"Nats-Msg-Id": "c:1"})
    (message,) = await hints.fetch(5, timeout=2)
    assert message.data == b"one"
    await message.ack()
    await hints.check()
    assert await hints.fetch(1, timeout=0.2) == []
    await executor.close()
    await planner.close()


async def test_hints_go_on_after_the_server_was_killed(fresh: NatsServer) -> None:
    executor = await _connect(fresh, "executor")
    hints = bus.Hints(executor, topology.DURABLES[topology.EXECUTOR])
    assert await hints.fetch(1, timeout=0.2) == []
    await fresh.kill()  # type: ignore[attr-defined]
    assert await hints.fetch(1, timeout=0.2) == []
    await fresh.restart()
    planner = await _connect(fresh, "planner")
    await planner.jetstream().publish("work.chunk", b"one")
    deadline = time.monotonic() + 20
    found = []
    while not found and time.monotonic() < deadline:
        found = await hints.fetch(1, timeout=1)
    assert [message.data for message in found] == [b"one"]
    await executor.close()
    await planner.close()


async def test_a_command_is_answered_by_the_service_that_owns_it(fresh: NatsServer) -> None:
    broker = bus.broker(Settings(**fresh.settings("planner")), "planner")

    @broker.subscriber("cmd.planner.save_plan", queue="planner")
    async def save(body: dict[str, str]) -> dict[str, str]:
        return {"id": body["name"]}

    await broker.start()
    dashboard = await _connect(fresh, "dashboard")
    reply = await dashboard.request("cmd.planner.save_plan", b'{"name": "x"}', timeout=3)
    assert json.loads(reply.data) == {"id": "x"}
    await broker.stop()
    await dashboard.close()


async def test_the_relay_publishes_and_everyone_may_listen(fresh: NatsServer) -> None:
    planner = await _connect(fresh, "planner")
    heard = []
    listeners = [await _connect(fresh, user) for user in ("analyzer", "executor", "dashboard")]
    for listener in listeners:
        subscription = await listener.subscribe("evt.>")
        await listener.flush()
        heard.append(subscription)
    stream = planner.jetstream(publish_async_max_pending=100)
    acks = [await stream.publish_async("evt.plan.PlanSaved", b"{}", headers={"Nats-Msg-Id": "same"}) for _ in range(2)]
    first, second = await asyncio.wait_for(asyncio.gather(*acks), 3)
    assert (first.duplicate, second.duplicate) == (None, True)
    for subscription in heard:
        assert (await subscription.next_msg(timeout=2)).subject == "evt.plan.PlanSaved"
    for client in (planner, *listeners):
        await client.close()


_FORBIDDEN = {
    "executor": ["evt.plan.PlanSaved", "work.chunk", "cmd.planner.stop_plan", "$JS.API.STREAM.PURGE.EVENTS"],
    "analyzer": ["evt.plan.PlanSaved", "work.chunk", "cmd.planner.stop_plan", "$JS.API.STREAM.DELETE.WORK"],
    "dashboard": ["evt.plan.PlanSaved", "work.chunk", "$JS.API.STREAM.INFO.EVENTS", "$JS.API.CONSUMER.LIST.WORK"],
    "planner": ["$JS.API.STREAM.PURGE.EVENTS", "$JS.API.STREAM.DELETE.WORK", "$JS.API.STREAM.UPDATE.WORK"],
    "migrate": ["evt.plan.PlanSaved", "work.chunk", "$JS.API.STREAM.DELETE.EVENTS", "$JS.API.STREAM.PURGE.WORK"],
}


@pytest.mark.parametrize("user", _FORBIDDEN)
async def test_a_user_may_not_do_what_is_not_its_business(fresh: NatsServer, user: str) -> None:
    errors: list[str] = []

    async def on_error(error: Exception) -> None:
        errors.append(str(error))

    client = await fresh.connect(user, error_cb=on_error)
    for subject in _FORBIDDEN[user]:
        await client.publish(subject, b"{}", reply=f"_INBOX_{user}.x")
    with pytest.raises(nats.errors.Error):
        other = await client.subscribe("_INBOX_migrate.>" if user != "migrate" else "_INBOX_planner.>")
        await client.flush()
        await asyncio.sleep(0.1)
        await other.next_msg(timeout=0.2)
    denied = [error for error in errors if "publish" in error]
    assert len(denied) == len(_FORBIDDEN[user])
    await client.close()


async def test_a_durable_that_is_not_there_is_said_so(fresh: NatsServer) -> None:
    client = await _connect(fresh, "planner")
    with pytest.raises(NotFoundError):
        await client.jetstream().consumer_info("WORK", "nobody")
    await client.close()
