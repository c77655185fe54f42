"""Storage format: is it well formed, and what text does a reader of the page see."""

import html.entities
import json
import re
from html import escape

from lxml import etree

_ENTITY = re.compile(r"&(?!(?:amp|lt|gt|quot|apos);)([A-Za-z][A-Za-z0-9]*);")
_ROOT = (
    '<r xmlns:ac="urn:ac" xmlns:ri="urn:ri" xmlns:at="urn:at">',
    "</r>",
)
_UNSEEN = {
    "{urn:ac}parameter",
    "{urn:ac}task-id",
    "{urn:ac}task-uuid",
    "{urn:ac}task-status",
    "{urn:ac}placeholder",
    "{urn:ac}adf-attribute",
    "{urn:ac}adf-fallback",
}
_BLOCKS = {"p", "div", "li", "td", "th", "tr", "table", "ul", "ol", "pre", "blockquote", "br", "hr"} | {
    f"h{level}" for level in range(1, 7)
}
_SPACE = re.compile(r"[ \t\r\n]+")


class Malformed(ValueError):
    """The body is not XML; the text is in the words of the site."""


def _named(match: re.Match[str]) -> str:
    value = html.entities.html5.get(f"{match[1]};")
    # Unknown names stay as they are: in CDATA they are text, elsewhere the parser refuses them.
    return "".join(f"&#{ord(character)};" for character in value) if value else match[0]


def parse(body: str) -> etree._Element:
    """The body under a root of our own. Raises ``Malformed``."""
    text = _ENTITY.sub(_named, body) if "&" in body else body
    # Built anew each time: an lxml parser keeps state of the last error.
    parser = etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=True, strip_cdata=True)
    try:
        root = etree.fromstring((_ROOT[0] + text + _ROOT[1]).encode("utf-8"), parser)
    except (etree.XMLSyntaxError, UnicodeEncodeError) as error:
        row, column = getattr(error, "position", (1, 1))
        raise Malformed(
            f"Error parsing xhtml: {getattr(error, 'msg', error)}\n at [row,col {{unknown-source}}]: [{row},{column}]"
        ) from error
    return root


def check(body: str) -> None:
    """Raises ``Malformed`` where the body is no XML, also where an element closes the root of ours."""
    parse(body)


def rendered_text(body: str) -> str:
    """The text that can be selected on the rendered page, runs of white space as one blank, blocks on lines of their own."""
    pieces: list[str] = []
    _collect(parse(body), pieces)
    return "\n".join(line for part in "".join(pieces).split("\0") if (line := _SPACE.sub(" ", part).strip(" ")))


def _collect(element: etree._Element, pieces: list[str]) -> None:
    stack: list[tuple[etree._Element, bool]] = [(element, False)]
    while stack:
        node, leaving = stack.pop()
        if leaving:
            if node.tag in _BLOCKS:
                pieces.append("\0")
            if node.tail and node is not element:
                pieces.append(node.tail)
            continue
        stack.append((node, True))
        if not isinstance(node.tag, str) or node.tag in _UNSEEN:
            continue
        if node.tag in _BLOCKS:
            pieces.append("\0")
        if node.text:
            pieces.append(node.text)
        stack.extend((child, False) for child in reversed(node))


def as_storage(representation: str, value: str) -> str:
    """What is stored for a body in another representation. Raises ``Malformed``."""
    if representation == "storage":
        check(value)
        return value
    if representation == "wiki":
        paragraphs = [part for part in re.split(r"\n{2,}", value) if part.strip()]
        return "".join(f"<p>{escape(part.strip(), quote=False)}</p>" for part in paragraphs)
    try:
        document = json.loads(value)
    except ValueError as error:
        raise Malformed("Content body cannot be converted to new editor format") from error
    if not isinstance(document, dict) or document.get("type") != "doc":
        raise Malformed("Content body cannot be converted to new editor format")
    return "".join(f"<p>{escape(text, quote=False)}</p>" for text in _adf_paragraphs(document))


def _adf_paragraphs(document: dict[str, object]) -> list[str]:
    def text_of(node: object) -> str:
        if not isinstance(node, dict):
            return ""
        inner = node.get("content")
        return str(node.get("text", "")) + "".join(map(text_of, inner if isinstance(inner, list) else []))

    blocks = document.get("content")
    return [text_of(block) for block in blocks] if isinstance(blocks, list) else []


def as_adf(body: str) -> str:
    """The rendered text as a document in the Atlassian format: paragraphs only."""
    lines = rendered_text(body).split("\n")
    content = [{"type": "paragraph", "content": [{"type": "text", "text": line}]} for line in lines if line]
    return json.dumps({"type": "doc", "version": 1, "content": content}, ensure_ascii=False)
