"""What a receiver of webhooks can rely on: everything once at least, signed, and nothing of ours called that it may not."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import ipaddress
import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import aiohttp
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from services.dashboard.adapters.delivery import Deliveries
from services.dashboard.domain.webhooks import PAUSES, new_secret, pause, sign
from shared.ops.outgoing import Guard, Refused, public
from tests.store.test_projections import PLAN, history
from tests.unit.dashboard.house import KEY, House

API = "/api/v1"


@dataclass
class Receiver:
    url: str = ""
    statuses: list[int] = field(default_factory=list)  # to answer with, one after the other; then 204
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    told = Receiver()

    async def take(request: web.Request) -> web.Response:
        told.got.append(({k.lower(): v for k, v in request.headers.items()}, await request.read()))
        status = told.statuses.pop(0) if told.statuses else 204
        return web.Response(status=status, headers={"Location": "/elsewhere"} if status == 302 else None)

    app = web.Application()
    app.router.add_post("/{path:.*}", take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    told.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    yield told
    await runner.cleanup()


async def made(house: House, receiver: Receiver, **more: object) -> tuple[str, str]:
    object.__setattr__(house.parts, "guard", Guard("127.0.0.1"))
    body = {"name": "chat", "url": receiver.url, **more}
    answer = await house.client.post(f"{API}/webhooks", json=body, headers={"Idempotency-Key": "hook"})
    assert answer.status_code == 201, answer.text
    return answer.json()["id"], answer.json()["secret"]


def sender(house: House, allowed: str = "127.0.0.1") -> Deliveries:
    return Deliveries(house.pool, house.parts.store, KEY, Guard(allowed), "https://move.example.com")


async def deliver(house: House, allowed: str = "127.0.0.1") -> int:
    """Everything that is due now; how many attempts that were."""
    deliveries, sent = sender(house, allowed), 0
    await deliveries.enqueue()
    async with deliveries._guard.session(timeout=5) as session:
        while now := await deliveries.send(session):
            sent += now
    return sent


def verified(secret: str, headers: dict[str, str], body: bytes) -> bool:
    """As a receiver does it, from the text of the scheme."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return expected in headers["webhook-signature"].split(" ")


async def test_each_change_of_status_since_it_was_made_is_told_once_and_signed(
    house: House, receiver: Receiver
) -> None:
    await house.log.append(history()[:3])
    _, secret = await made(house, receiver)
    await house.log.append(history()[3:])
    await house.catch_up()
    assert await deliver(house) == 3 and await deliver(house) == 0
    told = {json.loads(body)["type"]: (headers, body) for headers, body in receiver.got}
    assert set(told) == {"plan.ready", "plan.running", "plan.failed"}
    assert all(verified(secret, *each) and not verified(new_secret(), *each) for each in told.values())
    failed = json.loads(told["plan.failed"][1])
    assert failed["data"]["plan"] == PLAN and failed["data"]["status"] == "FAILED"
    assert failed["data"]["dry_run"] is False
    assert failed["data"]["spaces_failed"] == 1 and failed["data"]["url"] == f"https://move.example.com/plans/{PLAN}"
    assert len({headers["webhook-id"] for headers, _ in told.values()}) == 3


async def test_only_what_was_asked_for_is_told(house: House, receiver: Receiver) -> None:
    await made(house, receiver, events=["plan.failed"])
    await house.log.append(history())
    assert await deliver(house) == 1 and json.loads(receiver.got[0][1])["type"] == "plan.failed"


async def test_what_is_not_taken_is_sent_again_under_the_same_id_and_shows_in_the_log(
    house: House, receiver: Receiver
) -> None:
    receiver.statuses = [500, 302]
    id, _ = await made(house, receiver, events=["plan.failed"])
    await house.log.append(history())
    for attempt in (1, 2, 3):
        assert await deliver(house) == 1
        (row,) = (await house.client.get(f"{API}/webhooks/{id}/deliveries")).json()["deliveries"]
        assert row["attempts"] == attempt and row["state"] == ("delivered" if attempt == 3 else "waiting")
        assert row["status"] == (500, 302, 204)[attempt - 1], "a redirect is not followed and not taken for a yes"
        await house.pool.execute("UPDATE hook.delivery SET due_at = now()")
    assert len({headers["webhook-id"] for headers, _ in receiver.got}) == 1
    assert await deliver(house) == 0
    assert (await house.client.post(f"{API}/webhooks/{id}/deliveries/{row['id']}/replay")).status_code == 202
    assert await deliver(house) == 1 and receiver.got[-1][0]["webhook-id"] == row["id"]


async def test_a_receiver_that_wants_no_more_is_left_alone_and_one_that_never_answers_is_given_up(
    house: House, receiver: Receiver
) -> None:
    receiver.statuses = [410]
    id, _ = await made(house, receiver, events=["plan.failed"])
    await house.log.append(history())
    assert await deliver(house) == 1
    assert await house.pool.fetchval("SELECT state FROM hook.delivery") == "failed"
    assert (await house.client.get(f"{API}/webhooks/{id}")).json()["failed"] == 1
    assert pause(len(PAUSES), 0) == PAUSES[-1] and pause(len(PAUSES) + 1, 0) is None
    assert 2 * 86_400 < sum(PAUSES) < 3 * 86_400


async def test_a_new_secret_signs_beside_the_old_one_for_a_day(house: House, receiver: Receiver) -> None:
    id, old = await made(house, receiver)
    new = (await house.client.post(f"{API}/webhooks/{id}/rotate")).json()["secret"]
    await house.client.post(f"{API}/webhooks/{id}/test")
    assert await deliver(house) == 1
    assert verified(old, *receiver.got[0]) and verified(new, *receiver.got[0])
    await house.pool.execute("UPDATE vault.webhook_secret SET ends_at = now() WHERE ends_at IS NOT NULL")
    await house.client.post(f"{API}/webhooks/{id}/test")
    assert await deliver(house) == 1
    assert verified(new, *receiver.got[1]) and not verified(old, *receiver.got[1])
    stored = await house.pool.fetchval("SELECT string_agg(s::text, ' ') FROM vault.webhook_secret s")
    assert old not in stored and new not in stored


async def test_a_webhook_is_made_once_named_once_and_gone_when_removed(house: House, receiver: Receiver) -> None:
    id, _ = await made(house, receiver)
    again = {"name": "chat", "url": receiver.url}
    assert (await house.client.post(f"{API}/webhooks", json=again, headers={"Idempotency-Key": "hook"})).json() == {
        "id": id,
        "secret": None,
    }
    assert (await house.client.post(f"{API}/webhooks", json=again)).status_code == 409
    await house.client.post(f"{API}/webhooks/{id}/test")
    for _ in range(2):
        assert (await house.client.post(f"{API}/webhooks/{id}/remove")).status_code == 200
    assert await deliver(house) == 0 and receiver.got == []
    assert (await house.client.get(f"{API}/webhooks/{id}")).status_code == 404
    types = [row["type"] for row in await house.parts.reads.log(0, 100, None)]
    assert types == ["WebhookRegistered", "WebhookRemoved"]
    bodies = str([bytes(row["body"]) for row in await house.parts.reads.log(0, 100, None)])
    assert "chat" not in bodies and "http" not in bodies, "the log holds no name and no address"


async def test_two_senders_do_not_send_the_same_twice(house: House, receiver: Receiver) -> None:
    await made(house, receiver)
    await house.log.append(history())
    assert sum(await asyncio.gather(deliver(house), deliver(house))) == 3
    assert len({headers["webhook-id"] for headers, _ in receiver.got}) == len(receiver.got) == 3


async def test_an_address_in_a_private_network_is_neither_taken_nor_called(house: House, receiver: Receiver) -> None:
    for url in (
        "https://127.0.0.1/",
        "https://169.254.169.254/latest",
        "http://example.com/",
        "https://a:b@example.com/",
    ):
        answer = await house.client.post(f"{API}/webhooks", json={"name": "x", "url": url})
        assert answer.status_code == 422 and answer.json()["code"].startswith("address_"), url
    await made(house, receiver, events=["plan.failed"])
    await house.log.append(history())
    assert await deliver(house, allowed="") == 1 and receiver.got == []
    assert await house.pool.fetchval("SELECT problem FROM hook.attempt") == "address_forbidden"


async def test_a_name_that_leads_inside_is_refused_when_the_connection_is_made() -> None:
    guard = Guard()
    guard.check("https://localhost/")  # as text it is a name like any other
    async with guard.session(timeout=5) as session:
        with pytest.raises(aiohttp.ClientError) as caught:
            await session.post("https://localhost/")
    assert isinstance(caught.value.__cause__, Refused) and caught.value.__cause__.code == "address_forbidden"


@given(st.ip_addresses())
def test_no_private_address_counts_as_public_in_any_dress(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    if isinstance(address, ipaddress.IPv4Address):
        for dress in (f"::ffff:{address}", f"64:ff9b::{address}"):
            assert public(ipaddress.ip_address(dress)) == public(address)
    if address.is_private or address.is_loopback or address.is_link_local or address.is_multicast:
        assert not public(address)


@pytest.mark.parametrize("url", ["https://127.1/", "https://0x7f000001/", "https://2130706433/", "https://[::1]/", "https://[fe80::1%25eth0]/", "https://0/", "ftp://example.com", "https://", "https://[", "https://example.com:99999/"])  # fmt: skip
def test_odd_ways_to_write_an_address_are_seen_through(url: str) -> None:
    with pytest.raises(Refused):
        Guard().check(url)


def test_hosts_and_networks_can_be_allowed_and_nothing_else_is_taken_as_one() -> None:
    Guard("hooks.internal, 10.1.0.0/16").check("http://10.1.2.3/x")
    Guard("hooks.internal").check("http://hooks.internal/x")
    with pytest.raises(ValueError, match="neither a host"):
        Guard("10.1.0.0/99")


def test_a_signature_is_that_of_the_published_example() -> None:
    """Scheme, secret and content of the reference libraries' own test."""
    secret, id, at = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330
    assert sign(secret, id, at, b'{"test": 2432232314}') == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


async def test_the_settings_make_test_and_remove_a_webhook(told: House, receiver: Receiver) -> None:
    object.__setattr__(told.parts, "guard", Guard("127.0.0.1"))
    link = (await told.client.post(f"{API}/sign-in-links", json={})).json()["path"]
    await told.client.get(link)

    async def form(path: str) -> dict[str, str]:
        return dict(re.findall(r'name="(key|command)" value="([^"]+)"', (await told.client.get(path)).text))

    page = "/settings/webhooks"
    wrong = await told.client.post(page, data={**await form(page), "name": "chat", "url": "https://10.0.0.1/"})
    assert wrong.status_code == 422 and 'value="chat"' in wrong.text
    right = {**await form(page), "name": "chat", "url": receiver.url, "events": ["plan.failed"]}
    answer = await told.client.post(page, data=right)
    secret = re.search(r"whsec_[\w+/=]{40,}", answer.text)
    assert secret and secret[0] not in (await told.client.get(page)).text
    found = re.search(r"/settings/webhooks/[0-9a-f]{32}", answer.text)
    assert found
    assert (await told.client.post(f"{found[0]}/test", data=await form(found[0]))).status_code == 303
    assert await deliver(told) == 1
    html = (await told.client.get(found[0])).text
    assert "webhook.test" in html and "Answered 204" in html and "Send again" in html
    assert "shown this once" in (await told.client.post(f"{found[0]}/rotate", data=await form(found[0]))).text
    assert "not called" not in (await told.client.get(f"{found[0]}/remove")).text
    await told.client.post(f"{found[0]}/remove", data=await form(f"{found[0]}/remove"))
    assert "There is none." in (await told.client.get(page)).text
