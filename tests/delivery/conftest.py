from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import nats as nats_client
import pytest_asyncio
from nats.aio.client import Client

from cli.embedded.supervisor import Supervisor
from tests.delivery.workshop import Workshop, open_workshop
from tests.e2e.world import QUICK, World
from tests.servers import Database


@pytest_asyncio.fixture(loop_scope="session")
async def workshop(database: Database) -> AsyncIterator[Workshop]:
    async with open_workshop(database) as workshop:
        yield workshop


async def _quiet(_: Exception) -> None:
    """What NATS says while a test takes it away is no news."""


class House(World):
    """A whole Cloudward with two planners, and with a user of NATS who may do everything."""

    async def nats(self) -> Client:
        """As the user of NATS who may do everything."""
        nats = self.house.nats
        return await nats_client.connect(
            nats.url, user="admin", password=nats.password("admin"), connect_timeout=3, error_cb=_quiet
        )

    async def leads(self, name: str) -> bool:
        """Whether this planner says that it leads. One that stands still says nothing."""
        port = self.house.services[name].told().get("ops_port")
        try:
            async with httpx.AsyncClient(timeout=0.5, trust_env=False) as http:
                text = (await http.get(f"http://127.0.0.1:{port}/metrics")).text
        except httpx.HTTPError:
            return False
        return "cloudward_relay_leader 1.0" in text


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def house(scratch: Path) -> AsyncIterator[House]:
    server = {"name": "south", "kind": "server", "port": 0, "options": {"version": "7.19.0", "sample": "south"}}
    config = {"admin_port": 0, "host": "127.0.0.1", "instances": [server]}
    supervisor = Supervisor(
        scratch / "house", executors=2, planners=2, export_roots=[], sandbox=config, fast=True, settings=QUICK
    )
    supervisor.nats.admin = True
    async with supervisor:
        urls = {instance["name"]: instance["url"] for instance in supervisor.sandbox["instances"]}
        house = House(supervisor, supervisor.sandbox["admin"]["url"], urls)
        try:
            yield house
        finally:
            await house.close()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def source(house: House) -> str:
    """A server, analyzed, its addresses repaired."""
    source = await house.source("south")
    assert (await house.analyze(source))["state"] == "completed"
    await house.repair(source)
    return source


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def undisturbed(house: House, source: str) -> str:
    """The canonical document of what a plan without any trouble makes of the source."""
    move = await house.plan(source)
    await house.run(move)
    report = await house.ended(move)
    assert report["status"] == "FINISHED", report
    return await house.canonical(move)
