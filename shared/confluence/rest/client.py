"""HTTP to one Confluence Server or Data Center: only reading, retried where that is safe, errors told apart.

Confluence answers a refused token as anonymous, with 200 and less content. So whoever reads a list to its end, or finds
nothing, calls ``confirm`` before believing it.
"""

import asyncio
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlencode, urlsplit

import httpx
import httpx_aiohttp

from shared.confluence.cloud.gate import Gate, OpenGate
from shared.confluence.observed import Observed
from shared.confluence.source import (
    NotInSource,
    SourceError,
    SourceUnauthorized,
    SourceUnreachable,
    SourceUnsupported,
)

Json = dict[str, Any]
Parameters = list[tuple[str, str]]

#: Pauses before the second, third … attempt after no answer or 5xx, in seconds.
PAUSES = (0.2, 0.5, 1.0)
#: Longest time that one request obeys Retry-After in all, in seconds.
PATIENCE = 300.0
#: Largest piece in which files are handed on.
CHUNK = 256 * 1024

_NUMBERS = re.compile(r"[0-9]+")

RETRIED = {429, 500, 502, 503, 504}


class Forbidden(SourceUnauthorized):
    """The credential is good, but has no right to this."""


def retry_after(value: str | None) -> float | None:
    """Seconds of a Retry-After header: a number or a date; None for neither."""
    if not value:
        return None
    if re.fullmatch(r"\d+(\.\d+)?", value.strip()):
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, (moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)).total_seconds())


class Client:
    """``base_url``: with the context path, if any. A token (Confluence 7.9 and later) or a name and password."""

    def __init__(
        self,
        base_url: str,
        *,
        token: str | None,
        username: str | None,
        password: str | None,
        timeout: float,
        gate: Gate | None = None,
        id: str = "",
    ) -> None:
        self._gate: Gate = gate or OpenGate()
        self.base = base_url.rstrip("/")
        parts = urlsplit(self.base)
        if parts.scheme not in {"http", "https"} or not parts.netloc:
            raise SourceUnsupported(f"{base_url!r} is no web address. Give it as https://host or https://host/context.")
        self.context = parts.path
        headers = {"Accept": "application/json", "User-Agent": "Mozilla/5.0 (compatible; Cloudward)"}
        auth: httpx.Auth | None = None
        if token:
            headers["Authorization"] = f"Bearer {token}"
        elif username:
            auth = httpx.BasicAuth(username, password or "")
        self._username = None if token else username
        #: Whether the release has no resource of users (before 6.0).
        self._without_user = False
        self.credential = "token" if token else "password" if username else None
        self._http = httpx.AsyncClient(
            transport=Observed(httpx_aiohttp.AiohttpTransport(), "source", id),
            headers=headers,
            auth=auth,
            timeout=timeout,
            follow_redirects=False,
        )

    async def close(self) -> None:
        await self._http.aclose()

    def url(self, path: str, parameters: Parameters | None = None) -> str:
        query = f"?{urlencode(parameters)}" if parameters else ""
        return f"{self.base}{path}{query}"

    # --- one request --------------------------------------------------------------------------------------------------

    async def answer(
        self, url: str, *, method: str = "GET", body: Any = None, accept: str | None = None
    ) -> httpx.Response:
        """Any answer but those worth another attempt.

        When attempts are used up: SourceUnreachable, or SourceError for 500, which a single broken content can cause."""
        waited = 0.0
        failures = 0
        while True:
            try:
                response = await self._sent(method, url, body, accept)
            except httpx.TransportError as e:
                if failures == len(PAUSES):
                    raise self.unreachable(e) from e
                pause = PAUSES[failures]
                failures += 1
            else:
                if response.status_code not in RETRIED:
                    return response
                asked = retry_after(response.headers.get("retry-after"))
                if response.status_code == 429 or (asked is not None and response.status_code == 503):
                    self._gate.throttled(asked)
                if asked is not None and response.status_code in {429, 503}:
                    waited += max(asked, 0.05)
                    if waited > PATIENCE:
                        raise SourceUnreachable(
                            f"{self.base} asks to wait {asked:.0f} seconds: it limits requests or is in maintenance. "
                            "Go on later, or raise the limit for this user in its rate limiting settings."
                        )
                    pause = max(asked, 0.05)
                else:
                    if failures == len(PAUSES):
                        kind = SourceError if response.status_code == 500 else SourceUnreachable
                        raise kind(
                            f"{self.base} answers {response.status_code} to {response.url.path} again and again. "
                            "See the server's own log."
                        )
                    pause = PAUSES[failures]
                    failures += 1
            await asyncio.sleep(pause)

    async def _sent(self, method: str, url: str, body: Any, accept: str | None) -> httpx.Response:
        async with self._gate.slot():
            began, status = time.monotonic(), None
            try:
                headers = {"X-Atlassian-Token": "no-check"} if method == "POST" else {}
                if accept is not None:
                    headers["Accept"] = accept
                response = await self._http.request(method, url, json=body, headers=headers)
                status = response.status_code
            finally:
                # Lists and single contents take their own time: what is asked for is told by the path without its numbers.
                path = _NUMBERS.sub("0", urlsplit(url).path)
                self._gate.observe(path, time.monotonic() - began, status)
        return response

    def unreachable(self, error: Exception) -> SourceUnreachable:
        kind = "in time" if isinstance(error, httpx.TimeoutException) else f"({type(error).__name__})"
        return SourceUnreachable(
            f"{self.base} does not answer {kind}. Check the address, and that it is reachable from here."
        )

    def check(self, response: httpx.Response) -> httpx.Response:
        """The response if it is a success, else the error it stands for."""
        status = response.status_code
        denied = response.headers.get("x-authentication-denied-reason", "")
        if "CAPTCHA" in denied:
            raise SourceUnauthorized(
                f"{self.base} refuses this user until a CAPTCHA is solved, after failed logins. "
                "Log in once in a browser as this user, then try again."
            )
        if response.headers.get("x-ausername", "").lower() == "anonymous":
            raise self.anonymous()
        if status == 401:
            raise SourceUnauthorized(
                f"{self.base} refuses the {self.credential or 'missing credential'}. Check it, or make a new one."
            )
        if status == 403:
            raise Forbidden(
                f"{self.base} does not permit this user to read {response.url.path}. It takes an administrator."
            )
        if status == 404:
            raise NotInSource(f"{response.url.path} is not there, or not visible to this user.")
        if 300 <= status < 400:
            location = response.headers.get("location", "")
            if "login" in location or "os_destination" in location:
                raise SourceUnauthorized(f"{self.base} asks to log in. Check the credential.")
            target = urlsplit(location)
            raise SourceUnsupported(
                f"{self.base} redirects to {target.scheme or 'another'}://{target.netloc}. Give the address it redirects to."
            )
        if not response.is_success:
            raise SourceError(f"{self.base} answers {status} to {response.url.path}. See the server's own log.")
        return response

    def anonymous(self) -> SourceUnauthorized:
        if self.credential is None:
            return SourceUnauthorized(
                f"No credential for {self.base}. Give a personal access token or a user and password."
            )
        return SourceUnauthorized(
            f"{self.base} treats the {self.credential} as anonymous: it is wrong, expired or revoked. "
            "Make a new personal access token (Confluence 7.9 and later), or use a user and password."
        )

    async def json(self, path: str, parameters: Parameters | None = None) -> Any:
        return self.decoded(self.check(await self.answer(self.url(path, parameters))))

    def decoded(self, response: httpx.Response) -> Any:
        try:
            return response.json()
        except ValueError:
            raise SourceUnsupported(
                f"{self.base} answers {response.url.path} with something that is not JSON. "
                "Either it is not a Confluence, or a login page or proxy stands before it."
            ) from None

    async def confirm(self) -> Json:
        """The user that the credential stands for; SourceUnauthorized if it is answered as anonymous."""
        if not self._without_user:
            response = await self.answer(self.url("/rest/api/user/current"))
            self._without_user = response.status_code == 404
            if not self._without_user:
                me: Json = self.decoded(self.check(response))
                if me.get("type") != "known":
                    raise self.anonymous()
                return me
        return await self._confirm_old()

    async def _confirm_old(self) -> Json:
        """Before 6.0 nothing says who one is, but a login is acknowledged in a header, and JSON-RPC answers users only."""
        response = self.check(await self.answer(self.url("/rest/api/space", [("limit", "1")])))
        if response.headers.get("x-seraph-loginreason", "").upper() == "OK":
            return {"type": "known", "username": self._username}
        try:
            told = await self.rpc("getUser", self._username) if self._username else None
        except NotInSource:
            told = None
        if not isinstance(told, dict):
            raise self.anonymous()
        return {"type": "known", "username": self._username}

    async def rpc(self, method: str, *parameters: Any) -> Any:
        """Result of a JSON-RPC method (before 9.0). NotInSource: it answers with an error, or is switched off."""
        url = self.url(f"/rpc/json-rpc/confluenceservice-v2/{method}")
        result = self.decoded(self.check(await self.answer(url, method="POST", body=list(parameters))))
        if isinstance(result, dict) and "error" in result:
            raise NotInSource(f"{method} answers with an error.")
        return result

    # --- lists --------------------------------------------------------------------------------------------------------

    async def rows(self, path: str, parameters: Parameters) -> AsyncGenerator[Json, None]:
        """Entries of a paged list, one page in memory; the end is where no ``next`` is given, whatever the sizes say."""
        url = self.url(path, parameters)
        while True:
            page: Json = self.decoded(self.check(await self.answer(url)))
            for row in page.get("results", ()):
                yield row
            following = self.following(page.get("_links") or {})
            if following is None:
                return
            if following == url:
                raise SourceError(
                    f"{self.base} gives a list of {path} that does not advance. See the server's own log."
                )
            url = following

    def following(self, links: Json) -> str | None:
        """Address of the next page: as given, but always below the address this client was given."""
        given = links.get("next")
        if not given:
            return None
        base = str(links.get("base") or "").rstrip("/")
        if base and given.startswith(f"{base}/"):
            given = given[len(base) :]
        elif "://" in given:
            parts = urlsplit(given)
            given = f"{parts.path}?{parts.query}"
        if self.context and given.startswith(f"{self.context}/"):
            given = given[len(self.context) :]
        return f"{self.base}{given}"

    # --- files --------------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def download(self, link: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """Bytes behind a link below the base. NotInSource if there are none; a cut connection is SourceUnreachable."""
        url = self.following({"next": link}) or ""
        for _ in range(4):
            request = self._http.build_request("GET", url, headers={"Accept": "*/*", "Accept-Encoding": "identity"})
            response = await self._opened(request, own=url.startswith(f"{self.base}/"))
            target = response.headers.get("location", "")
            if not response.is_redirect or "login" in target or "os_destination" in target:
                break
            await response.aclose()
            url = str(httpx.URL(url).join(target))
        try:
            self.check(response)
            yield self._pieces(response)
        finally:
            await response.aclose()

    async def _opened(self, request: httpx.Request, *, own: bool) -> httpx.Response:
        """Files may lie on another host, behind a signed address: the credential stays with its own."""
        if not own:
            request.headers.pop("Authorization", None)
        failures = 0
        while True:
            try:
                async with self._gate.slot():
                    response = await self._http.send(
                        request, stream=True, auth=httpx.USE_CLIENT_DEFAULT if own else None
                    )
            except httpx.TransportError as e:
                if failures == len(PAUSES):
                    raise self.unreachable(e) from e
            else:
                if response.status_code not in RETRIED:
                    return response
                await response.aclose()
                if response.status_code == 429:
                    self._gate.throttled(retry_after(response.headers.get("retry-after")))
                if failures == len(PAUSES):
                    raise SourceUnreachable(
                        f"{self.base} answers {response.status_code} to a download again and again."
                    )
                asked = retry_after(response.headers.get("retry-after"))
                if asked is not None and asked <= PATIENCE:
                    await asyncio.sleep(asked)
            await asyncio.sleep(PAUSES[failures])
            failures += 1

    async def _pieces(self, response: httpx.Response) -> AsyncIterator[bytes]:
        expected = response.headers.get("content-length")
        got = 0
        try:
            async for piece in response.aiter_raw(CHUNK):
                got += len(piece)
                yield piece
        except httpx.TransportError as e:
            raise self.unreachable(e) from e
        if expected is not None and expected.isdecimal() and got != int(expected):
            raise SourceUnreachable(f"{self.base} ended a download after {got} of {expected} bytes.")
