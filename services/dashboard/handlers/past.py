"""A plan as it was at a position of the log or at a time."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Query

from services.dashboard.domain.access import Permission
from services.dashboard.domain.past import Past, PastPlan
from services.dashboard.domain.problems import ProblemError, not_found
from services.dashboard.handlers.context import Needs, PartsOf
from shared.events.projections.base import moment
from shared.events.store import recorded
from shared.events.types import Id

router = APIRouter(tags=["plans"], dependencies=[Depends(Needs(Permission.READ))])

_PAGE = 500
_COLUMNS = ("position", "event_id", "stream", "version", "type", "body", "recorded_at", "link")


@router.get("/plans/{plan}/past", summary="One plan as it was")
async def past_plan(
    service: PartsOf,
    plan: Id,
    at: Annotated[
        str,
        Query(
            pattern=r"^([0-9]{1,16}|[1-9][0-9]{3}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
            r"([T ]([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9](\.[0-9]{1,6})?)?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])?)?)$",
            description="A position of the log, or a time (ISO 8601; UTC where it names no zone).",
        ),
    ],
) -> PastPlan:
    """Computed from the log: its events up to there, folded anew. Names are today's, as the log holds none."""
    upto, latest = _place(at)
    live = await service.reads.plan(plan)
    if live is None:
        raise not_found("plan", plan)
    past, position, more = Past(), 0, True
    while more:
        rows = await service.reads.log(position, _PAGE, plan)
        more = len(rows) == _PAGE
        for row in (recorded([each[name] for name in _COLUMNS]) for each in rows):
            if (upto is not None and row.position > upto) or (latest is not None and moment(row.recorded_at) > latest):
                more = False
                break
            past.apply(row)
            position = row.position
    found = past.document()
    if found is None:
        raise ProblemError(
            "not_yet_saved",
            404,
            "The plan was not saved yet at that moment.",
            f"It was saved on {live.saved_at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}: ask for a later moment.",
        )
    named = {task.id: task for task in live.tasks if task.id is not None}
    for task in found.tasks:
        if task.id in named:
            task.key, task.name = named[task.id].key, named[task.id].name
    return found.model_copy(update={"name": live.name})


def _place(at: str) -> tuple[int | None, datetime | None]:
    """A position, or a time."""
    if at.isascii() and at.isdigit() and len(at) < 19:
        return int(at), None
    try:
        found = datetime.fromisoformat(at)
    except ValueError as error:  # the 31st of a month that has 30, besides what pages are asked for
        raise ProblemError(
            "no_such_time", 404, "This is neither a position nor a time.", "Write 1200 or 2026-11-23T12:00:00Z."
        ) from error
    return None, found if found.tzinfo else found.replace(tzinfo=UTC)
