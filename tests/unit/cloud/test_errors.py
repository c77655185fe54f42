"""What became of a request: every way it can go wrong has its error, and a write is never sent twice."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import stamina
from starlette.responses import JSONResponse, PlainTextResponse, Response

from shared.confluence.cloud import CloudSite, OpenGate
from shared.confluence.site import (
    KeyTaken,
    NameTaken,
    NotOnSite,
    OutcomeUnknown,
    SiteError,
    SiteForbids,
    SiteRefused,
    SiteUnauthorized,
    SiteUnavailable,
    Throttled,
    TitleTaken,
    TooLarge,
    VersionConflict,
    WritesForbidden,
)
from tests.unit.cloud.fake_site import FakeSite, fake_site, raw_site, read_request

TOKEN = "the-very-secret-token"
BODY = "<p>what the page says</p>"


def site_at(url: str, **options: object) -> CloudSite:
    return CloudSite(url, email="mover@example.org", token=TOKEN, **options)  # type: ignore[arg-type]


@pytest.fixture
async def fake() -> AsyncIterator[FakeSite]:
    async with fake_site() as site:
        yield site


@pytest.fixture(autouse=True)
async def quick_retries() -> AsyncIterator[None]:
    stamina.set_testing(True, attempts=3)
    yield
    stamina.set_testing(False)


def v2_error(status: int, title: str, code: str = "INVALID_REQUEST_PARAMETER") -> Response:
    return JSONResponse(
        {"errors": [{"status": status, "code": code, "title": title, "detail": None}]}, status_code=status
    )


def v1_error(status: int, message: str) -> Response:
    return JSONResponse(
        {"statusCode": status, "message": f"com.atlassian.api.BadRequestException: {message}"}, status_code=status
    )


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, SiteRefused),
        (401, SiteUnauthorized),
        (403, SiteForbids),
        (404, NotOnSite),
        (409, VersionConflict),
        (410, SiteRefused),
        (413, TooLarge),
        (302, SiteRefused),
        (500, OutcomeUnknown),
        (502, OutcomeUnknown),
        (503, OutcomeUnknown),
        (504, OutcomeUnknown),
    ],
)
async def test_a_write_answered_by_a_status_is_sent_once_and_raises_the_error_of_that_status(
    fake: FakeSite, status: int, kind: type[SiteError]
) -> None:
    fake.answer = lambda seen: v2_error(status, "no")
    async with site_at(fake.url) as site:
        with pytest.raises(kind) as raised:
            await site.update_page("7", title="T", body=BODY, version=1)
    assert type(raised.value) is kind
    assert raised.value.status == status
    assert fake.methods() == ["PUT"]


@pytest.mark.parametrize(
    "answer",
    [
        v2_error(400, "A page with this title already exists: A page already exists with the same TITLE in this space"),
        v1_error(400, "A page with this title already exists"),
    ],
)
async def test_a_duplicate_title_is_told_from_other_bad_requests(fake: FakeSite, answer: Response) -> None:
    fake.answer = lambda seen: answer
    async with site_at(fake.url) as site:
        with pytest.raises(TitleTaken):
            await site.create_page("1", "T", BODY)


async def test_a_taken_space_key_is_told_from_other_bad_requests(fake: FakeSite) -> None:
    async with site_at(fake.url) as site:
        fake.answer = lambda seen: v1_error(400, "A space already exists with key DOC")
        with pytest.raises(KeyTaken):
            await site.create_private_space("DOC", "Docs", "")
        fake.answer = lambda seen: v1_error(400, "The space key is too long")
        with pytest.raises(SiteRefused) as raised:
            await site.create_private_space("DOC", "Docs", "")
        assert type(raised.value) is SiteRefused


async def test_a_taken_group_name_and_a_taken_file_name_are_told(fake: FakeSite) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"x"

    async with site_at(fake.url) as site:
        fake.answer = lambda seen: JSONResponse({"message": "Group already exists"}, status_code=409)
        with pytest.raises(NameTaken):
            await site.create_group("readers")
        fake.answer = lambda seen: v1_error(
            400, "Cannot add a new attachment with same file name as an existing attachment: a.txt"
        )
        with pytest.raises(NameTaken):
            await site.create_attachment("7", "a.txt", "text/plain", chunks(), 1)


async def test_a_permission_or_membership_that_is_there_already_is_done(fake: FakeSite) -> None:
    async with site_at(fake.url) as site:
        fake.answer = lambda seen: v1_error(400, "Permission already exists")
        await site.add_space_permission("DOC", "group", "g1", "read", "space")
        fake.answer = lambda seen: v1_error(400, "User is already a member: already exists")
        await site.add_to_group("g1", "a1")


async def test_throttling_is_reported_with_its_wait_and_tells_the_gate(fake: FakeSite) -> None:
    told: list[float | None] = []

    class Gate(OpenGate):
        def throttled(self, retry_after: float | None) -> None:
            told.append(retry_after)

    fake.answer = lambda seen: Response(status_code=429, headers={"Retry-After": "17"})
    async with site_at(fake.url, gate=Gate()) as site:
        with pytest.raises(Throttled) as raised:
            await site.create_page("1", "T", BODY)
    assert raised.value.retry_after == 17.0
    assert told == [17.0]
    assert fake.methods() == ["POST"]


async def test_a_read_is_repeated_after_a_failure_of_the_site(fake: FakeSite) -> None:
    answers = [Response(status_code=503), Response(status_code=500), JSONResponse({"id": "7", "title": "T"})]
    fake.answer = lambda seen: answers.pop(0)
    async with site_at(fake.url) as site:
        assert (await site.content("page", "7")).title == "T"
    assert fake.methods() == ["GET"] * 3


async def test_a_read_that_keeps_failing_ends_as_unavailable(fake: FakeSite) -> None:
    fake.answer = lambda seen: Response(status_code=500)
    async with site_at(fake.url) as site:
        with pytest.raises(SiteUnavailable):
            await site.content("page", "7")
    assert len(fake.seen) == 3


async def test_a_read_does_not_wait_longer_than_a_worker_can_hold_its_lease(fake: FakeSite) -> None:
    fake.answer = lambda seen: Response(status_code=429, headers={"Retry-After": "3600"})
    async with site_at(fake.url) as site:
        with pytest.raises(Throttled):
            await site.content("page", "7")
    assert len(fake.seen) == 1


async def test_a_refused_connection_means_that_nothing_was_done() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
    async with site_at(url) as site:
        with pytest.raises(SiteUnavailable):
            await site.create_page("1", "T", BODY)


async def test_a_connection_that_breaks_after_a_write_was_sent_leaves_the_outcome_unknown() -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)

    async with raw_site(hang_up) as url, site_at(url) as site:
        with pytest.raises(OutcomeUnknown):
            await site.create_page("1", "T", BODY)


async def test_a_write_without_an_answer_in_time_leaves_the_outcome_unknown() -> None:
    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        await asyncio.sleep(5)

    async with raw_site(say_nothing) as url, site_at(url, timeout=0.2) as site:
        with pytest.raises(OutcomeUnknown):
            await site.create_page("1", "T", BODY)


async def test_an_answer_that_trickles_is_cut_off_at_the_timeout_of_the_request() -> None:
    async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while True:
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.05)

    async with raw_site(trickle) as url, site_at(url, timeout=0.3) as site:
        async with asyncio.timeout(3):
            with pytest.raises(OutcomeUnknown):
                await site.create_page("1", "T", BODY)


async def test_no_update_is_sent_twice_when_a_kept_connection_breaks_under_it() -> None:
    requests: list[str] = []

    async def answer_once_then_hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            line, _ = await read_request(reader)
            requests.append(line.split(" ")[0])
            if requests[-1] != "GET":
                return
            writer.write(b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n{"id":"7"}')
            await writer.drain()

    async with raw_site(answer_once_then_hang_up) as url, site_at(url) as site:
        await site.content("page", "7")
        with pytest.raises(OutcomeUnknown):
            await site.update_page("7", title="T", body=BODY, version=1)
        await site.content("page", "7")
        with pytest.raises(OutcomeUnknown):
            await site.delete_content("page", "7")
    assert requests == ["GET", "PUT", "GET", "DELETE"]


async def test_a_success_that_cannot_be_read_leaves_the_outcome_of_a_write_unknown(fake: FakeSite) -> None:
    fake.answer = lambda seen: PlainTextResponse("<html>maintenance</html>")
    async with site_at(fake.url) as site:
        with pytest.raises(OutcomeUnknown):
            await site.create_page("1", "T", BODY)
        with pytest.raises(SiteUnavailable):
            await site.content("page", "7")


async def test_an_anonymous_answer_is_an_unauthorized_one(fake: FakeSite) -> None:
    fake.answer = lambda seen: JSONResponse({"type": "anonymous", "displayName": "Anonymous"})
    async with site_at(fake.url) as site:
        with pytest.raises(SiteUnauthorized):
            await site.whoami()


async def test_a_worker_without_its_lease_sends_no_write_but_may_read(fake: FakeSite) -> None:
    class Closed(OpenGate):
        def check_write(self) -> None:
            raise WritesForbidden("the lease is lost")

    fake.answer = lambda seen: JSONResponse({"id": "7"})
    async with site_at(fake.url, gate=Closed()) as site:
        await site.content("page", "7")
        with pytest.raises(WritesForbidden):
            await site.create_page("1", "T", BODY)
    assert fake.methods() == ["GET"]


async def test_the_right_to_write_is_asked_after_the_wait_for_a_slot(fake: FakeSite) -> None:
    order: list[str] = []

    class Ordered(OpenGate):
        def check_write(self) -> None:
            order.append("check")

        @asynccontextmanager
        async def slot(self) -> AsyncIterator[None]:
            order.append("slot")
            yield
            order.append("free")

        def observe(self, operation: str, seconds: float, status: int | None) -> None:
            order.append(f"{operation} {status}")

    fake.answer = lambda seen: JSONResponse({"id": "7"})
    async with site_at(fake.url, gate=Ordered()) as site:
        await site.create_page("1", "T", BODY)
    assert order == ["slot", "check", "create page 200", "free"]


async def test_no_error_text_holds_the_token_the_body_or_the_title(fake: FakeSite) -> None:
    texts: list[str] = []
    async with site_at(fake.url) as site:
        for status in (400, 401, 403, 404, 409, 413, 418, 429, 500):
            fake.answer = lambda seen, status=status: v2_error(  # type: ignore[misc]
                status, f"no page My secret plans with {TOKEN} and {BODY}", "INVALID_REQUEST_PARAMETER"
            )
            with pytest.raises(SiteError) as raised:
                await site.create_page("1", "My secret plans", BODY)
            texts += [str(raised.value), repr(raised.value)]
    assert not [text for text in texts if TOKEN in text or "says" in text or "plans" in text]
    assert any("INVALID_REQUEST_PARAMETER" in text for text in texts)
