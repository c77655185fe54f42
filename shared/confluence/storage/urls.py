"""Which content an address within a Confluence Server, Data Center or Cloud points to."""

import re
from collections.abc import Sequence
from urllib.parse import SplitResult, parse_qs, unquote, unquote_plus, urlsplit

from shared.confluence.storage import tiny
from shared.confluence.storage.references import UrlRef

# Context paths that host-relative addresses begin with where no base URL is known.
_USUAL_CONTEXTS = ("", "/wiki", "/confluence")
_DEFAULT_PORTS = {"http": 80, "https": 443}

_BLOG = re.compile(r"/display/([^/]+)/(\d{4})/(\d{1,2})/(\d{1,2})/([^/]+)/?")
_PAGE = re.compile(r"/display/([^/]+)/([^/]+)/?")
_SPACE = re.compile(r"/(?:display|spaces)/([^/]+)(?:/overview)?/?")
_PAGE_ID = re.compile(r"/spaces/([^/]+)/pages/(?:edit(?:-v2)?/)?(\d+)(?:/([^/]*))?/?")
_BLOG_ID = re.compile(r"/spaces/([^/]+)/blog/(\d{4})/(\d{1,2})/(\d{1,2})/(\d+)(?:/([^/]*))?/?")
_TINY = re.compile(r"/x/([A-Za-z0-9_-]+)/?")
_FILE = re.compile(r"/download/(?:attachments|thumbnails)/(\d+)/([^/]+)")
_LABEL = re.compile(r"/label/(?:([^/]+)/)?([^/]+)/?")
_PERSON = re.compile(r"/(?:people|users)/~([^/]+)/?")
_ACTION = re.compile(r"/(?:pages|spaces|users|labels)/(\w+)\.action")


def read(url: str, bases: Sequence[str]) -> UrlRef | None:
    """The reference that an address is; None where it leads elsewhere.

    Within are addresses under one of ``bases`` (http and https alike) and host-relative ones. Those need to have the
    form of a Confluence address if no base tells the context path.
    """
    try:
        parts = urlsplit(url.strip())
        path = _path_within(parts, bases)
    except ValueError:
        return None
    if path is None:
        return None
    reference = _read_path(url, path, parts)
    return None if reference.kind == "other" and not parts.netloc and not bases else reference


def _path_within(parts: SplitResult, bases: Sequence[str]) -> str | None:
    if parts.scheme not in ("", "http", "https"):
        return None
    if not parts.netloc and not parts.path.startswith("/"):
        return None
    contexts = []
    for base in bases:
        root = urlsplit(base)
        if not parts.netloc or _host(parts) == _host(root):
            contexts.append(root.path.rstrip("/"))
    if not bases and not parts.netloc:
        contexts.extend(_USUAL_CONTEXTS)
    for context in sorted(contexts, key=len, reverse=True):
        if parts.path == context or parts.path.startswith(f"{context}/"):
            return parts.path[len(context) :] or "/"
    return None


def _host(parts: SplitResult) -> tuple[str | None, int | None]:
    # A site behind a proxy is linked to by http and https: only an explicit port that is no default tells apart.
    port = parts.port
    return parts.hostname, None if port in _DEFAULT_PORTS.values() else port


def _read_path(url: str, path: str, parts: SplitResult) -> UrlRef:
    anchor = parts.fragment or None
    if match := _BLOG.fullmatch(path):
        key, year, month, day, title = match.groups()
        return UrlRef(
            url, "blog", _word(key), unquote_plus(title), anchor=anchor, day=f"{year}/{int(month):02}/{int(day):02}"
        )
    if match := _BLOG_ID.fullmatch(path):
        key, year, month, day, content_id, name = match.groups()
        title = unquote_plus(name) if name else None
        when = f"{year}/{int(month):02}/{int(day):02}"
        return UrlRef(url, "blog", _word(key), title, content_id, anchor=anchor, day=when)
    if match := _PAGE_ID.fullmatch(path):
        key, content_id, name = match.groups()
        return UrlRef(url, "page_id", _word(key), unquote_plus(name) if name else None, content_id, anchor=anchor)
    if match := _PAGE.fullmatch(path):
        return UrlRef(url, "page_title", _word(match[1]), unquote_plus(match[2]), anchor=anchor)
    if _ACTION.fullmatch(path):
        return _read_action(url, path, parse_qs(parts.query), anchor)
    if match := _SPACE.fullmatch(path):
        return UrlRef(url, "space", _word(match[1]), anchor=anchor)
    if match := _TINY.fullmatch(path):
        number = tiny.decode(match[1])
        return UrlRef(url, "tiny", content_id=None if number is None else str(number), anchor=anchor)
    if match := _FILE.fullmatch(path):
        return UrlRef(url, "attachment", content_id=match[1], filename=unquote_plus(match[2]), anchor=anchor)
    if match := _PERSON.fullmatch(path):
        return UrlRef(url, "user", anchor=anchor, username=_word(match[1]))
    if match := _LABEL.fullmatch(path):
        return UrlRef(url, "label", None if match[1] is None else _word(match[1]), _word(match[2]), anchor=anchor)
    return UrlRef(url, "other", anchor=anchor)


def _read_action(url: str, path: str, query: dict[str, list[str]], anchor: str | None) -> UrlRef:
    given = {name: values[0] for name, values in query.items()}
    page_id, key, title = given.get("pageId"), given.get("spaceKey") or given.get("key"), given.get("title")
    if path.startswith("/pages/") and page_id and page_id.isdecimal():
        return UrlRef(url, "page_id", content_id=page_id, anchor=anchor)
    if path.startswith("/pages/") and key and title:
        return UrlRef(url, "page_title", key, title, anchor=anchor)
    if path.startswith("/spaces/") and key:
        return UrlRef(url, "space", key, anchor=anchor)
    if path.startswith("/users/") and given.get("username"):
        return UrlRef(url, "user", anchor=anchor, username=given["username"])
    return UrlRef(url, "other", anchor=anchor)


def _word(segment: str) -> str:
    return unquote(segment)
