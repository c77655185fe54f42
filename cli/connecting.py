"""Logging in to a site with an Atlassian account, and giving a source or site another credential."""

import time
from typing import Annotated, Any

import typer

from cli import remote, render
from cli.client import Client, ClientError
from cli.remote import Data, Json, Reference, TokenFile, TokenFrom, Url, credential, expected, recorded

_BROWSER = 600.0  # seconds for which the answer of the browser is waited for
Organization = Annotated[
    str | None,
    typer.Option(
        "--organization", help="env:NAME or file:/path that the services read: the organization's key.", metavar="REF"
    ),
]


def register(app: typer.Typer) -> None:
    """Adds these verbs to ``source`` and ``site``."""
    del app
    remote.site_app.command("login")(log_in)
    remote.site_app.command("credential")(replace_site)
    remote.source_app.command("credential")(replace_source)
    remote.source_app.command("base-urls")(base_urls)


@expected
def log_in(
    name: Annotated[str, typer.Argument(help="A name of your choice; or that of a site, to log in to it again.")],
    address: Annotated[
        str | None, typer.Option("--site-url", help="Pick this site of the account without asking.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Confirm without asking.")] = False,
    sandbox: Annotated[bool, typer.Option(help="A stand-in on this machine: no consent is asked.")] = False,
    organization: Organization = None,
    url: Url = None,
    token_file: TokenFile = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """Log in with an Atlassian account in the browser, pick one of its sites, and confirm.

    For another account log out of Atlassian in the browser and say it again. A site that is there already is logged in to
    again: plans that were paused because the login was over go on by themselves.
    """
    with Client.discover(url, token_file, data) as client:
        known = next((site for site in client.get("/sites") if name in (site["id"], site["name"])), None)
        login = client.post("/logins")
        render.err.print("Open this address in a browser, log in as a site administrator, and allow access:")
        typer.echo(login["url"], err=True)
        login = _answered(client, login)
        account = login["email"] or login["name"] or "somebody"
        picked = _picked(login, known["url"] if known else address, account)
        render.err.print(f"{account} → {picked['name']} ({picked['url']})")
        if picked["site_admin"] is False:
            render.err.print("This account does not administer the site: what needs an administrator will be refused.")
        if not yes and not typer.confirm("Use this site?", err=True):
            raise ClientError("Nothing was changed.", "Log in again and pick another.", "not_confirmed")
        more = {"organization": {"reference": organization}} if organization else {}
        if known:
            answer = client.post(f"/sites/{known['id']}/credential", {"login": login["id"], **more})
            said = f"“{known['name']}” is reached with the new login. Plans that waited for it go on."
        else:
            body = {"name": name, "url": picked["url"], "kind": "oauth", "sandbox": sandbox, "login": login["id"]}
            answer = client.post("/sites", {**body, **more})
            said = f"Site “{name}” is registered: {picked['url']}, as {account}."
    recorded(answer, json, said)


def _answered(client: Client, login: dict[str, Any]) -> dict[str, Any]:
    until = time.monotonic() + _BROWSER
    with render.err.status("Waiting for the browser …"):
        while login["state"] == "asked":
            if time.monotonic() > until:
                raise ClientError("Nobody logged in within 10 minutes.", "Say it again.", "login_timeout")
            time.sleep(0.5)
            login = client.get(f"/logins/{login['id']}")
    if login["state"] != "open":
        raise ClientError(
            "Access was not allowed." if login["state"] == "denied" else "Atlassian did not confirm the login.",
            "Say it again, and allow access.",
            f"login_{login['state']}",
        )
    return login


def _picked(login: dict[str, Any], address: str | None, account: str) -> dict[str, Any]:
    sites: list[dict[str, Any]] = login["sites"]
    if address is not None:
        wanted = address.rstrip("/").lower()
        for site in sites:
            if site["url"].rstrip("/").lower() == wanted:
                return site
        raise ClientError(
            f"{account} was given no access to {address}.",
            f"It has: {', '.join(site['url'] for site in sites) or 'no site'}. Log in again with another account.",
            "site_not_of_login",
        )
    if len(sites) == 1:
        return sites[0]
    if not sites:
        raise ClientError(
            f"{account} was given access to no Confluence site.", "Log in again and pick one.", "site_not_of_login"
        )
    for n, site in enumerate(sites, 1):
        render.err.print(f"{n}  {site['name']}  {site['url']}")
    n = 0
    while not 1 <= n <= len(sites):
        n = int(typer.prompt("Which site?", type=int, err=True))
    return sites[n - 1]


@expected
def replace_site(
    site: Annotated[str, typer.Argument(help="Name or id of the site.")],
    email: Annotated[str | None, typer.Option(help="Address of the account, with --token-from.")] = None,
    token_from: TokenFrom = None,
    credential_reference: Reference = None,
    organization: Organization = None,
    url: Url = None,
    token_file: TokenFile = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """Give a site another credential, such as a new API token. For a login: cloudward site login."""
    secret = credential(credential_reference, token_from, email=email)
    body: dict[str, Any] = {"credential": secret} if secret else {}
    if organization:
        body["organization"] = {"reference": organization}
    _replace("site", site, body, url, token_file, data, json)


@expected
def replace_source(
    source: Annotated[str, typer.Argument(help="Name or id of the source.")],
    credential_reference: Reference = None,
    token_from: TokenFrom = None,
    user: Annotated[str | None, typer.Option(help="User name, with --password-from.")] = None,
    password_from: Annotated[str | None, typer.Option(help=f"Password from {remote.From}")] = None,
    url: Url = None,
    token_file: TokenFile = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """Give a source another credential, such as a new personal access token."""
    secret = credential(credential_reference, token_from, user, password_from)
    _replace("source", source, {"credential": secret} if secret else {}, url, token_file, data, json)


def _replace(
    what: str, name: str, body: dict[str, Any], url: str | None, token_file: Any, data: Any, json: bool
) -> None:
    if not body:
        raise ClientError(
            "No credential is given.", "Give --token-from, or see --help for the other forms.", "credential_incomplete"
        )
    with Client.discover(url, token_file, data) as client:
        found = client.find(what, name)
        answer = client.post(f"/{what}s/{found['id']}/credential", body)
    recorded(answer, json, f"“{found['name']}” has another credential from now on.")


@expected
def base_urls(
    source: Annotated[str, typer.Argument(help="Name or id of the source.")],
    base_url: remote.BaseUrls = None,
    none: Annotated[bool, typer.Option("--none", help="There are no other addresses any more.")] = False,
    url: Url = None,
    token_file: TokenFile = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """Show the other addresses that a source's pages link to it under, or set them with --base-url: all that hold from now on.

    An export does not tell the address of the wiki that it came from, and a server does not tell its older ones. Links under
    an address that is named here follow to the site; without it they stay as they are.
    """
    with Client.discover(url, token_file, data) as client:
        found = client.find("source", source)
        if base_url or none:
            client.post(f"/sources/{found['id']}/base-urls", {"base_urls": base_url or []})
            found = client.get(f"/sources/{found['id']}")
    if json:
        render.document(found["base_urls"])
    elif found["base_urls"]:
        for each in found["base_urls"]:
            typer.echo(each)
    else:
        render.out.print(f"No other address. Name one: cloudward source base-urls {found['name']} --base-url URL")
