"""What a plan takes along, before anything is saved."""

from __future__ import annotations

import pytest

from services.planner.domain.selection import Candidate, Mistake, key_mistakes, passes, scope_mistakes
from shared.events.commands import Scope, SpaceFilter

ENG = Candidate("1", "ENG", "Engineering", "global", "current")
OPS = Candidate("2", "OPS", "Operations", "global", "archived")
ANN = Candidate("3", "~ann", "Ann's space", "personal", "current")
EVERY = (ENG, OPS, ANN)

FILTERS: list[tuple[SpaceFilter, tuple[Candidate, ...]]] = [
    (SpaceFilter(), EVERY),
    (SpaceFilter(type="personal"), (ANN,)),
    (SpaceFilter(type="global", status="current"), (ENG,)),
    (SpaceFilter(search="NEER"), (ENG,)),
    (SpaceFilter(search="ops"), (OPS,)),
    (SpaceFilter(keys=("e*", "~*")), (ENG, ANN)),
    (SpaceFilter(exclude=("?ps",)), (ENG, ANN)),
    (SpaceFilter(keys=("*",), exclude=("*",)), ()),
]


@pytest.mark.statement(61)
@pytest.mark.parametrize(("wanted", "left"), FILTERS)
def test_a_filter_lets_through_what_it_names_whatever_the_letters_case(
    wanted: SpaceFilter, left: tuple[Candidate, ...]
) -> None:
    assert tuple(space for space in EVERY if passes(space, wanted)) == left


def codes(mistakes: list[Mistake]) -> list[tuple[str, str | None]]:
    return [(m.code, m.space) for m in mistakes]


@pytest.mark.statement(18, 23)
def test_no_two_spaces_of_a_plan_may_get_the_same_key_in_any_case_of_letters() -> None:
    assert codes(key_mistakes(EVERY, {"2": "eng"})) == [("key_twice", "2")]
    assert codes(key_mistakes(EVERY, {"1": "NEW", "2": "ENG"})) == []


def test_a_new_key_has_letters_and_digits_only_and_belongs_to_a_space_of_the_plan() -> None:
    assert codes(key_mistakes((ENG,), {"1": "no way", "2": "OPS"})) == [("space_not_chosen", "2"), ("key_invalid", "1")]


def test_every_mistake_about_single_spaces_is_told() -> None:
    scopes = [
        Scope(space="9", what="rights"),
        Scope(space="1", roots=("abc",)),
        Scope(space="2", what="attachments", roots=("7",)),
        Scope(space="2", what="rights"),
    ]
    assert codes(scope_mistakes(EVERY, scopes)) == [
        ("space_not_chosen", "9"),
        ("root_invalid", "1"),
        ("roots_without_pages", "2"),
        ("scope_twice", "2"),
    ]
