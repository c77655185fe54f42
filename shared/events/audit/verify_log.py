#!/usr/bin/env python3
"""Checks an export of a Cloudward log, or a proof, without Cloudward: nothing but this file and Python 3.9 or newer.

    python3 verify_log.py EXPORT --key KEY [--checkpoint FILE ...] [--earlier EXPORT] [--json]
    python3 verify_log.py PROOF --key KEY [--json]

EXPORT   a file of `cloudward audit export` (.ndjson or .ndjson.gz); "-" reads standard input
PROOF    a file of `cloudward audit prove` (.tlog-proof) or `cloudward audit prove --since` (.consistency-proof)
KEY      the log's public key, or a file with one or more of them, one a line. Have it from somewhere else than the
         export: who could change the log could change what lies beside it. --unsigned leaves signatures unchecked.
FILE     checkpoints you kept from earlier: the log must still begin with what they say, and be no shorter
--earlier  an export of all events you kept from earlier: names the very event in which the two differ

What is checked, in this order, in one pass, whatever the size:
 1. Each event's record follows from its line, byte for byte, and its link follows from the record and the link before:
    this finds an event that was changed, removed, inserted or moved, and names it.
 2. The versions of each stream have no holes.
 3. The root of the Merkle tree (RFC 6962) over the records is the one in each checkpoint, and a trusted key has signed it
    (Ed25519, RFC 8032): this finds a log whose links were all computed anew, up to the last checkpoint.
What cannot be found: a change behind the last checkpoint by somebody who computed all links after it anew. Nor can anyone
see from an export alone that what was never recorded is missing.

Exit codes: 0 everything fits; 1 something does not; 2 wrong usage.
"""

# ruff: noqa: B905, PTH123, SIM115 - for older interpreters, and with nothing that one would have to look up
from __future__ import annotations

import argparse
import base64
import binascii
import calendar
import gzip
import json
import re
import sys
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import sha256, sha512
from typing import Any, BinaryIO, cast

# --- Ed25519 (RFC 8032): verification only. Points are (X, Y, Z, T) with x = X/Z, y = Y/Z, xy = T/Z. -------------------

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
ROOT_OF_MINUS_ONE = pow(2, (P - 1) // 4, P)
NEUTRAL = (0, 1, 1, 0)
Point = tuple[int, int, int, int]


def point_add(p: Point, q: Point) -> Point:
    a = (p[1] - p[0]) * (q[1] - q[0]) % P
    b = (p[1] + p[0]) * (q[1] + q[0]) % P
    c = 2 * p[3] * q[3] * D % P
    d = 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return (e * f % P, g * h % P, f * g % P, e * h % P)


def point_times(number: int, p: Point) -> Point:
    result = NEUTRAL
    while number:
        if number & 1:
            result = point_add(result, p)
        p = point_add(p, p)
        number >>= 1
    return result


def point_from_bytes(data: bytes) -> Point | None:
    """The point of 32 bytes, or None where they are not the one way to write a point."""
    y = int.from_bytes(data, "little")
    sign, y = y >> 255, y & (2**255 - 1)
    if y >= P:
        return None
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * ROOT_OF_MINUS_ONE % P
    if (x * x - square) % P or (x == 0 and sign):
        return None
    if x & 1 != sign:
        x = P - x
    return (x, y, 1, x * y % P)


BASE = cast(Point, point_from_bytes((4 * pow(5, P - 2, P) % P).to_bytes(32, "little")))


def ed25519_verifies(key: bytes, signature: bytes, message: bytes) -> bool:
    """Whether ``signature`` (64 bytes) over ``message`` is by the owner of ``key`` (32 bytes)."""
    if len(key) != 32 or len(signature) != 64:
        return False
    a, r = point_from_bytes(key), point_from_bytes(signature[:32])
    s = int.from_bytes(signature[32:], "little")
    if a is None or r is None or s >= ORDER:
        return False
    h = int.from_bytes(sha512(signature[:32] + key + message).digest(), "little") % ORDER
    left, right = point_times(s, BASE), point_add(r, point_times(h, a))
    return (left[0] * right[2] - right[0] * left[2]) % P == 0 and (left[1] * right[2] - right[1] * left[2]) % P == 0


# --- The Merkle tree (RFC 6962) ----------------------------------------------------------------------------------------


def leaf_hash(record: bytes) -> bytes:
    return sha256(b"\x00" + record).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()


def link_of(before: bytes, leaf: bytes) -> bytes:
    """The link of an event from the link before it: no part of the Merkle tree, but of each event."""
    return sha256(b"\x02" + before + leaf).digest()


class Tree:
    """A tree that grows at its right edge; it keeps the roots of its complete subtrees only, largest first."""

    def __init__(self) -> None:
        self.size = 0
        self.peaks: list[bytes] = []

    def add(self, subtree: bytes, level: int = 0) -> None:
        """Adds a leaf, or a complete subtree of 2**level leaves."""
        number = self.size >> level
        if number << level != self.size:
            raise ValueError("a subtree stands where none of its size can")
        while number & 1:
            subtree, number = node_hash(self.peaks.pop(), subtree), number >> 1
        self.peaks.append(subtree)
        self.size += 1 << level

    def root(self) -> bytes:
        if not self.peaks:
            return sha256(b"").digest()
        root = self.peaks[-1]
        for peak in reversed(self.peaks[:-1]):
            root = node_hash(peak, root)
        return root


def inclusion_root(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes | None:
    """The root that a proof of inclusion leads to, or None where the proof cannot be of this index and size."""
    if not 0 <= index < size:
        return None
    last, found = size - 1, leaf
    for sibling in path:
        if last == 0:
            return None
        if index & 1 or index == last:
            found = node_hash(sibling, found)
            while index and not index & 1:
                index, last = index >> 1, last >> 1
        else:
            found = node_hash(found, sibling)
        index, last = index >> 1, last >> 1
    return found if last == 0 else None


def is_consistent(old: int, old_root: bytes, new: int, new_root: bytes, path: Sequence[bytes]) -> bool:
    """Whether the tree of ``new`` leaves begins with the tree of ``old`` leaves (RFC 9162, 2.1.4.2)."""
    if old == new:
        return not path and old_root == new_root
    if not 0 < old < new or not path:
        return False
    hashes = list(path)
    if old & (old - 1) == 0:
        hashes.insert(0, old_root)
    index, last = old - 1, new - 1
    while index & 1:
        index, last = index >> 1, last >> 1
    found_old = found_new = hashes[0]
    for each in hashes[1:]:
        if last == 0:
            return False
        if index & 1 or index == last:
            found_old, found_new = node_hash(each, found_old), node_hash(each, found_new)
            while index and not index & 1:
                index, last = index >> 1, last >> 1
        else:
            found_new = node_hash(found_new, each)
        index, last = index >> 1, last >> 1
    return last == 0 and found_old == old_root and found_new == new_root


# --- Checkpoints: signed notes (C2SP signed-note, tlog-checkpoint) ------------------------------------------------------


Key = tuple[str, bytes, bytes]  # name, key id, key


class Problem(Exception):
    """Something does not fit. kind: changed, removed, inserted, reordered, cut_off, key_unknown,
    checkpoints_inconsistent, bad_file. position: the first event concerned; upto: where it may also be as far as there."""

    def __init__(self, kind: str, message: str, position: int | None = None, upto: int | None = None) -> None:
        super().__init__(message)
        self.kind, self.position, self.upto = kind, position, upto


def read_key(text: str) -> Key:
    """(name, key id, key) of ``<log id>+<key id>+<base64 of 0x01 and the key>``."""
    name, id_, encoded = text.split("+", 2)
    raw = base64.b64decode(encoded, validate=True)
    expected = sha256(name.encode() + b"\n" + raw).digest()[:4]
    if len(raw) != 33 or raw[0] != 1 or expected.hex() != id_:
        raise ValueError("no Ed25519 key, or another key's id")
    return name, expected, raw[1:]


class Checkpoint:
    """A note. ``signed_by``: ids of the trusted keys whose signatures are right."""

    def __init__(self, note: str, keys: Sequence[Key] | None, where: str) -> None:
        self.note, self.where = note, where
        text, _, signatures = note.rpartition("\n\n")
        try:
            self.origin, size, root = text.split("\n")
            self.size, self.root = int(size), base64.b64decode(root, validate=True)
            if str(self.size) != size or len(self.root) != 32 or not signatures.endswith("\n"):
                raise ValueError
            lines = [line.split(" ") for line in signatures.splitlines()]
            found = [
                (name, base64.b64decode(encoded, validate=True)) for dash, name, encoded in lines if dash == "\u2014"
            ]
        except (ValueError, binascii.Error):
            raise Problem("bad_file", f"{where} is no checkpoint.") from None
        self.signed_by: list[str] = []
        if keys is None:
            return
        for name, raw in found:
            for key_name, id_, key in keys:
                if (name, raw[:4]) == (key_name, id_) and name == self.origin:
                    if not ed25519_verifies(key, raw[4:], (text + "\n").encode()):
                        raise Problem("key_unknown", f"The signature in {where} is not by the key it names.")
                    self.signed_by.append(id_.hex())
        if not self.signed_by:
            others = ", ".join(raw[:4].hex() for _, raw in found)
            raise Problem(
                "key_unknown",
                f"No key you trust has signed {where} (it is signed by {others}).",
            )


# --- Exports -----------------------------------------------------------------------------------------------------------

EVENT = re.compile(
    rb'\{"specversion":"1\.0","id":"([0-9a-f]{32})","source":"/cloudward/log/([0-9a-f]{32})","type":"([^" ]+)",'
    rb'"subject":"([^" ]+)","time":"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\.(\d{6})Z","datacontenttype":"application/json",'
    rb'"position":"(0|[1-9]\d*)","version":(0|[1-9]\d*),"link":"([0-9a-f]{64})","data":(.*)\}\n',
    re.DOTALL,
)
OTHER = re.compile(rb'\{"data":.*"type":"cloudward\.export\.[a-z]+"\}\n', re.DOTALL)
RECORD = b"cw1 %d %d %b %b %b %b\n%b"


class Event:
    """One event of an export. ``record``: the bytes that were hashed when it was appended (docs/audit.md)."""

    __slots__ = ("id", "link", "log", "parts", "position", "stream", "version")

    def __init__(self, match: re.Match[bytes], seconds: int) -> None:
        self.id, self.log, type_, self.stream, _, fraction, position, version, link, body = match.groups()
        self.position, self.version, self.link = int(position), int(version), bytes.fromhex(link.decode())
        self.parts = (seconds * 1000000 + int(fraction), self.id, self.stream, version, type_, body)

    def leaf(self, position: int | None = None) -> bytes:
        """The hash of its record; with another position: as if it stood there."""
        return sha256(b"\x00" + RECORD % ((self.position if position is None else position, *self.parts))).digest()


Line = Any  # an Event, or (type, data) of a line that is none, or None for one that is neither


def read_lines(file: Iterable[bytes]) -> Iterator[Line]:
    """The lines of an export."""
    last, seconds = b"", 0
    for line in file:
        match = EVENT.fullmatch(line)
        if match is not None:
            stamp = match.group(5)
            if stamp != last:  # many events share a second
                try:
                    last, seconds = stamp, calendar.timegm(time.strptime(stamp.decode(), "%Y-%m-%dT%H:%M:%S"))
                except ValueError:
                    yield None
                    continue
            yield Event(match, seconds)
        elif OTHER.fullmatch(line):
            try:
                value = json.loads(line)
                yield value["type"].rpartition(".")[2], value["data"]
            except (ValueError, KeyError):
                yield None
        else:
            yield None


class Check:
    """One pass over an export."""

    def __init__(self, keys: Sequence[Key] | None, kept: Iterable[Checkpoint]) -> None:
        self.keys, self.kept = keys, sorted(kept, key=lambda c: c.size)
        self.log = ""
        self.link: bytes | None = None
        self.begun: dict[str, Any] | None = None
        self.ended: dict[str, Any] | None = None
        self.tree = Tree()
        self.versions: dict[bytes, int] = {}
        self.events = self.first = self.last = self.sealed = 0
        self.fits: list[Checkpoint] = []  # checkpoints whose root is that of the events
        self.misfits: list[Checkpoint] = []  # … and is not
        self.unknown: Problem | None = None
        for one, other in zip(self.kept, self.kept[1:]):
            if one.size == other.size and one.root != other.root:
                raise Problem(
                    "checkpoints_inconsistent",
                    f"{one.where} and {other.where} are both signed and of {one.size} events, but differ.",
                    1,
                    one.size,
                )

    def run(self, lines: Iterator[Line]) -> None:
        for line in lines:
            if isinstance(line, Event):
                self.event(line, lines)
                while self.kept and self.kept[0].size <= self.tree.size:
                    self.compare(self.kept.pop(0))
            elif line is None:
                raise Problem("changed", "A line is not as an export has it.", self.tree.size + 1)
            else:
                self.other(*line)
        self.end()

    def event(self, event: Event, lines: Iterator[Line]) -> None:
        expected = self.tree.size + 1
        if self.begun is None:
            raise Problem("bad_file", "The export does not begin with the line that says what it is.")
        if event.log.decode() != self.log:
            raise Problem("changed", f"Event {event.position} is of another log.", event.position)
        if event.position != expected:
            self.misplaced(event, expected, lines)
        leaf = event.leaf()
        if self.link is not None and link_of(self.link, leaf) != event.link:
            self.unlinked(event, self.link, lines)
        before = self.versions.get(event.stream)
        if (event.version if before is None else event.version - before - 1) and (before is not None or self.whole()):
            raise Problem(
                "removed",
                f"Event {event.position} has version {event.version} in its stream, where another comes next:"
                " events are missing, though the links fit.",
                event.position,
            )
        self.versions[event.stream] = event.version
        self.link = event.link
        self.tree.add(leaf)
        self.events, self.first, self.last = self.events + 1, self.first or event.position, event.position

    def whole(self) -> bool:
        """Whether a stream's first event must be of version 0: not where events before it may be left out."""
        return self.begun is not None and self.begun["selection"]["kind"] != "range"

    def misplaced(self, event: Event, expected: int, lines: Iterator[Line]) -> None:
        where = f"Where event {expected} should be"
        if event.position < expected:
            raise Problem("inserted", f"There is a second event of position {event.position}.", event.position)
        following = next((each for each in lines if isinstance(each, Event)), None)
        if following is not None and following.position == expected:
            raise Problem("reordered", f"{where} event {event.position} is; it comes later.", expected)
        raise Problem("removed", f"There is no event {expected}: {event.position} follows {expected - 1}.", expected)

    def unlinked(self, event: Event, before: bytes, lines: Iterator[Line]) -> None:
        """The event's link does not follow from it and the link ``before``. What comes next tells how that came."""
        at, following = event.position, next((each for each in lines if isinstance(each, Event)), None)
        if following is not None and following.position == at + 1:
            without = link_of(before, following.leaf(at))  # as if this event were not there
            if link_of(without, event.leaf(at + 1)) == event.link:
                raise Problem("reordered", f"Events {at} and {at + 1} have changed places.", at)
            if without == following.link:
                raise Problem("inserted", f"Event {at} was put in: the next one follows without it.", at)
            if link_of(event.link, following.leaf(at + 2)) == following.link:
                raise Problem("removed", f"An event was removed before event {at}, and all behind it moved up.", at)
        if following is not None and following.position == at and link_of(before, following.leaf()) == following.link:
            raise Problem("inserted", f"There is a second event of position {at}.", at)
        raise Problem("changed", f"Event {at} is not the one that was appended there.", at)

    def other(self, kind: str, data: dict[str, Any]) -> None:
        try:
            if kind == "begun":
                if self.begun is not None:
                    raise Problem("bad_file", "The export begins twice.")
                if data["format"] != "cloudward-export-1":
                    raise Problem("bad_file", "The export is of a form that this program does not know.")
                self.begun = data
                self.log = data["log"]
                self.link = sha256(b"cloudward log " + self.log.encode()).digest()
            elif kind == "hashes":
                for level, encoded in data["hashes"]:
                    self.tree.add(base64.b64decode(encoded, validate=True), level)
                self.link = None  # what the event before had is not in the export
                if self.tree.size != data["upto"]:
                    raise Problem("changed", "The hashes that stand for left out events do not fill their place.")
                while self.kept and self.kept[0].size < self.tree.size:
                    self.kept.pop(0)  # its end lies among events that are left out
            elif kind == "checkpoint":
                try:
                    self.compare(Checkpoint(data["note"], self.keys, f"the checkpoint of {data['size']} events"))
                except Problem as problem:
                    if problem.kind != "key_unknown":
                        raise
                    self.unknown = self.unknown or problem  # one that can be believed may tell more
            elif kind == "ended":
                self.ended = data
        except (KeyError, TypeError, ValueError) as error:
            raise Problem("bad_file", f"A line of the export cannot be read ({type(error).__name__}).") from error

    def compare(self, checkpoint: Checkpoint) -> None:
        if checkpoint.origin != self.log:
            raise Problem("checkpoints_inconsistent", f"{checkpoint.where} is of another log.")
        if checkpoint.size != self.tree.size:
            raise Problem(
                "checkpoints_inconsistent",
                f"{checkpoint.where} stands behind event {self.tree.size}.",
                self.tree.size,
            )
        same = checkpoint.root == self.tree.root()
        (self.fits if same else self.misfits).append(checkpoint)
        self.sealed = checkpoint.size if same and not self.misfits else self.sealed

    def end(self) -> None:
        if self.begun is None:
            raise Problem("bad_file", "This is no export.")
        if self.misfits:
            first = self.misfits[0]
            after = max([c.size for c in self.fits if c.size < first.size], default=0) + 1
            later = [c for c in self.fits if c.size >= first.size]
            if later:
                raise Problem(
                    "checkpoints_inconsistent",
                    f"The events are those of {later[0].where}, but not those of {first.where}, which is signed"
                    f" too: there were two histories, which part at one of the events {after} to {first.size}.",
                    after,
                    first.size,
                )
            raise Problem(
                "changed",
                f"The events are not those that were signed in {first.where}, though their links fit: at"
                f" least one of the events {after} to {first.size} was changed and all links after it computed anew.",
                after,
                first.size,
            )
        if self.unknown is not None:
            raise Problem("key_unknown", str(self.unknown), self.sealed + 1)
        if self.kept:
            raise Problem(
                "cut_off",
                f"The log ends at event {self.tree.size}, but {self.kept[0].where} is of {self.kept[0].size} events.",
                self.tree.size + 1,
            )
        if self.ended is None:
            raise Problem("cut_off", f"The file ends behind event {self.last}, before its own end.", self.last + 1)
        if self.ended != {"events": self.events, "position": self.tree.size}:
            raise Problem("cut_off", "The export says that it has other events than it has.", self.last + 1)
        if self.begun["selection"]["kind"] == "all" and self.begun["head"] != self.tree.size:
            raise Problem("cut_off", f"The log went to {self.begun['head']} when it was exported.", self.tree.size + 1)


def difference(lines: Iterator[Line], earlier: Iterator[Line]) -> int | None:
    """The first position at which two exports of one log have different events, or None."""
    pairs = zip((e for e in lines if isinstance(e, Event)), (e for e in earlier if isinstance(e, Event)))
    return next((old.position for new, old in pairs if new.leaf() != old.leaf() or new.link != old.link), None)


# --- Proof files -------------------------------------------------------------------------------------------------------


def check_proof(text: str, keys: Sequence[Key] | None) -> dict[str, Any]:
    """Checks a proof of inclusion or of consistency. Returns what it proves."""
    head, _, rest = text.partition("\n\n")
    lines = head.split("\n")
    if lines[0] == "cloudward/consistency-proof@v1":
        cut = re.search(r"(?<=\n)\n(?=[^\u2014\n])", rest[rest.index("\u2014") :])
        if cut is None:
            raise Problem("bad_file", "The proof does not hold two checkpoints.")
        cut_at = rest.index("\u2014") + cut.start()
        old = Checkpoint(rest[:cut_at], keys, "the earlier checkpoint")
        new = Checkpoint(rest[cut_at + 1 :], keys, "the later checkpoint")
        path = [base64.b64decode(line, validate=True) for line in lines[1:]]
        if old.origin != new.origin or not is_consistent(old.size, old.root, new.size, new.root, path):
            raise Problem(
                "checkpoints_inconsistent",
                f"The proof does not lead from {old.size} events to {new.size}.",
                1,
                old.size,
            )
        message = f"The log of {new.size} events begins with the {old.size} events of the earlier checkpoint."
        return {"log": new.origin, "sealed": new.size, "message": message}
    if lines[0] != "c2sp.org/tlog-proof@v1" or not lines[1].startswith("extra ") or not lines[2].startswith("index "):
        raise Problem("bad_file", "This is no proof of a Cloudward event.")
    record, index = base64.b64decode(lines[1][6:], validate=True), int(lines[2][6:])
    checkpoint = Checkpoint(rest, keys, "the checkpoint")
    path = [base64.b64decode(line, validate=True) for line in lines[3:]]
    if inclusion_root(leaf_hash(record), index, checkpoint.size, path) != checkpoint.root:
        raise Problem("changed", f"The event is not the one that is in the log at {index + 1}.", index + 1)
    words, _, body = record.partition(b"\n")
    if words.split(b" ")[:2] != [b"cw1", str(index + 1).encode()]:
        raise Problem("changed", f"The record is not of position {index + 1}.", index + 1)
    return {
        "log": checkpoint.origin,
        "sealed": checkpoint.size,
        "position": index + 1,
        "record": words.decode(),
        "body": body.decode(),
        "message": f"This event is in the log at position {index + 1}.",
    }


# --- The program -------------------------------------------------------------------------------------------------------


def opened(name: str) -> BinaryIO:
    """A file's bytes as a stream, unpacked where it is packed."""
    if name == "-":
        return sys.stdin.buffer
    with open(name, "rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return cast(BinaryIO, gzip.open(name, "rb")) if packed else open(name, "rb")


def trusted_keys(given: Iterable[str]) -> list[Key]:
    keys: list[Key] = []
    for word in given:
        try:
            lines = [word] if word.count("+") >= 2 else open(word, encoding="utf-8").read().split("\n")
            keys += [read_key(line.strip()) for line in lines if line.strip()]
        except (OSError, ValueError, binascii.Error) as error:
            sys.stderr.write(f"{word} holds no key: {error}\n")
            raise SystemExit(2) from None
    return keys


def verify_export(
    file: Iterable[bytes],
    keys: Sequence[Key] | None,
    kept: Iterable[Checkpoint] = (),
    earlier: tuple[Callable[[], BinaryIO], Callable[[], BinaryIO]] | None = None,
) -> dict[str, Any]:
    """Checks an export; ``earlier`` opens it again, and one that was kept. Returns what was found; raises Problem."""
    check = Check(keys, kept)
    try:
        try:
            check.run(read_lines(file))
        except (EOFError, OSError, zlib.error) as error:  # a packed file that was cut off or damaged
            raise Problem("cut_off", f"The file cannot be read to its end ({error}).", check.last + 1) from error
    except Problem as problem:
        if earlier is not None and problem.position is not None:
            with earlier[0]() as new, earlier[1]() as old:
                found = difference(read_lines(new), read_lines(old))
            if found is not None:
                message = f"{problem} The two exports differ first at event {found}."
                raise Problem(problem.kind, message, found) from problem
        raise
    behind = check.tree.size - check.sealed
    message = f"{check.events} events are as they were appended."
    if check.sealed:
        message += (
            f" They are under {len({c.size for c in check.fits})} checkpoints, the last of {check.sealed} events."
        )
    if behind:
        message += f" The last {behind} are under no checkpoint yet: only their links were checked."
    if earlier is not None:
        with earlier[0]() as new, earlier[1]() as old:
            found = difference(read_lines(new), read_lines(old))
        if found is not None:
            raise Problem("changed", f"The links fit, but event {found} is not that of the earlier export.", found)
    return {
        "log": check.log,
        "events": check.events,
        "first": check.first,
        "last": check.last,
        "sealed": check.sealed,
        "message": message,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Checks an export or a proof of a Cloudward log.", allow_abbrev=False)
    parser.add_argument("file")
    parser.add_argument("--key", action="append", default=[], help="public key of the log, or a file with keys")
    parser.add_argument("--unsigned", action="store_true", help="do not check signatures")
    parser.add_argument("--checkpoint", action="append", default=[], help="a checkpoint you kept; repeatable")
    parser.add_argument("--earlier", help="an export of all events you kept")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args(arguments)
    if bool(options.key) == options.unsigned:
        parser.error("give the log's public key with --key, or say --unsigned: then nobody's signature is checked")
    keys = None if options.unsigned else trusted_keys(options.key)
    began = time.monotonic()
    try:
        kept = []
        for name in options.checkpoint:
            with open(name, encoding="utf-8") as file:
                kept.append(Checkpoint(file.read(), keys, name))
        with opened(options.file) as file:
            first = file.peek(64)[:64] if hasattr(file, "peek") else b"{"
            if first.startswith((b"c2sp.org/", b"cloudward/")):
                found = check_proof(file.read().decode(), keys)
            else:
                earlier = (lambda: opened(options.file), lambda: opened(options.earlier)) if options.earlier else None
                found = verify_export(file, keys, kept, earlier)
        result = {"ok": True, "problem": None, **found}
    except Problem as problem:
        result = {
            "ok": False,
            "problem": problem.kind,
            "position": problem.position,
            "upto": problem.upto,
            "message": str(problem),
        }
    except (ValueError, binascii.Error) as error:
        result = {
            "ok": False,
            "problem": "bad_file",
            "position": None,
            "upto": None,
            "message": f"The file cannot be read: {error}.",
        }
    except OSError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    result["signatures"] = "not checked" if keys is None else "checked"
    result["seconds"] = round(time.monotonic() - began, 2)
    if options.json:
        sys.stdout.write(json.dumps(result) + "\n")
    else:
        sys.stdout.write("{}  {}\n".format("OK " if result["ok"] else "BAD", result["message"]))
        for name in ("record", "body"):
            if name in result:
                sys.stdout.write(f"     {result[name]}\n")
        if keys is None:
            sys.stdout.write("     Signatures were not checked.\n")
    return 0 if result["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
