"""A sandbox on loopback, and a client for each kind of caller."""

from collections.abc import AsyncIterator
from itertools import count
from typing import Any

import httpx
import pytest

from sandbox.app import Instance, Sandbox

_numbers = count()
MIGRATOR = ("migrator@example.com", "sandbox-token")
READER = ("reader@example.com", "reader-token")


class Site:
    """One site, the clients of its callers, and its administration."""

    def __init__(self, sandbox: Sandbox, name: str) -> None:
        self.sandbox, self.name = sandbox, name
        self.url = sandbox.url(name)
        self._clients: list[httpx.AsyncClient] = []
        self.migrator = self.client(MIGRATOR)
        self.reader = self.client(READER)
        self.anonymous = self.client(None)
        self.admin = httpx.AsyncClient(base_url=f"{sandbox.admin_url}/sites/{name}", trust_env=False)
        self._clients.append(self.admin)

    def client(self, auth: tuple[str, str] | None) -> httpx.AsyncClient:
        client = httpx.AsyncClient(base_url=self.url, auth=auth, trust_env=False, timeout=10)
        self._clients.append(client)
        return client

    async def close(self) -> None:
        for client in self._clients:
            await client.aclose()

    async def space(self, key: str = "ENG", private: bool = False, **more: Any) -> dict[str, Any]:
        path = "/wiki/rest/api/space/_private" if private else "/wiki/rest/api/space"
        reply = await self.migrator.post(path, json={"key": key, "name": f"Space {key}"} | more)
        assert reply.status_code == 200, reply.text
        return reply.json()

    async def page(self, space: dict[str, Any], title: str, body: str = "<p>x</p>", **more: Any) -> dict[str, Any]:
        query = more.pop("params", {})
        reply = await self.migrator.post(
            "/wiki/api/v2/pages",
            params=query,
            json={
                "spaceId": str(space["id"]),
                "status": "current",
                "title": title,
                "body": {"representation": "storage", "value": body},
            }
            | more,
        )
        assert reply.status_code == 200, reply.text
        return reply.json()

    async def attach(self, content: str, name: str, data: bytes, method: str = "PUT") -> httpx.Response:
        return await self.migrator.request(
            method,
            f"/wiki/rest/api/content/{content}/child/attachment",
            headers={"X-Atlassian-Token": "no-check"},
            files={"file": (name, data, "text/plain")},
            data={"minorEdit": "true", "comment": "from the source"},
        )

    async def fault(self, **rule: Any) -> str:
        reply = await self.admin.post("/faults", json=rule)
        assert reply.status_code == 201, reply.text
        return reply.json()["faults"][0]["id"]

    async def canonical(self) -> dict[str, Any]:
        return (await self.admin.get("/canonical")).json()


@pytest.fixture(scope="session")
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox([]) as running:
        yield running


@pytest.fixture
async def make_site(sandbox: Sandbox) -> AsyncIterator[Any]:
    made: list[Site] = []

    async def make(**options: Any) -> Site:
        name = f"site{next(_numbers)}"
        await sandbox.add(Instance(name, "cloud", 0, options))
        made.append(Site(sandbox, name))
        return made[-1]

    yield make
    for site in made:
        await site.close()


@pytest.fixture
async def site(make_site: Any) -> Site:
    return await make_site()
