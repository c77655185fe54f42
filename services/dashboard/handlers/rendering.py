"""How pages are made: templates, what they may use, and the values that every page has."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from services.dashboard.domain import words
from services.dashboard.domain.access import CALLER, Permission
from services.dashboard.domain.shapes import PlanSummary
from services.dashboard.handlers.context import Parts
from shared.events.catalog.plan import INVITING, Follow

Verb = Literal[
    "run",
    "dry-run",
    "stop",
    "pause",
    "resume",
    "archive",
    "continue",
    "retry-failed",
    "delta",
    "undo",
    "copy",
    "invite",
    "remind",
]

# What a plan may be asked, by its state; the first is the primary one.
ACTIONS: dict[str, tuple[tuple[Verb, str], ...]] = {
    "READY": (("run", "Run plan"), ("dry-run", "Dry run"), ("copy", "Copy"), ("archive", "Archive")),
    "RUNNING": (("stop", "Stop plan"), ("pause", "Pause"), ("copy", "Copy")),
    "paused": (("resume", "Go on"), ("stop", "Stop plan"), ("copy", "Copy")),
    "stopping": (("copy", "Copy"),),
    "FINISHED": (("delta", "Migrate changes"), ("undo", "Undo"), ("copy", "Copy"), ("archive", "Archive")),
    "STOPPED": (("continue", "Continue as new plan"), ("undo", "Undo"), ("copy", "Copy"), ("archive", "Archive")),
    "FAILED": (
        ("retry-failed", "Retry failed"),
        ("delta", "Migrate changes"),
        ("undo", "Undo"),
        ("copy", "Copy"),
        ("archive", "Archive"),
    ),
}
# What makes a new plan of this one, and the word behind its name.
FOLLOWING: dict[str, tuple[Follow, str]] = {
    "continue": ("continue", "continued"),
    "retry-failed": ("retry", "retried"),
    "delta": ("delta", "changes"),
    "undo": ("undo", "undone"),
}
# On the report's page: invites by a new plan that runs at once.
INVITATIONS: dict[Verb, str] = {"invite": "Invite people", "remind": "Send reminder email"}

# Plans that bring nothing to the site.
NO_MOVE = frozenset({"undo", *INVITING})


def actions(plan: PlanSummary) -> tuple[tuple[Verb, str], ...]:
    """What the caller may ask of this plan now. An action that a role can never do is absent."""
    caller = CALLER.get(None)
    if caller is None or not caller.may(Permission.OPERATE):
        return ()
    state = "stopping" if plan.stopping else "paused" if plan.paused else plan.status
    return tuple(
        (verb, label)
        for verb, label in ACTIONS[state]
        if not (verb == "archive" and plan.archived)
        and not (verb in FOLLOWING and (plan.follow in NO_MOVE or plan.dry_run))
        and not (verb == "copy" and (plan.follow or plan.dry_run))
        and not (verb == "dry-run" and plan.follow in INVITING)
    )


def invitations(plan: PlanSummary) -> dict[Verb, str]:
    """Which invitations the caller may ask for after this plan."""
    caller = CALLER.get(None)
    may = caller is not None and caller.may(Permission.OPERATE)
    return dict(INVITATIONS) if may and invitable(plan) else {}


def invitable(plan: PlanSummary) -> bool:
    """Whether people of this plan may be invited at all: it has run, and moved."""
    return plan.status in ("FINISHED", "STOPPED", "FAILED") and plan.follow not in NO_MOVE and not plan.dry_run


def typed(plan: PlanSummary, verb: str) -> bool:
    """Whether the site's name has to be typed: what cannot be taken back on a site that people work on, and what deletes."""
    return (plan.follow == "undo" and verb == "run") or (
        plan.stage == "production" and verb == "run" and not plan.dry_run
    )


def when(value: datetime | None) -> str:
    return f"{value.astimezone(UTC):%-d %b %Y, %H:%M} UTC" if value else ""


templates = Environment(
    loader=FileSystemLoader(Path(__file__).parent.parent / "templates"),
    autoescape=select_autoescape(),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
templates.filters |= {
    "when": when,
    "number": words.number,
    "size": words.size,
    "ago": lambda at: words.ago(at, datetime.now(UTC)),
}
templates.globals |= {"words": words, "actions": actions, "invitations": invitations, "typed": typed}


def page(service: Parts, name: str, /, *, status: int = 200, **values: object) -> HTMLResponse:
    html = templates.get_template(name).render(
        position=service.position, notices=service.notices(), caller=CALLER.get(None), **values
    )
    return HTMLResponse(html, status, headers={"Cache-Control": "no-store"})
