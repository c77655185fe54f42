"""Faults on demand, the journal and the counts of what was created."""

import asyncio
from typing import Any

import httpx
import pytest

from sandbox.front import Latency
from tests.unit.sandbox_cloud.conftest import Site

PAGES = {"method": "POST", "route": "/wiki/api/v2/pages"}


def new_page(space: dict[str, Any], title: str) -> dict[str, Any]:
    return {"spaceId": str(space["id"]), "title": title}


async def exists(site: Site, space: dict[str, Any], title: str) -> bool:
    reply = await site.migrator.get("/wiki/api/v2/pages", params={"space-id": space["id"], "title": title})
    return bool(reply.json()["results"])


@pytest.mark.parametrize(("when", "there"), [("before", False), ("after", True)])
async def test_a_5xx_comes_before_or_after_the_write_took_effect(site: Site, when: str, there: bool) -> None:
    space = await site.space()
    await site.fault(**PAGES, action="status", when=when, status=502)
    reply = await site.migrator.post("/wiki/api/v2/pages", json=new_page(space, "T"))
    assert reply.status_code == 502
    assert await exists(site, space, "T") is there


@pytest.mark.parametrize(("when", "there"), [("before", False), ("after", True), ("mid-body", True)])
async def test_a_connection_is_cut_before_or_after_the_effect_or_in_the_answer(
    site: Site, when: str, there: bool
) -> None:
    space = await site.space()
    await site.fault(**PAGES, action="close", when=when)
    with pytest.raises(httpx.TransportError):
        await site.migrator.post("/wiki/api/v2/pages", json=new_page(space, "T"))
    assert await exists(site, space, "T") is there
    entry = [item for item in (await site.admin.get("/journal")).json()["entries"] if item["answered"] == "closed"]
    assert [item["route"] for item in entry] == ["/wiki/api/v2/pages"]
    assert bool(entry[0]["effects"]) is there


async def test_a_429_may_name_its_seconds_or_not_and_changes_nothing(site: Site) -> None:
    space = await site.space()
    await site.fault(**PAGES, action="status", status=429, retry_after=7)
    await site.fault(**PAGES, action="status", status=429)
    first = await site.migrator.post("/wiki/api/v2/pages", json=new_page(space, "T"))
    second = await site.migrator.post("/wiki/api/v2/pages", json=new_page(space, "T"))
    third = await site.migrator.post("/wiki/api/v2/pages", json=new_page(space, "T"))
    assert [reply.status_code for reply in (first, second, third)] == [429, 429, 200]
    assert first.headers["retry-after"] == "7"
    assert "retry-after" not in second.headers


async def test_an_answer_is_held_while_the_effect_is_taken_until_it_is_released(site: Site) -> None:
    space = await site.space()
    rule = await site.fault(**PAGES, action="hold", contains="Held")
    await site.page(space, "Free")
    held = asyncio.create_task(site.migrator.post("/wiki/api/v2/pages", json=new_page(space, "Held")))
    while not (await site.admin.get("/faults")).json()["faults"][0]["holding"]:
        await asyncio.sleep(0.01)
    assert await exists(site, space, "Held")
    assert not held.done()
    assert (await site.admin.post(f"/faults/{rule}/release")).status_code == 204
    assert (await held).status_code == 200
    faults = (await site.admin.get("/faults")).json()["faults"]
    assert (faults[0]["fired"], faults[0]["holding"]) == (1, 0)


async def test_a_client_that_goes_away_ends_the_hold(site: Site) -> None:
    space = await site.space()
    await site.fault(**PAGES, action="hold")
    impatient = site.client(("migrator@example.com", "sandbox-token"))
    with pytest.raises(httpx.ReadTimeout):
        await impatient.post("/wiki/api/v2/pages", json=new_page(space, "T"), timeout=0.2)
    while (await site.admin.get("/faults")).json()["faults"][0]["holding"]:
        await asyncio.sleep(0.01)
    assert await exists(site, space, "T")


async def test_the_nth_requests_fail_and_the_same_seed_fails_the_same_ones(site: Site) -> None:
    space = await site.space()
    path = f"/wiki/api/v2/spaces/{space['id']}"
    route = {"method": "GET", "route": "/wiki/api/v2/spaces/{id}"}

    async def run() -> list[int]:
        statuses = [(await site.migrator.get(path)).status_code for _ in range(12)]
        await site.admin.delete("/faults")
        return statuses

    await site.fault(**route, nth=3, count=2, status=500)
    assert await run() == [200, 200, 500, 500] + [200] * 8
    seeded = {"count": None, "probability": 0.5, "seed": 11, "status": 504}
    await site.fault(**route, **seeded)
    first = await run()
    await site.fault(**route, **seeded)
    assert await run() == first
    assert {200, 504} == set(first)


async def test_a_rule_that_cannot_be_read_is_refused(site: Site) -> None:
    for rule in ({"acton": "close"}, {"action": "explode"}, {"action": "delay"}, {"nth": "first"}, 7):
        assert (await site.admin.post("/faults", json=rule)).status_code == 400


async def test_the_journal_holds_every_request_with_its_effect_in_order(site: Site) -> None:
    space = await site.space()
    page = await site.page(space, "T")
    await site.reader.get(f"/wiki/api/v2/pages/{page['id']}?body-format=storage")
    await site.anonymous.get(f"/wiki/api/v2/pages/{page['id']}")
    journal = (await site.admin.get("/journal")).json()
    assert [(item["method"], item["route"], item["account"], item["status"]) for item in journal["entries"]] == [
        ("POST", "/wiki/rest/api/space", "migrator@example.com", 200),
        ("POST", "/wiki/api/v2/pages", "migrator@example.com", 200),
        ("GET", "/wiki/api/v2/pages/{id}", "reader@example.com", 200),
        ("GET", "/wiki/api/v2/pages/{id}", "anonymous", 404),
    ]
    assert journal["entries"][1]["effects"] == [
        {"verb": "created", "kind": "page", "id": page["id"], "identity": "page ENG/T"}
    ]
    later = (await site.admin.get("/journal", params={"after": 2})).json()["entries"]
    assert [item["sequence"] for item in later] == [3, 4]


async def test_an_object_that_was_created_twice_is_told_by_what_it_is(site: Site) -> None:
    page = await site.page(await site.space(), "T")
    body = {"representation": "storage", "value": "<p>c</p>"}
    for _ in range(2):
        await site.migrator.post("/wiki/api/v2/footer-comments", json={"pageId": page["id"], "body": body})
    twice = (await site.admin.get("/created", params={"least": 2})).json()["created"]
    assert [(item["kind"], item["times"]) for item in twice] == [("comment", 2)]
    kinds = {item["kind"] for item in (await site.admin.get("/created")).json()["created"]}
    assert kinds == {"space", "page", "comment"}


async def test_the_same_seed_draws_the_same_latencies_whatever_the_distribution():
    for option in ({"max": 2.0}, {"median": 0.1, "sigma": 1.0, "max": 2.0}, {"mean": 0.1, "max": 2.0}):
        one, other = (Latency({**option, "seed": 3}) for _ in range(2))
        drawn = [one.next() for _ in range(50)]
        assert drawn == [other.next() for _ in range(50)]
        assert len(set(drawn)) > 40 and max(drawn) <= 2.0
    with pytest.raises(ValueError, match="latency must be"):
        Latency({"median": 1})


async def test_a_space_is_deleted_under_the_request_that_a_rule_names(site: Site):
    space = await site.space("ENG")
    await site.fault(route="/wiki/api/v2/pages", action="do", what="delete-space", space="ENG", nth=2)
    await site.page(space, "One")
    body = {"spaceId": str(space["id"]), "status": "current", "title": "Two", "body": {}}
    assert (await site.migrator.post("/wiki/api/v2/pages", json=body)).status_code == 404


async def test_storage_is_full_until_it_is_freed(site: Site):
    page = await site.page(await site.space("ENG"), "One")
    await site.fault(route="*/child/attachment", action="do", what="storage-full")
    full = await site.attach(page["id"], "a.txt", b"a")
    assert (full.status_code, "storage limit" in full.json()["message"]) == (400, True)
    await site.fault(route="*/child/attachment", action="do", what="storage-free")
    assert (await site.attach(page["id"], "a.txt", b"a")).status_code == 200


async def test_tokens_expire_and_their_owners_are_anonymous_from_then_on(site: Site):
    await site.fault(route="*/user/current", action="do", what="expire-tokens", account="migrator@example.com")
    assert (await site.migrator.get("/wiki/rest/api/user/current")).json()["type"] == "anonymous"
    assert (await site.reader.get("/wiki/rest/api/user/current")).json()["type"] == "known"


async def test_a_slow_answer_comes_whole(site: Site):
    await site.fault(route="*/user/current", action="slow", bytes_per_second=20_000)
    assert (await site.migrator.get("/wiki/rest/api/user/current")).json()["type"] == "known"


async def test_who_asks_too_often_is_told_when_to_come_back(make_site: Any):
    site = await make_site(rate_limit={"per_second": 0.01, "burst": 2})
    answers = [await site.migrator.get("/wiki/rest/api/user/current") for _ in range(3)]
    assert [reply.status_code for reply in answers] == [200, 200, 429]
    assert int(answers[2].headers["retry-after"]) > 0
    assert answers[2].headers["x-ratelimit-remaining"] == "0"
    assert (await site.reader.get("/wiki/rest/api/user/current")).status_code == 200


async def test_faults_can_be_there_from_the_start(make_site: Any):
    site = await make_site(faults=[{"route": "*/user/current", "status": 502}])
    failed = await site.migrator.get("/wiki/rest/api/user/current")
    assert (failed.status_code, failed.headers["content-type"]) == (502, "text/html")
    assert (await site.migrator.get("/wiki/rest/api/user/current")).status_code == 200


async def test_the_journal_is_asked_for_the_entries_that_matter(site: Site):
    space = await site.space()
    page = await site.page(space, "One")
    await site.page(space, "Two")
    await site.reader.get(f"/wiki/api/v2/pages/{page['id']}")
    await site.anonymous.get(f"/wiki/api/v2/pages/{page['id']}")

    async def sequences(**filters: str) -> list[int]:
        return [each["sequence"] for each in (await site.admin.get("/journal", params=filters)).json()["entries"]]

    assert await sequences(method="GET") == [4, 5]
    assert await sequences(route="*/pages/{id}", account="reader@example.com") == [4]
    assert await sequences(status="404") == [5]
    assert await sequences(verb="created", kind="page") == [2, 3]
    assert await sequences(identity="page ENG/T*") == [3]
    assert await sequences(verb="deleted") == []
    assert await sequences(kind="page", limit="1", after="2") == [3]


async def test_it_is_known_who_could_read_what_from_which_request_on(make_site: Any):
    site = await make_site(watched=["reader@example.com", "anonymous"])
    space = await site.space(private=True)
    page, closed = await site.page(space, "Open"), await site.page(space, "Closed")
    me = (await site.migrator.get("/wiki/rest/api/user/current")).json()["accountId"]
    only_me = {"operation": "read", "restrictions": {"user": [{"type": "known", "accountId": me}]}}
    await site.migrator.put(f"/wiki/rest/api/content/{closed['id']}/restriction", json=[only_me])
    reader = (await site.reader.get("/wiki/rest/api/user/current")).json()["accountId"]
    permission = {"subject": {"type": "user", "identifier": reader}, "operation": {"key": "read", "target": "space"}}
    given = await site.migrator.post("/wiki/rest/api/space/ENG/permission", json=permission)
    await site.migrator.put(f"/wiki/rest/api/content/{page['id']}/restriction", json=[only_me])
    await site.migrator.delete(f"/wiki/rest/api/content/{page['id']}/restriction")
    await site.migrator.delete(f"/wiki/rest/api/space/ENG/permission/{given.json()['id']}")
    turns = (await site.admin.get("/access", params={"account": "reader@example.com"})).json()["turns"]
    told = [(each["verb"], each["identity"]) for each in turns]
    home = "page ENG/Space ENG"
    assert set(told[:3]) == {("gained", "space ENG"), ("gained", home), ("gained", "page ENG/Open")}
    assert told[3:5] == [("lost", "page ENG/Open"), ("gained", "page ENG/Open")]
    assert set(told[5:]) == {("lost", "space ENG"), ("lost", home), ("lost", "page ENG/Open")}
    assert not any("Closed" in identity for _, identity in told)
    assert (await site.admin.get("/access", params={"account": "anonymous"})).json()["turns"] == []
    granted = (await site.admin.get("/journal", params={"kind": "permission", "verb": "created"})).json()["entries"]
    assert turns[0]["sequence"] == granted[-1]["sequence"]
