"""The secrets of a deployment in containers, one folder for each reader."""

import os
import secrets
from pathlib import Path

from cli.embedded.child import secret_file, write_secret
from cli.embedded.nats import RIGHTS, configuration
from shared.events import schema

SERVICES = ("planner", "analyzer", "executor", "dashboard")


def write_secrets(folder: Path, owner: int) -> None:
    """Fills ``folder``; twice is harmless.

    ``postgres/password``; ``nats/nats.conf``; ``migrate/{database,nats,roles/<role>}``; ``<service>/{database,nats}``, for
    those that open credentials ``vault-key``, for the dashboard ``api-token``. Files belong to ``owner`` where this
    process may give them away, and are readable by nobody else; but what the images of Postgres and NATS read, under
    accounts of their own, is readable in its folder: mount no folder where it does not belong.
    """
    admin = secret_file(folder / "postgres" / "password", _password)
    (folder / "postgres" / "password").chmod(0o444)
    _same(folder / "migrate" / "database", admin, owner)
    for role in (schema.MIGRATE, *schema.SERVICES):
        secret_file(folder / "migrate" / "roles" / role, _password)
        _give(folder / "migrate" / "roles" / role, owner)
    _give(folder / "migrate" / "roles", owner)
    vault_key = secret_file(folder / "dashboard" / "vault-key", lambda: secrets.token_bytes(32).hex())
    for service in SERVICES:
        role = (folder / "migrate" / "roles" / f"cw_{service}").read_text()
        _same(folder / service / "database", role, owner)
        if service != "planner":
            _same(folder / service / "vault-key", vault_key, owner)
    secret_file(folder / "dashboard" / "api-token", _password)
    _give(folder / "dashboard" / "api-token", owner)
    passwords = {user: secret_file(folder / user / "nats", _password) for user in RIGHTS}
    for user in RIGHTS:
        _give(folder / user / "nats", owner)
    write_secret(folder / "nats" / "nats.conf", configuration("0.0.0.0:4222", "/data", passwords))
    (folder / "nats" / "nats.conf").chmod(0o444)


def _password() -> str:
    return secrets.token_urlsafe(24)


def _same(path: Path, text: str, owner: int) -> None:
    write_secret(path, text)
    _give(path, owner)


def _give(path: Path, owner: int) -> None:
    if os.geteuid() == 0:
        os.chown(path, owner, owner)
        os.chown(path.parent, owner, owner)
