"""What a task needs next, as tables."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.planner.domain import tasks
from services.planner.domain.tasks import Decision, Fail, Finish, PlanSlice, TakeInventory, Task, Wait
from shared.events.catalog.work import PHASES, Kind, Phase, TaskKind
from shared.events.reasons import Reason
from shared.events.types import new_id

DEPTHS: Mapping[Kind, Sequence[int]] = {Kind.SPACE: [0], Kind.PAGE: [0, 1, 3], Kind.BODY: [0], Kind.COMMENT: [0, 1]}

NEW = Task(
    task=new_id(),
    plan=new_id(),
    kind=TaskKind.SPACE,
    space="1",
    version=0,
    failing=None,
    inventory_epoch=None,
    phase=None,
    depth=0,
    slices=0,
    planned=True,
    last_ordinal=-1,
    open_chunks=0,
    claimed=0,
    fatal=None,
    stopping=False,
    paused=False,
)


def at(phase: Phase | None, depth: int = 0, **more: Any) -> Task:
    """A space's task with all chunks of this phase ended, unless said otherwise."""
    fields: dict[str, Any] = {"phase": phase, "depth": depth, "slices": 1, "inventory_epoch": 1}
    return replace(NEW, **fields | more)


STOPPED, FAILED = Finish(False, Reason.PLAN_STOPPED), Finish(False, Reason.SPACE_FAILED)
CONFLICT = Reason.SPACE_KEY_CONFLICT

DECISIONS: list[tuple[str, Task, Decision]] = [
    ("a new task takes its inventory", NEW, PlanSlice(Phase.INVENTORY, 0, 0, -1)),
    ("a new task of a stopping plan ends", replace(NEW, stopping=True), STOPPED),
    ("an inventory under way is waited for", at(Phase.INVENTORY, inventory_epoch=None, open_chunks=1), Wait()),
    ("an inventory that has ended is noted", at(Phase.INVENTORY, inventory_epoch=None), TakeInventory()),
    ("the first phase after the inventory", at(Phase.INVENTORY), PlanSlice(Phase.SPACE, 0, 0, -1)),
    ("a chunk without an end is waited for", at(Phase.PAGE, open_chunks=1, claimed=1), Wait()),
    ("pages go by depth", at(Phase.PAGE, 0), PlanSlice(Phase.PAGE, 1, 0, -1)),
    ("depths without pages are left out", at(Phase.PAGE, 1), PlanSlice(Phase.PAGE, 3, 0, -1)),
    ("the attachment phase comes even without attachments", at(Phase.PAGE, 3), PlanSlice(Phase.ATTACHMENT, 0, 0, -1)),
    ("phases without work are left out", at(Phase.COMMENT, 1), PlanSlice(Phase.VERIFICATION, 0, 0, -1)),
    ("the last phase ends the task", at(Phase.OPENING), Finish(True)),
    (
        "the next slice of a phase",
        at(Phase.PAGE, 1, planned=False, slices=2, last_ordinal=70),
        PlanSlice(Phase.PAGE, 1, 2, 70),
    ),
    (
        "few open chunks do not hold it back",
        at(Phase.PAGE, planned=False, open_chunks=tasks.AHEAD),
        PlanSlice(Phase.PAGE, 0, 1, -1),
    ),
    ("many do", at(Phase.PAGE, planned=False, open_chunks=tasks.AHEAD + 1), Wait()),
    ("a paused plan cuts no slice", at(Phase.PAGE, planned=False, paused=True), Wait()),
    ("a paused plan begins no phase", at(Phase.PAGE, paused=True), Wait()),
    ("a paused plan notes its inventory", at(Phase.INVENTORY, inventory_epoch=None, paused=True), TakeInventory()),
    ("a paused plan ends what is done", at(Phase.OPENING, paused=True), Finish(True)),
    ("a stop waits for the claimed", at(Phase.PAGE, open_chunks=3, claimed=1, stopping=True), Wait()),
    ("a stop leaves what was not begun", at(Phase.PAGE, open_chunks=3, stopping=True), STOPPED),
    ("a stop begins no phase", at(Phase.PAGE, stopping=True), STOPPED),
    ("a stop wins over a pause", at(Phase.PAGE, open_chunks=3, stopping=True, paused=True), STOPPED),
    (
        "a stop notes an inventory that has ended, for the sums",
        at(Phase.INVENTORY, inventory_epoch=None, stopping=True),
        TakeInventory(),
    ),
    ("a stop after the last chunk finds all done", at(Phase.OPENING, stopping=True), Finish(True)),
    ("a fatal chunk fails the space", at(Phase.SPACE, open_chunks=2, claimed=1, fatal=CONFLICT), Fail(CONFLICT)),
    ("also while it is stopping", at(Phase.SPACE, fatal=CONFLICT, stopping=True), Fail(CONFLICT)),
    (
        "a failing space waits for the claimed",
        at(Phase.SPACE, open_chunks=2, claimed=1, fatal=CONFLICT, failing=CONFLICT),
        Wait(),
    ),
    ("then it has failed", at(Phase.SPACE, open_chunks=1, fatal=CONFLICT, failing=CONFLICT), FAILED),
    ("a failing space begins no phase", at(Phase.PAGE, failing=CONFLICT), FAILED),
    (
        "users that cannot be read end their task",
        replace(at(Phase.INVENTORY), kind=TaskKind.USERS, fatal=Reason.SOURCE_UNREADABLE),
        Finish(False, Reason.SOURCE_UNREADABLE),
    ),
    (
        "but not while a chunk of it is claimed",
        replace(at(Phase.USER, open_chunks=1, claimed=1), kind=TaskKind.USERS, fatal=Reason.SOURCE_UNREADABLE),
        Wait(),
    ),
]


@pytest.mark.parametrize(("_what", "task", "decision"), DECISIONS, ids=[d[0] for d in DECISIONS])
def test_decision(_what: str, task: Task, decision: Decision) -> None:
    assert tasks.advance(task, DEPTHS, True) == decision


def test_links_wait_until_the_other_spaces_pages_are_there() -> None:
    before = at(Phase.ATTACHMENT)
    assert tasks.advance(before, DEPTHS, False) == Wait(barrier=True)
    assert tasks.advance(before, DEPTHS, True) == PlanSlice(Phase.BODY, 0, 0, -1)
    without_links = {kind: depths for kind, depths in DEPTHS.items() if kind is not Kind.BODY}
    assert tasks.advance(before, without_links, False) == PlanSlice(Phase.COMMENT, 0, 0, -1)


_KINDS = st.dictionaries(st.sampled_from(list(Kind)), st.lists(st.integers(0, 5), min_size=1, unique=True).map(sorted))


@given(st.sampled_from(list(TaskKind)), _KINDS)
def test_phases_come_in_their_order_each_depth_once_and_there_is_an_end(
    kind: TaskKind, depths: dict[Kind, list[int]]
) -> None:
    seen: list[tuple[Phase, int]] = [(Phase.INVENTORY, 0)]
    while (after := tasks.following(kind, *seen[-1], depths)) is not None:
        seen.append(after)
        assert len(seen) < 100
    order = list(PHASES[kind])
    places = [(order.index(phase), depth) for phase, depth in seen]
    assert places == sorted(set(places))
    if kind is TaskKind.SPACE:
        assert {phase for phase, _ in seen} >= tasks.ALWAYS
        assert [d for p, d in seen if p is Phase.PAGE] == depths.get(Kind.PAGE, [])


@given(
    st.sampled_from([None, *PHASES[TaskKind.SPACE]]),
    st.integers(0, 3),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.integers(0, 300),
    st.integers(0, 3),
    st.sampled_from([None, CONFLICT]),
    st.booleans(),
)
def test_a_task_that_is_stopping_or_failing_begins_nothing_and_never_ends_while_a_chunk_is_claimed(
    phase: Phase | None,
    depth: int,
    planned: bool,
    stopping: bool,
    paused: bool,
    open_chunks: int,
    claimed: int,
    failing: Reason | None,
    counted: bool,
) -> None:
    claimed = min(claimed, open_chunks) if phase is not None else 0
    task = replace(
        at(phase, depth, planned=planned, stopping=stopping, paused=paused, failing=failing),
        open_chunks=open_chunks if phase is not None else 0,
        claimed=claimed,
        inventory_epoch=1 if counted else None,
    )
    decision = tasks.advance(task, DEPTHS, True)
    if claimed:
        assert not isinstance(decision, Finish)
    if (stopping or failing) and phase is not None:
        assert not isinstance(decision, PlanSlice)
    if paused and phase is not None:
        assert not isinstance(decision, PlanSlice)


def test_a_chunks_id_follows_from_its_place_so_that_planning_twice_plans_the_same() -> None:
    task = new_id()
    ids = {
        tasks.chunk_id(task, phase, depth, first)
        for phase in (Phase.PAGE, Phase.COMMENT)
        for depth in (0, 1)
        for first in (0, 11)
    }
    assert len(ids) == 8
    assert tasks.chunk_id(task, Phase.PAGE, 1, 11) in ids
