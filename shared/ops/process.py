"""What every service process has in common: settings, log, signals, a graceful end, and an exit code that says why.

Exit codes: 0 ended as asked; 1 failed; 69 database or NATS away or refusing; 78 settings wrong; 128 + n ended by a second
signal n, or by the end of who started it.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import NoReturn

import structlog
import uvloop
from pydantic import ValidationError

from shared.ops import tracing
from shared.ops.log import configure
from shared.ops.settings import Settings

log = structlog.get_logger(__name__)

Stop = asyncio.Event

FAILED = 1
UNAVAILABLE = 69
MISCONFIGURED = 78


class Unavailable(Exception):
    """Something this process cannot do without is away or refuses it. The text says what, why and what next."""


def run_service(name: str, main: Callable[[Settings, Stop], Awaitable[None]]) -> NoReturn:
    """Runs ``main(settings, stop)`` until it returns, and ends the process.

    The first SIGTERM or SIGINT sets ``stop``; ``main`` then has ``settings.grace`` seconds to return, after which it is
    cancelled. The second signal ends the process at once: correctness never depends on a graceful end.
    """
    try:
        settings = Settings()
    except ValidationError as error:
        problems = "; ".join(
            f"CLOUDWARD_{'_'.join(str(part) for part in item['loc']).upper()}: {item['msg']}" for item in error.errors()
        )
        sys.stderr.write(f"cloudward {name}: the settings are wrong: {problems}. Correct the environment.\n")
        sys.exit(MISCONFIGURED)
    configure(name, format=settings.log_format, level=settings.log_level)
    tracing.configure(name, settings)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        code = runner.run(_run(name, settings, main))
    sys.exit(code)


async def _run(name: str, settings: Settings, main: Callable[[Settings, Stop], Awaitable[None]]) -> int:
    # Imported here: these modules need the settings of this package.
    from shared.events.database import DatabaseUnavailable
    from shared.events.schema import SchemaError

    stop = Stop()
    loop = asyncio.get_running_loop()

    def on_signal(number: signal.Signals) -> None:
        if stop.is_set():
            os._exit(128 + number)
        log.info("ending", signal=number.name)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
    if settings.parent_fd is not None:
        _watch_parent(loop, settings.parent_fd, stop, settings.grace)

    log.info("starting", pid=os.getpid())
    task = asyncio.ensure_future(main(settings, stop))
    asked = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({task, asked}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            await asyncio.wait({task}, timeout=settings.grace)
        if not task.done():
            log.warning("not ended within the grace time: cut off", grace=settings.grace)
            task.cancel()
            await asyncio.wait({task}, timeout=5)
            return FAILED
        task.result()
    except asyncio.CancelledError:
        return FAILED
    except (DatabaseUnavailable, SchemaError, Unavailable) as error:
        # These texts are written for people and hold neither secrets nor contents.
        log.error("cannot run", why=str(error))
        return UNAVAILABLE
    except Exception as error:
        log.exception("failed", kind=type(error).__name__)
        return FAILED
    finally:
        asked.cancel()
    log.info("ended")
    return 0


def _watch_parent(loop: asyncio.AbstractEventLoop, fd: int, stop: Stop, grace: float) -> None:
    """Ends this process when the other side of the pipe is closed, however that came about."""

    def on_end() -> None:
        loop.remove_reader(fd)
        log.warning("who started this process is gone: ending")
        stop.set()
        loop.call_later(grace, os._exit, 128 + signal.SIGHUP)

    os.set_blocking(fd, False)
    loop.add_reader(fd, on_end)
