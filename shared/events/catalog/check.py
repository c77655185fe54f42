"""Events of checks: what a source and a site say about a plan before it runs. Each round of them is a piece of work."""

from typing import ClassVar, Literal

from shared.events.checks import Check
from shared.events.contract import Event, Part
from shared.events.types import Count, Id


class CheckResult(Part):
    """``findings``: how many; what they are is kept beside the log."""

    check: Check
    result: Literal["passed", "warning", "error", "not_checked"]
    findings: Count = 0


class ChecksStarted(Event):
    """Source and site are asked what the checks of the plan need; ``chunk`` is the piece of work."""

    CATEGORY: ClassVar[str] = "analysis"
    analysis: Id
    plan: Id
    source: Id
    site: Id
    chunk: Id


class ChecksCompleted(Event):
    """What they said. A check that is not named could not be made."""

    CATEGORY: ClassVar[str] = "analysis"
    analysis: Id
    plan: Id
    results: tuple[CheckResult, ...]
