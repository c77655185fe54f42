"""The schema of the database: roles, migrations, and whether it is what this release needs.

Migrations are the SQL files beside this module, applied in the order of their names, each in a transaction of its own,
and never changed once released: a new file changes what an older one made. They run as ``cw_owner``, which nobody logs
in as.
"""

import asyncio
import base64
import hashlib
import hmac
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import asyncpg

from shared.events.database import AWAY, DatabaseUnavailable, place, read_password
from shared.ops.settings import Settings

FOLDER = Path(__file__).with_name("sql")
RELEASE = version("cloudward")
OWNER, MIGRATE = "cw_owner", "cw_migrate"
SERVICES = ("cw_planner", "cw_analyzer", "cw_executor", "cw_dashboard", "cw_sealer")
# A service that hangs must not hold the log's lock, or any other, for longer than this.
LIMITS = {"idle_in_transaction_session_timeout": "5s", "lock_timeout": "5s", "statement_timeout": "30s"}
_LOCK = 0x636C6F7564  # session advisory lock: one upgrade at a time


class SchemaError(Exception):
    """The schema cannot be brought, or is not, where this release needs it. The text says what, why and what next."""


@dataclass(frozen=True, slots=True)
class Migration:
    file: str
    text: str
    sha256: bytes


def migrations(folder: Path = FOLDER) -> list[Migration]:
    """The migrations of this release, in order."""
    files = sorted(folder.glob("[0-9][0-9][0-9][0-9]_*.sql"))
    return [Migration(f.name, (b := f.read_bytes()).decode(), hashlib.sha256(b).digest()) for f in files]


async def upgrade(
    admin_dsn: str, passwords: Mapping[str, str] | None = None, *, folder: Path = FOLDER, patience: float = 60.0
) -> list[str]:
    """Brings roles and schema to this release and returns the names of the files it applied; twice is harmless.

    ``admin_dsn``: a superuser, or an owner of the database who may create roles; ``cw_migrate`` once the roles exist.
    ``passwords``: role to password, for the roles whose password is to be set. Waits up to ``patience`` seconds for
    Postgres, for another upgrade, and for locks. Raises SchemaError and DatabaseUnavailable.
    """
    unknown = set(passwords or ()) - {MIGRATE, *SERVICES}
    if unknown:
        raise SchemaError(f"There is no role {', '.join(sorted(unknown))}. Roles: {MIGRATE}, {', '.join(SERVICES)}.")
    async with _session(admin_dsn, patience) as connection:
        await _lock(connection, patience)
        await _roles(connection, passwords or {})
        applied: list[str] = []
        known = await _known(connection)
        for migration in migrations(folder):
            if migration.file not in known:
                await _apply(connection, migration, patience)
                applied.append(migration.file)
            elif known[migration.file] != migration.sha256:
                raise SchemaError(
                    f"{migration.file} differs from what was applied to this database."
                    " A released migration never changes: restore the file, and put the change into a new one."
                )
        return applied


async def check(connection: Any) -> None:
    """Raises SchemaError unless the schema is what this release needs.

    ``connection``: a connection or pool of any role. A schema that newer releases have extended is fine for as long as
    ``meta.schema.oldest_release`` is not above this release.
    """
    try:
        known = await _known(connection)
        oldest = await connection.fetchval("SELECT oldest_release FROM meta.schema") if known else None
    except asyncpg.InsufficientPrivilegeError as error:
        raise SchemaError(f"The schema cannot be read ({error}). Log in as one of the service roles.") from error
    missing = [m.file for m in migrations() if m.file not in known]
    if missing:
        raise SchemaError(
            f"The schema is older than release {RELEASE} needs: {', '.join(missing)} not applied."
            " Run `cloudward db upgrade`."
        )
    if oldest is not None and order(oldest) > order(RELEASE):
        raise SchemaError(
            f"The schema no longer serves release {RELEASE}: the oldest is {oldest}. Update this service."
        )


async def wait(settings: Settings, patience: float = 60.0) -> None:
    """Waits until the schema is what this release needs. Raises the last SchemaError, or DatabaseUnavailable."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + patience
    password = read_password(settings.database_password_file)
    while True:
        try:
            async with _session(settings.database_url, max(deadline - loop.time(), 0.1), password) as connection:
                return await check(connection)
        except SchemaError:
            if loop.time() + 0.5 > deadline:
                raise
        except DatabaseUnavailable as error:  # the roles come with the schema: until then Postgres refuses them
            if loop.time() + 0.5 > deadline or not isinstance(error.__cause__, asyncpg.PostgresError):
                raise
        await asyncio.sleep(0.5)


@asynccontextmanager
async def _session(dsn: str, patience: float, password: str | None = None) -> AsyncIterator[Any]:
    loop = asyncio.get_running_loop()
    deadline, pause = loop.time() + patience, 0.1
    while True:
        try:
            connection = await asyncpg.connect(
                dsn, password=password, timeout=10, server_settings={"application_name": "cloudward db"}
            )
            break
        except (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError) as error:
            raise DatabaseUnavailable(
                f"Postgres at {place(dsn)} refuses the login: {error}. Check the URL and the password."
            ) from error
        except AWAY as error:
            if loop.time() + pause > deadline:
                raise DatabaseUnavailable(
                    f"Postgres at {place(dsn)} does not answer ({error or type(error).__name__}),"
                    f" tried for {patience:g} s. Start it, or correct the URL."
                ) from error
            await asyncio.sleep(pause)
            pause = min(pause * 2, 2.0)
    try:
        yield connection
    finally:
        await connection.close(timeout=5)


async def _lock(connection: Any, patience: float) -> None:
    """Polls for the lock: a waiting pg_advisory_lock would itself be an open statement that holds back vacuum."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + patience
    while not await connection.fetchval("SELECT pg_try_advisory_lock($1)", _LOCK):
        if loop.time() > deadline:
            raise SchemaError(f"Another upgrade of this database has not ended within {patience:g} s. Try again then.")
        await asyncio.sleep(0.2)


async def _roles(connection: Any, passwords: Mapping[str, str]) -> None:
    """Roles belong to the whole cluster, where upgrades of two databases may meet: the loser looks again."""
    for attempt in range(10):
        try:
            async with connection.transaction():
                await _make_roles(connection, passwords)
            return
        except (asyncpg.DuplicateObjectError, asyncpg.UniqueViolationError, asyncpg.InternalServerError):
            if attempt == 9:
                raise
            await asyncio.sleep(0.1 * (attempt + 1))


async def _make_roles(connection: Any, passwords: Mapping[str, str]) -> None:
    there = {
        r["rolname"]: set(r["rolconfig"] or ())
        for r in await connection.fetch("SELECT rolname, rolconfig FROM pg_roles WHERE rolname LIKE 'cw\\_%'")
    }
    if OWNER not in there:
        await connection.execute(f"CREATE ROLE {OWNER} NOLOGIN")
    for role in (MIGRATE, *SERVICES):
        if role not in there:
            await connection.execute(f"CREATE ROLE {role} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE")
        if role in passwords:
            await connection.execute(f"ALTER ROLE {role} PASSWORD '{_verifier(passwords[role])}'")
    for role in SERVICES:
        for name, value in LIMITS.items():
            if f"{name}={value}" not in there.get(role, ()):
                await connection.execute(f"ALTER ROLE {role} SET {name} = '{value}'")
    if not await connection.fetchval("SELECT pg_has_role($1, $2, 'MEMBER')", MIGRATE, OWNER):
        await connection.execute(f"GRANT {OWNER} TO {MIGRATE}")
    # Who runs migrations must be able to become their owner. A superuser is; a managed service's administrator is not.
    if not await connection.fetchval("SELECT pg_has_role(current_user, $1, 'MEMBER')", OWNER):
        await connection.execute(f"GRANT {OWNER} TO CURRENT_USER")
    if not await connection.fetchval("SELECT has_database_privilege($1, current_database(), 'CREATE')", OWNER):
        database = await connection.fetchval("SELECT quote_ident(current_database())")
        await connection.execute(f"REVOKE ALL ON DATABASE {database} FROM PUBLIC")
        await connection.execute(f"GRANT CONNECT ON DATABASE {database} TO {', '.join((MIGRATE, *SERVICES))}")
        await connection.execute(f"GRANT CREATE ON DATABASE {database} TO {OWNER}")


async def _known(connection: Any) -> dict[str, bytes]:
    """The applied migrations: file to SHA-256."""
    if await connection.fetchval("SELECT to_regclass('meta.migration')") is None:
        return {}
    return {r["file"]: r["sha256"] for r in await connection.fetch("SELECT file, sha256 FROM meta.migration")}


async def _apply(connection: Any, migration: Migration, patience: float) -> None:
    """One migration. Its locks are tried for briefly, again and again: behind a queued one everyone queues."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + patience
    while True:
        try:
            async with connection.transaction():
                await connection.execute(
                    f"SET LOCAL ROLE {OWNER}; SET LOCAL lock_timeout = '2s'; SET LOCAL statement_timeout = 0"
                )
                await connection.execute(migration.text)
                await connection.execute(
                    "INSERT INTO meta.migration (file, sha256, release) VALUES ($1, $2, $3)",
                    migration.file,
                    migration.sha256,
                    RELEASE,
                )
            return
        except asyncpg.LockNotAvailableError as error:
            if loop.time() > deadline:
                raise SchemaError(
                    f"{migration.file} did not get its lock within {patience:g} s: someone uses the table all the time."
                    " Nothing was changed; try again when it is quieter."
                ) from error
            await asyncio.sleep(0.5)
        except asyncpg.PostgresError as error:
            raise SchemaError(f"{migration.file} failed and was undone: {error}.") from error


def _verifier(password: str) -> str:
    """The SCRAM verifier of a password (RFC 5803), so that the password itself reaches no server log."""
    if not password.isascii() or not password.isprintable():
        raise SchemaError("A role's password may have printable ASCII characters only.")
    salt, rounds = secrets.token_bytes(16), 4096
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, rounds)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    text = [base64.b64encode(b).decode() for b in (salt, stored, server)]
    return f"SCRAM-SHA-256${rounds}:{text[0]}${text[1]}:{text[2]}"


def order(release: str) -> tuple[int, ...]:
    numbers = (part for part in release.partition("-")[0].split("."))
    return tuple(int(n) if n.isdigit() else 0 for n in numbers)
