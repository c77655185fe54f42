"""One request to the instance: who asks, what is expanded, which page of a list."""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, TypeVar
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import JSONResponse

from sandbox.sample.model import Content, Instance, Space
from sandbox.server.errors import Refusal
from sandbox.server.shapes import Json, Shapes, Tree, expand_tree
from sandbox.server.viewer import Viewer
from sandbox.versions import Version

T = TypeVar("T")

#: Longest pages that are given, whatever was asked for: plain, with anything expanded, with bodies.
CUT_PLAIN, CUT_EXPANDED, CUT_BODIES = 500, 200, 50


class Call:
    """What a handler needs. Lookups raise Refusal with 404 for what is missing or may not be seen, alike."""

    def __init__(
        self, request: Request, instance: Instance, version: Version, viewer: Viewer, base: str, context: str
    ) -> None:
        self.request = request
        self.instance = instance
        self.version = version
        self.viewer = viewer
        self.base = base
        self.context = context
        self.shapes = Shapes(instance, version, viewer, base, context)
        self.query = request.query_params
        self.tree: Tree = expand_tree(self.query.get("expand", ""))

    def path(self, name: str) -> str:
        return str(self.request.path_params[name])

    def number(self, name: str, default: int) -> int:
        text = self.query.get(name)
        if not text:
            return default
        try:
            value = int(text)
        except ValueError:
            raise Refusal(404, f"null for uri: {self.request.url}", plain=True) from None
        if value < 0:
            raise Refusal(400, f"{name} must not be negative")
        return value

    def limit(self, default: int) -> int:
        """As asked for, silently cut."""
        if "body" in self.tree:
            cut = CUT_BODIES
        elif self.tree:
            cut = CUT_EXPANDED
        else:
            cut = CUT_PLAIN
        return max(1, min(self.number("limit", default), cut))

    def known(self) -> None:
        """Refuses anonymous."""
        if self.viewer.user is None:
            raise Refusal(401, "Client must be authenticated to access this resource.", plain=True)

    def administrator(self) -> None:
        if not self.viewer.administrator:
            raise Refusal(403, "You are not permitted to perform this operation.")

    def space(self, key: str) -> Space:
        space = self.instance.space_by_key(key)
        if space is None or not self.viewer.sees_space(space):
            raise Refusal(404, f"No space with key : {key}")
        return space

    def content(self, id: str, statuses: tuple[str, ...] = ("current",)) -> Content:
        digits = id.removeprefix("att")
        content = self.instance.contents.get(int(digits)) if digits.isdecimal() else None
        if content is None or content.status not in statuses or not self.viewer.sees(content):
            raise Refusal(404, f"No content found with id: ContentId{{id={id}}}")
        return content

    def page(
        self, rows: Iterable[T] | Callable[[int], Iterator[T]], shape: Any, default: int, *, total: bool = False
    ) -> JSONResponse:
        """One page of a list by ``start`` and ``limit``; ``next`` while there is more. ``rows``: all of them, or a function that
        gives those from an index on."""
        start, limit = self.number("start", 0), self.limit(default)
        iterator: Iterator[T] = rows(start) if callable(rows) else islice(iter(rows), start, None)
        found = list(islice(iterator, limit + 1))
        more = len(found) > limit
        results = [shape(row) for row in found[:limit]]
        links: Json = {"self": str(self.request.url), "base": self.base, "context": self.context}
        if more:
            links["next"] = self.link(limit=limit, start=start + limit)
        if start:
            links["prev"] = self.link(limit=limit, start=max(0, start - limit))
        out: Json = {"results": results, "start": start, "limit": limit, "size": len(results), "_links": links}
        if total:
            out["totalSize"] = start + len(found) + sum(1 for _ in iterator)
        return JSONResponse(out)

    def link(self, drop: tuple[str, ...] = (), **changes: int | str) -> str:
        """This request again with other parameters, relative to base."""
        path = self.request.url.path.removeprefix(self.context)
        kept = [(k, v) for k, v in self.query.multi_items() if k not in changes and k not in drop]
        return f"{path}?{urlencode([*kept, *((k, str(v)) for k, v in changes.items())])}"
