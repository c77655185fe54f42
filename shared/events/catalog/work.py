"""Values that the events of tasks and chunks share: kinds of entities, phases, outcomes."""

from enum import StrEnum

from shared.events.contract import Part
from shared.events.reasons import Reason
from shared.events.types import Count, Digest, EntityId


class Kind(StrEnum):
    """What an entity is. An entity has exactly one outcome per kind."""

    USER = "user"
    GROUP = "group"
    MEMBERSHIP = "membership"
    SPACE = "space"
    PAGE = "page"
    BLOGPOST = "blogpost"
    ATTACHMENT = "attachment"
    BODY = "body"  # second pass over the body of a page or blog post: links and mentions
    COMMENT = "comment"
    LABEL = "label"  # all labels of a page or blog post
    RESTRICTION = "restriction"  # all restrictions of a page
    ORDER = "order"  # the order of a page's children; the entity is the parent page, or the space
    PERMISSION = "permission"  # one space permission


class TaskKind(StrEnum):
    USERS = "users"
    GROUPS = "groups"
    SPACE = "space"


class Phase(StrEnum):
    """What a chunk does. A task's phases come one after the other, in the order of PHASES."""

    INVENTORY = "inventory"
    ANALYSIS = "analysis"
    USER = "user"
    GROUP = "group"
    MEMBERSHIP = "membership"
    SPACE = "space"
    PAGE = "page"  # one phase for each depth of the tree
    BLOGPOST = "blogpost"
    ATTACHMENT = "attachment"
    BODY = "body"
    COMMENT = "comment"  # one phase for each depth: replies come after what they answer
    LABEL = "label"
    ORDER = "order"
    RESTRICTION = "restriction"
    VERIFICATION = "verification"
    OPENING = "opening"  # depth 0: who may view, which Cloud wants first; depth 1: everything else


PHASES: dict[TaskKind, tuple[Phase, ...]] = {
    TaskKind.USERS: (Phase.INVENTORY, Phase.USER),
    TaskKind.GROUPS: (Phase.INVENTORY, Phase.GROUP, Phase.MEMBERSHIP),
    TaskKind.SPACE: (
        Phase.INVENTORY,
        Phase.SPACE,
        Phase.PAGE,
        Phase.BLOGPOST,
        Phase.ATTACHMENT,
        Phase.BODY,
        Phase.COMMENT,
        Phase.LABEL,
        Phase.ORDER,
        Phase.RESTRICTION,
        Phase.VERIFICATION,
        Phase.OPENING,
    ),
}

# The kind a phase accounts for. Inventory, analysis and verification account for none.
ACCOUNTS: dict[Phase, Kind] = {
    Phase.USER: Kind.USER,
    Phase.GROUP: Kind.GROUP,
    Phase.MEMBERSHIP: Kind.MEMBERSHIP,
    Phase.SPACE: Kind.SPACE,
    Phase.PAGE: Kind.PAGE,
    Phase.BLOGPOST: Kind.BLOGPOST,
    Phase.ATTACHMENT: Kind.ATTACHMENT,
    Phase.BODY: Kind.BODY,
    Phase.COMMENT: Kind.COMMENT,
    Phase.LABEL: Kind.LABEL,
    Phase.ORDER: Kind.ORDER,
    Phase.RESTRICTION: Kind.RESTRICTION,
    Phase.OPENING: Kind.PERMISSION,
}

# Phases with one sub-phase for each depth.
BY_DEPTH = frozenset({Phase.PAGE, Phase.COMMENT, Phase.OPENING})


class Outcome(StrEnum):
    MIGRATED = "migrated"
    SKIPPED = "skipped"
    FAILED = "failed"


class AccessRule(StrEnum):
    """Why a person has the access they have: at the source, on the site before, and how the plan takes them along.

    What follows from each is the table in `shared/confluence/access.py`.
    """

    ENABLED_ABSENT_CHOSEN = "enabled_absent_chosen"
    ENABLED_ABSENT_ALONG = "enabled_absent_along"
    ENABLED_WITHOUT_CHOSEN = "enabled_without_chosen"
    ENABLED_WITHOUT_ALONG = "enabled_without_along"
    ENABLED_WITH_CHOSEN = "enabled_with_chosen"
    ENABLED_WITH_ALONG = "enabled_with_along"
    DISABLED_ABSENT_CHOSEN = "disabled_absent_chosen"
    DISABLED_ABSENT_ALONG = "disabled_absent_along"
    DISABLED_WITHOUT_CHOSEN = "disabled_without_chosen"
    DISABLED_WITHOUT_ALONG = "disabled_without_along"
    DISABLED_WITH_CHOSEN = "disabled_with_chosen"
    DISABLED_WITH_ALONG = "disabled_with_along"


class Entity(Part):
    """The one outcome of one entity. A migrated entity may carry a reason too: it moved with that defect."""

    kind: Kind
    id: EntityId
    outcome: Outcome
    reason: Reason | None = None
    version: Count | None = None  # at the source
    target: EntityId | None = None  # on the site; None for people, whose account ids stay out of events
    target_version: Count | None = None  # after the write
    digest: Digest | None = None  # of the body as sent, or of an attachment's bytes
    adopted: bool | None = None  # found on the site after an unknown outcome, not made by this attempt
    rule: AccessRule | None = None  # of a user
    merged: bool | None = None  # a group that the site had before
    pending: bool | None = None  # the body still holds references that only the second pass can resolve


class KindCount(Part):
    """How many entities of one kind."""

    kind: Kind
    count: Count


class Tally(Part):
    """The sums of one kind: selected = migrated + skipped + failed, when conserved."""

    kind: Kind
    selected: Count
    migrated: Count
    skipped: Count
    failed: Count


class ReasonCount(Part):
    """How many entities of one kind ended with an outcome for a reason."""

    kind: Kind
    outcome: Outcome
    reason: Reason
    count: Count
