"""Plants faults, one at a time, and expects the tests that are named for each to notice.

    python -m tests.mutations [NAME...]

Every patch in this folder begins with what the fault is and, in lines ``Noticed by: <test>``, which tests have to fail with
it. The working tree's files are copied to a temporary folder; there the named tests first have to pass as they are, then the
patch is applied and each of them has to fail. Exit code 1: a fault survived, a patch no longer fits, or a test fails
without any.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from xml.etree import ElementTree

from tests import scratch

REPOSITORY = Path(__file__).parents[2]
PATCHES = Path(__file__).parent
NOTICED_BY = "Noticed by: "
AT_ONCE = 2
# Seconds for the tests of one fault. A machine with much else to do is slow, not wrong.
LIMIT = 300

Test = tuple[str, str]  # file, name


@dataclass(frozen=True)
class Fault:
    path: Path
    title: str
    tests: tuple[Test, ...]

    @property
    def name(self) -> str:
        return self.path.stem


@dataclass(frozen=True)
class Finding:
    """``trouble``: why the fault is not shown to be noticed, None where it is."""

    fault: Fault
    seconds: float
    trouble: str | None


class Broken(Exception):
    """The check itself cannot be made."""


def faults(names: Sequence[str]) -> list[Fault]:
    found = []
    for path in sorted(PATCHES.glob("*.patch")):
        if names and path.stem not in names:
            continue
        head = path.read_text().partition("\ndiff ")[0].splitlines()
        tests = [line.removeprefix(NOTICED_BY).strip() for line in head if line.startswith(NOTICED_BY)]
        if not tests:
            raise Broken(f"{path.name} has no line “{NOTICED_BY}<file>::<test>”.")
        pairs = [test.partition("::") for test in tests]
        found.append(Fault(path, head[0], tuple((file, name) for file, _, name in pairs)))
    if unknown := set(names) - {fault.name for fault in found}:
        raise Broken(f"There is no fault named {', '.join(sorted(unknown))}.")
    return found


def copy(folder: Path) -> Path:
    """The working tree's files, as git knows them, in a folder of its own."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, check=True).stdout
    for name in listed.decode().split("\0"):
        source = REPOSITORY / name
        if name and source.is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, folder / name)
    return folder


def environment(folder: Path) -> dict[str, str]:
    """The copy comes first wherever Python looks: the project itself is installed too."""
    reference = os.environ.get("CLOUDWARD_REFERENCE", str(REPOSITORY.parent / "shared"))
    return {
        **os.environ,
        "PYTHONPATH": str(folder),
        "CLOUDWARD_TEST_SERVERS": "embedded",
        "CLOUDWARD_REFERENCE": reference,
    }


def check_imports(folder: Path) -> None:
    program = "import shared.events.store as s, services.planner.manager as m; print(s.__file__, m.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        check=False,
    )
    if not all(Path(file).is_relative_to(folder) for file in done.stdout.split()) or done.returncode:
        raise Broken(f"The copy is not what Python imports: {done.stdout}{done.stderr}")


def failures(folder: Path, tests: Sequence[Test], limit: float = LIMIT) -> tuple[dict[Test, bool], str]:
    """Of each test that ran whether it failed in any of its cases; and the end of what pytest said.

    Raises Broken when the tests could not be run.
    """
    report = folder / "report.xml"
    report.unlink(missing_ok=True)
    words = [f"{file}::{name}" for file, name in tests]
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", f"--junitxml={report}", "--tb=short", *words],
            cwd=folder,
            env=environment(folder),
            capture_output=True,
            text=True,
            timeout=limit,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        said = (error.stdout or b"").decode(errors="replace")[-2000:]
        raise Broken(f"the tests did not end within {limit:.0f} s:\n{said}") from None
    said = "\n".join(done.stdout.splitlines()[-25:])
    if done.returncode not in (0, 1):
        raise Broken(f"pytest could not run them (exit code {done.returncode}):\n{said}\n{done.stderr[-500:]}")
    ended: dict[Test, bool] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        file = case.get("classname", "").replace(".", "/") + ".py"
        test = (file, case.get("name", "").partition("[")[0])
        # A fixture that breaks is no test that noticed.
        failed = case.find("failure") is not None
        ended[test] = ended.get(test, False) or failed
    return ended, said


def git_apply(folder: Path, fault: Fault, *more: str) -> str:
    """Why the patch cannot be applied; empty when it was."""
    done = subprocess.run(
        ["git", "apply", "-C1", *more, str(fault.path)],
        cwd=folder,
        env={**os.environ, "GIT_CEILING_DIRECTORIES": str(folder.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stderr.strip() if done.returncode else ""


def plant(folder: Path, fault: Fault) -> Finding:
    began = time.monotonic()
    if why := git_apply(folder, fault):
        return Finding(fault, 0, f"the patch no longer fits: {why}")
    try:
        ended, _ = failures(folder, fault.tests)
        silent = [name for file, name in fault.tests if not ended.get((file, name))]
        trouble = f"SURVIVED: {', '.join(silent)} did not fail" if silent else None
    except Broken as error:
        trouble = str(error)
    finally:
        if why := git_apply(folder, fault, "--reverse"):
            raise Broken(f"{fault.path.name} cannot be taken back: {why}")
    return Finding(fault, time.monotonic() - began, trouble)


def main(names: Sequence[str]) -> int:
    began = time.monotonic()
    chosen = faults(names)
    temporary = scratch.folder("cwm-")
    try:
        folders: SimpleQueue[Path] = SimpleQueue()
        for number in range(AT_ONCE):
            folders.put(copy(temporary / str(number)))
        check_imports(temporary / "0")
        tests = sorted({test for fault in chosen for test in fault.tests})
        ended, said = failures(temporary / "0", tests, 3 * LIMIT)
        if bad := [name for (file, name) in tests if ended.get((file, name), True)]:
            raise Broken(f"Without any fault these do not pass: {', '.join(bad)}\n{said}")
        print(f"{len(tests)} tests pass without a fault, {time.monotonic() - began:.0f} s", flush=True)

        def one(fault: Fault) -> Finding:
            folder = folders.get()
            try:
                found = plant(folder, fault)
            finally:
                folders.put(folder)
            print(f"{'✖' if found.trouble else '✔'} {found.seconds:5.1f} s  {fault.name}: {fault.title}", flush=True)
            if found.trouble:
                print(f"           {found.trouble}", flush=True)
            return found

        with ThreadPoolExecutor(AT_ONCE) as pool:
            findings = list(pool.map(one, chosen))
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    noticed = sum(finding.trouble is None for finding in findings)
    print(f"{noticed} of {len(findings)} planted faults noticed, {time.monotonic() - began:.0f} s in all")
    return 0 if noticed == len(findings) else 1


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except Broken as error:
        sys.exit(f"The check of planted faults cannot be made: {error}")
