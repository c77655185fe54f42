"""Checkpoints: the size and root of the tree at a moment, signed. C2SP tlog-checkpoint in a C2SP signed note, Ed25519.

The origin of a log's checkpoints, and the name of its keys, is the log's id.
"""

import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

_ED25519 = b"\x01"
_DASH = "\u2014 "
MOST_SIGNATURES = 16


class BadNote(Exception):
    """A text is no checkpoint, or no key that is trusted has signed it."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """``name``: the log's id. ``key``: 32 bytes."""

    name: str
    key: bytes

    @property
    def id(self) -> bytes:
        """Four bytes that name the key in a signature."""
        return sha256(self.name.encode() + b"\n" + _ED25519 + self.key).digest()[:4]

    def __str__(self) -> str:
        """As C2SP and Go's sumdb/note write it: name, key id, and the key."""
        return f"{self.name}+{self.id.hex()}+{base64.b64encode(_ED25519 + self.key).decode()}"

    @classmethod
    def parse(cls, text: str) -> "PublicKey":
        try:
            name, id_, encoded = text.strip().split("+", 2)
            raw = base64.b64decode(encoded, validate=True)
        except (ValueError, binascii.Error) as error:
            raise BadNote(f"{text!r} is no key: <log id>+<key id>+<base64>.") from error
        key = cls(name, raw[1:])
        if not name or raw[:1] != _ED25519 or len(raw) != 33 or key.id.hex() != id_:
            raise BadNote(f"{text!r} is no Ed25519 key, or its key id is not of this key.")
        return key

    def verifies(self, signature: bytes, text: bytes) -> bool:
        try:
            Ed25519PublicKey.from_public_bytes(self.key).verify(signature, text)
        except (InvalidSignature, ValueError):
            return False
        return True


class SigningKey:
    """The sealer's private key. Kept in a file of its own, PEM (PKCS #8), that nobody else can read."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key

    @classmethod
    def new(cls) -> "SigningKey":
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def of_pem(cls, pem: bytes) -> "SigningKey":
        try:
            key = load_pem_private_key(pem, password=None)
        except (ValueError, TypeError) as error:
            raise BadNote("This is no private key in PEM without a password.") from error
        if not isinstance(key, Ed25519PrivateKey):
            raise BadNote("This is a private key, but no Ed25519 one.")
        return cls(key)

    @classmethod
    def from_file(cls, file: Path) -> "SigningKey":
        return cls.of_pem(file.read_bytes())

    @property
    def pem(self) -> str:
        return self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()

    def public(self, log_id: str) -> PublicKey:
        return PublicKey(log_id, self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))

    def sign(self, text: bytes) -> bytes:
        """64 bytes."""
        return self._key.sign(text)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The log ``origin`` (its id) had ``size`` events under this root."""

    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> str:
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"

    def signed(self, keys: Iterable[SigningKey]) -> str:
        """The signed note, with a line for each key."""
        lines = []
        for key in keys:
            public = key.public(self.origin)
            signature = base64.b64encode(public.id + key.sign(self.text.encode())).decode()
            lines.append(f"{_DASH}{public.name} {signature}\n")
        return self.text + "\n" + "".join(lines)


def parse(note: str) -> tuple[Checkpoint, list[tuple[str, bytes, bytes]]]:
    """A note's checkpoint, and its signatures as (key's name, key id, signature), none of them checked. Raises
    BadNote."""
    text, separator, rest = note.rpartition("\n\n")
    lines = text.split("\n")
    if not separator or len(lines) < 3 or not rest.endswith("\n") or any(ord(c) < 32 and c != "\n" for c in note):
        raise BadNote("This is no checkpoint: origin, size, root, an empty line, signatures.")
    origin, size, root = lines[0], lines[1], lines[2]
    try:
        checkpoint = Checkpoint(origin, int(size), base64.b64decode(root, validate=True))
        if checkpoint.text.rstrip("\n") != text or len(checkpoint.root) != 32 or not origin:
            raise BadNote("This checkpoint has more, or other, lines than origin, size and root.")
        signatures = []
        for line in rest.splitlines():
            if not line.startswith(_DASH):
                raise BadNote("A line behind the checkpoint's text is no signature.")
            name, encoded = line.removeprefix(_DASH).split(" ")
            raw = base64.b64decode(encoded, validate=True)
            signatures.append((name, raw[:4], raw[4:]))
    except (ValueError, binascii.Error) as error:
        raise BadNote("This is no checkpoint: a number, a hash or a signature in it cannot be read.") from error
    if not 0 < len(signatures) <= MOST_SIGNATURES:
        raise BadNote(f"A checkpoint has 1 to {MOST_SIGNATURES} signatures, not {len(signatures)}.")
    return checkpoint, signatures


def opened(note: str, trusted: Iterable[PublicKey]) -> Checkpoint:
    """The checkpoint of a note that at least one trusted key has signed, and none wrongly. Raises BadNote."""
    checkpoint, signatures = parse(note)
    known = {(key.name, key.id): key for key in trusted}
    signed = False
    for name, id_, signature in signatures:
        key = known.get((name, id_))
        if key is None or name != checkpoint.origin:
            continue
        if not key.verifies(signature, checkpoint.text.encode()):
            raise BadNote(f"The signature of key {id_.hex()} is not of this checkpoint.")
        signed = True
    if not signed:
        others = ", ".join(id_.hex() for _, id_, _ in signatures)
        raise BadNote(f"No key that is trusted has signed this checkpoint (signed by {others}).")
    return checkpoint
