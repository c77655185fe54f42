"""What the guide promises is there: a heading for each check, status and line of the report, and each row of the reference met."""

import re
from pathlib import Path

import pytest

from services.dashboard.adapters.checklist import LINES
from services.dashboard.domain.words import status_in_guide
from services.planner.domain.plans import Status
from shared.events.checks import Check, guide
from tests.statements.__main__ import GUIDE, ROOT, anchors, problems

PLACES = [
    *(guide(check) for check in Check),
    *(status_in_guide(status.value) for status in Status),
    *(f"docs/guide/after.md#{line.heading}" for line in LINES),
]


@pytest.mark.parametrize("place", PLACES)
def test_every_check_status_and_line_of_the_report_leads_to_a_heading(place: str) -> None:
    page, _, heading = place.partition("#")
    assert heading in anchors(ROOT / page)


@pytest.mark.parametrize("page", sorted(GUIDE.glob("*.md")), ids=lambda page: page.name)
def test_every_link_to_a_heading_leads_to_one(page: Path) -> None:
    for target, heading in re.findall(r"\]\(([\w./-]*\.md)?#([\w-]+)\)", page.read_text(encoding="utf-8")):
        assert heading in anchors((page.parent / target) if target else page), (target, heading)


def test_every_row_of_the_reference_is_shown_by_a_test_or_met_by_a_heading() -> None:
    assert problems() == []
