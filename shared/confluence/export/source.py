"""An export that was taken in, as a source. Everything comes from the index and from the archive kept beside it."""

import asyncio
import contextlib
import json
import re
import sqlite3
import struct
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, date, datetime, tzinfo
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, TypeVar, cast
from zoneinfo import ZoneInfo

from shared.confluence.export.archive import CHUNK
from shared.confluence.export.errors import ExportNotTaken
from shared.confluence.export.intake import FORMAT, INDEX, index_format
from shared.confluence.model import (
    Attachment,
    Comment,
    Content,
    FileVersion,
    Group,
    Item,
    Named,
    Permission,
    Person,
    ReaderNote,
    Restriction,
    Revision,
    SourceInfo,
    Space,
    Surveyed,
)
from shared.confluence.source import FileMissing, NotInSource, Source, SourceError

_PAGE = 500
_TIME_TOLERANCE_NS = 2_000_000_000
_NAME = re.compile(r"[0-9a-f]{64}")
_LOCAL_HEADER = struct.Struct("<4sHHHHHLLLHH")
_MISSING = (
    "The export lists the file of attachment {id}, but does not hold it. Export again with attachments if it is needed."
)

T = TypeVar("T")
Row = tuple[Any, ...]  # a row of SQLite, whose columns' types are those of index.sql


def open_export(store: Path, name: str) -> "ExportSource":
    """Opens what ``take_in`` named. Raises ExportNotTaken if it is not there or was written by another release."""
    folder = store / name
    written = index_format(folder / INDEX) if _NAME.fullmatch(name) else None
    if written is None:
        raise ExportNotTaken(f"The export {name[:12]} is not in the export store. Take it in again.")
    if written != FORMAT:
        raise ExportNotTaken(
            f"The export {name[:12]} was taken in by another release (format {written}, here {FORMAT}). Take it in again."
        )
    return ExportSource(folder)


class ExportSource:
    """Implements ``shared.confluence.source.Source`` on ``index.sqlite``.

    SQLite is called on one thread of its own, so that the event loop stays free and calls do not meet. Several iterations may
    run at once.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._thread = ThreadPoolExecutor(1, "export-index")
        self._files = ThreadPoolExecutor(4, "export-files")
        self._db = sqlite3.connect(
            f"{(folder / INDEX).resolve().as_uri()}?mode=ro&immutable=1", uri=True, check_same_thread=False
        )
        self._meta = dict(self._db.execute("SELECT key, value FROM meta").fetchall())
        zone = self._meta.get("timezone")
        self._zone: tzinfo = ZoneInfo(zone) if zone else UTC
        self._closed = False

    async def close(self) -> None:
        if not self._closed:
            self._closed = True
            await asyncio.get_running_loop().run_in_executor(self._thread, self._db.close)
            self._thread.shutdown(wait=False)
            self._files.shutdown(wait=False)

    # How the index is read

    async def _call(self, pool: ThreadPoolExecutor, call: Callable[[], T]) -> T:
        if self._closed:
            raise SourceError("This export was closed. Open it again.")
        try:
            return await asyncio.get_running_loop().run_in_executor(pool, call)
        except sqlite3.Error as error:
            raise SourceError(
                f"The index of export {self._folder.name[:12]} cannot be read: {error}. Take it in again."
            ) from error

    async def _row(self, sql: str, *parameters: str | int | None) -> Row | None:
        return await self._call(self._thread, lambda: cast(Row | None, self._db.execute(sql, parameters).fetchone()))

    async def _rows(self, sql: str, *parameters: str | int | None) -> list[Row]:
        """Only for what is few: labels or restrictions of one page."""
        return await self._call(self._thread, lambda: self._db.execute(sql, parameters).fetchall())

    async def _stream(self, sql: str, *parameters: str | int | None) -> AsyncIterator[Row]:
        cursor = await self._call(self._thread, lambda: self._db.execute(sql, parameters))
        while rows := await self._call(self._thread, lambda: cursor.fetchmany(_PAGE)):
            for row in rows:
                yield row

    def _when(self, text: str | None) -> datetime | None:
        try:
            return datetime.fromisoformat(text).replace(tzinfo=self._zone) if text else None
        except ValueError:
            return None

    # The source

    async def info(self) -> SourceInfo:
        meta = self._meta
        build = meta.get("build") or ""
        return SourceInfo(
            "cloud" if meta.get("product") == "cloud" else "server",
            meta.get("version"),
            int(build) if build.isdigit() else None,
            None,
            meta.get("instance", self._folder.name[:12]),
            self._when(meta.get("exported_at")),
        )

    async def notes(self) -> list[ReaderNote]:
        rows = await self._rows("SELECT code, count, examples FROM note ORDER BY code")
        return [ReaderNote(code, count, tuple(json.loads(examples))) for code, count, examples in rows]

    async def people(self) -> AsyncIterator[Person]:
        async for row in self._stream(f"SELECT {_PERSON} FROM person ORDER BY id"):
            yield _person(row)

    async def person(self, id: str) -> Person | None:
        row = await self._row(f"SELECT {_PERSON} FROM person WHERE id = ?", id)
        return _person(row) if row else None

    async def person_by_name(self, username: str) -> Person | None:
        row = await self._row(
            f"SELECT {_PERSON} FROM person WHERE lower_name = ? ORDER BY active = 0, length(id) DESC, id LIMIT 1",
            username.strip().lower(),
        )
        return _person(row) if row else None

    async def groups(self) -> AsyncIterator[Group]:
        async for name, directory in self._stream("SELECT name, directory FROM grp ORDER BY name"):
            yield Group(name, directory)

    async def members(self, group: str) -> AsyncIterator[str]:
        if await self._row("SELECT 1 FROM grp WHERE name = ?", group) is None:
            raise NotInSource("There is no such group in the export.")
        async for (person,) in self._stream(
            """WITH RECURSIVE inside(name) AS (
                   SELECT ? UNION SELECT s.child FROM subgroup s JOIN inside i ON s.grp = i.name)
               SELECT DISTINCT m.person FROM inside i JOIN member m ON m.grp = i.name ORDER BY m.person""",
            group,
        ):
            yield person

    async def spaces(self) -> AsyncIterator[Space]:
        async for row in self._stream(f"SELECT {_SPACE} FROM space ORDER BY lower_key, id"):
            yield await self._space(row)

    async def space(self, id: str) -> Space:
        row = await self._row(f"SELECT {_SPACE} FROM space WHERE id = ?", id)
        if row is None:
            raise NotInSource(f"There is no space {id} in the export.")
        return await self._space(row)

    async def space_by_key(self, key: str) -> Space | None:
        row = await self._row(f"SELECT {_SPACE} FROM space WHERE lower_key = ? ORDER BY id LIMIT 1", key.lower())
        return await self._space(row) if row else None

    async def _space(self, row: Row) -> Space:
        id, key, name, type, status, homepage, description, creator, created = row
        labels = await self._labels(f"space {id}")
        return Space(id, key, name, type, status, homepage, description, creator, self._when(created), labels)

    async def items(self, space_id: str) -> AsyncIterator[Item]:
        homepage = (await self.space(space_id)).homepage_id
        async for row in self._stream(
            """SELECT kind, id, version, parent, depth, position, labels, restrictions, dangling, properties, watchers, history
               FROM content WHERE space = ? ORDER BY n""",
            space_id,
        ):
            (
                kind,
                id,
                version,
                parent,
                depth,
                position,
                labels,
                restrictions,
                dangling,
                properties,
                watchers,
                history,
            ) = row
            yield Item(
                kind,
                id,
                version,
                parent=parent,
                depth=depth,
                position=position,
                labels=labels,
                restrictions=restrictions,
                properties=properties,
                watchers=watchers,
                history=history,
                dangling=bool(dangling),
                homepage=id == homepage,
            )
        async for id, version, container, size, labels, path in self._stream(
            "SELECT id, version, container, size, labels, path FROM attachment WHERE space = ? ORDER BY n", space_id
        ):
            yield Item(
                "attachment", id, version, container=container, size=size, has_file=path is not None, labels=labels
            )
        async for id, version, parent, container, depth, dangling, resolved in self._stream(
            "SELECT id, version, parent, container, depth, dangling, resolved FROM comment WHERE space = ? ORDER BY n",
            space_id,
        ):
            yield Item(
                "comment",
                id,
                version,
                parent=parent,
                container=container,
                depth=depth,
                dangling=bool(dangling),
                resolved=bool(resolved),
            )

    async def related_people(self, space_id: str) -> AsyncIterator[str]:
        await self.space(space_id)
        async for (person,) in self._stream("SELECT person FROM person_ref WHERE space = ? ORDER BY person", space_id):
            yield person

    async def survey(self, space: Space) -> AsyncIterator[Surveyed]:
        async for item in self.items(space.id):
            yield item
            if item.kind in ("page", "blogpost"):
                yield await self.content(item.id)
        async for person in self.related_people(space.id):
            yield Named(person)

    async def content(self, id: str, *, placed: bool = True) -> Content:
        row = await self._row(
            """SELECT c.kind, c.space, c.title, c.version, c.creator, c.created, c.modifier, c.modified, c.parent,
                      c.message, b.format, b.data
               FROM content c LEFT JOIN body b ON b.owner = c.id WHERE c.id = ?""",
            id,
        )
        if row is None:
            raise NotInSource(f"There is no live page or blog post {id} in the export.")
        kind, space, title, version, creator, created, modifier, modified, parent, message, format, data = row
        labels = await self._labels(id)
        restrictions = await self._rows(
            "SELECT operation, person, grp FROM restriction WHERE owner = ? ORDER BY rowid", id
        )
        when = self._when(created)
        return Content(
            id,
            kind,
            space,
            title,
            _body(data),
            format or "storage",
            version,
            creator,
            when,
            modifier,
            self._when(modified),
            parent,
            when.date() if when is not None and kind == "blogpost" else None,
            labels,
            tuple(Restriction(operation, person, group) for operation, person, group in restrictions),
            message or None,
        )

    async def _labels(self, owner: str) -> tuple[str, ...]:
        return tuple(
            name for (name,) in await self._rows("SELECT name FROM label WHERE owner = ? ORDER BY name", owner)
        )

    async def comment(self, id: str) -> Comment:
        row = await self._row(
            """SELECT c.container, c.parent, b.data, b.format, c.version, c.creator, c.created, c.location, c.resolved,
                      c.selection, c.marker, c.modifier, c.modified
               FROM comment c LEFT JOIN body b ON b.owner = c.id WHERE c.id = ?""",
            id,
        )
        if row is None:
            raise NotInSource(f"There is no live comment {id} in the export.")
        container, parent, data, format, version, creator, created, location, resolved, selection, marker = row[:11]
        return Comment(
            id,
            container,
            parent,
            _body(data),
            format or "storage",
            version,
            creator,
            self._when(created),
            location,
            bool(resolved),
            selection,
            marker,
            row[11],
            self._when(row[12]),
        )

    async def attachment(self, id: str) -> Attachment:
        row = await self._row(
            """SELECT container, filename, media_type, size, version, comment, creator, created, modifier, modified
               FROM attachment WHERE id = ?""",
            id,
        )
        if row is None:
            raise NotInSource(f"There is no live attachment {id} in the export.")
        container, filename, media_type, size, version, comment, creator, created, modifier, modified = row
        return Attachment(
            id,
            container,
            filename,
            media_type,
            size,
            version,
            comment,
            creator,
            self._when(created),
            await self._labels(id),
            modifier,
            self._when(modified),
        )

    async def versions(self, id: str, last: int) -> AsyncIterator[Revision]:
        async for number, body, format, editor, edited, message in self._stream(
            """SELECT number, data, format, editor, edited, message FROM (
                   SELECT * FROM revision WHERE owner = ? ORDER BY number DESC LIMIT ?) ORDER BY number""",
            id,
            last,
        ):
            yield Revision(number, _body(body), format, editor, self._when(edited), message or None)

    async def file_versions(self, id: str) -> list[FileVersion]:
        rows = await self._rows(
            "SELECT number, file_size, comment, editor, edited FROM file_version WHERE owner = ? ORDER BY number", id
        )
        return [FileVersion(n, size, comment, editor, self._when(edited)) for n, size, comment, editor, edited in rows]

    async def properties(self, id: str) -> list[tuple[str, Any]]:
        rows = await self._rows("SELECT key, value FROM property WHERE owner = ? ORDER BY key", id)
        return [(key, json.loads(value)) for key, value in rows]

    async def watchers(self, kind: Literal["content", "space"], id: str) -> list[str]:
        rows = await self._rows("SELECT person FROM watch WHERE kind = ? AND owner = ? ORDER BY person", kind, id)
        return [person for (person,) in rows]

    async def left_behind(self, space_id: str) -> dict[str, int]:
        rows = await self._rows("SELECT kind, count FROM left_behind WHERE space = ? ORDER BY kind", space_id)
        return dict(rows)

    def open_attachment(self, id: str, version: int | None = None) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        return self._open_attachment(id, version)

    @asynccontextmanager
    async def _open_attachment(self, id: str, version: int | None) -> AsyncIterator[AsyncIterator[bytes]]:
        place = "path, file_size, crc, start, packed, method, mtime_ns"
        if version is None:
            row = await self._row(f"SELECT {place} FROM attachment WHERE id = ?", id)
        else:
            row = await self._row(f"SELECT {place} FROM file_version WHERE owner = ? AND number = ?", id, version)
        if row is None:
            raise NotInSource(f"There is no live attachment {id} in the export, or not this version of it.")
        if row[0] is None:
            raise FileMissing(_MISSING.format(id=id))
        member = _Member(*row)
        file = await self._call(self._files, lambda: self._open_file(id, member))
        try:
            chunks = _unpacked(file, member, id) if self._zipped else _plain(file, member, id)

            async def stream() -> AsyncGenerator[bytes, None]:
                while chunk := await self._call(self._files, lambda: _next(chunks, id)):
                    yield chunk

            async with contextlib.aclosing(stream()) as opened:
                yield opened
        finally:
            file.close()

    @property
    def _zipped(self) -> bool:
        return self._meta.get("archive") == "zip"

    def _open_file(self, id: str, member: "_Member") -> IO[bytes]:
        path = self._folder / "archive.zip" if self._zipped else self._folder / "files" / member.path
        try:
            file = path.open("rb")
            status = path.stat()
        except FileNotFoundError:
            raise FileMissing(_MISSING.format(id=id)) from None
        except OSError as error:
            raise SourceError(f"The file of attachment {id} cannot be read: {error.strerror}.") from error
        if self._zipped:
            expected = self._meta.get("archive_state", "")
            changed = expected != f"{status.st_size} {status.st_mtime_ns}"
        else:
            # A copy keeps the time, to the second or so on some file systems.
            changed = status.st_size != member.size or abs(status.st_mtime_ns - member.mtime_ns) > _TIME_TOLERANCE_NS
        if changed:
            file.close()
            raise SourceError(
                "The export was changed after it was taken in, so its files cannot be trusted any more. Take it in again."
            )
        return file

    async def permissions(self, space_id: str) -> AsyncIterator[Permission]:
        await self.space(space_id)
        async for id, operation, kind, subject in self._stream(
            "SELECT id, operation, subject_kind, subject FROM permission WHERE space = ? ORDER BY rowid", space_id
        ):
            yield Permission(id, operation, kind, subject)

    async def find_content(self, space_key: str, title: str, posting_day: date | None = None) -> str | None:
        kind: Literal["page", "blogpost"] = "page" if posting_day is None else "blogpost"
        row = await self._row(
            """SELECT c.id FROM content c JOIN space s ON s.id = c.space
               WHERE s.lower_key = ? AND c.lower_title = ? AND c.kind = ? AND (? IS NULL OR substr(c.created, 1, 10) = ?)
               ORDER BY c.n LIMIT 1""",
            space_key.lower(),
            title.strip().lower(),
            kind,
            *([posting_day.isoformat()] * 2 if posting_day else [None, None]),
        )
        return cast(str, row[0]) if row else None


_PERSON = "id, username, display, email, active, directory, account"
_SPACE = "id, key, name, type, status, homepage, description, creator, created"


def _person(row: Row) -> Person:
    id, username, display, email, active, directory, account = row
    return Person(id, username, display, email, None if active is None else bool(active), directory, account)


def _body(data: bytes | None) -> str:
    return zlib.decompress(data).decode() if data is not None else ""


class _Member:
    """Where a file's bytes are."""

    __slots__ = ("crc", "method", "mtime_ns", "packed", "path", "size", "start")

    def __init__(self, path: str, size: int, crc: int, start: int, packed: int, method: int, mtime_ns: int) -> None:
        self.path, self.size, self.crc, self.start = path, size, crc, start
        self.packed, self.method, self.mtime_ns = packed, method, mtime_ns


def _next(chunks: Iterator[bytes], id: str) -> bytes:
    try:
        return next(chunks, b"")
    except OSError as error:
        raise SourceError(f"The file of attachment {id} cannot be read: {error.strerror}.") from error


def _damaged(id: str) -> SourceError:
    return FileMissing(f"The file of attachment {id} is damaged in the export. Export again, or leave it out.")


def _plain(file: IO[bytes], member: _Member, id: str) -> Iterator[bytes]:
    got = 0
    while chunk := file.read(CHUNK):
        got += len(chunk)
        yield chunk
    if got != member.size:
        raise _damaged(id)


def _unpacked(file: IO[bytes], member: _Member, id: str) -> Iterator[bytes]:
    """A member of the zip by its place, so that not every executor reads the list of all members. Checks size and CRC."""
    file.seek(member.start)
    header = file.read(_LOCAL_HEADER.size)
    if len(header) != _LOCAL_HEADER.size or not header.startswith(b"PK\x03\x04"):
        raise _damaged(id)
    *_, name_length, extra_length = _LOCAL_HEADER.unpack(header)
    file.seek(name_length + extra_length, 1)
    left, size, crc = member.packed, 0, 0
    inflate = zlib.decompressobj(-zlib.MAX_WBITS) if member.method else None
    waiting = b""
    try:
        while left or waiting or (inflate is not None and not inflate.eof):
            if inflate is not None and waiting:
                chunk = inflate.decompress(waiting, CHUNK)
                waiting = inflate.unconsumed_tail
            else:
                packed = file.read(min(CHUNK, left))
                if not packed:
                    break
                left -= len(packed)
                if inflate is not None:
                    waiting = packed
                    continue
                chunk = packed
            if not chunk:
                continue
            size += len(chunk)
            crc = zlib.crc32(chunk, crc)
            if size > member.size:
                break
            yield chunk
    except zlib.error:
        raise _damaged(id) from None
    if size != member.size or crc != member.crc:
        raise _damaged(id)


if TYPE_CHECKING:
    _IMPLEMENTS: type[Source] = ExportSource
