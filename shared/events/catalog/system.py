"""Events about the log and its readers themselves."""

from typing import ClassVar

from shared.events.contract import Event
from shared.events.types import Count


class LogRestored(Event):
    """The database was restored from a backup: every chunk claimed or planned before counts as a later attempt."""

    CATEGORY: ClassVar[str] = "audit"
    position: Count
