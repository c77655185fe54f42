"""The loop over a chunk's entities: what is looked for before it is made, and that each has exactly one outcome."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from services.executor.entities import work_through
from services.executor.job import Draining, Job, Row
from shared.confluence.site import OutcomeUnknown, SiteForbids, SiteUnavailable, Throttled, VersionConflict
from shared.events.catalog.work import Entity, Kind, Outcome
from shared.events.reasons import Reason

ROWS = [Row(Kind.PAGE, str(n), n) for n in range(3)]


class FakeClaim:
    """A claim that is always good. ``recorded_alone``: entities recorded one by one."""

    def __init__(self, attempt: int = 1, draining: bool = False, give_up_first: bool = False) -> None:
        self.progress: dict[str, Any] = {}
        self.work, self.purpose = SimpleNamespace(chunk="c"), "work"
        self.look_first, self.one_by_one = attempt > 1, attempt >= 3
        self.draining, self.give_up_first = draining, give_up_first
        self.recorded_alone: list[Entity] = []
        self.released: list[Entity] | None = None

    async def entity_ended(self, entity: Entity) -> None:
        self.recorded_alone.append(entity)

    async def release(self, entities: list[Entity]) -> None:
        self.released = list(entities)


class Site:
    """Remembers for which rows it was asked to look; fails where told, once for each entry."""

    def __init__(self, **failures: list[Exception]) -> None:
        self.failures = {name.removeprefix("row"): errors for name, errors in failures.items()}
        self.asked: list[tuple[str, bool]] = []

    async def handle(self, row: Row, look: bool) -> Entity:
        self.asked.append((row.id, look))
        if errors := self.failures.get(row.id):
            raise errors.pop(0)
        return row.migrated(f"t{row.id}")


class FakeJob:
    """What the loop needs of a job, without the rest."""

    def __init__(self, claim: FakeClaim) -> None:
        self.claim: Any = claim
        self.settings, self.saved = SimpleNamespace(patience=60.0), SimpleNamespace(follow=None)
        self._begun: set[tuple[Kind, str]] = set()

    begun, has_begun = Job.begun, Job.has_begun


def job(claim: FakeClaim) -> Any:
    return FakeJob(claim)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    async def at_once(*_: Any, **__: Any) -> None:
        await asyncio.sleep(0)

    monkeypatch.setattr("services.executor.entities._pause", at_once)


async def test_a_first_attempt_looks_for_nothing_and_so_adopts_nothing() -> None:
    site = Site()
    done = await work_through(job(FakeClaim()), ROWS, site.handle)
    assert site.asked == [("0", False), ("1", False), ("2", False)]
    assert [(e.id, e.outcome, e.adopted) for e in done] == [(row.id, Outcome.MIGRATED, None) for row in ROWS]


async def test_every_later_attempt_looks_before_it_makes() -> None:
    site = Site()
    await work_through(job(FakeClaim(attempt=2)), ROWS, site.handle)
    assert site.asked == [("0", True), ("1", True), ("2", True)]


async def test_after_an_answer_that_did_not_come_the_entity_is_looked_for_and_only_that_one() -> None:
    site = Site(row1=[OutcomeUnknown("cut off")])
    done = await work_through(job(FakeClaim()), ROWS, site.handle)
    assert site.asked == [("0", False), ("1", False), ("1", True), ("2", False)]
    assert [e.id for e in done] == ["0", "1", "2"]


async def test_a_site_that_certainly_took_nothing_is_asked_again_without_looking() -> None:
    site = Site(row0=[SiteUnavailable("refused the connection")])
    await work_through(job(FakeClaim()), ROWS[:1], site.handle)
    assert site.asked == [("0", False), ("0", False)]


async def test_an_entity_that_fails_fails_alone_with_its_reason() -> None:
    site = Site(row0=[SiteForbids("no")], row1=[ZeroDivisionError()])
    done = await work_through(job(FakeClaim()), ROWS, site.handle)
    assert [(e.id, e.outcome, e.reason) for e in done] == [
        ("0", Outcome.FAILED, Reason.SITE_FORBIDS),
        ("1", Outcome.FAILED, Reason.UNEXPECTED_ERROR),
        ("2", Outcome.MIGRATED, None),
    ]


async def test_from_the_third_attempt_on_each_is_recorded_as_it_ends_and_none_twice() -> None:
    claim = FakeClaim(attempt=3)
    assert await work_through(job(claim), ROWS, Site().handle) == []
    assert [e.id for e in claim.recorded_alone] == ["0", "1", "2"]


async def test_the_entity_that_killed_every_worker_is_given_up_and_the_rest_go_on() -> None:
    claim, site = FakeClaim(attempt=6, give_up_first=True), Site()
    await work_through(job(claim), ROWS, site.handle)
    assert [(e.id, e.reason) for e in claim.recorded_alone] == [
        ("0", Reason.CRASHED_EXECUTOR),
        ("1", None),
        ("2", None),
    ]
    assert [id for id, _ in site.asked] == ["1", "2"]


async def test_a_process_that_shuts_down_releases_the_chunk_with_what_it_has() -> None:
    claim = FakeClaim()

    async def handle(row: Row, look: bool) -> Entity:
        claim.draining = row.id == "1"
        return row.migrated()

    with pytest.raises(Draining):
        await work_through(job(claim), ROWS, handle)
    assert claim.released is not None
    assert [e.id for e in claim.released] == ["0", "1"]


async def test_what_the_site_put_off_after_it_had_made_a_part_is_looked_for() -> None:
    """A file whose second version is told to wait is there already with its first."""
    working = job(FakeClaim())
    asked: list[bool] = []

    async def handle(row: Row, look: bool) -> Entity:
        asked.append(look)
        if len(asked) == 1:
            working.begun(row)
            raise Throttled("wait", None)
        return row.migrated("t")

    await work_through(working, ROWS[:1], handle)
    assert asked == [False, True]


async def test_a_newer_version_after_a_lost_answer_may_be_ones_own_and_is_looked_at_again() -> None:
    newer = VersionConflict("there is a newer version", 409)
    lost = OutcomeUnknown("cut off")
    site = Site(row0=[newer], row1=[lost, newer], row2=[lost, newer, newer, newer, newer])
    done = await work_through(job(FakeClaim()), ROWS, site.handle)
    assert [(e.outcome, e.reason) for e in done] == [
        (Outcome.FAILED, Reason.CHANGED_ON_SITE),
        (Outcome.MIGRATED, None),
        (Outcome.FAILED, Reason.CHANGED_ON_SITE),
    ]
