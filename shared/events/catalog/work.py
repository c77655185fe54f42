"""Values that the events of tasks and chunks share: kinds of entities, phases, outcomes."""

from enum import StrEnum
from typing import Literal

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
    LINK = "link"  # a body that an earlier plan moved and that links to what this space brings
    VERSION = "version"  # the earlier versions of a page or blog post that the plan replays, all together
    OWNER = "owner"  # the owner of a page
    LABEL = "label"  # all labels of a page, blog post or file, or of the space
    PROPERTY = "property"  # all content properties of a page or blog post
    PROVENANCE = "provenance"  # who made and changed it, and when: of a page, blog post, comment or attachment
    RESTRICTION = "restriction"  # all restrictions of a page
    ORDER = "order"  # the order of a page's children; the entity is the parent page, or the space
    PERMISSION = "permission"  # one space permission
    WATCH = "watch"  # all who watch a page or blog post, or the space
    INVITATION = "invitation"  # the mail that invites one person


class TaskKind(StrEnum):
    USERS = "users"
    GROUPS = "groups"
    SPACE = "space"
    UNDO = "undo"  # of one space
    UNDO_PEOPLE = "undo_people"  # of groups, memberships and access
    INVITATIONS = "invitations"


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
    VERSION = "version"
    ATTACHMENT = "attachment"
    BODY = "body"
    LINK = "link"
    OWNER = "owner"  # the last write of a page's body: comments on its text come after it
    COMMENT = "comment"  # one phase for each depth: replies come after what they answer
    LABEL = "label"
    PROPERTY = "property"
    PROVENANCE = "provenance"
    ORDER = "order"
    RESTRICTION = "restriction"
    VERIFICATION = "verification"
    OPENING = "opening"  # depth 0: who may view, which Cloud wants first; depth 1: everything else
    WATCH = "watch"  # last: who watches is told of every change
    INVITATION = "invitation"


PHASES: dict[TaskKind, tuple[Phase, ...]] = {
    TaskKind.USERS: (Phase.INVENTORY, Phase.USER),
    TaskKind.GROUPS: (Phase.INVENTORY, Phase.GROUP, Phase.MEMBERSHIP),
    TaskKind.SPACE: (
        Phase.INVENTORY,
        Phase.SPACE,
        Phase.PAGE,
        Phase.BLOGPOST,
        Phase.VERSION,
        Phase.ATTACHMENT,
        Phase.BODY,
        Phase.LINK,
        Phase.OWNER,
        Phase.COMMENT,
        Phase.LABEL,
        Phase.PROPERTY,
        Phase.PROVENANCE,
        Phase.ORDER,
        Phase.RESTRICTION,
        Phase.VERIFICATION,
        Phase.OPENING,
        Phase.WATCH,
    ),
    # What hangs on a page goes with it; the other two are for what hangs on a page that stays.
    TaskKind.UNDO: (
        Phase.INVENTORY,
        Phase.PAGE,
        Phase.BLOGPOST,
        Phase.ATTACHMENT,
        Phase.COMMENT,
        Phase.SPACE,
    ),
    TaskKind.UNDO_PEOPLE: (Phase.INVENTORY, Phase.MEMBERSHIP, Phase.GROUP, Phase.USER),
    TaskKind.INVITATIONS: (Phase.INVENTORY, Phase.INVITATION),
}

# The kind a phase accounts for. Inventory, analysis and verification account for none.
ACCOUNTS: dict[Phase, Kind] = {
    Phase.USER: Kind.USER,
    Phase.GROUP: Kind.GROUP,
    Phase.MEMBERSHIP: Kind.MEMBERSHIP,
    Phase.SPACE: Kind.SPACE,
    Phase.PAGE: Kind.PAGE,
    Phase.BLOGPOST: Kind.BLOGPOST,
    Phase.VERSION: Kind.VERSION,
    Phase.ATTACHMENT: Kind.ATTACHMENT,
    Phase.BODY: Kind.BODY,
    Phase.LINK: Kind.LINK,
    Phase.OWNER: Kind.OWNER,
    Phase.COMMENT: Kind.COMMENT,
    Phase.LABEL: Kind.LABEL,
    Phase.PROPERTY: Kind.PROPERTY,
    Phase.PROVENANCE: Kind.PROVENANCE,
    Phase.ORDER: Kind.ORDER,
    Phase.RESTRICTION: Kind.RESTRICTION,
    Phase.OPENING: Kind.PERMISSION,
    Phase.WATCH: Kind.WATCH,
    Phase.INVITATION: Kind.INVITATION,
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


class ReferenceCount(Part):
    """References of a body that stay as they are, or became plain words. ``kind``: what they name.

    ``why``: ``not_in_source`` nothing of that name or id is there, so the link was broken before; ``not_moved`` it is
    there but not on the site: a later plan that moves it mends the link; ``no_account`` a person without an account on the
    site, written as "Former user"; ``no_counterpart`` Cloud has nothing that could be named (shortcuts, pages of the
    administration); ``moved_without`` its file or version did not move.
    """

    kind: Literal["page", "blogpost", "content", "attachment", "space", "user", "shortcut", "url"]
    why: Literal["not_in_source", "not_moved", "no_account", "no_counterpart", "moved_without"]
    count: Count


class Entity(Part):
    """The one outcome of one entity. A migrated entity may carry a reason too: it moved with that defect."""

    kind: Kind
    id: EntityId
    outcome: Outcome
    reason: Reason | None = None
    version: Count | None = None  # at the source; of labels, restrictions and the like: how many there are
    target: EntityId | None = None  # on the site; None for people, whose account ids stay out of events
    target_version: Count | None = None  # after the write
    digest: Digest | None = (
        None  # of the body as sent, of an attachment's bytes, or of all restrictions with their holders
    )
    adopted: bool | None = None  # found on the site after an unknown outcome, not made by this attempt
    rule: AccessRule | None = None  # of a user
    merged: bool | None = None  # a group or membership that the site had before
    pending: bool | None = None  # the body still holds references that only the second pass can resolve
    rewritten: Count | None = None  # references of the body that were changed
    references: tuple[ReferenceCount, ...] | None = None  # and those that were not resolved
    waits: tuple[EntityId, ...] | None = (
        None  # content of the source that the body links to and that is not on the site
    )


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


LeftKind = Literal[
    "template",
    "draft",
    "archived",
    "trash",
    "like",
    "favourite",
    "personal_label",
    "app_content",
    "look",
    "calendar",
    "blueprint",
    "task_report",
    "version",
]


class LeftCount(Part):
    """What a space holds at the source and no plan moves: so many of a kind."""

    kind: LeftKind
    count: Count
