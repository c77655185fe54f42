"""Plan files: what is wrong with one is told at once, with the line and what to do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.dashboard.domain import planfile
from shared.events.commands import SavePlan
from tests.store.test_projections import SITE, SOURCE
from tests.unit.dashboard.house import House

DOCUMENT = Path(__file__).parents[3] / "docs" / "plan-file.schema.json"

GOOD = """\
plan: wave-1
source: Wiki
site: Example
stage: production
users: related
groups: false
spaces:
  - ENG
  - key: OPS
    pages: [11, "12"]
    new_key: RUN
on_key_conflict: skip
accept: [file_missing]
"""

TEN = """\
plan: "First move"
source: Wikki
site: Example
stage: prod
users: some
group: true
groups: maybe
spaces:
  - key: ENG
    move: attachment
    new_key: no good
  - key: OPS
    pages: [eleven]
accept: [file_mising]
on_key_conflict: fail
on_key_conflict: skip
"""


@pytest.mark.statement(2, 40, 66, 67)
async def test_a_right_file_becomes_the_plan_it_describes(told: House) -> None:
    answer = await told.client.post("/api/v1/plan-file", content=GOOD)
    assert answer.status_code == 201, answer.text
    command = told.owners.asked[-1]
    assert isinstance(command, SavePlan)
    assert (command.name, command.source, command.site, command.stage) == ("wave-1", SOURCE, SITE, "production")
    assert (command.users, command.groups, command.spaces) == ("related", False, ["1", "2"])
    assert [s.model_dump() for s in command.scopes] == [{"space": "2", "what": "all", "roots": ("11", "12")}]
    assert (command.new_keys, command.key_conflicts, command.accepted) == ({"2": "RUN"}, "skip", ["file_missing"])


async def test_ten_mistakes_are_told_at_once_each_with_its_line_and_what_to_do(told: House) -> None:
    answer = await told.client.post("/api/v1/plan-file", content=TEN)
    assert answer.status_code == 422 and answer.json()["code"] == "plan_file_wrong"
    # The refusal names the lines only: what is wrong with them quotes names, so it is told by the check.
    lines = [1, 2, 4, 5, 6, 7, 10, 11, 13, 14, 16]
    assert [set(f) == {"line", "column"} and f["line"] for f in answer.json()["findings"]] == lines
    found = (await told.client.post("/api/v1/plan-file/check", content=TEN)).json()["mistakes"]
    assert [(f["line"], f["where"]) for f in found] == [
        (1, "plan"),
        (2, "source"),
        (4, "stage"),
        (5, "users"),
        (6, "group"),
        (7, "groups"),
        (10, "spaces[0].move"),
        (11, "spaces[0].new_key"),
        (13, "spaces[1].pages[0]"),
        (14, "accept[0]"),
        (16, "on_key_conflict"),
    ]
    assert all(f["problem"] and f["remedy"] for f in found)
    assert "Did you mean “Wiki”?" in found[1]["remedy"] and "Did you mean “groups”?" in found[4]["remedy"]
    assert told.owners.asked == []


async def test_a_file_can_be_checked_without_saving_anything(told: House) -> None:
    good, bad = [(await told.client.post("/api/v1/plan-file/check", content=text)).json() for text in (GOOD, TEN)]
    assert good["ok"] and good["plan"]["name"] == "wave-1"
    assert not bad["ok"] and len(bad["mistakes"]) == 11 and bad["plan"] is None
    assert told.owners.asked == []


SHAPES = [
    ("plan: [", 1, "no YAML"),
    ("- a\n- b\n", 1, "name: value"),
    ("plan: x\nspaces: !all\n", 2, "begin with !"),
    ("plan: x\nspaces: *all\n", 2, "no YAML"),
    ("plan: x\nspaces: some\nsource: s\nsite: s\n", 2, "not possible"),
    ("plan: x\nsource: s\nsite: s\nspaces:\n  - [a]\n", 5, "Here goes a word"),
    ("source: s\nsite: s\n", 1, "“plan” is missing"),
    ("plan: x\nsource: s\nsite: s\nspaces: [A]\nfilter: {type: global}\n", 5, "A filter narrows"),
    ("plan: x\nsource: s\nsite: s\nfilter: {typ: global}\n", 4, "“typ” is not known"),
    ("plan: x\nsource: s\nsite: s\nspaces:\n  - move: rights\n", 5, "“key” is missing"),
]


@pytest.mark.parametrize(("text", "line", "words"), SHAPES)
def test_a_wrong_shape_is_told_with_its_line(text: str, line: int, words: str) -> None:
    found = planfile.read(text).mistakes
    assert [m.line for m in found if words in m.problem] == [line], found


def test_a_space_whose_key_reads_like_a_yes_or_a_number_stays_a_key() -> None:
    file = planfile.read("plan: x\nsource: s\nsite: s\nspaces: [NO, on, 123]\n").file
    assert file is not None and file.spaces == ["NO", "on", "123"]


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=200))
def test_no_text_breaks_the_reader(text: str) -> None:
    read = planfile.read(text)
    assert read.file is not None or read.mistakes


def test_the_published_schema_is_that_of_the_reader() -> None:
    assert json.loads(DOCUMENT.read_text()) == planfile.schema(), (
        "run python -m services.dashboard.domain.planfile > docs/plan-file.schema.json"
    )
