"""Opens the two sides of a move from what is registered: address, kind and credential by id."""

from pathlib import Path
from typing import Any

import asyncpg

from shared.confluence.cloud import CloudSite
from shared.confluence.cloud.gate import Gate
from shared.confluence.cloud.transport import Gateway
from shared.confluence.export import open_export
from shared.confluence.login import Login, authorization
from shared.confluence.rest import RestSource
from shared.confluence.rest.client import Client
from shared.confluence.source import Source, SourceUnsupported
from shared.ops import vault
from shared.ops.settings import Settings


async def _credential(pool: asyncpg.Pool, settings: Settings, secret: str | None) -> dict[str, Any]:
    if secret is None:
        return {}
    key = vault.read_key(settings.secret_key_file) if settings.secret_key_file else None
    async with pool.acquire() as connection:
        return await vault.open_secret(connection, key, secret)


async def open_source(pool: asyncpg.Pool, settings: Settings, source: str, gate: Gate | None = None) -> Source:
    """The source of this id; requests to a server pass the gate. Raises SourceError, VaultError, LookupError."""
    row = await pool.fetchrow("SELECT kind, location, secret, export FROM people.source WHERE id = $1", source)
    if row is None:
        raise LookupError(f"no source {source}")
    if row["kind"] == "rest":
        credential = await _credential(pool, settings, row["secret"])
        return RestSource(
            row["location"],
            token=credential.get("token"),
            username=credential.get("username"),
            password=credential.get("password"),
            timeout=settings.request_timeout,
            gate=gate,
            id=source,
        )
    if row["export"] is None:
        raise SourceUnsupported(
            "The export has not been taken in yet. Analyze the source first: cloudward analyze SOURCE."
        )
    return open_export(Path(settings.export_store), row["export"])


async def open_server(pool: asyncpg.Pool, settings: Settings, source: str) -> Client:
    """The server of a source that is read by its backup. Raises SourceError, VaultError, LookupError."""
    row = await pool.fetchrow("SELECT location, secret FROM people.source WHERE id = $1", source)
    if row is None:
        raise LookupError(f"no source {source}")
    credential = await _credential(pool, settings, row["secret"])
    return Client(
        row["location"],
        token=credential.get("token"),
        username=credential.get("username"),
        password=credential.get("password"),
        timeout=settings.request_timeout,
        id=source,
    )


async def open_site(pool: asyncpg.Pool, settings: Settings, site: str, gate: Gate) -> CloudSite:
    """The site of this id. Raises VaultError, LookupError."""
    row = await pool.fetchrow("SELECT url, secret, organization, cloud_id FROM people.site WHERE id = $1", site)
    if row is None:
        raise LookupError(f"no site {site}")
    gateway = None
    credential: dict[str, Any] = {}
    if row["cloud_id"] is not None:
        gateway = _gateway(pool, settings, row["secret"], row["cloud_id"])
    else:
        credential = await _credential(pool, settings, row["secret"])
    organization = {**credential, **await _credential(pool, settings, row["organization"])}
    return CloudSite(
        row["url"],
        email=credential.get("email"),
        token=credential.get("token"),
        timeout=settings.request_timeout,
        gate=gate,
        org_id=organization.get("org_id"),
        org_key=organization.get("org_key"),
        directory_id=organization.get("directory_id"),
        org_url=organization.get("org_url") or settings.atlassian_api_url,
        id=site,
        gateway=gateway,
    )


def _gateway(pool: asyncpg.Pool, settings: Settings, secret: str | None, cloud_id: str) -> Gateway:
    server = authorization(settings)
    if server is None or secret is None:
        raise vault.VaultError(
            "This service has no app to log in with: set CLOUDWARD_ATLASSIAN_CLIENT_ID and its secret's file for it too."
        )
    key = vault.read_key(settings.secret_key_file)
    login = Login(pool, key, secret, server, settings.request_timeout)
    return Gateway(f"{server.api_url}/ex/confluence/{cloud_id}", f"{server.api_url}/ex/jira/{cloud_id}", login)
