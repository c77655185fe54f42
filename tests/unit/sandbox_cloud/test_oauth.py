"""OAuth 2.0 (3LO) and the gateway: consent, rotation with reuse detection, what a token opens and what it does not."""

from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from sandbox.app import Sandbox
from tests.unit.sandbox_cloud.conftest import Site

CLIENT = {"client_id": "sandbox-client", "client_secret": "sandbox-client-secret"}
SCOPES = "read:page:confluence write:page:confluence read:space:confluence write:confluence-space read:confluence-user"
BACK = "http://127.0.0.1:1/callback"
MIGRATOR = "migrator@example.com"


class App:
    """An app that wants to reach the sites of this process."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.http = httpx.AsyncClient(base_url=sandbox.atlassian_url, trust_env=False, timeout=10)

    def asked(self, scope: str) -> dict[str, str]:
        return {
            "audience": "api.atlassian.com",
            "client_id": "sandbox-client",
            "scope": scope,
            "redirect_uri": BACK,
            "state": "s1",
            "response_type": "code",
            "prompt": "consent",
        }

    async def decide(self, site: Site, email: str, scope: str, decision: str = "accept") -> httpx.Response:
        cloud_id = site.sandbox.fronts[site.name].back.site.cloud_id  # type: ignore[attr-defined]
        return await self.http.post(
            "/authorize", data=self.asked(scope) | {"email": email, "site": cloud_id, "decision": decision}
        )

    async def code(self, site: Site, email: str = MIGRATOR, scope: str = f"{SCOPES} offline_access") -> str:
        reply = await self.decide(site, email, scope)
        assert reply.status_code == 302, reply.text
        query = parse_qs(urlsplit(reply.headers["location"]).query)
        assert query["state"] == ["s1"]
        return query["code"][0]

    async def by_code(self, code: str) -> httpx.Response:
        body = CLIENT | {"grant_type": "authorization_code", "code": code, "redirect_uri": BACK}
        return await self.http.post("/oauth/token", json=body)

    async def refresh(self, token: str) -> httpx.Response:
        return await self.http.post(
            "/oauth/token", json=CLIENT | {"grant_type": "refresh_token", "refresh_token": token}
        )

    async def tokens(self, site: Site, **more: Any) -> dict[str, Any]:
        return (await self.by_code(await self.code(site, **more))).json()

    async def get(self, token: str, path: str, **more: Any) -> httpx.Response:
        return await self.http.get(path, headers={"Authorization": f"Bearer {token}"}, **more)


@pytest.fixture
async def app(sandbox: Sandbox) -> Any:
    made = App(sandbox)
    yield made
    await made.http.aclose()
    sandbox.authorization.settings.access_lifetime = 3600.0


def gateway(site: Site, path: str, product: str = "confluence") -> str:
    return f"/ex/{product}/{site.sandbox.fronts[site.name].back.site.cloud_id}{path}"  # type: ignore[attr-defined]


async def test_the_page_lets_a_person_choose_account_and_site_and_names_the_scopes(app: App, site: Site):
    page = await app.http.get("/authorize", params=app.asked(SCOPES))
    assert page.status_code == 200
    assert MIGRATOR in page.text and site.name in page.text and "write:page:confluence" in page.text
    wrong = await app.http.get("/authorize", params=app.asked(SCOPES) | {"client_id": "other"})
    assert wrong.status_code == 400


async def test_whoever_denies_is_sent_back_with_the_reason(app: App, site: Site):
    reply = await app.decide(site, MIGRATOR, SCOPES, decision="deny")
    assert parse_qs(urlsplit(reply.headers["location"]).query)["error"] == ["access_denied"]


async def test_a_code_is_good_for_one_exchange_and_a_second_one_ends_the_grant(app: App, site: Site):
    code = await app.code(site)
    first = await app.by_code(code)
    assert first.status_code == 200
    assert (await app.by_code(code)).status_code == 403
    assert (await app.get(first.json()["access_token"], "/oauth/token/accessible-resources")).status_code == 401


async def test_a_refresh_token_is_used_once_and_its_second_use_ends_all_tokens_of_the_grant(app: App, site: Site):
    first = await app.tokens(site)
    second = (await app.refresh(first["refresh_token"])).json()
    assert second["refresh_token"] != first["refresh_token"]
    assert (await app.get(second["access_token"], "/oauth/token/accessible-resources")).status_code == 200
    reused = await app.refresh(first["refresh_token"])
    assert (reused.status_code, reused.json()["error"]) == (403, "invalid_grant")
    assert (await app.refresh(second["refresh_token"])).status_code == 403
    assert (await app.get(second["access_token"], "/oauth/token/accessible-resources")).status_code == 401


async def test_without_offline_access_there_is_no_refresh_token(app: App, site: Site):
    assert "refresh_token" not in await app.tokens(site, scope=SCOPES)


async def test_an_access_token_lives_as_long_as_the_administration_says(app: App, site: Site):
    admin = httpx.AsyncClient(base_url=site.sandbox.admin_url, trust_env=False)
    assert (await admin.put("/oauth", json={"access_lifetime": 60})).json()["access_lifetime"] == 60
    assert (await admin.put("/oauth", json={"nonsense": 60})).status_code == 400
    await admin.aclose()
    tokens = await app.tokens(site)
    assert tokens["expires_in"] == 60
    authorization = site.sandbox.authorization
    clock = authorization.clock
    try:
        authorization.clock = lambda: clock() + 61
        assert (await app.get(tokens["access_token"], gateway(site, "/wiki/api/v2/spaces"))).status_code == 401
        assert (await app.refresh(tokens["refresh_token"])).status_code == 200
    finally:
        authorization.clock = clock


async def test_accessible_resources_name_the_site_by_product_and_only_what_was_granted(
    app: App, site: Site, make_site: Any
):
    other = await make_site()
    tokens = await app.tokens(site, scope=f"{SCOPES} read:jira-user")
    found = (await app.get(tokens["access_token"], "/oauth/token/accessible-resources")).json()
    assert [(item["url"], item["name"]) for item in found] == [(site.url, site.name)] * 2
    assert found[1]["scopes"] == ["read:jira-user"]
    reply = await app.get(tokens["access_token"], gateway(other, "/wiki/api/v2/spaces"))
    assert reply.status_code == 404


async def test_the_gateway_answers_v2_as_the_account_and_writes_into_the_site_and_its_journal(app: App, site: Site):
    space = await site.space("ENG")
    tokens = await app.tokens(site)
    reply = await app.http.post(
        gateway(site, "/wiki/api/v2/pages"),
        headers={"Authorization": f"Bearer {tokens['access_token']}"},
        json={"spaceId": str(space["id"]), "status": "current", "title": "By gateway", "body": {}},
    )
    assert reply.status_code == 200, reply.text
    assert reply.json()["_links"]["base"] == f"{site.url}/wiki"
    entries = (await site.admin.get("/journal")).json()["entries"]
    assert (entries[-1]["account"], entries[-1]["path"]) == (MIGRATOR, "/wiki/api/v2/pages")


async def test_v1_operations_that_v2_replaces_are_gone_on_the_gateway_and_answer_on_the_site(app: App, site: Site):
    await site.space("ENG")
    tokens = await app.tokens(site)
    gone = await app.get(tokens["access_token"], gateway(site, "/wiki/rest/api/space/ENG"))
    assert (gone.status_code, "GoneException" in gone.json()["message"]) == (410, True)
    assert (await site.migrator.get("/wiki/rest/api/space/ENG")).status_code == 200
    kept = await app.get(tokens["access_token"], gateway(site, "/wiki/rest/api/user/current"))
    assert kept.json()["email"] == MIGRATOR


async def test_a_scope_that_was_not_granted_opens_nothing(app: App, site: Site):
    space = await site.space("ENG")
    tokens = await app.tokens(site, scope="read:space:confluence")
    assert (await app.get(tokens["access_token"], gateway(site, "/wiki/api/v2/spaces"))).status_code == 200
    refused = await app.get(tokens["access_token"], gateway(site, f"/wiki/api/v2/spaces/{space['id']}/pages"))
    assert (refused.status_code, refused.json()["message"]) == (401, "Unauthorized; scope does not match")


async def test_no_app_may_write_classic_space_permissions(app: App, site: Site):
    await site.space("ENG")
    tokens = await app.tokens(site, scope="write:confluence-space write:space.permission:confluence")
    reply = await app.http.post(
        gateway(site, "/wiki/rest/api/space/ENG/permission"),
        headers={"Authorization": f"Bearer {tokens['access_token']}"},
        json={},
    )
    assert reply.status_code == 403


async def test_a_token_can_do_no_more_than_the_account_that_logged_in(app: App, site: Site):
    tokens = await app.tokens(site, email="reader@example.com")
    reply = await app.http.post(
        gateway(site, "/wiki/rest/api/space"),
        headers={"Authorization": f"Bearer {tokens['access_token']}"},
        json={"key": "X", "name": "X"},
    )
    assert reply.status_code == 403
    me = await app.get(tokens["access_token"], gateway(site, "/wiki/rest/api/user/current?expand=operations"))
    assert [item["operation"] for item in me.json()["operations"]] == ["use"]


async def test_a_scoped_api_token_is_for_the_gateway_only(app: App, make_site: Any):
    scopes = ["read:space:confluence"]
    site = await make_site(scoped_tokens={MIGRATOR: {"token": "scoped", "scopes": scopes}})
    assert (await site.client((MIGRATOR, "scoped")).get("/wiki/api/v2/spaces")).status_code == 401
    reply = await app.http.get(gateway(site, "/wiki/api/v2/spaces"), auth=(MIGRATOR, "scoped"))
    assert reply.status_code == 200


async def test_a_fault_of_the_authorization_server_is_asked_for_like_those_of_a_site(app: App, site: Site):
    tokens = await app.tokens(site)
    admin = httpx.AsyncClient(base_url=f"{site.sandbox.admin_url}/sites/atlassian", trust_env=False)
    await admin.post("/faults", json={"method": "POST", "route": "/oauth/token", "when": "after", "status": 503})
    assert (await app.refresh(tokens["refresh_token"])).status_code == 503
    # The token took effect although nobody heard of it: used again, it ends the grant.
    assert (await app.refresh(tokens["refresh_token"])).status_code == 403
    await admin.delete("/faults")
    await admin.aclose()


async def test_an_administrator_can_end_grants(app: App, site: Site):
    tokens = await app.tokens(site)
    admin = httpx.AsyncClient(base_url=site.sandbox.admin_url, trust_env=False)
    assert (await admin.post("/oauth/revoke", params={"email": MIGRATOR})).json()["revoked"] >= 1
    await admin.aclose()
    assert (await app.refresh(tokens["refresh_token"])).status_code == 403
