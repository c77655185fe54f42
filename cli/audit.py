"""The log as evidence: seal it, verify it, export it, prove what is in it, follow one request through it."""

import asyncio
import gzip
import json
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.errors import FAILED, CliError
from cli.local import DATA, DataOption, JsonOption, database

if TYPE_CHECKING:
    from shared.events.audit.folder import CheckpointFolder
    from shared.events.audit.note import SigningKey

audit = typer.Typer(help="The log as evidence: seal, verify, export, prove, trail.", no_args_is_help=True)
key = typer.Typer(help="Keys that sign checkpoints.", no_args_is_help=True)

SEAL_KEY = Path("secrets") / "seal-key"
CHECKPOINTS = Path("checkpoints")

KeyFiles = Annotated[
    list[Path] | None,
    typer.Option("--key", help="File with a signing key; twice while one takes over. Default: from the data folder."),
]
Folder = Annotated[
    Path | None,
    typer.Option(
        "--checkpoints",
        envvar="CLOUDWARD_CHECKPOINTS",
        help="Folder outside the database for checkpoints. Default: in the data folder.",
    ),
]


def register(app: typer.Typer) -> None:
    """Adds these verbs to the command line."""
    audit.add_typer(key, name="key")
    app.add_typer(audit, name="audit")


# -- keys -------------------------------------------------------------------------------------------------------------


@key.command("new")
def key_new(file: Annotated[Path, typer.Argument(help="File to write; must not be there yet.")]) -> None:
    """Make a signing key (Ed25519, PEM) that only its owner can read. Keep it where the database's people cannot."""
    from cli.embedded.child import write_secret
    from shared.events.audit.note import SigningKey

    if file.exists():
        raise CliError(f"{file} is there already", "a key is never overwritten", "Choose another name.")
    write_secret(file, SigningKey.new().pem)
    typer.echo(f"Signing key written to {file}. Its public half: cloudward audit key show")


@key.command("show")
def key_show(keys: KeyFiles = None, data: DataOption = DATA, as_json: JsonOption = False) -> None:
    """Print the log's public keys, one a line, for who verifies. Give them away by another way than the exports."""
    shown = asyncio.run(_public(_signing_keys(keys, data), data))
    typer.echo(json.dumps({"keys": shown}) if as_json else "\n".join(shown))


async def _public(keys: "list[SigningKey]", data: Path) -> list[str]:
    from shared.events.audit.kept import log_id

    async with database(data, "cw_sealer") as pool:
        log = await log_id(pool)
    return [str(each.public(log)) for each in keys]


def _signing_keys(files: list[Path] | None, data: Path) -> "list[SigningKey]":
    from shared.events.audit.service import signing_keys

    named = ":".join(str(file) for file in files or []) or os.environ.get("CLOUDWARD_SEAL_KEYS")
    return signing_keys(named or str(data / SEAL_KEY))


def _folder(given: Path | None, data: Path) -> "CheckpointFolder":
    from shared.events.audit.folder import CheckpointFolder

    return CheckpointFolder(given or data / CHECKPOINTS)


# -- seal -------------------------------------------------------------------------------------------------------------


@audit.command("seal")
def seal(
    every: Annotated[float | None, typer.Option(help="Stay, and seal every so many seconds.")] = None,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="First make the kept hashes of the tree anew.")] = False,
    keys: KeyFiles = None,
    checkpoints: Folder = None,
    data: DataOption = DATA,
    as_json: JsonOption = False,
) -> None:
    """Sign the log as it is now, and leave the checkpoint in the database and in a folder outside it.

    Exit code 1 if the log is not what was signed before: nothing is signed then.
    """
    if every is not None:
        _service(every, keys, checkpoints, data)
    told = asyncio.run(_seal(_signing_keys(keys, data), checkpoints, data, rebuild))
    if as_json:
        typer.echo(json.dumps(told))
    elif told["size"] == 0:
        typer.echo("The log is empty: there is nothing to seal.")
    elif told["signed"]:
        typer.echo(f"Sealed: {told['size']} events, root {told['root']}.")
    else:
        typer.echo(f"Nothing is new since the checkpoint of {told['size']} events.")


def _service(every: float, keys: list[Path] | None, checkpoints: Path | None, data: Path) -> None:
    """The same process as ``python -m shared.events.audit``."""
    from shared.events.audit.service import main
    from shared.ops.process import run_service

    os.environ["CLOUDWARD_SEAL_EVERY"] = str(every)
    os.environ.setdefault("CLOUDWARD_CHECKPOINTS", str(checkpoints or data / CHECKPOINTS))
    if keys or "CLOUDWARD_SEAL_KEYS" not in os.environ:
        os.environ["CLOUDWARD_SEAL_KEYS"] = ":".join(str(file) for file in keys or [data / SEAL_KEY])
    if "CLOUDWARD_DATABASE_URL" not in os.environ:
        raise CliError(
            "The sealer does not know its database",
            "CLOUDWARD_DATABASE_URL is not set",
            "`cloudward up` runs a sealer of its own; elsewhere set the address, of role cw_sealer.",
        )
    run_service("sealer", main)


async def _seal(keys: "list[SigningKey]", checkpoints: Path | None, data: Path, rebuild: bool) -> dict[str, Any]:
    from shared.events.audit.seal import Busy, Sealer, SealRefused, note_seal, rebuild_subtrees
    from shared.events.store import EventStore

    async with database(data, "cw_sealer") as pool, EventStore(pool) as store:
        try:
            if rebuild:
                size = await pool.fetchval("SELECT coalesce(max(size), 0) FROM log.checkpoint")
                await rebuild_subtrees(pool, size)
            sealed = await Sealer(pool, keys, _folder(checkpoints, data)).seal()
        except SealRefused as error:
            raise CliError(
                "The log is not sealed",
                str(error),
                "Run `cloudward audit verify`; docs/audit.md says what it may mean.",
            ) from error
        except Busy as error:
            raise CliError(str(error), "", "It seals by itself; or try again in a moment.") from error
        if sealed.checkpoint is None:
            return {"size": 0, "root": None, "signed": False}
        if sealed.signed:
            await note_seal(pool, store, sealed.checkpoint)
        return {"size": sealed.checkpoint.size, "root": sealed.checkpoint.root.hex(), "signed": sealed.signed}


# -- verify -----------------------------------------------------------------------------------------------------------


@audit.command("verify")
def verify(
    public: Annotated[
        list[str] | None,
        typer.Option("--public-key", help="A public key you trust, or a file with some. Default: those kept beside."),
    ] = None,
    checkpoints: Folder = None,
    data: DataOption = DATA,
    as_json: JsonOption = False,
) -> None:
    """Check the whole log: every link, and every checkpoint in the database and outside it. Exit 1 if one is off."""
    document = asyncio.run(_verify(public, checkpoints, data))
    if as_json:
        typer.echo(json.dumps(document))
    else:
        typer.echo(f"log {document['log_id']}: {document['checked']} events checked. {document['message']}")
    if not document["ok"]:
        raise typer.Exit(FAILED)


async def _verify(public: list[str] | None, checkpoints: Path | None, data: Path) -> dict[str, Any]:
    from uuid import uuid4

    from shared.events.audit.check import check, noted
    from shared.events.audit.note import BadNote, PublicKey
    from shared.events.audit.seal import note_event
    from shared.events.catalog.system import LogVerified

    trusted = None
    try:
        if public is not None:
            words = [
                line for word in public for line in ([word] if word.count("+") > 1 else Path(word).read_text().split())
            ]
            trusted = [PublicKey.parse(word) for word in words]
    except BadNote as error:
        raise CliError(
            "The public key cannot be used", str(error), "Give one as `cloudward audit key show` prints it."
        ) from error
    async with noting(data) as (pool, store):
        found = await check(pool, trusted, _folder(checkpoints, data))
        if found.log_id:
            event = LogVerified(checked=found.checked, problem=found.problem, position=found.position)
            await recording(lambda: note_event(pool, store, f"verified {uuid4().hex}", event))
        return dict(noted(found))


@asynccontextmanager
async def noting(data: Path) -> AsyncIterator[tuple[Any, Any]]:
    """The database and a store on it, as the sealer's role: it reads the log and appends about the log, nothing else."""
    from shared.events.store import EventStore

    async with database(data, "cw_sealer") as pool, EventStore(pool, patience=5) as store:
        yield pool, store


async def recording(append: Callable[[], Awaitable[Any]]) -> None:
    """A verification or an export is an event too; where it cannot be recorded, that is said."""
    from shared.events.database import FAILURES
    from shared.events.store import UNAVAILABLE, AppendRefused

    refusals: tuple[type[BaseException], ...] = (*FAILURES, *UNAVAILABLE, AppendRefused)
    try:
        await append()
    except refusals as error:
        typer.echo(f"warning: this was not recorded in the log: {error}", err=True)


# -- export -----------------------------------------------------------------------------------------------------------


@audit.command("export")
def export(
    file: Annotated[Path, typer.Argument(help="File to write; packed if its name ends in .gz.")],
    plan: Annotated[str | None, typer.Option(help="Only this plan: name or id.")] = None,
    since: Annotated[str | None, typer.Option("--from", help="From this position or time (ISO 8601) on.")] = None,
    upto: Annotated[str | None, typer.Option("--to", help="Up to this position or time.")] = None,
    with_verifier: Annotated[
        bool, typer.Option("--with-verifier", help="Put verify_log.py beside it, which checks it without Cloudward.")
    ] = False,
    data: DataOption = DATA,
    as_json: JsonOption = False,
) -> None:
    """Write events as CloudEvents, one a line, with what shows that they are the log's. An export is an event itself."""
    if plan is not None and (since is not None or upto is not None):
        raise CliError("A plan or a range, not both", "", "Leave out --plan, or --from and --to.", code=2)
    told = asyncio.run(_export(file, plan, since, upto, data))
    if with_verifier:
        from shared.events.audit import verify_log

        shutil.copyfile(verify_log.__file__, file.parent / "verify_log.py")
    if as_json:
        typer.echo(json.dumps(told))
        return
    sealed = f"under a checkpoint of {told['size']} events" if told["size"] else "under no checkpoint yet"
    typer.echo(f"{told['events']} events ({told['first']} to {told['last']}) written to {file}, {sealed}.")
    if with_verifier:
        typer.echo(f"Check it anywhere: python3 verify_log.py {file.name} --key KEY")


async def _export(file: Path, plan: str | None, since: str | None, upto: str | None, data: Path) -> dict[str, Any]:
    from dataclasses import asdict
    from uuid import uuid4

    from shared.events.audit.export import PACKED, NothingToExport, Selection, position_at
    from shared.events.audit.export import export as write_export
    from shared.events.audit.kept import Incomplete
    from shared.events.audit.seal import note_event
    from shared.events.catalog.system import LogExported

    plan_id = None if plan is None else await _plan_id(plan, data)
    async with noting(data) as (pool, store):

        async def place(word: str, *, after: bool) -> int:
            if word.isdigit():
                return int(word)
            moment = _moment(word)
            return await position_at(pool, moment) + after

        first = 1 if since is None else await place(since, after=True)
        last = None if upto is None else await place(upto, after=False)
        kind = "plan" if plan_id is not None else "all" if since is None and upto is None else "range"
        selection = Selection(kind, plan_id, max(first, 1), last)  # type: ignore[arg-type]
        beside = file.with_name(f".{file.name}.{os.getpid()}")
        try:
            with gzip.open(beside, "wb", compresslevel=PACKED) if file.suffix == ".gz" else beside.open("wb") as out:

                async def write(line: bytes) -> None:
                    out.write(line)

                told = await write_export(pool, selection, write)
            beside.replace(file)
        except (NothingToExport, Incomplete) as error:
            raise CliError("Nothing was exported", str(error)) from error
        finally:
            beside.unlink(missing_ok=True)
        event = LogExported(
            selection=selection.kind, plan=plan_id, first=told.first, last=told.last, events=told.events
        )
        await recording(lambda: note_event(pool, store, f"exported {uuid4().hex}", event))
        return asdict(told)


async def _plan_id(name: str, data: Path) -> str:
    async with database(data, "cw_dashboard") as pool:
        found = await pool.fetchval("SELECT id FROM people.plan WHERE id = $1 OR name = $1 ORDER BY id <> $1", name)
    if found is None:
        raise CliError(f"There is no plan called “{name}”", "", "`cloudward plan list` names them.")
    return str(found)


def _moment(word: str) -> datetime:
    try:
        found = datetime.fromisoformat(word)
    except ValueError as error:
        raise CliError(
            f"{word} is neither a position nor a time", "", "Write 1200 or 2026-11-23T12:00:00Z.", code=2
        ) from error
    return found if found.tzinfo else found.replace(tzinfo=UTC)


# -- prove ------------------------------------------------------------------------------------------------------------


@audit.command("prove")
def prove(
    event: Annotated[str | None, typer.Argument(help="Position or id of an event.")] = None,
    since: Annotated[
        Path | None, typer.Option(help="A checkpoint you kept: prove that the log goes on from it.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="File to write. Default: standard output.")] = None,
    data: DataOption = DATA,
) -> None:
    """Write the proof that an event is in the log, or that the log goes on from an earlier checkpoint.

    verify_log.py checks both, with nothing but the log's public key.
    """
    if (event is None) == (since is None):
        raise CliError("Prove what?", "", "Name an event, or a checkpoint with --since.", code=2)
    text = asyncio.run(_prove(event, since, data))
    if out is None:
        typer.echo(text, nl=False)
    else:
        out.write_text(text, encoding="utf-8")
        typer.echo(f"Proof written to {out}.")


async def _prove(event: str | None, since: Path | None, data: Path) -> str:
    from shared.events.audit.kept import newest_note
    from shared.events.audit.proofs import NoProof, prove_consistency, prove_event

    async with database(data, "cw_sealer") as pool:
        try:
            if since is not None:
                newest = await newest_note(pool)
                if newest is None:
                    raise NoProof("The log is under no checkpoint yet. Run `cloudward audit seal`.")
                return (await prove_consistency(pool, since.read_text(encoding="utf-8"), newest)).text
            assert event is not None
            position = int(event) if event.isdigit() and len(event) < 20 else None
            if position is None:
                try:
                    position = await pool.fetchval("SELECT position FROM log.events WHERE event_id = $1", event)
                except ValueError:
                    position = None
            if position is None:
                raise NoProof(f"There is no event {event}.")
            return (await prove_event(pool, position)).text
        except NoProof as error:
            raise CliError("There is no proof", str(error)) from error


# -- trail ------------------------------------------------------------------------------------------------------------


@audit.command("trail")
def trail(
    what: Annotated[str, typer.Argument(help="Id of a request (correlation), event, plan, task or chunk.")],
    limit: Annotated[int, typer.Option(min=1, help="Events at most.")] = 1000,
    data: DataOption = DATA,
    as_json: JsonOption = False,
) -> None:
    """Follow one request through all services: who asked, and every event that came of it, in order."""
    found = asyncio.run(_trail(what, limit, data))
    if as_json:
        typer.echo(json.dumps({"events": found}))
        return
    for each in found:
        who = each["actor_name"] or f"{each['actor_kind']} {each['actor'][:8]}"
        how = (each["authentication"] or "not recorded").replace("_", " ")
        typer.echo(
            f"{each['position']:>9}  {each['recorded_at']}  {who:<20}  {how:<18}  {each['type']:<20} {each['stream']}"
        )
    if not found:
        raise CliError(
            f"No event mentions {what}", "", "Give an id of 32 hexadecimal digits; `plan show --json` has them."
        )
    if len(found) == limit:
        typer.echo(f"… the first {limit}; --limit shows more.", err=True)


async def _trail(what: str, limit: int, data: Path) -> list[dict[str, Any]]:
    from shared.events.audit.trail import trail as follow

    async with database(data, "cw_dashboard") as pool:
        names = {row["key"]: row["name"] for row in await pool.fetch("SELECT key, name FROM people.actor")}
        found = []
        async for row, context in follow(pool, what.lower()):
            found.append(
                {
                    "position": row.position,
                    "recorded_at": datetime.fromtimestamp(row.recorded_at / 1e6, UTC).isoformat(
                        timespec="milliseconds"
                    ),
                    "id": row.event_id,
                    "type": row.type,
                    "stream": row.stream,
                    "actor": context.actor.key,
                    "actor_kind": context.actor.kind,
                    "authentication": context.actor.authentication,
                    "actor_name": names.get(context.actor.key),
                    "correlation": context.correlation,
                    "causation": context.causation,
                    "command": context.command,
                }
            )
            if len(found) == limit:
                break
        return found
