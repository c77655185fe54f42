"""Whole-body operations that are no references: old macros, inline comments' markers, the census, the plain text."""

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass

from shared.confluence.storage.occurrences import MACROS
from shared.confluence.storage.references import Rewritten
from shared.confluence.storage.rewriting import Edit, apply
from shared.confluence.storage.scanner import cdata_text, tokens, unescape
from shared.confluence.storage.tables import BLOCKS, UNREAD

_MARKER = "ac:inline-comment-marker"
_BLANKS = re.compile(r"\s+")


def modern_macros(body: str) -> Rewritten:
    """Turn the macros of 4.x, ``ac:macro``, into ``ac:structured-macro``; Cloud reads nothing else.

    Only the tags' names change, and ``ac:default-parameter`` becomes the parameter with the empty name.
    """
    edits: list[Edit] = []
    changed = 0
    for token in tokens(body):
        if token.kind not in ("start", "empty", "end"):
            continue
        start = token.start + (2 if token.kind == "end" else 1)
        end = start + len(token.name)
        if token.name == "ac:macro":
            edits.append(Edit(start, end, "ac:structured-macro"))
            changed += token.kind != "end"
        elif token.name == "ac:default-parameter":
            edits.append(Edit(start, end, "ac:parameter" if token.kind == "end" else 'ac:parameter ac:name=""'))
    return Rewritten(apply(body, edits), changed, ())


def unwrap_inline_markers(body: str) -> Rewritten:
    """Take the markers of inline comments away and leave the words they enclose.

    Comments made through the API are not joined to stored markers: on the new site they would dangle.
    """
    edits = [Edit(token.start, token.end, "") for token in tokens(body) if token.name == _MARKER]
    markers = sum(token.name == _MARKER and token.kind != "end" for token in tokens(body))
    return Rewritten(apply(body, edits), markers, ())


@dataclass(frozen=True, slots=True)
class Place:
    """A piece of a page's text: the ``index``-th (from 0) of ``count`` equal ones."""

    text: str
    count: int
    index: int


def place(body: str, marker: str | None, selection: str | None) -> Place | None:
    """Where a comment on a piece of text belongs: where its marker stands in the body or, if that is gone, where the text
    stands if it does so only once. None: nowhere to be found, or in too many places.

    The text is as a reader sees it: entities decoded, blanks folded, blocks on lines of their own. A selection that does
    not stand at its marker (the text was changed since) gives way to what the marker holds.
    """
    text, start, marked = _rendered(body, marker)
    for wanted in (_folded(selection or ""), _folded(marked)):
        if not wanted:
            continue
        count = text.count(wanted)
        if start is None and count == 1:
            return Place(wanted, 1, 0)
        if start is not None and count:
            at = text.find(wanted, max(0, start - 1))
            if at in (start, start + 1) or at == start - 1:
                return Place(wanted, count, text.count(wanted, 0, at))
    return None


def _folded(text: str) -> str:
    return _FOLDED.sub(" ", text).strip(" ")


def _rendered(body: str, marker: str | None) -> tuple[str, int | None, str]:
    """The text, where in it the marker's words begin, and those words."""
    pieces: list[str] = []
    unread, depth, at, inside, opened = "", 0, None, 0, 0
    words: list[str] = []
    for token in tokens(body):
        if token.name == _MARKER:
            if token.kind == "start":
                opened += 1
                if marker is not None and token.value("ac:ref") == marker:
                    inside = inside or opened
                    if at is None:
                        at = len(pieces)
            elif token.kind == "end" and opened:
                inside = 0 if inside == opened else inside
                opened -= 1
        elif token.kind == "start" and (token.name == unread if unread else token.name in UNREAD):
            unread, depth = token.name, depth + 1
        elif token.kind == "end" and unread and token.name == unread:
            depth -= 1
            unread = unread if depth else ""
        elif not unread and token.kind in ("text", "cdata"):
            piece = cdata_text(body, token) if token.kind == "cdata" else unescape(body[token.start : token.end])
            pieces.append(piece)
            if inside:
                words.append(piece)
        if token.name in BLOCKS and pieces and pieces[-1] != _LINE:
            pieces.append(_LINE)
    before = _lines("".join(pieces[:at])) if at is not None else ""
    text = _lines("".join(pieces))
    start = None if at is None else len(before)
    return text, start, "".join(words)


_LINE = "\0"
_FOLDED = re.compile(r"[ \t\r\n]+")  # as a page is rendered: spaces that do not break stay


def _lines(text: str) -> str:
    return "\n".join(line for part in text.split(_LINE) if (line := _FOLDED.sub(" ", part).strip(" ")))


def macros(body: str) -> Counter[str]:
    """How often each macro stands in a body, by name; a macro without a name counts as ""."""
    return Counter(
        token.value("ac:name") or ""
        for token in tokens(body)
        if token.name in MACROS and token.kind in ("start", "empty")
    )


def plain_text(body: str) -> str:
    """What a reader of the body reads, for comparing bodies: entities decoded, NFC, blanks folded to one space.

    Parameters of macros, task numbers and placeholders are left out; text of code macros and words of links are in.
    """
    pieces: list[str] = []
    unread, depth = "", 0  # the unread element under way, and how many of its name are open
    for token in tokens(body):
        if token.kind == "start" and (token.name == unread if unread else token.name in UNREAD):
            unread, depth = token.name, depth + 1
        elif token.kind == "end" and unread and token.name == unread:
            depth -= 1
            unread = unread if depth else ""
        elif not unread and token.kind == "text":
            pieces.append(unescape(body[token.start : token.end]))
        elif not unread and token.kind == "cdata":
            pieces.append(cdata_text(body, token))
        if token.name in BLOCKS:
            pieces.append(" ")
    return _BLANKS.sub(" ", unicodedata.normalize("NFC", "".join(pieces))).strip()
