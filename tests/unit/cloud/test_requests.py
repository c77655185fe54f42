"""What is sent for each operation, and what is made of the answer."""

import json
import tracemalloc
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from starlette.responses import JSONResponse, RedirectResponse, Response

from shared.confluence.cloud import CloudSite, OpenGate, SizeMismatch
from shared.confluence.site import SiteGroup, SiteRefused, WritesForbidden
from tests.unit.cloud.fake_site import FakeSite, Seen, fake_site

PAGE = {
    "id": "7",
    "status": "current",
    "title": "T",
    "spaceId": "3",
    "parentId": "1",
    "position": 12,
    "authorId": "a1",
    "createdAt": "2024-05-01T10:00:00.000Z",
    "version": {"number": 4, "authorId": "a2", "createdAt": "2024-05-02T10:00:00.000Z"},
    "body": {"storage": {"representation": "storage", "value": "<p>x</p>"}},
}


@pytest.fixture
async def fake() -> AsyncIterator[FakeSite]:
    async with fake_site() as site:
        yield site


@pytest.fixture
async def site(fake: FakeSite) -> AsyncIterator[CloudSite]:
    async with CloudSite(fake.url, email="mover@example.org", token="t") as client:
        yield client


async def test_a_page_is_created_private_at_root_level_with_its_body(fake: FakeSite, site: CloudSite) -> None:
    fake.answer = lambda seen: JSONResponse(PAGE)
    made = await site.create_page("3", "T", "<p>x</p>", root_level=True, private=True)
    assert (made.id, made.version, made.author, made.last_editor, made.position) == ("7", 4, "a1", "a2", 12)
    assert made.created_at == datetime(2024, 5, 1, 10, tzinfo=UTC)
    sent = fake.seen[0]
    assert (sent.path, sent.query) == ("/wiki/api/v2/pages", [("root-level", "true"), ("private", "true")])
    assert sent.headers["authorization"].startswith("Basic ")
    assert sent.json() == {
        "spaceId": "3",
        "status": "current",
        "title": "T",
        "body": {"representation": "storage", "value": "<p>x</p>"},
    }


async def test_an_update_sends_the_version_after_the_one_seen(fake: FakeSite, site: CloudSite) -> None:
    fake.answer = lambda seen: JSONResponse(PAGE)
    await site.update_page("7", title="T", body="b", version=3, owner_id="a9", message="body")
    sent: Any = fake.seen[0].json()
    assert sent["version"] == {"number": 4, "message": "body"}
    assert sent["ownerId"] == "a9"


async def test_the_posting_time_of_a_blog_post_is_sent_in_utc(fake: FakeSite, site: CloudSite) -> None:
    fake.answer = lambda seen: JSONResponse(PAGE)
    posted = datetime(2012, 1, 30, 1, 2, 3, 4000, tzinfo=timezone(timedelta(hours=2)))
    await site.create_blogpost("3", "T", "b", created_at=posted)
    sent: Any = fake.seen[0].json()
    assert sent["createdAt"] == "2012-01-29T23:02:03.004Z"


async def test_a_title_with_reserved_characters_reaches_the_site_unchanged(fake: FakeSite, site: CloudSite) -> None:
    title = "a+b & c=d %41 ÄÖ #1 ?/;, 日本"
    fake.answer = lambda seen: JSONResponse({"results": [{**PAGE, "title": title}, {**PAGE, "title": "other"}]})
    found = await site.find_content("page", "3", title)
    assert [content.title for content in found] == [title]
    assert dict(fake.seen[0].query)["title"] == title


async def test_lists_follow_the_next_link_of_both_api_versions_and_keep_the_credential_at_home(
    fake: FakeSite, site: CloudSite
) -> None:
    def v2(seen: Seen) -> Response:
        if ("cursor", "c 2") in seen.query:
            return JSONResponse({"results": [{**PAGE, "id": "8"}], "_links": {}})
        link = "https://elsewhere.example.com/wiki/api/v2/spaces/3/pages?cursor=c%202&limit=250"
        return JSONResponse({"results": [PAGE], "_links": {"next": link}})

    fake.answer = v2
    assert [page.id async for page in site.contents("page", "3")] == ["7", "8"]

    def v1(seen: Seen) -> Response:
        if ("start", "200") in seen.query:
            return JSONResponse({"results": [{"id": "g2", "name": "b"}], "_links": {"context": "/wiki"}})
        links = {"next": "/rest/api/group?start=200&limit=200", "context": "/wiki"}
        return JSONResponse({"results": [{"id": "g1", "name": "a"}], "_links": links})

    fake.answer = v1
    assert [group async for group in site.group_list()] == [SiteGroup("g1", "a"), SiteGroup("g2", "b")]
    assert {request.path for request in fake.seen} == {"/wiki/api/v2/spaces/3/pages", "/wiki/rest/api/group"}


async def test_children_come_in_sibling_order_with_their_versions(fake: FakeSite, site: CloudSite) -> None:
    def answer(seen: Seen) -> Response:
        if seen.path.endswith("/children"):
            assert ("sort", "child-position") in seen.query
            return JSONResponse({"results": [{"id": str(n), "status": "current"} for n in range(150, 0, -1)]})
        ids = [value for name, value in seen.query if name == "id"]
        return JSONResponse({"results": [{**PAGE, "id": value} for value in sorted(ids)]})

    fake.answer = answer
    children = [child async for child in site.children("1")]
    assert [child.id for child in children] == [str(n) for n in range(150, 0, -1)]
    assert {child.version for child in children} == {4}


async def test_a_space_is_created_private_and_read_back_with_its_homepage(fake: FakeSite, site: CloudSite) -> None:
    def answer(seen: Seen) -> Response:
        if seen.method == "POST":
            return JSONResponse({"id": 42, "key": "DOC", "name": "Docs"})
        return JSONResponse(
            {
                "id": "42",
                "key": "DOC",
                "name": "Docs",
                "homepageId": "77",
                "authorId": "a1",
                "createdAt": "2024-05-01T10:00:00Z",
                "description": {"plain": {"value": "marker"}},
            }
        )

    fake.answer = answer
    space = await site.create_private_space("DOC", "Docs", "marker")
    assert (space.id, space.homepage_id, space.description, space.creator) == ("42", "77", "marker", "a1")
    assert fake.seen[0].path == "/wiki/rest/api/space/_private"


async def test_a_space_is_found_whatever_the_case_of_its_key(fake: FakeSite, site: CloudSite) -> None:
    fake.answer = lambda seen: JSONResponse({"results": [{"id": "1", "key": "DOC2"}, {"id": "2", "key": "Doc"}]})
    found = await site.find_space("doC")
    assert found is not None and found.id == "2"
    fake.answer = lambda seen: JSONResponse({"results": []}, status_code=200 if "v2" in seen.path else 410)
    assert await site.find_space("other") is None


async def test_an_account_is_found_by_its_whole_address_only(fake: FakeSite, site: CloudSite) -> None:
    fake.answer = lambda seen: JSONResponse(
        [
            {"accountId": "1", "emailAddress": "ann.smith@example.org"},
            {"accountId": "2", "displayName": "ann@example.org"},
            {"accountId": "3", "emailAddress": "Ann@Example.org", "displayName": "Ann"},
        ]
    )
    found = await site.find_account("ann@example.org")
    assert found is not None and found.account_id == "3"
    assert await site.find_account("bob@example.org") is None


async def test_an_invitation_goes_to_the_organization_without_a_mail(fake: FakeSite, site: CloudSite) -> None:
    fake.answer = lambda seen: JSONResponse({})
    with pytest.raises(SiteRefused):
        await site.invite(["a@example.org"], resource="ari", role="basic")
    async with CloudSite(
        fake.url, email=None, token=None, org_id="o1", org_key="k", org_url=fake.url
    ) as with_organization:
        await with_organization.invite(["a@example.org"], resource="ari", role="basic")
    sent: Any = fake.seen[-1].json()
    assert fake.seen[-1].headers["authorization"] == "Bearer k"
    assert sent["sendNotification"] is False and "notificationText" not in sent


@pytest.mark.parametrize(("refused", "taken"), [([], True), ([{"email": "a@example.org"}], False)])
async def test_an_invitation_with_a_message_is_mailed_and_says_whether_it_was_taken(
    fake: FakeSite, refused: list[dict[str, str]], taken: bool
) -> None:
    fake.answer = lambda seen: JSONResponse({"data": [], "errors": refused})
    async with CloudSite(fake.url, email=None, token=None, org_id="o1", org_key="k", org_url=fake.url) as site:
        assert await site.invite(["a@example.org"], group_ids=["g1"], message="Welcome") is taken
    sent: Any = fake.seen[-1].json()
    assert (sent["sendNotification"], sent["notificationText"], sent["additionalGroups"]) == (True, "Welcome", ["g1"])


async def test_restrictions_are_replaced_as_a_whole_and_empty_ones_removed(fake: FakeSite, site: CloudSite) -> None:
    fake.answer = lambda seen: JSONResponse({"results": []})
    await site.set_restrictions("7", {"read": (["a1"], ["g1"]), "update": ([], [])})
    assert fake.seen[0].json() == [
        {
            "operation": "read",
            "restrictions": {
                "user": [{"type": "known", "accountId": "a1"}],
                "group": [{"type": "group", "id": "g1"}],
            },
        }
    ]
    await site.set_restrictions("7", {})
    assert fake.methods() == ["PUT", "DELETE"]


async def test_a_property_that_is_there_gets_its_next_version_and_is_left_if_it_is_equal(
    fake: FakeSite, site: CloudSite
) -> None:
    there = {"results": [{"id": "5", "key": "k", "value": {"a": 1}, "version": {"number": 2}}]}

    def answer(seen: Seen) -> Response:
        if seen.method == "POST":
            taken = {"errors": [{"status": 409, "code": "CONFLICT", "title": "A property with key k already exists"}]}
            return JSONResponse(taken, 409)
        return JSONResponse(there)

    fake.answer = answer
    await site.set_property("page", "7", "k", {"a": 1})
    assert fake.methods() == ["POST", "GET"]
    await site.set_property("page", "7", "k", {"a": 2})
    assert fake.methods()[2:] == ["POST", "GET", "PUT"]
    assert json.loads(fake.seen[-1].body)["version"] == {"number": 3}


# Files


async def chunks_of(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


UPLOADED = {
    "results": [
        {
            "id": "att9",
            "title": "a.txt",
            "version": {"number": 1, "when": "2024-05-01T10:00:00.000Z", "by": {"accountId": "a1"}},
            "extensions": {"mediaType": "text/plain", "fileSize": 6},
        }
    ]
}


async def test_a_file_is_sent_as_one_form_with_its_length(fake: FakeSite, site: CloudSite) -> None:
    fake.answer = lambda seen: JSONResponse(UPLOADED)
    made = await site.create_attachment(
        "7", 'a "b" ä.txt', "text/plain; charset=utf-8", chunks_of(b"one", b"two"), 6, comment="Hä"
    )
    assert (made.id, made.container, made.size, made.author) == ("att9", "7", 6, "a1")
    sent = fake.seen[0]
    assert sent.headers["x-atlassian-token"] == "no-check"
    assert int(sent.headers["content-length"]) == len(sent.body)
    assert (
        'name="file"; filename="a %22b%22 ä.txt"\r\nContent-Type: text/plain\r\n\r\nonetwo\r\n--' in sent.body.decode()
    )
    charset = "Content-Type: text/plain; charset=utf-8"  # else the site may read the comment otherwise
    assert f'name="minorEdit"\r\n{charset}\r\n\r\ntrue\r\n' in sent.body.decode()
    assert f'name="comment"\r\n{charset}\r\n\r\nHä\r\n' in sent.body.decode()


async def test_a_file_of_unknown_length_is_sent_too(fake: FakeSite, site: CloudSite) -> None:
    fake.answer = lambda seen: JSONResponse(UPLOADED)
    await site.create_attachment("7", "a.txt", "no media type at all", chunks_of(b"one", b"two"), None)
    assert b"application/octet-stream\r\n\r\nonetwo\r\n--" in fake.seen[0].body


@pytest.mark.parametrize("size", [2, 5, 7, 1000])
async def test_a_file_of_another_size_than_announced_is_broken_off(fake: FakeSite, site: CloudSite, size: int) -> None:
    with pytest.raises(SizeMismatch):
        await site.create_attachment("7", "a.txt", "text/plain", chunks_of(b"one", b"two"), size)
    assert fake.seen == []


async def test_an_error_of_the_file_breaks_the_upload_off_and_comes_out(fake: FakeSite, site: CloudSite) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"one"
        raise EOFError("the archive ends here")

    with pytest.raises(EOFError):
        await site.create_attachment("7", "a.txt", "text/plain", broken(), 6)
    assert fake.seen == []


async def test_an_upload_ends_when_the_worker_loses_its_lease_in_the_middle(fake: FakeSite) -> None:
    class Closing(OpenGate):
        asked = 0

        def check_write(self) -> None:
            self.asked += 1
            if self.asked > 3:
                raise WritesForbidden("the lease is lost")

    async with CloudSite(fake.url, email=None, token=None, gate=Closing()) as site:
        with pytest.raises(WritesForbidden):
            await site.create_attachment("7", "a.txt", "text/plain", chunks_of(*[b"x" * 1000] * 9), 9000)
    assert fake.seen == []


async def test_a_download_follows_the_redirect_without_the_credential(fake: FakeSite, site: CloudSite) -> None:
    def answer(seen: Seen) -> Response:
        if seen.path.endswith("/download"):
            return RedirectResponse("/media/signed?token=x", status_code=302)
        return Response(b"file" * 1000)

    fake.answer = answer
    received = b"".join([chunk async for chunk in site.download_attachment("7", "att9")])
    assert received == b"file" * 1000
    assert "authorization" in fake.seen[0].headers
    assert [request.path for request in fake.seen[1:]] == ["/media/signed"]
    assert "authorization" not in fake.seen[1].headers


async def test_the_memory_of_an_upload_does_not_grow_with_the_file(fake: FakeSite, site: CloudSite) -> None:
    size, chunk = 24 * 1024 * 1024, bytes(64 * 1024)

    async def file() -> AsyncIterator[bytes]:
        for _ in range(size // len(chunk)):
            yield chunk

    # The fake keeps what it got, so only the client's side is measured: nothing is read until the file has been sent.
    from tests.unit.cloud.fake_site import raw_site

    async def count(reader: Any, writer: Any) -> None:
        await reader.readuntil(b"\r\n\r\n")
        left = size
        while left > 0:
            left -= len(await reader.read(64 * 1024))
        body = b'{"results":[{"id":"9","title":"a"}]}'
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        await writer.drain()

    async with raw_site(count) as url, CloudSite(url, email=None, token=None) as raw:
        tracemalloc.start()
        try:
            await raw.create_attachment("7", "a", "text/plain", file(), size)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < 6 * 1024 * 1024
