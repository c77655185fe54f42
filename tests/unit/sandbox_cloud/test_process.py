"""The sandbox as a process of its own, and a server beside the sites."""

import asyncio
import json
import sys
from pathlib import Path

import httpx

from sandbox.app import Instance, Sandbox

ROOT = Path(__file__).parents[3]


async def test_the_process_prints_its_ports_and_ends_with_its_parents_pipe(tmp_path: Path) -> None:
    config = tmp_path / "sandbox.json"
    config.write_text(json.dumps({"instances": [{"name": "acme", "kind": "cloud", "options": {"spaces": ["ENG"]}}]}))
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "sandbox", "--config", str(config), "--with-parent"),
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    ready = json.loads(await asyncio.wait_for(process.stdout.readline(), 30))
    async with httpx.AsyncClient(trust_env=False) as client:
        url = ready["instances"][0]["url"]
        assert (await client.get(f"{url}/wiki/rest/api/user/current")).json()["type"] == "anonymous"
        made = await client.post(f"{ready['admin']['url']}/instances", json={"kind": "cloud", "name": "more"})
        assert made.status_code == 201
        assert (await client.get(f"{made.json()['url']}/_edge/tenant_info")).status_code == 200
    process.stdin.close()
    assert await asyncio.wait_for(process.wait(), 30) == 0


async def test_a_server_streams_a_file_and_is_under_the_same_journal_and_faults() -> None:
    async with (
        Sandbox([Instance("old", "server", 0, {"version": "7.19.0"})]) as sandbox,
        httpx.AsyncClient(
            base_url=sandbox.url("old"), headers={"Authorization": "Bearer sandbox-pat"}, trust_env=False, timeout=10
        ) as client,
    ):
        found = (await client.get("/rest/api/content/search?cql=type=attachment")).json()["results"][0]
        path = found["_links"]["download"]
        whole, head = await client.get(path), await client.head(path)
        assert (whole.status_code, head.status_code) == (200, 200)
        assert head.headers["content-length"] == str(len(whole.content))
        admin = f"{sandbox.admin_url}/sites/old"
        await client.post(f"{admin}/faults", json={"method": "GET", "route": "/rest/api/space", "status": 503})
        assert [(await client.get("/rest/api/space")).status_code for _ in range(2)] == [503, 200]
        entries = (await client.get(f"{admin}/journal")).json()["entries"]
        assert {entry["account"] for entry in entries if entry["status"] == 200} == {"admin"}
        assert not [effect for entry in entries for effect in entry["effects"]]
