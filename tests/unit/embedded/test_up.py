"""``cloudward up`` as a person runs it."""

import contextlib
import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.watched import CLOUDWARD

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


class Up:
    """A running ``cloudward up``."""

    def __init__(self, data: Path, *words: str) -> None:
        self.data = data
        self.output = ""
        self.process = subprocess.Popen(
            [*CLOUDWARD, "up", "--data", data, "--port", "0", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        assert self.process.stdout is not None
        os.set_blocking(self.process.stdout.fileno(), False)

    def until(self, pattern: str, timeout: float = 120) -> re.Match[str]:
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            assert self.process.stdout is not None
            with contextlib.suppress(TypeError):  # nothing there yet
                self.output += self.process.stdout.read() or ""
            if found := re.search(pattern, self.output):
                return found
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        raise AssertionError(f"no {pattern!r} in:\n{self.output}")

    def wait(self, timeout: float) -> int:
        code = self.process.wait(timeout)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code

    def children(self) -> list[int]:
        """All processes it started, now."""
        found, waiting = [], [self.process.pid]
        while waiting:
            pid = waiting.pop()
            with contextlib.suppress(OSError):
                for task in Path(f"/proc/{pid}/task").iterdir():
                    pids = [int(word) for word in (task / "children").read_text().split()]
                    found += pids
                    waiting += pids
        return found


@pytest.fixture
def data() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="cwt-", dir="/tmp"))
    yield folder / "data"
    shutil.rmtree(folder, ignore_errors=True)


def _alive(pids: list[int]) -> list[int]:
    alive = []
    for pid in pids:
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
                alive.append(pid)
    return alive


def _all_gone(pids: list[int], within: float) -> None:
    deadline = time.monotonic() + within
    while _alive(pids):
        assert time.monotonic() < deadline, f"still there after {within} s: {_alive(pids)}"
        time.sleep(0.1)


def test_up_starts_all_serves_the_page_restarts_what_dies_survives_its_own_kill_and_ends_cleanly(data: Path) -> None:
    up = Up(data)
    url = up.until(r"Dashboard: (http://127\.0\.0\.1:\d+)")[1]
    for name in ("postgres", "nats", "planner", "analyzer", "executor-1", "executor-2", "dashboard"):
        assert re.search(rf"^{name} .*ready", up.output, re.MULTILINE), up.output
    assert httpx.get(url, follow_redirects=True, trust_env=False).status_code < 500
    assert httpx.get(f"{url}/api/v1/plans", trust_env=False).status_code == 401
    token = (data / "api-token").read_text().strip()
    answer = httpx.get(f"{url}/api/v1/plans", headers={"Authorization": f"Bearer {token}"}, trust_env=False)
    assert answer.status_code == 200

    second = subprocess.run([*CLOUDWARD, "up", "--data", data], capture_output=True, text=True, check=False, timeout=60)
    assert second.returncode == 1
    assert f"is in use: process {up.process.pid} holds it" in second.stderr
    assert "Traceback" not in second.stderr

    before = json.loads((data / "run" / "executor-1.json").read_text())["pid"]
    os.kill(before, signal.SIGKILL)
    up.until(r"executor-1 +ended \(SIGKILL\), starting again")
    deadline = time.monotonic() + 60
    while json.loads((data / "run" / "executor-1.json").read_text())["pid"] == before:
        assert time.monotonic() < deadline
        time.sleep(0.1)

    # Killed, it leaves nothing behind, and starts again on the same data.
    children = up.children()
    assert len(children) > 7
    up.process.kill()
    up.wait(10)
    if sys.platform == "linux":  # elsewhere the kernel ends no orphans
        _all_gone(children, 20)
        again = Up(data)
        again.until(r"Dashboard: ")
        children = again.children()
        again.process.send_signal(signal.SIGINT)
        assert again.wait(60) == 0
        _all_gone(children, 1)
        # Whoever is in a hurry asks twice.
        hasty = Up(data)
        hasty.until(r"postgres .*ready")
        children = hasty.children()
        hasty.process.send_signal(signal.SIGINT)
        hasty.process.send_signal(signal.SIGINT)
        hasty.wait(30)
        _all_gone(children, 2)


def test_a_folder_that_is_held_is_refused_without_touching_it(data: Path) -> None:
    data.mkdir()
    with (data / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = subprocess.run(
            [*CLOUDWARD, "up", "--data", data], capture_output=True, text=True, check=False, timeout=60
        )
    assert done.returncode == 1
    assert "is in use" in done.stderr
    assert [path.name for path in data.iterdir()] == ["lock"]
