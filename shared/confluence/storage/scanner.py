"""A tolerant scanner of storage format: where tags, attributes, CDATA sections and comments stand in the text.

Bodies are XML without a root, with HTML's entities and undeclared prefixes, and old ones are not always well formed. The
scanner never refuses anything: a ``<`` that begins no tag is text. It keeps positions, because bodies are changed by
position: a parser that writes the body out again would touch what nobody asked it to.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from html.entities import html5
from typing import Literal

# Possessive quantifiers (``*+``): no backtracking, so hostile bodies cost linear time.
_TAG = re.compile(r"""<(/?)([A-Za-z_][\w:.\-]*+)((?:[^<>"']|"[^"]*+"|'[^']*+')*+)>""")
_ATTRIBUTE = re.compile(r"""([^\s=/"'<>]++)(?:\s*+=\s*+(?:"([^"]*+)"|'([^']*+)'|([^\s"'<>]++)))?+""")
_ENTITY = re.compile(r"&(#[xX][0-9a-fA-F]{1,6}|#[0-9]{1,7}|[A-Za-z][A-Za-z0-9]{1,31});")
_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")

Kind = Literal["start", "end", "empty", "text", "cdata", "comment"]


@dataclass(frozen=True, slots=True)
class Attribute:
    """``start``, ``end``: of the value without its quotes. ``name_start``: where the attribute begins."""

    name: str
    name_start: int
    start: int
    end: int
    quote: str
    raw: str

    @property
    def value(self) -> str:
        return unescape(self.raw)


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of the body from ``start`` to ``end``. ``name`` as written, "" for what is no tag.

    "empty" is a start tag that ends in ``/>``. Of "cdata" the inner text runs from ``start`` + 9 to ``end`` - 3, or to
    ``end`` where the section is never closed.
    """

    kind: Kind
    start: int
    end: int
    name: str = ""
    attributes: tuple[Attribute, ...] = ()

    def attribute(self, name: str) -> Attribute | None:
        return next((attribute for attribute in self.attributes if attribute.name == name), None)

    def value(self, name: str) -> str | None:
        found = self.attribute(name)
        return None if found is None else found.value


def tokens(body: str) -> Iterator[Token]:
    """The pieces of a body in order; together they cover it without gap or overlap."""
    at = text_from = 0
    while (opening := body.find("<", at)) >= 0:
        token = _token_at(body, opening)
        if token is None:
            at = opening + 1
            continue
        if text_from < opening:
            yield Token("text", text_from, opening)
        yield token
        at = text_from = token.end
    if text_from < len(body):
        yield Token("text", text_from, len(body))


def _token_at(body: str, at: int) -> Token | None:
    if body.startswith("<!", at):
        if body.startswith("<![CDATA[", at):
            close = body.find("]]>", at + 9)
            return Token("cdata", at, len(body) if close < 0 else close + 3)
        if body.startswith("<!--", at):
            close = body.find("-->", at + 4)
            return None if close < 0 else Token("comment", at, close + 3)
        return None
    if body.startswith("<?", at):
        close = body.find("?>", at + 2)
        return None if close < 0 else Token("comment", at, close + 2)
    match = _TAG.match(body, at)
    if match is None:
        return None
    slash, name, inside = match.groups()
    if slash:
        return Token("end", at, match.end(), name)
    empty = inside.endswith("/")
    attributes = _attributes(body, match.start(3), match.end(3) - empty) if inside else ()
    return Token("empty" if empty else "start", at, match.end(), name, attributes)


def _attributes(body: str, start: int, end: int) -> tuple[Attribute, ...]:
    found = []
    for match in _ATTRIBUTE.finditer(body, start, end):
        group = next((number for number in (2, 3, 4) if match.start(number) >= 0), 0)
        if group:
            quote = {2: '"', 3: "'"}.get(group, "")
            found.append(
                Attribute(
                    match.group(1), match.start(), match.start(group), match.end(group), quote, match.group(group)
                )
            )
        else:
            found.append(Attribute(match.group(1), match.start(), match.end(), match.end(), "", ""))
    return tuple(found)


def cdata_text(body: str, token: Token) -> str:
    """The inner text of a CDATA section."""
    return body[token.start + 9 : token.end].removesuffix("]]>")


def unescape(text: str) -> str:
    """Decode entities. Unknown ones stay as they are; a reference without its semicolon is no reference in XML."""
    return _ENTITY.sub(_decode, text) if "&" in text else text


def _decode(match: re.Match[str]) -> str:
    name = match.group(1)
    if name[0] != "#":
        return html5.get(f"{name};", match.group())
    number = int(name[2:], 16) if name[1] in "xX" else int(name[1:])
    if number > 0x10FFFF or 0xD800 <= number <= 0xDFFF or number == 0:
        return match.group()
    return chr(number)


def escape_text(text: str) -> str:
    """For use between tags. Characters that XML cannot hold are left out."""
    return _NOT_XML.sub("", text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def escape_attribute(text: str, quote: str = '"') -> str:
    """For use within quotes of this kind. Line ends are written as references: a parser would fold them to blanks."""
    escaped = escape_text(text)
    escaped = escaped.replace('"', "&quot;") if quote == '"' else escaped.replace("'", "&#39;")
    return escaped.replace("\t", "&#9;").replace("\n", "&#10;").replace("\r", "&#13;")
