"""Where the references of a body stand: one pass over its tokens, with the open elements on a stack."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from shared.confluence.storage import urls
from shared.confluence.storage.references import (
    AttachmentRef,
    BlogRef,
    ContentIdRef,
    PageRef,
    Reference,
    ShortcutRef,
    SpaceRef,
    UserRef,
)
from shared.confluence.storage.scanner import Attribute, Token, tokens, unescape
from shared.confluence.storage.tables import PARAMETERS, QUERIES, QUERY_FIELDS, ParameterKind

MACROS = frozenset({"ac:structured-macro", "ac:macro"})
_PARAMETERS = frozenset({"ac:parameter", "ac:default-parameter"})
_LINK_BODIES = frozenset({"ac:link-body", "ac:plain-text-link-body"})
_ADDRESSES = {"a": "href", "area": "href", "img": "src", "iframe": "src", "ri:url": "ri:value"}

# Conditions of CQL as a body holds them: quotes may be written as entities. Strings elsewhere are passed over whole.
_FIELDS = "|".join(sorted((re.escape(name) for name in QUERY_FIELDS), key=len, reverse=True))
_STRING = r"""&quot;(?:(?!&quot;).)*+&quot;|"[^"]*+"|'[^']*+'"""
_CONDITION = re.compile(
    rf"""{_STRING}|(?<![\w.])({_FIELDS})\s*+(?:!?=|(?:not\s++)?in\b)\s*+"""
    rf"""(\((?:[^()]|\(\))*+\)|{_STRING}|[^\s()&,"']++)""",
    re.IGNORECASE | re.DOTALL,
)
_VALUE = re.compile(r"""&quot;((?:(?!&quot;).)*+)&quot;|"([^"]*+)"|'([^']*+)'|([^\s(),"'&]++)""", re.DOTALL)


@dataclass(slots=True)
class Link:
    """An ``ac:link``. ``end`` is None where it is never closed; ``body``: the link's words, between their tags."""

    tag: Token
    end: int | None = None
    body: Token | None = None
    body_end: int = 0
    body_close: int = 0


@dataclass(frozen=True, slots=True)
class ElementPlace:
    """An ``ri:`` element from ``tag.start`` to ``end``. ``link``: the one it is the aim of. ``inner``: it names whose
    file an enclosing ``ri:attachment`` is."""

    tag: Token
    end: int
    link: Link | None
    inner: bool

    @property
    def start(self) -> int:
        return self.tag.start


@dataclass(frozen=True, slots=True)
class AttributePlace:
    """The value of an attribute that holds an address."""

    attribute: Attribute

    @property
    def start(self) -> int:
        return self.attribute.start


@dataclass(frozen=True, slots=True)
class TextPlace:
    """A stretch of a macro parameter's text."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Occurrence:
    reference: Reference
    place: ElementPlace | AttributePlace | TextPlace


@dataclass(slots=True)
class _Open:
    token: Token
    link: Link | None = None
    plain: bool = True  # holds no element
    page: PageRef | BlogRef | ContentIdRef | None = None


@dataclass(slots=True)
class _Walk:
    body: str
    bases: Sequence[str]
    stack: list[_Open] = field(default_factory=list)
    names: Counter[str] = field(default_factory=Counter)
    found: list[Occurrence] = field(default_factory=list)

    def run(self) -> list[Occurrence]:
        for token in tokens(self.body):
            if token.kind in ("start", "empty"):
                self._begin(token)
            elif token.kind == "end" and self.names[token.name]:
                # What was left open inside ends here, too.
                while self._end(token.start, token.end, token.name) != token.name:
                    pass
        while self.stack:
            self._end(len(self.body), None, "")
        return sorted(self.found, key=lambda occurrence: occurrence.place.start)

    def _begin(self, token: Token) -> None:
        if self.stack:
            self.stack[-1].plain = False
        address = _ADDRESSES.get(token.name)
        if address is not None:
            self._address(token.attribute(address))
        opened = _Open(token, Link(token) if token.name == "ac:link" else None)
        if token.kind == "empty":
            self._close(opened, token.end, token.end)
        else:
            self.stack.append(opened)
            self.names[token.name] += 1

    def _end(self, start: int, end: int | None, name: str) -> str:
        """Close the innermost open element, with the end tag from ``start`` to ``end`` if that is its own."""
        opened = self.stack.pop()
        self.names[opened.token.name] -= 1
        own = opened.token.name == name
        self._close(opened, start, end if own else None)
        return opened.token.name

    def _close(self, opened: _Open, inner_end: int, end: int | None) -> None:
        token, parent = opened.token, self.stack[-1] if self.stack else None
        name = token.name
        if opened.link is not None:
            opened.link.end = end
        elif name.startswith("ri:"):
            self._resource(opened, parent, end)
        elif name in _LINK_BODIES and parent is not None and parent.link is not None and end is not None:
            parent.link.body, parent.link.body_end, parent.link.body_close = token, inner_end, end
        elif name in _PARAMETERS and opened.plain and end is not None and token.kind == "start":
            self._parameter(token, parent, inner_end)

    def _resource(self, opened: _Open, parent: _Open | None, end: int | None) -> None:
        reference = _resource(opened)
        if reference is None:
            return
        inner = parent is not None and parent.token.name == "ri:attachment"
        if inner and parent is not None and isinstance(reference, PageRef | BlogRef | ContentIdRef):
            parent.page = reference
        link = parent.link if parent is not None else None
        self.found.append(Occurrence(reference, ElementPlace(opened.token, end or opened.token.end, link, inner)))

    def _address(self, attribute: Attribute | None) -> None:
        if attribute is not None and attribute.raw:
            reference = urls.read(attribute.value, self.bases)
            if reference is not None:
                self.found.append(Occurrence(reference, AttributePlace(attribute)))

    def _parameter(self, token: Token, parent: _Open | None, end: int) -> None:
        if parent is None or parent.token.name not in MACROS:
            return
        name = token.value("ac:name") or ""
        kind = PARAMETERS.get((parent.token.value("ac:name") or "", name))
        if name in QUERIES:
            self._query(token.end, end)
        elif kind is not None:
            self._pieces(kind, token.end, end)
        elif self.bases:
            start, stop = _trimmed(self.body, token.end, end)
            text = unescape(self.body[start:stop])
            if text.startswith(("http://", "https://")) and not any(letter.isspace() for letter in text):
                reference = urls.read(text, self.bases)
                if reference is not None:
                    self.found.append(Occurrence(reference, TextPlace(start, stop)))

    def _query(self, start: int, end: int) -> None:
        for condition in _CONDITION.finditer(self.body, start, end):
            if condition[1] is None or self.body.startswith("(", condition.end()):
                continue  # a string, or currentUser() and its like
            kind = QUERY_FIELDS[condition[1].lower()]
            for value in _VALUE.finditer(self.body, condition.start(2), condition.end(2)):
                group = next(number for number in (1, 2, 3, 4) if value.start(number) >= 0)
                if self.body.startswith("(", value.end()):
                    continue
                reference = _named(kind, unescape(value[group]))
                if reference is not None:
                    self.found.append(Occurrence(reference, TextPlace(value.start(group), value.end(group))))

    def _pieces(self, kind: ParameterKind, start: int, end: int) -> None:
        if "<" in self.body[start:end]:  # CDATA or a comment
            return
        while start <= end:
            comma = self.body.find(",", start, end) if kind in ("spaces", "users", "content_ids") else -1
            stop = end if comma < 0 else comma
            first, last = _trimmed(self.body, start, stop)
            reference = _named(kind, unescape(self.body[first:last]))
            if reference is not None:
                self.found.append(Occurrence(reference, TextPlace(first, last)))
            start = stop + 1


def find(body: str, bases: Sequence[str]) -> list[Occurrence]:
    """Every reference of a body with its place, by position."""
    return _Walk(body, bases).run()


def _resource(opened: _Open) -> Reference | None:
    tag = opened.token
    match tag.name:
        case "ri:user":
            if account_id := tag.value("ri:account-id"):
                return UserRef(account_id=account_id)
            if key := tag.value("ri:userkey"):
                return UserRef(key=key)
            if username := tag.value("ri:username"):
                return UserRef(username=username)
        case "ri:page":
            if title := tag.value("ri:content-title"):
                return PageRef(tag.value("ri:space-key") or None, title)
        case "ri:blog-post":
            if title := tag.value("ri:content-title"):
                return BlogRef(tag.value("ri:space-key") or None, title, tag.value("ri:posting-day") or None)
        case "ri:attachment":
            if filename := tag.value("ri:filename"):
                return AttachmentRef(filename, opened.page)
        case "ri:space":
            if key := tag.value("ri:space-key"):
                return SpaceRef(key)
        case "ri:content-entity":
            if content_id := tag.value("ri:content-id"):
                return ContentIdRef(content_id)
        case "ri:shortcut":
            if key := tag.value("ri:key"):
                return ShortcutRef(key, tag.value("ri:parameter") or "")
    return None


def _named(kind: ParameterKind, text: str) -> Reference | None:
    # "@self", "@all", "currentSpace()" and the like stand for themselves.
    if not text or text.startswith("@") or text.endswith("()"):
        return None
    if kind in ("space", "spaces"):
        return SpaceRef(text)
    if kind in ("user", "users"):
        if len(text) == 32 and all(letter in "0123456789abcdef" for letter in text):
            return UserRef(key=text)
        return UserRef(username=text)
    if kind == "page":
        key, colon, title = text.partition(":")
        if colon and title and key.lstrip("~").replace(".", "").replace("_", "").replace("-", "").isalnum():
            return PageRef(key, title)
        return PageRef(None, text)
    return ContentIdRef(text) if text.isdecimal() else None


def _trimmed(body: str, start: int, end: int) -> tuple[int, int]:
    while start < end and body[start].isspace():
        start += 1
    while end > start and body[end - 1].isspace():
        end -= 1
    return start, end
