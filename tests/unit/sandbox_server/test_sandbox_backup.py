"""A backup can be asked for, waited for and fetched, and the product reads it."""

import asyncio
from pathlib import Path

import httpx
import httpx_aiohttp

from sandbox.app import Instance, Sandbox
from sandbox.hosted import Hosted
from sandbox.server.backup import Backups
from shared.confluence.export import open_export
from shared.confluence.export.intake import take_in

HEADERS = {"Authorization": "Bearer sandbox-pat", "X-Atlassian-Token": "no-check"}
OPTIONS = {
    "version": "8.5.6",
    "seed": 3,
    "generate": {"spaces": 3, "pages": 60, "attachments": 30, "users": 12, "comments": 20},
}


def backups_of(sandbox: Sandbox) -> Backups:
    back = sandbox.fronts["wiki"].back
    assert isinstance(back, Hosted)
    backups = back.app.state.backups
    assert isinstance(backups, Backups)
    return backups


async def fetched(client: httpx.AsyncClient, id: int, to: Path) -> int:
    """Waits for a job and downloads its file; how many bytes it said there are."""
    async with asyncio.timeout(60):
        while (state := (await client.get(f"/rest/api/backup-restore/jobs/{id}")).json()["jobState"]) != "FINISHED":
            assert state in {"QUEUED", "PROCESSING", "COMPLETING"}
            await asyncio.sleep(0.02)
    async with client.stream("GET", f"/rest/api/backup-restore/jobs/{id}/download") as answer:
        assert answer.status_code == 200
        with to.open("wb") as file:
            async for piece in answer.aiter_bytes():
                file.write(piece)
        return int(answer.headers["content-length"])


async def test_a_backup_is_an_export_that_the_product_reads_and_the_only_change_in_the_journal(tmp_path: Path) -> None:
    async with (
        Sandbox([Instance("wiki", "server", 0, OPTIONS)]) as sandbox,
        httpx.AsyncClient(
            base_url=sandbox.url("wiki"), headers=HEADERS, transport=httpx_aiohttp.AiohttpTransport()
        ) as client,
    ):
        async with backups_of(sandbox).turn:
            answer = await client.post("/rest/api/backup-restore/backup/site", json={"fileNamePrefix": "whole"})
            job = answer.json()
            assert (job["jobOperation"], job["jobScope"], job["owner"]) == ("BACKUP", "SITE", "admin")
            assert job["jobState"] == "QUEUED"
            assert job["fileName"].startswith("whole-")
            assert (await client.post("/rest/api/backup-restore/backup/site", json={})).status_code == 409
            assert (await client.get(f"/rest/api/backup-restore/jobs/{job['id']}/download")).status_code == 404
        size = await fetched(client, job["id"], tmp_path / "site.zip")
        assert (tmp_path / "site.zip").stat().st_size == size
        keys = [s["key"] for s in (await client.get("/rest/api/space", params={"limit": 100})).json()["results"]]
        part = (await client.post("/rest/api/backup-restore/backup/space", json={"spaceKeys": keys[:1]})).json()
        assert (part["jobScope"], part["spaceKeys"]) == ("SPACE", keys[0])
        await fetched(client, part["id"], tmp_path / "space.zip")
        writes = [e for e in sandbox.fronts["wiki"].journal.after(0, 1000) if e.effects]
        assert {e.path for e in writes} == {
            "/rest/api/backup-restore/backup/site",
            "/rest/api/backup-restore/backup/space",
        }
    store = tmp_path / "store"
    for file, expected in (("site.zip", sorted(keys)), ("space.zip", keys[:1])):
        source = open_export(store, await take_in(tmp_path / file, store))
        assert sorted([s.key async for s in source.spaces()]) == expected
        await source.close()


async def test_a_backup_needs_the_right_the_header_and_a_version_that_has_it() -> None:
    names = {"8.5": "8.5.6", "8.2": "8.2.0"}
    instances = [Instance(name, "server", 0, {**OPTIONS, "version": version}) for name, version in names.items()]
    path = "/rest/api/backup-restore/backup/site"
    async with Sandbox(instances) as sandbox, httpx.AsyncClient(transport=httpx_aiohttp.AiohttpTransport()) as client:
        url = sandbox.url("8.5")
        bare = {"Authorization": HEADERS["Authorization"]}
        assert (await client.post(url + path, json={}, headers=bare)).status_code == 403
        assert (await client.post(url + path, json={}, headers={"X-Atlassian-Token": "no-check"})).status_code == 409
        unknown = {"spaceKeys": ["NO SUCH SPACE"]}
        answer = await client.post(f"{url}/rest/api/backup-restore/backup/space", json=unknown, headers=HEADERS)
        assert answer.status_code == 403
        assert (await client.get(f"{url}/rest/api/backup-restore/jobs/77", headers=HEADERS)).status_code == 403
        assert (await client.post(sandbox.url("8.2") + path, json={}, headers=HEADERS)).status_code in {403, 404}
        assert (
            await client.get(f"{sandbox.url('8.2')}/rest/api/backup-restore/jobs", headers=HEADERS)
        ).status_code == 404
