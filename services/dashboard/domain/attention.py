"""What needs somebody now: one sentence each, with the way to what ends it. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from services.dashboard.domain import words
from services.dashboard.domain.shapes import PlanSummary, Source
from shared.events.projections.base import ProjectionState

MOST = 8  # sentences of one kind; the rest are behind a link


@dataclass(frozen=True, slots=True)
class Need:
    """``level``: danger or warning. ``verb``: what the link says, which names its goal."""

    level: str
    sentence: str
    verb: str
    href: str


def needs(
    plans: Sequence[PlanSummary], sources: Iterable[Source], stalled: Iterable[ProjectionState], failed: int
) -> list[Need]:
    """In the order of how much waits for it. ``plans``: those that are running, ready or failed; ``failed``: how many failed."""
    found = [
        Need("danger", f"{state.sentence}", "View the event log", "/events") for state in stalled if state.sentence
    ]
    for plan in plans:
        if plan.stuck:
            sentence = f"“{plan.name}” stands still: its event {words.number(plan.stuck)} cannot be decided."
            found.append(Need("danger", sentence, f"View “{plan.name}”", f"/plans/{plan.id}"))
    for site in {plan.site.id: plan.site for plan in plans if plan.paused_for == "credential_expired"}.values():
        sentence = (
            f"The login to “{site.name}” is over. Its plans are paused and go on by themselves after the next login."
        )
        found.append(Need("danger", sentence, f"Log in to “{site.name}” again", f"/sites/{site.id}/login"))
    by_source = {source.id: source for source in sources}
    found += _failed(plans, failed)
    for plan in plans:
        if plan.status == "READY" and (source := by_source.get(plan.source.id)) and (bad := unresolved(source)):
            sentence = f"“{plan.name}” cannot run: {words.counted(bad, 'address')} of “{source.name}” cannot be used."
            found.append(Need("warning", sentence, f"Review {words.counted(bad, 'address')}", f"/sources/{source.id}"))
    for source in by_source.values():
        if source.analysis is not None and source.analysis.state == "failed":
            sentence = f"The analysis of “{source.name}” failed. {source.analysis.sentence or ''}".strip()
            found.append(Need("warning", sentence, f"View “{source.name}”", f"/sources/{source.id}"))
    return found


def _failed(plans: Sequence[PlanSummary], failed: int) -> list[Need]:
    shown = [plan for plan in plans if plan.status == "FAILED"][:MOST]
    found = [
        Need("danger", f"“{plan.name}” failed. {plan.line}", "View problems", f"/plans/{plan.id}#causes-title")
        for plan in shown
    ]
    if failed > len(shown):
        rest = words.counted(failed - len(shown), "plan")
        found.append(Need("danger", f"{rest} more failed.", "View failed plans", "/plans?status=FAILED"))
    return found


def unresolved(source: Source) -> int:
    """People whose address nobody has repaired, as far as the last analysis and decision tell."""
    numbers = source.analysis.numbers if source.analysis else None
    if numbers is None or source.repair is not None:
        return 0
    return numbers.addresses_invalid + numbers.addresses_duplicate
