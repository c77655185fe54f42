"""A whole Cloudward on this machine for tests: real servers, real processes, the sandbox as both sides."""

import asyncio
import contextlib
import json
import os
import random
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import httpx

from cli.client import ENDED, Client
from cli.embedded.supervisor import Supervisor
from cli.tryout import REPAIRS, SERVER_TOKEN, SITE_CREDENTIAL
from shared.events.reasons import Reason
from tests.privacy import CANARY

ACCEPTED = [
    Reason.FILE_MISSING,
    Reason.NO_CLOUD_COUNTERPART,
    Reason.GENERIC_GROUP,
    Reason.ACCESS_WITHHELD,
    Reason.ADDRESS_UNKNOWN,
    Reason.PRINCIPAL_NOT_ON_SITE,
]
# Leases short enough that a dead executor's work is taken over within seconds.
QUICK = {
    "CLOUDWARD_LEASE": "3",
    "CLOUDWARD_REQUEST_TIMEOUT": "1.5",
    "CLOUDWARD_REOFFER": "4",
    "CLOUDWARD_SWEEP": "1",
    "CLOUDWARD_CHUNK_SIZE": "10",
    "CLOUDWARD_ANALYSIS_SPACES": "1",
}


@dataclass(frozen=True)
class Move:
    """A saved plan from a source to an empty site of its own."""

    name: str
    plan: str
    source: str
    site: str
    site_name: str  # in the sandbox
    url: str  # of the site


class World:
    """What tests ask of it. Everything is asked of the API, as a user would; the database only to look."""

    def __init__(self, house: Supervisor, admin: str, servers: dict[str, str]) -> None:
        self.house, self.servers = house, servers
        self.api = Client(house.dashboard_url, house.token, moved=lambda: house.dashboard_url, patience=30)
        self.admin = admin  # address of the sandbox's administration
        self._sandbox = httpx.AsyncClient(base_url=admin, timeout=30, trust_env=False)
        self._count = 0
        self._pool: asyncpg.Pool | None = None

    async def close(self) -> None:
        await self._sandbox.aclose()
        self.api.close()
        if self._pool is not None:
            await self._pool.close()

    # -- steps of a user -----------------------------------------------------------------------------------------

    async def call(self, method: str, *arguments: Any, **query: Any) -> Any:
        return await asyncio.to_thread(getattr(self.api, method), *arguments, **query)

    async def source(
        self,
        server: str | None = None,
        export: Path | None = None,
        *,
        credential: dict[str, str] | None = None,
        base_urls: Sequence[str] = (),
    ) -> str:
        """Registers a source: one of the sandbox's servers, or an export."""
        self._count += 1
        body: dict[str, Any] = {"name": f"{CANARY} source {self._count}", "base_urls": [*base_urls]}
        if server is not None:
            body |= {"location": self.servers[server], "credential": credential or {"token": SERVER_TOKEN}}
        else:
            body |= {"location": str(export)}
        return str((await self.call("post", "/sources", body))["id"])

    async def server(self, name: str, options: dict[str, Any]) -> None:
        """One more server in the sandbox."""
        made = await self._sandbox.post("/instances", json={"kind": "server", "name": name, "options": options})
        self.servers[name] = made.json()["url"]

    async def analyze(self, source: str) -> dict[str, Any]:
        answer = await self.call("post", f"/sources/{source}/analyses")
        return dict(await self.call("analyzed", answer["id"]))

    async def repair(self, source: str) -> None:
        """Decides about every address and domain of the source, as ``try`` does."""
        for path, body in REPAIRS:
            await self.call("post", f"/sources/{source}/{path}", body)

    async def site(self, **options: Any) -> tuple[str, str, str]:
        """A new cloud site in the sandbox, registered; its id, its name there, and its address."""
        self._count += 1
        name = f"site-{self._count}-{random.randrange(10**6)}"
        made = (await self._sandbox.post("/instances", json={"kind": "cloud", "name": name, "options": options})).json()
        body = {
            "name": f"{CANARY} {name}",
            "url": made["url"],
            "kind": "sandbox",
            "sandbox": True,
            "credential": SITE_CREDENTIAL,
        }
        return str((await self.call("post", "/sites", body))["id"]), name, made["url"]

    async def move(self, server: str | None = None, export: Path | None = None, **options: Any) -> Move:
        """A plan for everything of a source, saved and READY."""
        source = await self.source(server, export)
        analysis = await self.analyze(source)
        assert analysis["state"] == "completed", analysis
        await self.repair(source)
        return await self.plan(source, **options)

    async def plan(self, source: str, **options: Any) -> Move:
        site, site_name, url = await self.site(**options)
        self._count += 1
        body = {
            "name": f"{CANARY} plan {self._count}",
            "source": source,
            "site": site,
            "users": "all",
            "groups": True,
            "spaces": "all",
            "accepted": [reason.value for reason in ACCEPTED],
        }
        plan = (await self.call("post", "/plans", body))["id"]
        return Move(body["name"], plan, source, site, site_name, url)

    async def run(self, move: Move) -> None:
        await self.call("post", f"/plans/{move.plan}/run", {})

    async def stop(self, move: Move) -> None:
        await self.call("post", f"/plans/{move.plan}/stop", {})

    async def status(self, move: Move) -> str:
        return str((await self.call("get", f"/plans/{move.plan}"))["status"])

    async def ended(self, move: Move, timeout: float = 120) -> dict[str, Any]:
        """Waits for the plan's end and returns its report."""
        async with asyncio.timeout(timeout):
            while await self.status(move) not in ENDED:
                await asyncio.sleep(0.2)
        return dict(await self.call("get", f"/plans/{move.plan}/report"))

    # -- what the sandbox saw ------------------------------------------------------------------------------------

    async def canonical(self, move: Move) -> str:
        """The site as one document, without ids and times, and without its own name and address."""
        answer = await self._sandbox.get(f"/sites/{move.site_name}/canonical")
        text = json.dumps(answer.json(), indent=1, sort_keys=True)
        return text.replace(move.site_name, "SITE").replace(move.url, "http://site")

    async def twice(self, move: Move) -> list[dict[str, Any]]:
        """Objects of the site that were created more than once, by what they are."""
        return list(
            (await self._sandbox.get(f"/sites/{move.site_name}/created", params={"least": 2})).json()["created"]
        )

    async def journal(self, name: str) -> list[dict[str, Any]]:
        return list((await self._sandbox.get(f"/sites/{name}/journal", params={"limit": 200000})).json()["entries"])

    async def fault(self, move: Move, **rule: Any) -> str:
        answer = await self._sandbox.post(f"/sites/{move.site_name}/faults", json=rule)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["faults"][0]["id"])

    async def held(self, move: Move, fault: str, timeout: float = 40) -> None:
        """Waits until the fault holds an answer back."""
        async with asyncio.timeout(timeout):
            while True:
                rules = (await self._sandbox.get(f"/sites/{move.site_name}/faults")).json()["faults"]
                if any(rule["id"] == fault and rule["holding"] for rule in rules):
                    return
                await asyncio.sleep(0.05)

    async def release(self, move: Move, fault: str) -> None:
        await self._sandbox.post(f"/sites/{move.site_name}/faults/{fault}/release")

    # -- the database, only to look ------------------------------------------------------------------------------

    async def look(self, query: str, *arguments: Any) -> Any:
        if self._pool is None:
            self._pool = await asyncpg.create_pool(self.house.postgres.admin_dsn, min_size=1, max_size=4)
        return await self._pool.fetchval(query, *arguments)

    async def rows(self, query: str, *arguments: Any) -> list[asyncpg.Record]:
        await self.look("SELECT 1")
        assert self._pool is not None
        return list(await self._pool.fetch(query, *arguments))

    # -- violence ------------------------------------------------------------------------------------------------

    async def kill_at_work(
        self, services: list[str], at_work: Callable[[], Awaitable[bool]], chance: random.Random, timeout: float = 120
    ) -> None:
        """Kills the services at a moment at which they provably had work under way.

        They are stopped (SIGSTOP) at a seeded moment, looked at while they can change nothing, and killed only if the look
        shows work; else they go on and are stopped again later.
        """
        async with asyncio.timeout(timeout):
            while not await self._killed(services, at_work):
                await asyncio.sleep(chance.uniform(0.0, 0.15))

    async def _killed(self, services: list[str], at_work: Callable[[], Awaitable[bool]]) -> bool:
        pids = [self.house.pid(service) for service in services]
        if not all(pids):
            return False
        found = False
        try:
            if not all([await stopped(pid) for pid in pids]):
                return False  # one of them was just dying of the kill before
            for _ in range(10):
                if found := await at_work():
                    return True
                await asyncio.sleep(0.03)  # the others go on: what they append is work that waits for the stopped
            return False
        finally:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL if found else signal.SIGCONT)


async def stopped(pid: int) -> bool:
    """Stops a process (SIGSTOP); whether it is there and stands still."""
    for _ in range(20):
        try:
            os.kill(pid, signal.SIGSTOP)
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return False
        if state == "T":
            return True
        if state in ("Z", "X"):
            return False
        await asyncio.sleep(0.01)
    return False


SERVERS: dict[str, dict[str, Any]] = {
    "north": {"version": "8.5.6", "sample": "north"},
    "south": {"version": "7.19.0", "sample": "south"},
    # The same content on releases of which REST tells little.
    "south-5.10": {"version": "5.10.8", "sample": "south"},
    "south-6.13": {"version": "6.13.2", "sample": "south"},
}


async def on_site(move: Move, who: tuple[str, str], method: str, path: str, **more: Any) -> Any:
    """What the site answers to one of its people."""
    async with httpx.AsyncClient(base_url=move.url, auth=who, trust_env=False, timeout=30) as client:
        answer = await client.request(method, path, **more)
        assert answer.status_code < 300, answer.text
        return answer.json() if answer.content else None


@asynccontextmanager
async def open_world(
    data: Path,
    *,
    exports: list[Path] | None = None,
    servers: Mapping[str, Mapping[str, Any]] = SERVERS,
    **more: Any,
) -> AsyncIterator[World]:
    """``servers``: options of each server instance of the sandbox by name. ``more``: see ``Supervisor``."""
    instances = [
        {"name": name, "kind": "server", "port": 0, "options": dict(options)} for name, options in servers.items()
    ]
    config = {"admin_port": 0, "host": "127.0.0.1", "instances": instances}
    options = {"executors": 2, "fast": True, "settings": QUICK, **more}
    async with Supervisor(data, export_roots=exports or [], sandbox=config, **options) as house:
        urls = {instance["name"]: instance["url"] for instance in house.sandbox["instances"]}
        world = World(house, house.sandbox["admin"]["url"], urls)
        try:
            yield world
        finally:
            await world.close()
