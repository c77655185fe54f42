"""Live pages: state, not history. A stream sends the page's regions as they are now, then each one that changes."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import lru_cache
from time import monotonic

from fastapi import Request
from fastapi.responses import StreamingResponse

from services.dashboard.domain.access import CALLER
from services.dashboard.handlers.context import Parts
from services.dashboard.handlers.events import BEAT, STREAM_HEADERS
from services.dashboard.handlers.feeds import Feed, State
from services.dashboard.handlers.rendering import templates
from shared.ops.metrics import SSE_CONNECTIONS

Regions = Callable[[], Awaitable[dict[str, str]]]


def region(name: str, **values: object) -> str:
    """The same macro as the page uses, so that page and update cannot differ."""
    html: str = getattr(templates.get_template("regions.html").module, name)(**values)
    return html


def live(request: Request, service: Parts, page: str, regions: Regions) -> StreamingResponse:
    """The stream of a page's regions, until the process or the session ends. ``page`` names what is shown: all who watch the
    same share one computation.

    ``?hop=http/1.1`` (what the browser's connection speaks) makes the oldest of too many streams of a browser park: its
    tab then asks with ``?once=1`` every few seconds, which gives the present state and ends.
    """
    cookie = request.cookies.get(service.cookies.session)
    few = request.query_params.get("hop", "").startswith("http/1")
    once = "once" in request.query_params
    updates = _updates(service, page, regions, cookie, few=few and not once, once=once)
    return StreamingResponse(updates, media_type="text/event-stream", headers=STREAM_HEADERS)


async def _updates(
    service: Parts, page: str, regions: Regions, cookie: str | None, *, few: bool, once: bool
) -> AsyncIterator[str]:
    caller = CALLER.get(None)

    async def compute() -> State:
        position = service.position
        return position, await regions()

    key = f"{caller.role if caller else ''} {page}"
    SSE_CONNECTIONS.inc()
    try:
        yield "retry: 1000\n\n"
        with service.feeds.watched(
            key, compute, lambda told: [runner.on_move(told) for runner in service.runners]
        ) as feed:
            if few:
                with service.feeds.stream(cookie or "") as park:
                    async for message in _messages(service, feed, cookie, park, once=False):
                        yield message
            else:
                async for message in _messages(service, feed, cookie, asyncio.Event(), once=once):
                    yield message
    finally:
        SSE_CONNECTIONS.dec()


async def _messages(
    service: Parts, feed: Feed, cookie: str | None, park: asyncio.Event, *, once: bool
) -> AsyncIterator[str]:
    """A slow reader costs nothing, because only the newest state is ever sent."""
    shown: dict[str, str] = {}
    version, asked = 0, monotonic()
    while not service.ending.is_set():
        if monotonic() - asked > BEAT:
            asked = monotonic()
            if await service.access.session(cookie) is None:
                yield "event: bye\ndata: signed out\n\n"
                return
        if await _either(feed.beyond(version, BEAT), service.ending, park) and feed.failed:
            return
        if service.ending.is_set():
            return
        version, position = feed.version, feed.position
        for name, text in feed.regions.items():
            if shown.get(name) == text:
                continue
            if not name.startswith("say-"):
                yield _message("region", position, "id", name, "html", text)
            elif name in shown:
                yield _message("say", position, "text", text)
            shown[name] = text
        yield f"event: beat\ndata: {position}\n\n"
        if once or park.is_set():
            yield f"event: park\ndata: {position}\n\n"
            return


@lru_cache(64)  # all who watch a page are sent the same
def _message(event: str, position: int, *pairs: str) -> str:
    """``pairs``: names and values, in turn."""
    value = dict(zip(pairs[::2], pairs[1::2], strict=True))
    return f"id: {position}\nevent: {event}\ndata: {json.dumps(value)}\n\n"


async def _either(news: Awaitable[bool], *ends: asyncio.Event) -> bool:
    """Waits for news or one of the ends; whether there was news."""
    told = asyncio.ensure_future(news)
    waits = [told, *(asyncio.ensure_future(end.wait()) for end in ends)]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        return told.done() and bool(told.result())
    finally:
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
