"""Which e-mail addresses a site would take."""

import re
from typing import Literal

_ADDRESS = re.compile(r"[^@\s\"(),:;<>\[\]\\]{1,64}@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z]{2,63}")


def judge(email: str | None) -> Literal["usable", "invalid", "unknown"]:
    """Duplicates are found by comparing with all others, case-insensitively; this judges one by itself.

    >>> judge("ann@example.com"), judge("ann@example"), judge(" "), judge(None)
    ('usable', 'invalid', 'unknown', 'unknown')
    """
    if email is None or not email.strip():
        return "unknown"
    text = email.strip()
    return "usable" if len(text) <= 254 and ".." not in text and _ADDRESS.fullmatch(text) else "invalid"


def generated(key: str) -> str:
    """An address nobody owns, for a person without a usable one; ``key`` is the person's."""
    return f"migrated-{key[:16]}@generated.invalid"
