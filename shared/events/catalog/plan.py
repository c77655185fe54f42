"""Events of a plan: its lifecycle only. What moves is told by the events of its tasks and chunks."""

from typing import ClassVar, Literal

from shared.events.catalog.work import ReasonCount, Tally
from shared.events.checks import Check
from shared.events.contract import Event, Part
from shared.events.reasons import Reason
from shared.events.types import Count, Digest, EntityId, Id, Micros, derived_id

Consent = Literal["given", "given_before", "not_needed_for_sandbox", "not_needed_for_dry_run"]


class PlanEvent(Event, abstract=True):
    CATEGORY: ClassVar[str] = "plan"
    plan: Id


class MoveOptions(Part):
    """How content moves, where there is a choice.

    ``versions``: so many earlier versions of each page and blog post are replayed, each by the migrator and now.
    ``attachment_versions``: all versions of files, not the last one only. ``provenance``: author, editors and dates are kept
    as a property of the content; ``line``: besides as a line on the page. ``former_names``: "Former user" is followed by the
    name that the person had. ``personal_spaces``: move as ordinary spaces under a new key, or are left out.
    """

    versions: Count = 0
    attachment_versions: bool = False
    provenance: Literal["property", "line", "none"] = "property"
    former_names: bool = False
    personal_spaces: Literal["move", "leave_out"] = "move"


class SpaceScope(Part):
    """A chosen space that does not move whole. ``roots``: only these pages and what is below them."""

    space: EntityId
    what: Literal["all", "attachments", "rights"] = "all"
    roots: tuple[EntityId, ...] = ()


Follow = Literal["continue", "retry", "delta", "undo", "invite", "remind"]
"""What a plan does about the one it follows. ``continue``: takes what that one did not move, also what came to the source
since. ``retry``: takes what failed there or was left. ``delta``: besides brings what changed at the source since.
``undo``: removes what that one made and nobody has touched since. ``invite``: invites the people to whom that one gave
access and who were not invited before; ``remind``: those who were."""

INVITING: frozenset[Follow | None] = frozenset({"invite", "remind"})


class PlanSaved(PlanEvent):
    """A plan exists, with content that never changes. ``digest`` is over what the user decided.

    ``key_conflicts``: what becomes of a space whose key is taken on the site. ``new_keys``: spaces that get another key
    there; the keys themselves stand outside the log. ``addresses``: whose e-mail errors forbid the run, everybody's at the
    source or only those of the people whom the plan takes along.
    """

    source: Id
    site: Id
    analysis: Id
    stage: Literal["test", "production"]
    users: Literal["all", "related", "none"]
    groups: bool
    spaces: tuple[EntityId, ...]
    accepted: tuple[Reason, ...]  # reasons for a skip that the review named and the user accepted
    digest: Digest
    predecessor: Id | None = None
    map: Id | None = None  # of groups and users
    options: MoveOptions = MoveOptions()
    scopes: tuple[SpaceScope, ...] = ()
    key_conflicts: Literal["fail", "skip"] = "fail"
    new_keys: tuple[EntityId, ...] = ()
    addresses: Literal["source", "plan"] = "source"
    copy_of: Id | None = None
    follow: Follow | None = None  # what it does about its predecessor
    dry_run: bool = False  # everything is read, rewritten and checked, and nothing is written to the site

    @property
    def ledger(self) -> str:
        """The id under which it is kept what became what on the site: the site's own, or this dry run's."""
        return derived_id(self.plan, "ledger") if self.dry_run else self.site

    @property
    def invites(self) -> bool:
        """It only invites people, and moves nothing."""
        return self.follow in INVITING

    def scope(self, space: str) -> SpaceScope:
        """What of a chosen space moves."""
        return next((s for s in self.scopes if s.space == space), SpaceScope(space=space))


class PlanStarted(PlanEvent):
    """The plan runs. ``consent``: whether somebody agreed that data are copied to the site, or none was needed."""

    consent: Consent
    scheduled: bool = False  # by its own start time


class PlanScheduled(PlanEvent):
    """The plan starts by itself at a time, if nothing forbids it then. Consent is given now, because nobody can be asked
    at that time."""

    start_at: Micros
    consent: Consent


class PlanUnscheduled(PlanEvent):
    """The plan does not start by itself any more."""


class PlanStartRefused(PlanEvent):
    """At its start time a check forbade the run. The plan stays READY; it may be run or scheduled again."""

    check: Check


class PlanCheckDecided(PlanEvent):
    """Someone left a check out for this plan, or took it in again."""

    check: Check
    excluded: bool


class PlanPaused(PlanEvent):
    """No step begins any more until the plan is resumed; those in progress finish and are recorded.

    ``reason``: nobody's wish. A plan whose site's login is over goes on by itself when somebody has logged in again.
    """

    reason: Literal["credential_expired"] | None = None


class PlanResumed(PlanEvent):
    """A paused plan goes on where it stood."""


class PlanStopRequested(PlanEvent):
    """No step begins any more; those in progress finish and are recorded."""


class PlanEnding(PlanEvent, abstract=True):
    """Common to the three ends: sums over all tasks."""

    tallies: tuple[Tally, ...]
    reasons: tuple[ReasonCount, ...]
    spaces_migrated: Count
    spaces_failed: Count
    conserved: bool


class PlanFinished(PlanEnding):
    """Everything selected is on the site; skips only for accepted reasons."""


class PlanFailed(PlanEnding):
    """Not completed: part of it may be on the site."""


class PlanStopped(PlanEnding):
    """Stopped by someone; cannot be resumed. Part of it may be on the site."""


class PlanArchived(PlanEvent):
    """A plan that has ended, or never began, leaves the lists. What it recorded stays."""


class PlanStuck(PlanEvent):
    """The process manager cannot decide about this plan: its event at ``position`` makes it fail. Others go on."""

    position: Count
    code: Literal["bad_event", "undecidable"]


class PlanUnstuck(PlanEvent):
    """Someone told the process manager to try this plan again."""
