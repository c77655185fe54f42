"""What one instance is: its version, which of the remote interfaces it has, and its listings."""

import re
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from lxml import etree

from shared.confluence.rest.client import Client, Forbidden, Json
from shared.confluence.source import NotInSource, SourceUnsupported

#: Asked for in lists; the server silently gives fewer.
PAGE = 200

#: The oldest that is read.
OLDEST = (5, 10)
#: From which version on. Before ``USER`` REST tells neither users nor who may see a content; JSON-RPC does.
USER, RESTRICTIONS = (6, 0), (6, 0)
SCAN, USER_LIST, REST_PERMISSIONS, NESTED_GROUPS, SPACE_CREATOR = (7, 18), (8, 4), (9, 1), (10, 0), (10, 0)
WATCHERS = (10, 0)
#: The first version without JSON-RPC.
RPC_GONE = (9, 0)


@dataclass(frozen=True, slots=True)
class About:
    """``base``: the address that the instance has for itself, and its links in bodies: not always the one it is read at."""

    version: str | None
    build: int | None
    base: str | None = None

    @property
    def number(self) -> tuple[int, int]:
        """Major and minor; an unknown version counts as an old one, so that nothing newer is asked of it."""
        found = re.match(r"(\d+)\.(\d+)", self.version or "")
        return (int(found[1]), int(found[2])) if found else (7, 0)


class Instance:
    """``rpc``: JSON-RPC answers, as far as is known; ``scan``: pages are listed by cursor. Both after ``about``."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.noted: Counter[str] = Counter()
        self.rpc = True
        self.scan = True
        self._scans_all: bool | None = None
        self._known: About | None = None

    def note(self, code: str) -> None:
        self.noted[code] += 1

    def note_once(self, code: str) -> None:
        self.noted[code] = 1

    async def about(self) -> About:
        if self._known is None:
            self._known = await self._detect()
            self.rpc = self.rpc and self._known.number < RPC_GONE
            self.scan = self.scan and self._known.number >= SCAN
        return self._known

    async def scans(self, kind: Literal["page", "blogpost", "comment"]) -> bool:
        """Whether content of this kind is listed by cursor. It came with 7.18 for pages alone: such a release answers with pages,
        whatever is asked for. Since when it heeds the type is not documented, so it is tried once."""
        await self.about()
        if kind == "page" or not self.scan:
            return self.scan
        if self._scans_all is None:
            told = await self.client.json("/rest/api/content/scan", [("type", "comment"), ("limit", "1")])
            self._scans_all = all(row.get("type") == "comment" for row in told.get("results") or ())
        return self._scans_all

    async def _detect(self) -> About:
        """Version by what every release answers: server-information from 9.1, else the manifest of application links."""
        client = self.client
        response = await client.answer(client.url("/rest/api/server-information"))
        if response.status_code == 200 and "json" in response.headers.get("content-type", ""):
            told = client.decoded(response)
            if isinstance(told, dict) and "version" in told:
                build = told.get("buildNumber")
                return self._supported(About(str(told["version"]), int(build) if build else None, told.get("baseUrl")))
        elif response.status_code not in {401, 404} or "FAILED" in response.headers.get("x-seraph-loginreason", ""):
            client.check(response)  # a wrong password at once: three of them, and the account asks for a CAPTCHA
        # Asked for JSON it answers so, in a shape that is nowhere described.
        response = await client.answer(client.url("/rest/applinks/1.0/manifest"), accept="application/xml")
        if response.status_code == 200 and b"<manifest" in response.content[:1000]:
            parser = etree.XMLParser(resolve_entities=False, no_network=True)
            try:
                root = etree.fromstring(response.content, parser)
            except etree.XMLSyntaxError:
                root = None
            if root is not None:
                kind, version, build, base = (root.findtext(x) for x in ("typeId", "version", "buildNumber", "url"))
                if kind != "confluence":
                    raise SourceUnsupported(f"{client.base} is not a Confluence but {kind or 'something else'}.")
                return self._supported(About(version, int(build) if build and build.isdecimal() else None, base))
        await self._refuse_cloud()
        me = await client.answer(client.url("/rest/api/user/current"))
        if me.status_code == 404:
            raise SourceUnsupported(
                f"There is no Confluence at {client.base}. Give the address of its dashboard, with the context path if any."
            )
        client.decoded(client.check(me))
        return About(None, None)

    async def _refuse_cloud(self) -> None:
        host = urlsplit(self.client.base).hostname or ""
        cloud = host.endswith((".atlassian.net", ".jira-dev.com"))
        if not cloud:
            response = await self.client.answer(self.client.url("/wiki/api/v2/spaces", [("limit", "1")]))
            cloud = response.status_code == 200 and "json" in response.headers.get("content-type", "")
        if cloud:
            raise SourceUnsupported(f"{self.client.base} is a Confluence Cloud. Sources are Server and Data Center.")

    def _supported(self, about: About) -> About:
        if about.number < OLDEST:
            raise SourceUnsupported(
                f"{self.client.base} is Confluence {about.version}; by REST 5.10 and later are read. "
                "Give an XML export of it instead."
            )
        return about

    async def rpc_answers(self) -> bool:
        """Whether the remote API is switched on: then a name it refuses is only unknown to it."""
        try:
            return isinstance(await self.client.rpc("getServerInfo"), dict)
        except (NotInSource, Forbidden, SourceUnsupported):
            return False

    async def require_rpc(self) -> None:
        """Raises SourceUnsupported where users and restrictions could not be told: a page would be read as open to all."""
        if (await self.about()).number < USER and not await self.rpc_answers():
            raise SourceUnsupported(
                f"{self.client.base} has its remote API switched off, and before 6.0 nothing else tells users and "
                "restrictions of pages. Switch it on (General configuration › Remote API), or give an XML export."
            )

    async def listing(
        self, kind: Literal["page", "blogpost", "comment"], key: str | None, expand: str
    ) -> AsyncIterator[Json]:
        """By cursor where there is one: later pages of /content are slow on large spaces. Comments only where ``scans`` says so:
        /content refuses to list them."""
        parameters = [("type", kind), ("status", "current"), ("expand", expand), ("limit", str(PAGE))]
        if key is not None:
            parameters.append(("spaceKey", key))
        path = "/rest/api/content/scan" if await self.scans(kind) else "/rest/api/content"
        async for row in self.client.rows(path, parameters):
            if row.get("type") == kind:
                yield row
