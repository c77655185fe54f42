"""The secrets of a deployment in containers, one folder for each reader; for Kubernetes the same as Secrets."""

import base64
import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cli.embedded.certificates import issue
from cli.embedded.child import secret_file, write_secret
from cli.embedded.nats import RIGHTS, accounts
from shared.events import schema
from shared.events.audit.note import SigningKey

SERVICES = ("planner", "analyzer", "executor", "dashboard", "sealer")
# The sealer talks to nobody but the database; the planner and the sealer open no credentials.
_ON_NATS = tuple(RIGHTS)
_OPENING = ("analyzer", "executor", "dashboard")


def server_names(service: str, namespace: str) -> tuple[str, ...]:
    """The DNS names by which a server is reached: in compose, in its namespace, and its peers one by one."""
    inside = f"{service}.{namespace}.svc"
    peers = (f"*.{service}-headless", f"*.{service}-headless.{namespace}.svc.cluster.local")
    return (service, "localhost", inside, f"{inside}.cluster.local", f"{service}-headless", *peers)


def write_secrets(folder: Path, owner: int, namespace: str = "cloudward") -> None:
    """Fills ``folder``; twice is harmless: what is there stays.

    ``postgres/{password,tls.crt,tls.key}``; ``nats/{accounts.conf,tls.crt,tls.key}``; ``migrate/{database,nats}`` and
    ``migrate/roles/<role>``; ``<service>/{database,nats,ca.crt}``, for those that open credentials ``vault-key``, for the
    dashboard ``api-token``, for the sealer ``seal-key``. Files belong to ``owner`` where this process may give them away,
    and are readable by nobody else; but what the images of Postgres and NATS read, under accounts of their own, is
    readable in its folder: mount no folder where it does not belong. ``namespace``: of Kubernetes, for the servers' names.
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
        if service in _OPENING:
            _same(folder / service / "vault-key", vault_key, owner)
    secret_file(folder / "dashboard" / "api-token", _password)
    _give(folder / "dashboard" / "api-token", owner)
    secret_file(folder / "sealer" / "seal-key", lambda: SigningKey.new().pem)
    _give(folder / "sealer" / "seal-key", owner)
    passwords = {user: secret_file(folder / user / "nats", _password) for user in _ON_NATS}
    for user in _ON_NATS:
        _give(folder / user / "nats", owner)
    write_secret(folder / "nats" / "accounts.conf", accounts(passwords))
    (folder / "nats" / "accounts.conf").chmod(0o444)
    _certificates(folder, owner, namespace)


def _certificates(folder: Path, owner: int, namespace: str) -> None:
    """All of one making, or none: who made the authority cannot sign with it any more."""
    servers = ("postgres", "nats")
    if not all((folder / server / "tls.key").exists() for server in servers):
        authority, issued = issue([server_names(server, namespace) for server in servers])
        for server, certificate in zip(servers, issued, strict=True):
            for name, text in (("ca.crt", authority), ("tls.crt", certificate.chain), ("tls.key", certificate.key)):
                write_secret(folder / server / name, text)
                (folder / server / name).chmod(0o444)
    authority = (folder / "postgres" / "ca.crt").read_text()
    for reader in ("migrate", *SERVICES):
        _same(folder / reader / "ca.crt", authority, owner)


def manifests(folder: Path, namespace: str) -> Iterator[dict[str, Any]]:
    """What is in ``folder`` as Secrets of Kubernetes: ``cloudward-<reader>``, the roles' passwords ``cloudward-roles``, and
    ``cloudward-owner`` for an operator that makes the database."""
    for reader in sorted(path for path in folder.iterdir() if path.is_dir()):
        yield _secret(f"cloudward-{reader.name}", namespace, _files(reader))
    yield _secret("cloudward-roles", namespace, _files(folder / "migrate" / "roles"))
    owner = {"username": b"cloudward", "password": (folder / "postgres" / "password").read_bytes()}
    yield _secret("cloudward-owner", namespace, owner, "kubernetes.io/basic-auth")


def _files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


def _secret(name: str, namespace: str, data: Mapping[str, bytes], kind: str = "Opaque") -> dict[str, Any]:
    labels = {"app.kubernetes.io/name": "cloudward", "app.kubernetes.io/part-of": "cloudward"}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "type": kind,
        "data": {key: base64.b64encode(value).decode() for key, value in data.items()},
    }


def _password() -> str:
    return secrets.token_urlsafe(24)


def _same(path: Path, text: str, owner: int) -> None:
    write_secret(path, text)
    _give(path, owner)


def _give(path: Path, owner: int) -> None:
    if os.geteuid() == 0:
        os.chown(path, owner, owner)
        os.chown(path.parent, owner, owner)
