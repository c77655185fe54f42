"""The organization's identity provider: OpenID Connect, authorization code with PKCE.

Taken from Authlib: the flow, and the check of the ID token (issuer, audience, times, nonce); its signature is checked by
joserfc, on which Authlib stands.
"""

import time
from dataclasses import dataclass
from typing import Any

import httpx
from authlib.common.security import generate_token
from authlib.integrations.httpx_client import AsyncOAuth2Client
from authlib.oauth2 import OAuth2Error
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from services.dashboard.adapters.access import Login

_ALGORITHMS = ["RS256", "RS384", "RS512", "ES256", "ES384", "PS256", "EdDSA"]  # never "none", nor a shared secret
_KEPT = 600.0  # seconds for which the provider's document and keys are not asked for again
_SCOPE = "openid profile email"


class ProviderRefused(Exception):
    """The provider does not answer, says no, or answers something that cannot be trusted. Names no secret."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who logged in, as the provider says. ``groups``: of the claim that the deployment names."""

    issuer: str
    subject: str
    name: str
    groups: list[str]


class Provider:
    def __init__(self, issuer: str, client_id: str, client_secret: str | None, groups_claim: str) -> None:
        self._issuer, self._client_id, self._secret = issuer.rstrip("/"), client_id, client_secret
        self._claim = groups_claim
        self._known: tuple[float, dict[str, Any], KeySet] | None = None

    def login(self, back: str) -> tuple[str, Login]:
        """A new login: its state, and what to remember until the answer comes."""
        return generate_token(48), Login(generate_token(32), generate_token(64), back)

    async def address(self, state: str, login: Login, redirect: str) -> str:
        """Where to send the browser."""
        metadata, _ = await self._provider()
        async with self._client(redirect) as client:
            url, _ = client.create_authorization_url(
                metadata["authorization_endpoint"], state=state, nonce=login.nonce, code_verifier=login.verifier
            )
        return str(url)

    async def identity(self, code: str, login: Login, redirect: str) -> Identity:
        """Who the answer's code stands for. Raises ProviderRefused."""
        metadata, keys = await self._provider()
        try:
            async with self._client(redirect) as client:
                token = await client.fetch_token(
                    metadata["token_endpoint"], code=code, code_verifier=login.verifier, grant_type="authorization_code"
                )
            signed = jwt.decode(token["id_token"], keys, algorithms=_ALGORITHMS)
            claims = CodeIDToken(
                signed.claims,
                signed.header,
                {"iss": {"values": [metadata["issuer"]]}, "aud": {"values": [self._client_id]}},
                {"nonce": login.nonce, "client_id": self._client_id, "access_token": token.get("access_token")},
            )
            claims.validate(leeway=60)
        except (OAuth2Error, JoseError, httpx.HTTPError, KeyError, ValueError) as error:
            raise ProviderRefused(type(error).__name__) from error
        groups = claims.get(self._claim) or []
        name = claims.get("name") or claims.get("preferred_username") or claims.get("email") or "Somebody"
        return Identity(
            str(metadata["issuer"]),
            str(claims["sub"]),
            str(name)[:200],
            [str(group) for group in (groups if isinstance(groups, list) else str(groups).split())],
        )

    def _client(self, redirect: str) -> AsyncOAuth2Client:
        return AsyncOAuth2Client(
            self._client_id,
            self._secret,
            scope=_SCOPE,
            redirect_uri=redirect,
            code_challenge_method="S256",
            token_endpoint_auth_method="client_secret_basic" if self._secret else "none",
            timeout=10.0,
            trust_env=False,
        )

    async def _provider(self) -> tuple[dict[str, Any], KeySet]:
        """The provider's metadata and keys (OpenID Connect Discovery 1.0)."""
        if self._known is None or self._known[0] < time.monotonic():
            try:
                async with httpx.AsyncClient(timeout=10.0, trust_env=False) as client:
                    answer = await client.get(f"{self._issuer}/.well-known/openid-configuration")
                    metadata = answer.raise_for_status().json()
                    if str(metadata["issuer"]).rstrip("/") != self._issuer:
                        raise ProviderRefused("the provider names another issuer than this deployment")
                    keys = (await client.get(metadata["jwks_uri"])).raise_for_status().json()
                    self._known = (time.monotonic() + _KEPT, metadata, KeySet.import_key_set(keys))
            except (httpx.HTTPError, KeyError, ValueError) as error:
                raise ProviderRefused(type(error).__name__) from error
        return self._known[1], self._known[2]
