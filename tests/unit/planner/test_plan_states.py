"""The states of a plan, as tables: which events lead where, which commands are allowed there, and how a plan ends."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.planner.domain import plans
from services.planner.domain.plans import End, Plan, Start, Status, TaskBrief
from shared.events.catalog.plan import (
    Follow,
    PlanArchived,
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
from shared.events.catalog.work import TaskKind
from shared.events.checks import Check
from shared.events.contract import Event
from shared.events.reasons import Reason
from shared.events.types import new_id

PLAN = new_id()


def saved(**more: Any) -> PlanSaved:
    fields: dict[str, Any] = {
        "plan": PLAN,
        "source": new_id(),
        "site": new_id(),
        "analysis": new_id(),
        "stage": "test",
        "users": "all",
        "groups": True,
        "spaces": ("1", "2"),
        "accepted": (),
        "digest": "0" * 64,
    }
    return PlanSaved(**fields | more)


_SUMS: dict[str, Any] = {"tallies": (), "reasons": (), "spaces_migrated": 0, "spaces_failed": 0, "conserved": True}
STARTED = PlanStarted(plan=PLAN, consent="given")
PAUSED, RESUMED = PlanPaused(plan=PLAN), PlanResumed(plan=PLAN)
STOP = PlanStopRequested(plan=PLAN)
STUCK, UNSTUCK = PlanStuck(plan=PLAN, position=7, code="bad_event"), PlanUnstuck(plan=PLAN)
FINISHED, FAILED = PlanFinished(plan=PLAN, **_SUMS), PlanFailed(plan=PLAN, **_SUMS)
STOPPED = PlanStopped(plan=PLAN, **_SUMS)
ARCHIVED = PlanArchived(plan=PLAN)
SCHEDULED = PlanScheduled(plan=PLAN, start_at=1, consent="given")
UNSCHEDULED, START_REFUSED = PlanUnscheduled(plan=PLAN), PlanStartRefused(plan=PLAN, check=Check.ADDRESSES)


def plan_of(*events: Event, **more: Any) -> Plan:
    plan = plans.fold(list(enumerate([saved(**more), *events])))
    assert plan is not None
    return plan


# What happened after it was saved, the state, and the commands that are then allowed.
STATES: list[tuple[Sequence[Event], Status, set[str]]] = [
    ((), Status.READY, {"run", "schedule", "archive"}),
    ((SCHEDULED,), Status.READY, {"run", "schedule", "unschedule", "archive"}),
    ((SCHEDULED, UNSCHEDULED), Status.READY, {"run", "schedule", "archive"}),
    ((SCHEDULED, START_REFUSED), Status.READY, {"run", "schedule", "archive"}),
    ((SCHEDULED, ARCHIVED), Status.READY, set()),
    ((SCHEDULED, STARTED), Status.RUNNING, {"stop", "pause"}),
    ((ARCHIVED,), Status.READY, set()),
    ((STARTED,), Status.RUNNING, {"stop", "pause"}),
    ((STARTED, PAUSED), Status.RUNNING, {"stop", "resume"}),
    ((STARTED, PAUSED, RESUMED), Status.RUNNING, {"stop", "pause"}),
    ((STARTED, STOP), Status.RUNNING, set()),
    ((STARTED, PAUSED, STOP), Status.RUNNING, set()),
    ((STARTED, STUCK), Status.RUNNING, {"stop", "pause"}),
    ((STARTED, STUCK, UNSTUCK), Status.RUNNING, {"stop", "pause"}),
    ((STARTED, STOP, STOPPED), Status.STOPPED, {"archive"}),
    ((STARTED, FINISHED), Status.FINISHED, {"archive"}),
    ((STARTED, FAILED), Status.FAILED, {"archive"}),
    ((STARTED, FINISHED, ARCHIVED), Status.FINISHED, set()),
]


@pytest.mark.statement(93, 94)
@pytest.mark.parametrize(("events", "status", "allowed"), STATES)
def test_a_plans_state_follows_from_its_events_and_says_which_commands_are_allowed(
    events: Sequence[Event], status: Status, allowed: set[str]
) -> None:
    plan = plan_of(*events)
    assert plan.status is status
    assert plan.version == len(events)
    refusals = {verb: decide(plan) for verb, decide in plans.DECISIONS.items()}
    assert {verb for verb, refusal in refusals.items() if refusal is None} == allowed
    for refusal in refusals.values():
        assert refusal is None or (refusal.detail and refusal.way_on)


def test_a_stream_without_events_is_no_plan() -> None:
    assert plans.fold([]) is None


@pytest.mark.statement(96)
@given(st.lists(st.sampled_from([STARTED, PAUSED, RESUMED, STOP, STUCK, UNSTUCK, FINISHED, FAILED, STOPPED])))
def test_no_ended_plan_can_be_run_stopped_paused_or_resumed_whatever_came_before(events: list[Event]) -> None:
    plan = plan_of(*events, STOPPED)
    assert all(plans.DECISIONS[verb](plan) for verb in ("run", "stop", "pause", "resume"))
    assert not plan.stopping


# -- which task comes next -----------------------------------------------------------------------------------------


def task(kind: TaskKind, space: str | None = None, end: dict[str, Any] | None = None) -> TaskBrief:
    return TaskBrief(plans.task_id(PLAN, kind, space), kind, space, end is not None, 0, end)


def ended(type_: str = "TaskEnded", **more: Any) -> dict[str, Any]:
    return {"type": type_, "conserved": True, "tallies": [], "reasons": []} | more


USERS, GROUPS = task(TaskKind.USERS, end=ended()), task(TaskKind.GROUPS, end=ended())


def test_users_come_first_then_groups_then_all_spaces_side_by_side() -> None:
    plan = plan_of(STARTED)
    assert plans.advance(plan, []) == [Start(TaskKind.USERS)]
    assert plans.advance(plan, [task(TaskKind.USERS)]) is None
    assert plans.advance(plan, [USERS]) == [Start(TaskKind.GROUPS)]
    assert plans.advance(plan, [USERS, task(TaskKind.GROUPS)]) is None
    assert plans.advance(plan, [USERS, GROUPS]) == [Start(TaskKind.SPACE, "1"), Start(TaskKind.SPACE, "2")]
    begun = [USERS, GROUPS, task(TaskKind.SPACE, "1")]
    assert plans.advance(plan, begun) == [Start(TaskKind.SPACE, "2")]
    assert plans.advance(plan, [*begun, task(TaskKind.SPACE, "2")]) is None


@pytest.mark.parametrize(
    ("chosen", "first"),
    [
        ({"users": "none", "groups": False}, TaskKind.USERS),  # people come along with spaces
        ({"users": "related", "groups": False, "spaces": ()}, TaskKind.USERS),
        ({"users": "none", "groups": True, "spaces": ()}, TaskKind.GROUPS),
    ],
)
def test_a_plan_begins_with_the_people_its_content_needs(chosen: dict[str, Any], first: TaskKind) -> None:
    assert plans.advance(plan_of(STARTED, **chosen), []) == [Start(first)]


def test_so_many_spaces_are_under_way_and_the_next_begins_when_one_has_ended() -> None:
    spaces = tuple(str(n) for n in range(plans.SPACES_AT_ONCE + 2))
    plan = plan_of(STARTED, spaces=spaces)
    people = [USERS, GROUPS]
    first = plans.advance(plan, people)
    assert isinstance(first, list)
    assert [s.space for s in first] == list(spaces[: plans.SPACES_AT_ONCE])
    running = [task(TaskKind.SPACE, s.space) for s in first]
    assert plans.advance(plan, people + running) is None
    running[0] = task(TaskKind.SPACE, "0", ended("SpaceMigrated"))
    assert plans.advance(plan, people + running) == [Start(TaskKind.SPACE, spaces[plans.SPACES_AT_ONCE])]


@pytest.mark.parametrize("events", [(), (STARTED, STUCK), (STARTED, FINISHED), (STARTED, STOP, STOPPED)])
def test_nothing_is_decided_about_a_plan_that_does_not_run_or_is_stuck(events: Sequence[Event]) -> None:
    assert plans.advance(plan_of(*events), []) is None


def test_a_paused_plan_starts_nothing_and_does_not_end() -> None:
    done = [USERS, GROUPS, task(TaskKind.SPACE, "1", ended("SpaceMigrated"))]
    assert plans.advance(plan_of(STARTED, PAUSED), []) is None
    assert plans.advance(plan_of(STARTED, PAUSED), done) is None


@pytest.mark.statement(97)
def test_a_stopping_plan_starts_nothing_and_ends_when_its_tasks_have_ended() -> None:
    plan = plan_of(STARTED, STOP)
    assert plans.advance(plan, [task(TaskKind.USERS)]) is None
    for tasks in ([], [USERS], [task(TaskKind.USERS, end=ended(stopped=True))]):
        step = plans.advance(plan, tasks)
        assert isinstance(step, End)
        assert isinstance(step.event, PlanStopped)


# -- how it ends ---------------------------------------------------------------------------------------------------


def tally(kind: str, migrated: int = 0, skipped: int = 0, failed: int = 0) -> dict[str, Any]:
    selected = migrated + skipped + failed
    return {"kind": kind, "selected": selected, "migrated": migrated, "skipped": skipped, "failed": failed}


def because(kind: str, outcome: str, reason: Reason, count: int = 1) -> dict[str, Any]:
    return {"kind": kind, "outcome": outcome, "reason": reason.value, "count": count}


MISSING = Reason.FILE_MISSING
_MOVED = ended("SpaceMigrated", tallies=[tally("page", 3), tally("attachment", 2)])
_SKIPPED = ended(
    "SpaceMigrated",
    tallies=[tally("page", 3), tally("attachment", 1, 1)],
    reasons=[because("attachment", "skipped", MISSING)],
)
_FAILED_PAGE = ended(
    "SpaceFailed",
    tallies=[tally("page", 2, 0, 1)],
    reasons=[because("page", "failed", Reason.TITLE_CLASH)],
    reason="title_clash",
)
_DEFECT = ended(
    "SpaceMigrated",
    tallies=[tally("page", 3)],
    reasons=[because("page", "migrated", Reason.ADDRESS_UNKNOWN)],
)

# The ends of the two spaces, the reasons for skips that were accepted, and what the plan is then.
ENDS: list[tuple[str, dict[str, Any], dict[str, Any], tuple[Reason, ...], type[Event]]] = [
    ("everything is on the site", _MOVED, _MOVED, (), PlanFinished),
    ("a skip whose reason was accepted", _MOVED, _SKIPPED, (MISSING,), PlanFinished),
    ("a skip whose reason nobody accepted", _MOVED, _SKIPPED, (), PlanFailed),
    ("a skip while another reason was accepted", _MOVED, _SKIPPED, (Reason.GENERIC_GROUP,), PlanFailed),
    ("something failed", _MOVED, _FAILED_PAGE, (), PlanFailed),
    ("a failure is never acceptable", _MOVED, _FAILED_PAGE, (Reason.TITLE_CLASH,), PlanFailed),
    ("moved with a defect is moved", _MOVED, _DEFECT, (), PlanFinished),
    ("something is lost, doubled or invented", _MOVED, _MOVED | {"conserved": False}, (), PlanFailed),
    (
        "a space failed as a whole, before anything of it was counted",
        _MOVED,
        ended("SpaceFailed", reason="space_key_conflict"),
        (),
        PlanFailed,
    ),
    ("an end that does not say whether it is conserved", _MOVED, {"type": "SpaceMigrated"}, (), PlanFailed),
]


@pytest.mark.statement(95)
@pytest.mark.parametrize(("_what", "one", "other", "accepted", "end"), ENDS)
def test_a_plan_is_finished_if_all_that_was_selected_is_on_the_site_but_for_accepted_skips(
    _what: str, one: dict[str, Any], other: dict[str, Any], accepted: tuple[Reason, ...], end: type[Event]
) -> None:
    tasks = [USERS, GROUPS, task(TaskKind.SPACE, "1", one), task(TaskKind.SPACE, "2", other)]
    step = plans.advance(plan_of(STARTED, accepted=accepted), tasks)
    assert isinstance(step, End)
    assert type(step.event) is end
    stopped = plans.advance(plan_of(STARTED, STOP, accepted=accepted), tasks)
    assert isinstance(stopped, End)
    assert isinstance(stopped.event, PlanStopped)  # whatever came of it, it was stopped
    assert stopped.event.tallies == step.event.tallies


def test_users_that_could_not_be_read_fail_the_plan() -> None:
    unread = task(TaskKind.USERS, end=ended(reason="source_unreadable"))
    step = plans.advance(plan_of(STARTED, groups=False, spaces=()), [unread])
    assert isinstance(step, End)
    assert isinstance(step.event, PlanFailed)


def test_the_end_of_a_plan_adds_up_its_tasks() -> None:
    tasks = [USERS, GROUPS, task(TaskKind.SPACE, "1", _MOVED), task(TaskKind.SPACE, "2", _FAILED_PAGE)]
    step = plans.advance(plan_of(STARTED), tasks)
    assert isinstance(step, End)
    event = step.event
    assert (event.spaces_migrated, event.spaces_failed) == (1, 1)
    sums = {t.kind.value: (t.selected, t.migrated, t.skipped, t.failed) for t in event.tallies}
    assert sums == {"page": (6, 5, 0, 1), "attachment": (2, 2, 0, 0)}
    assert [(r.kind.value, r.reason, r.count) for r in event.reasons] == [("page", Reason.TITLE_CLASH, 1)]


@pytest.mark.parametrize("how", ["invite", "remind"])
def test_a_plan_that_invites_has_one_task_ends_with_it_and_cannot_be_followed(how: Any) -> None:
    events: list[Event] = [saved(follow=how, users="none", groups=False, spaces=()), STARTED]
    plan = plans.fold(list(enumerate(events)))
    assert plan is not None
    assert plans.advance(plan, []) == [Start(TaskKind.INVITATIONS)]
    task = TaskBrief(new_id(), TaskKind.INVITATIONS, None, False, 1)
    assert plans.advance(plan, [task]) is None
    ending = {"type": "TaskEnded", "conserved": True, "tallies": (), "reasons": ()}
    done = TaskBrief(task.task, task.kind, None, True, 0, ending)
    assert isinstance(plans.advance(plan, [done]), End)
    ended = plans.fold(list(enumerate([*events, FINISHED])))
    assert ended is not None
    refusals = [plans.follow(ended, each) for each in plans.FOLLOWED]
    assert {refusal.code for refusal in refusals if refusal} == {"is_invitation"} and all(refusals)


@pytest.mark.parametrize("events", [[], [STARTED], [STARTED, STOP]])
def test_nobody_is_invited_before_a_plan_has_ended(events: list[Event]) -> None:
    plan = plans.fold(list(enumerate([saved(), *events])))
    assert plan is not None
    inviting: tuple[Follow, ...] = ("invite", "remind")
    for how in inviting:
        refusal = plans.follow(plan, how)
        assert refusal is not None and refusal.code == "not_ended"
