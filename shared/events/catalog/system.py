"""Events about the log and its readers themselves."""

from typing import ClassVar, Literal

from shared.events.contract import Event
from shared.events.types import Count, Digest, Id


class LogRestored(Event):
    """The database was restored from a backup: every chunk claimed or planned before counts as a later attempt."""

    CATEGORY: ClassVar[str] = "audit"
    position: Count


class LogSealed(Event):
    """The first ``size`` events were signed under this root of their Merkle tree."""

    CATEGORY: ClassVar[str] = "audit"
    size: Count
    root: Digest


class LogExported(Event):
    """Somebody took a copy of events: all, those of a plan, or those from one position to another."""

    CATEGORY: ClassVar[str] = "audit"
    selection: Literal["all", "plan", "range"]
    plan: Id | None = None
    first: Count
    last: Count
    events: Count


class LogVerified(Event):
    """Somebody had the log checked. ``checked``: events that are as they were appended, from the first on."""

    CATEGORY: ClassVar[str] = "audit"
    checked: Count
    problem: Literal["link", "missing", "head", "checkpoint", "checkpoints", "key", "cut_off", "tree"] | None = None
    position: Count | None = None


class PersonErased(Event):
    """What names a person was erased from the tables beside the log. The log itself never had it."""

    CATEGORY: ClassVar[str] = "audit"
    person: Id
