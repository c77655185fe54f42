"""Who gets an account, access and groups: the executor's phases against a sandbox site, its seats before and after."""

from collections.abc import AsyncIterator
from itertools import count
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from sandbox.app import Instance, Sandbox
from services.executor.following import Chain
from services.executor.job import Row
from services.executor.phases import people
from shared.confluence.access import STANDINGS, access_group, rule
from shared.confluence.cloud import CloudSite
from shared.events.catalog.work import AccessRule, Entity, Kind, Outcome
from shared.events.database import open_pool
from shared.events.reasons import Reason
from shared.events.types import new_id
from tests.servers import Database

_names = count()
ANN = "ann@example.com"
BEFORE: dict[str, list[dict[str, Any]]] = {
    "absent": [],
    "without": [{"email": ANN, "access": []}],
    "with": [{"email": ANN, "access": ["confluence"]}],
}


def cloud_of(sandbox: Sandbox, name: str) -> Any:
    """The site behind its front: what it holds, not what it answers."""
    return sandbox.fronts[name].back.site


class Claim:
    def __init__(self) -> None:
        self.look_first = self.one_by_one = self.draining = self.give_up_first = False
        self.progress: dict[str, Any] = {}
        self.ended: list[Entity] = []

    async def end(self, entities: list[Entity]) -> None:
        self.ended = list(entities)


class Town:
    """A source with Ann in the group staff and in site-admins, and a site."""

    def __init__(self, sandbox: Sandbox, name: str, site: CloudSite, pool: Any) -> None:
        self.cloud, self.site, self.pool = cloud_of(sandbox, name), site, pool
        self.name, self.admin = name, f"{sandbox.admin_url}/sites/{name}"
        self.site_id, self.source, self.plan, self.map = new_id(), new_id(), new_id(), None
        self.ann, self.staff, self.admins = new_id(), new_id(), new_id()
        self.users = "all"

    async def settle(self, *, enabled: bool = True, email: str = ANN) -> None:
        await self.pool.execute(
            "INSERT INTO people.person (key, source, id, username, email, active, address)"
            " VALUES ($1, $2, 'u1', 'ann', $3, $4, 'usable')",
            self.ann,
            self.source,
            email,
            enabled,
        )
        for key, name in ((self.staff, "staff"), (self.admins, "Site-Admins")):
            await self.pool.execute("INSERT INTO people.source_group VALUES ($1, $2, $3)", key, self.source, name)

    async def phase(self, run: Any, *rows: Row) -> list[Entity]:
        async def listed() -> list[Row]:
            return list(rows)

        claim = Claim()
        saved = SimpleNamespace(plan=self.plan, map=self.map, users=self.users, follow=None)
        job: Any = SimpleNamespace(
            claim=claim,
            pool=self.pool,
            site=self.site,
            site_id=self.site_id,
            source_id=self.source,
            saved=saved,
            rows=listed,
            chain=Chain(plans=(self.plan,)),
            begun=lambda _: None,
            has_begun=lambda _: False,
        )
        await run(job)
        return claim.ended

    async def move(self, *, along: bool = False) -> tuple[Entity, Entity, Entity]:
        """Ann, the group, and her membership in it."""
        (ann,) = await self.phase(people.users, Row(Kind.USER, self.ann, along=along))
        (staff,) = await self.phase(people.groups, Row(Kind.GROUP, self.staff))
        row = Row(Kind.MEMBERSHIP, new_id(), parent=self.staff, container=self.ann)
        (member,) = await self.phase(people.memberships, row)
        return ann, staff, member

    def groups(self, email: str = ANN) -> set[str]:
        return {self.cloud.groups[id].name for id in self.cloud.by_email[email].groups}

    @property
    def seats(self) -> tuple[int, int]:
        """Licences in use of Confluence and of Jira."""
        return self.cloud.seats_used("confluence"), self.cloud.seats_used("jira")

    async def mails(self) -> list[str]:
        async with httpx.AsyncClient(trust_env=False) as client:
            return [mail["to"] for mail in (await client.get(f"{self.admin}/mails")).json()["mails"]]


@pytest.fixture(scope="module")
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox([]) as running:
        yield running


@pytest.fixture
async def town(sandbox: Sandbox, database: Database) -> AsyncIterator[Any]:
    pool = await open_pool(database.settings("executor"), application="tests")
    sites: list[CloudSite] = []

    async def make(*, org: bool = False, **options: Any) -> Town:
        name = f"town{next(_names)}"
        await sandbox.add(Instance(name, "cloud", 0, options))
        cloud = cloud_of(sandbox, name)
        more: dict[str, Any] = {}
        if org:
            more = {"org_id": cloud.org_id, "org_key": cloud.org_key, "directory_id": cloud.directory_id}
            more["org_url"] = sandbox.url(name)
        sites.append(CloudSite(sandbox.url(name), email="migrator@example.com", token="sandbox-token", **more))
        return Town(sandbox, name, sites[-1], pool)

    yield make
    for site in sites:
        await site.aclose()
    await pool.close()


CELLS = [(e, b, a) for e in (True, False) for b in ("absent", "without", "with") for a in (False, True)]


def cell(enabled: bool, before: str, along: bool) -> str:
    return f"{'enabled' if enabled else 'disabled'}, {before} access, {'along with spaces' if along else 'chosen'}"


@pytest.mark.statement(43, 44, 45, 46, 47, 52, 53, 54, 57, 58)
@pytest.mark.parametrize(("enabled", "before", "along"), CELLS, ids=[cell(*each) for each in CELLS])
async def test_access_is_as_the_table_says(town: Any, enabled: bool, before: str, along: bool) -> None:
    """The site has a Jira group of the same name, which would give access to Jira by the back door."""
    here = await town(users=BEFORE[before], groups=[{"name": "staff", "access": ["jira"]}])
    await here.settle(enabled=enabled)
    seats, had = here.seats, here.groups() if before != "absent" else set()
    ann, staff, member = await here.move(along=along)
    access_group = f"confluence-users-{here.name}"

    gains = enabled and not along  # the only column in which anybody gains anything
    assert here.groups() == had | ({access_group, "staff"} if gains else set())
    seat = int(gains and before != "with")
    assert here.seats == (seats[0] + seat, seats[1] + int(gains))
    assert here.cloud.by_email[ANN].active
    assert (ann.outcome, ann.reason) == (Outcome.MIGRATED, None)
    assert ann.rule == rule(enabled=enabled, before=before, along=along)  # type: ignore[arg-type]
    assert (staff.outcome, staff.merged) == (Outcome.MIGRATED, True)
    expected = (Outcome.MIGRATED, None) if gains else (Outcome.SKIPPED, Reason.ACCESS_WITHHELD)
    assert (member.outcome, member.reason) == expected
    # The table says the same in its own words.
    standing = STANDINGS[ann.rule]
    assert standing.create == (before == "absent")
    assert (standing.grant, standing.memberships) == (gains and before != "with", gains)
    assert standing.seat == ((access_group in had) or gains)


def test_every_row_and_column_of_the_table_is_in_it() -> None:
    assert set(STANDINGS) == set(AccessRule)
    rules = {rule(enabled=e, before=b, along=a) for e, b, a in CELLS}  # type: ignore[arg-type]
    assert rules == set(AccessRule)


@pytest.mark.statement(47)
async def test_a_later_users_run_gives_access_to_who_came_along(town: Any) -> None:
    here = await town()
    await here.settle()
    await here.move(along=True)
    assert here.groups() == set()
    here.plan = new_id()
    ann, _, member = await here.move()
    assert here.groups() == {f"confluence-users-{here.name}", "staff"}
    assert (ann.rule, member.outcome) == (AccessRule.ENABLED_WITHOUT_CHOSEN, Outcome.MIGRATED)


async def test_a_second_attempt_does_not_take_the_firsts_account_for_one_that_was_there(town: Any) -> None:
    here = await town()
    await here.settle()
    row = Row(Kind.USER, here.ann)
    await here.pool.execute("INSERT INTO people.standing VALUES ($1, $2, 'enabled_absent_chosen')", here.plan, here.ann)
    await here.site.create_account(ANN)  # as far as the first attempt got
    (ann,) = await here.phase(people.users, row)
    assert ann.rule is AccessRule.ENABLED_ABSENT_CHOSEN
    assert here.groups() == {f"confluence-users-{here.name}"}


async def test_jira_mails_new_people_and_the_organization_does_not(town: Any) -> None:
    for org, mailed in ((False, [ANN]), (True, [])):
        here = await town(org=org)
        await here.settle()
        assert here.site.mails_new_people is not org
        ann, _, member = await here.move()
        assert (ann.outcome, member.outcome) == (Outcome.MIGRATED, Outcome.MIGRATED)
        assert await here.mails() == mailed
        assert here.groups() == {f"confluence-users-{here.name}", "staff"}


async def test_an_account_that_another_chunk_makes_for_the_same_address_meanwhile_is_taken(town: Any) -> None:
    here = await town()
    await here.settle()
    find = here.site.find_account

    async def just_missed(email: str) -> None:
        here.site.find_account = find
        await here.site.create_account(email)

    here.site.find_account = just_missed
    ann, *_ = await here.move()
    assert ann.outcome is Outcome.MIGRATED, ann


async def test_an_account_that_existed_is_linked_without_a_mail(town: Any) -> None:
    here = await town(users=BEFORE["without"])
    await here.settle(email=ANN.upper())
    await here.move()
    assert await here.mails() == []


async def test_of_several_groups_that_give_access_the_plan_names_one(town: Any) -> None:
    here = await town(groups=[{"name": "editors", "access": ["confluence"]}])
    await here.settle()
    (ann,) = await here.phase(people.users, Row(Kind.USER, here.ann))
    assert (ann.outcome, ann.reason) == (Outcome.FAILED, Reason.ACCESS_GROUP_UNNAMED)
    assert here.groups() == set()
    assert access_group({"a": "1", "b": "2"}, "B") == "2"
    assert access_group({"a": "1"}, None) == "1"
    assert access_group({"a": "1"}, "c") is access_group({}, None) is None


async def test_without_a_seat_the_user_fails_and_says_so(town: Any) -> None:
    here = await town(seats=2)
    await here.settle()
    (ann,) = await here.phase(people.users, Row(Kind.USER, here.ann))
    assert (ann.outcome, ann.reason) == (Outcome.FAILED, Reason.SEATS_EXHAUSTED)


@pytest.mark.statement(15, 16)
async def test_a_generic_group_neither_moves_nor_merges_and_its_member_moves_as_a_user(town: Any) -> None:
    here = await town()
    await here.settle()
    (ann,) = await here.phase(people.users, Row(Kind.USER, here.ann))
    (group,) = await here.phase(people.groups, Row(Kind.GROUP, here.admins))
    row = Row(Kind.MEMBERSHIP, new_id(), parent=here.admins, container=here.ann)
    (member,) = await here.phase(people.memberships, row)
    assert ann.outcome is Outcome.MIGRATED
    assert (group.reason, member.reason) == (Reason.GENERIC_GROUP, Reason.GENERIC_GROUP)
    assert "site-admins" not in here.groups()


async def test_a_group_that_a_directory_owns_is_reported_and_not_written_to(town: Any) -> None:
    here = await town(groups=[{"name": "staff", "synced": True}])
    await here.settle()
    _, staff, member = await here.move()
    assert (staff.outcome, staff.reason) == (Outcome.SKIPPED, Reason.DIRECTORY_GROUP)
    assert (member.outcome, member.reason) == (Outcome.SKIPPED, Reason.DIRECTORY_GROUP)
    assert "staff" not in here.groups()


@pytest.mark.statement(14)
async def test_a_map_renames_merges_and_drops_groups_and_says_whose_account_is_whose(
    town: Any, database: Database
) -> None:
    here = await town(users=[{"email": "other@example.com", "access": []}], groups=["crew"])
    await here.settle()
    owner = await database.connect()
    for name, outcome, groups in (
        ("Team", (Outcome.MIGRATED, None), {"Team"}),
        ("crew", (Outcome.MIGRATED, True), {"Team", "crew"}),
        (None, (Outcome.SKIPPED, None), {"Team", "crew"}),
    ):
        here.map, here.plan = new_id(), new_id()
        await owner.execute("INSERT INTO people.group_map VALUES ($1, $2, $3)", here.map, here.staff, name)
        other = here.cloud.by_email["other@example.com"].id
        await owner.execute("INSERT INTO people.user_map VALUES ($1, $2, $3)", here.map, here.ann, other)
        _, staff, _ = await here.move()
        assert (staff.outcome, staff.merged) == outcome
        assert here.groups("other@example.com") == groups | {f"confluence-users-{here.name}"}
        assert ANN not in here.cloud.by_email
    assert staff.reason is Reason.GROUP_DROPPED
    await owner.close()


def test_a_map_cannot_make_a_generic_group_move_or_merge() -> None:
    assert people.group_outcome("site-admins", True, "x") is Reason.GENERIC_GROUP
    assert people.group_outcome("staff", True, "Atlassian-Addons-Admin") is Reason.GENERIC_GROUP
