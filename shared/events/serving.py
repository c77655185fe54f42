"""The loop of a worker process: hints from a durable, as many at once as there is room for, and a graceful end."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

import structlog
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from shared.ops.metrics import IN_FLIGHT

log = structlog.get_logger(__name__)


_TURN = 2.0  # seconds between two signs of life while there is no room for more


class Fetch(Protocol):
    """See ``shared.ops.bus.Hints``."""

    async def fetch(self, batch: int, timeout: float = 5.0) -> list[Msg]: ...

    def turned(self) -> None: ...


# Works on a hint's body and acknowledges the hint when its message is no longer needed. Seconds to try again, or None.
Work = Callable[[bytes, Callable[[], Awaitable[None]]], Awaitable[float | None]]


async def serve(hints: Fetch, work: Work, most: int, stop: asyncio.Event, drain: Callable[[], None]) -> None:
    """Until ``stop``; then ``drain`` tells the work under way to let go, and its end is waited for."""
    running: set[asyncio.Task[None]] = set()
    room = asyncio.Semaphore(most)

    async def handle(message: Msg) -> None:
        try:
            again = await work(message.data, message.ack)
            if again is not None:
                await message.nak(delay=again)
        except (NatsError, OSError) as error:
            log.warning("hint not acknowledged", error=type(error).__name__)
        except Exception as error:
            # Not acknowledged: it comes again, and by then the trouble may be over. The others go on.
            log.exception("hint not worked on", error=type(error).__name__)
        finally:
            room.release()

    def left(task: asyncio.Task[None]) -> None:
        running.discard(task)
        IN_FLIGHT.set(len(running))

    stopping = asyncio.create_task(stop.wait())
    while not stop.is_set():
        # With every place taken the end must not wait for a chunk's: it is what makes the chunks let go.
        entering = asyncio.create_task(room.acquire())
        while not (entering.done() or stopping.done()):
            await asyncio.wait({entering, stopping}, timeout=_TURN, return_when=asyncio.FIRST_COMPLETED)
            hints.turned()
        if not entering.done():
            entering.cancel()
            break
        fetching = asyncio.create_task(hints.fetch(1, timeout=5.0))
        await asyncio.wait({fetching, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not fetching.done():
            fetching.cancel()
            break
        messages = fetching.result()
        if not messages:
            room.release()
        for message in messages:
            task = asyncio.create_task(handle(message))
            running.add(task)
            task.add_done_callback(left)
            IN_FLIGHT.set(len(running))
    drain()
    if running:
        await asyncio.wait(running)
