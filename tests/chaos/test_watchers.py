"""What the campaigns' watchers would notice, so that their finding nothing means something."""

import random
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.chaos import following
from tests.chaos.campaign import Stage, open_stage
from tests.chaos.scene import MIGRATOR, Site
from tests.chaos.stops import follow
from tests.chaos.watchers import Watch

pytestmark = [pytest.mark.slow, pytest.mark.chaos]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def stage() -> AsyncIterator[Stage]:
    async with open_stage([]) as stage:
        yield stage


async def test_nobody_is_shown_what_is_restricted_or_a_space_before_its_restrictions_are_set(stage: Stage) -> None:
    move, site, _, _ = await stage.onto("bare")
    watch = Watch(site, random.Random(1), pause=0.1)
    report = await watch.over(stage.world, move)
    assert report["status"] == "FINISHED"
    assert await watch.exposures() == []
    viewer, stranger, anonymous = watch.people
    # The control: who may see something is shown it in the end, and everybody looked often.
    assert viewer.spaces.keys() == {"ISLE", "QUAY", "MOLE"}
    assert anonymous.spaces.keys() == {"ISLE"}
    assert min(person.answers for person in (viewer, stranger, anonymous)) > 50


async def test_a_restricted_page_shown_once_is_noticed_and_so_is_a_space_shown_too_early(stage: Stage) -> None:
    _move, site, _, _ = await stage.onto("bare")
    watch = Watch(site, random.Random(2), pause=0.1)
    space = await site.did(MIGRATOR, "POST", "/wiki/rest/api/space", json={"key": "ISLE", "name": "Too early"})
    body = {"representation": "storage", "value": "<p>hushmere</p>"}
    page = {"spaceId": str(space["id"]), "status": "current", "title": "Vault", "body": body}
    made = await site.did(MIGRATOR, "POST", "/wiki/api/v2/pages", json=page)
    for person in watch.people:
        await watch.look(person)
    await restrict(site, str(made["id"]))
    found = await watch.exposures()
    assert any("was shown what is restricted" in sentence for sentence in found)
    assert any("was shown space ISLE before 1 of its restrictions" in sentence for sentence in found)


async def restrict(site: Site, page: str) -> None:
    me = await site.did(MIGRATOR, "GET", "/wiki/rest/api/user/current")
    holders = {"user": [{"type": "known", "accountId": me["accountId"]}], "group": []}
    rule = [{"operation": "read", "restrictions": holders}]
    status, body = await site.ask(MIGRATOR, "PUT", f"/wiki/rest/api/content/{page}/restriction", json=rule)
    assert status == 200, body


async def test_what_was_restricted_since_is_shown_to_nobody_while_it_is_brought(stage: Stage) -> None:
    """Pages that are open on the site until the plan comes, with texts, files and comments that came after they were closed."""
    _, (place,) = await following.prepare(stage, 1)
    before = (await place.site.journal())[-1]["sequence"]
    move = await follow(stage.world, place.plans[0], "delta")
    watch = Watch(place.site, random.Random(3), pause=0.02)
    report = await watch.over(stage.world, move)
    assert (report["status"], report["conserved"]) == ("FINISHED", True), report
    assert await watch.exposures(opened=True) == []
    # Whatever nobody happened to look at: the page was closed before anything was written to it or hung on it.
    effects = [e for entry in await place.site.journal(before) for e in entry["effects"]]
    for title in ("Ledger", "Stones"):
        about = [e["kind"] for e in effects if title in e["identity"]]
        assert about[0] == "restriction", f"{title}: {about}"
        assert len(about) > 1
