"""How a try-out is set up, judged and told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cli.tryout import ENDED_BADLY, ERROR, OK, Outcome, Trial, judge_demo, sandbox_config, trials_of
from sandbox.sample import PLANTED_SPACE_KEY
from shared.events.verify import Verdict

GOOD = Verdict("1" * 32, 300, b"")
BAD = Verdict("1" * 32, 41, b"", 42, "link", "The event at position 42 is not the one that was appended.")


def ended(status: str, *, conserved: bool = True, **more: Any) -> Trial:
    report = {
        "plan": "p",
        "status": status,
        "kinds": {},
        "conserved": conserved,
        "verification": [],
        "reasons": more.pop("reasons", []),
    }
    return Trial(1, "x", "x", report=report, plan={"tasks": more.pop("tasks", [])})


@pytest.mark.parametrize(
    ("trials", "verdict", "code"),
    [
        ([ended("FINISHED")], GOOD, OK),
        ([ended("FINISHED"), ended("FAILED")], GOOD, ENDED_BADLY),
        ([ended("STOPPED")], GOOD, ENDED_BADLY),
        ([ended("FINISHED", conserved=False)], GOOD, ERROR),
        ([ended("FAILED", conserved=False)], GOOD, ERROR),
        ([ended("FINISHED")], BAD, ERROR),
        ([ended("FINISHED"), Trial(2, "gone", "gone")], GOOD, ERROR),
        ([], GOOD, ERROR),
    ],
    ids=[
        "finished",
        "one failed",
        "stopped",
        "sums off",
        "failed and sums off",
        "log off",
        "one unreadable",
        "nothing",
    ],
)
def test_the_exit_code_says_how_it_ended(trials: list[Trial], verdict: Verdict, code: int) -> None:
    assert Outcome(trials, verdict, 1.0).code == code


def test_a_path_where_nothing_is_is_told_and_the_others_go_on(tmp_path: Path) -> None:
    there, gone = trials_of([str(tmp_path), str(tmp_path / "gone.zip")])
    assert there.problem is None and gone.problem is not None and gone.problem.code == "export_missing"
    assert gone.document()["problem"]["code"] == "export_missing" and gone.document()["conserved"] is False


def test_every_source_has_an_empty_site_of_its_own_but_for_the_planted_conflict(tmp_path: Path) -> None:
    trials = trials_of([str(tmp_path), "sample", str(tmp_path)])
    assert len({trial.name for trial in trials}) == 4
    instances = sandbox_config(trials)["instances"]
    sites = [instance for instance in instances if instance["kind"] == "cloud"]
    servers = [instance for instance in instances if instance["kind"] == "server"]
    assert len(sites) == 4 and len(servers) == 2
    planted = [site for site in sites if site["options"]]
    assert [space["key"] for site in planted for space in site["options"]["spaces"]] == [PLANTED_SPACE_KEY]


def space(key: str, state: str, reason: str | None = None) -> dict[str, Any]:
    return {
        "kind": "space",
        "key": key,
        "state": state,
        "reason": reason,
        "link": f"/{key}" if state == "migrated" else None,
    }


CONFLICT = {"kind": "space", "id": "1", "outcome": "failed", "reason": "space_key_conflict"}
OPS = space(PLANTED_SPACE_KEY, "failed", "space_key_conflict")


def test_the_announced_ending_of_the_demo_is_recognized() -> None:
    trials = [ended("FAILED", tasks=[OPS, space("SKY", "migrated")], reasons=[CONFLICT]), ended("FINISHED")]
    assert all(holds for holds, _ in judge_demo(Outcome(trials, GOOD, 1.0)))


@pytest.mark.parametrize(
    ("trials", "verdict"),
    [
        ([ended("FINISHED"), ended("FINISHED")], GOOD),
        ([ended("FAILED", tasks=[OPS, space("SKY", "migrated")], reasons=[CONFLICT]), ended("STOPPED")], GOOD),
        ([ended("FAILED", tasks=[OPS, space("SKY", "failed", "file_missing")], reasons=[CONFLICT]), ended("FINISHED")], GOOD),
        ([ended("FAILED", tasks=[OPS, space("SKY", "migrated")], reasons=[CONFLICT]), ended("FINISHED")], BAD),
        ([ended("FAILED", tasks=[OPS, space("SKY", "migrated")], reasons=[CONFLICT, {**CONFLICT, "kind": "page"}]),
          ended("FINISHED")], GOOD),
        ([ended("FAILED", tasks=[OPS, space("SKY", "migrated")], reasons=[CONFLICT], conserved=False), ended("FINISHED")], GOOD),
    ],
    ids=["no conflict", "other stopped", "another space failed", "log off", "another failure", "sums off"],
)  # fmt: skip
def test_any_other_ending_of_the_demo_is_not(trials: list[Trial], verdict: Verdict) -> None:
    assert not all(holds for holds, _ in judge_demo(Outcome(trials, verdict, 1.0)))
