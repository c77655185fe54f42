"""Credentials at rest: sealed with the deployment's key, or referred to. Their content never enters an event or a log
line.

Content is a JSON object: ``{"token"}``, ``{"username", "password"}`` or ``{"email", "token"}``.
"""

import json
import os
from pathlib import Path
from typing import Any, TypeAlias

import asyncpg
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

# As text: asyncpg's classes take parameters in its type stubs only.
Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record] | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"


class VaultError(Exception):
    """A credential cannot be opened. The text says which, why and what next, never its content."""


def read_key(file: Path | None) -> bytes:
    """The vault's key: 32 bytes, as 64 hexadecimal digits in a file."""
    if file is None:
        raise VaultError(
            "No key for stored credentials: set CLOUDWARD_SECRET_KEY_FILE, or give credentials as references."
        )
    try:
        key = bytes.fromhex(file.read_text(encoding="ascii").strip())
    except (OSError, ValueError) as error:
        raise VaultError(f"The vault's key cannot be read from {file}: it must hold 64 hexadecimal digits.") from error
    if len(key) != 32:
        raise VaultError(f"The vault's key in {file} has {len(key)} bytes instead of 32.")
    return key


def seal(key: bytes, secret_id: str, plaintext: bytes) -> tuple[bytes, bytes]:
    """Nonce and ciphertext (AES-256-GCM). The id is authenticated too: a row copied to another id does not open."""
    nonce = os.urandom(12)
    return nonce, AESGCM(key).encrypt(nonce, plaintext, secret_id.encode())


def unseal(key: bytes, secret_id: str, nonce: bytes, ciphertext: bytes) -> bytes:
    """Raises VaultError if the key is another one or the row was changed."""
    try:
        return AESGCM(key).decrypt(nonce, ciphertext, secret_id.encode())
    except InvalidTag as error:
        raise VaultError(
            f"Credential {secret_id} does not open: it was sealed with another key, or changed."
            " Check CLOUDWARD_SECRET_KEY_FILE, or give the credential again."
        ) from error


def resolve(secret_id: str, reference: str) -> dict[str, Any]:
    """What ``env:NAME`` or ``file:/path`` holds: a JSON object, or else a bare token."""
    scheme, _, place = reference.partition(":")
    try:
        text = Path(place).read_text(encoding="utf-8") if scheme == "file" else os.environ[place]
    except (OSError, KeyError, UnicodeDecodeError) as error:
        raise VaultError(
            f"Credential {secret_id} refers to {reference}, which this service cannot read."
            " Give it to analyzer and executor under the same name."
        ) from error
    text = text.strip()
    try:
        content = json.loads(text)
    except ValueError:
        content = None
    return content if isinstance(content, dict) else {"token": text}


async def open_secret(connection: Connection, key: bytes | None, id: str) -> dict[str, Any]:
    """The content of a credential. ``key`` may be None where only references are used. Raises VaultError."""
    row = await connection.fetchrow("SELECT reference, nonce, ciphertext FROM vault.secret WHERE id = $1", id)
    if row is None:
        raise VaultError(f"There is no credential {id}. Give it again.")
    if row["reference"] is not None:
        return resolve(id, row["reference"])
    if key is None:
        raise VaultError(f"Credential {id} is sealed and this service has no key: set CLOUDWARD_SECRET_KEY_FILE.")
    content = json.loads(unseal(key, id, row["nonce"], row["ciphertext"]))
    if not isinstance(content, dict):
        raise VaultError(f"Credential {id} holds something else than a credential. Give it again.")
    return content
