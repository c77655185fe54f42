"""Wiring of the analyzer: commands by NATS, analyses as chunks."""

from services.analyzer.handlers import COMMANDS, Handlers
from services.analyzer.tables import TABLE_COMMANDS, Tables
from services.analyzer.worker import Analyzer
from shared.events import schema, topology
from shared.events.answering import answer, service_key
from shared.events.claims import Claims
from shared.events.database import close_pool, open_pool
from shared.events.letters import Letters
from shared.events.serving import serve
from shared.events.store import EventStore
from shared.ops import bus, health
from shared.ops.health import OpsServer
from shared.ops.process import Stop
from shared.ops.settings import Settings

_CHUNKS_AT_ONCE = 4


async def main(settings: Settings, stop: Stop) -> None:
    pool = await open_pool(settings, application="analyzer")
    await schema.check(pool)
    async with EventStore(pool) as store:
        broker = bus.broker(settings, "analyzer")
        handlers, letters = Handlers(store, pool, settings), Letters(pool)
        for command, method in COMMANDS.items():
            answer(broker, "analyzer", command, getattr(handlers, method), letters)
        tables = Tables(store, pool)
        for command, method in TABLE_COMMANDS.items():
            answer(broker, "analyzer", command, getattr(tables, method), letters)
        client = await bus.connect(settings, "analyzer")
        claims = Claims(store, pool, settings, service_key("analyzer"))
        analyzer = Analyzer(store, pool, claims, settings)
        hints = bus.Hints(client, topology.DURABLES[topology.ANALYZER])

        checks = {"database": health.database(pool), "nats": bus.connected(client), "hints": hints.check}
        async with OpsServer(settings, "analyzer", checks) as ops:

            def let_go() -> None:
                ops.end()
                analyzer.drain()

            await broker.start()
            await serve(hints, analyzer.work, _CHUNKS_AT_ONCE, stop, let_go)
            await broker.stop()
        await analyzer.close()
        await client.close()
    await close_pool(pool)
