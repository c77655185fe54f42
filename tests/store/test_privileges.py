"""Claims about who may do what to the log."""

from typing import Any

import asyncpg
import pytest

from shared.events.schema import LIMITS, SERVICES
from shared.events.store import EventStore
from shared.events.types import new_id
from tests.store.commands import command, plan
from tests.store.logs import Log

WRITERS = {
    "cw_planner": {"plan", "task", "target", "site", "program"},
    "cw_analyzer": {"source", "analysis", "chunk"},
    "cw_executor": {"chunk"},
    "cw_dashboard": {"access", "audit", "webhook"},
    "cw_sealer": {"audit"},
}
CATEGORIES = sorted(set().union(*WRITERS.values()) | {"unknown", ""})
DENIED = asyncpg.InsufficientPrivilegeError


async def append(connection: Any, stream: str) -> Any:
    return await connection.fetchrow(
        "SELECT * FROM log.append_v1($1, '{-1}', '{1}', $2, '{Anything}', $3, '{}', '{}', '{}')",
        [stream],
        [new_id()],
        [b"{}"],
    )


@pytest.mark.parametrize("role", SERVICES)
async def test_update_delete_truncate_and_insert_are_refused_to_every_service_role(
    log: Log, store: EventStore, role: str
) -> None:
    await store.append(command(plan()))
    connection = await log.connect(role)
    for statement in (
        "UPDATE log.events SET type = 'Other'",
        "UPDATE log.events SET type = type WHERE false",
        "DELETE FROM log.events",
        "DELETE FROM log.events WHERE false",
        "TRUNCATE log.events",
        "INSERT INTO log.events SELECT * FROM log.events",
        "UPDATE log.log_head SET position = 0",
        "DELETE FROM log.log_head",
        "TRUNCATE log.log_head",
        "INSERT INTO log.writer VALUES (session_user, 'plan')",
        "SELECT log.write((SELECT h FROM log.log_head h), '{}', '{}', '{}', '{}', '{}')",
        "SELECT log.judge('', 0, '{}', '{}', '{}')",
        "SELECT * FROM log.events FOR UPDATE",
        "LOCK TABLE log.events",
        "SET ROLE cw_owner",
        "SET session_replication_role = replica",
        "ALTER TABLE log.events DISABLE TRIGGER ALL",
        "DROP TABLE log.events",
        "CREATE TABLE log.mine ()",
        "CREATE TABLE public.mine ()",
        "CREATE SCHEMA mine",
        "UPDATE meta.schema SET oldest_release = '0'",
    ):
        with pytest.raises(DENIED):
            async with connection.transaction():
                await connection.execute(statement)
                pytest.fail(statement)
    assert await connection.fetchval("SELECT count(*) FROM log.events") == 1
    assert await connection.fetchval("SELECT position FROM log.log_head") == 1


@pytest.mark.parametrize("role", SERVICES)
async def test_a_role_appends_to_the_streams_of_its_categories_and_to_no_others(log: Log, role: str) -> None:
    connection = await log.connect(role)
    for category in CATEGORIES:
        stream = f"{category}-{new_id()}"
        if category in WRITERS[role]:
            assert (await append(connection, stream))["outcome"] == "appended"
        else:
            with pytest.raises(DENIED, match="may not append"):
                await append(connection, stream)
    # A category is the part before the first dash, and nothing else decides.
    with pytest.raises(DENIED):
        await append(connection, f"unknown-{sorted(WRITERS[role])[0]}-{new_id()}")
    assert await connection.fetchval("SELECT count(*) FROM log.events") == len(WRITERS[role])


async def test_a_role_cannot_borrow_the_rights_of_another(log: Log) -> None:
    """The check is of who logged in: neither a temporary table nor a search path nor SET ROLE gets around it."""
    connection = await log.connect("cw_executor")
    await connection.execute("SET search_path = pg_temp, log")
    with pytest.raises(DENIED):
        await append(connection, plan())
    with pytest.raises(DENIED):
        await connection.execute("SET ROLE cw_planner")


async def test_the_superuser_is_no_writer_of_the_log(log: Log) -> None:
    with pytest.raises(DENIED, match="may not append"):
        await append(await log.connect(), plan())


@pytest.mark.parametrize("role", [None, "cw_owner"])
async def test_triggers_refuse_changes_even_to_the_owner_and_the_superuser(
    log: Log, store: EventStore, role: str | None
) -> None:
    await store.append(command(plan()))
    admin = await log.connect()
    settings = ["SET ROLE cw_owner"] if role else ["SELECT 1", "SET session_replication_role = replica"]
    for setting in settings:
        await admin.execute(setting)
        for statement in (
            "UPDATE log.events SET type = 'Other'",
            "DELETE FROM log.events",
            "TRUNCATE log.events",
            "DELETE FROM log.log_head",
            "TRUNCATE log.log_head",
        ):
            with pytest.raises(DENIED, match="append-only"):
                await admin.execute(statement)


async def test_nobody_but_the_named_roles_may_enter_the_log(log: Log) -> None:
    admin = await log.connect()
    granted = await admin.fetch(
        """SELECT n.nspname || '.' || c.relname AS name, coalesce(r.rolname, 'PUBLIC') AS role, a.privilege_type
           FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace, aclexplode(c.relacl) a
           LEFT JOIN pg_roles r ON r.oid = a.grantee
           WHERE n.nspname IN ('log', 'meta') AND a.grantee <> c.relowner"""
    )
    assert {tuple(g) for g in granted} == {
        (table, role, "SELECT")
        for table in ("log.events", "log.log_head", "meta.migration", "meta.schema")
        for role in SERVICES
    } | {
        *(
            (table, role, "SELECT")
            for table in ("log.checkpoint", "log.subtree")
            for role in ("cw_dashboard", "cw_sealer")
        ),
        *((table, "cw_sealer", "INSERT") for table in ("log.checkpoint", "log.subtree")),
        *(("log.subtree", "cw_sealer", right) for right in ("UPDATE", "DELETE")),
    }
    functions = await admin.fetch(
        """SELECT p.proname, coalesce(r.rolname, 'PUBLIC') AS role
           FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace,
             aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a LEFT JOIN pg_roles r ON r.oid = a.grantee
           WHERE n.nspname = 'log' AND a.grantee <> p.proowner"""
    )
    assert {tuple(f) for f in functions} == {("append_v1", role) for role in SERVICES}


async def test_service_roles_are_limited_and_own_nothing(log: Log) -> None:
    admin = await log.connect()
    roles = await admin.fetch("SELECT * FROM pg_roles WHERE rolname LIKE 'cw\\_%'")
    assert {r["rolname"] for r in roles} >= {"cw_owner", "cw_migrate", *SERVICES}
    for role in roles:
        assert not (role["rolsuper"] or role["rolcreatedb"] or role["rolcreaterole"] or role["rolbypassrls"])
        assert role["rolcanlogin"] == (role["rolname"] != "cw_owner")
    for role in SERVICES:
        connection = await log.connect(role)
        for name, value in LIMITS.items():
            assert await connection.fetchval(f"SHOW {name}") == value
    owners = await admin.fetch(
        "SELECT DISTINCT pg_get_userbyid(relowner) FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace"
        " WHERE nspname IN ('log', 'meta', 'work', 'people', 'vault', 'read')"
    )
    assert [o[0] for o in owners] == ["cw_owner"]
