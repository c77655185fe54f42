"""The verbs about a plan before it runs: ``plan schedule``, ``copy``, ``checks``, ``check``, ``review``."""

import sys
import time
from datetime import datetime
from typing import Annotated, Any

import typer
from rich.table import Table

from cli import errors, render
from cli.client import Client, ClientError
from cli.remote import Data, Json, Plan, TokenFile, Url, expected, plan_app, recorded, watched

MARKS = {"passed": "✔", "warning": "!", "error": "✖", "not_checked": "·"}
STYLES = {"passed": "green", "warning": "yellow", "error": "red", "not_checked": "dim"}


def register(app: typer.Typer) -> None:
    """The verbs stand under ``plan``, which ``cli.remote`` adds."""


@plan_app.command("schedule")
@expected
def schedule(
    plan: Plan,
    at: Annotated[str, typer.Option(help="Time as ISO 8601 with zone, such as 2027-01-31T22:00+01:00.")],
    consent: Annotated[
        bool, typer.Option("--consent", help="Agree that data of the source are copied to the site.")
    ] = False,
    url: Url = None,
    token_file: TokenFile = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """Start a plan at a time. Consent is needed now, because nobody can be asked then."""
    try:
        moment = datetime.fromisoformat(at)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise ClientError(f"{at} is no time with a zone.", "Write it as 2027-01-31T22:00+01:00.", "no_such_time")
    with Client.discover(url, token_file, data) as client:
        found = client.find("plan", plan)
        answer = client.post(f"/plans/{found['id']}/schedule", {"start_at": moment.isoformat(), "consent": consent})
    recorded(answer, json, f"“{found['name']}” starts at {moment.isoformat()}.")


@plan_app.command("copy")
@expected
def copy(
    plan: Plan,
    name: Annotated[str, typer.Argument(help="Name of the new plan.")],
    url: Url = None,
    token_file: TokenFile = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """Save a new plan that holds the same, by the source's last analysis."""
    with Client.discover(url, token_file, data) as client:
        answer = client.post(f"/plans/{client.find('plan', plan)['id']}/copy", {"name": name})
    recorded(answer, json, f"Plan “{name}” is saved.")


@plan_app.command("dry-run")
@expected
def dry_run(
    plan: Plan,
    name: Annotated[
        str | None, typer.Option(help="Name of the dry run; without it, the plan's with “(dry run)”.")
    ] = None,
    watch: Annotated[bool, typer.Option("--watch/--no-watch", help="Stay until it has ended.")] = True,
    url: Url = None,
    token_file: TokenFile = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """Read, rewrite and check everything as a run would, and write nothing to the site. The report is that of a run.

    It is a plan of its own. What only a write can tell it cannot know: a key in the site's trash, a hidden account, a seat
    that is not there. The exit code is 3 if it ends FAILED or STOPPED.
    """
    with Client.discover(url, token_file, data) as client:
        found = client.find("plan", plan)
        name = name or _dry_name(found["name"], {each["name"] for each in client.get("/plans", archived=True)})
        copied = client.post(f"/plans/{found['id']}/copy", {"name": name, "dry_run": True})
        answer = client.post(f"/plans/{copied['id']}/run", {})
        if watch:
            watched(client, copied["id"], json)
        else:
            recorded(answer, json, f"“{name}” runs and writes nothing. Watch it: cloudward plan watch {name!r}")


def _dry_name(plan: str, taken: set[str]) -> str:
    """
    >>> _dry_name("All", {"All", "All (dry run)"})
    'All (dry run 2)'
    """
    names = (f"{plan[:180]} (dry run{f' {n}' if n > 1 else ''})" for n in range(1, len(taken) + 2))
    return next(name for name in names if name not in taken)


def _checks(client: Client, plan: str, run: bool) -> list[dict[str, Any]]:
    if run:
        round_ = client.post(f"/plans/{plan}/checks")["id"]
        with render.err.status("Asking source and site …"):
            while not client.get(f"/check-rounds/{round_}")["completed"]:
                time.sleep(0.3)
    found: list[dict[str, Any]] = client.get(f"/plans/{plan}/checks")
    return found


@plan_app.command("checks")
@expected
def checks(
    plan: Plan,
    run: Annotated[
        bool, typer.Option("--run/--recorded", help="Ask source and site anew, or show what is known.")
    ] = True,
    url: Url = None,
    token_file: TokenFile = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """Run the checks of a plan. Exit code 1 if one of them forbids the run."""
    with Client.discover(url, token_file, data) as client:
        found = _checks(client, client.find("plan", plan)["id"], run)
    if json:
        render.document(found)
    else:
        table = Table("", "Check", "Result", "Found", "What to do", box=None, header_style="dim")
        for each in found:
            word = "left out" if each["excluded"] else each["result"].replace("_", " ")
            remedy = each["way_on"] if each["result"] in ("warning", "error") and not each["excluded"] else ""
            style = STYLES[each["result"]]
            table.add_row(MARKS[each["result"]], each["check"], word, f"{each['count'] or ''}", remedy, style=style)
        render.out.print(table)
    if any(each["blocks"] and each["result"] == "error" for each in found):
        raise typer.Exit(errors.FAILED)


@plan_app.command("check")
@expected
def check(
    plan: Plan,
    name: Annotated[str, typer.Argument(help="Name of the check, as `plan checks` shows it.", metavar="CHECK")],
    exclude: Annotated[
        bool | None, typer.Option("--exclude/--include", help="Leave the check out for this plan, or take it in again.")
    ] = None,
    csv: Annotated[bool, typer.Option("--csv", help="All findings as CSV.")] = False,
    url: Url = None,
    token_file: TokenFile = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """Show one check with what it found, or leave it out."""
    with Client.discover(url, token_file, data) as client:
        found = client.find("plan", plan)
        if exclude is not None:
            answer = client.post(f"/plans/{found['id']}/checks/{name}", {"excluded": exclude})
            recorded(answer, json, f"{name} is {'left out' if exclude else 'taken in'} for “{found['name']}”.")
            return
        if csv:
            sys.stdout.write(client.get_text(f"/plans/{found['id']}/checks/{name}/findings.csv"))
            return
        listed = client.get(f"/plans/{found['id']}/checks")
    one = next((each for each in listed if each["check"] == name), None)
    if one is None:
        known = ", ".join(each["check"] for each in listed)
        raise ClientError(f"There is no check {name}.", f"There are: {known}.", "not_found")
    if json:
        render.document(one)
        return
    render.out.print(f"{MARKS[one['result']]} {one['check']}: {one['result'].replace('_', ' ')}")
    render.out.print(f"Wanted: {one['meaning']}")
    for finding in one["findings"][:50]:
        render.out.print("  " + ", ".join(f"{key}: {value}" for key, value in finding.items()))
    if one["result"] != "passed":
        render.out.print(one["way_on"])
    render.out.print(f"More: {one['guide']}")


@plan_app.command("review")
@expected
def review(plan: Plan, url: Url = None, token_file: TokenFile = None, data: Data = None, json: Json = False) -> None:
    """What the plan holds, in numbers, with its digest: what moves, how, and what the checks know."""
    with Client.discover(url, token_file, data) as client:
        found = client.get(f"/plans/{client.find('plan', plan)['id']}")
        judged = _checks(client, found["id"], False)
    document = {
        "plan": found["name"],
        "digest": found["digest"],
        "source": found["source"]["name"],
        "site": found["site"]["name"],
        "stage": found["stage"],
        "users": found["users"],
        "groups": found["groups"],
        "spaces": found["spaces"]["selected"],
        "pages": found["pages_total"],
        "entities": found["total"],
        "parts": [
            {"space": t["key"], "what": t["what"], "trees": len(t["roots"]), "new_key": t["new_key"]}
            for t in found["tasks"]
            if t["kind"] == "space" and (t["what"] != "all" or t["roots"] or t["new_key"])
        ],
        "left_behind": found["left_behind"],
        "key_conflicts": found["key_conflicts"],
        "addresses": found["addresses"],
        "accepted": found["accepted"],
        "start_at": found["start_at"],
        "checks": {each["check"]: {"result": each["result"], "found": each["count"]} for each in judged},
    }
    if json:
        render.document(document)
        return
    render.out.print(f"{document['plan']}: {document['source']} → {document['site']} ({document['stage']})")
    render.out.print(
        f"{document['spaces']:,} spaces, {document['pages']:,} pages, {document['entities']:,} entities;"
        f" users: {document['users']}; groups: {'yes' if document['groups'] else 'no'}"
    )
    for part in document["parts"]:
        key = f" as {part['new_key']}" if part["new_key"] else ""
        trees = f", {part['trees']} page trees" if part["trees"] else ""
        render.out.print(f"  {part['space']}{key}: {part['what']}{trees}")
    for kind, n in document["left_behind"].items():
        render.out.print(f"  {n:,} {kind.replace('_', ' ')}: stays behind, see the guide on what does not move")
    for each in judged:
        if each["result"] in ("warning", "error"):
            render.out.print(f"  {MARKS[each['result']]} {each['check']}: {each['count']}")
    render.out.print(f"Digest of what was decided: {document['digest']}")
