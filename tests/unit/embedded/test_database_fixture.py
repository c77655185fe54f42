"""The database each test gets."""

import asyncpg
import pytest

from shared.events import schema
from tests.servers import Database, PostgresServer


async def test_every_service_logs_in_with_its_own_password_and_the_schema_is_this_releases(database: Database) -> None:
    for role in schema.SERVICES:
        connection = await database.connect(role)
        assert await connection.fetchval("SELECT session_user") == role
        await schema.check(connection)
        await connection.close()


async def test_a_copied_database_keeps_the_privileges_of_its_template(database: Database) -> None:
    connection = await database.connect("cw_executor")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await connection.execute("CREATE TEMP TABLE x (y int)")
    await connection.close()


async def test_a_wrong_password_is_refused(postgres: PostgresServer) -> None:
    dsn = postgres.dsn("cw_executor").replace(postgres.passwords["cw_executor"], "wrong")
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(dsn, timeout=5)
