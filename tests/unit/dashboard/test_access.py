"""Who may call what: every route, every role, and nobody at all; links, sessions and tokens."""

from __future__ import annotations

import re
from itertools import product

import httpx
import pytest

from services.dashboard.app import create_app, needs
from services.dashboard.domain.access import Attempts, Permission, Role, local_path, mapped_role, read_mapping
from services.dashboard.handlers.context import API
from tests.store.test_projections import PLAN
from tests.unit.dashboard.house import House

OPEN = {("GET", "/sign-in"), ("GET", "/sign-in/oidc"), ("GET", "/sign-in/answer"), ("GET", "/oauth/callback")}
# What each role may, written down once more: a route that needs more or less than this is a finding.
MAY = {
    None: set(),
    Role.VIEWER: {"read"},
    Role.OPERATOR: {"read", "operate"},
    Role.AUDITOR: {"read", "audit"},
    Role.ADMIN: {"read", "operate", "audit", "administer"},
}


def expected_need(method: str, path: str) -> str:
    """By the issue: looking is everybody's, acting the operator's, keys the administrator's."""
    if path.startswith((f"{API}/tokens", f"{API}/sign-in-links", f"{API}/webhooks", "/settings")):
        return "administer"
    if path.startswith(("/drafts", "/sites/login", "/sites/{site}/login")) or path == "/plans/new":
        return "operate"
    if path == "/sign-out":
        return "read"
    return "read" if method == "GET" else "operate"


def concrete(path: str) -> str:
    path = path.replace("{plan}", PLAN).replace("{verb}", "archive").replace("{position}", "1")
    return re.sub(r"\{[a-z_]+(:path)?\}", "0" * 32, path)


async def as_role(house: House, role: Role | None) -> dict[str, str]:
    """A bearer token of this role, or none."""
    if role is None:
        return {"Authorization": ""}
    made = await house.client.post(f"{API}/tokens", json={"name": f"for {role}", "role": role})
    assert made.status_code == 201, made.text
    return {"Authorization": f"Bearer {made.json()['token']}"}


async def test_every_route_of_the_api_answers_every_role_as_the_table_says(told: House) -> None:
    routes = sorted(route for route in needs(create_app(told.parts)) if route[1].startswith(API))
    assert len(routes) > 25
    headers = {role: await as_role(told, role) for role in MAY}
    for (method, path), role in product(routes, MAY):
        if path.endswith("/stream"):
            continue  # it never ends; its router is asked below
        answer = await told.client.request(method, concrete(path), headers=headers[role], json={})
        if role is None:
            assert answer.status_code == 401, (method, path)
        elif expected_need(method, path) in MAY[role]:
            assert answer.status_code not in (401, 403), (method, path, role, answer.text)
        else:
            assert answer.status_code == 403 and answer.json()["code"] == "role_not_permitted", (method, path, role)


async def test_every_page_answers_every_role_as_the_table_says(told: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that may be read is read; a form that may not be sent is refused, whatever it holds."""
    monkeypatch.setattr("services.dashboard.handlers.pages_checks.PATIENCE", 0.0)
    app = create_app(told.parts)
    routes = sorted(
        route for route in needs(app) if not route[1].startswith(API) and route not in OPEN and route[1] != "/sign-out"
    )
    for role, may in MAY.items():
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as browser:
            if role is not None:
                link = await told.client.post(f"{API}/sign-in-links", json={"role": role})
                assert (await browser.get(link.json()["path"])).status_code == 303
            caller = await told.parts.access.session(browser.cookies.get("cloudward"))
            form = {"key": caller.form_key if caller else "", "command": "a" * 32}
            for method, path in routes:
                if path.startswith("/live"):
                    continue
                send = {"data": form} if method == "POST" else {}
                answer = await browser.request(method, concrete(path), **send)  # type: ignore[arg-type]
                if role is None:
                    assert answer.status_code == 401, (method, path)
                elif expected_need(method, path) in may:
                    assert answer.status_code not in (401, 403), (method, path, role, answer.status_code)
                else:
                    assert answer.status_code == 403, (method, path, role)


async def test_streams_need_what_their_pages_need(told: House) -> None:
    found = needs(create_app(told.parts))
    for (method, path), need in found.items():
        if path.startswith("/live") or path.endswith("/stream"):
            assert need is not None and need.permission(method) is Permission.READ, path


def test_a_route_that_names_no_need_keeps_the_application_from_starting(told: House) -> None:
    app = create_app(told.parts)
    app.add_api_route("/forgotten", lambda: None)
    with pytest.raises(RuntimeError, match="/forgotten"):
        needs(app)


@pytest.mark.statement(90, 91)
async def test_plans_cannot_be_edited_or_deleted_by_anybody(told: House) -> None:
    for method in ("PUT", "PATCH", "DELETE"):
        answer = await told.client.request(method, f"{API}/plans/{PLAN}")
        assert answer.status_code == 405 and answer.json()["code"] == "plan_immutable"


async def test_a_link_logs_in_once_and_says_so_afterwards(house: House) -> None:
    link = (await house.client.post(f"{API}/sign-in-links", json={"role": "viewer"})).json()["path"]
    first = await house.client.get(f"{link}&back=/plans")
    assert first.status_code == 303 and first.headers["location"] == "/plans"
    again = await house.client.get(link)
    assert again.status_code == 401 and "used already" in again.text
    types = [row["type"] for row in await house.parts.reads.log(0, 100, None)]
    assert types == ["SignedIn", "SignInRefused"]


async def test_logging_out_ends_the_session_and_not_only_the_cookie(house: House) -> None:
    await house.client.get((await house.client.post(f"{API}/sign-in-links")).json()["path"])
    cookie = house.client.cookies["cloudward"]
    caller = await house.parts.access.session(cookie)
    assert caller is not None
    assert (await house.client.post("/sign-out", data={"key": "guess"})).status_code == 403
    assert (await house.client.post("/sign-out", data={"key": caller.form_key})).status_code == 303
    house.client.cookies.set("cloudward", cookie)
    assert (await house.client.get("/")).status_code == 401


async def test_a_token_is_shown_once_and_is_worth_nothing_when_revoked_or_expired(house: House) -> None:
    made = await house.client.post(
        f"{API}/tokens", json={"name": "ci", "role": "operator", "days": 1}, headers={"Idempotency-Key": "k"}
    )
    id, secret = made.json()["id"], made.json()["token"]
    repeated = await house.client.post(
        f"{API}/tokens", json={"name": "ci", "role": "operator", "days": 1}, headers={"Idempotency-Key": "k"}
    )
    assert repeated.json() == {"id": id, "token": None}
    listed = (await house.client.get(f"{API}/tokens")).text
    assert "ci" in listed and secret not in listed
    stored = await house.pool.fetchval("SELECT string_agg(t::text, ' ') FROM vault.token t")
    assert secret not in stored
    mine = {"Authorization": f"Bearer {secret}"}
    assert (await house.client.get(f"{API}/plans", headers=mine)).status_code == 200
    await house.pool.execute("UPDATE vault.token SET expires_at = now() - interval '1 second'")
    assert (await house.client.get(f"{API}/plans", headers=mine)).status_code == 401
    await house.pool.execute("UPDATE vault.token SET expires_at = NULL")
    assert (await house.client.post(f"{API}/tokens/{id}/revoke")).status_code == 200
    assert (await house.client.get(f"{API}/plans", headers=mine)).status_code == 401
    types = [row["type"] for row in await house.parts.reads.log(0, 100, None)]
    assert types == ["TokenCreated", "TokenRevoked"]


async def test_a_command_carries_the_token_that_sent_it(house: House) -> None:
    made = (await house.client.post(f"{API}/tokens", json={"name": "ci", "role": "operator"})).json()
    headers = {"Authorization": f"Bearer {made['token']}"}
    body = {"name": "Wiki", "location": "/exports/wiki.zip"}
    assert (await house.client.post(f"{API}/sources", json=body, headers=headers)).status_code == 201
    assert house.owners.asked[-1].actor.key == made["id"]


async def test_whoever_fails_too_often_has_to_wait(house: House) -> None:
    for _ in range(10):
        assert (await house.client.get("/sign-in", params={"code": "guess"})).status_code == 401
    answer = await house.client.get("/sign-in", params={"code": "guess"})
    assert answer.status_code == 429 and "Wait" in answer.text
    refused = [row for row in await house.parts.reads.log(0, 100, None) if row["type"] == "SignInRefused"]
    assert len(refused) == 1, "a flood of attempts is no flood of events"


def test_attempts_are_forgotten_after_their_time_and_counted_by_address() -> None:
    attempts = Attempts(most=2, window=60)
    assert attempts.failed("a", 0) and not attempts.failed("a", 1)
    assert attempts.wait("a", 2) == 58 and attempts.wait("b", 2) == 0 and attempts.wait("a", 60) == 0


@pytest.mark.parametrize(
    "given", ["//evil.example", "https://evil.example", "/\\evil.example", "", None, "plans", "/a\nb"]
)
def test_after_the_login_nobody_is_sent_to_another_site(given: str | None) -> None:
    assert local_path(given) == "/"
    assert local_path("/plans?q=a") == "/plans?q=a"


def test_of_several_groups_the_one_with_the_highest_role_counts() -> None:
    mapping = read_mapping("wiki-admins=admin, everyone = viewer,team=a=operator")
    assert mapping == {"wiki-admins": Role.ADMIN, "everyone": Role.VIEWER, "team=a": Role.OPERATOR}
    assert mapped_role(["everyone", "team=a"], mapping) is Role.OPERATOR
    assert mapped_role(["strangers"], mapping) is None
    assert mapped_role([], {"*": Role.VIEWER}) is Role.VIEWER
    for wrong in ("admins", "admins=owner", "=admin"):
        with pytest.raises(ValueError, match="group=role"):
            read_mapping(wrong)
