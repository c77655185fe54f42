"""A space moves the same from Cloud's CSV export as from an XML export, by ``cloudward try``."""

import json
from pathlib import Path
from typing import Any

import pytest

from sandbox.export import write_csv_export, write_export
from sandbox.sample import generate
from sandbox.versions import Version
from tests.e2e.test_demo import cloudward

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

KINDS = ("space", "page", "blogpost", "comment", "attachment", "label")


def shape(contents: list[dict[str, Any]]) -> list[Any]:
    """Titles, labels, files and numbers of comments, all the way down: without people, whose addresses only one of the two knows."""
    return [
        (
            c["title"],
            c["labels"],
            [(f["name"], f["sha256"], f["mediaType"]) for f in c["attachments"]],
            len(c["comments"]),
            shape(c.get("children", [])),
        )
        for c in contents
    ]


def shapes(site: Path) -> list[Any]:
    spaces = json.loads(site.read_bytes())["spaces"]
    return [(s["key"], s["name"], s["labels"], shape(s["pages"]), shape(s["blogposts"])) for s in spaces]


def test_a_space_moves_the_same_from_csv_as_from_xml(tmp_path: Path) -> None:
    held = generate(11, spaces=2, pages=40, users=12, attachments=12, comments=15)
    key = sorted(held.spaces)[0]
    xml, csv = tmp_path / "space.xml.zip", tmp_path / "space.csv.zip"
    with xml.open("wb") as file:
        list(write_export(held, Version("8.5.6"), file, spaces=[key]))
    with csv.open("wb") as file:
        list(write_csv_export(held, file, space=key))
    data = tmp_path / "kept"
    done = cloudward("try", "--json", "--keep", data, xml, csv)
    by_xml, by_csv = json.loads(done.stdout)["sources"]
    assert by_xml["conserved"] and by_csv["conserved"], done.stderr
    assert by_csv["status"] == by_xml["status"]
    for kind in KINDS:
        assert by_csv["kinds"].get(kind) == by_xml["kinds"].get(kind), kind
    assert by_csv["kinds"]["page"]["migrated"] > 10
    assert shapes(data / "sites" / "site-1.json") == shapes(data / "sites" / "site-2.json")
