"""What every operation starts from: who asks, and how lists are cut into pages in v2 and v1."""

import base64
import binascii
import json
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import quote_plus, urlencode

from sandbox.cloud.rules import v1_refuse, v2_missing, v2_refuse, v2_unauthorized
from sandbox.cloud.state import Account, Content, Kind, Operation, Site, Space
from sandbox.wire import Answer, Document, Request, answer

T = TypeVar("T")
Handler = Callable[["Call"], Answer]
Route = tuple[str, str, Handler]

V2 = "/wiki/api/v2"
V1 = "/wiki/rest/api"


@dataclass(slots=True)
class Call:
    site: Site
    request: Request
    account: Account | None

    @property
    def params(self) -> tuple[str, ...]:
        return self.request.params

    # who

    def user(self) -> Account:
        """The account behind a v2 write. Raises 401 for anonymous."""
        if self.account is None:
            raise v2_unauthorized()
        return self.account

    def v1_user(self) -> Account:
        if self.account is None:
            raise v1_refuse(401, "Unauthenticated users are not permitted to perform this operation")
        return self.account

    def v1_member(self) -> Account:
        """An account with access to Confluence. v1 answers 403 to others."""
        account = self.v1_user()
        if not self.site.has_product(account, "confluence"):
            raise v1_refuse(403, "User not permitted to use Confluence")
        return account

    def v1_admin(self) -> Account:
        account = self.v1_member()
        if not self.site.is_admin(account):
            raise v1_refuse(403, "User is not a site administrator")
        return account

    # what, as far as the caller may see it

    def v2_space(self, id_: int) -> Space:
        space = self.site.spaces.get(id_)
        if space is None or not self.site.sees_space(self.account, space):
            raise v2_missing("space")
        return space

    def v1_space(self, key: str) -> Space:
        space = self.site.space_keys.get(key.lower())
        if space is None or not self.site.sees_space(self.account, space):
            raise v1_refuse(404, f"No space with key : {key}")
        return space

    def v2_content(self, id_: int, kind: Kind | None = None) -> Content:
        content = self.site.content.get(id_)
        if content is None or (kind is not None and content.kind != kind) or not self.site.sees(self.account, content):
            raise v2_missing(kind or "content")
        return content

    def v1_content(self, text: str) -> Content:
        content = self.site.content.get(int(text)) if text.isdecimal() and len(text) < 20 else None
        if content is None or not self.site.sees(self.account, content):
            raise v1_refuse(404, f"No content found with id: ContentId{{id={text}}}")
        return content

    def v1_may(self, space: Space, operation: Operation) -> None:
        if not self.site.allows(self.account, space, operation):
            raise v1_refuse(403, f"User does not have permission to {operation[0]} {operation[1]} in space {space.key}")

    def v2_may(self, space: Space, operation: Operation) -> None:
        # The documents of v2 know no 403: what is not permitted is not found.
        if not self.site.allows(self.account, space, operation):
            raise v2_refuse(404, f"Not permitted to {operation[0]} {operation[1]} in this space", "NOT_FOUND")

    # pages of lists

    def v2_limit(self, most: int = 250, default: int = 25) -> int:
        text = self.request.get("limit")
        if text is None:
            return default
        if not text.isdecimal() or not 1 <= int(text) <= most:
            raise v2_refuse(400, f"Query parameter 'limit' must be from 1 to {most}")
        return int(text)

    def _cursor(self) -> int | None:
        text = self.request.get("cursor")
        if text is None:
            return None
        try:
            value = json.loads(base64.urlsafe_b64decode(text.encode() + b"=="))["after"]
            return int(value)
        except (ValueError, KeyError, TypeError, binascii.Error) as error:
            raise v2_refuse(400, "Query parameter 'cursor' is not valid") from error

    def v2_reply(self, results: list[Document], after: int | None) -> Answer:
        """A page of results; ``after`` is where the next one begins, None at the end."""
        links: Document = {"base": f"{self.request.origin}/wiki"}
        headers: list[tuple[str, str]] = []
        if after is not None:
            cursor = base64.urlsafe_b64encode(json.dumps({"after": after}).encode()).decode().rstrip("=")
            query = [(name, value) for name, value in self.request.query if name != "cursor"]
            next_link = f"{self.request.path}?{urlencode([*query, ('cursor', cursor)])}"
            links["next"] = next_link
            headers.append(("Link", f'<{next_link}>; rel="next"'))
        return answer({"results": results, "_links": links}, 200, headers)

    def v2_list(self, items: Sequence[T], render: Callable[[T], Document]) -> Answer:
        """A list that is at hand; the cursor counts items."""
        limit = self.v2_limit()
        start = self._cursor() or 0
        page = items[start : start + limit]
        more = start + limit < len(items)
        return self.v2_reply([render(item) for item in page], start + limit if more else None)

    def v2_by_id(self, ids: Sequence[int], look: Callable[[int], T | None], render: Callable[[T], Document]) -> Answer:
        """A list in the order of ids, rising; the cursor is the last id, so that long lists are read at equal cost.

        ``look`` answers None for what is filtered out or not visible.
        """
        limit = self.v2_limit()
        last = self._cursor()
        at = 0 if last is None else bisect_right(ids, last)
        results: list[Document] = []
        end = None
        while at < len(ids):
            item = look(ids[at])
            if item is not None:
                if len(results) == limit:
                    return self.v2_reply(results, end)
                results.append(render(item))
                end = ids[at]
            at += 1
        return self.v2_reply(results, None)

    def v1_list(
        self, items: Sequence[T], render: Callable[[T], Document], most: int = 200, default: int = 25
    ) -> Answer:
        """``start`` and ``limit``; a limit over ``most`` is cut silently; ``next`` is relative to ``_links.base``."""
        start, limit = self.v1_number("start", 0), self.v1_number("limit", default)
        limit = min(limit, most)
        page = items[start : start + limit]
        links: Document = {
            "base": f"{self.request.origin}/wiki",
            "context": "/wiki",
            "self": f"{self.request.origin}{self.request.path}",
        }
        if limit and start + limit < len(items):
            query = [(name, value) for name, value in self.request.query if name not in ("start", "limit")]
            query += [("limit", str(limit)), ("start", str(start + limit))]
            links["next"] = f"{self.request.path.removeprefix('/wiki')}?{urlencode(query)}"
        return answer(
            {
                "results": [render(item) for item in page],
                "start": start,
                "limit": limit,
                "size": len(page),
                "_links": links,
            }
        )

    def v1_number(self, name: str, default: int) -> int:
        text = self.request.get(name)
        if text is None or text == "":
            return default
        if not text.isdecimal():
            raise v1_refuse(400, f"{name} must be a number that is not negative")
        return int(text)


def webui(site: Site, content: Content) -> str:
    key = site.spaces[content.space].key
    if content.kind == "page":
        return f"/spaces/{key}/pages/{content.id}/{quote_plus(content.title)}"
    return f"/spaces/{key}/blog/{content.created[:10].replace('-', '/')}/{content.id}/{quote_plus(content.title)}"
