"""Counts and traces the requests to a source or a site, below whatever decides about them.

Only the template of a path is ever shown: words of the API stay, everything else (ids, keys, titles, file names) becomes
``{}``, and the query is left out.
"""

import time
from types import TracebackType
from typing import Literal, Self

import httpx
from opentelemetry.trace import SpanKind

from shared.ops import metrics, tracing

Side = Literal["source", "site"]

# httpx hands a request's extensions on to its transport: there a client may name its operation.
OPERATION = "cloudward.operation"
_WORDS = frozenset(
    [
        "1.0",
        "2",
        "3",
        "_private",
        "_session",
        "admin",
        "admin-key",
        "api",
        "applinks",
        "attachment",
        "attachments",
        "blogposts",
        "by-name",
        "child",
        "children",
        "comment",
        "comments",
        "confluenceservice-v2",
        "content",
        "copy",
        "current",
        "custom-content",
        "data",
        "descendant",
        "descendants",
        "directories",
        "directory",
        "download",
        "folders",
        "footer-comments",
        "group",
        "groupmember",
        "groups",
        "history",
        "homepage",
        "inline-comments",
        "invite",
        "json-rpc",
        "label",
        "labels",
        "latest",
        "list",
        "longtask",
        "manifest",
        "member",
        "membersByGroupId",
        "move",
        "orgs",
        "pages",
        "permission",
        "permissions",
        "plugins",
        "properties",
        "property",
        "public",
        "rest",
        "restriction",
        "restrictions",
        "role-assignments",
        "rpc",
        "scan",
        "search",
        "server-information",
        "space",
        "space-permissions",
        "space-role-mode",
        "space-roles",
        "spaces",
        "state",
        "status",
        "systemInfo",
        "user",
        "userByGroupId",
        "users",
        "v1",
        "v2",
        "version",
        "versions",
        "watch",
        "watches",
        "whiteboards",
        "wiki",
    ]
)


def template(path: str) -> str:
    """A path without anything of the customer's: ``/wiki/api/v2/pages/{}``."""
    return "/".join(part if part in _WORDS or not part else "{}" for part in path.split("/"))


class Observed(httpx.AsyncBaseTransport):
    """``site``: the random id of the source or site, or empty where there is none yet."""

    def __init__(self, inner: httpx.AsyncBaseTransport, side: Side, site: str = "") -> None:
        self._inner, self._side, self._site = inner, side, site

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        shape = template(request.url.path)
        operation = str(request.extensions.get(OPERATION) or f"{request.method} {shape}")
        began, status = time.monotonic(), "broken"
        attributes = {"http.request.method": request.method, "url.template": shape, "cloudward.peer": self._side}
        try:
            with tracing.span(f"{request.method} {shape}", SpanKind.CLIENT, attributes) as span:
                try:
                    answer = await self._inner.handle_async_request(request)
                except httpx.TimeoutException:
                    status = "timeout"
                    raise
                except httpx.ConnectError:
                    status = "refused"
                    raise
                status = str(answer.status_code)
                span.set_attribute("http.response.status_code", answer.status_code)
                return answer
        finally:
            metrics.HTTP_REQUESTS.labels(self._side, self._site, operation, status).inc()
            metrics.HTTP_SECONDS.labels(self._side, operation).observe(time.monotonic() - began)

    async def __aenter__(self) -> Self:
        await self._inner.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        await self._inner.__aexit__(kind, error, trace)

    async def aclose(self) -> None:
        await self._inner.aclose()
