"""What a chunk's own stream says about it, and what a claim on it would be for."""

from dataclasses import MISSING, fields
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.events import claims
from shared.events.catalog.chunk import ChunkClaimed, ChunkEnded, ChunkReleased, EntityEnded, InvitationBegun
from shared.events.catalog.work import Entity, Kind, Outcome, Phase
from shared.events.claims import GIVE_UP_AFTER, ONE_BY_ONE, Claim, History, Work
from shared.events.contract import Event
from shared.events.types import new_id

CHUNK, TASK, PLAN, WORKER, ANN = (new_id() for _ in range(5))


def entity(id_: str) -> Entity:
    return Entity(kind=Kind.PAGE, id=id_, outcome=Outcome.MIGRATED)


def claimed(epoch: int, attempt: int = 1, purpose: Literal["work", "settle"] = "work") -> ChunkClaimed:
    return ChunkClaimed(chunk=CHUNK, epoch=epoch, task=TASK, plan=PLAN, worker=WORKER, attempt=attempt, purpose=purpose)


def one(epoch: int, id_: str) -> EntityEnded:
    return EntityEnded(chunk=CHUNK, epoch=epoch, entity=entity(id_))


def released(epoch: int, *ids: str) -> ChunkReleased:
    return ChunkReleased(chunk=CHUNK, epoch=epoch, entities=tuple(map(entity, ids)))


def ended(epoch: int, *ids: str) -> ChunkEnded:
    return ChunkEnded(chunk=CHUNK, epoch=epoch, entities=tuple(map(entity, ids)))


def history(*events: Event) -> History:
    return claims.fold(list(enumerate(events)))


def recorded(*ids: str) -> frozenset[tuple[Kind, str]]:
    return frozenset((Kind.PAGE, i) for i in ids)


HISTORIES: list[tuple[str, tuple[Event, ...], History]] = [
    ("nobody has claimed it", (), History()),
    ("claimed", (claimed(1),), History(0, 1, 1, True)),
    ("claimed by two, one after the other", (claimed(1), claimed(2, 2)), History(1, 2, 2, True)),
    ("ended", (claimed(1), ended(1, "1", "2")), History(1, 1, 1, False, True, False, recorded("1", "2"))),
    (
        "let go by a worker that was shut down: no attempt",
        (claimed(1), released(1, "1")),
        History(1, 1, 0, False, False, False, recorded("1")),
    ),
    (
        "somebody was about to be invited when its worker died",
        (claimed(1), InvitationBegun(chunk=CHUNK, epoch=1, person=ANN), claimed(2, 2)),
        History(2, 2, 2, True, begun=frozenset({ANN})),
    ),
    ("settled: no attempt at work", (claimed(1), claimed(2, 2, "settle")), History(1, 2, 1, True)),
    (
        "something was recorded since the last claim",
        (claimed(1), claimed(2, 2), claimed(3, 3), one(3, "1")),
        History(3, 3, 3, True, False, True, recorded("1")),
    ),
    (
        "nothing since the last claim",
        (claimed(1), claimed(2, 2), claimed(3, 3), one(3, "1"), claimed(4, 4)),
        History(4, 4, 4, True, False, False, recorded("1")),
    ),
]


@pytest.mark.parametrize(("_what", "events", "found"), HISTORIES, ids=[h[0] for h in HISTORIES])
def test_history(_what: str, events: tuple[Event, ...], found: History) -> None:
    assert history(*events) == found


@given(st.lists(st.sampled_from(["crash", "release", "one"]), max_size=12))
def test_attempts_are_the_claims_for_work_that_were_not_let_go(fates: list[str]) -> None:
    events: list[Event] = []
    for n, fate in enumerate(fates, 1):
        events.append(claimed(n))
        if fate == "release":
            events.append(released(n, str(n)))
        elif fate == "one":
            events.append(one(n, str(n)))
    found = history(*events)
    assert found.works == sum(fate != "release" for fate in fates)
    assert found.epoch == len(fates)
    assert found.version == len(events) - 1
    assert found.recorded == recorded(*(str(n) for n, fate in enumerate(fates, 1) if fate != "crash"))


# Plan and task as the tables say, whether somebody has the chunk, and what a claim would be for.
RUNS: dict[str, Any] = {
    "plan": PLAN,
    "status": "RUNNING",
    "stop_requested": False,
    "paused": False,
    "stuck": None,
    "task_state": "running",
}
PURPOSES: list[tuple[str, dict[str, Any], bool, str | None]] = [
    ("all runs", {}, False, "work"),
    ("all runs, a worker died", {}, True, "work"),
    ("paused", {"paused": True}, False, None),
    ("stuck", {"stuck": 7}, False, None),
    ("stop requested, nobody has begun", {"stop_requested": True}, False, None),
    ("stop requested, a worker died", {"stop_requested": True}, True, "settle"),
    ("stop requested while paused, a worker died", {"stop_requested": True, "paused": True}, True, "settle"),
    ("the space is failing, nobody has begun", {"task_state": "failing"}, False, None),
    ("the space is failing, a worker died", {"task_state": "failing"}, True, "settle"),
    ("the task has ended", {"task_state": "ended"}, True, None),
    ("the plan is over", {"status": "STOPPED", "stop_requested": True}, True, None),
    ("the plan is over", {"status": "FINISHED"}, True, None),
    ("the plan does not run yet", {"status": "READY"}, False, None),
    (
        "an analysis, of no plan",
        {"plan": None, "status": None, "task_state": None, "stop_requested": None},
        True,
        "work",
    ),
]


@pytest.mark.parametrize(("_what", "row", "open_claim", "purpose"), PURPOSES)
def test_what_a_claim_is_for(_what: str, row: dict[str, Any], open_claim: bool, purpose: str | None) -> None:
    assert claims._purpose(RUNS | row, History(open_claim=open_claim)) == purpose


def _claim(attempt: int, purpose: Literal["work", "settle"] = "work") -> Claim:
    needed = {f.name: None for f in fields(Claim) if f.default is MISSING and f.default_factory is MISSING}
    known = {"work": Work(CHUNK, TASK, PLAN, Phase.PAGE, 0, 0, 9), "purpose": purpose, "attempt": attempt}
    return Claim(**needed | known)  # type: ignore[arg-type]


def test_only_the_first_attempt_need_not_look_for_what_an_earlier_one_made() -> None:
    assert [_claim(n).look_first for n in (1, 2, 3)] == [False, True, True]
    assert _claim(1, "settle").look_first


def test_from_the_third_attempt_on_each_entity_is_recorded_by_itself() -> None:
    assert [_claim(n).one_by_one for n in (1, 2, 3, 4)] == [False, False, True, True]
    assert (ONE_BY_ONE, GIVE_UP_AFTER) == (3, 5)


def test_who_was_about_to_be_invited_and_has_no_outcome_is_not_known() -> None:
    claim = _claim(2)
    claim.begun, claim.recorded = frozenset({ANN, WORKER}), frozenset({(Kind.INVITATION, WORKER), (Kind.USER, ANN)})
    assert claim.unanswered == [ANN]
