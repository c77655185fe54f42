"""Renders every overlay, validates it, and judges it: ``python -m tests.manifests``.

Needs kubectl, and the checkers of ``make tools``. Ends with one line of JSON; exit code 1 if something is wrong.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

from tests.manifests.rendered import FOLDER, OVERLAYS, ROOT, Rendered
from tests.manifests.rules import RULES
from tests.manifests.ways import differences

TOOLS = ROOT / ".venv-tools" / "bin"
# The oldest and the newest release of Kubernetes for which the manifests are meant.
RELEASES = ("1.30", "1.36")


def schema(rendered: Rendered, file: Path) -> tuple[list[str], set[str]]:
    """What the schemas of Kubernetes refuse, and the kinds for which there is none."""
    wrong, unknown = [], set()
    for release in RELEASES:
        words = [str(TOOLS / "kubernetes-validate"), "--strict", "-k", release, str(file)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        lines = (done.stdout + done.stderr).splitlines()
        for line in lines:
            if "Couldn't find schema for kind" in line:
                _, _, rest = line.partition("for kind ")
                kind, _, rest = rest.partition(" with api version ")
                unknown.add(f"{rest.split()[0]} {kind}")
            elif not line.startswith("INFO"):
                wrong.append(f"{rendered.overlay}: Kubernetes {release}: {line}")
        passed = sum(line.startswith("INFO") and "passed" in line for line in lines)
        if done.returncode or passed + len(unknown) != len(rendered.objects):
            wrong.append(f"{rendered.overlay}: {passed} of {len(rendered.objects)} objects pass Kubernetes {release}")
    return wrong, unknown


def policy(file: Path) -> tuple[int, dict[str, list[str]]]:
    """How many of checkov's checks pass, and which fail on what. One overlay at a time: equal names of two confuse it."""
    words = [
        str(TOOLS / "checkov"),
        "-f",
        str(file),
        "--framework",
        "kubernetes",
        "--skip-download",
        "--quiet",
        "-o",
        "json",
    ]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    told: dict[str, Any] = json.loads(done.stdout)
    assert not told["summary"]["parsing_errors"], told["summary"]
    failed: dict[str, list[str]] = {}
    for finding in told["results"]["failed_checks"]:
        failed.setdefault(finding["check_id"], []).append(f"{finding['resource']}: {finding['check_name']}")
    return int(told["summary"]["passed"]), failed


def main() -> int:
    exceptions = yaml.safe_load((FOLDER / "exceptions.yaml").read_text())
    wrong: list[str] = []
    objects = passed = 0
    unknown: set[str] = set()
    excepted: set[str] = set()
    with tempfile.TemporaryDirectory() as folder:
        for overlay in OVERLAYS:
            rendered = Rendered(overlay)
            objects += len(rendered.objects)
            file = Path(folder) / f"{overlay}.yaml"
            file.write_text(rendered.text)
            refused, without = schema(rendered, file)
            wrong += refused
            unknown |= without
            for rule in RULES:
                wrong += [f"{overlay}: {sentence}" for sentence in rule(rendered)]
            wrong += [f"{overlay}: {sentence}" for sentence in differences(rendered)]
            good, failed = policy(file)
            passed += good
            excepted |= set(failed) & set(exceptions["checkov"])
            for check in sorted(set(failed) - excepted):
                wrong += [f"{overlay}: {check} {finding}" for finding in failed[check]]
    wrong += [f"exceptions.yaml: nothing needs {check}" for check in sorted(set(exceptions["checkov"]) - excepted)]
    listed = set(exceptions["not_validated"])
    wrong += [f"exceptions.yaml: {kind} is validated by nothing and not listed" for kind in sorted(unknown - listed)]
    wrong += [f"exceptions.yaml: there is no {kind}" for kind in sorted(listed - unknown)]
    for sentence in wrong:
        print(sentence)
    told = {
        "overlays": len(OVERLAYS),
        "objects": objects,
        "policy_checks_passed": passed,
        "excepted": sorted(excepted),
        "not_validated": sorted(unknown),
        "wrong": len(wrong),
    }
    print(json.dumps(told))
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
