"""Events of an analysis: a dated snapshot of what a source holds."""

from enum import StrEnum
from typing import ClassVar, Literal

from shared.events.contract import Event, Part
from shared.events.types import Bytes, Count, EntityId, Id, Release


class AnalysisFailure(StrEnum):
    NOT_AN_EXPORT = "not_an_export"
    EXPORT_DAMAGED = "export_damaged"
    EXPORT_MISSING = "export_missing"
    SOURCE_UNREACHABLE = "source_unreachable"
    SOURCE_UNAUTHORIZED = "source_unauthorized"
    SOURCE_UNSUPPORTED = "source_unsupported"
    UNEXPECTED_ERROR = "unexpected_error"


class SpaceNumbers(Part):
    """What one space holds: live content only."""

    space: EntityId
    type: Literal["global", "personal"]
    status: Literal["current", "archived"]
    pages: Count
    blogposts: Count
    comments: Count
    attachments: Count
    attachment_bytes: Bytes
    missing_files: Count


class AnalysisStarted(Event):
    """A dated snapshot of a source begins; ``chunk`` is the piece of work that takes it."""

    CATEGORY: ClassVar[str] = "analysis"
    analysis: Id
    source: Id
    chunk: Id


class SpacesAnalyzed(Event):
    """The numbers of at most 500 spaces."""

    CATEGORY: ClassVar[str] = "analysis"
    analysis: Id
    slice: Count
    spaces: tuple[SpaceNumbers, ...]


class AnalysisCompleted(Event):
    """The sums over the whole source. Addresses: each person with an unusable one counts once."""

    CATEGORY: ClassVar[str] = "analysis"
    analysis: Id
    source: Id
    release: Release | None = None  # of the source
    users: Count
    groups: Count
    spaces: Count
    pages: Count
    blogposts: Count
    comments: Count
    attachments: Count
    attachment_bytes: Bytes
    missing_files: Count
    addresses_invalid: Count
    addresses_duplicate: Count
    addresses_unknown: Count
    slices: Count


class AnalysisFailed(Event):
    """The snapshot could not be taken. Another analysis may be started."""

    CATEGORY: ClassVar[str] = "analysis"
    analysis: Id
    source: Id
    code: AnalysisFailure
