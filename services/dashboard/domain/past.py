"""A plan as it was: its events folded up to a position or a time. A pure function of the log; nothing is kept for it."""

from collections import Counter
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from services.dashboard.domain.shapes import Counts
from shared.events.catalog import chunk, plan, task
from shared.events.catalog.work import Entity
from shared.events.contract import Recorded
from shared.events.projections.base import moment

Status = Literal["READY", "RUNNING", "STOPPED", "FINISHED", "FAILED"]

_ENDS: dict[type[plan.PlanEvent], Status] = {
    plan.PlanFinished: "FINISHED",
    plan.PlanFailed: "FAILED",
    plan.PlanStopped: "STOPPED",
}


class PastTask(BaseModel):
    """``key`` and ``name`` of a space are today's: the log does not hold them."""

    id: str
    kind: str
    space: str | None
    key: str | None = None
    name: str | None = None
    state: str = "running"
    phase: str | None = None
    reason: str | None = None
    kinds: dict[str, Counts] = Field(default_factory=dict)
    started_at: datetime
    ended_at: datetime | None = None


class PastReason(BaseModel):
    """How many entities of a kind had ended so."""

    kind: str
    outcome: str
    reason: str
    count: int


class PastPlan(BaseModel):
    """The plan at ``position``, the last of its events that counts, recorded ``at``. ``name`` is today's."""

    id: str
    name: str = ""
    position: int
    at: datetime
    status: Status = "READY"
    stopping: bool = False
    paused: bool = False
    archived: bool = False
    stuck: int | None = None
    spaces_selected: int = 0
    spaces_migrated: int = 0
    spaces_failed: int = 0
    kinds: dict[str, Counts] = Field(default_factory=dict)
    tasks: list[PastTask] = Field(default_factory=list)
    reasons: list[PastReason] = Field(default_factory=list)
    conserved: bool | None = None
    saved_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None


class Past:
    """Folds the events of one plan, its tasks and their chunks, in order of position."""

    def __init__(self) -> None:
        self._plan: PastPlan | None = None
        self._tasks: dict[str, PastTask] = {}
        self._home: dict[str, str] = {}  # chunk: its task
        self._reasons: Counter[tuple[str, str, str]] = Counter()

    def document(self) -> PastPlan | None:
        """The plan as folded so far; None before it was saved."""
        if self._plan is None:
            return None
        sums: dict[str, Counts] = {}
        for each in self._tasks.values():
            for kind, counts in each.kinds.items():
                total = sums.setdefault(kind, Counts())
                for name in Counts.model_fields:
                    setattr(total, name, getattr(total, name) + getattr(counts, name))
        reasons = [
            PastReason(kind=kind, outcome=outcome, reason=reason, count=count)
            for (kind, outcome, reason), count in sorted(self._reasons.items())
        ]
        return self._plan.model_copy(update={"kinds": sums, "tasks": list(self._tasks.values()), "reasons": reasons})

    def apply(self, row: Recorded) -> None:
        event, at = row.event, moment(row.recorded_at)
        if isinstance(event, plan.PlanSaved):
            self._plan = PastPlan(
                id=event.plan, position=row.position, at=at, spaces_selected=len(event.spaces), saved_at=at
            )
        if self._plan is None:
            return
        self._plan.position, self._plan.at = row.position, at
        if isinstance(event, plan.PlanEvent):
            self._lifecycle(self._plan, event, at)
        elif isinstance(event, task.TaskStarted):
            self._tasks[event.task] = PastTask(id=event.task, kind=event.kind.value, space=event.space, started_at=at)
        elif isinstance(event, task.TaskEvent):
            self._of_task(self._plan, self._tasks[event.task], event, at)
        elif isinstance(event, chunk.EntityEnded):
            self._outcomes(event.chunk, (event.entity,))
        elif isinstance(event, chunk.ChunkReleased | chunk.ChunkEnded):
            self._outcomes(event.chunk, event.entities)

    def _lifecycle(self, known: PastPlan, event: plan.PlanEvent, at: datetime) -> None:
        match event:
            case plan.PlanStarted():
                known.status, known.started_at = "RUNNING", at
            case plan.PlanPaused():
                known.paused = True
            case plan.PlanResumed():
                known.paused = False
            case plan.PlanStopRequested():
                known.stopping = True
            case plan.PlanEnding():
                known.status, known.ended_at, known.conserved = _ENDS[type(event)], at, event.conserved
                known.stopping = known.paused = False
            case plan.PlanArchived():
                known.archived = True
            case plan.PlanStuck():
                known.stuck = event.position
            case plan.PlanUnstuck():
                known.stuck = None

    def _of_task(self, known: PastPlan, mine: PastTask, event: task.TaskEvent, at: datetime) -> None:
        match event:
            case task.InventoryTaken():
                for counted in event.counts:
                    mine.kinds.setdefault(counted.kind.value, Counts()).selected = counted.count
            case task.PhasePlanned():
                mine.phase = event.phase.value
                self._home.update((planned.chunk, event.task) for planned in event.chunks)
            case task.SpaceFailing():
                mine.state, mine.reason = "failing", event.reason.value
            case task.TaskEnding():
                mine.state = "done" if event.reason is None else "failed"
                if isinstance(event, task.SpaceMigrated):
                    mine.state, known.spaces_migrated = "migrated", known.spaces_migrated + 1
                elif isinstance(event, task.SpaceSkipped):
                    mine.state = "done"
                elif isinstance(event, task.SpaceFailed):
                    mine.state, known.spaces_failed = "failed", known.spaces_failed + 1
                elif isinstance(event, task.TaskEnded) and event.stopped:
                    mine.state = "stopped"
                mine.ended_at, mine.phase = at, None
                mine.reason = event.reason.value if event.reason is not None else mine.reason
                if event.remainder_reason is not None:
                    for counted in event.remainder:
                        if counted.count:
                            mine.kinds.setdefault(counted.kind.value, Counts()).skipped += counted.count
                            self._reasons[counted.kind.value, "skipped", event.remainder_reason.value] += counted.count

    def _outcomes(self, chunk_id: str, entities: tuple[Entity, ...]) -> None:
        home = self._home.get(chunk_id)
        if home is None:  # of an analysis
            return
        for entity in entities:
            counts: Any = self._tasks[home].kinds.setdefault(entity.kind.value, Counts())
            setattr(counts, entity.outcome.value, getattr(counts, entity.outcome.value) + 1)
            if entity.reason is not None:
                self._reasons[entity.kind.value, entity.outcome.value, entity.reason.value] += 1
