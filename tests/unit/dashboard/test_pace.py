"""How fast a plan moves and how long it takes: ranges that rest on what was measured, and silence where nothing was."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from services.dashboard.domain.pace import HEIGHT, POINTS, WIDTH, Minute, chart, left, per_second, rounded

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)


def run(length: int, per_minute: int, cost: int, kind: str = "page") -> list[Minute]:
    """``length`` minutes up to now, so many of a kind in each, ``cost`` µs for one."""
    return [Minute(NOW - timedelta(minutes=n), kind, per_minute, per_minute * cost) for n in range(length, 0, -1)]


def test_time_left_is_what_remains_at_the_pace_that_was_measured() -> None:
    found = left(run(10, 600, 400_000), {"page": 6_000}, 0, NOW)
    assert found is not None and found.least < 600 < found.most
    assert round(found.parallel, 1) == 4.0 and round(found.per_second) == 10


def test_a_kind_that_costs_more_takes_longer_and_one_that_was_not_seen_yet_costs_the_usual() -> None:
    minutes = run(10, 300, 100_000) + run(10, 30, 2_000_000, "attachment")
    pages, files = (left(minutes, {kind: 1_000}, 0, NOW) for kind in ("page", "attachment"))
    unseen = left(minutes, {"comment": 1_000}, 0, NOW)
    assert pages is not None and files is not None and unseen is not None
    assert round(files.most / pages.most) == 20 and pages.most < unseen.most < files.most


def test_nothing_is_estimated_before_enough_was_seen() -> None:
    assert left([], {"page": 10}, 0, NOW) is None
    assert left(run(1, 5_000, 1_000), {"page": 10}, 0, NOW) is None
    assert left(run(10, 3, 1_000), {"page": 10}, 0, NOW) is None


def test_a_minute_without_a_record_is_a_gap_and_not_a_zero() -> None:
    minutes = [each for each in run(10, 60, 1_000) if each.at != NOW - timedelta(minutes=5)]
    found = chart(minutes, NOW)
    assert found is not None and len(found.paths) == 2
    assert [point.rate for point in found.points].count(None) == 1


def test_an_estimate_is_rounded_up_in_steps_that_people_expect() -> None:
    assert [rounded(seconds) for seconds in (1, 299, 301, 7_199, 7_201)] == [5, 5, 10, 120, 135]


@given(st.lists(st.tuples(st.integers(0, 5_000), st.integers(0, 10**6)), min_size=1, max_size=200))
def test_a_chart_stays_in_its_picture_and_its_average_agrees_with_its_points(told: list[tuple[int, int]]) -> None:
    minutes = [Minute(NOW - timedelta(minutes=at + 1), "page", done, 1) for at, done in told]
    found = chart(minutes, NOW)
    if found is None:
        return
    assert len(found.points) <= POINTS and found.top >= max(point.rate or 0 for point in found.points)
    for path in found.paths:
        for step in path.replace("M", " ").replace("L", " ").split(" h1")[0].split():
            assert 0 <= float(step) <= WIDTH
    assert all(0 <= y <= HEIGHT for y, _ in found.ticks)
    whole = sum(done for _, done in told)
    assert abs(sum((p.rate or 0) * 60 * found.minutes for p in found.points[:-1]) - whole) <= whole + 1
    assert per_second(minutes, NOW, timedelta(days=30)) >= 0
