"""Live pages: state, not history. A stream sends the page's regions as they are now, then each one that changes."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from time import monotonic

from fastapi import Request
from fastapi.responses import StreamingResponse

from services.dashboard.handlers.context import Parts
from services.dashboard.handlers.events import BEAT, STREAM_HEADERS
from services.dashboard.handlers.rendering import templates
from shared.ops.metrics import SSE_CONNECTIONS

COALESCE = 0.25  # seconds between two updates of a page: nobody reads faster
Regions = Callable[[], Awaitable[dict[str, str]]]


def region(name: str, **values: object) -> str:
    """The same macro as the page uses, so that page and update cannot differ."""
    html: str = getattr(templates.get_template("regions.html").module, name)(**values)
    return html


def live(request: Request, service: Parts, regions: Regions) -> StreamingResponse:
    """The stream of a page's regions, until the process or the session ends."""
    cookie = request.cookies.get(service.cookies.session)
    return StreamingResponse(_updates(service, regions, cookie), media_type="text/event-stream", headers=STREAM_HEADERS)


async def _updates(service: Parts, regions: Regions, cookie: str | None) -> AsyncIterator[str]:
    """State, not history: the page's regions as they are now, then each one that changes. A slow reader costs
    nothing, because only the newest state is ever sent."""
    moved = asyncio.Event()
    undo = [runner.on_move(lambda _: moved.set()) for runner in service.runners]
    shown: dict[str, str] = {}
    asked = monotonic()
    SSE_CONNECTIONS.inc()
    try:
        yield "retry: 1000\n\n"
        while not service.ending.is_set():
            moved.clear()
            if monotonic() - asked > BEAT:
                asked = monotonic()
                if await service.access.session(cookie) is None:
                    yield "event: bye\ndata: signed out\n\n"
                    return
            position = service.position
            for name, text in (await regions()).items():
                if shown.get(name) == text:
                    continue
                if not name.startswith("say-"):
                    yield _message("region", position, {"id": name, "html": text})
                elif name in shown:
                    yield _message("say", position, {"text": text})
                shown[name] = text
            yield f"event: beat\ndata: {position}\n\n"
            await asyncio.sleep(COALESCE)
            await _either(moved, service.ending, BEAT)
    finally:
        SSE_CONNECTIONS.dec()
        for each in undo:
            each()


def _message(event: str, position: int, value: dict[str, str]) -> str:
    return f"id: {position}\nevent: {event}\ndata: {json.dumps(value)}\n\n"


async def _either(one: asyncio.Event, other: asyncio.Event, timeout: float) -> None:
    waits = [asyncio.ensure_future(one.wait()), asyncio.ensure_future(other.wait())]
    try:
        await asyncio.wait(waits, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
