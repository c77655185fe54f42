"""What a following plan takes, by what the plans before it recorded."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.executor.following import MAPPED, Earlier, Listed, takes
from shared.events.catalog.plan import Follow
from shared.events.catalog.work import Kind, Outcome
from shared.events.reasons import Reason

FOLLOWS: tuple[Follow, ...] = ("continue", "retry", "delta")
NOW = Listed(version=3, parent="1", container="2")
MOVED = Earlier(True, Outcome.MIGRATED, NOW)
follows = st.sampled_from(FOLLOWS)
kinds = st.sampled_from([kind for kind in Kind if kind not in (Kind.SPACE, Kind.LINK)])


@given(follows, kinds)
def test_what_moved_and_did_not_change_is_not_taken_again(follow: Follow, kind: Kind) -> None:
    again = takes(follow, kind, NOW, MOVED, unfinished=False)
    assert again == (follow == "delta" and kind is Kind.RESTRICTION)  # who is in it no number tells


@given(follows, kinds, st.sampled_from([None, Outcome.FAILED, Outcome.SKIPPED]))
def test_what_did_not_move_is_taken_by_each(follow: Follow, kind: Kind, last: Outcome | None) -> None:
    assert takes(follow, kind, NOW, Earlier(True, last, None), unfinished=False)


@given(kinds)
def test_what_came_since_is_taken_by_all_but_a_retry(kind: Kind) -> None:
    new = Earlier()
    assert [takes(follow, kind, NOW, new, unfinished=False) for follow in FOLLOWS] == [True, False, True]


@given(
    st.sampled_from(sorted(MAPPED)),
    st.sampled_from(
        [Listed(4, "1", "2"), Listed(3, "9", "2"), Listed(3, "1", "9"), Listed(3, "1", "2", resolved=True)]
    ),
)
def test_only_a_delta_takes_what_changed_or_was_resolved_or_stands_elsewhere(kind: Kind, now: Listed) -> None:
    assert [takes(follow, kind, now, MOVED, unfinished=False) for follow in FOLLOWS] == [False, False, True]


@pytest.mark.parametrize("follow", FOLLOWS)
def test_in_a_space_that_nobody_has_seen_bodies_and_restrictions_are_gone_over_again(follow: Follow) -> None:
    for kind in (Kind.BODY, Kind.RESTRICTION):
        assert takes(follow, kind, NOW, MOVED, unfinished=True)
        assert takes(follow, kind, NOW, Earlier(), unfinished=True), "also where it was not listed before"


@pytest.mark.parametrize("follow", FOLLOWS)
def test_a_page_that_stands_at_the_top_for_want_of_its_parent_is_taken_again(follow: Follow) -> None:
    lost = Earlier(True, Outcome.MIGRATED, NOW, Reason.PARENT_NOT_MOVED)
    assert takes(follow, Kind.PAGE, NOW, lost, unfinished=False)


@given(follows, st.sampled_from(sorted(MAPPED)))
def test_what_is_not_known_on_the_site_any_more_is_made_anew(follow: Follow, kind: Kind) -> None:
    removed = Earlier(True, Outcome.MIGRATED, NOW, there=False)
    assert takes(follow, kind, NOW, removed, unfinished=False)


@given(follows, kinds)
def test_a_conflict_of_the_last_plan_is_looked_at_again(follow: Follow, kind: Kind) -> None:
    conflict = Earlier(True, Outcome.SKIPPED, NOW, Reason.CHANGED_ON_SITE)
    assert takes(follow, kind, NOW, conflict, unfinished=False)
