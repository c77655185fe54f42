"""The event log as a person reads it: newest first, filtered, and one event whole."""

import json
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query
from fastapi.responses import Response

from services.dashboard.domain.access import Permission
from services.dashboard.domain.problems import ProblemError
from services.dashboard.handlers.context import Needs, PartsOf
from services.dashboard.handlers.rendering import page
from shared.events.contract import event_types

router = APIRouter(include_in_schema=False, dependencies=[Depends(Needs(Permission.READ, Permission.OPERATE))])

PAGE = 100
Id = Annotated[str | None, Query(pattern=r"^[0-9a-f]{32}$|^$")]


@router.get("/events")
async def events_page(
    service: PartsOf,
    before: Annotated[int | None, Query(ge=1)] = None,
    type: Annotated[str | None, Query(pattern=r"^[A-Za-z]{0,60}$")] = None,
    plan: Id = None,
    actor: Id = None,
    correlation: Id = None,
) -> Response:
    rows = await service.log_table.newest(
        before=before,
        type=type or None,
        plan=plan or None,
        actor=actor or None,
        correlation=correlation or None,
        limit=PAGE + 1,
    )
    chosen = {"type": type, "plan": plan, "actor": actor, "correlation": correlation}
    chosen = {name: value for name, value in chosen.items() if value}
    named = await service.reads.plan(plan, spaces=False) if plan else None
    older = urlencode({**chosen, "before": rows[PAGE - 1].position}) if len(rows) > PAGE else None
    return page(
        service,
        "events.html",
        rows=rows[:PAGE],
        chosen=chosen,
        named=named.name if named else plan,
        older=older,
        newest=urlencode(chosen),
        before=before,
        types=sorted(event_types()),
    )


@router.get("/events/{position}")
async def event_page(service: PartsOf, position: int) -> Response:
    rows = await service.reads.log(position - 1, 1, None)
    if not rows or rows[0]["position"] != position:
        raise ProblemError(
            "not_found", 404, f"There is no event {position}.", f"The last one is {await service.reads.head()}."
        )
    body = json.loads(rows[0]["body"])
    actor = await service.reads.pool.fetchval("SELECT name FROM people.actor WHERE key = $1", body["actor"]["key"])
    return page(
        service,
        "event.html",
        event=rows[0],
        body=body,
        actor=actor or body["actor"]["key"],
        text=json.dumps(body, indent=2, ensure_ascii=False, sort_keys=True),
        head=await service.reads.head(),
    )
