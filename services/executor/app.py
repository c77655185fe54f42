"""Wiring of the executor: hints from NATS, a few chunks at once, a graceful end."""

import json
from contextlib import suppress

import structlog
from nats.aio.msg import Msg

from services.executor.worker import Executor
from shared.events import schema, topology
from shared.events.answering import service_key
from shared.events.claims import Claims
from shared.events.database import close_pool, open_pool
from shared.events.serving import serve
from shared.events.store import EventStore
from shared.ops import bus, health
from shared.ops.health import OpsServer
from shared.ops.process import Stop
from shared.ops.settings import Settings

log = structlog.get_logger(__name__)


async def main(settings: Settings, stop: Stop) -> None:
    pool = await open_pool(settings, application="executor")
    await schema.check(pool)
    async with EventStore(pool) as store:
        client = await bus.connect(settings, "executor")
        claims = Claims(store, pool, settings, service_key("executor"))
        log.info("working", worker=claims.worker)

        async def wake(side: str) -> None:
            await client.publish("sig.throttle", json.dumps({"side": side}).encode())

        executor = Executor(store, pool, claims, settings, wake)

        async def on_throttle(message: Msg) -> None:
            with suppress(ValueError, KeyError, TypeError):
                executor.throttle_news(str(json.loads(message.data)["side"]))

        await client.subscribe("sig.throttle", cb=on_throttle)
        hints = bus.Hints(client, topology.DURABLES[topology.EXECUTOR])

        checks = {"database": health.database(pool), "nats": bus.connected(client), "hints": hints.check}
        async with OpsServer(settings, "executor", checks) as ops:

            def let_go() -> None:
                ops.end()
                executor.drain()

            await serve(hints, executor.work, settings.chunks_per_worker, stop, let_go)
        await executor.close()
        await client.close()
    await close_pool(pool)
