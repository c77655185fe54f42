"""What a person sees, with and without JavaScript, and what another site cannot do."""

from __future__ import annotations

import re
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import StreamingResponse

from services.dashboard.handlers import pages
from shared.events.checks import CHECKS, Check
from shared.events.commands import CopyPlan, DecideCheck, ReviewDomains, SavePlan, SetBaseUrls
from tests.servers import Database
from tests.store.test_projections import PLAN, SITE, SOURCE, history
from tests.unit.dashboard.house import House

PAGES = (
    "/",
    "/plans",
    f"/plans/{PLAN}",
    f"/plans/{PLAN}/archive",
    f"/plans/{PLAN}/spaces",
    f"/plans/{PLAN}/past",
    f"/plans/{PLAN}/copy",
    f"/plans/{PLAN}/report",
    f"/plans/{PLAN}/problems/file_missing",
    "/plans/new",
    "/sources",
    "/sources/new",
    f"/sources/{SOURCE}",
    f"/sources/{SOURCE}/spaces",
    "/sites",
    "/sites/new",
    "/events",
    "/events/1",
    "/settings",
    "/settings/webhooks",
)


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
        "/plans",
        "/sources",
        "/events",
        "/events/1",
        "/settings",
        f"/plans/{PLAN}/report.json",
        "/sign-in?code=no",
    ):
        answer = await told.client.get(path)
        assert answer.status_code == 401 and "First move" not in answer.text, path


async def test_the_cookie_does_not_open_the_api(browser: House) -> None:
    assert (await browser.client.get("/api/v1/plans")).status_code == 401


async def test_the_list_shows_status_in_words_and_numbers(browser: House) -> None:
    html = (await browser.client.get("/plans")).text
    assert "First move" in html and "FAILED" in html and "1 of 2 spaces migrated; 1 failed." in html
    assert "Wiki → Example" in html and "Partly on the site" in html


@pytest.mark.statement(84, 103)
async def test_a_plans_page_has_numbers_tasks_causes_and_links(browser: House) -> None:
    html = (await browser.client.get(f"/plans/{PLAN}")).text
    assert "Everything selected is accounted for" in html
    assert 'href="http://127.0.0.1:8999/wiki/spaces/ENG"' in html
    assert "space_key_conflict" in html and "Change the key, leave the space out" in html
    assert "Stop plan" not in html and "Archive" in html


async def test_pages_carry_a_strict_policy_and_nothing_inline(browser: House) -> None:
    for path in PAGES:
        answer = await browser.client.get(path)
        assert answer.status_code == 200, (path, answer.text)
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert not re.search(r"<script(?![^>]*src=)|\sstyle=|\son[a-z]+=|(?:src|action)=.https?:", answer.text), path
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


@pytest.mark.parametrize(("of", "id"), [("sources", SOURCE), ("sites", SITE)])
async def test_a_credential_is_replaced_by_a_form_that_keeps_no_secret(browser: House, of: str, id: str) -> None:
    url = f"/{of}/{id}/credential"
    form = dict(re.findall(r'name="(key|command)" value="([^"]+)"', (await browser.client.get(url)).text))
    wrong = await browser.client.post(url, data={**form, "token": "", "username": "half", "email": "half"})
    assert wrong.status_code == 422 and browser.owners.asked == []
    answer = await browser.client.post(url, data={**form, "token": "new-secret-token"})
    assert answer.status_code == 303, answer.text
    command = browser.owners.asked[-1]
    assert command.SUBJECT.endswith("_credential") and "new-secret-token" not in command.model_dump_json()


@pytest.mark.statement(77, 87, 101)
@pytest.mark.parametrize("verb", ["run", "stop"])
async def test_a_plan_is_run_and_stopped_from_its_page_which_then_shows_it(browser: House, verb: str) -> None:
    page = (await browser.client.get("/plans/new")).text
    form = dict(re.findall(r'name="(key|command)" value="([^"]+)"', page)) | {"command": "b" * 32}
    answer = await browser.client.post(f"/plans/{PLAN}/{verb}", data={**form, "consent": "true"})
    assert answer.status_code == 303 and answer.headers["location"].startswith(f"/plans/{PLAN}")
    assert f"cmd.planner.{verb}_plan" == browser.owners.asked[-1].SUBJECT


@pytest.mark.statement(4, 86)
async def test_the_live_page_starts_with_the_present_state(browser: House) -> None:
    session = browser.client.cookies["cloudward"]
    asked = Request({"type": "http", "query_string": b"", "headers": [(b"cookie", f"cloudward={session}".encode())]})
    for answer, regions in (
        (await pages.live_overview(asked, browser.parts), 2),
        (await pages.live_plans(asked, browser.parts), 1),
        (await pages.live_plan(asked, browser.parts, PLAN), 6),
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


@pytest.mark.statement(102)
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


async def test_the_overview_says_what_needs_somebody_and_leads_there(browser: House) -> None:
    html = (await browser.client.get("/")).text
    assert "“First move” failed." in html and f'href="/plans/{PLAN}#causes-title"' in html
    assert "No plan runs." in html and "1 source" in html and "1 site" in html


@pytest.mark.statement(27)
async def test_an_empty_deployment_says_what_to_do_first(house: House) -> None:
    link = (await house.client.post("/api/v1/sign-in-links", json={})).json()["path"]
    await house.client.get(link)
    for path, words in (
        ("/", "Add a source"),
        ("/plans", "There is none yet"),
        ("/sources", "only ever read"),
        ("/sites", "write to"),
    ):
        assert words in (await house.client.get(path)).text, path
    viewer = (await house.client.post("/api/v1/sign-in-links", json={"role": "viewer"})).json()["path"]
    house.client.cookies.clear()
    await house.client.get(viewer)
    assert "Add a source</a>" not in (await house.client.get("/sources")).text, "what a role can never do is absent"


@pytest.mark.statement(83, 85, 89)
async def test_the_list_of_plans_is_searched_filtered_and_says_how_many_there_are(browser: House) -> None:
    found = (await browser.client.get("/plans", params={"q": "first", "status": "FAILED"})).text
    assert "First move" in found and "1 of 1" in found and "remove the search" in found
    none = (await browser.client.get("/plans", params={"q": "100%_of nothing"})).text
    assert "No plan matches" in none and "1 without filters" in none and "Clear filters" in none
    assert "First move" in (await browser.client.get("/plans?page=99&sort=-name&status=NONSENSE")).text


async def test_the_spaces_of_a_plan_come_worst_first_and_can_be_filtered(browser: House) -> None:
    every = (await browser.client.get(f"/plans/{PLAN}/spaces")).text
    assert every.index("OPS") < every.index("ENG"), "what failed comes first"
    assert 'aria-sort="ascending"' in every
    done = (await browser.client.get(f"/plans/{PLAN}/spaces?state=migrated")).text
    assert "Engineering" in done and "Operations" not in done


async def test_a_plan_can_be_seen_as_it_was(browser: House) -> None:
    first = await browser.parts.reads.pool.fetchval(
        "SELECT min(position) FROM log.events WHERE stream = $1", f"plan-{PLAN}"
    )
    html = (await browser.client.get(f"/plans/{PLAN}/past", params={"at": str(first)})).text
    assert "READY" in html and "Not live" in html and "Back to now" in html
    assert "FAILED" in (await browser.client.get(f"/plans/{PLAN}/past")).text


async def test_a_source_is_added_by_a_form_that_keeps_what_was_typed(browser: House) -> None:
    page = (await browser.client.get("/sources/new")).text
    form = dict(re.findall(r'name="(key|command)" value="([^"]+)"', page))
    wrong = await browser.client.post("/sources/new", data={**form, "name": "Wiki 2", "username": "bot"})
    assert wrong.status_code == 422 and 'value="Wiki 2"' in wrong.text and "There is a problem" in wrong.text
    assert browser.owners.asked == []
    right = {**form, "name": "Wiki 2", "location": "https://wiki.example.com", "token": "secret-token"}
    answer = await browser.client.post("/sources/new", data=right)
    assert answer.status_code == 303
    command = browser.owners.asked[-1]
    assert type(command).__name__ == "RegisterSource" and "secret-token" not in repr(command)


async def test_a_site_is_added_and_a_source_analyzed_and_repaired_by_forms(browser: House) -> None:
    async def form(path: str) -> dict[str, str]:
        return dict(re.findall(r'name="(key|command)" value="([^"]+)"', (await browser.client.get(path)).text))

    data = {
        **await form("/sites/new"),
        "name": "S",
        "url": "https://s.atlassian.net",
        "email": "a@example.com",
        "token": "t",
    }
    assert (await browser.client.post("/sites/new", data=data)).status_code == 303
    key = await form(f"/sources/{SOURCE}")
    assert (await browser.client.post(f"/sources/{SOURCE}/analyze", data=key)).status_code == 303
    repair = {**key, "command": "b" * 32, "duplicates": "former", "others": "former"}
    assert (await browser.client.post(f"/sources/{SOURCE}/repair", data=repair)).status_code == 303
    assert [type(command).__name__ for command in browser.owners.asked] == [
        "RegisterSite",
        "Analyze",
        "RepairAddresses",
    ]
    assert (await browser.client.get(f"/sources/{SITE}")).status_code == 404


async def test_domains_are_reviewed_by_a_form(browser: House, database: Database) -> None:
    admin = await database.connect()
    await admin.execute(
        "INSERT INTO people.person (key, source, id, email, active, address)"
        " SELECT n::text, $1, 'd' || n, n || '@domain' || n % 3 || '.example', true, 'usable' FROM generate_series(1, 9) n",
        SOURCE,
    )
    html = (await browser.client.get(f"/sources/{SOURCE}")).text
    assert "3 domains of 3 are not trusted" in html and html.count("Not decided") == 3
    key = dict(re.findall(r'name="(key|command)" value="([^"]+)"', html))
    form = {**key, "do": "distrust", "domain": ["domain1.example", "domain2.example"]}
    assert (await browser.client.post(f"/sources/{SOURCE}/domains", data=form)).status_code == 303
    form = {**key, "command": "c" * 32, "do": "trust-all"}
    assert (await browser.client.post(f"/sources/{SOURCE}/domains", data=form)).status_code == 303
    assert (await browser.client.post(f"/sources/{SOURCE}/domains", data={**form, "do": "trust"})).status_code == 303
    asked = [(c.trusted, c.untrusted, c.every) for c in browser.owners.asked if isinstance(c, ReviewDomains)]
    assert asked == [([], ["domain1.example", "domain2.example"], False), ([], [], True)], "nothing ticked asks nothing"
    await admin.close()


async def test_other_addresses_of_a_source_are_named_on_a_page_of_their_own(browser: House) -> None:
    html = (await browser.client.get(f"/sources/{SOURCE}")).text
    assert "absolute links stay as they are" in html and f"/sources/{SOURCE}/base-urls" in html
    html = (await browser.client.get(f"/sources/{SOURCE}/base-urls")).text
    key = dict(re.findall(r'name="(key|command)" value="([^"]+)"', html))
    wrong = await browser.client.post(
        f"/sources/{SOURCE}/base-urls", data={**key, "base_urls": "https://old.example.com wiki"}
    )
    assert (
        wrong.status_code == 422 and 'value="https://old.example.com wiki"' in wrong.text and "Give each" in wrong.text
    )
    form = {**key, "base_urls": " https://old.example.com/  http://older.example.com/wiki"}
    assert (await browser.client.post(f"/sources/{SOURCE}/base-urls", data=form)).status_code == 303
    asked = [c.base_urls for c in browser.owners.asked if isinstance(c, SetBaseUrls)]
    assert asked == [("https://old.example.com", "http://older.example.com/wiki")]


async def test_what_was_odd_about_an_export_stands_with_its_source(browser: House, database: Database) -> None:
    assert "odd about the export" not in (await browser.client.get(f"/sources/{SOURCE}")).text
    admin = await database.connect()
    note = '{"code": "table_unread", "count": 1234, "examples": ["likes", "<b>"], "meaning": "Rows of likes."}'
    await admin.execute(
        f"""UPDATE people.source SET info = '{{"version": null, "notes": [{note}]}}' WHERE id = $1""", SOURCE
    )
    html = (await browser.client.get(f"/sources/{SOURCE}")).text
    assert "What was odd about the export" in html and "Rows of likes." in html and "likes, &lt;b&gt;" in html
    await admin.execute("UPDATE people.source SET info = NULL WHERE id = $1", SOURCE)
    await admin.close()


async def test_the_event_log_is_followed_from_one_event_to_its_request(browser: House) -> None:
    html = (await browser.client.get("/events")).text
    order = [html.index(f'scope="row">{event}') for event in ("Plan failed", "Plan started", "Plan saved")]
    assert order == sorted(order), "newest first"
    one = (await browser.client.get("/events/1")).text
    follow = re.search(r'href="(/events\?correlation=[0-9a-f]{32})"', one)
    assert follow and (await browser.client.get(follow[1])).status_code == 200
    only = (await browser.client.get("/events", params={"type": "PlanStarted", "plan": PLAN})).text
    assert only.count('<a href="/events/') == 1
    assert (await browser.client.get("/events/999999")).status_code == 404


async def test_a_token_made_on_the_settings_page_is_shown_once(browser: House) -> None:
    page = (await browser.client.get("/settings")).text
    form = dict(re.findall(r'name="(key|command)" value="([^"]+)"', page))
    made = await browser.client.post("/settings/tokens", data={**form, "name": "ci", "role": "viewer", "days": "30"})
    secret = re.search(r"cw_[\w-]{40,}", made.text)
    assert secret and secret[0] not in (await browser.client.get("/settings")).text
    assert (
        await browser.client.get("/api/v1/plans", headers={"Authorization": f"Bearer {secret[0]}"})
    ).status_code == 200
    token = re.search(r"/settings/tokens/([0-9a-f]{32})/revoke", made.text)
    assert token
    await browser.client.post(f"/settings/tokens/{token[1]}/revoke", data=form)
    assert (
        await browser.client.get("/api/v1/plans", headers={"Authorization": f"Bearer {secret[0]}"})
    ).status_code == 401


@pytest.mark.statement(60, 62, 63, 65, 73, 74, 75, 76, 88)
async def test_a_plan_is_created_in_five_steps_that_can_be_left_and_taken_up_again(browser: House) -> None:
    get, post = browser.client.get, browser.client.post

    async def form(path: str) -> dict[str, str]:
        return dict(re.findall(r'name="(key|command)" value="([^"]+)"', (await get(path)).text))

    key = await form("/plans/new")
    begun = await post("/plans/new", data={**key, "source": SOURCE})
    draft = begun.headers["location"].removesuffix("/analyze")
    assert "Continue" in (await get(f"{draft}/analyze")).text
    assert (await post(f"{draft}/select", data={**key, "users": "none"})).headers["location"] == f"{draft}/spaces"
    page = (await get(f"{draft}/spaces")).text
    assert "0 of 2 spaces selected" in page and "Select all 2" in page
    await post(f"{draft}/spaces", data={**key, "do": "all"})
    assert "2 of 2 spaces selected" in (await get(f"{draft}/spaces")).text
    await post(f"{draft}/spaces?q=eng", data={**key, "shown": "1", "do": "keep"})
    assert "1 of 2 spaces selected" in (await get(f"{draft}/spaces")).text, "a tick that was taken off is off"
    wrong = await post(f"{draft}/configure", data={**key, "name": "", "site": ""})
    assert wrong.status_code == 422 and "Choose the site" in wrong.text
    right = {**key, "name": "Second move", "site": SITE, "key_conflicts": "skip", "versions": "3"}
    assert (await post(f"{draft}/configure", data=right)).headers["location"] == f"{draft}/review"
    review = (await get(f"{draft}/review")).text
    assert "Second move, test" in review and "1 space of Wiki" in review and "is left out" in review
    listed = (await get("/plans/new")).text
    assert "Second move" in listed and draft in listed, "somebody else finds it where it was left"
    done = await post(
        f"{draft}/review", data={**await form(f"{draft}/review"), "accepted": "generic_group", "do": "save"}
    )
    assert done.status_code == 303
    command = browser.owners.asked[-1]
    assert isinstance(command, SavePlan) and (command.name, command.spaces, command.users) == (
        "Second move",
        ["2"],
        "none",
    )
    assert command.key_conflicts == "skip" and command.options.versions == 3 and command.accepted == ["generic_group"]
    assert (await get(f"{draft}/review")).status_code == 404, "what became a plan is no draft any more"


async def test_what_deletes_or_reaches_a_production_site_asks_for_the_sites_name(browser: House) -> None:
    await browser.pool.execute("UPDATE read.plan SET status = 'READY', stage = 'production', started_at = NULL")
    html = (await browser.client.get(f"/plans/{PLAN}/run")).text
    form = dict(re.findall(r'name="(key|command)" value="([^"]+)"', html))
    assert "type the site’s name: Example" in html
    for name in ("", "example "):
        refused = await browser.client.post(f"/plans/{PLAN}/run", data={**form, "site": name})
        assert refused.status_code == 422 and "Nothing was done" in refused.text
    assert browser.owners.asked == []
    assert (await browser.client.post(f"/plans/{PLAN}/run", data={**form, "site": "Example"})).status_code == 303
    assert type(browser.owners.asked[-1]).__name__ == "RunPlan"


def judged(check: Check, result: str, *findings: dict[str, object], **more: object) -> dict[str, Any]:
    """A check as the planner tells it."""
    explained = CHECKS[check]
    told = {"meaning": explained.meaning, "way_on": explained.way_on, "blocks": explained.blocks}
    known = {"check": check, "result": result, "excludable": explained.excludable, "excluded": False}
    return {
        **told,
        **known,
        "count": len(findings),
        "findings": list(findings),
        "checked_at": None,
        "round": None,
        **more,
    }


async def test_the_checks_of_a_plan_say_what_forbids_its_run_and_the_way_to_run_leads_there(browser: House) -> None:
    await browser.pool.execute("UPDATE read.plan SET status = 'READY', started_at = NULL")
    browser.owners.checks = [
        judged(Check.TITLE_CLASHES, "passed"),
        judged(Check.SPACE_KEYS, "warning", {"space": "ENG", "taken by": "Engineering"}),
        judged(Check.DOMAINS, "error", {"domain": "a.example", "people": 3}, {"domain": "b.example", "people": 1}),
        judged(Check.CONSENT, "error", {"needed": "someone has to agree"}),
    ]
    html = (await browser.client.get(f"/plans/{PLAN}/checks")).text
    order = [html.index(f"/checks/{name}") for name in ("domains", "consent", "space_keys", "title_clashes")]
    assert order == sorted(order), "what forbids the run comes first"
    assert "2 checks forbid the run" in html and "1 check warns" in html and "--trust-all" in html
    one = (await browser.client.get(f"/plans/{PLAN}/checks/domains")).text
    assert "a.example" in one and "All 2 rows as CSV" in one and "Leave this check out" not in one
    assert (await browser.client.get(f"/plans/{PLAN}/checks/domains/findings.csv")).text.startswith("domain,people")
    run = (await browser.client.get(f"/plans/{PLAN}/run")).text
    assert (
        f'href="/plans/{PLAN}/checks/domains"' in run
        and "1 check forbids" in run
        and "<button" not in run.split("<h1>")[1]
    )
    assert (await browser.client.get(f"/plans/{PLAN}/checks/nothing")).status_code == 404


async def test_a_check_is_left_out_by_a_form_and_a_round_of_them_asked_for(browser: House) -> None:
    await browser.pool.execute("UPDATE read.plan SET status = 'READY', started_at = NULL")
    browser.owners.checks = [judged(Check.SPACE_KEYS, "warning", {"space": "ENG"})]
    page = (await browser.client.get(f"/plans/{PLAN}/checks/space_keys")).text
    form = dict(re.findall(r'name="(key|command|excluded)" value="([^"]+)"', page))
    assert "Leave this check out" in page and form["excluded"] == "true"
    answer = await browser.client.post(f"/plans/{PLAN}/checks/space_keys", data=form)
    assert (answer.status_code, answer.headers["location"]) == (303, f"/plans/{PLAN}/checks")
    asked = [each for each in browser.owners.asked if isinstance(each, DecideCheck)]
    assert [(each.check, each.excluded) for each in asked] == [(Check.SPACE_KEYS, True)]


async def test_a_plan_is_copied_under_another_name(browser: House) -> None:
    html = (await browser.client.get(f"/plans/{PLAN}/copy")).text
    form = dict(re.findall(r'name="(key|command)" value="([^"]+)"', html))
    assert 'value="First move (copy)"' in html
    assert (await browser.client.post(f"/plans/{PLAN}/copy", data={**form, "name": "Again"})).status_code == 303
    asked = browser.owners.asked[-1]
    assert isinstance(asked, CopyPlan) and asked.name == "Again"


async def test_a_cause_leads_to_everything_that_ended_so_and_the_report_to_what_is_to_do(browser: House) -> None:
    html = (await browser.client.get(f"/plans/{PLAN}")).text
    assert f'href="/plans/{PLAN}/problems/file_missing"' in html
    rows = (await browser.client.get(f"/plans/{PLAN}/problems/file_missing")).text
    assert "Attachment" in rows and "What to do" in rows
    assert (await browser.client.get(f"/plans/{PLAN}/problems/plan_stopped")).status_code == 404
    report = (await browser.client.get(f"/plans/{PLAN}/report")).text
    assert "Everything selected is accounted for" in report and "To do by hand" in report
    assert "as CSV" in report and "Verification" in report


async def test_the_review_says_how_many_people_the_chosen_spaces_bring_along(
    browser: House, database: Database
) -> None:
    admin = await database.connect()
    await admin.execute(
        "INSERT INTO people.person (key, source, id, active, address) SELECT n::text, $1, 'r' || n, n <= 900, 'usable'"
        " FROM generate_series(1, 1156) n",
        SOURCE,
    )
    await admin.execute("INSERT INTO people.related SELECT $1, '1', n::text FROM generate_series(1, 1156) n", SOURCE)
    await admin.execute("INSERT INTO people.related SELECT $1, '2', n::text FROM generate_series(1, 5) n", SOURCE)
    await admin.close()
    get, post = browser.client.get, browser.client.post
    key = dict(re.findall(r'name="(key|command)" value="([^"]+)"', (await get("/plans/new")).text))
    draft = (await post("/plans/new", data={**key, "source": SOURCE})).headers["location"].removesuffix("/analyze")
    await post(f"{draft}/select", data={**key, "users": "related"})
    await post(f"{draft}/spaces", data={**key, "do": "all"})
    review = (await get(f"{draft}/review")).text
    assert "1,156 users, 900 of them enabled at the source, most by ENG (1,156)" in review
    await post(f"{draft}/select", data={**key, "users": "none"})
    assert "1,156 users whom content names come along without access" in (await get(f"{draft}/review")).text
