"""The record of an event, and the links that make a changed log show.

This definition is frozen: every log ever written is checked by it. The first word of a record is its version. The
database function ``log.append_v1`` computes the same links when it appends; docs/audit.md defines them in words.
"""

from hashlib import sha256

from shared.events.contract import Recorded


def record(row: Recorded) -> bytes:
    """``cw1 <position> <recorded_at in µs since 1970> <event id> <stream> <version> <type>`` LF body."""
    head = f"cw1 {row.position} {row.recorded_at} {row.event_id} {row.stream} {row.version} {row.type}\n"
    return head.encode() + row.body


def leaf(of_record: bytes) -> bytes:
    """SHA-256(0x00 ‖ record), 32 bytes: the leaf hash of RFC 6962, so that the log can be put under a Merkle tree."""
    return sha256(b"\x00" + of_record).digest()


def link(previous: bytes, of_leaf: bytes) -> bytes:
    """SHA-256(0x02 ‖ previous link ‖ leaf), 32 bytes. 0x02 is no prefix of RFC 6962 (0x00, 0x01)."""
    return sha256(b"\x02" + previous + of_leaf).digest()


def origin(log_id: str) -> bytes:
    """The link before position 1. ``log_id``: the log's random id, 32 hexadecimal digits."""
    return sha256(b"cloudward log " + log_id.encode()).digest()
