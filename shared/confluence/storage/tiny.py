"""Tiny links, ``/x/<code>``: the id, little-endian, in base64 with trailing zeros cut and two letters exchanged."""

import base64
import re

_CODE = re.compile(r"[A-Za-z0-9_-]{1,11}")
_LETTERS = 11  # of eight bytes in base64


def encode(content_id: int) -> str:
    """The code of a content id (0 to 2**63 - 1)."""
    size = 4 if content_id < 1 << 32 else 8
    letters = base64.b64encode(content_id.to_bytes(size, "little"), altchars=b"_-").decode("ascii")
    return letters.rstrip("=").rstrip("A")


def decode(code: str) -> int | None:
    """The content id of a code, None if it is no such code."""
    if not _CODE.fullmatch(code):
        return None
    # A cut letter was a zero: read as eight bytes, codes of four come out the same.
    letters = code.ljust(_LETTERS, "A") + "="
    number = int.from_bytes(base64.b64decode(letters, altchars=b"_-"), "little")
    return number if 0 < number < 1 << 63 else None
