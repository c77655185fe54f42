"""Events of a source: one Confluence instance or export."""

from typing import ClassVar, Literal

from shared.events.contract import Event
from shared.events.types import Count, Id


class SourceRegistered(Event):
    """A source became known. Its address and credential live outside the log."""

    CATEGORY: ClassVar[str] = "source"
    source: Id
    kind: Literal["rest", "xml", "csv", "backup"]


class SourceCredentialReplaced(Event):
    """From here on the source is read with another credential, which stands outside the log."""

    CATEGORY: ClassVar[str] = "source"
    source: Id


class BaseUrlsSet(Event):
    """From here on links under so many more addresses count as links into the source; they stand outside the log."""

    CATEGORY: ClassVar[str] = "source"
    source: Id
    urls: Count


class AddressesRepaired(Event):
    """Someone decided what becomes of unusable e-mail addresses; counts of the people concerned."""

    CATEGORY: ClassVar[str] = "source"
    source: Id
    merged: Count
    generated: Count
    former: Count
    corrected: Count | None = None  # given another address, by CSV


class DomainsReviewed(Event):
    """Someone said of so many e-mail domains that they are trusted, and of so many that they are not."""

    CATEGORY: ClassVar[str] = "source"
    source: Id
    trusted: Count
    untrusted: Count


class MapRecorded(Event):
    """A map of groups and users is there for plans to name; it never changes. ``dropped``: groups left out."""

    CATEGORY: ClassVar[str] = "source"
    source: Id
    map: Id
    groups: Count
    dropped: Count
    users: Count
