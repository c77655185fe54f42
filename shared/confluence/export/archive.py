"""The outside of an export: a zip or a folder, where in it the export begins, its digest, its files.

Layout (the same in a zip, a folder, or one folder further down)::

    exportDescriptor.properties
    entities.xml                                          an XML export
    content.csv.gz, bodycontent.csv.gz, spaces.csv.gz …   a CSV export of Confluence Cloud; at times in data/ or entities/
    attachments/{container id}/{attachment id}/{version}
"""

import hashlib
import os
import re
import shutil
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Literal, Protocol

from shared.confluence.export.errors import (
    EXPORT_HOWTO,
    ExportDamaged,
    ExportKindUnsupported,
    ExportUnreadable,
    NoExport,
)

CHUNK = 1 << 20
ENTITIES = "entities.xml"
DESCRIPTOR = "exportDescriptor.properties"
_DESCRIPTORS = (DESCRIPTOR, DESCRIPTOR + ".gz")
GZIP = b"\x1f\x8b"
ATTACHMENTS = "attachments/"
_CSV_TABLES = frozenset({"content.csv.gz", "content.csv", "bodycontent.csv.gz", "bodycontent.csv"})
_TABLE = re.compile(r"(\w{1,80})\.csv(?:\.gz)?")
# Where tables were seen, from the export's beginning.
_TABLE_FOLDERS = ("", "data/", "entities/")
_DESCRIPTOR_LIMIT = 1 << 20
# A real entities.xml shrinks about 10 to 30 times. Deflate's own maximum is about 1030.
_SUSPICIOUS_RATIO = 300
_SUSPICIOUS_SIZE = 1 << 30
_STORED, _DEFLATED = 0, 8

Form = Literal["xml", "csv"]
Ticker = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file under ``attachments/``. ``path`` is relative to the export's beginning. For a zip, ``offset`` is where the
    member's local header starts, ``packed`` its length as stored and ``method`` 0 or 8; for a folder they are 0."""

    path: str
    size: int
    crc: int = 0
    offset: int = 0
    packed: int = 0
    method: int = 0
    mtime_ns: int = 0


class Archive(Protocol):
    """An opened export. ``size``: bytes of what is read once, which is entities.xml or the tables. ``tables``: of a CSV export
    the path of each table's file by the table's name."""

    name: str
    kind: Literal["zip", "folder"]
    form: Form
    size: int
    tables: dict[str, str]

    def descriptor(self) -> bytes | None: ...

    def entities(self) -> IO[bytes]: ...

    def table(self, name: str) -> IO[bytes]: ...

    def files(self) -> Iterator[StoredFile]: ...

    def skipped_files(self) -> int:
        """Files that were there and could not be used (links out of the folder, exotic compression)."""
        ...

    def digest(self, tick: Ticker) -> str: ...

    def keep(self, into: Path, check: Callable[[], None]) -> None:
        """Puts what attachments are later read from beside the index; ``check`` may raise to stop."""
        ...

    def close(self) -> None: ...


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Turns what operating system and zip library raise into errors of this package."""
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise ExportDamaged(
            f"{name} is damaged or incomplete: {_plain(error)}. Nothing of it was taken in. "
            "Compare its size with the original, copy or download it again; if the original is damaged too, export again."
        ) from error
    except NotImplementedError as error:
        raise ExportKindUnsupported(
            f"{name} is packed in a way that is not read: {_plain(error)}. Unpack it and give the folder."
        ) from error
    except OSError as error:
        raise ExportUnreadable(
            f"{name} cannot be read: {error.strerror or _plain(error)}. Check that the file is there, that this account "
            "may read it and that the disk has room, then try again."
        ) from error


def _plain(error: BaseException) -> str:
    return str(error).strip().rstrip(".") or type(error).__name__


def locate(location: Path) -> Archive:
    """Opens the export at ``location``. Raises NoExport, ExportKindUnsupported, ExportDamaged or ExportUnreadable."""
    with reading(location.name):
        if not location.exists():
            raise NoExport(f"There is nothing at {location}. Check the path; give a zip or a folder of an export.")
        if location.is_dir():
            return FolderArchive(location.name, *_folder_root(location))
        if not location.is_file():
            raise NoExport(f"{location.name} is neither a file nor a folder. Give a zip or a folder of an export.")
        if location.stat().st_size == 0:
            raise NoExport(f"{location.name} is empty (0 bytes), so it was not written to its end. {EXPORT_HOWTO}")
        if location.name == ENTITIES:
            raise NoExport(
                f"{ENTITIES} alone is not enough: its attachments lie beside it. Give the folder that holds it."
            )
        with location.open("rb") as file:
            head = file.read(4)
        if not head.startswith(b"PK"):
            raise NoExport(f"{location.name} is no Confluence export: it is not a zip file. {EXPORT_HOWTO}")
        return ZipArchive(location)


def detect(location: Path) -> Form:
    """The form of the export at ``location``; SourceUnsupported if there is none."""
    archive = locate(location)
    archive.close()
    return archive.form


def is_export(location: Path) -> bool:
    """Whether ``location`` holds an export of any kind, complete or not."""
    try:
        detect(location)
    except (NoExport, ExportKindUnsupported, ExportDamaged, ExportUnreadable):
        return False
    return True


def _no_entities(name: str) -> NoExport:
    return NoExport(
        f"{name} is no Confluence export: it holds neither {ENTITIES} nor the tables of a CSV export (HTML and PDF exports "
        f"have none and cannot be migrated). {EXPORT_HOWTO}"
    )


def _is_csv(descriptor: bytes | None, names: frozenset[str]) -> bool:
    if descriptor is not None and b"exportFormat=csv" in descriptor.replace(b" ", b""):
        return True
    return ENTITIES not in names and bool(names & _CSV_TABLES)


def _root_of_tables(folder: str) -> str:
    """Where the export begins whose tables lie in ``folder`` ("" or ending with a slash)."""
    for inner in _TABLE_FOLDERS[1:]:
        if folder == inner or folder.endswith("/" + inner):
            return folder[: -len(inner)]
    return folder


def _tables(name: str, paths: Iterable[str]) -> dict[str, str]:
    """Files that are tables, by the tables' names."""
    found: dict[str, str] = {}
    for path in paths:
        folder, _, file = path.rpartition("/")
        match = _TABLE.fullmatch(file)
        if match is None or (folder and folder + "/") not in _TABLE_FOLDERS:
            continue
        if match[1] in found:
            raise NoExport(
                f"{name} holds the table {match[1]} twice ({found[match[1]]}, {path}), so it is not as Confluence wrote it. "
                "Give the zip as it was downloaded."
            )
        found[match[1]] = path
    return found


def _several(name: str, found: list[str]) -> NoExport:
    return NoExport(f"{name} holds {len(found)} exports ({', '.join(found[:5])}): give them one by one.")


def _folder_root(location: Path) -> tuple[Path, Form]:
    """The folder where the export begins, ``location`` or exactly one below it, and its form."""
    found: dict[Path, Form] = {}
    for folder in (
        location,
        *sorted(child for child in location.iterdir() if child.is_dir() and not child.is_symlink()),
    ):
        names = frozenset(child.name for child in folder.iterdir() if child.is_file())
        if _is_csv(_folder_descriptor(folder), names):
            inner = folder != location and folder.name + "/" in _TABLE_FOLDERS
            found[location if inner else folder] = "csv"
        elif ENTITIES in names:
            found[folder] = "xml"
        if location in found:
            return location, found[location]
    if len(found) > 1:
        raise _several(location.name, [folder.name for folder in found])
    if not found:
        raise _no_entities(location.name)
    return next(iter(found.items()))


def _folder_descriptor(folder: Path) -> bytes | None:
    for name in _DESCRIPTORS:
        if (folder / name).is_file():
            return unpacked(name, (folder / name).read_bytes()[:_DESCRIPTOR_LIMIT])
    return None


def unpacked(name: str, start: bytes) -> bytes:
    """The beginning of a small file that is packed or, whatever its name says, is not."""
    if not start.startswith(GZIP):
        return start
    try:
        return zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(start, _DESCRIPTOR_LIMIT)
    except zlib.error as error:
        raise ExportDamaged(f"{name} in the export is damaged: {_plain(error)}. {EXPORT_HOWTO}") from error


class FolderArchive:
    """An unpacked export. Symbolic links are not followed: they could lead out of the folder."""

    kind: Literal["zip", "folder"] = "folder"

    def __init__(self, name: str, root: Path, form: Form) -> None:
        self.name = name
        self.form = form
        self._root = root
        self._skipped = 0
        self.tables = _tables(name, self._beside()) if form == "csv" else {}
        self._read = tuple(self.tables.values()) if form == "csv" else (ENTITIES,)
        self.size = sum((root / path).stat().st_size for path in self._read)
        if form == "xml" and self.size == 0:
            raise ExportDamaged(f"{name} is damaged: its {ENTITIES} is empty. {EXPORT_HOWTO}")

    def _beside(self) -> Iterator[str]:
        for inner in _TABLE_FOLDERS:
            folder = self._root / inner
            if folder.is_dir() and not folder.is_symlink():
                yield from (
                    inner + file.name for file in sorted(folder.iterdir()) if stat.S_ISREG(file.lstat().st_mode)
                )

    def descriptor(self) -> bytes | None:
        return _folder_descriptor(self._root)

    def entities(self) -> IO[bytes]:
        return (self._root / ENTITIES).open("rb")

    def table(self, name: str) -> IO[bytes]:
        return (self._root / self.tables[name]).open("rb")

    def _walk(self) -> Iterator[tuple[str, os.stat_result]]:
        self._skipped = 0
        top = self._root / "attachments"
        if top.is_symlink():
            self._skipped = 1
            return
        for folder, children, names in os.walk(top, followlinks=False):
            children.sort()
            for name in sorted(names):
                path = Path(folder, name)
                status = path.lstat()
                if stat.S_ISREG(status.st_mode):
                    yield path.relative_to(self._root).as_posix(), status
                else:
                    self._skipped += 1

    def files(self) -> Iterator[StoredFile]:
        for path, status in self._walk():
            yield StoredFile(path, status.st_size, mtime_ns=status.st_mtime_ns)

    def skipped_files(self) -> int:
        return self._skipped

    def digest(self, tick: Ticker) -> str:
        total = hashlib.sha256()
        fixed = [name for name in (*self._read, *_DESCRIPTORS) if (self._root / name).is_file()]
        for path in sorted([*fixed, *(path for path, _ in self._walk())]):
            content = hashlib.sha256()
            with (self._root / path).open("rb") as file:
                while chunk := file.read(CHUNK):
                    content.update(chunk)
                    tick(len(chunk))
            total.update(path.encode("utf-8", "surrogateescape") + b"\0" + content.digest())
        return total.hexdigest()

    def keep(self, into: Path, check: Callable[[], None]) -> None:
        for path, _ in self._walk():
            check()
            target = into / "files" / PurePosixPath(path)
            target.parent.mkdir(parents=True, exist_ok=True)
            link_or_copy(self._root / path, target)

    def close(self) -> None:
        pass


class ZipArchive:
    """An export as Confluence writes it. Nothing is unpacked to the disk: no name of a member ever becomes a path."""

    kind: Literal["zip", "folder"] = "zip"

    def __init__(self, location: Path) -> None:
        self.name = location.name
        self._location = location
        self._skipped = 0
        try:
            self._zip = zipfile.ZipFile(location)
        except (ValueError, IndexError, struct.error) as error:  # what the library says to some broken lists of members
            raise zipfile.BadZipFile(_plain(error)) from error
        try:
            self._prefix, self.form = self._find_root()
            self.tables = self._find_tables() if self.form == "csv" else {}
            paths = self.tables.values() if self.form == "csv" else (ENTITIES,)
            read = [self._zip.getinfo(self._prefix + path) for path in paths]
            for info in read:
                self._check(info)
        except BaseException:
            self._zip.close()
            raise
        self.size = sum(info.file_size for info in read)

    def _find_root(self) -> tuple[str, Form]:
        folders: dict[str, set[str]] = {}
        for info in self._zip.infolist():
            folder, _, name = info.filename.rpartition("/")
            if (
                folder.count("/") < 3
                and not folder.startswith("__MACOSX")
                and (name == ENTITIES or name in _DESCRIPTORS or name in _CSV_TABLES)
            ):
                folders.setdefault(folder and folder + "/", set()).add(name)
        found: dict[str, Form] = {}
        for folder, names in folders.items():
            if _is_csv(self._descriptor(folder), frozenset(names)):
                found[_root_of_tables(folder)] = "csv"
            elif ENTITIES in names:
                found[folder] = "xml"
        if not found:
            raise _no_entities(self.name)
        depth = min(folder.count("/") for folder in found)
        found = {folder: form for folder, form in found.items() if folder.count("/") == depth}
        if len(found) > 1:
            raise _several(self.name, list(found))
        return next(iter(found.items()))

    def _find_tables(self) -> dict[str, str]:
        start = len(self._prefix)
        inside = (info.filename for info in self._zip.infolist() if info.filename.startswith(self._prefix))
        return _tables(self.name, (name[start:] for name in inside))

    def _check(self, info: zipfile.ZipInfo) -> None:
        file = info.filename[len(self._prefix) :]
        if info.flag_bits & 0x1:
            raise ExportDamaged(
                f"{self.name} is encrypted: its {file} asks for a password. Unpack it with the password and give the folder."
            )
        if info.file_size == 0 and self.form == "xml":
            raise ExportDamaged(f"{self.name} is damaged: its {file} is empty. {EXPORT_HOWTO}")
        if info.file_size > _SUSPICIOUS_SIZE and info.file_size > _SUSPICIOUS_RATIO * max(info.compress_size, 1):
            raise ExportDamaged(
                f"{self.name} says its {file} grows from {info.compress_size} to {info.file_size} bytes; no export does, so it "
                "was not unpacked. If it is genuine, unpack it and give the folder."
            )

    def _member(self, name: str) -> bytes | None:
        try:
            with self._zip.open(name) as file:
                return file.read(_DESCRIPTOR_LIMIT)
        except KeyError:
            return None
        except RuntimeError:  # encrypted; said so when the entities are checked
            return None

    def descriptor(self) -> bytes | None:
        return self._descriptor(self._prefix)

    def _descriptor(self, folder: str) -> bytes | None:
        for name in _DESCRIPTORS:
            if (start := self._member(folder + name)) is not None:
                return unpacked(name, start)
        return None

    def entities(self) -> IO[bytes]:
        return self._zip.open(self._prefix + ENTITIES)

    def table(self, name: str) -> IO[bytes]:
        return self._zip.open(self._prefix + self.tables[name])

    def files(self) -> Iterator[StoredFile]:
        self._skipped = 0
        top = self._prefix + ATTACHMENTS
        for info in self._zip.infolist():
            if not info.filename.startswith(top) or info.is_dir():
                continue
            if info.flag_bits & 0x1 or info.compress_type not in (_STORED, _DEFLATED):
                self._skipped += 1
                continue
            yield StoredFile(
                info.filename[len(self._prefix) :],
                info.file_size,
                info.CRC,
                info.header_offset,
                info.compress_size,
                info.compress_type,
            )

    def skipped_files(self) -> int:
        return self._skipped

    def digest(self, tick: Ticker) -> str:
        total = hashlib.sha256()
        with self._location.open("rb") as file:
            while chunk := file.read(CHUNK):
                total.update(chunk)
                tick(len(chunk))
        return total.hexdigest()

    def keep(self, into: Path, check: Callable[[], None]) -> None:
        check()
        link_or_copy(self._location, into / "archive.zip")

    def close(self) -> None:
        self._zip.close()


def link_or_copy(source: Path, target: Path) -> None:
    """A hard link where the file system allows one, else a copy that keeps the time of last change."""
    try:
        os.link(source, target, follow_symlinks=True)
    except OSError:
        shutil.copy2(source, target)
