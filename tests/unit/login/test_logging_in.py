"""Logging in to a site: the browser's way there and back, the sites of the account, and what is kept of it."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import httpx
import pytest

from sandbox.app import Instance, Sandbox
from services.dashboard.adapters.logins import Logins
from services.dashboard.domain.problems import ProblemError
from shared.confluence.cloud.oauth import Authorization
from shared.events.commands import RegisterSite, ReplaceSiteCredential
from shared.ops import vault
from tests.e2e.login import allow
from tests.servers import Database
from tests.store.test_projections import SITE
from tests.unit.dashboard.conftest import opened, told_of
from tests.unit.dashboard.house import KEY, House, application

API = "/api/v1"


@dataclass
class Door:
    """A dashboard whose deployment has an app at the sandbox's authorization server."""

    house: House
    sandbox: Sandbox
    client: httpx.AsyncClient

    @property
    def site(self) -> str:
        return self.sandbox.url("cloud")

    async def came_back(self, address: str, **chosen: str) -> httpx.Response:
        """What the dashboard answers to the browser that Atlassian sends back."""
        answer = await allow(address, self.site, follow=False, **chosen)
        return await self.client.get(answer.headers["location"])


@pytest.fixture
async def door(database: Database) -> AsyncIterator[Door]:
    async with opened(database) as house, Sandbox([Instance("cloud", "cloud", 0, {"mode": "roles"})]) as sandbox:
        await told_of(house, database)
        await house.catch_up()
        url = sandbox.atlassian_url
        server = Authorization(url, url, "sandbox-client", "sandbox-client-secret")
        parts = replace(house.parts, logins=Logins(house.pool, KEY, server, 5.0))
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(application(parts)),
            base_url="http://127.0.0.1",
            headers=house.client.headers,
        ) as client:
            yield Door(house, sandbox, client)


@pytest.mark.statement(68, 70, 72)
async def test_who_logs_in_sees_the_sites_of_the_account_and_one_is_taken_when_it_is_confirmed(door: Door) -> None:
    begun = (await door.client.post(f"{API}/logins")).json()
    assert (begun["state"], begun["sites"]) == ("asked", [])
    page = await door.came_back(begun["url"])
    assert page.status_code == 200 and "Go on at the command line" in page.text
    login = (await door.client.get(f"{API}/logins/{begun['id']}")).json()
    assert (login["state"], login["email"]) == ("open", "migrator@example.com")
    assert [(site["url"], site["site_admin"]) for site in login["sites"]] == [(door.site, True)]
    assert door.house.owners.asked == []  # until somebody confirms, nothing is decided
    body = {"name": "mine", "url": door.site, "kind": "oauth", "login": login["id"]}
    assert (await door.client.post(f"{API}/sites", json=body)).status_code == 201
    (command,) = door.house.owners.asked
    assert isinstance(command, RegisterSite)
    assert (command.login, command.secret) == (login["id"], None)


@pytest.mark.statement(69)
async def test_an_account_that_does_not_administer_the_site_is_told_so_before_it_is_taken(door: Door) -> None:
    begun = (await door.client.post(f"{API}/logins")).json()
    await door.came_back(begun["url"], email="reader@example.com")
    (site,) = (await door.client.get(f"{API}/logins/{begun['id']}")).json()["sites"]
    assert site["site_admin"] is False


@pytest.mark.statement(71)
async def test_another_account_is_another_login_and_a_site_is_logged_in_to_again(door: Door) -> None:
    first, second = [(await door.client.post(f"{API}/logins")).json() for _ in range(2)]
    await door.came_back(first["url"], email="reader@example.com")
    await door.came_back(second["url"])
    emails = [(await door.client.get(f"{API}/logins/{login['id']}")).json()["email"] for login in (first, second)]
    assert emails == ["reader@example.com", "migrator@example.com"]
    answer = await door.client.post(f"{API}/sites/{SITE}/credential", json={"login": second["id"]})
    assert answer.status_code == 201, answer.text
    (command,) = door.house.owners.asked
    assert isinstance(command, ReplaceSiteCredential) and command.login == second["id"]


async def test_an_answer_counts_once_and_only_for_a_login_that_began_here(door: Door) -> None:
    begun = (await door.client.post(f"{API}/logins")).json()
    answer = await allow(begun["url"], door.site, follow=False)
    back = answer.headers["location"]
    assert (await door.client.get(back)).status_code == 200
    again = await door.client.get(back)
    assert again.status_code == 403 and "was used already" in again.text
    assert (await door.client.get("/oauth/callback?state=guessed&code=mine")).status_code == 403


async def test_who_does_not_allow_access_is_told_and_nothing_is_kept(door: Door) -> None:
    begun = (await door.client.post(f"{API}/logins")).json()
    page = await door.came_back(begun["url"], decision="deny")
    assert "Access was not allowed" in page.text
    assert (await door.client.get(f"{API}/logins/{begun['id']}")).json()["state"] == "denied"


async def test_tokens_are_sealed_and_in_no_answer_and_no_row_in_the_clear(door: Door, database: Database) -> None:
    begun = (await door.client.post(f"{API}/logins")).json()
    await door.came_back(begun["url"])
    admin = await database.connect()
    row = await admin.fetchrow("SELECT * FROM vault.secret WHERE id = $1", begun["id"])
    content = vault.unseal(KEY, begun["id"], row["nonce"], row["ciphertext"]).decode()
    dump = str(await admin.fetch("SELECT l::text FROM people.login l"))
    await admin.close()
    shown = (await door.client.get(f"{API}/logins/{begun['id']}")).text + dump
    for token in (*door.sandbox.authorization._access, *door.sandbox.authorization._refresh):
        assert token in content and token not in shown


async def test_without_an_app_of_its_own_a_deployment_says_what_to_do(door: Door) -> None:
    with pytest.raises(ProblemError) as refused:
        await Logins(door.house.pool, KEY, None, 5.0).begin("http://127.0.0.1/oauth/callback", None)
    assert refused.value.status == 409 and "CLOUDWARD_ATLASSIAN_CLIENT_ID" in refused.value.way_on
