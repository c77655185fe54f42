"""Wiring of the planner: commands by NATS, and the leader's loop."""

import asyncio
import time

import asyncpg

from services.planner.handlers import COMMANDS, Handlers
from services.planner.leader import Leader
from services.planner.leadership import Connect
from shared.events import schema
from shared.events.answering import answer, service_key
from shared.events.database import close_pool, open_pool, read_password
from shared.events.letters import Letters
from shared.events.projections.watch import Watch
from shared.events.store import EventStore
from shared.ops import bus, health, metrics
from shared.ops.health import Check, Failed, OpsServer
from shared.ops.process import Stop
from shared.ops.settings import Settings

# The leader's loop waits at most a second for news, and for a statement as long as Postgres lets it wait for a lock.
_TURN = 7.0


async def main(settings: Settings, stop: Stop) -> None:
    pool = await open_pool(settings, application="planner")
    await schema.check(pool)
    store = EventStore(pool)
    async with store:
        broker = bus.broker(settings, "planner")
        handlers, letters = Handlers(store, pool, settings.least_release), Letters(pool)
        for command, method in COMMANDS.items():
            answer(broker, "planner", command, getattr(handlers, method), letters)
        connection = Connect(settings.database_url, read_password(settings.database_password_file))
        leader: Leader | None = None

        def reconnected() -> None:
            if leader is not None:
                leader.mend_soon()

        client = await bus.connect(settings, "planner", on_reconnect=reconnected)
        leader = Leader(store, pool, client, connection, settings, service_key("planner"))

        async def topology_there() -> None:
            try:
                missing = await bus.look_at_topology(client)
            except Failed:
                leader.mend_soon()
                raise
            if missing:
                leader.mend_soon()
                raise Failed(f"missing on NATS: {', '.join(missing)}")

        async def turns() -> None:
            metrics.RELAY_LEADER.set(leader.leading)
            if (late := time.monotonic() - leader.turned_at) > _TURN:
                raise Failed(f"the leader's loop has not turned for {late:.0f} s")

        checks = {
            "database": health.database(pool),
            "nats": bus.connected(client),
            "topology": topology_there,
            "leader loop": turns,
            "projection work": _moves(pool, "work"),
            "relay": _moves(pool, "relay"),
        }
        async with OpsServer(settings, "planner", checks) as ops:
            await broker.start()
            leading = asyncio.create_task(leader.run(stop), name="leader")
            await asyncio.wait({leading, asyncio.create_task(stop.wait())}, return_when=asyncio.FIRST_COMPLETED)
            ops.end()
            await leading
            await broker.stop()
        await client.close()
    await close_pool(pool)


def _moves(pool: asyncpg.Pool, name: str) -> Check:
    watch = Watch(pool, "work", name)

    async def check() -> None:
        seen = await watch.look()
        if seen.stands:
            raise Failed(f"stands at {seen.position} of {seen.head} for {seen.still:.0f} s")

    return check
