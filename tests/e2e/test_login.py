"""A plan on a site that somebody logged in to with an Atlassian account: its tokens live a moment, rotate, and are refused
when they are used twice."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
import pytest_asyncio

from shared.events.reasons import Reason
from tests.e2e.login import allow
from tests.e2e.world import ACCEPTED, Move, World, open_world

pytestmark = [pytest.mark.slow, pytest.mark.chaos]

EXECUTORS = ("executor-1", "executor-2", "executor-3")
LIFETIME = 2  # seconds that an access token lives


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def house(scratch: Path) -> AsyncIterator[World]:
    async with open_world(scratch / "login", executors=3) as world:
        async with httpx.AsyncClient(base_url=world.admin, trust_env=False) as admin:
            assert (await admin.put("/oauth", json={"access_lifetime": LIFETIME})).is_success
        yield world


async def logged_in(world: World, url: str) -> dict[str, Any]:
    """A login that opens the site at this address, by the command line's way."""
    begun = await world.call("post", "/logins")
    page = await allow(begun["url"], url)
    assert page.status_code == 200 and "Go on at the command line" in page.text, page.text
    login = dict(await world.call("get", f"/logins/{begun['id']}"))
    assert login["state"] == "open", login
    return login


async def planned(world: World, folder: Path) -> Move:
    """A plan for everything of Wiki South on a site that is reached by a login."""
    source = await world.source("south")
    assert (await world.analyze(source))["state"] == "completed"
    await world.repair(source)
    async with httpx.AsyncClient(base_url=world.admin, trust_env=False) as admin:
        options = {"mode": "roles", "latency": 0.05}
        made = (await admin.post("/instances", json={"kind": "cloud", "name": "by-login", "options": options})).json()
    organization = folder / "organization.json"
    key = {"org_id": "sandbox-org", "org_key": "sandbox-org-key", "directory_id": "sandbox-directory"}
    organization.write_text(json.dumps({**key, "org_url": made["url"]}))
    login = await logged_in(world, made["url"])
    assert login["email"] == "migrator@example.com"
    assert [(site["url"], site["site_admin"]) for site in login["sites"]] == [(made["url"], True)]
    body = {"name": "by login", "url": made["url"], "kind": "oauth", "sandbox": True, "login": login["id"]}
    body |= {"organization": {"reference": f"file:{organization}"}}
    site = (await world.call("post", "/sites", body))["id"]
    # The site has roles; rights that none of them holds are accepted, like what cannot move anywhere.
    accepted = [reason.value for reason in (*ACCEPTED, Reason.NOT_IN_A_ROLE)]
    body = {"name": "with a login", "source": source, "site": site, "accepted": accepted}
    plan = (await world.call("post", "/plans", body))["id"]
    return Move(body["name"], plan, source, site, "by-login", made["url"])


class Refresh:
    """The steps of a refresh, each held so that the process that takes it can be killed in it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.faults = httpx.AsyncClient(base_url=f"{world.admin}/sites/atlassian", timeout=30, trust_env=False)

    async def kill(self) -> None:
        for name in EXECUTORS:
            if pid := self.world.house.pid(name):
                os.kill(pid, signal.SIGKILL)

    @asynccontextmanager
    async def held(self) -> AsyncIterator[Callable[[], Awaitable[None]]]:
        """While the answer of one refresh is held back that has taken effect."""
        rule = {"method": "POST", "route": "/oauth/token", "action": "hold", "when": "after"}
        fault = (await self.faults.post("/faults", json=rule)).json()["faults"][0]["id"]

        async def release() -> None:
            await self.faults.post(f"/faults/{fault}/release")

        async with asyncio.timeout(60):
            while not (await self.faults.get("/faults")).json()["faults"][0]["holding"]:
                await asyncio.sleep(0.02)
        yield release
        await self.faults.delete("/faults")

    async def begun(self) -> None:
        """Killed with the right to refresh, before the token was used: the right is taken as one of them would have had it."""
        async with asyncio.timeout(30):
            while await self.world.look(_BEGIN) != "granted":
                await asyncio.sleep(0.02)
        await self.kill()

    async def used(self) -> None:
        """Killed after the token was used, before the answer came."""
        async with self.held():
            await self.kill()

    async def answered(self) -> None:
        """Killed with the next token in hand, before it is stored: the vault's row is held meanwhile."""
        connection = await asyncpg.connect(self.world.house.postgres.admin_dsn)
        async with self.held() as release:
            try:
                async with connection.transaction():
                    await connection.execute("SELECT 1 FROM vault.secret WHERE ciphertext IS NOT NULL FOR UPDATE")
                    await release()
                    async with asyncio.timeout(20):
                        while not await self.world.look(_STORING):  # one transaction would see one moment only
                            await asyncio.sleep(0.02)
                    await self.kill()
                    await connection.execute(_END_STORING)  # else it would store when the row is free
            finally:
                await connection.close()

    async def stored(self) -> None:
        """Killed when the next token was stored, before it was used."""
        version = await self.world.look(_VERSION)
        async with asyncio.timeout(60):
            while await self.world.look(_VERSION) == version:
                stands = await self.world.look(
                    "SELECT string_agg(concat_ws(' ', status, paused_for), ',') FROM work.plan"
                )
                assert stands == "RUNNING", stands
                await asyncio.sleep(0.002)
        await self.kill()


_STORING = (
    "SELECT true FROM pg_stat_activity WHERE query LIKE '%store_refresh_v1%' AND wait_event_type = 'Lock' LIMIT 1"
)
_END_STORING = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%_refresh_v1%' AND pid <> pg_backend_pid()"
_BEGIN = "SELECT vault.begin_refresh_v1(v.id, v.version, 4.5) FROM vault.secret v JOIN people.site s ON s.secret = v.id WHERE s.cloud_id IS NOT NULL"
_VERSION = "SELECT sum(version) FROM vault.secret"


async def paused(world: World, move: Move) -> dict[str, Any]:
    """Waits until the plan stands for its login, and returns it."""
    async with asyncio.timeout(60):
        while True:
            plan = dict(await world.call("get", f"/plans/{move.plan}"))
            assert plan["status"] == "RUNNING", plan["line"]
            if plan["paused"]:
                return plan
            await asyncio.sleep(0.2)


async def test_a_kill_at_each_step_of_a_refresh_ends_finished_or_paused_with_what_to_do(
    house: World, tmp_path: Path
) -> None:
    world, step = house, Refresh(house)
    move = await planned(world, tmp_path)
    await world.run(move)
    await step.begun()
    await step.stored()
    for lost in (step.used, step.answered):
        await lost()
        plan = await paused(world, move)
        assert plan["paused_for"] == "credential_expired"
        assert "Log in again, and it goes on by itself." in plan["line"]
        sites = {site["id"]: site for site in await world.call("get", "/sites")}
        assert sites[move.site]["expired"]
        login = await logged_in(world, move.url)
        await world.call("post", f"/sites/{move.site}/credential", {"login": login["id"]})
    report = await world.ended(move)
    assert (report["status"], report["conserved"]) == ("FINISHED", True), json.dumps(report)
    assert await world.twice(move) == []
    said = "SELECT type FROM log.events WHERE stream = $1 ORDER BY version"
    kinds = [row["type"] for row in await world.rows(said, f"site-{move.site}")]
    assert kinds == ["SiteRegistered", *("CredentialExpired", "SiteCredentialReplaced") * 2]
    entries = await world.journal("atlassian")
    assert sum(e["path"] == "/oauth/token" for e in entries) > 4
    await step.faults.aclose()
