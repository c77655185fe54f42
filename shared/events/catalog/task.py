"""Events of a task: the users, the groups or one space of a plan. Appended by the process manager only."""

from typing import ClassVar, Literal

from shared.events.catalog.work import KindCount, Phase, ReasonCount, Tally, TaskKind
from shared.events.contract import Event, Part
from shared.events.reasons import Reason
from shared.events.types import Count, Digest, EntityId, Id


class TaskEvent(Event, abstract=True):
    CATEGORY: ClassVar[str] = "task"
    task: Id
    plan: Id


class ChunkPlan(Part):
    """A piece of work: the task's inventory rows of the phase's kind and depth with ordinals from first to last."""

    chunk: Id
    first: Count
    last: Count
    count: Count


class TaskStarted(TaskEvent):
    """Work on the users, the groups or one space of the plan begins, or on undoing them; ``marker`` names the space on the
    site."""

    kind: TaskKind
    space: EntityId | None = None
    target: Id | None = None  # the stream of the space's reservation
    marker: Id | None = None
    what: Literal["all", "attachments", "rights"] = "all"  # of a space


class InventoryTaken(TaskEvent):
    """Which rows of the inventory are the task's truth: those of this epoch, so many of each kind, with this digest."""

    chunk: Id
    epoch: Count
    counts: tuple[KindCount, ...]
    digest: Digest


class PhasePlanned(TaskEvent):
    """A slice of at most 500 chunks of a phase. A phase is planned when its last slice is."""

    phase: Phase
    depth: Count
    slice: Count
    last: bool
    chunks: tuple[ChunkPlan, ...]


class SpaceFailing(TaskEvent):
    """No chunk of the space is claimed any more; those in progress finish."""

    reason: Reason


class TaskEnding(TaskEvent, abstract=True):
    """Common to the ends of a task. ``remainder``: entities of chunks that never began, all skipped for one
    reason. ``conserved``: the inventory's ids are the disjoint union of the outcomes and the remainder."""

    tallies: tuple[Tally, ...]
    reasons: tuple[ReasonCount, ...]
    remainder: tuple[KindCount, ...]
    remainder_reason: Reason | None = None
    conserved: bool
    reason: Reason | None = None  # why the task as a whole could not be done


class SpaceMigrated(TaskEnding):
    """The space is on the site, with nothing failed. The last event of its task."""

    space: EntityId
    target_space: EntityId


class SpaceFailed(TaskEnding):
    """The space, or something in it, did not move. What did move stays. The last event of its task."""

    space: EntityId
    target_space: EntityId | None = None


class SpaceSkipped(TaskEnding):
    """The space was left out as the plan says: its key is taken on the site. The last event of its task."""

    space: EntityId


class TaskEnded(TaskEnding):
    """Users or groups are done, or the task was stopped. The last event of its task."""

    stopped: bool
