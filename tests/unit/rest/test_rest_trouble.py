"""What goes wrong at a source is told apart, said without secrets, and never taken for an empty source."""

import asyncio
import re
import socket
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import (
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Route

from shared.confluence.rest import RestSource
from shared.confluence.rest import client as rest_client
from shared.confluence.source import (
    NotInSource,
    Source,
    SourceError,
    SourceUnauthorized,
    SourceUnreachable,
    SourceUnsupported,
)
from tests.unit.sandbox_server.serving import instance, serving


def reader(url: str, token: str | None = "sandbox-pat", **other: Any) -> RestSource:
    return RestSource(
        url, token=token, username=other.pop("username", None), password=other.pop("password", None), **other
    )


async def all_of(rows: AsyncIterator[Any]) -> list[Any]:
    return [row async for row in rows]


@pytest.mark.parametrize(
    ("version", "build"),
    [
        ("5.10.8", 6508),
        ("6.13.2", 7532),
        ("7.4.1", 8041),
        ("7.19.0", 8190),
        ("8.5.6", 9056),
        ("9.2.1", 9221),
        ("10.0.3", 10003),
    ],
)
async def test_version_and_build_are_found_on_every_version(version: str, build: int) -> None:
    async with serving(instance(version)) as url:
        source = reader(url, None, username="admin", password="admin")
        info = await source.info()
        assert (info.product, info.version, info.build, info.base_url) == ("server", version, build, url)
        assert info.instance == url.removeprefix("http://")
        await source.close()


async def test_a_wrong_token_that_is_answered_as_anonymous_is_refused_everywhere() -> None:
    async with serving(instance("8.5.6")) as url:
        source = reader(url, "expired-token")
        for asked in (
            source.info(),
            all_of(source.spaces()),
            all_of(source.people()),
            all_of(source.groups()),
            source.space_by_key("OPS"),
            source.find_content("OPS", "Power Loss"),
            source.content("98310"),
            source.person("8a80"),
        ):
            with pytest.raises(SourceUnauthorized) as caught:
                await asked
            assert "expired-token" not in str(caught.value)
        await source.close()


async def test_a_token_that_ends_in_the_middle_of_a_listing_is_no_shorter_listing() -> None:
    tokens = {"sandbox-pat": "admin"}
    app = instance("8.5.6")
    async with serving(app) as url:
        source = reader(url)
        sky = await source.space_by_key("SKY")
        assert sky

        async def expire(request: Request) -> Response | None:
            if request.url.path.endswith("/content/scan"):
                request.scope["headers"] = [h for h in request.scope["headers"] if h[0] != b"authorization"]
                tokens.clear()
            if not tokens and request.url.path.endswith("/user/current"):
                return JSONResponse({"type": "anonymous", "displayName": "Anonymous"})
            return None

        app.state.fault = expire
        with pytest.raises(SourceUnauthorized):
            await all_of(source.items(sky.id))
        await source.close()


async def test_no_credential_at_all_is_said_to_be_that() -> None:
    async with serving(instance("8.5.6")) as url:
        source = reader(url, None)
        with pytest.raises(SourceUnauthorized, match="No credential"):
            await source.info()
        await source.close()


async def test_a_wrong_password_is_refused_and_a_captcha_is_named() -> None:
    async with serving(instance("8.5.6")) as url:
        source = reader(url, None, username="admin", password="wrong-one")
        for _ in range(2):
            with pytest.raises(SourceUnauthorized) as caught:
                await source.info()
            assert "wrong-one" not in str(caught.value)
        with pytest.raises(SourceUnauthorized):
            await all_of(source.groups())
        right = reader(url, None, username="admin", password="admin")
        with pytest.raises(SourceUnauthorized, match="CAPTCHA"):
            await right.info()
        await source.close()
        await right.close()


async def test_a_server_that_is_not_there_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest_client, "PAUSES", (0.01,))
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        source = reader(f"http://127.0.0.1:{unused.getsockname()[1]}")
        with pytest.raises(SourceUnreachable, match="Check the address"):
            await source.info()
        await source.close()


async def test_a_server_that_does_not_answer_in_time_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest_client, "PAUSES", (0.01,))

    async def slow(_: Request) -> Response | None:
        await asyncio.sleep(1)
        return None

    app = instance("8.5.6")
    app.state.fault = slow
    async with serving(app) as url:
        source = reader(url, timeout=0.1)
        with pytest.raises(SourceUnreachable, match="in time"):
            await source.info()
        await source.close()


async def page(_: Request) -> Response:
    return HTMLResponse("<html>Hello</html>")


async def jira(_: Request) -> Response:
    return Response("<manifest><typeId>jira</typeId><version>9.1</version></manifest>", media_type="application/xml")


async def cloud(_: Request) -> Response:
    return JSONResponse({"results": [], "_links": {}})


async def moved(_: Request) -> Response:
    return RedirectResponse("https://wiki.example.com/")


async def old(_: Request) -> Response:
    return Response(
        "<manifest><typeId>confluence</typeId><version>5.4.4</version></manifest>", media_type="application/xml"
    )


@pytest.mark.parametrize(
    ("path", "answer", "says"),
    [
        ("/{rest:path}", page, "not JSON"),
        ("/rest/applinks/1.0/manifest", jira, "jira"),
        ("/rest/applinks/1.0/manifest", old, "5.4.4"),
        ("/wiki/api/v2/spaces", cloud, "Cloud"),
        ("/nothing", page, "no Confluence at"),
        ("/{rest:path}", moved, "https://wiki.example.com"),
    ],
)
async def test_what_is_not_a_readable_confluence_is_unsupported(path: str, answer: Any, says: str) -> None:
    async with serving(Starlette(routes=[Route(path, answer)])) as url:
        source = reader(url)
        with pytest.raises(SourceUnsupported, match=says):
            await source.info()
        await source.close()


async def test_an_address_that_is_none_is_refused_at_once() -> None:
    with pytest.raises(SourceUnsupported, match="web address"):
        reader("wiki.example.com")


async def test_retry_after_is_obeyed_and_the_listing_is_whole() -> None:
    app = instance("8.5.6")
    refused: list[str] = []

    async def busy(request: Request) -> Response | None:
        url = str(request.url)
        if url in refused:
            return None
        refused.append(url)
        return PlainTextResponse("", 429 if len(refused) % 2 else 503, {"Retry-After": "0"})

    async with serving(app) as url:
        source = reader(url)
        sky = await source.space_by_key("SKY")
        assert sky
        quiet = [i.id async for i in source.items(sky.id)]
        app.state.fault = busy
        assert [i.id async for i in source.items(sky.id)] == quiet
        assert refused
        await source.close()


async def test_a_wait_beyond_patience_is_unreachable_with_the_wait_named() -> None:
    app = instance("8.5.6")

    async def maintenance(_: Request) -> Response | None:
        return PlainTextResponse("", 503, {"Retry-After": "3600"})

    app.state.fault = maintenance
    async with serving(app) as url:
        source = reader(url)
        with pytest.raises(SourceUnreachable, match="3600 seconds"):
            await source.info()
        await source.close()


async def test_a_server_error_that_passes_is_survived_and_one_that_stays_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rest_client, "PAUSES", (0.0, 0.0))
    app = instance("8.5.6")
    left = 2

    async def broken(_: Request) -> Response | None:
        nonlocal left
        left -= 1
        return PlainTextResponse("", 502) if left >= 0 else None

    app.state.fault = broken
    async with serving(app) as url:
        source = reader(url)
        assert (await source.info()).version == "8.5.6"
        left = 10**6
        with pytest.raises(SourceUnreachable, match="502"):
            await source.info()
        await source.close()


async def test_one_broken_content_is_no_unreachable_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest_client, "PAUSES", (0.0,))
    app = instance("8.5.6")
    page = next(c for c in app.state.instance.contents.values() if c.kind == "page")

    async def broken(request: Request) -> Response | None:
        return PlainTextResponse("", 500) if request.url.path.endswith(f"/content/{page.id}") else None

    app.state.fault = broken
    async with serving(app) as url:
        source = reader(url)
        with pytest.raises(SourceError) as caught:
            await source.content(str(page.id))
        assert not isinstance(caught.value, SourceUnreachable)
        assert (await source.info()).version == "8.5.6"
        await source.close()


def test_the_reader_is_a_source() -> None:
    source: type[Source] = RestSource
    assert source


async def test_a_download_that_is_cut_short_is_an_error_and_not_a_short_file() -> None:
    app = instance("8.5.6")

    async def cut(request: Request) -> Response | None:
        if "/download/" not in request.url.path:
            return None

        async def pieces() -> AsyncIterator[bytes]:
            yield b"half"

        return StreamingResponse(pieces(), headers={"Content-Length": "4000"})

    app.state.fault = cut
    held = next(c for c in app.state.instance.contents.values() if c.kind == "attachment")
    async with serving(app) as url:
        source = reader(url)
        with pytest.raises(SourceUnreachable):
            async with source.open_attachment(str(held.id)) as pieces:
                async for _ in pieces:
                    pass
        await source.close()


async def test_unknown_ids_are_not_in_the_source() -> None:
    app = instance("8.5.6")
    trashed = next(c for c in app.state.instance.contents.values() if c.status == "trashed")
    page = next(c for c in app.state.instance.contents.values() if c.kind == "page")
    async with serving(app) as url:
        source = reader(url)
        for asked in (
            source.space("1"),
            source.content("1"),
            source.content(str(trashed.id)),
            source.comment(str(page.id)),
            source.attachment("../user/current"),
        ):
            with pytest.raises(NotInSource):
                await asked
        assert await source.space_by_key("NOPE") is None
        assert await source.find_content("NOPE", "Power Loss") is None
        assert (await source.space_by_key("~MIRA.halden")) is not None
        await source.close()


async def test_a_list_that_does_not_advance_ends_in_an_error() -> None:
    async def stuck(request: Request) -> Response:
        return JSONResponse({"results": [], "_links": {"next": f"{request.url.path}?{request.url.query}"}})

    async with serving(Starlette(routes=[Route("/rest/api/group", stuck)])) as url:
        source = reader(url)
        with pytest.raises(SourceError, match="does not advance"):
            await all_of(source.groups())
        await source.close()


@pytest.mark.parametrize("version", ["7.4.1", "8.5.6", "10.0.3"])
async def test_an_instance_below_a_context_and_with_another_base_url_is_read_at_the_address_given(version: str) -> None:
    app = instance(version, context="/confluence", base_url="https://wiki.example.com/confluence")
    generated = app.state.instance
    async with serving(app, "/confluence") as url:
        source = reader(url, None, username="admin", password="admin")
        # Links in bodies have the address that the instance has for itself.
        assert (await source.info()).base_url == "https://wiki.example.com/confluence"
        got = [s.key async for s in source.spaces()]
        assert got == sorted(generated.spaces)
        sky = await source.space_by_key("SKY")
        assert sky
        assert len(await all_of(source.items(sky.id))) == sum(
            1 for c in generated.contents.values() if c.space == "SKY" and generated.live(c)
        )
        await source.close()


@pytest.mark.parametrize(("version", "many"), [("7.4.1", 230), ("8.5.6", 450)])
async def test_more_than_a_page_of_everything_is_read_whole(version: str, many: int) -> None:
    size = {"spaces": 2, "pages": many, "users": 250, "attachments": many, "comments": many}
    app = instance(version, generate=size)
    held = app.state.instance
    crowded = next(c for c in held.contents.values() if c.kind == "page")
    for n in range(130):
        crowded.labels += (("global", f"label-{n}"),)
    async with serving(app) as url:
        source = reader(url, None, username="admin", password="admin")
        assert {p.id async for p in source.people()} == set(held.users)
        kinds: dict[str, int] = {}
        ids: set[str] = set()
        async for space in source.spaces():
            async for item in source.items(space.id):
                kinds[item.kind] = kinds.get(item.kind, 0) + 1
                ids.add(item.id)
        live = [c for c in held.contents.values() if held.live(c)]
        assert kinds == Counter(c.kind for c in live)
        assert kinds["page"] == many
        assert ids == {str(c.id) for c in live}
        assert len((await source.content(str(crowded.id))).labels) >= 130
        assert not [e for e in app.state.journal if e["write"]]
        await source.close()


async def test_a_page_of_a_listing_is_asked_for_when_the_one_before_is_used_up() -> None:
    app = instance("8.5.6", generate={"spaces": 1, "pages": 1000, "users": 20})
    async with serving(app) as url:
        source = reader(url)
        (space,) = [s async for s in source.spaces()]
        assert not await source._instance.scans("comment")  # asked for once
        app.state.journal.clear()
        seen = 0
        async for item in source.items(space.id):
            if item.kind == "blogpost":
                break
            asked = sum(1 for e in app.state.journal if e["path"].endswith("/content/scan"))
            assert asked == seen // 200 + 1
            seen += 1
        assert seen == 1000
        await source.close()


async def test_switched_off_remote_api_leaves_addresses_and_permissions_unknown_with_notes() -> None:
    app = instance("8.5.6", rpc=False)
    async with serving(app) as url:
        source = reader(url)
        assert {p.email async for p in source.people()} == {None}
        ops = await source.space_by_key("OPS")
        assert ops
        assert await all_of(source.permissions(ops.id)) == []
        assert {n.code for n in await source.notes()} >= {"emails_not_readable", "permissions_not_readable"}
        await source.close()


async def test_a_server_that_limits_the_rate_and_lets_only_browsers_in_is_read_whole() -> None:
    app = instance("8.5.6", "south", rate_limit={"capacity": 60, "fill_rate": 60, "interval": 1}, firewall=True)
    held = app.state.instance
    async with serving(app) as url:
        source = reader(url)
        items = [i async for s in source.spaces() async for i in source.items(s.id)]
        assert {i.id for i in items} == {str(c.id) for c in held.contents.values() if held.live(c)}
        assert [e for e in app.state.journal if e["status"] == 429], "the limit was met"
        await source.close()


@pytest.mark.parametrize("version", ["5.10.8", "7.19.0", "10.0.3"])
async def test_an_inventory_asks_for_lists_and_one_by_one_only_for_what_no_list_tells(version: str) -> None:
    app = instance(version, generate={"spaces": 1, "pages": 70, "users": 9, "attachments": 60, "comments": 40})
    held = app.state.instance
    contents = sum(1 for c in held.contents.values() if c.kind in {"page", "blogpost"} and c.status == "current")
    commented = contents + sum(1 for c in held.contents.values() if c.kind == "attachment" and held.live(c))
    async with serving(app) as url:
        source = reader(url, None, username="admin", password="admin")
        (space,) = [s async for s in source.spaces()]
        app.state.journal.clear()
        assert [i async for i in source.items(space.id)]
        asked = Counter(re.sub(r"/(att)?[0-9]+/", "/{id}/", e["path"]) for e in app.state.journal)
        await source.close()
    one_by_one = {path: n for path, n in asked.items() if n > 9 and not path.endswith("/user/current")}
    wanted = {"/rest/api/content/{id}/property": contents}
    if version == "5.10.8":
        wanted["/rpc/json-rpc/confluenceservice-v2/getContentPermissionSets"] = contents
    if version != "10.0.3":  # by cursor older ones list pages alone
        wanted["/rest/api/content/{id}/child/comment"] = commented
    if version == "10.0.3":
        wanted["/rest/api/content/{id}/watchers"] = contents
    assert one_by_one == wanted


async def test_a_5_10_with_its_remote_api_switched_off_is_refused_since_every_page_would_be_read_as_open() -> None:
    app = instance("5.10.8", rpc=False)
    restricted = next(c for c in app.state.instance.contents.values() if c.title == "Who to Call")
    async with serving(app) as url:
        source = reader(url, None, username="admin", password="admin")
        for asked in (source.info(), source.content(str(restricted.id))):
            with pytest.raises(SourceUnsupported, match="Remote API"):
                await asked
        await source.close()


@pytest.mark.parametrize("version", ["5.10.8", "6.13.2"])
async def test_on_releases_without_tokens_a_token_is_said_to_be_refused_and_a_wrong_password_too(version: str) -> None:
    async with serving(instance(version)) as url:
        for source in (reader(url), reader(url, None, username="admin", password="wrong")):
            with pytest.raises(SourceUnauthorized):
                await source.info()
            await source.close()


async def test_restrictions_and_users_of_a_5_10_are_asked_of_the_remote_api_and_nothing_is_written() -> None:
    app = instance("5.10.8")
    held = app.state.instance
    async with serving(app) as url:
        source = reader(url, None, username="admin", password="admin")
        page = next(c for c in held.contents.values() if c.title == "Who to Call")
        assert len((await source.content(str(page.id))).restrictions) == len(page.restrictions) == 3
        otis = await source.person(held.user_by_name("otis").key)
        assert otis
        assert (otis.username, otis.email, otis.active) == ("otis", "otis.q@example.com", None)
        assert await source.person("8a80" + "0" * 28) is None
        asked = {e["path"].rpartition("/")[2] for e in app.state.journal if "/rpc/" in e["path"]}
        assert asked >= {"getContentPermissionSets", "getUser", "getActiveUsers"}
        assert not [e for e in app.state.journal if e["write"]]
        await source.close()


async def test_a_user_without_administration_still_reads_people_by_other_ways() -> None:
    async with serving(instance("8.5.6")) as url:
        source = reader(url, None, username="tamsin", password="tamsin")
        assert len([p async for p in source.people()]) == 12
        with pytest.raises(SourceUnauthorized):
            await all_of(source.members("observers"))
        await source.close()


@pytest.mark.parametrize("version", ["7.19.0", "8.5.6", "9.2.1", "10.0.3"])
async def test_blog_posts_and_comments_are_listed_also_where_the_cursor_knows_pages_alone(version: str) -> None:
    """From 7.18 on pages are listed by a cursor that answers with pages, whatever type it is asked for, until some later release."""
    app = instance(version)
    held = app.state.instance
    async with serving(app) as url:
        source = reader(url)
        assert (await source.info()).version == version
        found = Counter([i.kind async for s in source.spaces() async for i in source.items(s.id)])
        assert found == Counter(c.kind for c in held.contents.values() if held.live(c))
        assert found["blogpost"] and found["comment"]
        assert [p async for p in source.people()]
        await source.close()


async def test_earlier_versions_of_a_file_are_those_whose_bytes_are_there() -> None:
    app = instance("8.5.6")
    held = app.state.instance
    file = next(c for c in held.contents.values() if c.kind == "attachment" and held.live(c) and c.version > 1)
    async with serving(app) as url:
        source = reader(url)
        told = await source.file_versions(str(file.id))
        assert [version.number for version in told] == [r.number for r in file.revisions]
        async with source.open_attachment(str(file.id), told[0].number) as chunks:
            first = b"".join([chunk async for chunk in chunks])
        assert first == held.file(file, told[0].number)
        await source.close()
