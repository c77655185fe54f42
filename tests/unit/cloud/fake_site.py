"""A tiny site on a real socket: every test says what it answers, and reads back what it was sent."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Answerer = Callable[["Seen"], Response | Awaitable[Response]]


@dataclass
class Seen:
    method: str
    path: str
    query: list[tuple[str, str]]
    headers: dict[str, str]
    body: bytes

    def json(self) -> object:
        return json.loads(self.body)


@dataclass
class FakeSite:
    url: str = ""
    seen: list[Seen] = field(default_factory=list)
    answer: Answerer = field(default=lambda seen: JSONResponse({}))

    def methods(self) -> list[str]:
        return [request.method for request in self.seen]


@asynccontextmanager
async def fake_site() -> AsyncIterator[FakeSite]:
    site = FakeSite()

    async def endpoint(request: Request) -> Response:
        seen = Seen(
            request.method,
            request.url.path,
            request.query_params.multi_items(),
            dict(request.headers),
            await request.body(),
        )
        site.seen.append(seen)
        answer = site.answer(seen)
        return await answer if isinstance(answer, Awaitable) else answer

    app = Starlette(
        routes=[Route("/{rest:path}", endpoint, methods=["GET", "POST", "PUT", "DELETE"])],
    )
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical", lifespan="off"))
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    site.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    try:
        yield site
    finally:
        server.should_exit = True
        server.force_exit = True
        await task


@asynccontextmanager
async def raw_site(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[str]:
    """A socket that does exactly what ``serve`` does with each connection."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


async def read_request(reader: asyncio.StreamReader) -> tuple[str, bytes]:
    """The request line and the body of one request with a Content-Length."""
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    length = next((int(line.split(":")[1]) for line in lines if line.lower().startswith("content-length:")), 0)
    return lines[0], await reader.readexactly(length)
