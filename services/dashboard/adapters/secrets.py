"""Stores credentials. This service can write them, and has no right to read them back."""

from services.dashboard.domain.inputs import CredentialIn
from services.dashboard.domain.problems import ProblemError
from shared.events.projections.base import Pool
from shared.events.types import derived_id
from shared.ops.vault import seal


class Secrets:
    def __init__(self, pool: Pool, key: bytes | None) -> None:
        self._pool, self.key = pool, key

    async def store(self, credential: CredentialIn | None, command_id: str) -> str | None:
        """The id under which it is stored; derived from the command, so that a repeated command stores nothing new."""
        if credential is None:
            return None
        secret = derived_id(command_id, "secret")
        if credential.reference is not None:
            await self._insert(secret, credential.reference, None, None)
            return secret
        if self.key is None:
            raise ProblemError(
                "no_vault_key",
                409,
                "This deployment has no key to seal a credential with, so it was not stored.",
                "Give the credential as a reference (env:NAME or file:/path), or set CLOUDWARD_SECRET_KEY_FILE.",
            )
        content = credential.model_dump_json(exclude_none=True).encode()
        await self._insert(secret, None, *seal(self.key, secret, content))
        return secret

    async def _insert(self, secret: str, reference: str | None, nonce: bytes | None, ciphertext: bytes | None) -> None:
        await self._pool.execute(
            "INSERT INTO vault.secret (id, reference, nonce, ciphertext) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
            secret,
            reference,
            nonce,
            ciphertext,
        )
