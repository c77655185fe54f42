"""Sending requests to the site, and telling what became of them.

The one question that matters for a write is whether it may have taken effect. A connection that could not be made: no.
A 4xx: no. Anything else that is not a success (5xx, timeout, reset, an answer that cannot be read): maybe, and then
the caller has to look before it repeats. So writes are never repeated here.
"""

import asyncio
import base64
import json
import re
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, Protocol, Self
from urllib.parse import urljoin, urlsplit

import aiohttp
import httpx
import stamina
from httpx_aiohttp import AiohttpTransport

from shared.confluence.cloud.gate import Gate, OpenGate
from shared.confluence.observed import OPERATION, Observed
from shared.confluence.site import (
    NotOnSite,
    OutcomeUnknown,
    SeatsExhausted,
    SiteError,
    SiteForbids,
    SiteRefused,
    SiteUnauthorized,
    SiteUnavailable,
    Throttled,
    TooLarge,
    VersionConflict,
    WritesForbidden,
)

Params = Mapping[str, str | int | Sequence[str | int]]
Json = Any  # what json.loads gives: the shape is checked where it is taken apart

READ_ATTEMPTS = 4
LONGEST_WAIT_IN_READ = 15.0  # seconds: a site that asks for more gets the worker's own pause instead
AGENT = {"User-Agent": "cloudward"}
CLAIM = "X-Cloudward-Claim"  # chunk and epoch, for whoever reads the other side's journal
CHUNK = 256 * 1024  # bytes handed to the socket at once: a body of megabytes would hold up the event loop
SLOWEST_TRANSFER = 64 * 1024  # bytes per second: below that an upload counts as stuck

_TAKEN = re.compile(
    r"already exist|already has|already in use|already used|already a member|same (?:title|name|file)", re.IGNORECASE
)
_SEATS = re.compile(r"user limit|licen[cs]e does not allow|licen[cs]e limit|USER_LIMIT", re.IGNORECASE)
_ERROR_NAME = re.compile(r"\b([A-Z][A-Za-z]+(?:Exception|Error))\b")
_ERROR_CODE = re.compile(r"[A-Z0-9_]{3,60}")
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


class _ReadFailed(SiteUnavailable):
    """A read that may be repeated."""

    def __init__(self, message: str, status: int | None = None, retry_after: float | None = None) -> None:
        super().__init__(message, status)
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class Credential:
    """Exactly one form: Basic ``email`` and ``token``, Bearer ``token`` alone, or nothing (anonymous)."""

    email: str | None = None
    token: str | None = None

    def headers(self) -> dict[str, str]:
        if not self.token:
            return {}
        if self.email:
            pair = base64.b64encode(f"{self.email}:{self.token}".encode()).decode()
            return {"Authorization": f"Basic {pair}"}
        return {"Authorization": f"Bearer {self.token}"}

    def __repr__(self) -> str:
        return "Credential(***)"


class Login(Protocol):
    """Where access tokens come from. Both raise LoginExpired when there are no more."""

    async def token(self) -> str:
        """One that is good now."""

    async def refused(self, token: str) -> None:
        """The site did not take this one: the next is another."""


@dataclass(frozen=True, slots=True)
class Gateway:
    """The way of an app that somebody logged in with: each product of the site at an address of Atlassian's API."""

    confluence: str
    jira: str
    login: Login

    def url(self, path: str) -> str:
        """The address of a path of the site.

        >>> gateway = Gateway("https://api/ex/confluence/1", "https://api/ex/jira/1", login=None)
        >>> gateway.url("/wiki/api/v2/pages"), gateway.url("/rest/api/3/user")
        ('https://api/ex/confluence/1/wiki/api/v2/pages', 'https://api/ex/jira/1/rest/api/3/user')
        """
        return (self.confluence if path.startswith("/wiki") else self.jira) + path


class Transport:
    """One site (or the organization's API) at one base URL. Safe for concurrent use within one event loop."""

    def __init__(
        self,
        url: str,
        credential: Credential,
        *,
        timeout: float,
        gate: Gate | None = None,
        id: str = "",
        gateway: Gateway | None = None,
    ) -> None:
        self.url = url.rstrip("/")
        self._gateway = gateway
        self._host = urlsplit(gateway.confluence if gateway else self.url).hostname or ""
        self._path = urlsplit(self.url).path
        self._authorization = credential.headers()
        self.is_token = gateway is None and bool(credential.token)  # no app: an API token of an account
        self._timeout = timeout
        self._gate: Gate = gate or OpenGate()
        # Connecting must fail before the whole request times out: only then is it known that nothing was sent.
        limits = httpx.Timeout(timeout, connect=timeout / 2, pool=timeout / 2)
        self._http = httpx.AsyncClient(
            transport=Observed(AiohttpTransport(client=self._session), "site", id),
            timeout=limits,
            follow_redirects=False,
            headers=AGENT,
        )

    def _session(self) -> aiohttp.ClientSession:
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=10),
            cookie_jar=aiohttp.DummyCookieJar(),
            # Proxies of the environment, but never for a site on this machine.
            trust_env=self._host not in _LOOPBACK,
        )
        # aiohttp repeats PUT and DELETE by itself when a kept connection breaks under them. A write that may have
        # happened must not be repeated before looking. There is no public switch.
        session._retry_connection = False
        return session

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        await self._http.aclose()

    # Reads

    async def read(self, operation: str, path: str, params: Params | None = None) -> Json:
        """The decoded JSON of a GET. Repeated a few times on failures that pass; ``path`` starts with a slash."""
        async for attempt in stamina.retry_context(
            on=_wait_before_reading_again,
            attempts=READ_ATTEMPTS,
            timeout=None,
            wait_initial=0.2,
            wait_max=5.0,
            wait_jitter=0.2,
        ):
            with attempt:
                answer = await self._send(operation, "GET", path, params=params, writing=False)
                return self._decoded(operation, answer, writing=False)
        raise AssertionError("the retry loop ends by returning or raising")

    async def read_by_post(self, operation: str, path: str, body: object) -> Json:
        """A read that the API wants as POST (searches). Changes nothing, so it is treated as a read, unrepeated."""
        answer = await self._send(operation, "POST", path, json_body=body, writing=False)
        return self._decoded(operation, answer, writing=False)

    async def each(self, operation: str, path: str, params: Params | None = None) -> AsyncIterator[Mapping[str, Any]]:
        """The results of a paged list, page by page, following the ``next`` link of either API version."""
        following: str | None = path
        while following is not None:
            page = await self.read(operation, following, params)
            if not isinstance(page, dict) or not isinstance(page.get("results"), list):
                raise SiteUnavailable(f"{operation}: the answer is no list")
            for result in page["results"]:
                yield result
            seen = following
            following = self._next(page)
            params = None
            if following == seen:
                raise SiteUnavailable(f"{operation}: the list points to itself")

    def _next(self, page: Mapping[str, Any]) -> str | None:
        links = page.get("_links")
        link = links.get("next") if isinstance(links, dict) else None
        if not isinstance(link, str) or not link:
            return None
        parts = urlsplit(link)
        path = parts.path
        # Only path and query are taken: the credential must not follow a link to another host.
        if parts.netloc and self._path and path.startswith(self._path + "/"):
            path = path[len(self._path) :]
        if self._gateway is not None and path.startswith(inside := urlsplit(self._gateway.confluence).path + "/"):
            path = path[len(inside) - 1 :]
        if path.startswith("/rest/api/"):
            path = "/wiki" + path  # v1: relative to the base, which ends in /wiki
        return f"{path}?{parts.query}" if parts.query else path

    # Writes

    async def write(
        self,
        operation: str,
        method: str,
        path: str,
        body: object = None,
        *,
        params: Params | None = None,
        headers: Mapping[str, str] | None = None,
        taken: type[SiteError] | None = None,
    ) -> Json:
        """Send one write, once. ``taken``: what a 400/409 that says "exists already" means for this operation."""
        answer = await self._send(
            operation, method, path, params=params, json_body=body, headers=headers, writing=True, taken=taken
        )
        return self._decoded(operation, answer, writing=True)

    async def upload(
        self,
        operation: str,
        path: str,
        body: AsyncIterator[bytes],
        *,
        headers: Mapping[str, str],
        size: int | None,
        taken: type[SiteError] | None = None,
    ) -> Json:
        """Send one streamed write. An error of the body's own iterator breaks it off and is raised as it is."""
        failure: list[BaseException] = []

        async def guarded() -> AsyncIterator[bytes]:
            try:
                async for chunk in body:
                    self._gate.check_write()
                    yield chunk
            except GeneratorExit:
                raise
            except BaseException as error:
                failure.append(error)
                raise

        try:
            answer = await self._send(
                operation,
                "POST",
                path,
                content=guarded(),
                headers=headers,
                writing=True,
                taken=taken,
                time_limit=self._timeout + (size or 1 << 30) / SLOWEST_TRANSFER,
            )
        except SiteError:
            # The request was cut short, so the site has refused it or never saw its end: nothing was stored.
            if failure:
                raise failure[0] from None
            raise
        return self._decoded(operation, answer, writing=True)

    @asynccontextmanager
    async def download(
        self, operation: str, path: str, params: Params | None = None
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """Follow the redirect to the file's own address, without the credential, and stream it."""
        answer = await self._send(operation, "GET", path, params=params, writing=False, redirects=True)
        if answer.is_redirect:
            address = urljoin(self._address(path), answer.headers["location"])
            headers = {"Accept-Encoding": "identity"}
        else:
            address = self._address(path)
            headers = {"Accept-Encoding": "identity", **(await self._authorized())[0]}
        try:
            async with self._http.stream(
                "GET", address, params=None if answer.is_redirect else _params(params), headers=headers
            ) as file:
                self._judge(operation, file, writing=False, taken=None)
                yield file.aiter_bytes()
        except (httpx.HTTPError, aiohttp.ClientError, OSError) as error:
            raise SiteUnavailable(f"{operation}: the file could not be read ({_name(error)})") from None

    # One request

    async def _send(
        self,
        operation: str,
        method: str,
        path: str,
        *,
        writing: bool,
        params: Params | None = None,
        json_body: object = None,
        content: AsyncIterator[bytes] | bytes | None = None,
        headers: Mapping[str, str] | None = None,
        taken: type[SiteError] | None = None,
        time_limit: float | None = None,
        redirects: bool = False,
    ) -> httpx.Response:
        sent = {"Accept": "application/json", **(headers or {})}
        if claim := self._gate.claim():
            sent[CLAIM] = claim
        encoded = b""
        if json_body is not None:
            # Half a surrogate pair, which JSON of old sources can hold, cannot be sent in UTF-8.
            encoded = json.dumps(json_body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
            sent |= {"Content-Type": "application/json", "Content-Length": str(len(encoded))}
        for last in (False, True):
            authorization, token = await self._authorized()
            body = content
            if json_body is not None:
                body = encoded if len(encoded) <= CHUNK else _in_chunks(encoded)
            request = self._http.build_request(
                method,
                self._address(path),
                params=_params(params),
                content=body,
                headers={**authorization, **sent},
                extensions={OPERATION: operation},
            )
            answer = await self._one_request(operation, request, writing, time_limit)
            if answer.status_code != 401 or token is None or self._gateway is None or last:
                break
            # Refused before anything was done: the token's life was shorter than it said, or its clock is another.
            await self._gateway.login.refused(token)
            if content is not None and not isinstance(content, bytes):
                raise SiteUnavailable(f"{operation}: the login was renewed while a file was on its way", 401)
        if redirects and answer.is_redirect:
            return answer
        self._judge(operation, answer, writing=writing, taken=taken)
        return answer

    def _address(self, path: str) -> str:
        return self._gateway.url(path) if self._gateway is not None else self.url + path

    async def _authorized(self) -> tuple[dict[str, str], str | None]:
        """The header that says who asks, and the access token in it where that is one that expires."""
        if self._gateway is None:
            return self._authorization, None
        token = await self._gateway.login.token()
        return {"Authorization": f"Bearer {token}"}, token

    async def _one_request(
        self, operation: str, request: httpx.Request, writing: bool, time_limit: float | None
    ) -> httpx.Response:
        async with self._gate.slot():
            if writing:
                self._gate.check_write()
            began = time.monotonic()
            status: int | None = None
            try:
                async with asyncio.timeout(time_limit or self._timeout):
                    answer = await self._http.send(request)
                status = answer.status_code
            except WritesForbidden:
                raise
            except (httpx.HTTPError, aiohttp.ClientError, OSError, TimeoutError) as error:
                raise self._unanswered(operation, error, writing) from None
            finally:
                self._gate.observe(operation, time.monotonic() - began, status)
        return answer

    def _unanswered(self, operation: str, error: Exception, writing: bool) -> SiteError:
        if not writing:
            return _ReadFailed(f"{operation}: no answer from the site ({_name(error)})")
        if _nothing_was_sent(error):
            return SiteUnavailable(f"{operation}: the site cannot be reached ({_name(error)})")
        return OutcomeUnknown(f"{operation}: sent, but no answer was received ({_name(error)})")

    def _judge(self, operation: str, answer: httpx.Response, *, writing: bool, taken: type[SiteError] | None) -> None:
        status = answer.status_code
        if 200 <= status < 300:
            return
        retry_after = _retry_after(answer.headers)
        if status == 429:
            self._gate.throttled(retry_after)
            raise Throttled(f"{operation}: the site asks to slow down", retry_after)
        if status >= 500:
            if status == 503 and retry_after is not None:
                self._gate.throttled(retry_after)
            said = f"{operation}: the site failed with {status}"
            raise OutcomeUnknown(said, status) if writing else _ReadFailed(said, status, retry_after)
        text = answer.text[:20_000] if answer.is_stream_consumed else ""
        said = f"{operation}: the site answered {status}{_code(text)}"
        if status in (400, 402, 409) and _SEATS.search(text):
            raise SeatsExhausted(said, status)
        if taken is not None and status in (400, 409) and _TAKEN.search(text):
            raise taken(said, status)
        match status:
            case 401:
                raise SiteUnauthorized(said, status)
            case 403:
                raise SiteForbids(said, status)
            case 404:
                raise NotOnSite(said, status)
            case 409:
                raise VersionConflict(said, status)
            case 413:
                raise TooLarge(said, status)
        if 300 <= status < 400:
            raise SiteRefused(f"{said}: a redirect, the address is not that of a site", status)
        raise SiteRefused(said, status)

    def _decoded(self, operation: str, answer: httpx.Response, *, writing: bool) -> Json:
        if not answer.content:
            return None
        try:
            return json.loads(answer.content)
        except ValueError:
            said = f"{operation}: the answer is not JSON"
            kind = OutcomeUnknown if writing else SiteUnavailable
            raise kind(said, answer.status_code) from None


async def _in_chunks(body: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(body), CHUNK):
        yield body[at : at + CHUNK]


def _wait_before_reading_again(error: Exception) -> bool | float:
    match error:
        case Throttled(retry_after=float(seconds)) | _ReadFailed(retry_after=float(seconds)):
            return seconds if seconds <= LONGEST_WAIT_IN_READ else False
        case Throttled() | _ReadFailed():
            return True
    return False


def _nothing_was_sent(error: BaseException) -> bool:
    # The adapter's mapping to httpx errors is too coarse here: it calls a reset connection a ConnectTimeout. The
    # cause says which it was.
    cause = error.__cause__ if isinstance(error, httpx.HTTPError) else error
    return isinstance(cause, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError | aiohttp.InvalidURL)


def _name(error: BaseException) -> str:
    # The error's text may hold the address with its query: only its kind is told.
    cause = error.__cause__ if isinstance(error, httpx.HTTPError) and error.__cause__ is not None else error
    return type(cause).__name__


def _params(params: Params | None) -> httpx.QueryParams | None:
    if not params:
        return None
    pairs: list[tuple[str, str | int | float | bool | None]] = [
        (name, str(value))
        for name, given in params.items()
        for value in ([given] if isinstance(given, str | int) else given)
    ]
    return httpx.QueryParams(pairs)


def _retry_after(headers: httpx.Headers) -> float | None:
    """Seconds to wait by ``Retry-After`` (seconds or HTTP date), else by ``X-RateLimit-Reset`` (ISO 8601)."""
    value = headers.get("retry-after", "").strip()
    try:
        if value:
            return max(0.0, float(value)) if value[0].isdigit() else _until(parsedate_to_datetime(value))
        reset = headers.get("x-ratelimit-reset", "").strip()
        return _until(datetime.fromisoformat(reset)) if reset else None
    except ValueError:
        return None


def _until(moment: datetime) -> float:
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def _code(text: str) -> str:
    """The machine-readable name of an error, in front of a colon. Never its prose: that quotes titles and names."""
    try:
        decoded = json.loads(text)
    except ValueError:
        return ""
    if isinstance(decoded, dict):
        errors = decoded.get("errors")
        if isinstance(errors, list) and errors and isinstance(errors[0], dict):
            code = errors[0].get("code")
            if isinstance(code, str) and _ERROR_CODE.fullmatch(code):
                return f" {code}"
        name = _ERROR_NAME.search(str(decoded.get("message", "")))
        if name:
            return f" {name.group(1)}"
    return ""
