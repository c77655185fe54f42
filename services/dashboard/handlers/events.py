"""The log as the API gives it: pages after a position, and a stream from any position on."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Annotated

import asyncpg
from fastapi import APIRouter, Depends, Header, Query
from fastapi.responses import StreamingResponse

from services.dashboard.domain.access import Permission
from services.dashboard.domain.shapes import Log, LoggedEvent, Overview, ProjectionHealth
from services.dashboard.handlers.context import MOST, Needs, Parts, PartsOf
from shared.events.types import Id

router = APIRouter(tags=["events"], dependencies=[Depends(Needs(Permission.READ))])

PAGE = 200
BEAT = 10.0  # seconds: a silent stream is cut by proxies after 30 to 60
STREAM_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


@router.get("/events", summary="Events after a position")
async def list_events(
    service: PartsOf,
    after: Annotated[int, Query(ge=0, le=MOST)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    plan: Annotated[Id | None, Query(description="Only events of this plan, its tasks and their chunks.")] = None,
) -> Log:
    """In order of position. What an event's body holds is in the catalogue of events; it names no person and no
    title."""
    head = await service.reads.head()
    events = [_event(row) for row in await service.reads.log(after, limit, plan)]
    last = max(head, after, *(e.position for e in events[-1:])) if len(events) < limit else events[-1].position
    return Log(head=head, next=last, events=events)


@router.get("/events/stream", summary="Events as they are recorded", response_class=StreamingResponse)
async def stream_events(
    service: PartsOf,
    after: Annotated[int, Query(ge=0, le=MOST)] = 0,
    last_event_id: Annotated[int | None, Header(ge=0, le=MOST)] = None,
) -> StreamingResponse:
    """Server-sent events: first all after ``after`` (or ``Last-Event-ID``), then new ones. ``id`` is the position,
    ``event`` the type. A ``beat`` every 10 s carries the head of the log."""
    start = after if last_event_id is None else last_event_id
    return StreamingResponse(_stream(service, start), media_type="text/event-stream", headers=STREAM_HEADERS)


@router.get("/overview", summary="State of the read models")
async def overview(service: PartsOf) -> Overview:
    """Where the read models stand, and what keeps one from going on."""
    return Overview(
        head=await service.reads.head(),
        projections=[
            ProjectionHealth(name=s.name, position=s.position, status=s.status, sentence=s.sentence)
            for s in (runner.state for runner in service.runners)
        ],
    )


async def _stream(service: Parts, position: int) -> AsyncIterator[str]:
    yield "retry: 1000\n\n"
    while not service.ending.is_set():
        rows = await service.reads.log(position, PAGE, None)
        for row in rows:
            position = row["position"]
            yield f"id: {position}\nevent: {row['type']}\ndata: {_event(row).model_dump_json()}\n\n"
        if not rows and not await _news(service, position):
            yield f"event: beat\ndata: {position}\n\n"


async def _news(service: Parts, position: int) -> bool:
    """Whether something was recorded before the next beat is due; also when the process ends."""
    beyond = asyncio.ensure_future(service.store.wait_beyond(position, BEAT))
    ended = asyncio.ensure_future(service.ending.wait())
    try:
        await asyncio.wait({beyond, ended}, return_when=asyncio.FIRST_COMPLETED)
        return ended.done() or bool(beyond.done() and beyond.result())
    finally:
        for task in (beyond, ended):
            task.cancel()
        await asyncio.gather(beyond, ended, return_exceptions=True)


def _event(row: asyncpg.Record) -> LoggedEvent:
    return LoggedEvent(
        position=row["position"],
        id=row["event_id"].hex,
        stream=row["stream"],
        version=row["version"],
        type=row["type"],
        recorded_at=row["recorded_at"],
        link=row["link"].hex(),
        body=json.loads(row["body"]),
    )
