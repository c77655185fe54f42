"""The inside of an export: ``entities.xml`` as a stream of objects, one at a time, in the file's order.

``<hibernate-generic datetime="…"><object class="Page" package="…"><id name="id">1</id> <property/>* <collection/>*</object>…``
Nothing outside the file is ever loaded: a document type is refused, so there are no entities to expand.
"""

import codecs
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import IO, cast

from lxml import etree

from shared.confluence.export.errors import EXPORT_HOWTO, ExportDamaged, NoExport
from shared.confluence.export.text import Cleaner, clean_stream, inner_cdata

_CHUNK = 1 << 18
_PROLOG_LIMIT = 1 << 16
_ENCODING = re.compile(rb"""<\?xml[^>]*?encoding\s*=\s*["']([A-Za-z0-9._-]+)["']""")
_BEFORE_ROOT = re.compile(rb"(?:\s+|<\?.*?\?>|<!--.*?-->)*", re.DOTALL)
_ROOT = b"<hibernate-generic"
_BYTE_ORDER_MARKS = ((b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))


_LARGEST = (1 << 53) - 1


def whole(text: str | None) -> int | None:
    """A count, size or position; also "2048.0", as some releases write it. None for what is no such number."""
    try:
        number = int(float(text)) if text else None
    except (ValueError, OverflowError):
        return None
    return number if number is not None and 0 <= number <= _LARGEST else None


@dataclass(frozen=True, slots=True)
class Reference:
    """A property that points to another object. ``kind``: its class without package, sometimes only a base class."""

    kind: str
    id: str


@dataclass(slots=True)
class Record:
    """One object: scalar values (None = null or empty), references, and the ids in collections, by property name."""

    kind: str
    id: str
    values: dict[str, str | None] = field(default_factory=dict)
    references: dict[str, Reference] = field(default_factory=dict)
    collections: dict[str, list[str]] = field(default_factory=dict)

    def text(self, *names: str) -> str | None:
        """The first of these values that is there and not blank, without white space around it."""
        for name in names:
            value = self.values.get(name)
            if value is not None and (stripped := value.strip()):
                return stripped
        return None

    def ref(self, *names: str) -> str | None:
        """The id of the first of these references that is there."""
        for name in names:
            if (reference := self.references.get(name)) is not None:
                return reference.id
        return None

    def number(self, *names: str) -> int | None:
        """The first of these values as a whole number from 0 up, None where it is none."""
        return whole(self.text(*names))


@dataclass(slots=True)
class Wanted:
    """What is read. ``classes``: properties and collections by class; no value of any other is looked at, so that secrets
    (credentials, tokens, keys, settings) never come into memory of ours, let alone into an index."""

    classes: dict[str, frozenset[str]]


@dataclass(slots=True)
class Seen:
    """What a reading met besides the records."""

    exported_at: str | None = None
    classes: dict[str, int] = field(default_factory=dict)
    without_id: int = 0


def read_objects(
    stream: IO[bytes], name: str, wanted: Wanted, cleaner: Cleaner, seen: Seen, tick: Callable[[int], None]
) -> Iterator[Record]:
    """Streams the wanted objects. Raises NoExport or ExportDamaged, with the line where there is one."""
    chunks = _chunks(stream, tick)
    first, encoding = _prolog(chunks, name)

    def everything() -> Iterator[bytes]:
        yield first
        yield from chunks

    parser = etree.XMLPullParser(
        events=("start", "end"),
        tag=("hibernate-generic", "object"),
        encoding="utf-8",
        huge_tree=True,
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        remove_comments=True,
        remove_pis=True,
        collect_ids=False,
    )
    try:
        for chunk in clean_stream(everything(), cleaner, encoding):
            if not chunk:
                continue
            parser.feed(chunk)
            yield from _records(parser, wanted, seen)
        parser.close()
        yield from _records(parser, wanted, seen)
    except etree.XMLSyntaxError as error:
        line = f" at line {error.lineno}" if error.lineno else ""
        raise ExportDamaged(
            f"{name} is damaged: its entities.xml stops being XML{line} ({error.msg or 'unexpected end'}). Nothing of it was "
            "taken in. The file is most often cut off or was edited: compare it with the original, copy or download it "
            f"again. {EXPORT_HOWTO}"
        ) from error


def _chunks(stream: IO[bytes], tick: Callable[[int], None]) -> Iterator[bytes]:
    while chunk := stream.read(_CHUNK):
        tick(len(chunk))
        yield chunk


def _prolog(chunks: Iterator[bytes], name: str) -> tuple[bytes, str]:
    """The beginning up to and including the root's name, and the encoding. Refuses what is no export and any DOCTYPE: entities
    declared in one are the known ways to read other files or to grow without bound, and Confluence writes none."""
    head = b""
    for chunk in chunks:
        head += chunk
        for mark, encoding in _BYTE_ORDER_MARKS:
            if head.startswith(mark):
                raise NoExport(
                    f"{name} is no export as Confluence writes it: its entities.xml is in {encoding}, not in UTF-8. "
                    f"Somebody saved it again with another program. {EXPORT_HOWTO}"
                )
        text = head.removeprefix(codecs.BOM_UTF8)
        match = _BEFORE_ROOT.match(text)
        rest = text[match.end() :].lstrip() if match else text
        if rest.startswith(b"<!DOCTYPE"):
            raise NoExport(
                f"{name} is no export as Confluence writes it: its entities.xml declares a document type, which could pull in "
                f"other files. {EXPORT_HOWTO}"
            )
        if rest.startswith(_ROOT):
            declared = _ENCODING.search(text[:1024])
            return text, _encoding(declared.group(1).decode() if declared else "utf-8", name)
        if len(head) > _PROLOG_LIMIT or (len(rest) > len(_ROOT) and not _ROOT.startswith(rest[: len(_ROOT)])):
            if rest.startswith((b"<!--", b"<?")) and len(head) <= _PROLOG_LIMIT:
                continue
            break
    raise NoExport(
        f"{name} is no Confluence export: its entities.xml does not begin with <hibernate-generic>. {EXPORT_HOWTO}"
    )


def _encoding(declared: str, name: str) -> str:
    try:
        if b"<hibernate-generic>".decode(declared) == "<hibernate-generic>":
            return codecs.lookup(declared).name
    except (LookupError, UnicodeDecodeError):
        pass
    raise NoExport(
        f"{name} is no export as Confluence writes it: its entities.xml claims the encoding {declared} and is not in it. "
        f"{EXPORT_HOWTO}"
    )


def _records(parser: etree.XMLPullParser, wanted: Wanted, seen: Seen) -> Iterator[Record]:
    for event, element in cast(Iterator[tuple[str, etree._Element]], parser.read_events()):
        if event == "start":
            if element.tag == "hibernate-generic" and seen.exported_at is None:
                seen.exported_at = (element.get("datetime") or "").strip("' ") or None
            continue
        if element.tag != "object":
            continue
        kind = element.get("class") or ""
        seen.classes[kind] = seen.classes.get(kind, 0) + 1
        names = wanted.classes.get(kind)
        record = _record(element, kind, names) if names is not None else None
        # What was read is let go, with all that stands before it: memory holds one object, not the file.
        element.clear()
        parent = element.getparent()
        while parent is not None and (previous := element.getprevious()) is not None:
            parent.remove(previous)
        if record is not None:
            if record.id:
                yield record
            else:
                seen.without_id += 1


def _record(element: etree._Element, kind: str, names: frozenset[str]) -> Record:
    record = Record(kind, "")
    for child in element:
        if child.tag == "id":
            record.id = (child.text or "").strip()
            continue
        name = child.get("name") or ""
        if name not in names:
            continue
        if child.tag == "property":
            inner = child.find("id")
            if inner is not None:
                if reference := (inner.text or "").strip():
                    record.references[name] = Reference(child.get("class") or "", reference)
            else:
                record.values[name] = inner_cdata(child.text) if child.text is not None else None
        elif child.tag == "collection":
            ids = record.collections.setdefault(name, [])
            ids.extend(text for inner in child.iterfind("element/id") if (text := (inner.text or "").strip()))
    return record
