"""What a log line holds, and what it must not."""

import json
import subprocess
import sys
from typing import Any

from shared.ops import log

_PROGRAM = """
import structlog
from shared.ops import log
log.configure("executor", format="json", level="info")
line = structlog.get_logger("x")
with log.correlated(correlation="c1", plan="p1"):
    line.info("asked", url="https://ann:hunter2@wiki.example/x", headers={"Authorization": "Bearer abcdefgh"}, token="t0p", n=3)
    line.info("Basic dXNlcjpwYXNz in text")
try:
    raise ValueError("ann@example.org is not valid")
except ValueError:
    line.exception("failed")
"""


def _lines() -> list[dict[str, Any]]:
    done = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stderr.splitlines()]


def test_lines_are_json_with_the_ids_of_their_story_and_without_secrets_or_personal_data() -> None:
    first, second, third = _lines()
    assert (first["service"], first["correlation"], first["plan"], first["n"]) == ("executor", "c1", "p1", 3)
    text = json.dumps([first, second, third])
    for secret in ("hunter2", "abcdefgh", "t0p", "dXNlcjpwYXNz", "ann@example.org"):
        assert secret not in text
    assert "plan" not in third
    assert third["exception"][0].startswith("ValueError at <string>")


def test_an_exception_is_told_with_its_causes() -> None:
    try:
        try:
            raise KeyError("x")
        except KeyError as error:
            raise RuntimeError("y") from error
    except RuntimeError as error:
        first, second = log.describe(error)
    assert first.startswith("RuntimeError at ")
    assert second.startswith("KeyError at ")
