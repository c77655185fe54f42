"""The embedded Postgres."""

import os
import shutil
import stat
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from cli.embedded.child import EmbeddedError
from cli.embedded.postgres import EmbeddedPostgres
from tests import scratch


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    # Closed on purpose: a data folder may lie below /root.
    outer = scratch.folder("cwt-")
    yield outer / "data"
    shutil.rmtree(outer)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def server(folder: Path) -> AsyncIterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(folder, fast=True)
    await server.start()
    yield server
    await server.stop()


async def _ask(server: EmbeddedPostgres, query: str) -> object:
    connection = await asyncpg.connect(server.admin_dsn, timeout=10)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


async def test_it_listens_on_a_socket_in_a_closed_folder_with_a_short_path_and_on_nothing_else(
    server: EmbeddedPostgres,
) -> None:
    assert stat.S_IMODE(server.socket.stat().st_mode) == 0o700
    assert len(str(server.socket)) <= 90
    assert await _ask(server, "SHOW listen_addresses") == ""


async def test_nobody_comes_in_without_a_password(server: EmbeddedPostgres) -> None:
    with pytest.raises((asyncpg.InvalidPasswordError, asyncpg.InvalidAuthorizationSpecificationError)):
        await asyncpg.connect(server.url("postgres"), password="wrong", timeout=5)
    for file in (server.data / "secrets").iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


async def test_it_does_not_run_as_root(server: EmbeddedPostgres) -> None:
    uid = int(Path(f"/proc/{server.child.pid}/status").read_text().split("Uid:")[1].split()[0])
    assert uid != 0
    assert (server.cluster).stat().st_uid == uid


async def test_after_a_crash_it_comes_back_with_what_was_committed(server: EmbeddedPostgres) -> None:
    await _ask(server, "CREATE TABLE kept AS SELECT 1 AS x")
    await server.kill()
    with pytest.raises((OSError, asyncpg.PostgresError)):
        await _ask(server, "SELECT 1")
    await server.restart()
    assert await _ask(server, "SELECT x FROM kept") == 1


async def test_a_paused_server_keeps_connections_and_answers_when_it_goes_on(server: EmbeddedPostgres) -> None:
    connection = await asyncpg.connect(server.admin_dsn, timeout=10)
    server.pause()
    with pytest.raises(TimeoutError):
        await connection.fetchval("SELECT 1", timeout=0.3)
    server.resume()
    connection.terminate()
    assert await _ask(server, "SELECT 2") == 2


async def test_a_cluster_of_another_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "postgres").mkdir()
    (tmp_path / "postgres" / "PG_VERSION").write_text("12\n")
    with pytest.raises(EmbeddedError, match="made by version 12"):
        await EmbeddedPostgres(tmp_path).start()
    assert os.listdir(tmp_path / "postgres") == ["PG_VERSION"]  # noqa: PTH208
