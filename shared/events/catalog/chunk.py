"""Events of a chunk: who works on it, and what became of each entity. Appended by executors (and, for analyses, analyzers)."""

from typing import ClassVar, Literal

from shared.events.catalog.work import Entity, Kind, KindCount, LeftCount
from shared.events.contract import Event, Part
from shared.events.reasons import Reason
from shared.events.types import Count, Digest, EntityId, Id


class ChunkEvent(Event, abstract=True):
    CATEGORY: ClassVar[str] = "chunk"
    chunk: Id
    epoch: Count


class ChunkClaimed(ChunkEvent):
    """``worker`` works on the chunk from here on, and no one else. Epochs rise by one with every claim.

    ``attempt`` counts the claims for work, this one included and those that ended in a release left out; from the second
    on, what an earlier attempt may have made is looked for before it is made again. An analysis chunk has its analysis as
    ``task`` and no plan. ``settle``: look only, write nothing, record what is there.
    """

    task: Id
    plan: Id | None = None
    worker: Id
    attempt: Count
    purpose: Literal["work", "settle"]


class EntityEnded(ChunkEvent):
    """One entity, recorded by itself: from the third attempt on every entity is."""

    entity: Entity


class ChunkReleased(ChunkEvent):
    """The worker lets go between two entities: it is shutting down. What is left is claimed anew."""

    entities: tuple[Entity, ...]


class InvitationBegun(ChunkEvent):
    """A person is about to be invited. Recorded before the request, because no mail can be taken back or looked for: whoever
    stands here and has no outcome may have got it, and gets no second one."""

    person: EntityId


class InventoryResult(Part):
    """What an inventory chunk wrote to the inventory under its epoch; ``left``: what the space holds besides."""

    counts: tuple[KindCount, ...]
    digest: Digest
    left: tuple[LeftCount, ...] | None = None


class Difference(Part):
    """Something that verification found on the site otherwise than it was sent, or otherwise than the source has it now:
    ``restricted``: hidden at the source since it was listed; ``closed``: not there any more, or the site did not take who may see it."""

    kind: Kind
    id: EntityId
    what: Literal["missing", "title", "size", "parent", "text", "digest", "place", "unreadable", "restricted", "closed"]


class ChunkEnded(ChunkEvent):
    """The chunk is done. ``entities``: those not recorded by an earlier event of the chunk.

    ``fatal``: the space cannot go on. ``strays``: content that a superseded worker left behind, removed by verification.
    ``mended``: differences that verification put right before the space was opened.
    """

    entities: tuple[Entity, ...]
    inventory: InventoryResult | None = None
    fatal: Reason | None = None
    strays: tuple[EntityId, ...] = ()
    differences: tuple[Difference, ...] = ()
    mended: tuple[Difference, ...] = ()
