"""HTTP as the sandbox sees it: a request read whole, an answer, a router over path templates, multipart forms.

Handlers are plain functions. Each runs between two awaits of the event loop, so a request takes effect at once or not
at all, and the order in the journal is the order of the effects.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote

from python_multipart.multipart import MultipartParser, parse_options_header

Document = dict[str, Any]

_dumps = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


@dataclass(slots=True)
class Effect:
    """What a request did. ``identity``: a name of the object that holds across runs, e.g. ``page ENG/Start``."""

    verb: str
    kind: str
    id: str
    identity: str


@dataclass(slots=True)
class Request:
    """A request read whole. ``origin``: scheme and host as the client wrote them, e.g. ``http://127.0.0.1:8090``; of a
    request that came through the gateway, those of the site. ``grant``: what the gateway found its token to allow."""

    method: str
    path: str
    raw_query: str
    headers: Mapping[str, str]
    body: bytes
    origin: str = ""
    route: str = ""
    params: tuple[str, ...] = ()
    account: str = ""
    effects: list[Effect] = field(default_factory=list)
    handler: Any = None
    allowed: list[str] = field(default_factory=list)
    grant: Any = None
    connection: int = 0  # the client's port
    _query: list[tuple[str, str]] | None = None

    @property
    def query(self) -> list[tuple[str, str]]:
        if self._query is None:
            self._query = parse_qsl(self.raw_query, keep_blank_values=True) if self.raw_query else []
        return self._query

    def get(self, name: str, default: str | None = None) -> str | None:
        """The first value of a query parameter."""
        for key, value in self.query:
            if key == name:
                return value
        return default

    def all(self, name: str) -> list[str]:
        """Every value of a query parameter, repeated or separated by commas."""
        return [part for key, value in self.query if key == name for part in value.split(",") if part]

    def did(self, verb: str, kind: str, id_: object, identity: str) -> None:
        self.effects.append(Effect(verb, kind, str(id_), identity))


@dataclass(slots=True)
class Answer:
    """What goes back. ``headers`` besides content-type and content-length; ``length`` where the body is left out or comes in
    ``pieces``: for what is too large to be held whole."""

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: list[tuple[str, str]] = field(default_factory=list)
    length: int | None = None
    pieces: Callable[[], Iterator[bytes]] | None = None


def answer(payload: object, status: int = 200, headers: list[tuple[str, str]] | None = None) -> Answer:
    return Answer(status, _dumps(payload).encode("utf-8", "surrogatepass"), "application/json", headers or [])


class Refusal(Exception):
    """An answer that ends the handler."""

    def __init__(self, reply: Answer) -> None:
        super().__init__(reply.status)
        self.reply = reply


#: What a router leads to; the instance knows what to call it with.
Handler = Callable[..., Answer]


class _Node:
    __slots__ = ("handlers", "literal", "template", "wild")

    def __init__(self) -> None:
        self.literal: dict[str, _Node] = {}
        self.wild: _Node | None = None
        self.handlers: dict[str, Handler] = {}
        self.template = ""


class Router:
    """Templates such as ``/wiki/api/v2/pages/{id}``; a literal segment wins over a parameter where it leads to a handler.

    Nodes are found by dictionaries, since a list of regular expressions costs more than the write it leads to.
    """

    def __init__(self) -> None:
        self._root = _Node()
        self.operations: list[tuple[str, str]] = []

    def add(self, method: str, template: str, handler: Handler) -> None:
        node = self._root
        for segment in template.strip("/").split("/"):
            if segment.startswith("{"):
                if node.wild is None:
                    node.wild = _Node()
                node = node.wild
            else:
                node = node.literal.setdefault(segment, _Node())
        node.template = template
        node.handlers[method] = handler
        self.operations.append((method, template))

    def find(self, method: str, path: str) -> tuple[Handler | None, str, tuple[str, ...], list[str]]:
        """Handler, template, parameters (decoded), and the methods allowed where only the method is wrong."""
        allowed: list[str] = []
        segments = path.strip("/").split("/")
        found = self._walk(self._root, segments, 0, (), method, allowed)
        if found is None:
            return None, "", (), allowed
        node, params = found
        return node.handlers[method], node.template, params, allowed

    def _walk(
        self, node: _Node, segments: list[str], at: int, params: tuple[str, ...], method: str, allowed: list[str]
    ) -> tuple[_Node, tuple[str, ...]] | None:
        if at == len(segments):
            if method in node.handlers:
                return node, params
            allowed.extend(node.handlers)
            return None
        segment = segments[at]
        child = node.literal.get(segment)
        if child is not None:
            found = self._walk(child, segments, at + 1, params, method, allowed)
            if found is not None:
                return found
        if node.wild is not None and segment:
            value = unquote(segment) if "%" in segment else segment
            return self._walk(node.wild, segments, at + 1, (*params, value), method, allowed)
        return None


@dataclass(slots=True)
class Part:
    """One part of a form. ``filename`` None: a plain field."""

    name: str
    filename: str | None
    content_type: str
    data: bytes


def parse_form(content_type: str, body: bytes) -> list[Part]:
    """The parts of a multipart body in order.

    Raises ``ValueError`` where the boundary is missing or the body ends early.
    """
    kind, options = parse_options_header(content_type.encode("latin-1"))
    boundary = options.get(b"boundary")
    if kind != b"multipart/form-data" or not boundary:
        raise ValueError("not a multipart form")
    reader = _FormReader()
    parser = MultipartParser(boundary, reader.callbacks())  # type: ignore[arg-type]
    parser.write(body)
    parser.finalize()
    if not reader.ended:
        raise ValueError("the form ends early")
    return reader.parts


class _FormReader:
    def __init__(self) -> None:
        self.parts: list[Part] = []
        self.ended = False
        self._name = bytearray()
        self._value = bytearray()
        self._headers: dict[str, str] = {}
        self._data = bytearray()

    def callbacks(self) -> dict[str, Callable[..., None]]:
        return {
            "on_part_begin": self._begin,
            "on_part_data": self._on_data,
            "on_part_end": self._end,
            "on_header_field": self._on_name,
            "on_header_value": self._on_value,
            "on_header_end": self._header,
            "on_end": self._finish,
        }

    def _begin(self) -> None:
        self._headers = {}
        self._data = bytearray()

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        self._data += data[start:end]

    def _on_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header(self) -> None:
        # Browsers and clients write file names as raw UTF-8 in this header.
        self._headers[self._name.decode("latin-1").lower()] = self._value.decode("utf-8", "replace")
        self._name.clear()
        self._value.clear()

    def _end(self) -> None:
        _, options = parse_options_header(self._headers.get("content-disposition", "").encode("utf-8"))
        name = options.get(b"name", b"").decode("utf-8", "replace")
        filename = _extended_filename(self._headers.get("content-disposition", ""))
        if filename is None and b"filename" in options:
            filename = _unescaped(options[b"filename"].decode("utf-8", "replace"))
        kind = self._headers.get("content-type", "application/octet-stream" if filename is not None else "text/plain")
        self.parts.append(Part(name, filename, kind, bytes(self._data)))

    def _finish(self) -> None:
        self.ended = True


def _extended_filename(disposition: str) -> str | None:
    """``filename*=UTF-8''…`` of RFC 5987, None where it is not there."""
    marker = "filename*="
    at = disposition.find(marker)
    if at < 0:
        return None
    value = disposition[at + len(marker) :].split(";", maxsplit=1)[0].strip().strip('"')
    charset, _, rest = value.partition("'")
    _, _, encoded = rest.partition("'")
    return unquote(encoded, encoding=charset or "utf-8")


def _unescaped(name: str) -> str:
    """Undo the escapes that the HTML standard asks of clients in a quoted file name."""
    return name.replace("%22", '"').replace("%0D", "\r").replace("%0A", "\n")
