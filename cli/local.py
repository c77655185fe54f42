"""Verbs that need no running service: up, db, projections, doctor."""

import asyncio
import json
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.errors import FAILED, UNAVAILABLE, CliError

if TYPE_CHECKING:
    import asyncpg

    from cli.embedded.supervisor import Supervisor

DATA = Path("data")

DataOption = Annotated[Path, typer.Option("--data", envvar="CLOUDWARD_DATA", help="Folder of this deployment.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]

db = typer.Typer(help="The database and NATS: bring them to this release, or wait for it.", no_args_is_help=True)
projections = typer.Typer(help="Tables that are made from the log.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Adds the local verbs to the command line."""
    app.command()(up)
    app.add_typer(db, name="db")
    app.add_typer(projections, name="projections")
    app.command()(doctor)


# -- up ---------------------------------------------------------------------------------------------------------------


def up(
    data: DataOption = DATA,
    with_sandbox: Annotated[
        bool, typer.Option("--sandbox", help="Also a stand-in of two servers and a cloud site.")
    ] = False,
    executors: Annotated[int, typer.Option(min=1, max=32, help="How many executors.")] = 2,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the dashboard; 0 takes a free one.")] = 8080,
    exports: Annotated[
        list[Path] | None,
        typer.Option("--exports", help="Folder under which exports may lie; repeatable. Default: here."),
    ] = None,
) -> None:
    """Start everything on this machine: database, NATS, the four services. Ctrl-C ends it."""
    from cli.embedded.nats import free_port
    from cli.embedded.supervisor import Supervisor
    from cli.sandbox import SAMPLE

    if port and not _free(port):
        other = free_port()
        typer.echo(f"port {port} is taken; the dashboard gets {other}. Choose one with --port.")
        port = other
    supervisor = Supervisor(
        data,
        executors=executors,
        port=port,
        export_roots=[folder.resolve() for folder in (exports or [Path.cwd()])],
        sandbox=SAMPLE if with_sandbox else None,
        say=lambda name, text: typer.echo(f"{name:<12} {text}"),
    )
    asyncio.run(_up(supervisor))


async def _up(supervisor: "Supervisor") -> None:
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal() -> None:
        if asked.is_set():
            supervisor.hurry()
        asked.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, on_signal)
    starting = asyncio.create_task(supervisor.start())
    stopping = asyncio.create_task(asked.wait())
    try:
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            starting.cancel()
            await asyncio.wait({starting})
        if not starting.cancelled():
            starting.result()
            for service in supervisor.services:
                typer.echo(f"{service:<12} ready, process {supervisor.pid(service)}")
            if supervisor.sandbox:
                _tell_sandbox(supervisor.sandbox)
            address = await asyncio.to_thread(_login, supervisor)
            typer.echo(
                f"\nDashboard: {address}\nThis address logs one browser in, once; cloudward login prints another."
            )
            typer.echo(f"API token: {supervisor.token_file}\nCtrl-C ends everything; the data stay.")
            await stopping
        typer.echo("\nending ...")
    finally:
        asked.set()
        await supervisor.stop()
    typer.echo("ended")


def _login(supervisor: "Supervisor") -> str:
    from cli.client import Client

    with Client(supervisor.dashboard_url, supervisor.token) as client:
        return client.login()


def _tell_sandbox(told: dict[str, Any]) -> None:
    """How to register the stand-ins; their credentials are no secrets."""
    from cli.tryout import SITE_CREDENTIAL
    from sandbox.server import TOKEN

    typer.echo("\nThe sandbox's servers and site, as sources and site of your own plans:")
    for instance in told["instances"]:
        name, url = instance["name"], instance["url"]
        if instance["kind"] == "cloud":
            typer.echo(
                f"  TOKEN={SITE_CREDENTIAL['token']} cloudward site add {name} {url} --sandbox"
                f" --email {SITE_CREDENTIAL['email']} --token-from env:TOKEN"
            )
        else:
            typer.echo(f"  TOKEN={TOKEN} cloudward source add {name} {url} --token-from env:TOKEN")


def _free(port: int) -> bool:
    import socket

    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


# -- db ---------------------------------------------------------------------------------------------------------------


@db.command("upgrade")
def db_upgrade(
    passwords: Annotated[
        Path | None,
        typer.Option(help="Folder with a file per role (cw_planner, …) that holds its password, to be set."),
    ] = None,
    replicas: Annotated[int, typer.Option(min=1, max=5, help="Servers that hold each stream.")] = 1,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for the database and NATS.")] = 60.0,
    as_json: JsonOption = False,
) -> None:
    """Bring database schema, roles, streams and durables to this release. Twice is harmless."""
    asyncio.run(_db_upgrade(passwords, replicas, timeout, as_json))


async def _db_upgrade(passwords: Path | None, replicas: int, timeout: float, as_json: bool) -> None:
    from shared.events import schema, topology
    from shared.ops import bus
    from shared.ops.settings import Settings

    settings = Settings()
    known: dict[str, str] = {}
    if passwords is not None:
        for role in (schema.MIGRATE, *schema.SERVICES):
            if (passwords / role).is_file():
                known[role] = (passwords / role).read_text().strip()
        if not known:
            raise CliError(
                f"No password in {passwords}", "no file there is named after a role", "Name them cw_planner, …"
            )
    applied = await schema.upgrade(_with_password(settings), known, patience=timeout)
    client = await bus.connect(settings, "migrate", patience=timeout)
    try:
        created = await topology.upgrade(client.jetstream(timeout=10), replicas=replicas)
    finally:
        await client.close()
    if as_json:
        typer.echo(json.dumps({"applied": applied, "created": created}))
        return
    typer.echo(f"schema: {', '.join(applied) or 'up to date'}")
    typer.echo(f"NATS: {', '.join(created) or 'up to date'}")


@db.command("wait")
def db_wait(
    timeout: Annotated[float, typer.Option(help="Seconds to wait at most.")] = 600.0,
) -> None:
    """Wait until database and NATS are what this release needs, for services that start before the upgrade has run."""
    asyncio.run(_db_wait(timeout))


async def _db_wait(timeout: float) -> None:
    from shared.events import schema
    from shared.ops import bus
    from shared.ops.settings import Settings

    settings = Settings()
    await schema.wait(settings, patience=timeout)
    # Services may not ask for streams: the planner's leader creates what is missing, so a connection is enough.
    client = await bus.connect(settings, "wait", patience=timeout)
    await client.close()
    typer.echo("database and NATS are ready")


@db.command("restored")
def db_restored(
    checkpoints: Annotated[
        Path | None,
        typer.Option(envvar="CLOUDWARD_CHECKPOINTS", help="The sealer's folder. Default: in the data folder."),
    ] = None,
    data: DataOption = DATA,
    as_json: JsonOption = False,
) -> None:
    """Say in the log that this database comes from a backup. Before any service starts.

    Plans that had begun look on their sites before they make anything: what was done after the backup is there, and the log
    does not know it. Checkpoints of what the log has lost are set aside, or the sealer would refuse the log.
    """
    told = asyncio.run(_db_restored(checkpoints or data / "checkpoints", data))
    if as_json:
        typer.echo(json.dumps(told))
        return
    aside = f" {told['set_aside']} checkpoints of events after it were set aside." if told["set_aside"] else ""
    typer.echo(f"The log ends at {told['position']} and verifies; the restore is recorded in it.{aside}")


async def _db_restored(checkpoints: Path, data: Path) -> dict[str, Any]:
    from uuid import uuid4

    from cli.audit import noting
    from shared.events.audit.folder import CheckpointFolder
    from shared.events.audit.seal import note_event
    from shared.events.catalog.system import LogRestored
    from shared.events.restoring import STREAM
    from shared.events.verify import verify_links

    async with noting(data) as (pool, store):
        verdict = await verify_links(pool)
        if not verdict.ok:
            raise CliError(
                "The restored log does not verify",
                f"{verdict.problem} at position {verdict.position}",
                "Take another backup; docs/audit.md says what it may mean.",
            )
        end = await pool.fetchval("SELECT coalesce(max(position), 0) FROM log.events")
        await note_event(pool, store, f"restored {uuid4().hex}", LogRestored(position=end), STREAM)
    return {"position": end, "set_aside": len(CheckpointFolder(checkpoints).set_aside(end))}


@db.command("secrets")
def db_secrets(
    folder: Annotated[
        Path | None, typer.Argument(help="Folder to write into; a subfolder for each that gets secrets.")
    ] = None,
    owner: Annotated[int, typer.Option(help="User and group id that the services run as.")] = 10001,
    namespace: Annotated[
        str | None,
        typer.Option("--kubernetes", help="Print them as Secrets of this namespace; keep them nowhere else."),
    ] = None,
) -> None:
    """Make the passwords, keys and certificates of a deployment in containers, each for who may read it.

    What is in the folder stays. For Kubernetes: cloudward db secrets --kubernetes NAMESPACE | kubectl create -f -
    """
    import tempfile

    from cli.embedded.deployment import manifests, write_secrets

    if (folder is None) == (namespace is None):
        raise CliError("It is not clear where the secrets shall go", "", "Name a folder, or a namespace.", code=2)
    if folder is not None:
        write_secrets(folder, owner)
        typer.echo(f"secrets are in {folder}")
        return
    assert namespace is not None
    with tempfile.TemporaryDirectory() as made:
        write_secrets(Path(made), os.geteuid(), namespace)
        typer.echo(json.dumps({"apiVersion": "v1", "kind": "List", "items": list(manifests(Path(made), namespace))}))


def _with_password(settings: Any) -> str:
    """The database's address with the password from its file, for this process only."""
    from urllib.parse import quote, urlsplit, urlunsplit

    from shared.events.database import read_password

    password = read_password(settings.database_password_file)
    if password is None:
        return str(settings.database_url)
    parts = urlsplit(settings.database_url)
    user, _, host = parts.netloc.rpartition("@")
    user = user or os.environ.get("PGUSER", "")  # an address with a password must name its user, too
    return str(urlunsplit(parts._replace(netloc=f"{user}:{quote(password, safe='')}@{host}")))


@asynccontextmanager
async def database(data: Path, role: str, *, become: str | None = None) -> AsyncIterator["asyncpg.Pool[Any]"]:
    """A pool on the database of ``CLOUDWARD_DATABASE_URL``, or else of the data folder, whether that runs or not.

    ``role``: who to log in as in the data folder's database. ``become``: role to take on after it.
    """
    import asyncpg

    from cli.embedded.postgres import EmbeddedPostgres
    from shared.events.database import open_pool, prepare
    from shared.ops.settings import Settings

    if "CLOUDWARD_DATABASE_URL" in os.environ and become is None:
        pool = await open_pool(Settings(), application="cloudward")
        try:
            yield pool
        finally:
            await pool.close()
        return
    embedded: EmbeddedPostgres | None = None
    if "CLOUDWARD_DATABASE_URL" in os.environ:
        dsn = _with_password(Settings())
    else:
        if not (data / "postgres" / "PG_VERSION").exists() and not (data / "secrets").exists():
            raise CliError(
                f"There is no database in {data}", "nothing was started with this data folder", "Give its --data."
            )
        embedded = EmbeddedPostgres(data)
        dsn = embedded.dsn(role)
    started = False
    if embedded is not None and not _held(data):
        await embedded.start()
        started = True
    try:
        pool = await asyncpg.create_pool(
            dsn,
            min_size=1,
            max_size=4,
            init=prepare,
            timeout=10,
            server_settings={"application_name": "cloudward", **({"role": become} if become else {})},
        )
        try:
            yield pool
        finally:
            await pool.close()
    finally:
        if started and embedded is not None:
            await embedded.stop()


def _held(data: Path) -> bool:
    """Whether a running ``up`` holds the data folder."""
    import fcntl

    try:
        lock = os.open(data / "lock", os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(lock)
    return False


# -- projections ------------------------------------------------------------------------------------------------------

_NAMES = typer.Argument(help="Names of projections; all of them if none is given.")


@projections.command("rebuild")
def projections_rebuild(
    names: Annotated[list[str] | None, _NAMES] = None, data: DataOption = DATA, as_json: JsonOption = False
) -> None:
    """Make the tables anew from the log beside the live ones, and put them in their place at once."""
    done = asyncio.run(_rebuild(names or [], data))
    if as_json:
        typer.echo(json.dumps({"rebuilt": done}))
        return
    for name, position in done.items():
        typer.echo(f"{name}: rebuilt up to position {position}")


async def _rebuild(names: list[str], data: Path) -> dict[str, int]:
    from shared.events.projections.rebuild import rebuild

    async with database(data, "cw_migrate", become="cw_owner") as pool:
        return {projection.name: await rebuild(pool, projection) for projection in _projections(names)}


@projections.command("compare")
def projections_compare(
    names: Annotated[list[str] | None, _NAMES] = None, data: DataOption = DATA, as_json: JsonOption = False
) -> None:
    """Say where the live tables differ from what the log says. Exit 1 if they do."""
    found = asyncio.run(_compare(names or [], data))
    if as_json:
        document = {
            name: [{"table": d.table, "side": d.side, "row": d.row} for d in differences]
            for name, differences in found.items()
        }
        typer.echo(json.dumps({"differences": document}))
    else:
        for name, differences in found.items():
            typer.echo(f"{name}: {'equal' if not differences else f'{len(differences)} rows differ'}")
            for difference in differences[:20]:
                typer.echo(f"  {difference.table} only in {difference.side}: {json.dumps(difference.row)}")
    if any(found.values()):
        raise typer.Exit(FAILED)


async def _compare(names: list[str], data: Path) -> dict[str, Any]:
    from shared.events.projections.rebuild import compare

    async with database(data, "cw_migrate", become="cw_owner") as pool:
        return {projection.name: await compare(pool, projection) for projection in _projections(names)}


def _projections(names: list[str]) -> list[Any]:
    from shared.events.projections.registry import READ_PROJECTIONS
    from shared.events.projections.work import WorkProjection

    known = {projection.name: projection for projection in (*READ_PROJECTIONS, WorkProjection())}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise CliError(f"There is no projection {', '.join(unknown)}", "", f"There are: {', '.join(known)}.", code=2)
    return [known[name] for name in names] or list(known.values())


# -- doctor -----------------------------------------------------------------------------------------------------------


def doctor(data: DataOption = DATA, as_json: JsonOption = False) -> None:
    """Look whether this machine has what Cloudward needs, and whether what runs is well."""
    found = [*_machine(data), *asyncio.run(_running(data))]
    if as_json:
        typer.echo(json.dumps({"checks": [{"name": n, "ok": ok, "detail": detail} for n, ok, detail in found]}))
    else:
        for name, ok, detail in found:
            typer.echo(f"{'ok  ' if ok else 'FAIL'} {name:<14} {detail}")
    if not all(ok for _, ok, _ in found):
        raise typer.Exit(UNAVAILABLE)


def _machine(data: Path) -> list[tuple[str, bool, str]]:
    from cli.embedded.child import EmbeddedError
    from cli.embedded.nats import server
    from cli.embedded.postgres import binaries

    found = [("python", sys.version_info >= (3, 11), sys.version.split()[0])]
    for name, look in (("postgres", binaries), ("nats", server)):
        try:
            found.append((name, True, str(look())))
        except EmbeddedError as error:
            found.append((name, False, str(error)))
    folder = next(path for path in (data.resolve(), *data.resolve().parents) if path.exists())
    free = shutil.disk_usage(folder).free // 2**20
    found.append(("data folder", os.access(folder, os.W_OK), f"{data.resolve()}"))
    found.append(("disk", free > 1024, f"{free} MB free" + ("" if free > 1024 else "; at least 1024 are wanted")))
    return found


async def _running(data: Path) -> list[tuple[str, bool, str]]:
    import httpx

    if not _held(data):
        return [("services", True, "nothing runs with this data folder")]
    found = []
    async with httpx.AsyncClient(timeout=3, trust_env=False) as http:
        for file in sorted((data / "run").glob("*.json")):
            told = json.loads(file.read_text())
            if "ops_port" not in told:
                continue
            try:
                answer = await http.get(f"http://127.0.0.1:{told['ops_port']}/readyz")
                checks = answer.json()["checks"]
                text = ", ".join(f"{name} {check['state']}" for name, check in checks.items())
                found.append((file.stem, answer.status_code == 200, text))
            except (httpx.HTTPError, ValueError, KeyError):
                found.append((file.stem, False, "does not answer"))
    return found
