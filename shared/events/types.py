"""The only kinds of text an event may hold.

Events are immutable and kept for ever, so no free text and no personal data may enter one. Every ``str`` in an event is one
of the constrained types below, or a member of a closed list (``Literal`` or ``StrEnum``); the base class of events refuses
anything else when the class is defined.
"""

import os
from typing import Annotated, get_args
from uuid import UUID, uuid5

from pydantic import Field, StringConstraints

# Our own random ids, and ids derived from them: 32 lower-case hexadecimal digits (a UUID without dashes).
Id = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]

# An id that source or site gave to a piece of content ("1572876", "att42"), or, for people, groups and their memberships,
# our own random key: their names never enter an event.
EntityId = Annotated[str, StringConstraints(pattern=r"^(?:[a-z]{0,4}[0-9]{1,20}|[0-9a-f]{32})$")]

Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]  # SHA-256, hexadecimal

# The version of a product or of this software: "8.5.6", "10.0.3", "1000.0.0-0a1b2c3d4e5f".
Release = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,6}(?:\.[0-9A-Za-z]{1,16}){0,5}(?:-[0-9A-Za-z]{1,40})?$")]

TraceParent = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$")]

Count = Annotated[int, Field(ge=0, lt=2**53)]
Bytes = Annotated[int, Field(ge=0, lt=2**53)]
Micros = Annotated[int, Field(ge=0, lt=2**53)]  # microseconds since 1970-01-01T00:00:00Z

# Names of the constrained string types, as the base class of events recognizes them: by their pattern.
PATTERNS = frozenset(
    next(c.pattern for c in get_args(t)[1:] if isinstance(c, StringConstraints))
    for t in (Id, EntityId, Digest, Release, TraceParent)
)

_VARIANT = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}


def new_id() -> str:
    """A new random id: a random UUID (RFC 9562, version 4) without dashes."""
    digits = os.urandom(16).hex()
    return f"{digits[:12]}4{digits[13:16]}{_VARIANT[digits[16]]}{digits[17:]}"  # half the cost of uuid4().hex


def derived_id(cause: str, name: str) -> str:
    """The id that follows from a cause and a name: whoever derives it, however often, gets the same one."""
    return uuid5(UUID(cause), name).hex
