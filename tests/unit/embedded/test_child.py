"""A child process, and the files of secrets."""

import asyncio
import signal
import stat
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from cli.embedded.child import Child, can_enter, secret_file, unprivileged


def _gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


async def test_a_child_that_ignores_the_request_to_end_is_killed_after_the_grace(tmp_path: Path) -> None:
    program = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
    )
    child = Child.start("x", [sys.executable, "-c", program], log=tmp_path / "log")
    while "up" not in child.tail():
        await asyncio.sleep(0.02)
    assert await child.end(signal.SIGTERM, grace=0.2) == -signal.SIGKILL


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel ends orphans on Linux only")
def test_a_child_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    program = textwrap.dedent(
        """
        import time
        from pathlib import Path
        from cli.embedded.child import Child
        child = Child.start("x", ["sleep", "60"], log=None)
        print(child.pid, flush=True)
        time.sleep(60)
        """
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    assert not _gone(pid)
    parent.kill()
    parent.communicate()
    for _ in range(100):
        if _gone(pid):
            return
        time.sleep(0.02)
    raise AssertionError("the child outlived its parent by two seconds")


def test_a_secret_is_made_once_and_readable_by_its_owner_only(tmp_path: Path) -> None:
    file = tmp_path / "secrets" / "one"
    assert secret_file(file, lambda: "first") == "first"
    assert secret_file(file, lambda: "second") == "first"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_the_way_to_a_folder_is_closed_by_one_folder_on_it(tmp_path: Path) -> None:
    account = unprivileged()
    if account is None:
        pytest.skip("only root changes the account")
    inner = tmp_path / "closed" / "inner"
    inner.mkdir(parents=True)
    (tmp_path / "closed").chmod(0o700)
    assert not can_enter(inner, account)
