"""Characters that XML forbids and Confluence writes all the same, and how CDATA was written inside CDATA.

Confluence writes what its database holds. U+0000 to U+001F (but tab, line feed, carriage return), lone surrogates, U+FFFE and
U+FFFF make a file that no XML parser takes, so they are taken out before parsing, also as numeric references (``&#28;``)
where these would be read as such, which is everywhere but inside CDATA. Line feeds stay: line numbers in error texts are
those of the file. An inner ``]]>`` is written as ``]] >``; it is put back after parsing, value by value, never before: then
it would end the outer CDATA.
"""

import codecs
import re
from collections.abc import Iterable, Iterator

_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_REFERENCE = re.compile(r"&#(?:x([0-9a-fA-F]+)|([0-9]+));")
_OPEN, _CLOSE = "<![CDATA[", "]]>"
_BEGUN = re.compile(r"(?:&(?:#[0-9a-zA-Z]{0,32})?|<(?:!(?:\[(?:C(?:D(?:A(?:T(?:A)?)?)?)?)?)?)?|\]\]?)\Z")
_LONGEST_TOKEN = 40


def without_forbidden(text: str) -> tuple[str, int]:
    """Text without forbidden characters, and how many there were."""
    return _FORBIDDEN.subn("", text)


def allowed(code: int) -> bool:
    """Whether XML 1.0 allows the character."""
    return code in (0x9, 0xA, 0xD) or 0x20 <= code <= 0xD7FF or 0xE000 <= code <= 0xFFFD or 0x10000 <= code <= 0x10FFFF


class Cleaner:
    """Removes forbidden characters from XML text that comes in pieces. ``removed`` counts them."""

    def __init__(self) -> None:
        self.removed = 0
        self._in_cdata = False
        self._held = ""

    def feed(self, text: str) -> str:
        text, count = without_forbidden(text)
        self.removed += count
        text = self._held + text
        cut = _safe_end(text)
        self._held = text[cut:]
        return self._clean(text[:cut])

    def close(self) -> str:
        rest, self._held = self._held, ""
        return self._clean(rest)

    def _clean(self, text: str) -> str:
        if "&#" not in text or all(_refers_to_allowed(match) for match in _REFERENCE.finditer(text)):
            self._in_cdata = _ends_in_cdata(text, self._in_cdata)
            return text
        parts = []
        at = 0
        while at < len(text):
            if self._in_cdata:
                end = text.find(_CLOSE, at)
                if end < 0:
                    parts.append(text[at:])
                    break
                parts.append(text[at : end + len(_CLOSE)])
                at = end + len(_CLOSE)
                self._in_cdata = False
            else:
                start = text.find(_OPEN, at)
                end = len(text) if start < 0 else start + len(_OPEN)
                parts.append(_REFERENCE.sub(self._replace, text[at:end]))
                at = end
                self._in_cdata = start >= 0
        return "".join(parts)

    def _replace(self, match: re.Match[str]) -> str:
        if _refers_to_allowed(match):
            return match.group()
        self.removed += 1
        return ""


def _refers_to_allowed(match: re.Match[str]) -> bool:
    hexadecimal, decimal = match.groups()
    digits = (hexadecimal or decimal).lstrip("0") or "0"
    return len(digits) <= 8 and allowed(int(digits, 16 if hexadecimal else 10))


def _ends_in_cdata(text: str, inside: bool) -> bool:
    closed = text.rfind(_CLOSE)
    if closed >= 0:
        return text.find(_OPEN, closed + len(_CLOSE)) >= 0
    return inside or _OPEN in text


def _safe_end(text: str) -> int:
    """Where to cut so that no reference and no CDATA mark is cut in two: before what may be the beginning of one."""
    tail = max(0, len(text) - _LONGEST_TOKEN)
    begun = _BEGUN.search(text, tail)
    return begun.start() if begun is not None else len(text)


def clean(text: str) -> tuple[str, int]:
    """One whole text cleaned, and how many characters that took out. For storage format, itself XML in its own right."""
    cleaner = Cleaner()
    return cleaner.feed(text) + cleaner.close(), cleaner.removed


def clean_stream(chunks: Iterable[bytes], cleaner: Cleaner, encoding: str = "utf-8") -> Iterator[bytes]:
    """The same XML in UTF-8 without forbidden characters. Bytes that are no text become U+FFFD."""
    decoder = codecs.getincrementaldecoder(encoding)(errors="replace")
    for chunk in chunks:
        yield cleaner.feed(decoder.decode(chunk)).encode()
    yield (cleaner.feed(decoder.decode(b"", final=True)) + cleaner.close()).encode()


def inner_cdata(value: str) -> str:
    """Undoes how Confluence writes the end of a CDATA section inside one."""
    return value.replace("]] >", "]]>")
