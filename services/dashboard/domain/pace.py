"""How fast a plan moves and how long it still takes, from what was done in each minute. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil

LEAST_SECONDS, LEAST_DONE = 120, 200  # before that, an estimate would only be a guess
WINDOW = timedelta(minutes=15)
POINTS = 120  # of the chart at most
WIDTH, HEIGHT = 720, 160
_LEFT, _BOTTOM, _TOP = 48, 24, 8  # margins of the chart
_SURE = (0.85, 1.25)  # what an estimate is said to lie between


@dataclass(frozen=True, slots=True)
class Minute:
    """What ended in one minute, of one kind. ``micros``: how long the chunks took that it came in, all together."""

    at: datetime
    kind: str
    done: int
    micros: int


@dataclass(frozen=True, slots=True)
class Doing:
    """A chunk under way. ``attempt``: above 1, what an earlier one may have made is looked for first."""

    phase: str
    key: str | None
    entities: int
    since: datetime
    attempt: int


@dataclass(frozen=True, slots=True)
class Left:
    """Seconds at least and at most, and what that rests on."""

    least: float
    most: float
    per_second: float
    parallel: float
    to_go: int


@dataclass(frozen=True, slots=True)
class Point:
    """Entities a second over the minutes from ``at`` on; None where nothing was recorded: a gap, not a zero."""

    at: datetime
    rate: float | None


@dataclass(frozen=True, slots=True)
class Chart:
    """``paths``: of the line, one for each stretch without a gap, in a picture of WIDTH × HEIGHT. ``ticks``: y and its label."""

    points: Sequence[Point]
    minutes: int
    top: float
    paths: Sequence[str]
    ticks: Sequence[tuple[float, str]]
    average: float


def per_second(minutes: Sequence[Minute], now: datetime, span: timedelta, kind: str | None = None) -> float:
    """Over the last ``span``, or since the first minute where that is shorter."""
    if not minutes:
        return 0.0
    begin = max(now - span, min(each.at for each in minutes))
    seconds = max(1.0, (now - begin).total_seconds())
    return sum(m.done for m in minutes if m.at >= begin and kind in (None, m.kind)) / seconds


def left(minutes: Sequence[Minute], to_go: Mapping[str, int], uncounted: int, now: datetime) -> Left | None:
    """Each kind costs what it cost lately, and as much goes on at once as lately did. ``uncounted``: entities that only the
    analysis tells of. None: too little is known yet."""
    begin = min((m.at for m in minutes), default=now)
    recent = [m for m in minutes if m.at >= now - WINDOW]
    wall = (now - max(begin, now - WINDOW)).total_seconds()
    done, micros = sum(m.done for m in recent), sum(m.micros for m in recent)
    if (
        (now - begin).total_seconds() < LEAST_SECONDS
        or sum(m.done for m in minutes) < LEAST_DONE
        or not micros
        or not done
    ):
        return None
    cost = {}
    for kind in {m.kind for m in recent}:
        each = [m for m in recent if m.kind == kind]
        if n := sum(m.done for m in each):
            cost[kind] = sum(m.micros for m in each) / n
    usual = micros / done
    work = sum(n * cost.get(kind, usual) for kind, n in to_go.items()) + uncounted * usual
    parallel = micros / 1e6 / wall
    seconds = work / 1e6 / parallel
    total = sum(to_go.values()) + uncounted
    return Left(seconds * _SURE[0], seconds * _SURE[1], done / wall, parallel, total)


def rounded(seconds: float) -> int:
    """Up, to whole minutes: steps of 5 below two hours, of 15 above."""
    step = 5 if seconds < 7200 else 15
    return max(step, ceil(seconds / 60 / step) * step)


def chart(minutes: Sequence[Minute], until: datetime) -> Chart | None:
    """The whole minutes of a run. None before there are two of them."""
    whole = [m for m in minutes if m.at + timedelta(minutes=1) <= until]
    if not whole:
        return None
    begin, end = min(m.at for m in whole), max(m.at for m in whole)
    count = int((end - begin).total_seconds() // 60) + 1
    if count < 2:
        return None
    step = ceil(count / POINTS)
    sums: dict[int, int] = {}
    for each in whole:
        place = int((each.at - begin).total_seconds() // 60) // step
        sums[place] = sums.get(place, 0) + each.done
    size = ceil(count / step)
    points = [
        Point(
            begin + timedelta(minutes=n * step),
            sums[n] / (60 * min(step, count - n * step)) if n in sums else None,
        )
        for n in range(size)
    ]
    top = _round_top(max(point.rate or 0 for point in points))
    average = sum(m.done for m in whole) / (60 * count)
    ticks = [(_y(top * share, top), _label(top * share)) for share in (0, 0.5, 1)]
    return Chart(points, step, top, _paths(points, top), ticks, average)


def _round_top(value: float) -> float:
    """The next of 1, 2, 5, 10 and so on: an axis that people read."""
    top = 1.0
    for n in range(30):
        top = (1, 2, 5)[n % 3] * 10.0 ** (n // 3 - 2)
        if top >= value:
            break
    return top


def _label(value: float) -> str:
    return f"{value:,.2f}".rstrip("0").rstrip(".")


def _y(value: float, top: float) -> float:
    return round(HEIGHT - _BOTTOM - (HEIGHT - _BOTTOM - _TOP) * value / top, 1)


def _paths(points: Sequence[Point], top: float) -> list[str]:
    width = (WIDTH - _LEFT - 8) / max(1, len(points) - 1)
    paths: list[list[str]] = [[]]
    for n, point in enumerate(points):
        if point.rate is None:
            paths.append([])
            continue
        paths[-1].append(f"{'L' if paths[-1] else 'M'}{round(_LEFT + n * width, 1)} {_y(point.rate, top)}")
    return [" ".join(path if len(path) > 1 else [*path, "h1"]) for path in paths if path]
