"""Taking an export in: read once, into a folder of the export store that executors then open read-only.

``<store>/<sha256>/index.sqlite`` and beside it ``archive.zip`` (a hard link where possible) or ``files/attachments/…``. Everything is
written into a folder of another name and renamed when it is complete, so a folder named by a digest is always whole. What a
killed process left is removed by the next one: each holds a lock on its folder for as long as it lives.
"""

import asyncio
import contextlib
import fcntl
import os
import re
import shutil
import sqlite3
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from time import monotonic
from typing import IO, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from shared.confluence.export.archive import Archive, locate, reading
from shared.confluence.export.errors import EXPORT_HOWTO, ExportDamaged, ExportUnreadable, NoExport
from shared.confluence.export.objects import Seen, read_objects
from shared.confluence.export.resolve import Resolver
from shared.confluence.export.staging import PASSED_OVER, WANTED, Staging
from shared.confluence.export.tables import read_tables
from shared.confluence.export.text import Cleaner

INDEX = "index.sqlite"
FORMAT = 3
_WORKING = ".taking-"
_TICK_SECONDS = 0.2
_CACHE_KIB = 32 * 1024
# 4.0 brought storage format; its builds start at 2700.
_FIRST_STORAGE_FORMAT_BUILD = 2700
_KEPT_KEYS = frozenset(
    ("exportType", "spaceKey", "buildNumber", "createdByBuildNumber", "createdByVersionNumber", "source", "timezoneId")
)


@dataclass(frozen=True, slots=True)
class Progress:
    """``done`` of ``total``: bytes while hashing and reading, steps while resolving and keeping the files."""

    stage: Literal["hashing", "reading", "resolving", "keeping"]
    done: int
    total: int


class _Stopped(Exception):
    """The caller was cancelled."""


class _Reporter:
    """Passes progress on, a few times a second, and notices that nobody waits any more."""

    def __init__(self, report: Callable[[Progress], None] | None) -> None:
        self._report = report
        self._last = 0.0
        self._stage = ""
        self.stopped = threading.Event()

    def check(self) -> None:
        if self.stopped.is_set():
            raise _Stopped

    def tell(self, progress: Progress) -> None:
        self.check()
        now = monotonic()
        due = now - self._last >= _TICK_SECONDS or progress.done >= progress.total or progress.stage != self._stage
        if self._report is not None and due:
            self._last, self._stage = now, progress.stage
            self._report(progress)

    def counter(self, stage: Literal["hashing", "reading"], total: int) -> Callable[[int], None]:
        done = 0

        def tick(amount: int) -> None:
            nonlocal done
            done += amount
            self.tell(Progress(stage, min(done, total), total))

        return tick


async def take_in(location: Path, store: Path, progress: Callable[[Progress], None] | None = None) -> str:
    """Takes the export at ``location`` (zip or folder, XML or CSV) into ``store`` and returns its name there, the SHA-256 of what it is.

    An export that is there already costs only the hashing. ``progress`` is called on the event loop. Raises SourceUnsupported
    for what is no export, of an unread kind or damaged, SourceError where the operating system refuses; then, and when
    cancelled, nothing is left behind.
    """
    loop = asyncio.get_running_loop()
    reporter = _Reporter(None if progress is None else lambda step: _call_soon(loop, progress, step))
    work = asyncio.ensure_future(asyncio.to_thread(_take_in, location, store, reporter))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        reporter.stopped.set()
        await asyncio.gather(work, return_exceptions=True)
        raise


def _call_soon(loop: asyncio.AbstractEventLoop, progress: Callable[[Progress], None], step: Progress) -> None:
    with contextlib.suppress(RuntimeError):  # the loop is closing
        loop.call_soon_threadsafe(progress, step)


def _take_in(location: Path, store: Path, reporter: _Reporter) -> str:
    location = location.resolve()
    archive = locate(location)
    try:
        with reading(archive.name):
            name = archive.digest(reporter.counter("hashing", _size(location, archive)))
            store.mkdir(parents=True, exist_ok=True)
        if _complete(store / name):
            return name
        with reading(f"The export store {store.name}"), _workplace(store) as folder:
            _build(archive, location.name, folder, reporter)
            _sync(folder)
            _publish(folder, store / name)
        return name
    except sqlite3.Error as error:
        raise ExportUnreadable(
            f"{archive.name} was read, but the export store could not be written: {error}. Make room on its disk (about the size "
            "of the export) and try again; nothing half-done is left."
        ) from error
    finally:
        archive.close()


def _size(location: Path, archive: Archive) -> int:
    return location.stat().st_size if archive.kind == "zip" else archive.size


def _complete(folder: Path) -> bool:
    return folder.is_dir() and index_format(folder / INDEX) == FORMAT


def index_format(index: Path) -> int | None:
    """The format an index was written in; None if there is no readable index."""
    if not index.is_file():
        return None
    try:
        with contextlib.closing(sqlite3.connect(f"{index.resolve().as_uri()}?mode=ro", uri=True)) as db:
            row = db.execute("SELECT value FROM meta WHERE key = 'format'").fetchone()
            return int(row[0]) if row else None
    except (sqlite3.Error, ValueError):
        return None


@contextlib.contextmanager
def _workplace(store: Path) -> Iterator[Path]:
    """A folder of our own in the store, gone at the end unless it was renamed; removes those of processes that died."""
    with (store / ".lock").open("a") as gate:
        fcntl.flock(gate, fcntl.LOCK_EX)
        for left in store.glob(f"{_WORKING}*"):
            _remove_if_dead(left)
        folder = store / f"{_WORKING}{uuid.uuid4().hex}"
        folder.mkdir()
        lock = (folder / ".owner").open("w")
        fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        lock.close()


def _remove_if_dead(folder: Path) -> None:
    try:
        with (folder / ".owner").open("r") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return
    except OSError:
        pass
    shutil.rmtree(folder, ignore_errors=True)


def _sync(folder: Path) -> None:
    for path in (folder / INDEX, folder):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _publish(folder: Path, target: Path) -> None:
    if target.exists() and not _complete(target):  # of another format
        shutil.rmtree(target)
    try:
        folder.rename(target)
    except OSError:
        if not _complete(target):  # another process was quicker: the same digest, the same content
            raise
    else:
        # Only now: a working folder without it counts as left behind.
        (target / ".owner").unlink(missing_ok=True)


def _build(archive: Archive, name: str, folder: Path, reporter: _Reporter) -> None:
    with reading(archive.name):
        descriptor = _properties(archive.descriptor())
    with contextlib.closing(sqlite3.connect(folder / INDEX, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = OFF")
        db.execute("PRAGMA synchronous = OFF")
        db.execute("PRAGMA temp_store = FILE")
        db.execute("ATTACH ? AS stage", (str(folder / "staging.sqlite"),))
        db.execute("PRAGMA stage.journal_mode = OFF")
        db.execute("PRAGMA stage.synchronous = OFF")
        db.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        db.execute(f"PRAGMA stage.cache_size = -{_CACHE_KIB}")
        here = files("shared.confluence.export")
        db.executescript((here / "staging.sql").read_text("utf-8"))
        db.executescript((here / "index.sql").read_text("utf-8"))
        db.execute("BEGIN")
        resolver = Resolver(db, descriptor.get("spaceKey"), reporter.check)
        product = _read(archive, db, descriptor, resolver, reporter)
        reporter.tell(Progress("resolving", 0, 1))
        resolver.run()
        reporter.tell(Progress("resolving", 1, 1))
        meta = {
            "format": str(FORMAT),
            "archive": archive.kind,
            "instance": name,
            "version": descriptor.get("createdByVersionNumber"),
            "build": descriptor.get("createdByBuildNumber") or descriptor.get("buildNumber"),
            "scope": descriptor.get("exportType"),
            **product,
        }
        db.executemany("INSERT INTO meta VALUES (?, ?)", [item for item in meta.items() if item[1] is not None])
        db.execute("COMMIT")
        db.execute("DETACH stage")
        db.execute("PRAGMA optimize")
    (folder / "staging.sqlite").unlink()
    reporter.tell(Progress("keeping", 0, 1))
    with reading(archive.name):
        archive.keep(folder, reporter.check)
    if archive.kind == "zip":
        _note_archive(folder)
    reporter.tell(Progress("keeping", 1, 1))


def _note_archive(folder: Path) -> None:
    """A hard link shares its content with the file the user gave; size and time tell if somebody writes into that."""
    status = (folder / "archive.zip").stat()
    with contextlib.closing(sqlite3.connect(folder / INDEX)) as db, db:
        db.execute("INSERT INTO meta VALUES ('archive_state', ?)", (f"{status.st_size} {status.st_mtime_ns}",))


def _read(
    archive: Archive, db: sqlite3.Connection, descriptor: dict[str, str], resolver: Resolver, reporter: _Reporter
) -> dict[str, str | None]:
    notes = resolver.notes
    build = descriptor.get("createdByBuildNumber") or descriptor.get("buildNumber") or ""
    staging = Staging(db, wiki_by_default=build.isdigit() and int(build) < _FIRST_STORAGE_FORMAT_BUILD)
    cleaner, seen = Cleaner(), Seen()
    tick = reporter.counter("reading", archive.size)
    strange = 0
    with reading(archive.name):
        for file in archive.files():
            if not staging.file(file):
                strange += 1
        notes.add("file_unusable", archive.skipped_files())
        notes.add("file_in_odd_place", strange)
        if archive.form == "csv":
            for record in read_tables(archive, cleaner, seen, notes.add, tick):
                staging.take(record)
        else:
            with _entities(archive) as stream:
                for record in read_objects(stream, archive.name, WANTED, cleaner, seen, tick):
                    staging.take(record)
    staging.flush()
    if not seen.classes:
        held = "its tables hold no row" if archive.form == "csv" else "its entities.xml holds no object"
        raise NoExport(f"{archive.name} is an export with nothing in it: {held}. {EXPORT_HOWTO}")
    notes.add("characters_removed", cleaner.removed + staging.cleaned)
    notes.add("object_twice", staging.duplicates)
    notes.add("object_without_id", seen.without_id)
    unknown = sorted(kind for kind in seen.classes if kind not in WANTED.classes and kind not in PASSED_OVER)
    # The name of a class comes from the file: only what looks like one is repeated.
    notes.add(
        "class_unknown",
        sum(seen.classes[kind] for kind in unknown),
        [k for k in unknown if re.fullmatch(r"\w{1,80}", k)],
    )
    zone = descriptor.get("timezoneId")
    if zone is None or not _known_zone(zone):
        notes.add("time_zone_unknown", 1)
        zone = None
    cloud = (
        archive.form == "csv"
        or descriptor.get("source") == "cloud"
        or descriptor.get("createdByVersionNumber", "").startswith("1000.")
        or ("source" not in descriptor and staging.has_account_ids)
    )
    return {"product": "cloud" if cloud else "server", "timezone": zone, "exported_at": _time(seen.exported_at)}


@contextlib.contextmanager
def _entities(archive: Archive) -> Iterator[IO[bytes]]:
    try:
        stream = archive.entities()
    except RuntimeError as error:
        raise ExportDamaged(
            f"{archive.name} is encrypted: it asks for a password. Unpack it with the password and give the folder."
        ) from error
    with stream:
        yield stream


def _properties(raw: bytes | None) -> dict[str, str]:
    """The few keys of exportDescriptor.properties that are used; the rest is not kept."""
    found = {}
    for line in (raw or b"").decode("utf-8", "replace").splitlines():
        key, separator, value = line.partition("=")
        if separator and key.strip() in _KEPT_KEYS and value.strip():
            found[key.strip()] = re.sub(r"\\(.)", r"\1", value.strip())
    return found


def _known_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


def _time(text: str | None) -> str | None:
    try:
        return datetime.fromisoformat(text).isoformat() if text else None
    except ValueError:
        return None
