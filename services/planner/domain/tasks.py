"""What a task needs next: the next slice of a phase, its inventory noted, its failing, its end. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from shared.events.catalog.work import ACCOUNTS, BY_DEPTH, PHASES, Kind, Phase, TaskKind
from shared.events.reasons import Reason
from shared.events.types import derived_id


@dataclass(frozen=True, slots=True)
class Task:
    """A task at the manager's checkpoint. ``phase``/``depth``: the last planned; ``planned``: its last slice is planned.

    ``open_chunks``: chunks of the task without an end; ``claimed``: those of them that a worker has.
    """

    task: str
    plan: str
    kind: TaskKind
    space: str | None
    version: int
    failing: Reason | None
    inventory_epoch: int | None
    phase: Phase | None
    depth: int
    slices: int
    planned: bool
    last_ordinal: int
    open_chunks: int
    claimed: int
    fatal: Reason | None
    stopping: bool
    paused: bool


@dataclass(frozen=True, slots=True)
class PlanSlice:
    """Cut the next slice of this phase, from the ordinal after ``after``."""

    phase: Phase
    depth: int
    slice: int
    after: int


@dataclass(frozen=True, slots=True)
class TakeInventory:
    """The inventory chunk has ended: note its epoch, counts and digest."""


@dataclass(frozen=True, slots=True)
class Fail:
    reason: Reason


@dataclass(frozen=True, slots=True)
class Finish:
    """``reason``: of what was not begun, where the task ends early. ``skipped``: the plan leaves such a space out."""

    complete: bool
    reason: Reason | None = None
    skipped: bool = False


@dataclass(frozen=True, slots=True)
class Wait:
    """``barrier``: it waits for the other spaces' pages, not for its own chunks."""

    barrier: bool = False


Decision = PlanSlice | TakeInventory | Fail | Finish | Wait

# Planned even with nothing in them: inventory, space and verification do work of their own; opening writes the space's
# description; the attachment phase marks that all pages of the space are there, which other spaces' links wait for.
ALWAYS = frozenset({Phase.INVENTORY, Phase.SPACE, Phase.ATTACHMENT, Phase.VERIFICATION, Phase.OPENING})

# Open chunks of a task up to which the next slice is planned ahead.
AHEAD = 250


def ranged_kind(phase: Phase) -> Kind | None:
    """The kind whose inventory rows a phase's chunks range over. Verification goes over pages and blog posts: their bodies."""
    return Kind.BODY if phase is Phase.VERIFICATION else ACCOUNTS.get(phase)


def following(
    kind: TaskKind, phase: Phase, depth: int, depths: Mapping[Kind, Sequence[int]]
) -> tuple[Phase, int] | None:
    """The phase (and depth) after this one that has work; None after the last. ``depths``: of each kind, ascending."""
    phases = PHASES[kind]
    if phase in BY_DEPTH:
        deeper = [d for d in depths.get(ACCOUNTS[phase], ()) if d > depth]
        if deeper:
            return phase, deeper[0]
    for after in phases[phases.index(phase) + 1 :]:
        ranged = ranged_kind(after)
        present = list(depths.get(ranged, ())) if ranged else []
        if present or after in ALWAYS:
            return after, present[0] if present and after in BY_DEPTH else 0
    return None


def advance(task: Task, depths: Mapping[Kind, Sequence[int]], others_have_pages: bool) -> Decision:
    """The next decision about a task that has not ended."""
    if task.fatal is not None and task.failing is None:
        if task.kind is TaskKind.SPACE:
            return Fail(task.fatal)
        return Wait() if task.claimed else Finish(False, task.fatal)
    if task.phase is None and task.failing is not None:
        return Finish(False, Reason.SPACE_FAILED)
    if task.phase is None:
        return Finish(False, Reason.PLAN_STOPPED) if task.stopping else PlanSlice(Phase.INVENTORY, 0, 0, -1)
    complete = task.planned and task.open_chunks == 0
    if complete and task.phase is not Phase.INVENTORY and following(task.kind, task.phase, task.depth, depths) is None:
        return Finish(True)
    if task.failing is not None or task.stopping:
        if task.claimed:
            return Wait()
        if task.phase is Phase.INVENTORY and complete and task.inventory_epoch is None and task.failing is None:
            return TakeInventory()
        return Finish(False, Reason.SPACE_FAILED if task.failing is not None else Reason.PLAN_STOPPED)
    if not task.planned:
        if task.open_chunks > AHEAD or task.paused:
            return Wait()
        return PlanSlice(task.phase, task.depth, task.slices, task.last_ordinal)
    if not complete:
        return Wait()
    if task.phase is Phase.INVENTORY and task.inventory_epoch is None:
        return TakeInventory()
    if task.paused:
        return Wait()
    after = following(task.kind, task.phase, task.depth, depths)
    if after is None:
        return Finish(True)
    if after[0] is Phase.BODY and not others_have_pages:
        return Wait(barrier=True)
    return PlanSlice(*after, 0, -1)


def chunk_id(task: str, phase: Phase, depth: int, first: int) -> str:
    return derived_id(task, f"{phase.value}:{depth}:{first}")
