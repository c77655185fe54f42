"""Whole-body operations that are no references: old macros, inline comments' markers, the census, the plain text."""

import re
import unicodedata
from collections import Counter

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
