"""A login's tokens are renewed by one process at a time, and stored before they are used, whoever dies in between."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

import asyncpg
import httpx
import pytest

from sandbox.app import Instance, Sandbox
from shared.confluence.cloud.oauth import Authorization, Tokens
from shared.confluence.login import Login
from shared.confluence.site import LoginExpired, SiteUnavailable
from shared.events.database import open_pool
from shared.ops import vault
from tests.servers import Database

KEY = bytes(range(32))
BACK = "http://127.0.0.1:1/oauth/callback"
SECRET = "5" * 32


class Killed(BaseException):
    """Stands for the end of a process: nothing after it is done, not even what is in ``except Exception``."""


class Dying(Authorization):
    """An app whose process dies before a refresh is sent, or when its answer has come."""

    dies: str | None = None

    async def refresh(self, token: str) -> Tokens:
        if self.dies == "before":
            raise Killed
        tokens = await super().refresh(token)
        if self.dies == "after":
            raise Killed
        return tokens


@dataclass
class World:
    sandbox: Sandbox
    pool: asyncpg.Pool

    def server(self, dies: str | None = None) -> Dying:
        url = self.sandbox.atlassian_url
        server = Dying(url, url, "sandbox-client", "sandbox-client-secret", 2.0)
        server.dies = dies
        return server

    def process(self, dies: str | None = None, timeout: float = 2.0) -> Login:
        """The login as one more process has it. ``timeout``: a third of the time that the right to renew lasts."""
        return Login(self.pool, KEY, SECRET, self.server(dies), timeout)

    def renewals(self) -> int:
        entries = self.sandbox.fronts["atlassian"].journal._entries
        return sum(e.path == "/oauth/token" for e in entries)


async def consented(sandbox: Sandbox) -> Tokens:
    url = sandbox.atlassian_url
    server = Authorization(url, url, "sandbox-client", "sandbox-client-secret")
    address = server.address("state", BACK)
    async with httpx.AsyncClient(trust_env=False) as browser:
        page = await browser.get(address)
        site = re.findall(r'<option value="([0-9a-f-]{36})">', page.text)[0]
        fields = {k: v[0] for k, v in parse_qs(urlsplit(address).query).items()}
        chosen = {"email": "migrator@example.com", "site": site, "decision": "accept"}
        back = await browser.post(f"{url}/authorize", data=fields | chosen)
    return await server.exchange(parse_qs(urlsplit(back.headers["location"]).query)["code"][0], BACK)


@pytest.fixture
async def world(database: Database) -> AsyncIterator[World]:
    """A login whose access token is over, in the vault."""
    async with Sandbox([Instance("cloud", "cloud", 0, {})]) as sandbox:
        tokens = await consented(sandbox)
        over = Tokens(tokens.access, tokens.refresh, 0.0, tokens.lifetime)
        sealed = vault.seal(KEY, SECRET, json.dumps(over.document()).encode())
        async with await open_pool(database.settings("dashboard"), application="test") as dashboard:
            await dashboard.execute(
                "INSERT INTO vault.secret (id, nonce, ciphertext) VALUES ($1, $2, $3)", SECRET, *sealed
            )
        async with await open_pool(database.settings("executor"), application="test") as pool:
            yield World(sandbox, pool)


async def works(world: World, token: str) -> bool:
    async with httpx.AsyncClient(trust_env=False, base_url=world.sandbox.atlassian_url) as http:
        answer = await http.get("/oauth/token/accessible-resources", headers={"Authorization": f"Bearer {token}"})
    return answer.status_code == 200


async def test_of_many_processes_and_requests_one_renews_and_all_get_its_token(world: World) -> None:
    before = world.renewals()
    processes = [world.process() for _ in range(3)]
    tokens = await asyncio.gather(*(process.token() for process in processes for _ in range(5)))
    assert len(set(tokens)) == 1
    assert world.renewals() == before + 1
    assert await works(world, tokens[0])


async def test_who_dies_before_the_token_is_used_leaves_it_to_another_when_the_right_is_over(world: World) -> None:
    with pytest.raises(Killed):
        await world.process("before", timeout=0.3).token()
    assert await works(world, await world.process(timeout=0.3).token())


async def test_who_dies_after_the_token_is_stored_has_renewed_it_for_all(world: World) -> None:
    first = await world.process().token()
    before = world.renewals()
    assert await world.process().token() == first
    assert world.renewals() == before


async def test_a_token_that_was_used_and_lost_with_its_process_ends_the_login_and_that_is_said(world: World) -> None:
    with pytest.raises(Killed):
        await world.process("after", timeout=0.3).token()
    with pytest.raises(LoginExpired, match=r"Log in again: cloudward site login"):
        await world.process(timeout=0.3).token()
    before = world.renewals()
    with pytest.raises(LoginExpired):
        await world.process().token()
    assert world.renewals() == before  # nobody asks again for what is over


async def test_an_authorization_server_that_is_away_is_no_end_of_the_login(world: World) -> None:
    front = world.sandbox.fronts["atlassian"]
    front.faults.add({"method": "POST", "route": "/oauth/token", "status": 503})
    process = world.process()
    with pytest.raises(SiteUnavailable):
        await process.token()
    assert await works(world, await process.token())


async def test_a_token_that_a_site_refuses_before_its_time_is_renewed_once(world: World) -> None:
    process = world.process()
    token = await process.token()
    world.sandbox.authorization.expire()
    before = world.renewals()
    await asyncio.gather(*(process.refused(token) for _ in range(5)))
    assert await works(world, await process.token())
    assert world.renewals() == before + 1


async def test_a_newer_login_in_the_vault_is_taken_up_by_who_still_held_the_old_one(world: World) -> None:
    process = world.process()
    await process.token()
    await world.process().refused(await world.process().token())
    world.sandbox.authorization.settings.access_lifetime = 3600.0
    process._tokens = Tokens("old", "old", 0.0, 1.0)
    assert await works(world, await process.token())


@pytest.mark.parametrize("role", ["planner", "analyzer", "executor", "dashboard"])
async def test_no_service_changes_a_credential_but_by_a_refresh(database: Database, role: str) -> None:
    connection = await database.connect(f"cw_{role}")
    try:
        for statement in (
            "UPDATE vault.secret SET version = 9",
            "UPDATE vault.secret SET refused = false",
            "DELETE FROM vault.secret",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)
        if role in ("planner", "dashboard"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.fetchval("SELECT vault.begin_refresh_v1('x', 0, 30)")
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.fetchval("SELECT ciphertext FROM vault.secret")
    finally:
        await connection.close()


def test_tokens_are_told_by_no_text_of_theirs() -> None:
    held: dict[str, Any] = {"access": "very", "refresh": "secret", "expires_at": 1.0, "lifetime": 1.0}
    assert "very" not in repr(Tokens(**held)) and "secret" not in f"{Tokens(**held)}"
