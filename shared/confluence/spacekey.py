"""The key a space gets on the site.

Cloud takes letters and digits, at most 255. Personal spaces (``~user``) cannot be made for another user on Cloud: they
move as private global spaces under a key of their own.
"""

import hashlib
import re

_PLAIN = re.compile(r"[A-Za-z0-9]{1,255}\Z")


def site_key(source_key: str) -> str:
    """The same key where the site takes it, else one that follows from it: letters and digits with a short digest."""
    if _PLAIN.match(source_key):
        return source_key
    stem = re.sub(r"[^A-Za-z0-9]", "", source_key)[:200]
    digest = hashlib.sha256(source_key.lower().encode()).hexdigest()[:6].upper()
    return f"P{stem}{digest}"
