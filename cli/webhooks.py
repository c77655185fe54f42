"""Webhooks: where changes of status are told to, and what became of each delivery."""

import json as jsonlib
from typing import Annotated, Any

import typer
from rich.table import Table

from cli import render
from cli.client import Client
from cli.remote import Data, Json, TokenFile, Url, expected, recorded

Webhook = Annotated[str, typer.Argument(help="Name or id of the webhook.", metavar="WEBHOOK")]
webhooks = typer.Typer(help="Webhooks, which are told when a plan's status changes.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Adds these verbs to the command line."""
    app.add_typer(webhooks, name="webhook")


@webhooks.command("add")
@expected
def add(
    name: Annotated[str, typer.Argument(help="What it is called here.")],
    address: Annotated[str, typer.Argument(help="Where deliveries go: https://…")],
    event: Annotated[
        list[str] | None,
        typer.Option("--event", help="What it is told, such as plan.failed; may be repeated. Default: all."),
    ] = None,
    url: Url = None,
    token_file: TokenFile = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """Create a webhook. The secret that signs its deliveries is shown this once."""
    body: dict[str, Any] = {"name": name, "url": address} | ({"events": event} if event else {})
    with Client.discover(url, token_file, data) as client:
        _secret(client.post("/webhooks", body), json)


@webhooks.command("list")
@expected
def list_webhooks(url: Url = None, token_file: TokenFile = None, data: Data = None, json: Json = False) -> None:
    """List webhooks, each with its last delivery."""
    with Client.discover(url, token_file, data) as client:
        found = client.get("/webhooks")
    if json:
        render.document(found)
        return
    table = Table("Webhook", "Address", "Told", "Last delivery", "Waiting", "Failed", box=None)
    for each in found:
        told = ", ".join(event.partition(".")[2] for event in each["events"])
        table.add_row(
            each["name"], each["url"], told, each["last_state"] or "none", str(each["waiting"]), str(each["failed"])
        )
    render.out.print(table if found else "There is none. Make one: cloudward webhook add NAME https://…")


@webhooks.command("rotate")
@expected
def rotate(
    webhook: Webhook, url: Url = None, token_file: TokenFile = None, data: Data = None, json: Json = False
) -> None:
    """Give a webhook a new secret; the old one signs besides for a day."""
    with Client.discover(url, token_file, data) as client:
        _secret(client.post(f"/webhooks/{client.find('webhook', webhook)['id']}/rotate"), json)


@webhooks.command("remove")
@expected
def remove(
    webhook: Webhook, url: Url = None, token_file: TokenFile = None, data: Data = None, json: Json = False
) -> None:
    """Send nothing to a webhook any more."""
    with Client.discover(url, token_file, data) as client:
        found = client.find("webhook", webhook)
        answer = client.post(f"/webhooks/{found['id']}/remove")
    recorded(answer, json, f"“{found['name']}” is removed, with its secret and its deliveries.")


@webhooks.command("test")
@expected
def test(
    webhook: Webhook, url: Url = None, token_file: TokenFile = None, data: Data = None, json: Json = False
) -> None:
    """Send a test delivery."""
    with Client.discover(url, token_file, data) as client:
        found = client.find("webhook", webhook)
        answer = client.post(f"/webhooks/{found['id']}/test")
    recorded(answer, json, f"Sent. See cloudward webhook deliveries {found['name']}.")


@webhooks.command("deliveries")
@expected
def deliveries(
    webhook: Webhook,
    before: Annotated[str | None, typer.Option(help="Id of a delivery: older ones than that.")] = None,
    url: Url = None,
    token_file: TokenFile = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """List deliveries, newest first, each with its last attempt."""
    with Client.discover(url, token_file, data) as client:
        found = client.get(
            f"/webhooks/{client.find('webhook', webhook)['id']}/deliveries", **({"before": before} if before else {})
        )
    if json:
        render.document(found)
        return
    table = Table("Delivery", "Event", "Plan", "State", "Attempts", "Answer", box=None)
    for each in found["deliveries"]:
        answer = str(each["status"] or each["problem"] or "")
        table.add_row(each["id"], each["event"], each["plan_name"] or "", each["state"], str(each["attempts"]), answer)
    render.out.print(table if found["deliveries"] else "Nothing was sent yet.")
    if found["next"]:
        render.err.print(f"Older ones: --before {found['next']}", highlight=False)


@webhooks.command("replay")
@expected
def replay(
    webhook: Webhook,
    delivery: Annotated[str, typer.Argument(help="Id of the delivery.")],
    url: Url = None,
    token_file: TokenFile = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """Deliver once more, under the same id."""
    with Client.discover(url, token_file, data) as client:
        answer = client.post(f"/webhooks/{client.find('webhook', webhook)['id']}/deliveries/{delivery}/replay")
    recorded(answer, json, "It is sent again.")


def _secret(made: dict[str, Any], json: bool) -> None:
    if json:
        typer.echo(jsonlib.dumps(made))
        return
    typer.echo(made["secret"])
    typer.echo(
        "Keep it now: it is shown this once. Receivers check deliveries with it as Standard Webhooks says.", err=True
    )
