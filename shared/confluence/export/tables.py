"""The inside of a CSV export of Confluence Cloud: one file for each table of its database, as a stream of objects.

Each row becomes the object that an XML export would hold, so that what follows is the same. Files are CSV by RFC 4180 in UTF-8, with a
head of column names, line ends within fields, and names that end in ``.gz`` whether they are packed or not. What differs from XML:
content of all kinds is one table (``contenttype`` tells), what was history or a draft names its live content in ``prevver``, and
people stand as a key in one row and as an account in another.

Only tables that stand below are opened. Settings, tokens and properties of other tables are never looked at.
"""

import csv
import gzip
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from io import BufferedReader, RawIOBase, TextIOWrapper
from typing import IO, TYPE_CHECKING, cast

from shared.confluence.export.archive import GZIP, Archive
from shared.confluence.export.errors import EXPORT_HOWTO, ExportDamaged, ExportKindUnsupported, NoExport
from shared.confluence.export.objects import Record, Reference, Seen
from shared.confluence.export.text import Cleaner, without_forbidden

_BYTE_ORDER_MARKS = (b"\xff\xfe", b"\xfe\xff")
_BUFFER = 1 << 18
# A page's text is below some megabytes; what is longer is a quote that was never closed.
_LONGEST = 1 << 26
# A packed table shrinks about 10 to 30 times.
_SUSPICIOUS_RATIO = 300
_SUSPICIOUS_SIZE = 1 << 30
# How a text begins that is packed with Zstandard and written in base64, as backups of whole sites have them.
_ZSTANDARD = "KLUv/"

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

Note = Callable[[str, int, list[str]], None]


@dataclass(frozen=True, slots=True)
class Table:
    """``kind``: the class of the objects that its rows are, None where each row tells. ``values`` and ``references``: columns by
    property, of several the first that is not blank. ``needed``: columns without which rows would be read wrongly, or would let
    somebody see more. ``required``: whether an export without it is incomplete."""

    id: str
    kind: str | None
    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    references: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    needed: frozenset[str] = frozenset()
    required: bool = False

    @property
    def columns(self) -> set[str]:
        return {column for columns in (*self.values.values(), *self.references.values()) for column in columns}


def _columns(**columns: str) -> dict[str, tuple[str, ...]]:
    return {name: tuple(text.split()) for name, text in columns.items()}


_AUTHORS = {"creator": "creator", "lastModifier": "lastmodifier"}

TABLES: dict[str, Table] = {
    "user_mapping": Table("user_key", "ConfluenceUserImpl", _columns(name="username", atlassianAccountId="aaid")),
    "spaces": Table(
        "spaceid",
        "Space",
        _columns(
            name="spacename",
            key="spacekey",
            spaceType="spacetype",
            spaceStatus="spacestatus",
            creationDate="creationdate",
        ),
        _columns(description="spacedescid", homePage="homepage", creator="creator"),
        frozenset(("spacekey",)),
        required=True,
    ),
    "content": Table(
        "contentid",
        None,
        _columns(
            title="title",
            version="version",
            creationDate="creationdate",
            lastModificationDate="lastmoddate",
            versionComment="versioncomment",
            contentStatus="content_status",
            position="child_position",
            pluginModuleKey="pluginkey",
        ),
        _columns(
            space="spaceid",
            originalVersion="prevver",
            containerContent="pageid",
            parent="parentcommentid parentid",
            **_AUTHORS,
        ),
        frozenset(["contenttype", "title", "version", "prevver", "content_status", "pageid", "spaceid", "parentid"]),
        required=True,
    ),
    "bodycontent": Table(
        "bodycontentid",
        "BodyContent",
        _columns(body="body", bodyType="bodytypeid"),
        _columns(content="contentid"),
        frozenset(("body", "contentid", "bodytypeid")),
        required=True,
    ),
    "contentproperties": Table(
        "propertyid",
        "ContentProperty",
        _columns(name="propertyname", stringValue="stringval", longValue="longval"),
        _columns(content="contentid"),
    ),
    "label": Table("labelid", "Label", _columns(name="name", namespace="namespace"), needed=frozenset(("namespace",))),
    "content_label": Table(
        "id",
        "Labelling",
        _columns(labelableId="labelableid", labelableType="labelabletype"),
        _columns(label="labelid", content="contentid"),
    ),
    "content_perm_set": Table(
        "id",
        "ContentPermissionSet",
        _columns(type="cont_perm_type"),
        _columns(owningContent="content_id"),
        frozenset(("cont_perm_type", "content_id")),
        required=True,
    ),
    "content_perm": Table(
        "id",
        "ContentPermission",
        _columns(type="cp_type", groupName="groupname external_group_id"),
        _columns(owningSet="cps_id", userSubject="username"),
        frozenset(("cps_id", "groupname", "username")),
        required=True,
    ),
    "spacepermissions": Table(
        "permid",
        "SpacePermission",
        _columns(
            type="permtype",
            group="permgroupname externalgroupid",
            allUsersSubject="permalluserssubject",
            active="active",
        ),
        _columns(space="spaceid", userSubject="permusername"),
        # A row that names nobody is one for everybody.
        frozenset(["spaceid", "permtype", "permgroupname", "permusername", "permalluserssubject"]),
    ),
    "pagetemplates": Table("templateid", "PageTemplate", {}, _columns(space="spaceid", originalVersion="prevver")),
}

#: Kinds of content, by what the column ``contenttype`` says.
CONTENT = {
    "PAGE": "Page",
    "BLOGPOST": "BlogPost",
    "COMMENT": "Comment",
    "ATTACHMENT": "Attachment",
    "SPACEDESCRIPTION": "SpaceDescription",
    "CUSTOM": "CustomContentEntityObject",
}
_CLOUD_ONLY = frozenset(("FOLDER", "WHITEBOARD", "DATABASE"))
_NO_CONTENT = frozenset(("GLOBALDESCRIPTION", "USERINFO"))
# Tables that hold something of the space, whose columns no description tells: their rows are counted.
_COUNTED = ("likes", "notifications", "spacerole_assignments", "spaceroles", "usercontent_relation")
_COUNTS = "space_export_counts"
# Seen in real exports; nothing in them is migrated, or they are secret.
_PASSED_OVER = frozenset(
    (
        "bandana",
        "content_data_classification_mapping",
        "content_relation",
        "extrnlnks",
        "links",
        "os_propertyentry",
        "space_alias",
        "space_owner",
        "spacerole_permissions",
        "templateattachment",
        "templateproperties",
    )
)


def read_tables(
    archive: Archive, cleaner: Cleaner, seen: Seen, note: Note, tick: Callable[[int], None]
) -> Iterator[Record]:
    """Streams the objects of a CSV export, table by table. Raises NoExport, ExportKindUnsupported or ExportDamaged."""
    for name, table in TABLES.items():
        if table.required and name not in archive.tables:
            raise ExportDamaged(
                f"{archive.name} is incomplete: it has no {name}.csv, which every CSV export of Confluence Cloud has. Nothing of it "
                "was taken in. Compare it with the original, download it again; or export the space again."
            )
    missing = [name for name in TABLES if name not in archive.tables]
    note("table_missing", len(missing), missing)
    known = {*TABLES, *_COUNTED, *_PASSED_OVER, _COUNTS}
    unknown = [name for name in archive.tables if name not in known and not name.startswith("AO_")]
    note("table_unknown", len(unknown), unknown)
    rows: dict[str, int] = {}
    for name, table in TABLES.items():
        if name in archive.tables:
            for row in _File(archive, name, cleaner, tick).rows({table.id, *table.needed}, table.columns, note):
                rows[name] = rows.get(name, 0) + 1
                if (record := _record(archive.name, table, row, seen)) is not None:
                    yield record
            rows.setdefault(name, 0)
    unread = {
        name: sum(1 for _ in _File(archive, name, cleaner, tick).rows()) for name in _COUNTED if name in archive.tables
    }
    note("table_unread", sum(unread.values()), [name for name, count in unread.items() if count])
    _compare(archive, cleaner, {**rows, **unread}, note, tick)
    _other_content(seen, note)


def _record(export: str, table: Table, row: dict[str, str], seen: Seen) -> Record | None:
    kind = table.kind if table.kind is not None else CONTENT.get(said := row["contenttype"].strip().upper(), said)
    seen.classes[kind] = seen.classes.get(kind, 0) + 1
    id = row[table.id].strip()
    if not id:
        seen.without_id += 1
        return None
    if table.kind is None and kind not in CONTENT.values():
        return None
    if row.get("body", "").startswith(_ZSTANDARD):
        raise ExportKindUnsupported(
            f"{export} is a CSV backup of a whole site: its texts are packed in a way that is not read. Nothing of it was taken in. "
            "Export the spaces one by one (Space settings > Export space)."
        )
    record = Record(kind, id)
    for name, columns in table.values.items():
        record.values[name] = next((row[c] for c in columns if row.get(c, "").strip()), None)
    for name, columns in table.references.items():
        if (found := next((row[c].strip() for c in columns if row.get(c, "").strip()), None)) is not None:
            record.references[name] = Reference("", found)
    if kind == "PageTemplate" and "originalVersion" in record.references:
        return None
    return record


def _other_content(seen: Seen, note: Note) -> None:
    """Takes out of what was seen the kinds of content that are known and not migrated; what is left there is unknown."""
    cloud_only = {kind: seen.classes.pop(kind) for kind in sorted(_CLOUD_ONLY & seen.classes.keys())}
    note("cloud_only_content", sum(cloud_only.values()), [kind.lower() for kind in cloud_only])
    for kind in _NO_CONTENT & seen.classes.keys():
        del seen.classes[kind]


def _compare(
    archive: Archive, cleaner: Cleaner, rows: Mapping[str, int], note: Note, tick: Callable[[int], None]
) -> None:
    """What the export itself says it holds, of the tables that were read."""
    if _COUNTS not in archive.tables:
        return
    differing = []
    for row in _File(archive, _COUNTS, cleaner, tick).rows():
        name, count = row.get("entityName", "").strip().lower(), row.get("exportCount", "").strip()
        if name in rows and count.isascii() and count.isdigit() and int(count) != rows[name]:
            differing.append(name)
    note("rows_counted_otherwise", len(differing), differing)


class _File:
    """One table as it lies in the export."""

    def __init__(self, archive: Archive, name: str, cleaner: Cleaner, tick: Callable[[int], None]) -> None:
        self._archive, self._name, self._cleaner, self._tick = archive, name, cleaner, tick

    def rows(
        self, needed: Iterable[str] = (), usual: Iterable[str] = (), note: Note | None = None
    ) -> Iterator[dict[str, str]]:
        """Rows by the names of the head. A row with more or fewer fields than the head would be read wrongly: it is damage."""
        csv.field_size_limit(max(csv.field_size_limit(), _LONGEST))  # of the process: the library has no other
        with self._archive.table(self._name) as stream:
            reader = csv.reader(self._lines(stream), strict=True)
            try:
                head = [column.strip() for column in next(reader, [])]
                if absent := sorted(set(needed) - set(head)):
                    raise NoExport(
                        f"{self._archive.name} is no export as Confluence writes it: its {self._name}.csv has no column "
                        f"{', '.join(absent)}. Somebody saved it again with another program, or it is of a newer form. "
                        f"Nothing of it was taken in. {EXPORT_HOWTO}"
                    )
                if note is not None:
                    without = sorted(set(usual) - set(head))
                    note("column_missing", len(without), [f"{self._name}.{column}" for column in without])
                for fields in reader:
                    if len(fields) != len(head):
                        if not fields:
                            continue
                        raise self._damaged(
                            f"the row ending at line {reader.line_num} has {len(fields)} fields where {len(head)} belong"
                        )
                    yield dict(zip(head, fields, strict=True))
            except csv.Error as error:
                raise self._damaged(f"it stops being CSV at line {reader.line_num} ({error})") from error
            except UnicodeDecodeError as error:
                raise NoExport(
                    f"{self._archive.name} is no export as Confluence writes it: its {self._name}.csv is not in UTF-8 (after line "
                    f"{reader.line_num}). Somebody saved it again with another program. Nothing of it was taken in. {EXPORT_HOWTO}"
                ) from error
            except gzip.BadGzipFile as error:
                raise self._damaged(f"it is packed and cannot be unpacked ({error})") from error

    def _damaged(self, what: str) -> ExportDamaged:
        return ExportDamaged(
            f"{self._archive.name} is damaged: in its {self._name}.csv, {what}. Nothing of it was taken in. The file is most often "
            f"cut off or was edited: compare it with the original, copy or download it again. {EXPORT_HOWTO}"
        )

    def _lines(self, stream: IO[bytes]) -> Iterator[str]:
        counted = _Counted(stream, self._tick)
        raw = BufferedReader(counted, _BUFFER)
        start = raw.peek(2)[:2]
        if start in _BYTE_ORDER_MARKS:
            raise NoExport(
                f"{self._archive.name} is no export as Confluence writes it: its {self._name}.csv is in utf-16, not in UTF-8. "
                f"Somebody saved it again with another program. {EXPORT_HOWTO}"
            )
        unpacked = cast(IO[bytes], gzip.GzipFile(fileobj=raw)) if start == GZIP else raw
        text = TextIOWrapper(unpacked, "utf-8-sig", newline="")
        size = 0
        while line := text.readline(_LONGEST):
            if len(line) >= _LONGEST:
                raise self._damaged("a line is longer than any text of a page")
            size += len(line)
            if size > _SUSPICIOUS_SIZE and size > _SUSPICIOUS_RATIO * max(counted.read_so_far, 1):
                raise self._damaged(f"{counted.read_so_far} bytes grow to more than {size}, which no export does")
            line, removed = without_forbidden(line)
            self._cleaner.removed += removed
            yield line


class _Counted(RawIOBase):
    """Tells how far a file was read."""

    def __init__(self, stream: IO[bytes], tick: Callable[[int], None]) -> None:
        self._stream, self._tick = stream, tick
        self.read_so_far = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        view = memoryview(buffer).cast("B")
        chunk = self._stream.read(len(view))
        view[: len(chunk)] = chunk
        self.read_so_far += len(chunk)
        self._tick(len(chunk))
        return len(chunk)
