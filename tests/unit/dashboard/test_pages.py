"""What a person sees, with and without JavaScript, and what another site cannot do."""

from __future__ import annotations

import re

import pytest
from starlette.requests import Request
from starlette.responses import StreamingResponse

from services.dashboard.handlers import pages
from tests.store.test_projections import PLAN, history
from tests.unit.dashboard.house import House


@pytest.fixture
async def browser(told: House) -> House:
    """A browser that opened a one-time link."""
    link = (await told.client.post("/api/v1/sign-in-links", json={})).json()["path"]
    told.client.headers.pop("Authorization")
    answer = await told.client.get(link)
    assert answer.status_code == 303 and answer.headers["location"] == "/"
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie and "samesite=lax" in cookie.lower() and link.partition("=")[2] not in cookie
    return told


async def test_without_a_sign_in_no_page_tells_anything(told: House) -> None:
    told.client.headers.pop("Authorization")
    for path in (
        "/",
        f"/plans/{PLAN}",
        f"/plans/{PLAN}/stop",
        "/live/plans",
        f"/plans/{PLAN}/report.json",
        "/sign-in?code=no",
    ):
        answer = await told.client.get(path)
        assert answer.status_code == 401 and "First move" not in answer.text, path


async def test_the_cookie_does_not_open_the_api(browser: House) -> None:
    assert (await browser.client.get("/api/v1/plans")).status_code == 401


async def test_the_list_shows_status_in_words_and_numbers(browser: House) -> None:
    html = (await browser.client.get("/")).text
    assert "First move" in html and "FAILED" in html and "1 of 2 spaces migrated; 1 failed." in html
    assert "Wiki → Example" in html and "Partly on the site" in html


async def test_a_plans_page_has_numbers_tasks_causes_and_links(browser: House) -> None:
    html = (await browser.client.get(f"/plans/{PLAN}")).text
    assert "Everything selected is accounted for" in html
    assert 'href="http://127.0.0.1:8999/wiki/spaces/ENG"' in html
    assert "space_key_conflict" in html and "Change the key, leave the space out" in html
    assert "Stop plan" not in html and "Archive" in html


async def test_pages_carry_a_strict_policy_and_nothing_inline(browser: House) -> None:
    for path in ("/", f"/plans/{PLAN}", f"/plans/{PLAN}/archive"):
        answer = await browser.client.get(path)
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert not re.search(r"<script(?![^>]*src=)|\sstyle=|\son[a-z]+=|https?://(?!127\.0\.0\.1)", answer.text), path
    assert (await browser.client.get("/static/live.js")).status_code == 200
    assert (await browser.client.get("/static/style.css")).status_code == 200


async def test_a_form_of_another_site_does_nothing_and_a_double_click_is_one_command(browser: House) -> None:
    url = f"/plans/{PLAN}/archive"
    foreign = await browser.client.post(url, data={"key": "guess", "command": "a" * 32})
    assert foreign.status_code == 403 and browser.owners.asked == []
    form = dict(re.findall(r'name="(key|command)" value="([^"]+)"', (await browser.client.get(url)).text))
    for _ in range(2):
        assert (await browser.client.post(url, data=form)).status_code == 303
    assert len(browser.owners.asked) == 1


async def test_the_live_page_starts_with_the_present_state(browser: House) -> None:
    session = browser.client.cookies["cloudward"]
    asked = Request({"type": "http", "headers": [(b"cookie", f"cloudward={session}".encode())]})
    for answer, regions in (
        (await pages.live_plans(asked, browser.parts), 1),
        (await pages.live_plan(asked, browser.parts, PLAN), 4),
    ):
        assert isinstance(answer, StreamingResponse)
        messages: list[str] = []
        async for message in answer.body_iterator:
            messages.append(str(message))
            if "event: beat" in messages[-1]:
                break
        found = [message for message in messages if "event: region" in message]
        assert len(found) == regions and all(f"id: {len(history())}\n" in message for message in found)


async def test_a_space_that_failed_leads_to_its_cause_and_a_cause_is_told_once(browser: House) -> None:
    html = (await browser.client.get(f"/plans/{PLAN}")).text
    assert html.count('id="cause-space_key_conflict"') == 1 and 'href="#cause-space_key_conflict"' in html
    first, second = html.index('id="cause-space_key_conflict"'), html.index('id="cause-file_missing"')
    assert first < second, "what failed comes before what was skipped"


async def test_progress_never_falls_while_the_log_goes_on(house: House) -> None:
    """Inventories count kinds that the analysis did not: the total grows, the bar does not fall."""
    shown = [0]
    for event in history():
        await house.log.append([event])
        await house.catch_up()
        plan = await house.parts.reads.plan(PLAN)
        if plan is not None:
            shown.append(plan.percent)
    assert shown == sorted(shown) and shown[-1] == 100 and any(0 < percent < 99 for percent in shown)
