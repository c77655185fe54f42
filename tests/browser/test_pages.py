"""What people see and can do in a real browser, with and without JavaScript, wide and narrow, light and dark."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest
from axe_playwright_python.base import AXE_FILE_PATH
from playwright.async_api import Page, Response, expect

from shared.events.catalog.plan import PlanSaved
from shared.events.checks import Check
from shared.events.commands import SavePlan
from tests.browser.conftest import RUNNING, SHOTS, Site
from tests.store.test_projections import PLAN, SITE, SOURCE, history
from tests.unit.dashboard.test_pages import PAGES, judged

pytestmark = pytest.mark.browser


# What of axe differs: colors by theme, the layout by width. So every rule runs at both widths and colors in both themes.
VIEWS = (
    (1440, "light", "{}"),
    (1440, "dark", "{runOnly: ['color-contrast']}"),
    (390, "light", "{runOnly: ['color-contrast']}"),
    (390, "dark", "{}"),
)


NAMES = {PLAN: "ended", RUNNING: "running", SOURCE: "wiki", "0" * 32: "missing"}


async def barriers(page: Page, where: str, views: Sequence[tuple[int, str, str]] = VIEWS) -> list[str]:
    """What axe-core finds serious on the page that is open, in each view, of which a picture is kept under build/screenshots.
    Besides: nothing scrolls sideways at 320 pixels, and every control is large enough to hit."""
    SHOTS.mkdir(parents=True, exist_ok=True)
    found: list[str] = []
    name = re.sub(r"[^a-z]+", "-", re.sub(r"[0-9a-f]{32}", lambda id: NAMES.get(id[0], "one"), where)).strip("-")
    await page.evaluate(AXE_FILE_PATH.read_text())  # past the page's policy, which allows no script but ours
    for width, scheme, options in views:
        await page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
        await page.set_viewport_size({"width": width, "height": 900})
        await page.screenshot(path=SHOTS / f"{name or 'overview'}-{scheme}-{width}.png", full_page=True)
        result = await page.evaluate(f"axe.run({{resultTypes: ['violations'], preload: false, ...{options}}})")
        found += [
            f"{where} {scheme} {width}: {v['id']}: {v['nodes'][0]['html'][:120]}"
            for v in result["violations"]
            if v["impact"] in ("serious", "critical")
        ]
    small = await page.evaluate(
        """() => [...document.querySelectorAll('button, .button, input:not([type=hidden]), select')]
        .map(e => [e.outerHTML.slice(0, 80), e.getBoundingClientRect()])
        .filter(([_, r]) => r.width > 0 && (r.height < 20 || r.width < 20)).map(([html]) => html)"""
    )
    found += [f"{where}: too small to hit: {html}" for html in small]
    await page.set_viewport_size({"width": 320, "height": 900})
    over = await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    if over > 0:
        found.append(f"{where}: {over} pixels wider than 320")
    return found


async def test_no_page_has_a_serious_barrier_or_breaks_its_own_policy(seen: Site) -> None:
    found: list[str] = []
    context, page = await seen.open()
    for path in (*PAGES, f"/plans/{RUNNING}", f"/plans/{RUNNING}/stop", "/plans?q=nothing", f"/plans/{'0' * 32}"):
        await page.goto(seen.url + path, wait_until="domcontentloaded")
        found += await barriers(page, path)
    await context.close()
    assert found == []
    # A page that does not exist says so with its status, which a browser's console notes.
    assert [text for text in seen.problems if "404" not in text] == []


def shape(path: str) -> str:
    """A page's address without what differs between two of its kind."""
    path = re.sub(r"[0-9a-f]{32}", "ID", re.split(r"[?#]", path)[0])
    path = re.sub(r"/checks/\w+", "/checks/CHECK", path)
    return re.sub(r"/problems/\w+", "/problems/REASON", re.sub(r"/\d+(?=/|$)", "/N", path))


async def test_no_page_that_a_link_leads_to_has_a_serious_barrier(site: Site) -> None:
    """One page of each kind, beginning with those that only a form leads to; other tests look at the rest."""
    context, page = await site.open()
    draft = await drafted(site, page)
    hook = await made_webhook(site, page)
    site.house.owners.checks = [
        judged(Check.DOMAINS, "error", {"domain": "a.example", "people": 3}),
        judged(Check.SPACE_KEYS, "warning", {"space": "ENG"}, excluded=True),
        judged(Check.DURATION, "not_checked"),
    ]
    looked = {shape(path) for path in PAGES}
    waiting = ["/", "/sign-in", hook, f"/plans/{PLAN}/checks", *(f"/drafts/{draft}/{step}" for step in STEPS), *PAGES]
    kinds, found = set[str](), list[str]()
    while waiting:
        path = waiting.pop(0)
        if (kind := shape(path)) in kinds:
            continue
        kinds.add(kind)
        answer = await page.goto(site.url + path, wait_until="domcontentloaded")
        assert answer is not None and answer.status < 400, path
        if kind not in looked:
            found += await barriers(page, path, (VIEWS[0], VIEWS[-1]))
        links = await page.eval_on_selector_all("a[href]", "all => all.map(each => each.getAttribute('href'))")
        waiting += [link for link in links if link.startswith("/") and not re.search(NO_PAGE, link)]
    await context.close()
    assert found == []
    assert kinds >= {shape(f"/drafts/{draft}/{step}") for step in STEPS} | LED_TO, " ".join(sorted(kinds))


# What links lead to and is no page: files, streams, the API; and what ends the session.
NO_PAGE = r"^/(api|live|static)/|\.(csv|json|yaml|ndjson|gz)$|/sign-out|/sites/login$|format=|/schema$"
STEPS = ("analyze", "select", "spaces", "configure", "review")
LED_TO = {
    "/plans/ID/delta",
    "/plans/ID/retry-failed",
    "/plans/ID/undo",
    "/settings/webhooks/ID",
    "/settings/webhooks/ID/remove",
    "/sites/ID/credential",
    "/sources/ID/base-urls",
}


async def drafted(site: Site, page: Page) -> str:
    """The id of a plan that is being made, as far as its review."""
    await page.goto(f"{site.url}/plans/new")
    await page.get_by_label("Source").select_option(SOURCE)
    await page.get_by_role("button", name="Continue").click()
    draft = re.search(r"/drafts/([0-9a-f]+)/", page.url)
    assert draft is not None, page.url
    return draft[1]


async def made_webhook(site: Site, page: Page) -> str:
    await page.goto(f"{site.url}/settings/webhooks")
    await page.get_by_label("Name").fill("chat")
    await page.get_by_label("Address").fill("https://hooks.example.com/chat")
    await page.get_by_role("button", name="Create webhook").click()
    link = await page.get_by_role("link", name="chat").get_attribute("href")
    assert link is not None
    return link


async def test_a_plan_is_made_from_source_to_review_without_javascript(site: Site) -> None:
    context, page = await site.open(javascript=False)
    await page.get_by_role("link", name="Plans", exact=True).click()
    await page.get_by_role("link", name="Create a migration plan").click()
    await page.get_by_label("Source").select_option(SOURCE)
    await page.get_by_role("button", name="Continue").click()
    await page.get_by_role("link", name="Continue", exact=True).click()
    await page.get_by_label("No users").check()
    await page.get_by_role("button", name="Continue").click()
    await page.get_by_label("Engineering").check()
    await page.get_by_role("button", name="Add items to plan").click()
    assert "1 of 2 spaces selected" in await page.inner_text("main")
    await page.get_by_role("button", name="Continue").click()
    await page.get_by_role("button", name="Review plan").click()
    assert "There is a problem" in await page.inner_text("main") and (await page.title()).startswith("Error: ")
    await page.get_by_label("Migration plan name").fill("By hand")
    await page.get_by_label("Migration destination").select_option(SITE)
    await page.get_by_role("button", name="Review plan").click()
    assert "By hand, test" in await page.inner_text("main")
    await page.get_by_role("button", name="Save", exact=True).click()
    saved = site.house.owners.asked[-1]
    assert isinstance(saved, SavePlan) and saved.spaces == ["1"]
    await context.close()


async def test_a_page_follows_the_log_without_being_loaded_again(site: Site) -> None:
    context, page = await site.open()
    await page.goto(f"{site.url}/plans")
    await page.evaluate("window.same = true")
    await page.get_by_role("link", name="First move").focus()
    head = await site.house.parts.reads.head()
    saved = next(event for event in history() if isinstance(event, PlanSaved))
    await site.house.log.append([saved.model_copy(update={"plan": "f" * 32, "predecessor": None})])
    await expect(page.locator("#position")).to_have_text(f"{head + 1:,}", timeout=10_000)
    assert await page.evaluate("window.same"), "the page is the same document"
    focused = await page.evaluate("document.activeElement.textContent")
    assert focused == "First move", "whoever is on a link stays there"
    await context.close()


async def test_paused_updates_stay_paused_over_a_reload(seen: Site) -> None:
    context, page = await seen.open()
    await page.goto(f"{seen.url}/plans/{PLAN}")
    await page.get_by_role("button", name="Pause updates").click()
    await page.reload()
    assert await page.get_by_role("button", name="Go on updating").is_visible()
    assert "Updates are paused" in await page.inner_text("header")
    await context.close()


def _a_stream(response: Response) -> bool:
    return response.ok and response.headers.get("content-type", "").startswith("text/event-stream")


async def test_a_session_that_ends_is_said_on_the_page(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.dashboard.handlers.live.BEAT", 0.2)
    context, page = await site.open()
    async with page.expect_response(_a_stream):  # its stream stands
        await page.goto(f"{site.url}/plans/{PLAN}")
    await site.house.pool.execute("DELETE FROM vault.session")
    await page.get_by_text("Your session ended").wait_for(timeout=30_000)
    await page.reload()
    assert "Log in" in await page.title()
    await context.close()


async def test_a_session_that_ended_while_the_page_was_away_is_said_too(site: Site) -> None:
    context, page = await site.open()
    async with page.expect_response(_a_stream):
        await page.goto(f"{site.url}/plans/{PLAN}")
    await context.set_offline(True)
    await site.house.pool.execute("DELETE FROM vault.session")
    await context.set_offline(False)
    await page.evaluate("dispatchEvent(new Event('online'))")  # it asks for a new stream, and is refused
    await page.get_by_text("Your session ended").wait_for(timeout=30_000)
    await context.close()


async def test_each_stop_of_the_tab_key_is_seen(seen: Site) -> None:
    context, page = await seen.open()
    for path in ("/", f"/plans/{PLAN}", "/sources/new", "/settings"):
        await page.goto(seen.url + path, wait_until="domcontentloaded")
        for _ in range(25):
            await page.keyboard.press("Tab")
            shown = await page.evaluate(
                """() => { const e = document.activeElement; if (e === document.body) return null;
                const s = getComputedStyle(e), r = e.getBoundingClientRect();
                const h = document.querySelector('header').getBoundingClientRect();
                const inside = document.querySelector('header').contains(e);
                return [e.outerHTML.slice(0, 60), s.outlineStyle !== 'none' && s.outlineWidth !== '0px',
                        inside || e.classList.contains('skip') || r.bottom > h.bottom]; }"""
            )
            if shown is None:
                break
            assert shown[1], f"{path}: no outline on {shown[0]}"
            assert shown[2], f"{path}: {shown[0]} is under the header"
    await context.close()


async def test_the_report_prints_whole_and_without_controls(seen: Site) -> None:
    context, page = await seen.open()
    await page.goto(f"{seen.url}/plans/{PLAN}/report", wait_until="domcontentloaded")
    await page.emulate_media(media="print")
    for control in ("header", "footer", "nav", ".button", "button"):
        assert await page.locator(control).filter(visible=True).count() == 0, control
    for heading in ("Numbers", "What did not simply move", "To do by hand"):
        assert await page.get_by_role("heading", name=heading).is_visible()
    assert await page.get_by_text("of the log").first.is_visible(), "every print says as of which event it is"
    await page.pdf(path=SHOTS / "report.pdf", format="A4", print_background=True)
    await context.close()


async def test_a_stop_says_what_it_leaves_and_six_tabs_of_a_plan_all_show_the_present(seen: Site) -> None:
    """Six tabs of one browser: all of them load, and none shows less than another. The connections are too few for as many streams."""
    context, first = await seen.open()
    await first.goto(f"{seen.url}/plans/{RUNNING}/stop", wait_until="domcontentloaded")
    told = await first.inner_text("main")
    assert "Of 2 spaces, 0 are complete on the site; 1 is begun and stays private; 1 is not begun." in told
    tabs = [first] + [await context.new_page() for _ in range(5)]
    for tab in tabs:
        await tab.goto(f"{seen.url}/plans/{RUNNING}", wait_until="domcontentloaded")
    head = await seen.house.parts.reads.head()
    for tab in tabs:
        await expect(tab.locator("#position")).to_have_text(f"{head:,}", timeout=10_000)
        await expect(tab.locator("#connection")).to_be_hidden()
    await context.close()
