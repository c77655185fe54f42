"""Metrics have stable names, and paths in them hold nothing of a customer's."""

import re
from pathlib import Path

import pytest

from shared.confluence.observed import template
from shared.ops import metrics

PAGE = Path(__file__).parents[3] / "docs" / "operations.md"


def test_the_page_of_operations_lists_every_metric_and_none_that_is_not_there() -> None:
    listed = set(re.findall(r"^\| `(cloudward_\w+)`", PAGE.read_text(encoding="utf-8"), re.MULTILINE))
    exported = {re.sub(r"_(bucket|count|sum)$", "", name) for name in metrics.names()}
    assert listed == exported


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/wiki/api/v2/pages/123/labels", "/wiki/api/v2/pages/{}/labels"),
        ("/rest/api/space/~ann.smith", "/rest/api/space/{}"),
        ("/download/attachments/12/Payroll 2024.xlsx", "/download/attachments/{}/{}"),
        ("/confluence/rest/api/user/current", "/{}/rest/api/user/current"),
    ],
)
def test_of_a_path_only_the_words_of_the_api_are_shown(path: str, shown: str) -> None:
    assert template(path) == shown


def test_a_reader_stands_still_only_while_there_is_more_to_read() -> None:
    standing = metrics.Standing()
    assert standing.seen(5, 5) == 0
    assert standing.seen(5, 5) == 0
    first = standing.seen(5, 9)
    assert standing.seen(5, 9) >= first >= 0
    assert standing.seen(7, 9) == 0
