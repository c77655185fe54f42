"""Who may use a deployment: links that log a browser in, and tokens for machines."""

import json as jsonlib
from typing import Annotated, Literal

import typer

from cli.client import Client
from cli.remote import Data, Json, TokenFile, Url, expected

Role = Annotated[
    Literal["viewer", "operator", "auditor", "admin"],
    typer.Option(help="viewer looks; operator also runs plans; auditor also proves the log; admin does everything."),
]
tokens = typer.Typer(help="Tokens with which machines call the API.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Adds these verbs to the command line."""
    app.command("login")(login)
    app.add_typer(tokens, name="token")


@expected
def login(
    role: Role = "admin", url: Url = None, token_file: TokenFile = None, data: Data = None, json: Json = False
) -> None:
    """Print an address that logs one browser in, once, within 12 hours."""
    with Client.discover(url, token_file, data) as client:
        address = client.login(role)
    typer.echo(jsonlib.dumps({"url": address}) if json else address)


@tokens.command("create")
@expected
def create(
    name: Annotated[str, typer.Argument(help="What the token is for.")],
    role: Role = "operator",
    days: Annotated[int, typer.Option(min=0, max=3650, help="Days until it expires; 0: never.")] = 90,
    url: Url = None,
    token_file: TokenFile = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """Make a token. It is shown this once; what is stored cannot be turned back into it."""
    with Client.discover(url, token_file, data) as client:
        made = client.post("/tokens", {"name": name, "role": role, "days": days or None})
    if json:
        typer.echo(jsonlib.dumps(made))
    else:
        typer.echo(made["token"])
        typer.echo("Keep it now: it is shown this once. A caller sends it as: Authorization: Bearer TOKEN", err=True)


@tokens.command("list")
@expected
def list_tokens(url: Url = None, token_file: TokenFile = None, data: Data = None, json: Json = False) -> None:
    """List tokens, without their secrets."""
    with Client.discover(url, token_file, data) as client:
        found = client.get("/tokens")
    if json:
        typer.echo(jsonlib.dumps(found))
        return
    for each in found:
        state = (
            "revoked"
            if each["revoked_at"]
            else f"expires {each['expires_at'][:10]}"
            if each["expires_at"]
            else "lasting"
        )
        used = f"last used {each['used_at'][:16].replace('T', ' ')} UTC" if each["used_at"] else "never used"
        typer.echo(f"{each['name']:<24} {each['role']:<9} {state:<19} {used}")
    if not found:
        typer.echo("No token besides the one in the data folder. Make one: cloudward token create NAME --role operator")


@tokens.command("revoke")
@expected
def revoke(
    name: Annotated[str, typer.Argument(help="Name or id of the token.")],
    url: Url = None,
    token_file: TokenFile = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """Refuse a token from now on."""
    with Client.discover(url, token_file, data) as client:
        found = client.find("token", name)
        client.post(f"/tokens/{found['id']}/revoke")
    typer.echo(jsonlib.dumps({"revoked": found["id"]}) if json else f"“{found['name']}” is refused from now on.")
