"""The sandbox's server over real HTTP, in this process, on a free port."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import uvicorn
from starlette.applications import Starlette

from sandbox.server import build


class _Server(uvicorn.Server):
    """Leaves signals to the test runner, and ends at once when told."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ended = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def main_loop(self) -> None:
        await self.ended.wait()


@asynccontextmanager
async def serving(app: Starlette, context: str = "") -> AsyncIterator[str]:
    """Address of the running application."""
    # with the protocol named, or asyncio leaves Nagle's algorithm on and every answer waits 40 ms
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.bind(("127.0.0.1", 0))
    server = _Server(uvicorn.Config(app, log_level="error", lifespan="off", access_log=False))
    task = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        while not server.started:
            await asyncio.sleep(0.005)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}{context}"
    finally:
        server.force_exit = True
        server.ended.set()
        await task
        listening.close()


def instance(version: str, sample: str = "north", **options: Any) -> Starlette:
    return build({"version": version, "seed": 7, "sample": sample, **options})
