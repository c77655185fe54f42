"""The outside of an export: a zip or a folder, where in it the export begins, its digest, its files.

Layout (the same in a zip, a folder, or one folder further down)::

    exportDescriptor.properties
    entities.xml
    attachments/{container id}/{attachment id}/{version}
"""

import hashlib
import os
import shutil
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
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
ATTACHMENTS = "attachments/"
_CSV_TABLES = frozenset({"content.csv.gz", "content.csv", "bodycontent.csv.gz", "bodycontent.csv"})
_DESCRIPTOR_LIMIT = 1 << 20
# A real entities.xml shrinks about 10 to 30 times. Deflate's own maximum is about 1030.
_SUSPICIOUS_RATIO = 300
_SUSPICIOUS_SIZE = 1 << 30
_STORED, _DEFLATED = 0, 8

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
    """An opened export."""

    name: str
    kind: Literal["zip", "folder"]
    entities_size: int

    def descriptor(self) -> bytes | None: ...

    def entities(self) -> IO[bytes]: ...

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
            raise NoExport(f"There is nothing at {location}. Check the path; give a zip or a folder of an XML export.")
        if location.is_dir():
            return FolderArchive(location.name, _folder_root(location))
        if not location.is_file():
            raise NoExport(f"{location.name} is neither a file nor a folder. Give a zip or a folder of an XML export.")
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


def detect(location: Path) -> Literal["xml", "csv"]:
    """The kind of export at ``location``; SourceUnsupported if there is none."""
    try:
        locate(location).close()
    except ExportKindUnsupported as error:
        if isinstance(error, _CsvExport):
            return "csv"
        raise
    return "xml"


def is_export(location: Path) -> bool:
    """Whether ``location`` holds an export of any kind, complete or not."""
    try:
        detect(location)
    except (NoExport, ExportKindUnsupported, ExportDamaged, ExportUnreadable):
        return False
    return True


class _CsvExport(ExportKindUnsupported):
    pass


def _csv(name: str) -> _CsvExport:
    return _CsvExport(
        f"{name} is a CSV export (Confluence Cloud's newer format); this kind is not read yet. "
        "XML exports of Server, Data Center and Cloud are. Export the space as XML."
    )


def _no_entities(name: str) -> NoExport:
    return NoExport(
        f"{name} is no Confluence XML export: it holds no {ENTITIES} (HTML and PDF exports have none and cannot be "
        f"migrated). {EXPORT_HOWTO}"
    )


def _is_csv(descriptor: bytes | None, names: frozenset[str]) -> bool:
    if descriptor is not None and b"exportFormat=csv" in descriptor.replace(b" ", b""):
        return True
    return ENTITIES not in names and bool(names & _CSV_TABLES)


def _folder_root(location: Path) -> Path:
    """The folder that holds entities.xml: ``location`` or exactly one below it."""
    found = []
    for folder in (
        location,
        *sorted(child for child in location.iterdir() if child.is_dir() and not child.is_symlink()),
    ):
        names = frozenset(child.name for child in folder.iterdir() if child.is_file())
        descriptor = (folder / DESCRIPTOR).read_bytes()[:_DESCRIPTOR_LIMIT] if DESCRIPTOR in names else None
        if _is_csv(descriptor, names):
            raise _csv(location.name)
        if ENTITIES in names:
            found.append(folder)
            if folder == location:
                break
    if len(found) > 1:
        listed = ", ".join(folder.name for folder in found[:5])
        raise NoExport(f"{location.name} holds {len(found)} exports ({listed}): give them one by one.")
    if not found:
        raise _no_entities(location.name)
    return found[0]


class FolderArchive:
    """An unpacked export. Symbolic links are not followed: they could lead out of the folder."""

    kind: Literal["zip", "folder"] = "folder"

    def __init__(self, name: str, root: Path) -> None:
        self.name = name
        self._root = root
        self._skipped = 0
        self.entities_size = (root / ENTITIES).stat().st_size
        if self.entities_size == 0:
            raise ExportDamaged(f"{name} is damaged: its {ENTITIES} is empty. {EXPORT_HOWTO}")

    def descriptor(self) -> bytes | None:
        path = self._root / DESCRIPTOR
        return path.read_bytes()[:_DESCRIPTOR_LIMIT] if path.is_file() else None

    def entities(self) -> IO[bytes]:
        return (self._root / ENTITIES).open("rb")

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
        fixed = [name for name in (ENTITIES, DESCRIPTOR) if (self._root / name).is_file()]
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
            self._prefix = self._find_root()
            self._entities = self._zip.getinfo(self._prefix + ENTITIES)
            self._check()
        except BaseException:
            self._zip.close()
            raise
        self.entities_size = self._entities.file_size

    def _find_root(self) -> str:
        folders: dict[str, set[str]] = {}
        for info in self._zip.infolist():
            folder, _, name = info.filename.rpartition("/")
            if (
                folder.count("/") < 3
                and not folder.startswith("__MACOSX")
                and (name in (ENTITIES, DESCRIPTOR) or name in _CSV_TABLES)
            ):
                folders.setdefault(folder and folder + "/", set()).add(name)
        for folder, names in folders.items():
            if _is_csv(self._member(folder + DESCRIPTOR), frozenset(names)):
                raise _csv(self.name)
        found = [folder for folder, names in folders.items() if ENTITIES in names]
        if not found:
            raise _no_entities(self.name)
        depth = min(folder.count("/") for folder in found)
        found = [folder for folder in found if folder.count("/") == depth]
        if len(found) > 1:
            raise NoExport(f"{self.name} holds {len(found)} exports ({', '.join(found[:5])}): give them one by one.")
        return found[0]

    def _check(self) -> None:
        info = self._entities
        if info.flag_bits & 0x1:
            raise ExportDamaged(
                f"{self.name} is encrypted: its {ENTITIES} asks for a password. Unpack it with the password and give the "
                "folder."
            )
        if info.file_size == 0:
            raise ExportDamaged(f"{self.name} is damaged: its {ENTITIES} is empty. {EXPORT_HOWTO}")
        if info.file_size > _SUSPICIOUS_SIZE and info.file_size > _SUSPICIOUS_RATIO * max(info.compress_size, 1):
            raise ExportDamaged(
                f"{self.name} says its {ENTITIES} grows from {info.compress_size} to {info.file_size} bytes; no export "
                "does, so it was not unpacked. If it is genuine, unpack it and give the folder."
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
        return self._member(self._prefix + DESCRIPTOR)

    def entities(self) -> IO[bytes]:
        return self._zip.open(self._entities)

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
