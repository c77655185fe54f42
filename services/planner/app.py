"""Wiring of the planner: commands by NATS, and the leader's loop."""

import asyncio
import time

from prometheus_client import Gauge

from services.planner.handlers import COMMANDS, Handlers
from services.planner.leader import Leader
from services.planner.leadership import Connect
from shared.events import schema
from shared.events.answering import answer, service_key
from shared.events.database import open_pool, read_password
from shared.events.store import EventStore
from shared.ops import bus
from shared.ops.health import OpsServer
from shared.ops.process import Stop
from shared.ops.settings import Settings

LEADING = Gauge("cloudward_relay_leader", "1 on the replica that leads")
POSITION = Gauge("cloudward_projection_position", "Position up to which the tables of work are written", ["projection"])


async def main(settings: Settings, stop: Stop) -> None:
    pool = await open_pool(settings, application="planner")
    await schema.check(pool)
    store = EventStore(pool)
    async with store:
        broker = bus.broker(settings, "planner")
        handlers = Handlers(store, pool)
        for command, method in COMMANDS.items():
            answer(broker, "planner", command, getattr(handlers, method))
        connection = Connect(settings.database_url, read_password(settings.database_password_file))
        leader: Leader | None = None

        def reconnected() -> None:
            if leader is not None:
                leader.nats_reconnected()

        client = await bus.connect(settings, "planner", on_reconnect=reconnected)
        leader = Leader(store, pool, client, connection, settings, service_key("planner"))

        async def database() -> None:
            if await pool.fetchval("SHOW transaction_read_only", timeout=3) == "on":
                raise RuntimeError("the database is read-only")

        async def loop() -> None:
            LEADING.set(leader.leading)
            POSITION.labels("work").set(leader.position)
            if time.monotonic() - leader.turned_at > 15:
                raise RuntimeError("the leader's loop does not turn")

        checks = {"database": database, "nats": bus.connected(client), "loop": loop}
        async with OpsServer(settings, "planner", checks):
            await broker.start()
            leading = asyncio.create_task(leader.run(stop), name="leader")
            await asyncio.wait({leading, asyncio.create_task(stop.wait())}, return_when=asyncio.FIRST_COMPLETED)
            await leading
            await broker.stop()
        await client.close()
    await pool.close()
