"""The leader's loop: relay, process manager and dispatch, in turns, on one connection's lease of life.

Every replica runs this; one of them leads, the others try once a second.
"""

import asyncio
import time

import asyncpg
import structlog
from nats.aio.client import Client
from nats.errors import Error as NatsError

from services.planner.dispatch import Dispatch
from services.planner.leadership import Connect, Leadership, LeadershipLost
from services.planner.manager import Manager
from services.planner.relay import Relay
from shared.events import topology
from shared.events.contract import UnknownEvent
from shared.events.database import AWAY
from shared.events.store import UNAVAILABLE, EventStore
from shared.ops.settings import Settings

log = structlog.get_logger(__name__)

_TOPOLOGY_EVERY = 10.0
_INTERRUPTIONS: tuple[type[BaseException], ...] = (*UNAVAILABLE, asyncpg.PostgresError)


class Leader:
    """``run`` until ``stop`` is set. ``leading`` and ``turned_at`` are for readiness and metrics."""

    def __init__(
        self,
        store: EventStore,
        pool: asyncpg.Pool,
        nats: Client,
        connect: Connect,
        settings: Settings,
        service_key: str,
    ) -> None:
        self._store, self._pool, self._nats = store, pool, nats
        self._connect, self._settings, self._key = connect, settings, service_key
        self.leading = False
        self.position = 0
        self.turned_at = time.monotonic()
        self._mend = asyncio.Event()

    def mend_soon(self) -> None:
        """Something may be missing on NATS: looked for at once."""
        self._mend.set()

    async def run(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            self.turned_at = time.monotonic()
            try:
                leadership = await Leadership.campaign(self._connect)
            except AWAY as error:
                log.warning("database is away", error=type(error).__name__)
                await _pause(stop, 1.0)
                continue
            if leadership is None:
                await _pause(stop, 1.0)
                continue
            log.info("leading")
            self.leading = True
            try:
                await self._lead(leadership, stop)
            except LeadershipLost:
                log.warning("leadership lost")
            except UnknownEvent as error:
                log.error("a newer release is needed to lead", position=error.position, type=error.type)
                self.leading = False
                await leadership.resign()
                await _pause(stop, 10.0)
            except _INTERRUPTIONS as error:
                log.warning("leading interrupted", error=type(error).__name__, detail=str(error))
                await _pause(stop, 0.5)
            except Exception as error:
                # Whatever it is, a planner that ends with it would only meet it again; perhaps another replica does not.
                log.exception("leading failed", error=type(error).__name__)
                await leadership.resign()
                await _pause(stop, 2.0)
            finally:
                self.leading = False
                await leadership.resign()

    async def _lead(self, leadership: Leadership, stop: asyncio.Event) -> None:
        manager = Manager(self._store, self._pool, self._settings, self._key)
        relay = Relay(self._store, self._pool, self._nats)
        dispatch = Dispatch(self._pool, self._nats, self._settings)
        await manager.start()
        topology_at = swept_at = looked_at = 0.0
        while not stop.is_set():
            await leadership.touch()
            self.turned_at = now = time.monotonic()
            if now - topology_at > _TOPOLOGY_EVERY or self._mend.is_set():
                self._mend.clear()
                topology_at = now
                if await self._mend_topology():
                    await dispatch.forget()
            worked = await manager.step()
            self.position = manager.position
            worked |= await relay.step()
            if now - looked_at > self._settings.sweep:
                # However busy it is: a decision that was overtaken and forgotten is made now.
                looked_at = now
                await manager.look_at_all()
                await manager.start_due()
                await manager.forget_dry_runs()
                await manager.mind_logins()
            if worked or now - swept_at > self._settings.sweep:
                swept_at = now
                await dispatch.sweep()
            if not worked:
                await self._store.wait_beyond(manager.position, 1.0)

    async def _mend_topology(self) -> list[str]:
        """Creates what is missing on NATS; nothing when NATS is away."""
        if not self._nats.is_connected:
            return []
        try:
            created: list[str] = await asyncio.wait_for(topology.create_missing(self._nats.jetstream(timeout=2)), 5)
        except (NatsError, TimeoutError, OSError) as error:
            log.warning("topology not checked", error=type(error).__name__)
            return []
        if created:
            log.warning("created what was missing on NATS", created=created)
        return created


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return
