"""A server is read by the backup that it is asked for, and by nothing else."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sandbox.app import Instance, Sandbox
from sandbox.hosted import Hosted
from sandbox.server.backup import Backups
from shared.confluence.export import open_export, take_in
from shared.confluence.rest.backup import fetch
from shared.confluence.rest.client import Client
from shared.confluence.source import SourceError, SourceUnauthorized, SourceUnsupported

GENERATED = {"seed": 3, "generate": {"spaces": 3, "pages": 60, "attachments": 30, "users": 12, "comments": 20}}


@pytest.fixture(scope="module")
async def sandbox() -> AsyncIterator[Sandbox]:
    instances = [
        Instance("wiki", "server", 0, {"version": "8.5.6", **GENERATED}),
        Instance("old", "server", 0, {"version": "7.19.0", **GENERATED}),
    ]
    async with Sandbox(instances) as running:
        yield running


@pytest.fixture
async def client(sandbox: Sandbox) -> AsyncIterator[Client]:
    made = reader(sandbox, "wiki", "sandbox-pat")
    yield made
    await made.close()


def reader(sandbox: Sandbox, name: str, token: str | None) -> Client:
    return Client(sandbox.url(name), token=token, username=None, password=None, timeout=10)


def backups(sandbox: Sandbox) -> Backups:
    back = sandbox.fronts["wiki"].back
    assert isinstance(back, Hosted)
    found = back.app.state.backups
    assert isinstance(found, Backups)
    return found


async def test_the_backup_is_fetched_whole_and_read_as_an_export_with_its_addresses(
    sandbox: Sandbox, client: Client, tmp_path: Path
) -> None:
    told: list[tuple[str, int]] = []
    file = tmp_path / "site.zip"
    await fetch(client, file, lambda stage, done, of: told.append((stage, done)), pause=0.02)
    assert {stage for stage, _ in told} >= {"download"}
    assert told[-1] == ("download", file.stat().st_size)
    assert [path.name for path in tmp_path.iterdir()] == ["site.zip"]
    source = open_export(tmp_path / "store", await take_in(file, tmp_path / "store"))
    spaces = [space.key async for space in source.spaces()]
    people = [person async for person in source.people()]
    await source.close()
    assert len(spaces) >= 3 and any(person.email for person in people)
    writes = [e for e in sandbox.fronts["wiki"].journal._entries if e.method != "GET"]
    assert {e.path for e in writes} == {"/rest/api/backup-restore/backup/site"}


async def test_who_takes_over_waits_for_the_job_that_is_under_way_and_asks_for_no_second(
    sandbox: Sandbox, client: Client, tmp_path: Path
) -> None:
    jobs = backups(sandbox)
    before = len(jobs.jobs)
    async with jobs.turn:
        first = asyncio.ensure_future(fetch(client, tmp_path / "a.zip", lambda *_: None, pause=0.02))
        async with asyncio.timeout(20):
            while len(jobs.jobs) == before:
                await asyncio.sleep(0.02)
        first.cancel()
        second = asyncio.ensure_future(fetch(client, tmp_path / "b.zip", lambda *_: None, pause=0.02))
        await asyncio.sleep(0.1)
    await second
    assert len(jobs.jobs) == before + 1
    assert (tmp_path / "b.zip").stat().st_size > 0 and not (tmp_path / "a.zip").exists()


async def test_a_job_that_is_cancelled_is_told_and_leaves_no_file(
    sandbox: Sandbox, client: Client, tmp_path: Path
) -> None:
    jobs = backups(sandbox)
    before = len(jobs.jobs)
    async with jobs.turn:
        work = asyncio.ensure_future(fetch(client, tmp_path / "a.zip", lambda *_: None, pause=0.02))
        async with asyncio.timeout(20):
            while len(jobs.jobs) == before:
                await asyncio.sleep(0.02)
        next(reversed(jobs.jobs.values())).state = "CANCELLED"
        with pytest.raises(SourceError, match="CANCELLED"):
            await work
    assert list(tmp_path.iterdir()) == []


async def test_a_release_without_backups_and_an_account_without_the_right_are_told_apart(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    old = reader(sandbox, "old", "sandbox-pat")
    with pytest.raises(SourceUnsupported, match=r"8\.3"):
        await fetch(old, tmp_path / "a.zip", lambda *_: None)
    await old.close()
    nobody = reader(sandbox, "wiki", "wrong")
    with pytest.raises(SourceUnauthorized):
        await fetch(nobody, tmp_path / "a.zip", lambda *_: None)
    await nobody.close()
