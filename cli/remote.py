"""The verbs that ask a running dashboard: ``source``, ``site``, ``analyze``, ``plan``."""

import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, ParamSpec

import typer

from cli import errors, render
from cli.client import ENDED, Client, ClientError
from shared.events.reasons import Reason

P = ParamSpec("P")


Url = Annotated[
    str | None,
    typer.Option(help="Address of the dashboard. Default: from the data folder.", rich_help_panel="Connection"),
]
TokenFile = Annotated[
    Path | None,
    typer.Option(help="File with the API token. Default: from the data folder.", rich_help_panel="Connection"),
]
Data = Annotated[
    Path | None,
    typer.Option(help="Data folder of a local `cloudward up`. Default: ./data", rich_help_panel="Connection"),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]
Plan = Annotated[str, typer.Argument(help="Name or id of the plan.", metavar="PLAN")]

source_app = typer.Typer(no_args_is_help=True, help="Confluence servers and exports to read from.")
site_app = typer.Typer(no_args_is_help=True, help="Confluence Cloud sites to write to.")
plan_app = typer.Typer(no_args_is_help=True, help="Plans: what moves from a source to a site.")


def register(app: typer.Typer) -> None:
    """Adds these verbs to the command line."""
    app.add_typer(source_app, name="source")
    app.add_typer(site_app, name="site")
    app.add_typer(plan_app, name="plan")
    app.command("analyze")(analyze)


def expected(function: Callable[P, None]) -> Callable[P, None]:
    """An error that has an explanation is told in words and ends with a code, never with a traceback."""

    @functools.wraps(function)
    def told(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            function(*args, **kwargs)
        except ClientError as error:
            render.problem(error, bool(kwargs.get("json")))
            away = error.code in ("no_dashboard", "dashboard_unreachable")
            raise typer.Exit(errors.UNAVAILABLE if away else errors.FAILED) from None

    return told


def credential(
    reference: str | None = None, token_from: str | None = None, user: str | None = None, password_from: str | None = None,
    email: str | None = None,
) -> dict[str, str] | None:  # fmt: skip
    """The API's form of a credential. Secrets come from an environment variable or a file, never from an argument:
    arguments are shown to every user of the machine."""
    if reference:
        return {"reference": reference}
    if token_from:
        found = {"token": _secret(token_from)}
        return {"email": email, **found} if email else found
    if user and password_from:
        return {"username": user, "password": _secret(password_from)}
    if user or password_from or email:
        raise ClientError(
            "The credential is not complete.",
            "Give --token-from, or --user with --password-from, or --credential env:NAME.",
            "credential_incomplete",
        )
    return None


def _secret(place: str) -> str:
    scheme, _, name = place.partition(":")
    try:
        if scheme == "env":
            return os.environ[name]
        if scheme == "file":
            return Path(name).read_text(encoding="utf-8").strip()
    except (KeyError, OSError) as error:
        raise ClientError(
            f"The secret cannot be read from {place}.", "Check the name of the variable or file.", "secret_unreadable"
        ) from error
    raise ClientError(f"{place} names no secret.", "Write env:NAME or file:/path.", "secret_unreadable")


From = "env:NAME or file:/path; read here, sealed by the dashboard."
Reference = Annotated[
    str | None, typer.Option("--credential", help="env:NAME or file:/path that the services read themselves.")
]
TokenFrom = Annotated[str | None, typer.Option(help=f"Token from {From}")]


BaseUrls = Annotated[
    list[str] | None,
    typer.Option(
        "--base-url",
        metavar="URL",
        help="Another address that its pages link to it under, such as that of an export's wiki. May be repeated.",
    ),
]


@source_app.command("add")
@expected
def add_source(
    name: Annotated[str, typer.Argument(help="A name of your choice.")],
    location: Annotated[str, typer.Argument(help="Base URL of a server, or path of an export (zip or folder).")],
    credential_reference: Reference = None,
    token_from: TokenFrom = None,
    user: Annotated[str | None, typer.Option(help="User name, with --password-from.")] = None,
    password_from: Annotated[str | None, typer.Option(help=f"Password from {From}")] = None,
    backup: Annotated[
        bool, typer.Option("--backup", help="Ask the server (Data Center from 8.3 on) for a backup, and read that.")
    ] = False,
    base_url: BaseUrls = None,
    url: Url = None,
    token_file: TokenFile = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """Register a source. An address that begins with http is a server, anything else an export."""
    if not location.lower().startswith(("http://", "https://")):
        location = str(Path(location).expanduser().resolve())
    body: dict[str, Any] = {"name": name, "location": location, "base_urls": base_url or []}
    if backup:
        body["kind"] = "backup"
    secret = credential(credential_reference, token_from, user, password_from)
    with Client.discover(url, token_file, data) as client:
        answer = client.post("/sources", {**body, "credential": secret} if secret else body)
    recorded(answer, json, f"Source “{name}” is registered. Next: cloudward analyze {name} --wait")


@source_app.command("list")
@expected
def list_sources(url: Url = None, token_file: TokenFile = None, data: Data = None, json: Json = False) -> None:
    """List sources with the numbers of their last analysis."""
    with Client.discover(url, token_file, data) as client:
        _shown(client.get("/sources"), json, render.sources, "No source yet: cloudward source add NAME LOCATION")


@source_app.command("repair")
@expected
def repair_addresses(
    source: Annotated[str, typer.Argument(help="Name or id of the source.")],
    duplicates: Annotated[
        Literal["merge", "generate", "former", "leave"], typer.Option(help="For addresses that several people have.")
    ] = "merge",
    others: Annotated[
        Literal["generate", "former", "leave"], typer.Option(help="For invalid and unknown addresses.")
    ] = "generate",
    url: Url = None,
    token_file: TokenFile = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """Decide what becomes of people whose e-mail address cannot be used. The source itself is not changed."""
    with Client.discover(url, token_file, data) as client:
        found = client.find("source", source)
        answer = client.post(f"/sources/{found['id']}/address-repairs", {"duplicates": duplicates, "others": others})
    made = {name: answer["result"].get(name, 0) for name in ("merged", "generated", "former")}
    sentence = f"{made['merged']:,} merged, {made['generated']:,} addresses generated, {made['former']:,} Former users."
    recorded(answer, json, f"“{found['name']}”: {sentence}")


@site_app.command("add")
@expected
def add_site(
    name: Annotated[str, typer.Argument(help="A name of your choice.")],
    address: Annotated[str, typer.Argument(help="Address of the site, such as https://example.atlassian.net")],
    email: Annotated[str | None, typer.Option(help="Address of the account, with --token-from.")] = None,
    token_from: TokenFrom = None,
    credential_reference: Reference = None,
    sandbox: Annotated[bool, typer.Option(help="A stand-in on this machine: no consent is asked.")] = False,
    url: Url = None,
    token_file: TokenFile = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """Register a Confluence Cloud site."""
    body: dict[str, Any] = {
        "name": name,
        "url": address,
        "kind": "sandbox" if sandbox else "api_token",
        "sandbox": sandbox,
    }
    secret = credential(credential_reference, token_from, email=email)
    with Client.discover(url, token_file, data) as client:
        answer = client.post("/sites", {**body, "credential": secret} if secret else body)
    recorded(answer, json, f"Site “{name}” is registered.")


@site_app.command("list")
@expected
def list_sites(url: Url = None, token_file: TokenFile = None, data: Data = None, json: Json = False) -> None:
    """List sites."""
    with Client.discover(url, token_file, data) as client:
        _shown(client.get("/sites"), json, render.sites, "No site yet: cloudward site add NAME URL")


@expected
def analyze(
    source: Annotated[str, typer.Argument(help="Name or id of the source.")],
    wait: Annotated[bool, typer.Option("--wait", help="Stay until it is done, and show the numbers.")] = False,
    url: Url = None,
    token_file: TokenFile = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """Read a source and count what is there. Nothing is changed. Exit code 1 if a waited-for analysis fails."""
    with Client.discover(url, token_file, data) as client:
        found = client.find("source", source)
        answer = client.post(f"/sources/{found['id']}/analyses")
        if not wait:
            recorded(answer, json, f"The analysis of “{found['name']}” has begun.")
            return
        with render.err.status(f"Reading {found['name']} …") as line:

            def tell(analysis: dict[str, Any]) -> None:
                line.update(f"Reading {found['name']}: {render.analysis_progress(analysis)} …")

            analysis = client.analyzed(answer["id"], each=tell)
    if json:
        render.document(analysis)
    if analysis["state"] == "failed":
        if not json:
            raise ClientError(f"“{found['name']}” could not be analyzed.", analysis["sentence"], analysis["code"])
        raise typer.Exit(errors.FAILED)
    if not json:
        render.out.print(render.analysis(analysis))


@plan_app.command("save")
@expected
def save_plan(
    name: Annotated[str | None, typer.Argument(help="Name of the plan.")] = None,
    source: Annotated[str | None, typer.Option(help="Name or id of an analyzed source.")] = None,
    site: Annotated[str | None, typer.Option(help="Name or id of the site.")] = None,
    space: Annotated[list[str] | None, typer.Option(help="Key of a space; may be repeated. Default: all.")] = None,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", help="Plan file (YAML) instead of the options.", exists=False)
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Only check the plan file; save nothing.")] = False,
    only: Annotated[
        list[str] | None, typer.Option(help="Part of a space: attachments or rights.", metavar="KEY=PART")
    ] = None,
    tree: Annotated[
        list[str] | None, typer.Option(help="Only this page of a space, and what is below it.", metavar="KEY=PAGE_ID")
    ] = None,
    new_key: Annotated[
        list[str] | None, typer.Option(help="Another key on the site; links follow.", metavar="KEY=NEW_KEY")
    ] = None,
    on_key_conflict: Annotated[
        Literal["fail", "skip"], typer.Option(help="What becomes of a space whose key is taken on the site.")
    ] = "fail",
    type_: Annotated[
        Literal["global", "personal"] | None, typer.Option("--type", help="Of all spaces, only these.")
    ] = None,
    status: Annotated[Literal["current", "archived"] | None, typer.Option(help="Of all spaces, only these.")] = None,
    search: Annotated[str | None, typer.Option(help="Of all spaces, those with this in key or name.")] = None,
    exclude: Annotated[
        list[str] | None, typer.Option(help="Of all spaces, not those whose key matches.", metavar="PATTERN")
    ] = None,
    users: Annotated[
        Literal["all", "related", "none"], typer.Option(help="Everybody, those whom the spaces name, or nobody.")
    ] = "all",
    groups: Annotated[bool, typer.Option("--groups/--no-groups", help="Move groups and their members.")] = True,
    stage: Annotated[Literal["test", "production"], typer.Option(help="What the run is for.")] = "test",
    accept: Annotated[
        list[str] | None, typer.Option(help="Reason for a skip that is fine; may be repeated.", metavar="REASON")
    ] = None,
    map: Annotated[str | None, typer.Option(help="Id of a map of groups and users: cloudward source map.")] = None,
    access_group: Annotated[
        str | None, typer.Option(help="The site's group that gives access to Confluence, if it has several.")
    ] = None,
    versions: Annotated[int, typer.Option(help="Replay so many earlier versions of each page.", min=0, max=1000)] = 0,
    attachment_versions: Annotated[
        bool, typer.Option("--attachment-versions", help="Move all versions of files, not the last one only.")
    ] = False,
    provenance: Annotated[
        Literal["property", "line", "none"],
        typer.Option(help="Keep author and dates as a property; besides as a line on the page; or not at all."),
    ] = "property",
    former_names: Annotated[
        bool, typer.Option("--former-names", help="Write the old name behind “Former user”.")
    ] = False,
    personal_spaces: Annotated[
        Literal["move", "leave_out"], typer.Option(help="Move personal spaces as ordinary ones, or leave them out.")
    ] = "move",
    addresses: Annotated[
        Literal["source", "plan"],
        typer.Option(help="Whose e-mail errors forbid the run: everybody's, or those of the plan's people."),
    ] = "source",
    url: Url = None,
    token_file: TokenFile = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """Save a plan. It cannot be edited afterwards: save another one instead."""
    if file is not None:
        _save_file(file, check, url, token_file, data, json)
        return
    if name is None or source is None or site is None:
        raise ClientError(
            "A plan needs a name, a source and a site.",
            "Give NAME --source SOURCE --site SITE, or a plan file with --file.",
            "plan_incomplete",
        )
    _known_reasons(accept or [])
    narrowed = {"type": type_, "status": status, "search": search, "exclude": exclude}
    narrowed = {k: v for k, v in narrowed.items() if v}
    if space and narrowed:
        raise ClientError(
            "Spaces are named, and filtered besides.",
            "Give either --space, or --type, --status, --search and --exclude.",
            "filter_and_spaces",
        )
    parts, trees, keys = (
        _pairs(option, each) for option, each in (("only", only), ("tree", tree), ("new-key", new_key))
    )
    with Client.discover(url, token_file, data) as client:
        found = client.find("source", source)
        named = {key for key, _ in (*parts, *trees, *keys)}
        ids = _space_ids(client, found, sorted({*(space or ()), *named})) if space or named else {}
        body = {
            "name": name,
            "source": found["id"],
            "site": client.find("site", site)["id"],
            "spaces": [ids[key] for key in space] if space else "all",
            "users": users,
            "groups": groups,
            "stage": stage,
            "accepted": accept or [],
            **({"map": map} if map else {}),
            **({"access_group": access_group} if access_group else {}),
            "options": {
                "versions": versions,
                "attachment_versions": attachment_versions,
                "provenance": provenance,
                "former_names": former_names,
                "personal_spaces": personal_spaces,
            },
            "scopes": _scopes(ids, parts, trees),
            "new_keys": {ids[key]: new for key, new in keys},
            "key_conflicts": on_key_conflict,
            "addresses": addresses,
        }
        if narrowed:
            body["filter"] = narrowed
        answer = client.post("/plans", body)
    recorded(answer, json, f"Plan “{name}” is saved. Next: cloudward plan run {name!r} --watch")


def _save_file(
    file: Path, check: bool, url: str | None, token_file: Path | None, data: Path | None, json: bool
) -> None:
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ClientError(
            f"{file} cannot be read ({type(error).__name__}).", "Check path and encoding (UTF-8).", "file_unreadable"
        ) from error
    with Client.discover(url, token_file, data) as client:
        found = client.post_text("/plan-file/check", text)
        if found["mistakes"]:
            count = len(found["mistakes"])
            raise ClientError(
                f"The plan file has {count} mistake{'' if count == 1 else 's'}.",
                "Mend each line as told.",
                "plan_file_wrong",
                found["mistakes"],
            )
        if check:
            recorded(found, json, f"{file} is right: it would be saved as “{found['plan']['name']}”.")
            return
        answer = client.post_text("/plan-file", text)
    recorded(answer, json, f"The plan of {file} is saved.")


def _pairs(option: str, given: list[str] | None) -> list[tuple[str, str]]:
    """KEY=VALUE of a repeated option."""
    pairs = []
    for each in given or ():
        key, equals, value = each.partition("=")
        if not (key and equals and value):
            raise ClientError(
                f"--{option} {each} names no space and value.", f"Write --{option} KEY=VALUE.", "option_incomplete"
            )
        pairs.append((key, value))
    return pairs


def _scopes(ids: dict[str, str], parts: list[tuple[str, str]], trees: list[tuple[str, str]]) -> list[dict[str, Any]]:
    scopes: dict[str, dict[str, Any]] = {}
    for key, part in parts:
        if part not in ("all", "attachments", "rights"):
            raise ClientError(
                f"Of {key} there is no part “{part}”.", "Parts are all, attachments and rights.", "no_such_part"
            )
        scopes.setdefault(ids[key], {"space": ids[key]})["what"] = part
    for key, page in trees:
        scopes.setdefault(ids[key], {"space": ids[key]}).setdefault("roots", []).append(page)
    return list(scopes.values())


def _known_reasons(names: list[str]) -> None:
    known = {reason.value for reason in Reason}
    if unknown := [name for name in names if name not in known]:
        raise ClientError(
            f"There is no reason {', '.join(unknown)}.", f"There are: {', '.join(sorted(known))}.", "reason_unknown"
        )


def _space_ids(client: Client, source: dict[str, Any], keys: list[str]) -> dict[str, str]:
    """Key, as it was given, to the space's id."""
    if not source["analysis"]:
        raise ClientError(
            f"“{source['name']}” is not analyzed yet, so its spaces are not known.",
            f"Run cloudward analyze {source['name']} --wait first.",
            "not_analyzed",
        )
    spaces = client.get(f"/analyses/{source['analysis']['id']}")["spaces"]
    by_key = {(each["key"] or "").lower(): each["id"] for each in spaces}
    unknown = [key for key in keys if key.lower() not in by_key]
    if unknown:
        known = ", ".join(sorted(each["key"] or each["id"] for each in spaces)[:20])
        raise ClientError(f"The source has no space {', '.join(unknown)}.", f"It has: {known}.", "no_such_space")
    return {key: by_key[key.lower()] for key in keys}


@plan_app.command("run")
@expected
def run_plan(
    plan: Plan,
    consent: Annotated[
        bool, typer.Option("--consent", help="Agree that data of the source are copied to the site.")
    ] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Stay until it has ended.")] = False,
    url: Url = None,
    token_file: TokenFile = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """Run a plan. With --watch the exit code is 3 if it ends FAILED or STOPPED."""
    with Client.discover(url, token_file, data) as client:
        found = client.find("plan", plan)
        answer = client.post(f"/plans/{found['id']}/run", {"consent": consent})
        if watch:
            watched(client, found["id"], json)
        else:
            recorded(answer, json, f"Plan “{found['name']}” runs. Watch it: cloudward plan watch {found['name']!r}")


def _verb(verb: str, said: str, help: str) -> None:
    @plan_app.command(verb, help=help)
    @expected
    def command(
        plan: Plan, url: Url = None, token_file: TokenFile = None, data: Data = None, json: Json = False
    ) -> None:
        with Client.discover(url, token_file, data) as client:
            found = client.find("plan", plan)
            answer = client.post(f"/plans/{found['id']}/{verb}")
        recorded(answer, json, said.format(name=found["name"]))


_verb(
    "stop",
    "“{name}” is stopping: nothing new starts, what is under way finishes.",
    "Stop a plan for good. Nothing new starts; what is under way finishes and is recorded.",
)
_verb("pause", "“{name}” is paused.", "Pause a plan: nothing new starts until it is resumed.")
_verb("resume", "“{name}” goes on.", "Go on with a paused plan.")
_verb("unschedule", "“{name}” does not start by itself any more.", "Take back the start time of a plan.")
_verb("archive", "“{name}” is hidden from lists.", "Hide a plan from lists. Nothing is deleted.")
_verb("retry-stuck", "“{name}” is tried again.", "Try a plan again whose event could not be decided.")


@plan_app.command("list")
@expected
def list_plans(
    archived: Annotated[bool, typer.Option("--archived", help="Show archived ones too.")] = False,
    url: Url = None,
    token_file: TokenFile = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """List plans, newest first."""
    with Client.discover(url, token_file, data) as client:
        _shown(client.get("/plans", archived=archived), json, render.plans, "No plan yet: cloudward plan save --help")


@plan_app.command("show")
@expected
def show_plan(
    plan: Plan,
    at: Annotated[str | None, typer.Option(help="As it was at this position of the log, or time (ISO 8601).")] = None,
    url: Url = None,
    token_file: TokenFile = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """Show a plan: sums, tasks, causes, links; with --json also whether everything is accounted for."""
    with Client.discover(url, token_file, data) as client:
        if at is not None:
            past = client.get(f"/plans/{client.find('plan', plan)['id']}/past", at=at)
            if json:
                render.document(past)
            else:
                render.out.print(render.status(past), f"{past['name']} at position {past['position']}, {past['at']}.")
                render.out.print(render.kinds(past["kinds"]))
            return
        found = client.get(f"/plans/{client.find('plan', plan)['id']}")
        if json:
            render.document(found)
        elif found["status"] in ENDED:
            report = client.get(f"/plans/{found['id']}/report")
            render.out.print(render.report(found, report))
        else:
            render.out.print(render.status(found), found["line"])
            render.out.print(render.kinds(found["kinds"]))
        if not json:
            render.out.print(f"What {found['status']} means: {found['guide']}")


@plan_app.command("report")
@expected
def report_plan(plan: Plan, url: Url = None, token_file: TokenFile = None, data: Data = None) -> None:
    """The whole report as JSON: sums, proof, and every entity that did not simply move."""
    with Client.discover(url, token_file, data) as client:
        render.document(client.get(f"/plans/{client.find('plan', plan)['id']}/report"))


@plan_app.command("idmap")
@expected
def id_map(
    plan: Plan,
    format: Annotated[
        Literal["csv", "json", "nginx", "apache"],
        typer.Option(help="Table, document, or redirect rules from the old addresses for a web server."),
    ] = "csv",
    output: Annotated[Path | None, typer.Option(help="Write to this file. Default: standard output.")] = None,
    url: Url = None,
    token_file: TokenFile = None,
    data: Data = None,
) -> None:
    """Old ids and addresses to new ones, of all that the plan moved."""
    with Client.discover(url, token_file, data) as client:
        pieces = client.stream(f"/plans/{client.find('plan', plan)['id']}/idmap", format=format)
        if output is None:
            for piece in pieces:
                sys.stdout.buffer.write(piece)
            return
        with output.open("wb") as file:
            for piece in pieces:
                file.write(piece)


@plan_app.command("watch")
@expected
def watch_plan(
    plan: Plan, url: Url = None, token_file: TokenFile = None, data: Data = None, json: Json = False
) -> None:
    """Watch a plan until it has ended. Exit code 0 if FINISHED, 3 if FAILED or STOPPED."""
    with Client.discover(url, token_file, data) as client:
        watched(client, client.find("plan", plan)["id"], json)


def watched(client: Client, plan: str, json: bool) -> None:
    found = client.get(f"/plans/{plan}")
    try:
        with render.Bars(render.err, [found]) as bars:
            for found in client.watch(plan):
                bars.update(found)
    except KeyboardInterrupt:
        render.err.print("The plan goes on without this window.")
        raise typer.Exit(errors.FAILED) from None
    report = client.get(f"/plans/{plan}/report")
    if json:
        render.document(report)
    else:
        render.out.print(render.report(found, report))
    if not report["conserved"]:
        raise typer.Exit(errors.FAILED)
    if found["status"] != "FINISHED":
        raise typer.Exit(errors.PLAN_ENDED_BADLY)


def recorded(answer: dict[str, Any], json: bool, sentence: str) -> None:
    if json:
        render.document(answer)
    else:
        render.out.print(sentence)


def _shown(rows: list[dict[str, Any]], json: bool, table: Callable[[list[dict[str, Any]]], Any], empty: str) -> None:
    if json:
        render.document(rows)
    elif rows:
        render.out.print(table(rows))
    else:
        render.out.print(empty)
