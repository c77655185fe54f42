"""Logging in by an identity provider: a real one over HTTP, made here, that can also answer wrongly."""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from services.dashboard.adapters.oidc import Provider
from services.dashboard.app import create_app
from services.dashboard.domain.access import Role
from tests.unit.dashboard.house import House
from tests.unit.sandbox_server.serving import serving

CLIENT, SECRET = "cloudward", "client-secret"


@dataclass
class Idp:
    """``change``: claims that are put over the right ones; ``key``: another key signs than the published one."""

    url: str = ""
    key: RSAKey = field(default_factory=lambda: RSAKey.generate_key(2048))
    signs_with: RSAKey | None = None
    change: dict[str, Any] = field(default_factory=dict)
    asked: dict[str, str] = field(default_factory=dict)

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/.well-known/openid-configuration", self.configuration),
                Route("/keys", self.keys),
                Route("/token", self.token, methods=["POST"]),
            ]
        )

    async def configuration(self, _: Request) -> JSONResponse:
        return JSONResponse(
            {
                "issuer": self.url,
                "authorization_endpoint": f"{self.url}/authorize",
                "token_endpoint": f"{self.url}/token",
                "jwks_uri": f"{self.url}/keys",
            }
        )

    async def keys(self, _: Request) -> JSONResponse:
        return JSONResponse({"keys": [self.key.as_dict(private=False, kid="k", use="sig", alg="RS256")]})

    async def token(self, request: Request) -> JSONResponse:
        form = await request.form()
        verifier = str(form["code_verifier"])
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        if challenge != self.asked["code_challenge"] or "authorization" not in request.headers:
            return JSONResponse({"error": "invalid_grant"}, 400)
        now = int(time.time())
        claims = {
            "iss": self.url,
            "sub": "u-1",
            "aud": CLIENT,
            "iat": now,
            "exp": now + 300,
            "nonce": self.asked["nonce"],
            "name": "Ada Example",
            "groups": ["wiki-admins"],
            **self.change,
        }
        signed = jwt.encode({"alg": "RS256", "kid": "k"}, claims, self.signs_with or self.key)
        return JSONResponse({"access_token": "at", "token_type": "Bearer", "expires_in": 300, "id_token": signed})


@pytest.fixture
async def idp() -> AsyncIterator[Idp]:
    found = Idp()
    async with serving(found.app()) as url:
        found.url = url
        yield found


@pytest.fixture
async def browser(house: House, idp: Idp) -> AsyncIterator[httpx.AsyncClient]:
    parts = replace(
        house.parts,
        provider=Provider(idp.url, CLIENT, SECRET, "groups"),
        roles={"wiki-admins": Role.ADMIN, "readers": Role.VIEWER},
    )
    transport = httpx.ASGITransport(create_app(parts))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        yield client


async def through(browser: httpx.AsyncClient, idp: Idp, back: str = "/") -> httpx.Response:
    """To the provider and back, as a browser goes."""
    away = await browser.get("/sign-in/oidc", params={"back": back})
    assert away.status_code == 303, away.text
    query = {name: values[0] for name, values in parse_qs(urlsplit(away.headers["location"]).query).items()}
    assert away.headers["location"].startswith(f"{idp.url}/authorize?")
    assert query["code_challenge_method"] == "S256" and query["client_id"] == CLIENT
    assert query["redirect_uri"] == "http://127.0.0.1/sign-in/answer"
    idp.asked = query
    return await browser.get("/sign-in/answer", params={"state": query["state"], "code": "c"})


async def test_who_the_provider_knows_is_logged_in_with_the_role_of_the_groups(
    browser: httpx.AsyncClient, idp: Idp, house: House
) -> None:
    answer = await through(browser, idp, back="/?x=1")
    assert answer.status_code == 303 and answer.headers["location"] == "/?x=1", answer.text
    first = await house.parts.access.session(browser.cookies["cloudward"])
    assert first is not None and first.role is Role.ADMIN and first.actor.kind == "person"
    assert await house.parts.access.name(first.actor) == "Ada Example"
    await through(browser, idp)
    second = await house.parts.access.session(browser.cookies["cloudward"])
    assert second is not None and second.actor == first.actor, "one person is one key, at every login"
    bodies = b"".join([row["body"] for row in await house.parts.reads.log(0, 100, None)])
    assert b"SignedIn" not in bodies and b"Ada" not in bodies and b"u-1" not in bodies


@pytest.mark.parametrize(
    "change",
    [
        {"aud": "another"},
        {"iss": "https://elsewhere.example"},
        {"exp": 1},
        {"nonce": "another"},
        {"sub": None},
    ],
    ids=["for another client", "of another issuer", "expired", "of another login", "of nobody"],
)
async def test_an_answer_that_cannot_be_trusted_logs_nobody_in(
    browser: httpx.AsyncClient, idp: Idp, change: dict[str, Any]
) -> None:
    idp.change = change
    answer = await through(browser, idp)
    assert answer.status_code == 401 and "did not confirm" in answer.text and "cloudward" not in browser.cookies


async def test_an_answer_signed_by_somebody_else_logs_nobody_in(browser: httpx.AsyncClient, idp: Idp) -> None:
    idp.signs_with = RSAKey.generate_key(2048)
    answer = await through(browser, idp)
    assert answer.status_code == 401 and "cloudward" not in browser.cookies


async def test_whose_groups_have_no_role_may_not_enter_and_is_told_why(browser: httpx.AsyncClient, idp: Idp) -> None:
    idp.change = {"groups": ["strangers"]}
    answer = await through(browser, idp)
    assert answer.status_code == 403 and "none of your groups has a role" in answer.text


async def test_only_the_browser_that_began_a_login_ends_it_and_only_once(
    browser: httpx.AsyncClient, idp: Idp, house: House
) -> None:
    away = await browser.get("/sign-in/oidc")
    idp.asked = {k: v[0] for k, v in parse_qs(urlsplit(away.headers["location"]).query).items()}
    answer = {"state": idp.asked["state"], "code": "c"}
    other = httpx.ASGITransport(create_app(replace(house.parts, provider=Provider(idp.url, CLIENT, SECRET, "groups"))))
    async with httpx.AsyncClient(transport=other, base_url="http://127.0.0.1") as victim:
        assert (await victim.get("/sign-in/answer", params=answer)).status_code == 401
    assert (await browser.get("/sign-in/answer", params=answer)).status_code == 303
    assert (await browser.get("/sign-in/answer", params=answer)).status_code == 401


async def test_a_provider_that_is_away_is_said_and_the_page_stays(house: House) -> None:
    parts = replace(house.parts, provider=Provider("http://127.0.0.1:9", CLIENT, None, "groups"))
    transport = httpx.ASGITransport(create_app(parts))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        assert "Log in with your organization" in (await client.get("/")).text
        answer = await client.get("/sign-in/oidc")
        assert answer.status_code == 401 and "provider_refused" in answer.text
