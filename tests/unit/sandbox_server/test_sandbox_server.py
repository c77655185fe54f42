"""The stand-in is strict where Confluence Server and Data Center are strict, and no kinder."""

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import httpx_aiohttp
import pytest
from starlette.applications import Starlette

from tests.unit.sandbox_server.serving import instance, serving

TOKEN = {"Authorization": "Bearer sandbox-pat"}


def basic(name: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


@asynccontextmanager
async def asking(
    app: Starlette, headers: dict[str, str] | None = None, context: str = ""
) -> AsyncIterator[httpx.AsyncClient]:
    async with (
        serving(app, context) as url,
        httpx.AsyncClient(
            base_url=url, headers=TOKEN if headers is None else headers, transport=httpx_aiohttp.AiohttpTransport()
        ) as client,
    ):
        yield client


ALL = ("5.10.8", "6.13.2", "7.4.0", "7.19.0", "8.2.0", "8.3.0", "8.5.6", "9.0.1", "9.2.1", "10.0.3")

#: Path, and the first version (of those above) that has it.
SINCE = {
    "/rest/applinks/1.0/manifest": "5.10.8",
    "/rest/api/space": "5.10.8",
    "/rest/api/space/SKY/content/page": "5.10.8",
    "/rest/api/content?spaceKey=SKY": "5.10.8",
    "/rest/api/content/search?cql=type=page": "5.10.8",
    "/rest/api/content/{page}": "5.10.8",
    "/rest/api/content/{page}/history": "5.10.8",
    "/rest/api/content/{page}?status=historical&version=1": "5.10.8",
    "/rest/api/content/{page}/child/comment": "5.10.8",
    "/rest/api/content/{page}/child/attachment": "5.10.8",
    "/rest/api/content/{page}/label": "5.10.8",
    "/rest/api/content/{page}/property": "5.10.8",
    "/rest/api/group": "5.10.8",
    "/rest/api/group/observers/member": "5.10.8",
    "/rest/api/user?username=otis": "6.13.2",
    "/rest/api/user/current": "6.13.2",
    "/rest/api/user/memberof?username=otis": "6.13.2",
    "/rest/api/search?cql=type=page": "6.13.2",
    "/rest/api/content/{page}/restriction/byOperation": "6.13.2",
    "/rest/api/content/scan?spaceKey=SKY": "7.19.0",
    "/rest/api/backup-restore/jobs": "8.3.0",
    "/rest/api/user/list": "8.5.6",
    "/rest/api/server-information": "9.2.1",
    "/rest/api/space/SKY/permissions": "9.2.1",
    "/rest/api/group/observers/groupmember": "10.0.3",
    "/rest/api/content/{page}/watchers": "10.0.3",
    "/rest/api/space/SKY/watchers": "10.0.3",
}


@pytest.mark.parametrize("version", ALL)
async def test_an_endpoint_is_there_exactly_in_the_versions_that_have_it(version: str) -> None:
    app = instance(version)
    page = next(c for c in app.state.instance.contents.values() if c.kind == "page")
    async with asking(app, basic("admin", "admin")) as client:
        for path, since in SINCE.items():
            status = (await client.get(path.format(page=page.id))).status_code
            assert status == (200 if ALL.index(version) >= ALL.index(since) else 404), path
        assert (await client.get("/rest/api/nothing")).status_code == 404
        answer = await client.post("/rpc/json-rpc/confluenceservice-v2/getUser", json=["otis"])
        assert (answer.status_code == 200) == (int(version.split(".", maxsplit=1)[0]) < 9)


@pytest.mark.parametrize("version", ALL)
async def test_what_an_answer_tells_depends_on_the_version(version: str) -> None:
    app = instance(version)
    page = next(c for c in app.state.instance.contents.values() if c.title == "Who to Call")
    here = ALL.index(version)
    async with asking(app, basic("admin", "admin")) as client:
        answer = await client.get(f"/rest/api/content/{page.id}?expand=restrictions.read.restrictions.group,version")
        row = answer.json()
        assert ("restrictions" in row) == (here >= ALL.index("6.13.2"))
        assert ("position" in row) == (here >= ALL.index("9.0.1"))
        assert ("X-RateLimit-Limit" in answer.headers) == (here >= ALL.index("7.4.0"))
        member = (await client.get("/rest/api/group/observers/member?expand=status")).json()["results"][0]
        assert ("status" in member) == (here >= ALL.index("7.4.0"))
        space = (await client.get("/rest/api/space/SKY?expand=creator")).json()
        assert (("status" in space), ("creator" in space)) == (here >= ALL.index("8.2.0"), here >= ALL.index("10.0.3"))


async def test_a_bad_token_is_answered_200_as_anonymous_who_sees_no_content() -> None:
    async with asking(instance("8.5.6"), {"Authorization": "Bearer nonsense"}) as client:
        me = await client.get("/rest/api/user/current")
        assert (me.status_code, me.json()["type"]) == (200, "anonymous")
        listed = (await client.get("/rest/api/space")).json()["results"]
        assert [s["key"] for s in listed] == ["SKY"]  # the one that is open to everybody
        answer = await client.get("/rest/api/content?spaceKey=OPS")
        assert (answer.status_code, answer.json()["results"]) == (200, [])


async def test_tokens_are_unknown_before_7_9() -> None:
    async with asking(instance("7.4.0")) as client:
        assert (await client.get("/rest/api/user/current")).json()["type"] == "anonymous"
    async with asking(instance("7.19.0")) as client:
        assert (await client.get("/rest/api/user/current")).json()["type"] == "known"


async def test_three_bad_passwords_ask_for_a_captcha_that_shuts_the_right_password_out_too() -> None:
    async with asking(instance("8.5.6"), {}) as client:
        for _ in range(3):
            answer = await client.get("/rest/api/user/current", headers=basic("admin", "wrong"))
            assert answer.status_code == 401
            assert answer.headers["X-Seraph-LoginReason"] == "AUTHENTICATED_FAILED"
        answer = await client.get("/rest/api/user/current", headers=basic("admin", "admin"))
        assert answer.status_code == 403
        assert answer.headers["X-Authentication-Denied-Reason"].startswith("CAPTCHA_CHALLENGE")
        assert (await client.get("/rest/api/user/current", headers=basic("otis", "otis"))).status_code == 200


async def test_a_disabled_user_cannot_log_in() -> None:
    async with asking(instance("8.5.6"), basic("wendel", "wendel")) as client:
        assert (await client.get("/rest/api/user/current")).status_code == 401


@pytest.mark.parametrize(("expand", "cut"), [("", 500), ("version", 200), ("body.storage,version", 50)])
async def test_pages_are_silently_cut_and_only_next_tells(expand: str, cut: int) -> None:
    app = instance("8.5.6", generate={"spaces": 1, "pages": 620})
    (key,) = app.state.instance.spaces
    async with asking(app) as client:
        for path in ("/rest/api/content", "/rest/api/content/scan"):
            parameters = {"spaceKey": key, "type": "page", "limit": "5000"} | (
                {"expand": expand} if expand else {"expand": ""}
            )
            answer = (await client.get(path, params=parameters)).json()
            assert (answer["limit"], answer["size"], len(answer["results"])) == (cut, cut, cut)
            ids = [r["id"] for r in answer["results"]]
            while "next" in answer["_links"]:
                assert answer["_links"]["next"].startswith(path)
                answer = (await client.get(answer["_links"]["next"])).json()
                ids += [r["id"] for r in answer["results"]]
            assert len(ids) == len(set(ids)) == 620


async def test_what_may_not_be_seen_is_answered_as_what_is_not_there() -> None:
    app = instance("8.5.6")
    held = app.state.instance
    restricted = next(c for c in held.contents.values() if c.title == "Who to Call")
    async with asking(app, basic("bram.oake", "bram.oake")) as client:
        hidden = await client.get(f"/rest/api/content/{restricted.id}")
        absent = await client.get("/rest/api/content/1")
        assert hidden.status_code == absent.status_code == 404
        assert hidden.json() | {"message": ""} == absent.json() | {"message": ""}
        assert set(hidden.json()) == {"statusCode", "data", "message", "reason"}
        assert hidden.json()["message"].startswith(
            "com.atlassian.confluence.api.service.exceptions.NotFoundException: "
        )
        titles = [r["title"] for r in (await client.get("/rest/api/content?spaceKey=OPS&limit=200")).json()["results"]]
        assert "Power Loss" in titles
        assert "Who to Call" not in titles


async def test_restrictions_of_a_page_hide_what_is_below_it_and_what_hangs_on_it() -> None:
    app = instance("8.5.6", "south")
    held = app.state.instance
    hidden = next(c for c in held.contents.values() if c.title == "key plan.txt")
    async with asking(app, basic("doreen", "doreen")) as client:
        assert (await client.get(f"/rest/api/content/{hidden.id}")).status_code == 404
        assert (await client.get(f"/download/attachments/{hidden.container}/key%20plan.txt")).status_code == 404
    async with asking(app, {}) as client:
        answer = await client.get(f"/download/attachments/{hidden.container}/key%20plan.txt")
        assert answer.status_code == 302
        assert "/login.action" in answer.headers["location"]


async def test_no_rest_answer_tells_an_address() -> None:
    for version in ("7.19.0", "8.5.6", "10.0.3"):
        async with asking(instance(version)) as client:
            for path in (
                "/rest/api/user?username=admin",
                "/rest/api/user/current",
                "/rest/api/user/list",
                "/rest/api/group/confluence-users/member",
            ):
                answer = await client.get(path, params={"expand": "status,details.personal"})
                assert "@example" not in answer.text


async def test_every_write_is_refused_and_noted() -> None:
    app = instance("8.5.6")
    page = next(c for c in app.state.instance.contents.values() if c.kind == "page")
    async with asking(app) as client:
        before = repr(app.state.instance)
        writes: list[tuple[str, str]] = [
            ("POST", "/rest/api/content"),
            ("PUT", f"/rest/api/content/{page.id}"),
            ("DELETE", f"/rest/api/content/{page.id}"),
            ("POST", "/rest/api/space"),
            ("POST", f"/rest/api/content/{page.id}/label"),
        ]
        for method, path in writes:
            answer = await client.request(method, path, json={"title": "x"})
            assert answer.status_code == 403, path
        assert (await client.post("/rest/api/user/current")).text == "XSRF check failed"
        assert (await client.post("/rpc/json-rpc/confluenceservice-v2/storePage", json=[{}])).json()["error"]
        assert (await client.post("/rpc/json-rpc/confluenceservice-v2/getGroups", json=[])).json()
        noted = [(e["method"], e["path"], e["write"], e["user"]) for e in app.state.journal]
        assert noted[:5] == [(m, p, True, "admin") for m, p in writes]
        assert [w for _, _, w, _ in noted[5:]] == [True, True, False]
        assert repr(app.state.instance) == before


async def test_old_versions_of_pages_and_files_are_there() -> None:
    app = instance("8.5.6")
    held = app.state.instance
    page = next(c for c in held.contents.values() if c.kind == "page" and c.version == 3)
    file = next(c for c in held.contents.values() if c.title == "timetable.csv")
    async with asking(app) as client:
        old = await client.get(f"/rest/api/content/{page.id}?status=historical&version=1&expand=body.storage,version")
        assert (old.json()["version"]["number"], old.json()["status"]) == (1, "historical")
        assert (await client.get(f"/rest/api/content/{page.id}?status=historical&version=9")).status_code == 404
        assert (await client.get(f"/rest/api/content/{page.id}/version")).status_code == 404
        assert len((await client.get(f"/rest/experimental/content/{page.id}/version")).json()["results"]) == 3
        path = f"/download/attachments/{file.container}/timetable.csv"
        assert (await client.get(path)).content == held.file(file)
        assert (await client.get(path, params={"version": "1"})).content == held.file(file, 1)
        head = await client.head(path)
        assert (head.headers["content-length"], head.content) == (str(file.size), b"")


async def test_trashed_content_is_only_found_when_any_status_is_asked_for() -> None:
    async with asking(instance("8.5.6")) as client:
        for status, there in (("current", False), ("any", True)):
            answer = await client.get("/rest/api/content", params={"spaceKey": "SKY", "status": status, "limit": "100"})
            assert ("Withdrawn Plate" in answer.text) == there
            assert "Unfinished Plate" not in answer.text


@pytest.mark.parametrize(
    ("cql", "found"),
    [
        ('space="SKY" and type=attachment and title="plate.png"', 3),
        ('space = SKY AND type in (page, blogpost) AND label = "plate"', 2),
        ('type=comment and space="OLD"', 0),
        ('space="SKY" and type=page and title ~ "night" order by id desc', 4),
        ('type=page and space != "SKY" and space not in ("OPS")', 5),
    ],
)
async def test_the_queries_of_a_migration_are_answered(cql: str, found: int) -> None:
    async with asking(instance("8.5.6")) as client:
        answer = (await client.get("/rest/api/content/search", params={"cql": cql, "limit": "100"})).json()
        assert (answer["size"], answer["totalSize"]) == (found, found)


@pytest.mark.parametrize("cql", ["", "space=", "nonsense(", 'color="red"', "type=page or type=comment"])
async def test_a_query_that_is_none_is_refused(cql: str) -> None:
    async with asking(instance("8.5.6")) as client:
        assert (await client.get("/rest/api/content/search", params={"cql": cql})).status_code == 400


async def test_links_name_the_address_that_was_asked_unless_one_is_configured() -> None:
    async with asking(instance("8.5.6", context="/wiki"), context="/wiki") as client:
        answer = (await client.get("/rest/api/content?spaceKey=SKY&limit=1")).json()
        assert answer["_links"]["base"] == str(client.base_url).rstrip("/")
        assert answer["_links"]["context"] == "/wiki"
        assert answer["_links"]["next"].startswith("/rest/api/content?")
    async with asking(instance("8.5.6", base_url="https://wiki.example.com")) as client:
        answer = (await client.get("/rest/api/content?spaceKey=SKY&limit=1")).json()
        assert answer["_links"]["base"] == "https://wiki.example.com"


async def test_addresses_of_pages_are_those_of_the_version() -> None:
    for version, start in (("8.5.6", "/display/SKY/"), ("9.2.1", "/spaces/SKY/pages/")):
        async with asking(instance(version)) as client:
            row: dict[str, Any] = (await client.get("/rest/api/content?spaceKey=SKY&limit=1")).json()["results"][0]
            assert row["_links"]["webui"].startswith(start)
            assert ("position" in row) == (version == "9.2.1")
