"""Tiny links, ``/x/<code>``: the id, little-endian, in base64 with trailing zeros cut and two letters exchanged."""

import base64
import binascii
import re

_CODE = re.compile(r"[A-Za-z0-9_-]{1,11}")
_FOUR_BYTES, _EIGHT_BYTES = 6, 11  # letters of base64


def encode(content_id: int) -> str:
    """The code of a content id (0 to 2**63 - 1)."""
    size = 4 if content_id < 1 << 32 else 8
    letters = base64.b64encode(content_id.to_bytes(size, "little"), altchars=b"_-").decode("ascii")
    return letters.rstrip("=").rstrip("A")


def decode(code: str) -> int | None:
    """The content id of a code, None if it is no such code."""
    if not _CODE.fullmatch(code):
        return None
    letters = _FOUR_BYTES if len(code) <= _FOUR_BYTES else _EIGHT_BYTES
    padded = code.ljust(letters, "A") + "=" * (-letters % 4)
    try:
        number = int.from_bytes(base64.b64decode(padded, altchars=b"_-"), "little")
    except binascii.Error:
        return None
    return number if 0 < number < 1 << 63 else None
