"""What people read about a plan: one line in numbers for its status. Pure functions of what the read models hold."""

from collections.abc import Mapping
from datetime import datetime

from services.dashboard.domain.shapes import Counts, PlanSummary

KIND_WORDS = {
    "user": ("user", "users"),
    "group": ("group", "groups"),
    "membership": ("membership", "memberships"),
    "space": ("space", "spaces"),
    "page": ("page", "pages"),
    "blogpost": ("blog post", "blog posts"),
    "attachment": ("attachment", "attachments"),
    "body": ("body", "bodies, second pass"),
    "comment": ("comment", "comments"),
    "label": ("labels of a page", "labels, by page"),
    "restriction": ("restriction", "restrictions, by page"),
    "order": ("order of children", "orders of children"),
    "permission": ("space permission", "space permissions"),
}
LOZENGES = {
    "READY": "neutral",
    "RUNNING": "information",
    "FINISHED": "success",
    "STOPPED": "warning",
    "FAILED": "danger",
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


def number(value: int) -> str:
    return f"{value:,}"


def counted(value: int, kind: str) -> str:
    """ "1 page", "12,431 pages"."""
    return f"{number(value)} {KIND_WORDS[kind][value != 1]}"


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


def percent(done_: int, total: int, ended: bool) -> int:
    """Floored, and never 100 before the closing event."""
    if ended:
        return 100
    return min(99, done_ * 100 // total) if total else 0


def line(plan: PlanSummary) -> str:
    """The second line of a status: always numbers."""
    spaces, pages = plan.spaces, plan.kinds.get("page", Counts())
    kept = _accounted(plan)
    match plan.status:
        case "READY":
            return f"Saved. {counted(spaces.selected, 'space')} selected. Nothing has begun."
        case "RUNNING" if plan.stopping:
            return f"Nothing new starts. {number(plan.chunks_claimed)} chunks under way are finishing."
        case "RUNNING" if plan.paused:
            return f"Paused. {number(max(0, plan.total - plan.done))} entities to go."
        case "RUNNING":
            about = "about " if plan.counting else ""
            moved = f"{number(done(pages))} of {about}{counted(max(plan.pages_total, pages.selected), 'page')}"
            ended = spaces.migrated + spaces.failed
            return f"{moved}; {number(ended)} of {counted(spaces.selected, 'space')} ended."
        case "FINISHED":
            return f"{counted(spaces.migrated, 'space')}, {counted(pages.migrated, 'page')}. {kept}"
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
