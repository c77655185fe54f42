"""How a service process ends."""

import os
import signal
import subprocess
import sys
import time

import pytest

_PROGRAM = """
import asyncio, sys
from shared.ops.process import Unavailable, run_service
async def main(settings, stop):
    print("up", flush=True)
    {body}
run_service("executor", main)
"""


def _start(body: str, **environment: str) -> subprocess.Popen[str]:
    child = subprocess.Popen(
        [sys.executable, "-c", _PROGRAM.format(body=body)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "up\n"
    return child


def _end(child: subprocess.Popen[str]) -> tuple[int, str]:
    _, errors = child.communicate(timeout=10)
    return child.returncode, errors


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_ends_it_gracefully(number: signal.Signals) -> None:
    child = _start("await stop.wait(); await asyncio.sleep(0.1); print('tidied')")
    child.send_signal(number)
    output, _ = child.communicate(timeout=10)
    assert (child.returncode, output) == (0, "tidied\n")


def test_the_second_signal_ends_it_at_once() -> None:
    child = _start("await stop.wait(); await asyncio.sleep(60)")
    child.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    child.send_signal(signal.SIGTERM)
    assert _end(child)[0] == 128 + signal.SIGTERM


def test_a_main_that_does_not_end_is_cut_off_after_the_grace() -> None:
    child = _start("await asyncio.sleep(60)", CLOUDWARD_GRACE="0.2")
    child.send_signal(signal.SIGTERM)
    assert _end(child)[0] == 1


def test_what_is_away_is_told_with_a_way_on_and_an_exit_code_of_its_own() -> None:
    child = _start("raise Unavailable('NATS does not answer. Start it.')")
    code, errors = _end(child)
    assert code == 69
    assert "NATS does not answer. Start it." in errors


def test_a_failure_is_told_without_its_message() -> None:
    child = _start("raise ValueError('ann@example.org')")
    code, errors = _end(child)
    assert code == 1
    assert "ValueError" in errors
    assert "ann@example.org" not in errors
    assert "Traceback" not in errors


def test_it_ends_when_who_started_it_is_gone() -> None:
    ours, theirs = os.pipe()
    os.set_inheritable(ours, True)
    child = subprocess.Popen(
        [sys.executable, "-c", _PROGRAM.format(body="await stop.wait()")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        pass_fds=[ours],
        env={**os.environ, "CLOUDWARD_PARENT_FD": str(ours)},
    )
    os.close(ours)
    assert child.stdout is not None
    assert child.stdout.readline() == "up\n"
    assert child.poll() is None
    os.close(theirs)
    assert _end(child)[0] == 0


def test_wrong_settings_are_named() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM.format(body="pass")],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "CLOUDWARD_LEASE": "soon"},
    )
    assert done.returncode == 78
    assert "CLOUDWARD_LEASE" in done.stderr
