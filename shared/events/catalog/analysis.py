"""Events of an analysis: a dated snapshot of what a source holds."""

from enum import StrEnum
from typing import ClassVar, Literal

from shared.events.catalog.work import LeftCount
from shared.events.contract import Event, Part
from shared.events.types import Bytes, Count, EntityId, Id, Micros, Release


class AnalysisFailure(StrEnum):
    NOT_AN_EXPORT = "not_an_export"
    EXPORT_DAMAGED = "export_damaged"
    EXPORT_MISSING = "export_missing"
    SOURCE_UNREACHABLE = "source_unreachable"
    SOURCE_UNAUTHORIZED = "source_unauthorized"
    SOURCE_UNSUPPORTED = "source_unsupported"
    UNEXPECTED_ERROR = "unexpected_error"


class Guardrail(StrEnum):
    """What an analysis points out about a page, blog post or attachment; limits are in the analyzer's table."""

    BODY_NEAR_LIMIT = "body_near_limit"
    ATTACHMENT_OVER_LIMIT = "attachment_over_limit"
    FILE_MISSING = "file_missing"
    TITLE_CLASH = "title_clash"
    TREE_DEEP = "tree_deep"
    TREE_WIDE = "tree_wide"
    RESTRICTIONS_MANY = "restrictions_many"


class GuardrailCount(Part):
    """How many pages, blog posts or attachments a guardrail points out."""

    guardrail: Guardrail
    count: Count


class SpaceNumbers(Part):
    """What one space holds: live content only. ``macros``: uses of any macro in bodies; ``body_bytes`` in UTF-8."""

    space: EntityId
    type: Literal["global", "personal"]
    status: Literal["current", "archived"]
    pages: Count
    blogposts: Count
    comments: Count
    attachments: Count
    attachment_bytes: Bytes
    missing_files: Count
    homepage: EntityId | None = None
    last_edit: Micros | None = None
    body_bytes: Bytes | None = None
    macros: Count | None = None
    restricted: Count | None = None  # pages and blog posts with a restriction
    guardrails: tuple[GuardrailCount, ...] = ()
    left: tuple[LeftCount, ...] | None = None  # what it holds besides and no plan moves, as far as the source tells


class AnalysisStarted(Event):
    """A dated snapshot of a source begins; ``chunk`` is the piece of work that takes it."""

    CATEGORY: ClassVar[str] = "analysis"
    analysis: Id
    source: Id
    chunk: Id


class PeopleListed(Event):
    """The source's list of people is taken down."""

    CATEGORY: ClassVar[str] = "analysis"
    analysis: Id
    users: Count


class GroupsListed(Event):
    """The source's groups and their members, nested ones flattened, are taken down."""

    CATEGORY: ClassVar[str] = "analysis"
    analysis: Id
    groups: Count
    memberships: Count


class SpacesChunk(Part):
    """A piece of work: the spaces with ordinals from first to last in the listing of the epoch."""

    chunk: Id
    first: Count
    last: Count


class AnalysisPlanned(Event):
    """A slice of at most 500 chunks. ``spaces``: how many the source has; ``epoch`` of the chunk that listed them."""

    CATEGORY: ClassVar[str] = "analysis"
    analysis: Id
    epoch: Count
    slice: Count
    last: bool
    spaces: Count
    chunks: tuple[SpacesChunk, ...]


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
    memberships: Count | None = None
    macros: Count | None = None
    guardrails: tuple[GuardrailCount, ...] = ()


class AnalysisFailed(Event):
    """The snapshot could not be taken. Another analysis may be started."""

    CATEGORY: ClassVar[str] = "analysis"
    analysis: Id
    source: Id
    code: AnalysisFailure
