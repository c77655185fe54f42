"""The life of a plan: its state from its events, which commands are allowed, and how it ends."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Literal

from shared.events.catalog.plan import (
    Follow,
    PlanArchived,
    PlanEnding,
    PlanFailed,
    PlanFinished,
    PlanPaused,
    PlanResumed,
    PlanSaved,
    PlanScheduled,
    PlanStarted,
    PlanStartRefused,
    PlanStopped,
    PlanStopRequested,
    PlanStuck,
    PlanUnscheduled,
    PlanUnstuck,
)
from shared.events.catalog.task import SpaceSkipped
from shared.events.catalog.work import Kind, Outcome, ReasonCount, Tally, TaskKind
from shared.events.contract import Event
from shared.events.reasons import Reason
from shared.events.types import derived_id


class Status(StrEnum):
    READY = "READY"
    RUNNING = "RUNNING"
    STOPPED = "STOPPED"
    FINISHED = "FINISHED"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan as its events tell. ``version`` is that of its stream's last event."""

    saved: PlanSaved
    version: int
    status: Status = Status.READY
    stopping: bool = False
    paused: bool = False
    archived: bool = False
    stuck: bool = False
    start_at: int | None = None  # microseconds since 1970

    @property
    def id(self) -> str:
        return self.saved.plan


def fold(events: Iterable[tuple[int, Event]]) -> Plan | None:
    """The plan of a stream of (version, event); None for an empty one."""
    plan: Plan | None = None
    for version, event in events:
        if isinstance(event, PlanSaved):
            plan = Plan(event, version)
        elif plan is not None:
            plan = replace(_after(plan, event), version=version)
    return plan


def _after(plan: Plan, event: Event) -> Plan:
    match event:
        case PlanStarted():
            return replace(plan, status=Status.RUNNING, start_at=None)
        case PlanScheduled():
            return replace(plan, start_at=event.start_at)
        case PlanUnscheduled() | PlanStartRefused():
            return replace(plan, start_at=None)
        case PlanPaused():
            return replace(plan, paused=True)
        case PlanResumed():
            return replace(plan, paused=False)
        case PlanStopRequested():
            return replace(plan, stopping=True)
        case PlanFinished():
            return replace(plan, status=Status.FINISHED, stopping=False)
        case PlanFailed():
            return replace(plan, status=Status.FAILED, stopping=False)
        case PlanStopped():
            return replace(plan, status=Status.STOPPED, stopping=False)
        case PlanArchived():
            return replace(plan, archived=True, start_at=None)
        case PlanStuck():
            return replace(plan, stuck=True)
        case PlanUnstuck():
            return replace(plan, stuck=False)
        case _:
            return plan


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a command is not possible now, and what is."""

    code: str
    detail: str
    way_on: str


_ENDED = "It has ended as {status} and cannot be {verb}. Make a new plan; copy this one if you like."


def run(plan: Plan) -> Refusal | None:
    """A plan runs once, from READY."""
    if plan.status is Status.READY and not plan.archived:
        return None
    if plan.status is Status.RUNNING:
        return Refusal("already_running", "The plan runs already.", "Watch it, or stop it.")
    if plan.archived:
        return Refusal("archived", "The plan is archived.", "Copy it and run the copy.")
    return Refusal("ended", _ENDED.format(status=plan.status, verb="run again"), "Save a new plan.")


def schedule(plan: Plan) -> Refusal | None:
    """A start time may be set, and set anew, as long as the plan has not run."""
    return run(plan)


def unschedule(plan: Plan) -> Refusal | None:
    if plan.start_at is not None:
        return None
    return Refusal("not_scheduled", "The plan has no start time.", "Nothing to do.")


def decide_check(plan: Plan) -> Refusal | None:
    return run(plan)


def stop(plan: Plan) -> Refusal | None:
    if plan.status is Status.RUNNING and not plan.stopping:
        return None
    if plan.stopping:
        return Refusal("already_stopping", "The plan is stopping: steps in progress finish.", "Wait for STOPPED.")
    return Refusal("not_running", f"The plan is {plan.status}; only a RUNNING plan can be stopped.", "Nothing to do.")


def pause(plan: Plan) -> Refusal | None:
    if plan.status is Status.RUNNING and not plan.stopping and not plan.paused:
        return None
    return Refusal(
        "not_running", "Only a RUNNING plan that is neither stopping nor paused can be paused.", "See its status."
    )


def resume(plan: Plan) -> Refusal | None:
    if plan.status is Status.RUNNING and plan.paused and not plan.stopping:
        return None
    return Refusal("not_paused", "Only a paused plan can go on.", "See its status.")


def archive(plan: Plan) -> Refusal | None:
    if plan.status is Status.RUNNING:
        return Refusal("running", "A RUNNING plan cannot be archived.", "Stop it first, or wait for its end.")
    if plan.archived:
        return Refusal("archived", "The plan is archived already.", "Nothing to do.")
    return None


def follow(plan: Plan, how: Follow) -> Refusal | None:
    """A plan that has ended may be followed by another one."""
    if plan.saved.dry_run:
        return Refusal("is_dry_run", "The plan was a dry run: nothing of it is on the site.", "Save a plan and run it.")
    if plan.saved.invites:
        return Refusal("is_invitation", "The plan only invited people.", "Ask the plan that gave them access.")
    if plan.saved.follow == "undo":
        return Refusal("is_undo", "The plan undoes another one.", "To undo what is left, undo that other plan again.")
    if plan.status not in FOLLOWED[how]:
        wanted = " or ".join(status.value for status in Status if status in FOLLOWED[how])
        return Refusal("not_ended", f"The plan is {plan.status}; it has to be {wanted} for that.", "See its status.")
    return None


FOLLOWED: dict[Follow, frozenset[Status]] = {
    "continue": frozenset({Status.STOPPED, Status.FAILED}),
    "retry": frozenset({Status.STOPPED, Status.FAILED}),
    "delta": frozenset({Status.STOPPED, Status.FAILED, Status.FINISHED}),
    "undo": frozenset({Status.STOPPED, Status.FAILED, Status.FINISHED}),
    "invite": frozenset({Status.STOPPED, Status.FAILED, Status.FINISHED}),
    "remind": frozenset({Status.STOPPED, Status.FAILED, Status.FINISHED}),
}


@dataclass(frozen=True, slots=True)
class TaskBrief:
    """A task for the decisions about its plan. ``ending``: data of its last event with its ``type``, when it has ended."""

    task: str
    kind: TaskKind
    space: str | None
    ended: bool
    claimed: int
    ending: dict[str, Any] | None = None
    has_pages: bool = False  # all pages and blog posts of the space are on the site


@dataclass(frozen=True, slots=True)
class Start:
    kind: TaskKind
    space: str | None = None


@dataclass(frozen=True, slots=True)
class End:
    event: PlanEnding


def task_id(plan: str, kind: TaskKind, space: str | None = None) -> str:
    return derived_id(plan, kind.value if space is None else f"space:{space}")


# Spaces of one plan whose pages are made at once: enough for many executors, few enough to keep the list of work short.
# A space that has its pages waits for the links of all the others' and takes no room.
SPACES_AT_ONCE = 8


def advance(plan: Plan, tasks: Sequence[TaskBrief]) -> list[Start] | End | None:
    """What a running plan needs next: tasks to start, its end, or nothing (None) but to wait for its tasks.

    Users come first, then groups, then the spaces side by side.
    """
    if plan.status is not Status.RUNNING or plan.stuck:
        return None
    running = [t for t in tasks if not t.ended]
    if plan.stopping:
        return None if running else End(_ending(plan, tasks, PlanStopped))
    if plan.paused:
        return None
    by_kind = {t.kind: t for t in tasks if t.space is None}
    if plan.saved.invites and TaskKind.INVITATIONS not in by_kind:
        return [Start(TaskKind.INVITATIONS)]
    undo = plan.saved.follow == "undo"
    for kind in () if undo else _people(plan.saved):
        if kind not in by_kind:
            return [Start(kind)]
        if not by_kind[kind].ended:
            return None
    begun = {t.space for t in tasks if t.space is not None}
    waiting = [s for s in plan.saved.spaces if s not in begun]
    room = SPACES_AT_ONCE - sum(not t.has_pages for t in running)
    if waiting:
        return [Start(TaskKind.UNDO if undo else TaskKind.SPACE, s) for s in waiting[:room]] or None
    if running:
        return None
    if undo and _people(plan.saved) and TaskKind.UNDO_PEOPLE not in by_kind:
        return [Start(TaskKind.UNDO_PEOPLE)]  # last: restrictions and permissions of what is removed name groups
    return End(_ending(plan, tasks, None))


def _people(saved: PlanSaved) -> list[TaskKind]:
    kinds: list[TaskKind] = []
    if saved.users != "none" or saved.spaces:
        kinds.append(TaskKind.USERS)
    if saved.groups:
        kinds.append(TaskKind.GROUPS)
    return kinds


def _ending(plan: Plan, tasks: Sequence[TaskBrief], given: type[PlanStopped] | None) -> PlanEnding:
    tallies: dict[Kind, Counter[str]] = {}
    reasons: Counter[tuple[Kind, Outcome, Reason]] = Counter()
    conserved, spaces, whole = True, Counter[str](), True
    for task in tasks:
        end = task.ending or {}
        conserved &= bool(end.get("conserved"))
        whole &= "reason" not in end or end["type"] == SpaceSkipped.__name__
        if task.kind is TaskKind.SPACE:
            spaces[str(end.get("type"))] += 1
        for tally in end.get("tallies", ()):
            sums = tallies.setdefault(Kind(tally["kind"]), Counter())
            sums.update({k: tally[k] for k in ("selected", "migrated", "skipped", "failed")})
        for r in end.get("reasons", ()):
            reasons[Kind(r["kind"]), Outcome(r["outcome"]), Reason(r["reason"])] += r["count"]
    data: dict[str, Any] = {
        "plan": plan.id,
        "tallies": tuple(
            Tally(kind=k, **{n: sums[n] for n in ("selected", "migrated", "skipped", "failed")})
            for k, sums in sorted(tallies.items())
        ),
        "reasons": tuple(ReasonCount(kind=k, outcome=o, reason=r, count=n) for (k, o, r), n in sorted(reasons.items())),
        "spaces_migrated": spaces["SpaceMigrated"],
        "spaces_failed": spaces["SpaceFailed"],
        "conserved": conserved,
    }
    if given is not None:
        return given(**data)
    return outcome(plan.saved, conserved and whole, tallies, reasons)(**data)


def outcome(
    saved: PlanSaved,
    sound: bool,
    tallies: dict[Kind, Counter[str]],
    reasons: Counter[tuple[Kind, Outcome, Reason]],
) -> type[PlanFinished] | type[PlanFailed]:
    """FINISHED: everything selected is on the site, skips only for reasons that were accepted. Else FAILED."""
    failed = any(sums["failed"] for sums in tallies.values())
    unforeseen = any(o is Outcome.SKIPPED and r not in saved.accepted for _, o, r in reasons)
    return PlanFinished if sound and not failed and not unforeseen else PlanFailed


Verb = Literal["run", "schedule", "unschedule", "stop", "pause", "resume", "archive"]
DECISIONS = {
    "run": run,
    "schedule": schedule,
    "unschedule": unschedule,
    "stop": stop,
    "pause": pause,
    "resume": resume,
    "archive": archive,
}
