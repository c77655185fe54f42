"""Whether a comment on a piece of text is closed or reopened by a plan that follows."""

from types import SimpleNamespace
from typing import Any

import pytest

from services.executor.bodies import Body
from services.executor.job import Row
from services.executor.phases.comments import _bring
from services.executor.phases.common import digest
from shared.confluence.model import Comment
from shared.confluence.site import SiteComment
from shared.events.catalog.work import Entity, Kind, Outcome

TEXT = "<p>Which one?</p>"
ROW = Row(Kind.COMMENT, "30", 0)


class FakeJob:
    """An earlier plan moved the comment; ``before``: whether it was resolved at the source then, ``there``: now on the site."""

    def __init__(self, *, before: bool, there: bool) -> None:
        self.site, self._before, self._there = self, before, there
        self.sent: list[bool | None] = []

    async def outcome(self, *_: Any) -> dict[str, Any]:
        return {"task": "t", "target_version": 1, "digest": digest(TEXT), "reason": None}

    async def listed_by(self, *_: Any) -> dict[str, Any]:
        return {"resolved": self._before}

    def has_begun(self, _: Row) -> bool:
        return False

    async def comment(self, id: str, inline: bool) -> SiteComment:
        return SiteComment(id, "700010", None, 1, "me", None, TEXT, True, self._there)

    async def update_comment(self, *_: Any, resolved: bool | None = None, **__: Any) -> Any:
        self.sent.append(resolved)
        return SimpleNamespace(version=2)


async def brought(job: Any, *, resolved: bool) -> Entity:
    """What a plan that follows makes of it. ``resolved``: whether it is at the source now."""
    comment = Comment("30", "10", None, TEXT, "storage", 1, None, None, "inline", resolved)
    return await _bring(job, ROW, comment, Body(TEXT), "c1")


@pytest.mark.parametrize("now", [True, False])
async def test_what_the_source_closed_or_reopened_since_follows(now: bool) -> None:
    job = FakeJob(before=not now, there=not now)
    entity = await brought(job, resolved=now)
    assert (job.sent, entity.outcome, entity.target_version) == ([now], Outcome.MIGRATED, 2)


@pytest.mark.parametrize(("before", "now", "there"), [(False, False, True), (True, True, False), (False, True, True)])
async def test_what_people_closed_or_reopened_on_the_site_stays(before: bool, now: bool, there: bool) -> None:
    job = FakeJob(before=before, there=there)
    entity = await brought(job, resolved=now)
    assert (job.sent, entity.outcome, entity.target_version) == ([], Outcome.MIGRATED, 1)
