"""Nothing is more visible on the site than at the source, also where the site refuses a restriction."""

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from services.executor.job import Row
from services.executor.phases import details, opening
from shared.confluence.model import Permission, Restriction
from shared.confluence.site import SiteRefused
from shared.events.catalog.work import Entity, Kind, Outcome
from shared.events.reasons import Reason

ME = "712020:me"
PERMISSIONS = (
    Permission(id="1", operation="VIEWSPACE", subject_kind="group", subject="staff"),
    Permission(id="2", operation="EDITSPACE", subject_kind="group", subject="staff"),
)


class FakeClaim:
    def __init__(self) -> None:
        self.work, self.purpose, self.progress = SimpleNamespace(task="t", chunk="c"), "work", {}
        self.look_first = self.one_by_one = self.draining = self.give_up_first = False
        self.ended: list[Entity] = []

    async def end(self, entities: list[Entity]) -> None:
        self.ended = list(entities)


class FakeSite:
    """Keeps what it was told. ``refused``: holders that it does not take in restrictions."""

    def __init__(self, refused: str | None = None) -> None:
        self.refused = refused
        self.granted: list[tuple[str, str]] = []
        self.description: str | None = None
        self.restrictions: dict[str, dict[str, tuple[list[str], list[str]]]] = {}

    async def role_mode(self) -> str:
        return "classic"

    async def add_space_permission(self, key: str, kind: str, holder: str, operation: str, target: str) -> None:
        self.granted.append((holder, f"{operation} {target}"))

    async def update_space(self, key: str, name: str, description: str) -> None:
        self.description = description

    async def set_restrictions(self, target: str, wanted: dict[str, tuple[list[str], list[str]]]) -> None:
        if any(self.refused in [*accounts, *groups] for accounts, groups in wanted.values()):
            raise SiteRefused("no such holder")
        self.restrictions[target] = wanted


class FakeSource:
    def __init__(self, restrictions: tuple[Restriction, ...] = ()) -> None:
        self.restrictions = restrictions

    async def permissions(self, space: str) -> AsyncIterator[Permission]:
        for permission in PERMISSIONS:
            yield permission

    async def space(self, space: str) -> Any:
        return SimpleNamespace(name="Docs", description="all about it")

    async def content(self, id: str) -> Any:
        return SimpleNamespace(restrictions=self.restrictions, space_id="1")


class FakeJob:
    """``closed``: a restriction of the space could not be set."""

    def __init__(self, site: FakeSite, source: FakeSource, rows: list[Row], *, closed: bool = False) -> None:
        self.claim, self.site, self.source = FakeClaim(), site, source
        self.me, self.space_id, self.markers = SimpleNamespace(account_id=ME), "1", ["marker"]
        self.saved, self.scope = SimpleNamespace(follow=None), SimpleNamespace(what="all", roots=())
        self.pool, self._rows, self._closed = self, rows, closed

    async def fetchval(self, query: str, *_: Any) -> Any:
        return (self._closed or None) if "kind = 'restriction'" in query else "c"

    async def into_earlier(self) -> bool:
        return False

    def has_begun(self, row: Row) -> bool:
        return False

    async def rows(self) -> list[Row]:
        return self._rows

    async def source_key(self) -> str:
        return "DOCS"

    async def key_on_site(self, key: str) -> str:
        return key

    async def space(self) -> Any:
        return SimpleNamespace(description="marker")

    async def target(self, kind: Kind, id: str) -> str:
        return f"t{id}"

    async def account(self, id: str) -> str | None:
        return f"712020:{id}" if id != "gone" else None

    async def group(self, name: str) -> str | None:
        return f"group {name}" if name != "gone" else None


def opening_job(**more: Any) -> Any:
    rows = [Row(Kind.PERMISSION, permission.id, n) for n, permission in enumerate(PERMISSIONS)]
    return FakeJob(FakeSite(), FakeSource(), rows, **more)


async def test_a_space_is_opened_to_those_whom_the_source_lets_in() -> None:
    job = opening_job()
    await opening.open_space(job)
    assert job.site.granted == [("group staff", "read space"), ("group staff", "create page")]
    assert job.site.description == "all about it"
    assert all(entity.outcome is Outcome.MIGRATED for entity in job.claim.ended)


async def test_a_space_with_a_restriction_that_could_not_be_set_stays_closed() -> None:
    job = opening_job(closed=True)
    await opening.open_space(job)
    assert job.site.granted == []
    assert {(e.outcome, e.reason) for e in job.claim.ended} == {(Outcome.SKIPPED, Reason.KEPT_PRIVATE)}


async def restricted(site: FakeSite, *holders: Restriction) -> Entity:
    job: Any = FakeJob(site, FakeSource(holders), [Row(Kind.RESTRICTION, "9", parent="page")])
    await details.restrictions(job)
    (entity,) = job.claim.ended
    return entity  # type: ignore[no-any-return]


async def test_a_restriction_that_the_site_refuses_closes_the_page_and_is_told() -> None:
    site = FakeSite(refused="712020:ann")
    entity = await restricted(site, Restriction(operation="read", person="ann", group=None))
    assert site.restrictions == {"t9": {"read": ([ME], [])}}
    assert (entity.outcome, entity.reason) == (Outcome.FAILED, Reason.KEPT_PRIVATE)


@pytest.mark.parametrize("person", ["gone", None])
async def test_a_page_whose_readers_are_not_on_the_site_stays_closed(person: str | None) -> None:
    site = FakeSite()
    entity = await restricted(
        site, Restriction(operation="read", person=person, group=None if person is not None else "gone")
    )
    assert site.restrictions == {"t9": {"read": ([ME], [])}}
    assert (entity.outcome, entity.reason) == (Outcome.MIGRATED, Reason.KEPT_CLOSED)
