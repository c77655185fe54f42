"""A backup taken in the middle of a plan, brought back after the plan had gone on: it goes on from there to the same end."""

import asyncio
import subprocess
from pathlib import Path

import asyncpg
import pytest

from cli.embedded.postgres import binaries
from cli.local import _db_restored
from shared.events.audit.check import check
from shared.events.audit.folder import CheckpointFolder
from tests.e2e.world import Move, World, open_world

pytestmark = [pytest.mark.slow, pytest.mark.chaos]  # as long as four others; make chaos-short runs it

SERVER = {"south": {"version": "7.19.0", "sample": "south"}}


async def requests(world: World, move: Move, wanted: int) -> None:
    """Waits until the site has had so many requests."""
    async with asyncio.timeout(60):
        while len(await world.journal(move.site_name)) < wanted:
            assert await world.status(move) == "RUNNING"
            await asyncio.sleep(0.05)


def run(program: str, *words: str) -> None:
    subprocess.run([binaries() / program, *words], check=True, capture_output=True, timeout=60)


async def bring_back(world: World, file: Path) -> None:
    """As docs/operations.md says: an empty database, and the backup into it."""
    house = world.house
    if world._pool is not None:
        await world._pool.close()
        world._pool = None
    admin = await asyncpg.connect(house.postgres.admin_dsn.replace("/cloudward", "/postgres", 1))
    try:
        await admin.execute("DROP DATABASE cloudward WITH (FORCE)")
        await admin.execute("CREATE DATABASE cloudward")
    finally:
        await admin.close()
    await asyncio.to_thread(run, "pg_restore", "--dbname", house.postgres.admin_dsn, str(file))


async def test_a_plan_restored_from_a_backup_of_its_middle_ends_as_if_nothing_had_been(tmp_path: Path) -> None:
    async with open_world(tmp_path / "data", servers=SERVER) as world:
        house = world.house
        undisturbed = await world.move(server="south")
        await world.run(undisturbed)
        report = await world.ended(undisturbed)
        assert report["status"] == "FINISHED", report
        wanted, in_all = await world.canonical(undisturbed), len(await world.journal(undisturbed.site_name))

        move = await world.plan(undisturbed.source)
        await world.fault(move, action="delay", seconds=0.05, count=None)
        await world.run(move)
        await requests(world, move, in_all * 2 // 5)
        backup = tmp_path / "backup"
        await asyncio.to_thread(run, "pg_dump", "--format=custom", f"--file={backup}", house.postgres.admin_dsn)
        seen = len(await world.journal(move.site_name))
        await requests(world, move, in_all * 4 // 5)
        for name in house.services:
            await house.hold(name)

        await bring_back(world, backup)
        told = await _db_restored(house.data / "checkpoints", house.data)
        assert seen < len(await world.journal(move.site_name)), "nothing was done after the backup"
        for name in house.services:
            house.release(name)
        await house.wait_ready()

        ended = await world.ended(move)
        assert ended["status"] == "FINISHED", ended
        assert ended["conserved"]
        assert await world.canonical(move) == wanted
        assert await world.twice(move) == []
        events = await world.rows("SELECT position FROM log.events WHERE type = 'LogRestored'")
        assert [row["position"] for row in events] == [told["position"] + 1]
        pool = await asyncpg.create_pool(house.postgres.admin_dsn, min_size=1, max_size=2)
        async with pool:
            verdict = await check(pool, None, CheckpointFolder(house.data / "checkpoints"))
        assert verdict.ok, verdict
