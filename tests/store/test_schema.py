"""Claims about migrations, and about waiting for schema and server."""

import asyncio
import shutil
import time
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from shared.events import schema
from shared.events.database import DatabaseUnavailable, open_pool
from shared.events.schema import SchemaError
from shared.ops.settings import Settings
from tests.servers import Database, PostgresServer
from tests.store.logs import Log
from tests.store.wire import Wire

FILES = [m.file for m in schema.migrations()]


@pytest_asyncio.fixture
async def bare(postgres: PostgresServer) -> AsyncIterator[Database]:
    database = await postgres.empty_database()
    yield database
    await postgres.drop_database(database)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the migrations, to be changed."""
    return Path(shutil.copytree(schema.FOLDER, tmp_path / "sql"))


async def test_an_upgrade_applies_every_file_once_and_names_it(bare: Database) -> None:
    assert await schema.upgrade(bare.admin_dsn) == FILES
    assert await schema.upgrade(bare.admin_dsn) == []
    admin = await bare.connect()
    rows = await admin.fetch("SELECT file, sha256, release FROM meta.migration ORDER BY file")
    await admin.close()
    assert [tuple(r) for r in rows] == [(m.file, m.sha256, schema.RELEASE) for m in schema.migrations()]


async def test_an_upgrade_runs_as_the_migration_role_once_the_roles_exist(bare: Database) -> None:
    admin = await bare.connect()
    await admin.execute(f"GRANT CREATE ON DATABASE {bare.name} TO cw_owner")
    await admin.close()
    assert await schema.upgrade(bare.dsn("cw_migrate")) == FILES


async def test_upgrades_at_the_same_time_apply_every_file_once(bare: Database) -> None:
    applied = await asyncio.gather(*(schema.upgrade(bare.admin_dsn) for _ in range(4)))
    assert sorted(applied, key=len) == [[], [], [], FILES]


async def test_upgrades_of_two_databases_at_the_same_time_share_the_roles(postgres: PostgresServer) -> None:
    databases = [await postgres.empty_database() for _ in range(3)]
    applied = await asyncio.gather(*(schema.upgrade(d.admin_dsn, postgres.passwords) for d in databases))
    for database in databases:
        await postgres.drop_database(database)
    assert applied == [FILES] * 3


async def test_a_changed_migration_is_refused(bare: Database, folder: Path) -> None:
    await schema.upgrade(bare.admin_dsn, folder=folder)
    (folder / FILES[0]).write_text((folder / FILES[0]).read_text() + "\n-- better\n")
    with pytest.raises(SchemaError, match=f"{FILES[0]} differs"):
        await schema.upgrade(bare.admin_dsn, folder=folder)


async def test_a_failing_migration_is_undone_whole_and_those_before_it_stay(bare: Database, folder: Path) -> None:
    (folder / "9001_good.sql").write_text("CREATE TABLE meta.good ();")
    (folder / "9002_bad.sql").write_text("CREATE TABLE meta.half (); SELECT 1 / 0;")
    with pytest.raises(SchemaError, match=r"9002_bad\.sql failed and was undone: division by zero"):
        await schema.upgrade(bare.admin_dsn, folder=folder)
    admin = await bare.connect()
    assert await admin.fetchval("SELECT to_regclass('meta.good') IS NOT NULL AND to_regclass('meta.half') IS NULL")
    await admin.close()
    (folder / "9002_bad.sql").write_text("CREATE TABLE meta.half ();")
    assert await schema.upgrade(bare.admin_dsn, folder=folder) == ["9002_bad.sql"]


async def test_a_migration_waits_for_its_lock_in_short_tries(bare: Database, folder: Path) -> None:
    await schema.upgrade(bare.admin_dsn)
    (folder / "9001_more.sql").write_text("ALTER TABLE meta.schema ADD COLUMN more int;")
    holder = await bare.connect()
    await holder.execute("BEGIN; LOCK TABLE meta.schema")
    with pytest.raises(SchemaError, match="did not get its lock"):
        await schema.upgrade(bare.admin_dsn, folder=folder, patience=0.1)
    upgrade = asyncio.create_task(schema.upgrade(bare.admin_dsn, folder=folder))
    await asyncio.sleep(0.3)
    await holder.execute("COMMIT")
    assert await upgrade == ["9001_more.sql"]
    await holder.close()


async def test_a_password_is_set_without_the_server_seeing_it(postgres: PostgresServer, bare: Database) -> None:
    await schema.upgrade(bare.admin_dsn, {"cw_sealer": "first'; --"})
    admin = await bare.connect()
    stored = await admin.fetchval("SELECT rolpassword FROM pg_authid WHERE rolname = 'cw_sealer'")
    await admin.close()
    assert stored.startswith("SCRAM-SHA-256$4096:") and "first" not in stored
    await schema.upgrade(bare.admin_dsn, {"cw_sealer": postgres.passwords["cw_sealer"]})
    await (await bare.connect("cw_sealer")).close()
    with pytest.raises(SchemaError, match="printable ASCII"):
        await schema.upgrade(bare.admin_dsn, {"cw_sealer": "ü"})
    with pytest.raises(SchemaError, match="no role cw_nobody"):
        await schema.upgrade(bare.admin_dsn, {"cw_nobody": "x"})


async def test_a_service_checks_that_the_schema_is_what_it_needs(
    log: Log, bare: Database, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    for role in schema.SERVICES:
        await schema.check(await log.connect(role))
    other = await bare.connect()
    with pytest.raises(SchemaError, match=r"older than release .* needs: 0001_log.sql.*cloudward db upgrade"):
        await schema.check(other)
    await other.close()
    admin = await log.connect()
    # A newer release has extended the schema: fine, until it says that this one is too old.
    await admin.execute("INSERT INTO meta.migration VALUES ('9999_newer.sql', '', '99.0.0')")
    await schema.check(admin)
    await admin.execute("UPDATE meta.schema SET oldest_release = '99.0.0'")
    with pytest.raises(SchemaError, match="no longer serves"):
        await schema.check(admin)


async def test_releases_are_ordered_by_their_numbers() -> None:
    assert schema.order("0.10.0") > schema.order("0.9.12")
    assert schema.order("1.0.0-rc1") == schema.order("1.0.0")


async def test_waiting_for_the_schema_ends_when_it_is_there(bare: Database) -> None:
    waiting = asyncio.create_task(schema.wait(bare.settings("planner"), 20))
    await asyncio.sleep(0.2)
    assert not waiting.done()
    await schema.upgrade(bare.admin_dsn)
    await waiting


async def test_waiting_for_a_schema_that_does_not_come_ends_with_what_is_missing(bare: Database) -> None:
    with pytest.raises(SchemaError, match=r"0001_log\.sql"):
        await schema.wait(bare.settings("planner"), 0.3)


async def test_a_pool_opens_as_soon_as_the_server_answers(log: Log) -> None:
    wire = Wire(log.dsn("cw_planner"))
    await wire.mend()
    await wire.cut()
    opening = asyncio.create_task(open_pool(Settings(database_url=wire.dsn), application="tests", patience=10))
    await asyncio.sleep(0.4)
    assert not opening.done()
    await wire.mend()
    pool = await opening
    assert await pool.fetchval("SELECT current_setting('application_name')") == f"tests {schema.RELEASE}"
    assert await pool.fetchval("SELECT '{\"a\": [1]}'::jsonb") == {"a": [1]}
    assert await pool.fetchval("SELECT $1::jsonb -> 'b'", {"b": "x"}) == "x"
    await pool.close()
    await wire.cut()


async def test_a_server_that_stays_away_is_named_with_reason_and_way_on_and_without_password(tmp_path: Path) -> None:
    url = f"postgresql://cw_planner:secret@/cloudward?host={tmp_path}"
    begin = time.monotonic()
    with pytest.raises(DatabaseUnavailable) as raised:
        await open_pool(Settings(database_url=url), application="tests", patience=0.5)
    assert time.monotonic() - begin < 3
    text = str(raised.value)
    assert str(tmp_path) in text and "does not answer" in text and "CLOUDWARD_DATABASE_URL" in text
    assert "secret" not in text


async def test_a_refused_login_is_told_at_once(log: Log, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("wrong\n")
    settings = log.database.settings("planner", database_password_file=tmp_path / "password")
    begin = time.monotonic()
    with pytest.raises(DatabaseUnavailable, match="refuses this process"):
        await open_pool(settings, application="tests", patience=30)
    assert time.monotonic() - begin < 5
    with pytest.raises(DatabaseUnavailable, match="refuses this process"):
        await open_pool(
            Settings(database_url=log.dsn("cw_planner").replace(log.database.name, "nowhere")), application="tests"
        )
    with pytest.raises(DatabaseUnavailable, match="no usable address"):
        await open_pool(Settings(database_url="mysql://localhost/x"), application="tests")
    with pytest.raises(DatabaseUnavailable, match="cannot be read"):
        await open_pool(Settings(database_password_file=tmp_path / "none"), application="tests")
    assert isinstance(raised_cause(await refused(settings)), asyncpg.InvalidAuthorizationSpecificationError)


async def refused(settings: Settings) -> BaseException:
    try:
        await open_pool(settings, application="tests", patience=1)
    except DatabaseUnavailable as error:
        return error
    raise AssertionError("it was meant to be refused")


def raised_cause(error: BaseException) -> BaseException | None:
    return error.__cause__
