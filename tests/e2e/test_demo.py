"""The demo ends as announced, and ``try`` tells of every source that it cannot use while the others go on."""

import json
import os
import re
import subprocess
import zipfile
from pathlib import Path

import pytest

from tests.unit.export.build import sample
from tests.watched import CLOUDWARD

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


def cloudward(*words: str | Path) -> "subprocess.CompletedProcess[str]":
    line = [*CLOUDWARD, *map(str, words)]
    return subprocess.run(line, capture_output=True, text=True, timeout=200, check=False, env=os.environ)


@pytest.mark.statement(1, 19, 20, 21, 64, 99)
def test_the_demo_ends_as_announced() -> None:
    done = cloudward("demo")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    for step in ("Analysis", "E-mail addresses", "Plans", "Run", "Report", "What was to be seen"):
        assert f"\n{step}\n" in done.stdout
    claims = done.stdout.partition("What was to be seen")[2]
    assert "✖" not in claims
    for claim in (
        r"✔ One plan FAILED, by the one planted conflict: its site already had a space OPS",
        r"✔ The other spaces of that plan are on the site all the same",
        r"✔ The other plan FINISHED",
        r"✔ Every entity selected is accounted for",
        r"✔ The log verifies: [\d,]+ events, none changed, none missing",
    ):
        assert re.search(claim, claims), claim


def bad_sources(folder: Path) -> dict[str, tuple[Path, str]]:
    """Sources that cannot be used: where each lies, and the code by which it is told."""
    text = str(sample("dc").entities)
    letter, photos, broken, cut_zip = (folder / name for name in ("letter.pdf", "photos.zip", "broken.zip", "cut.zip"))
    letter.write_bytes(b"%PDF-1.7 and so on")
    with zipfile.ZipFile(photos, "w") as archive:
        archive.writestr("index.html", "<html/>")
    whole = sample("dc").zip(folder / "whole.zip").read_bytes()
    broken.write_bytes(whole[: len(whole) // 2])
    with zipfile.ZipFile(cut_zip, "w") as archive:
        archive.writestr("entities.xml", text[: len(text) // 2])
    cut, empty = folder / "cut", folder / "empty"
    cut.mkdir()
    (cut / "entities.xml").write_text(text[: len(text) // 2])
    empty.mkdir()
    return {
        "nothing there": (folder / "gone.zip", "export_missing"),
        "no export": (letter, "not_an_export"),
        "a zip of something else": (photos, "not_an_export"),
        "an empty folder": (empty, "not_an_export"),
        "a zip cut off": (broken, "export_damaged"),
        "entities cut off": (cut, "export_damaged"),
        "entities cut off in a zip": (cut_zip, "export_damaged"),
    }


# By code, what every person needs to be told: what is wrong and what to do.
WORDS = {
    "export_missing": r"no file or folder .*gone\.zip.*Give an export",
    "not_an_export": r"no Confluence export.*Give the zip file",
    "export_damaged": r"damaged.*Make it anew",
}


def test_sources_that_cannot_be_used_are_told_one_by_one_and_the_others_go_on(tmp_path: Path) -> None:
    bad = bad_sources(tmp_path)
    good = sample("dc").zip(tmp_path / "good.zip")
    data = tmp_path / "kept"
    done = cloudward("try", "--json", "--keep", data, *(path for path, _ in bad.values()), good)
    assert done.returncode == 1
    logs = "".join(log.read_text(errors="replace") for log in (data / "logs").glob("*.log"))
    assert not re.search('Traceback|"exception"', done.stdout + done.stderr + logs)
    *told, moved = json.loads(done.stdout)["sources"]
    for (name, (path, code)), source in zip(bad.items(), told, strict=True):
        assert (source["source"], source["plan"], source["status"]) == (str(path), None, None), name
        assert (source["kinds"], source["conserved"], source["reasons"]) == ({}, False, []), name
        problem = source["problem"]
        assert problem["code"] == code, (name, problem)
        assert re.search(WORDS[code], f"{problem['detail']} {problem['way_on']}"), (name, problem)
        assert problem["detail"] in done.stderr, name
    assert (moved["source"], moved["status"], moved["conserved"]) == (str(good), "FINISHED", True)
    assert moved["kinds"]["page"] == {"selected": 2, "migrated": 2, "skipped": 0, "failed": 0}


def test_with_nothing_to_try_nothing_is_started(tmp_path: Path) -> None:
    done = cloudward("try", tmp_path / "gone.zip")
    assert done.returncode == 1
    assert "There is no file or folder" in done.stdout and "Give an export" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert "Starting" not in done.stdout
