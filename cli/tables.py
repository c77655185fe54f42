"""What an analysis found, and the tables about people: out as CSV, and back."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from cli import render
from cli.client import Client, ClientError
from cli.remote import Data, Json, Plan, TokenFile, Url, _shown, expected, plan_app, recorded, source_app

Source = Annotated[str, typer.Argument(help="Name or id of the source.", metavar="SOURCE")]
Out = Annotated[
    Path | None, typer.Option("--out", help="Write the whole table as CSV to this file; - is standard output.")
]
In = Annotated[Path | None, typer.Option("--in", help="Read the table back from this CSV; a bad one is refused whole.")]

analysis_app = typer.Typer(no_args_is_help=True, help="What the last analysis of a source found, row by row.")


def register(app: typer.Typer) -> None:
    """Adds these verbs to the command line."""
    app.add_typer(analysis_app, name="analysis")


def _analysis(client: Client, source: str) -> str:
    found = client.find("source", source)
    if not found["analysis"]:
        raise ClientError(
            f"“{found['name']}” is not analyzed yet.",
            f"Run cloudward analyze {found['name']} --wait first.",
            "not_analyzed",
        )
    return str(found["analysis"]["id"])


def _saved(client: Client, path: str, out: Path) -> None:
    """Writes a table to a file, or to standard output."""
    if str(out) == "-":
        client.download(path, sys.stdout.buffer)
        return
    with out.open("wb") as file:
        client.download(path, file)
    render.err.print(f"Written to {out}.", highlight=False)


def _listed(
    found: dict[str, Any], name: str, json: bool, table: Callable[[list[dict[str, Any]]], Any], empty: str
) -> None:
    """The list in a document, or the document itself."""
    if json:
        render.document(found)
    else:
        _shown(found[name], False, table, empty)


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ClientError(
            f"{file} cannot be read as text in UTF-8.", "Save it as CSV in UTF-8.", "file_unreadable"
        ) from error


@analysis_app.command("spaces")
@expected
def spaces(
    source: Source,
    search: Annotated[str | None, typer.Option(help="Text in key or name.")] = None,
    type: Annotated[Literal["global", "personal"] | None, typer.Option(help="Only such spaces.")] = None,
    status: Annotated[Literal["current", "archived"] | None, typer.Option(help="Only such spaces.")] = None,
    guardrail: Annotated[
        str | None, typer.Option(help="Only spaces in which this guardrail points something out.")
    ] = None,
    sort: Annotated[
        Literal["key", "name", "pages", "attachments", "attachment_bytes", "last_edit"], typer.Option(help="Order.")
    ] = "key",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many.")] = 100,
    out: Out = None,
    url: Url = None,
    token_file: TokenFile = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """List spaces with their numbers. --out writes all of them."""
    with Client.discover(url, token_file, data) as client:
        path = f"/analyses/{_analysis(client, source)}/spaces"
        if out is not None:
            _saved(client, f"{path}.csv", out)
            return
        chosen = {"search": search, "type": type, "status": status, "guardrail": guardrail}
        query: dict[str, Any] = {name: value for name, value in chosen.items() if value is not None}
        found = client.get(path, sort=sort, limit=limit, **query)
    columns = ("key", "name", "pages", "attachments", "attachment_bytes", "status", "last_edit")
    if not json and found["total"] > len(found["spaces"]):
        render.err.print(f"{len(found['spaces']):,} of {found['total']:,}", highlight=False)
    _listed(found, "spaces", json, render.rows(columns), "No such space.")


@analysis_app.command("findings")
@expected
def findings(
    source: Source,
    guardrail: Annotated[str | None, typer.Option(help="Only this one, as restriction_departed.")] = None,
    out: Out = None,
    url: Url = None,
    token_file: TokenFile = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """List what guardrails point out: large bodies and files, missing files, clashing titles, deep trees, restrictions."""
    with Client.discover(url, token_file, data) as client:
        path = f"/analyses/{_analysis(client, source)}/findings"
        query = {"guardrail": guardrail} if guardrail else {}
        if out is not None:
            _saved(client, f"{path}.csv" + (f"?guardrail={guardrail}" if guardrail else ""), out)
            return
        found = client.get(path, **query)
    _shown(found, json, render.rows(("guardrail", "space", "content", "title", "number")), "Nothing to look at.")


@analysis_app.command("macros")
@expected
def macros(
    source: Source,
    out: Out = None,
    url: Url = None,
    token_file: TokenFile = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """List macros in use, and whether Cloud has them. --out writes every page that has one."""
    with Client.discover(url, token_file, data) as client:
        path = f"/analyses/{_analysis(client, source)}/macros"
        if out is not None:
            _saved(client, f"{path}.csv", out)
            return
        found = client.get(path)
    _shown(found, json, render.rows(("macro", "uses", "pages", "availability", "note")), "No macro is in use.")


@analysis_app.command("changes")
@expected
def changes(
    source: Source,
    since: Annotated[str | None, typer.Option(help="Id of an earlier analysis. Default: the one before.")] = None,
    url: Url = None,
    token_file: TokenFile = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """Compare the last analysis with an earlier one: spaces added, removed or changed."""
    with Client.discover(url, token_file, data) as client:
        found = client.get(f"/analyses/{_analysis(client, source)}/changes", **({"since": since} if since else {}))
    _listed(found, "spaces", json, render.rows(("what", "key", "name")), "Nothing has changed.")


@plan_app.command("checklist")
@expected
def checklist(
    plan: Plan,
    line: Annotated[str | None, typer.Option(help="Name of one line, for --out.")] = None,
    out: Out = None,
    url: Url = None,
    token_file: TokenFile = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """List what to do after the run, in eleven lines. --line NAME --out FILE writes one with all its rows."""
    with Client.discover(url, token_file, data) as client:
        path = f"/plans/{client.find('plan', plan)['id']}/checklist"
        if line is not None:
            _saved(client, f"{path}/{line}.csv", out or Path("-"))
            return
        found = client.get(path)
    _shown(found, json, render.rows(("number", "name", "count", "title")), "Nothing to do.")


@plan_app.command("invitations")
@expected
def invitations(
    plan: Plan, out: Out = None, url: Url = None, token_file: TokenFile = None, data: Data = None, json: Json = False
) -> None:
    """List who was invited after a plan, when, and what became of it."""
    with Client.discover(url, token_file, data) as client:
        path = f"/plans/{client.find('plan', plan)['id']}/invitations"
        if out is not None:
            _saved(client, f"{path}.csv", out)
            return
        found = client.get(path, limit=1000)
        while len(found["people"]) < found["total"] and (
            more := client.get(path, limit=1000, offset=len(found["people"]))["people"]
        ):
            found["people"] += more
    columns = ("person", "email", "state", "reason", "at")
    _shown(found if json else found["people"], json, render.rows(columns), "Nobody was invited by this plan.")


@source_app.command("addresses")
@expected
def addresses(
    source: Source,
    out: Out = None,
    back: In = None,
    url: Url = None,
    token_file: TokenFile = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """List unusable e-mail addresses, write them as a table, or read the table back with corrections."""
    with Client.discover(url, token_file, data) as client:
        path = f"/sources/{client.find('source', source)['id']}/addresses"
        if back is not None:
            answer = client.post_text(path, _read(back), "text/csv; charset=utf-8")
            made = answer["result"]
            recorded(
                answer,
                json,
                f"{made['corrected']:,} corrected, {made['merged']:,} merged, {made['former']:,} Former users.",
            )
        elif out is not None:
            _saved(client, f"{path}.csv", out)
        else:
            columns = ("address", "username", "email", "directory", "repair", "repaired_email")
            _shown(client.get(path), json, render.rows(columns), "Every address can be used.")


@source_app.command("domains")
@expected
def domains(
    source: Source,
    trust: Annotated[list[str] | None, typer.Option(help="A domain to trust; may be repeated.")] = None,
    distrust: Annotated[list[str] | None, typer.Option(help="A domain not to trust; may be repeated.")] = None,
    trust_all: Annotated[
        bool, typer.Option("--trust-all", help="Trust every domain that --distrust does not name.")
    ] = False,
    out: Out = None,
    back: In = None,
    url: Url = None,
    token_file: TokenFile = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """List e-mail domains with how many people have them, or mark them as trusted."""
    with Client.discover(url, token_file, data) as client:
        path = f"/sources/{client.find('source', source)['id']}/domains"
        if out is not None:
            _saved(client, f"{path}.csv", out)
            return
        if back is None and not (trust or distrust or trust_all):
            _shown(client.get(path), json, render.rows(("domain", "people", "trusted")), "No address is known.")
            return
        if back is not None:
            answer = client.post_text(f"{path}.csv", _read(back), "text/csv; charset=utf-8")
        else:
            answer = client.post(path, {"trusted": trust or [], "untrusted": distrust or [], "every": trust_all})
    made = answer["result"]
    recorded(answer, json, f"{made['trusted']:,} domains are trusted, {made['untrusted']:,} are not.")


@source_app.command("map")
@expected
def record_map(
    source: Source,
    groups: Annotated[
        Path | None, typer.Option(help="CSV with columns Group,Target; no target drops the group.")
    ] = None,
    users: Annotated[Path | None, typer.Option(help="CSV with columns User,AccountId; user by key or name.")] = None,
    url: Url = None,
    token_file: TokenFile = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """Record which groups get another name, merge or are left out, and whose account is whose. A plan names the map's id."""
    files = {name: _read(file) for name, file in (("groups", groups), ("users", users)) if file is not None}
    with Client.discover(url, token_file, data) as client:
        answer = client.post(f"/sources/{client.find('source', source)['id']}/maps", files)
    made = answer["result"]
    counts = [f"{made[name]:,} {name[:-1] if made[name] == 1 else name}" for name in ("groups", "users")]
    sentence = f"{counts[0]} ({made['dropped']:,} dropped), {counts[1]}."
    recorded(answer, json, f"{sentence} Next: cloudward plan save … --map {made['map']}")
