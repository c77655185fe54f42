"""The page ``docs/guide/journey.md`` is true: whoever gives its commands, in their order, sees what it shows.

The page is a transcript. In its ``console`` blocks a line that begins with ``$`` is a command, which ends with the line that does
not end with a backslash; what follows is what it prints. ``...`` stands for lines that are left out, or for the rest of a line;
``<n>`` for a number that no two runs share. An address on 127.0.0.1 and a word of 32 or more hexadecimal digits or dashes (an id, a digest) stand for the ones
of this run: what the page calls the same is the same, in commands too. Everything else is as it stands there. ``^C`` ends what runs
in the first terminal.

A command whose exit code the next one does not ask for ends with 0. No line that is left out tells of an error.

It takes a minute on a quiet machine and two on a busy one, most of it the start of forty commands; so it carries ``chaos``:
``make chaos-short`` runs it, ``make test`` does not.
"""

import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.scratch import folder

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "guide" / "journey.md"
ENDED = "\x1e"  # before the exit code of a command
WRONG = re.compile(r"✖|\berrors?\b|\bFAIL|^warning:|Traceback")
# What a run calls by a name of its own.
_OWN = re.compile(r"127\.0\.0\.1:\d+|\b[0-9a-f][0-9a-f-]{31,}\b")
_FREE = {"<n>": r"[\d,]+", "...": r".*"}


@dataclass
class Step:
    """A command of the page and what it shows. ``asked``: the next command asks for its exit code."""

    line: int
    command: str
    shown: list[str] = field(default_factory=list)
    asked: bool = False


def steps(page: str) -> list[Step]:
    found: list[Step] = []
    inside = open_command = False
    for number, line in enumerate(page.splitlines(), 1):
        if line.startswith("```"):
            inside = line == "```console"
        elif not inside:
            continue
        elif open_command:
            found[-1].command += f"\n{line}"
            open_command = line.endswith("\\")
        elif line.startswith("$ ") or line == "^C":
            found.append(Step(number, line.removeprefix("$ ")))
            open_command = line.endswith("\\")
        else:
            found[-1].shown.append(line)
    for step, following in itertools.pairwise(found):
        step.asked = following.command == "echo $?"
    return found


class Names:
    """What this run calls the things that the page calls otherwise."""

    def __init__(self) -> None:
        self.known: dict[str, str] = {}

    def here(self, text: str) -> str:
        return _OWN.sub(lambda own: self.known.get(own[0], own[0]), text)

    def compare(self, shown: list[str], output: str) -> str:
        """What is wrong with the output; empty if it is as shown, and then it tells further names."""
        match, names = self._match(shown, output)
        if match is None:
            starts = (line for n, line in enumerate(shown, 1) if self._match([*shown[:n], "..."], output)[0] is None)
            return f"no such line: {missed}" if (missed := next(starts, None)) else "more is printed than is shown"
        for group, text in match.groupdict().items():
            if group.startswith("gap") and (wrong := [line for line in text.splitlines() if WRONG.search(line)]):
                return f"left out, but an error: {wrong[0]}"
        self.known |= {name: match[group] for name, group in names.items()}
        return ""

    def _match(self, shown: list[str], output: str) -> tuple[re.Match[str] | None, dict[str, str]]:
        pattern, names = "", dict[str, str]()

        def own(name: str) -> str:
            if name in self.known:
                return re.escape(self.known[name])
            if name in names:
                return f"(?P={names[name]})"
            names[name] = f"name{len(names)}"
            return f"(?P<{names[name]}>{_OWN.pattern})"

        for number, line in enumerate(shown):
            if line == "...":
                pattern += rf"(?P<gap{number}>(?:.*\n)*?)"
                continue
            words = re.split(rf"({_OWN.pattern}|<n>|\.\.\.$)", line)
            for text, special in zip(words[::2], [*words[1::2], ""], strict=True):
                pattern += re.escape(text) + (_FREE.get(special) or own(special) if special else "")
            pattern += r"[ ]*\n"
        return re.fullmatch(pattern, output), names


class Terminals:
    """Two: in one Cloudward stays, in the other one are given the commands."""

    def __init__(self, home: Path) -> None:
        here = home / "bin"
        here.mkdir()
        # As from anywhere, and looked at like everything that tests start.
        (here / "cloudward").write_text(
            f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" -m tests.watched "$@"\n'
        )
        (here / "cloudward").chmod(0o755)
        path = os.pathsep.join([str(here), str(Path(sys.executable).parent), os.environ["PATH"]])
        given = {name: os.environ[name] for name in ("CLOUDWARD_TEST_FOUND",) if name in os.environ}
        self._home = home / "work"
        self._home.mkdir()
        self._environment = {"PATH": path, "HOME": str(self._home), "LANG": "C.UTF-8", **given}
        self._told = home / "up.txt"
        self._first: subprocess.Popen[bytes] | None = None
        self._second = self._open([], subprocess.PIPE, subprocess.PIPE)

    def _open(self, words: list[str], given: int, output: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            ["bash", "--noprofile", "--norc", *words],
            cwd=self._home,
            env=self._environment,
            stdin=given,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def give(self, command: str) -> tuple[int, str]:
        """Gives a command in the second terminal; its exit code and all that it printed."""
        assert self._second.stdin is not None and self._second.stdout is not None
        line = f"{{\n{command}\n}} </dev/null\ncode=$?; printf '{ENDED}%s\\n' $code; (exit $code)\n"
        self._second.stdin.write(line.encode())
        self._second.stdin.flush()
        output = ""
        while True:
            text = self._second.stdout.readline().decode()
            assert text, f"the shell has ended:\n{output}"
            before, ended, code = text.partition(ENDED)
            output += before
            if ended:
                return int(code), output if not before else f"{output}\n"

    def stay(self, command: str, shown: list[str], names: Names) -> str:
        """Gives a command that stays in the first terminal, and waits until it shows that. What is wrong, if anything."""
        with self._told.open("wb") as told:
            self._first = self._open(["-c", f"exec {command}"], subprocess.DEVNULL, told.fileno())
        deadline = time.monotonic() + 90
        while (wrong := names.compare(shown, self._told.read_text())) and self._first.poll() is None:
            if time.monotonic() > deadline:
                break
            time.sleep(0.1)
        self._seen = self._told.stat().st_size
        return wrong and f"{wrong} in\n{self._told.read_text()}"

    def interrupt(self) -> tuple[int, str]:
        """Ctrl-C in the first terminal."""
        assert self._first is not None
        self._first.send_signal(signal.SIGINT)
        code = self._first.wait(30)
        return code, self._told.read_bytes()[self._seen :].decode()

    def close(self) -> None:
        os.killpg(self._second.pid, signal.SIGKILL)
        with self._second:
            pass  # closes its pipes
        if self._first is not None and self._first.poll() is None:
            self._first.terminate()
            self._first.wait(30)


@pytest.fixture
def terminals() -> Iterator[Terminals]:
    home = folder("cwj-")
    made = Terminals(home)
    yield made
    made.close()
    shutil.rmtree(home, ignore_errors=True)


@pytest.mark.parametrize(
    ("shown", "printed", "right"),
    [
        (["2 pages in ...", "<n> events"], "2 pages in 7 s.\n1,204 events  \n", True),
        (["2 pages"], "3 pages\n", False),
        (["2 pages"], "2 pages\nand more\n", False),
        (["2 pages", "..."], "2 pages\nand more\n", True),
        (["2 pages", "..."], "2 pages\n✖ no site\n", False),
        (["<n> pages"], "no pages\n", False),
        (["at 127.0.0.1:1", "at 127.0.0.1:1"], "at 127.0.0.1:8080\nat 127.0.0.1:8080\n", True),
        (["at 127.0.0.1:1", "at 127.0.0.1:1"], "at 127.0.0.1:8080\nat 127.0.0.1:8081\n", False),
        (["at 127.0.0.1:9"], "at 127.0.0.1:8081\n", False),
    ],
)
def test_what_is_printed_otherwise_than_it_is_shown_is_noticed(shown: list[str], printed: str, right: bool) -> None:
    names = Names()
    assert names.compare(["at 127.0.0.1:9"], "at 127.0.0.1:9999\n") == ""
    assert (names.compare(shown, printed) == "") == right


@pytest.mark.slow
@pytest.mark.chaos
@pytest.mark.timeout(400)
def test_whoever_gives_the_commands_of_the_journey_sees_what_the_page_shows(terminals: Terminals) -> None:
    names, journey = Names(), steps(PAGE.read_text(encoding="utf-8"))
    assert (journey[0].command, journey[-1].command) == ("cloudward up --sandbox", "^C")
    for step in journey:
        place = f"line {step.line}: {step.command}"
        if step.command.startswith("cloudward up"):
            assert not (wrong := terminals.stay(step.command, step.shown, names)), f"{place}: {wrong}"
            continue
        code, output = terminals.interrupt() if step.command == "^C" else terminals.give(names.here(step.command))
        assert code == 0 or step.asked, f"{place}: exit code {code}\n{output}"
        assert not (wrong := names.compare(step.shown, output)), f"{place}: {wrong}\nprinted was\n{output}"
