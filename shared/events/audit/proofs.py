"""Proof files: that an event is in the log, and that a later log goes on from an earlier one.

The first is a C2SP ``.tlog-proof`` with the event's record as its extra data, so that one file is all an auditor needs. For
the second there is no standard: a text of the same make.
"""

import base64
from dataclasses import dataclass
from typing import Any

from shared.events.audit.kept import Incomplete, KeptTree, events
from shared.events.audit.note import BadNote, Checkpoint, parse
from shared.events.audit.tree import consistency_path, consistent, inclusion_path, root_of_inclusion
from shared.events.record import leaf, record

INCLUSION = "c2sp.org/tlog-proof@v1"
CONSISTENCY = "cloudward/consistency-proof@v1"


class NoProof(Exception):
    """The proof cannot be made, or would prove nothing. The text says why."""


@dataclass(frozen=True, slots=True)
class Proven:
    """``text``: the file. ``checkpoint``: what it leads to, whose signature is for the reader to check."""

    text: str
    checkpoint: Checkpoint


async def prove_event(source: Any, position: int, note: str | None = None) -> Proven:
    """The proof that the event at ``position`` is in the log, under the newest checkpoint or the given one. Raises
    NoProof."""
    if note is None:
        note = await source.fetchval("SELECT note FROM log.checkpoint WHERE size >= $1 ORDER BY size LIMIT 1", position)
    if note is None:
        raise NoProof(f"Position {position} is under no checkpoint yet. Run `cloudward audit seal`.")
    checkpoint = _parsed(note)
    if not 0 < position <= checkpoint.size:
        raise NoProof(f"The checkpoint is of positions 1 to {checkpoint.size}.")
    try:
        row = await anext(events(source, position - 1, position))
        path = await KeptTree(source).ranges(inclusion_path(position - 1, checkpoint.size))
    except Incomplete as error:
        raise NoProof(str(error)) from error
    stored = record(row)
    if root_of_inclusion(leaf(stored), position - 1, checkpoint.size, path) != checkpoint.root:
        raise NoProof(
            "The log does not lead to what was signed. Run `cloudward audit verify`: it says where it was changed."
        )
    lines = [INCLUSION, f"extra {_b64(stored)}", f"index {position - 1}", *map(_b64, path)]
    return Proven("\n".join(lines) + "\n\n" + note, checkpoint)


async def prove_consistency(source: Any, old: str, new: str) -> Proven:
    """The proof that the log under checkpoint ``new`` goes on from the one under ``old``; both are signed notes.
    Raises NoProof."""
    earlier, later = _parsed(old), _parsed(new)
    if earlier.origin != later.origin:
        raise NoProof("The two checkpoints are of different logs.")
    if earlier.size > later.size:
        raise NoProof(f"The earlier checkpoint is of {earlier.size} events, the later of only {later.size}.")
    try:
        path = await KeptTree(source).ranges(consistency_path(earlier.size, later.size))
    except Incomplete as error:
        raise NoProof(str(error)) from error
    if not consistent(earlier.size, earlier.root, later.size, later.root, path):
        raise NoProof(
            f"The log does not lead from the checkpoint of {earlier.size} events to the one of {later.size}:"
            " it was changed, or they are of two histories. Run `cloudward audit verify`."
        )
    return Proven("\n".join([CONSISTENCY, *map(_b64, path)]) + f"\n\n{old}\n{new}", later)


def _parsed(note: str) -> Checkpoint:
    try:
        return parse(note)[0]
    except BadNote as error:
        raise NoProof(str(error)) from error


def _b64(value: bytes) -> str:
    return base64.b64encode(value).decode()
