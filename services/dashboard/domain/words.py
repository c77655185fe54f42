"""What people read about a plan: one line in numbers for its status. Pure functions of what the read models hold."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from services.dashboard.domain.pace import LEAST_DONE, LEAST_SECONDS, Chart, Doing, Left, rounded
from services.dashboard.domain.shapes import Counts, PlanSummary, ReasonGroup
from shared.events.catalog.plan import INVITING
from shared.events.reasons import EXPLANATIONS, MENDED, Reason

KIND_WORDS = {
    "user": ("user", "users"),
    "group": ("group", "groups"),
    "membership": ("membership", "memberships"),
    "space": ("space", "spaces"),
    "page": ("page", "pages"),
    "blogpost": ("blog post", "blog posts"),
    "attachment": ("attachment", "attachments"),
    "body": ("body with its links", "bodies with their links"),
    "comment": ("comment", "comments"),
    "link": ("earlier page whose links follow", "earlier pages whose links follow"),
    "version": ("page with earlier versions", "pages with earlier versions"),
    "owner": ("owner of a page", "owners of pages"),
    "label": ("set of labels", "sets of labels"),
    "property": ("page with properties", "pages with properties"),
    "provenance": ("note of origin", "notes of origin"),
    "restriction": ("page with restrictions", "pages with restrictions"),
    "order": ("page with ordered children", "pages with ordered children"),
    "permission": ("space permission", "space permissions"),
    "watch": ("watched page or space", "watched pages and spaces"),
    "invitation": ("invitation", "invitations"),
    "address": ("address", "addresses"),
    "domain": ("domain", "domains"),
    "check": ("check", "checks"),
    "plan": ("plan", "plans"),
    "event": ("event", "events"),
    "source": ("source", "sources"),
    "site": ("site", "sites"),
    "difference": ("difference", "differences"),
    "row": ("row", "rows"),
    "person": ("person", "people"),
    "interval": ("interval", "intervals"),
    "attempt": ("attempt", "attempts"),
    "delivery": ("delivery", "deliveries"),
    "task": ("task", "tasks"),  # users or groups as a whole, when none of them could even be listed
}
LOZENGES = {
    "READY": "neutral",
    "RUNNING": "information",
    "FINISHED": "success",
    "STOPPED": "warning",
    "FAILED": "danger",
}
# Shape and word carry the meaning; colour only repeats it.
MARKS = {"READY": "○", "RUNNING": "◐", "FINISHED": "✓", "STOPPED": "■", "FAILED": "✕"}
# Of a check: class, mark, word.
RESULTS = {
    "passed": ("success", "✓", "Passed"),
    "warning": ("warning", "!", "Warning"),
    "error": ("danger", "✕", "Error"),
    "not_checked": ("neutral", "○", "Not checked"),
}
OUTCOMES = {"failed": "Failed", "migrated": "Moved with a defect", "skipped": "Skipped"}
# Reasons that only follow from another one, which is listed before them.
CONSEQUENCES = frozenset({Reason.SPACE_FAILED, Reason.PLAN_STOPPED, Reason.PARENT_NOT_MOVED})
PHASES = {
    "inventory": "counting",
    "space": "creating the space",
    "page": "pages",
    "blogpost": "blog posts",
    "attachment": "attachments",
    "version": "earlier versions",
    "body": "links and mentions",
    "link": "links of earlier pages",
    "owner": "owners of pages",
    "comment": "comments",
    "label": "labels",
    "property": "properties",
    "provenance": "notes of origin",
    "restriction": "restrictions",
    "order": "order of pages",
    "verification": "verification",
    "opening": "opening the space",
    "watch": "watchers",
    "user": "users",
    "group": "groups",
    "membership": "memberships",
    "invitation": "invitations",
}
# What a space holds at the source and no API of the cloud takes, with what can be done about it.
LEFT_BEHIND = {
    "template": "Make page templates anew in the space's settings.",
    "draft": "Ask their authors to publish or discard drafts before the run.",
    "archived": "Archived pages stay behind; restore them at the source before the run if they are needed.",
    "trash": "What is in the trash stays there; restore it at the source before the run if it is needed.",
    "like": "Likes stay behind: nobody can like for somebody else.",
    "favourite": "People star their pages anew.",
    "personal_label": "People set their own labels anew; nobody can set them for somebody else.",
    "app_content": "Content of apps moves only by the apps' own means: ask their vendors.",
    "look": "Set the look of the space anew in its settings.",
    "calendar": "Make calendars anew, or move them by their own export.",
    "blueprint": "Blueprints of the cloud take the place of the old ones.",
    "task_report": "Task reports are made anew by the site.",
    "version": "Choose how many earlier versions are replayed when the plan is saved.",
}
TASK_STATES = {
    "waiting": "Waiting",
    "running": "In progress",
    "failing": "Failing",
    "done": "Done",
    "migrated": "Done",
    "failed": "Failed",
    "stopped": "Stopped",
}

# What kept a webhook's receiver from answering.
NO_ANSWER = {
    "timeout": "No answer in time",
    "unreachable": "Not reachable",
    "certificate": "Its certificate is not valid",
    "address_forbidden": "Its address is in a private network",
    "address_invalid": "Its address cannot be called",
    "address_plain": "Its address is without TLS",
    "secret_sealed": "Its secret does not open with this deployment’s key",
    "no_secret": "It has no secret",
}


def answered(status: int | None, problem: str | None) -> str:
    """What became of an attempt to deliver."""
    return f"Answered {status}" if status is not None else NO_ANSWER.get(problem or "", "Not sent")


def number(value: int) -> str:
    return f"{value:,}"


def counted(value: int, kind: str) -> str:
    """ "1 page", "12,431 pages"."""
    return f"{number(value)} {KIND_WORDS[kind][value != 1]}"


def mended(value: int, what: str) -> str:
    """ "2 pages that the source hides by now were hidden"."""
    return f"{number(value)} {MENDED[what][value != 1]}"


def duration(start: datetime, end: datetime) -> str:
    """ "12 s", "4 min 10 s", "1 h 10 min"."""
    seconds = max(0, int((end - start).total_seconds()))
    if seconds < 60:
        return f"{seconds} s"
    minutes, rest = divmod(seconds, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"


def done(counts: Counts) -> int:
    return counts.migrated + counts.skipped + counts.failed


def percent(share: int, complete: bool) -> int:
    """Never 100 before the closing event, nor for a plan that was stopped on the way."""
    return 100 if complete else min(99, share)


def chunks(value: int) -> str:
    return f"{number(value)} chunk{'' if value == 1 else 's'}"


def progress_of_spaces(plan: PlanSummary, begun: int) -> str:
    """What a stop would leave behind. ``begun``: spaces whose task has begun and not ended."""
    rest = plan.spaces.selected - plan.spaces.migrated - plan.spaces.failed - begun
    return (
        f"Of {counted(plan.spaces.selected, 'space')}, {number(plan.spaces.migrated)} {_are(plan.spaces.migrated)} complete on the site;"
        f" {number(begun)} {_are(begun)} begun and {'stays' if begun == 1 else 'stay'} private; {number(rest)} {_are(rest)} not begun."
    )


def _are(value: int) -> str:
    return "is" if value == 1 else "are"


def meaning(reason: str) -> str:
    return EXPLANATIONS[Reason(reason)].meaning


def pages_left(plan: PlanSummary) -> int:
    pages = plan.kinds.get("page", Counts())
    return max(0, max(plan.pages_total, pages.selected) - done(pages))


def taken(plan: PlanSummary) -> str:
    """How long an ended plan took."""
    return duration(plan.started_at, plan.ended_at) if plan.started_at and plan.ended_at else ""


@dataclass
class Cause:
    """Everything that ended for one reason: ``lines`` by outcome, as "Skipped: 27 pages, 2 blog posts"."""

    reason: str
    meaning: str
    way_on: str
    count: int = 0
    accepted: bool = True
    outcomes: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    spaces: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)

    @property
    def worst(self) -> str:
        return next(outcome for outcome in OUTCOMES if outcome in self.outcomes)


def causes(groups: Iterable[ReasonGroup]) -> list[Cause]:
    """One for each reason, worst first, and what only follows from another cause last."""
    found: dict[str, Cause] = {}
    for group in groups:
        cause = found.setdefault(group.reason, Cause(group.reason, group.meaning, group.way_on, spaces=group.spaces))
        cause.count += group.count
        cause.accepted &= group.accepted
        cause.outcomes.setdefault(group.outcome, []).append((group.kind, counted(group.count, group.kind)))
        cause.names += group.names if group.kind != "space" else []
        if group.kind in ("page", "blogpost", "attachment", "comment"):
            cause.ids += [f"{KIND_WORDS[group.kind][0]} {id}" for id in group.examples]
    order = list(OUTCOMES)
    return sorted(
        found.values(), key=lambda c: (c.reason in CONSEQUENCES, order.index(c.worst), c.accepted, -c.count, c.reason)
    )


def check_name(check: str) -> str:
    """As a heading.

    >>> check_name("licence_seats")
    'Licence seats'
    """
    return check.replace("_", " ").capitalize().replace("confluence", "Confluence")


def status_in_guide(status: str) -> str:
    """Where the guide explains a status.

    >>> status_in_guide("READY")
    'docs/guide/plan-and-run.md#ready'
    """
    return f"docs/guide/plan-and-run.md#{status.lower()}"


def line(plan: PlanSummary) -> str:
    """The second line of a status: always numbers."""
    spaces, pages = plan.spaces, plan.kinds.get("page", Counts())
    kept = _accounted(plan)
    match plan.status:
        case "READY" if plan.follow in INVITING:
            return "Saved. Nobody has been invited by it."
        case _ if plan.follow in INVITING:
            asked = plan.kinds.get("invitation", Counts())
            rest = f" {kept}" if plan.ended_at else ""
            return f"{number(asked.migrated)} of {counted(asked.selected, 'person')} invited.{rest}"
        case "READY":
            return f"Saved. {counted(spaces.selected, 'space')} selected. Nothing has begun."
        case "RUNNING" if plan.stopping:
            return f"Nothing new starts. {chunks(plan.chunks_claimed)} under way still to finish."
        case "RUNNING" if plan.paused_for == "credential_expired":
            return (
                f"Paused: the login to “{plan.site.name}” is over. Log in again, and it goes on by itself."
                f" {counted(pages_left(plan), 'page')} to go."
            )
        case "RUNNING" if plan.paused:
            return f"Paused. {counted(pages_left(plan), 'page')} to go."
        case "RUNNING":
            about = "about " if plan.counting else ""
            moved = f"{number(done(pages))} of {about}{counted(max(plan.pages_total, pages.selected), 'page')}"
            ended = spaces.migrated + spaces.failed
            return f"{moved}; {number(ended)} of {counted(spaces.selected, 'space')} ended."
        case "FINISHED" if plan.follow == "undo":
            stay = sum(counts.skipped for counts in plan.kinds.values())
            left = f"; {number(stay)} of all that it made stay and are listed" if stay else ""
            return f"{counted(pages.migrated, 'page')} removed in {taken(plan)}{left}. {kept}"
        case "FINISHED":
            return f"{counted(spaces.migrated, 'space')}, {counted(pages.migrated, 'page')} in {taken(plan)}. {kept}"
        case "STOPPED":
            return f"{number(spaces.migrated)} of {counted(spaces.selected, 'space')} on the site. It cannot be resumed. {kept}"
        case _:
            failed = f"; {number(spaces.failed)} failed" if spaces.failed else ""
            moved = f"{number(spaces.migrated)} of {counted(spaces.selected, 'space')} migrated{failed}."
            return f"{moved} {_unforeseen(plan)}{kept}"


def _unforeseen(plan: PlanSummary) -> str:
    """Why a plan without any failed entity is FAILED all the same."""
    skipped = sum(counts.skipped for counts in plan.kinds.values())
    if plan.spaces.failed or not skipped or any(counts.failed for counts in plan.kinds.values()):
        return ""
    return f"{number(skipped)} entities were skipped, not all for reasons accepted beforehand. "


def _accounted(plan: PlanSummary) -> str:
    return "All accounted for." if plan.conserved else "The sums do not agree: see the report."


def kind_rows(kinds: Mapping[str, Counts]) -> list[tuple[str, Counts]]:
    """Kinds in the order of work, with their plural word."""
    return [(KIND_WORDS[kind][1].capitalize(), kinds[kind]) for kind in KIND_WORDS if kind in kinds]


def size(value: int) -> str:
    """Bytes as people read them: 10⁶ to the MB."""
    for unit, step in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if value >= step:
            return f"{value / step:,.1f} {unit}" if value < 100 * step else f"{value / step:,.0f} {unit}"
    return f"{value} bytes" if value != 1 else "1 byte"


def ago(value: datetime, now: datetime) -> str:
    """ "12 s ago", "3 h ago", "2 days ago"."""
    seconds = max(0, int((now - value).total_seconds()))
    for unit, step in (("day", 86400), ("h", 3600), ("min", 60)):
        if seconds >= step:
            count = seconds // step
            return f"{count} {unit}{'s' if unit == 'day' and count != 1 else ''} ago"
    return f"{seconds} s ago"


_CAPITAL = re.compile(r"(?<=[a-z])(?=[A-Z])")


def event(type_: str) -> str:
    """ "PlanStopRequested" as people read it: "Plan stop requested"."""
    first, *rest = _CAPITAL.split(type_)
    return " ".join([first, *(word.lower() for word in rest)])


def told(data: Mapping[str, Any]) -> str:
    """The numbers and codes of an event's data, in a line; ids and lists of them are on the event's own page."""
    parts = []
    for name, value in data.items():
        word = name.replace("_", " ")
        if isinstance(value, bool):
            parts.append(f"{word}: {'yes' if value else 'no'}")
        elif isinstance(value, int):
            parts.append(f"{word}: {number(value)}")
        elif isinstance(value, str) and len(value) < 30:
            parts.append(f"{word}: {value}")
        elif isinstance(value, list):
            parts.append(f"{word}: {number(len(value))}")
    return ", ".join(parts[:6])


class Told(Protocol):
    """The part of a plan's pace that sentences need."""

    @property
    def left(self) -> Left | None: ...

    @property
    def throttled(self) -> datetime | None: ...


# -- pace ----------------------------------------------------------------------------------------------------------


def rate(value: float) -> str:
    """ "14.2 a second", "12 a minute" where it is slow."""
    return f"{value:,.1f} a second" if value >= 1 or value == 0 else f"{value * 60:,.0f} a minute"


def minutes(value: int) -> str:
    return f"{value} min" if value < 60 else f"{value // 60} h {value % 60} min" if value % 60 else f"{value // 60} h"


def time_left(plan: PlanSummary, told: Told) -> str:
    """A range, rounded up; or why there is none."""
    if told.throttled is not None:
        return "Not known while the site asks for a pause."
    if plan.paused:
        return "Not known while the plan is paused."
    if plan.stopping:
        return "Until what is under way has finished."
    if told.left is None:
        return f"Estimated after {LEAST_SECONDS // 60} minutes and {LEAST_DONE} entities."
    least, most = rounded(told.left.least), rounded(told.left.most)
    return f"About {minutes(most)}" if least == most else f"{minutes(least)} to {minutes(most)}"


def basis(left: Left) -> str:
    return (
        f"{left.per_second:,.1f} entities a second over the last 15 min, {left.parallel:,.1f} chunks at once;"
        f" {number(left.to_go)} entities to go, each kind at what it cost lately."
    )


def again(counts: tuple[int, int, int]) -> str:
    """Chunks with more than one attempt: a figure, not an error."""
    chunks_, attempts, ended = counts
    rest = "all of them have ended" if ended == chunks_ else f"{number(ended)} of them have ended"
    return f"{chunks(chunks_)} took {number(attempts)} more attempt{'' if attempts == 1 else 's'}; {rest}."


def doing(each: Doing, now: datetime) -> str:
    """ "Pages of ENG, 100 entities, for 12 s"."""
    what = PHASES.get(each.phase, each.phase)
    where = f" of {each.key}" if each.key else ""
    size_ = f", {number(each.entities)} entities" if each.entities else ""
    tries = f", attempt {each.attempt}" if each.attempt > 1 else ""
    return f"{what[:1].upper()}{what[1:]}{where}{size_}, for {duration(each.since, now)}{tries}"


def idle(plan: PlanSummary, told: Told) -> str:
    """What is waited for when nothing is under way."""
    if not plan.started_at:
        return "The plan has not begun."
    if plan.paused:
        return "Nothing: the plan is paused."
    if told.throttled is not None:
        return "Nothing: the site asked for a pause."
    return "Nothing is claimed: waiting for an executor."


def chart_sentence(chart: Chart) -> str:
    last = next((point.rate for point in reversed(chart.points) if point.rate is not None), 0.0)
    most = max((point.rate or 0.0 for point in chart.points), default=0.0)
    each = "minute by minute" if chart.minutes == 1 else f"by {chart.minutes} minutes"
    gaps = sum(point.rate is None for point in chart.points)
    without = f"; nothing was recorded in {counted(gaps, 'interval')}" if gaps else ""
    return f"{last:,.1f} at the end, {chart.average:,.1f} on average, {most:,.1f} at most, {each}{without}."
