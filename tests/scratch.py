"""Where tests put what they need for a moment."""

import shutil
import tempfile
from pathlib import Path

_MEMORY = Path("/dev/shm")
_ENOUGH = 4 << 30  # bytes


def folder(prefix: str) -> Path:
    """A new folder with a short path (sockets), in memory where there is plenty of it: a database of its own for each test
    is a thousand files, and on a busy disk they take longer than the test."""
    try:
        roomy = shutil.disk_usage(_MEMORY).free > _ENOUGH
        return Path(tempfile.mkdtemp(prefix=prefix, dir=_MEMORY if roomy else "/tmp"))
    except OSError:
        return Path(tempfile.mkdtemp(prefix=prefix, dir="/tmp"))
