"""A tampering campaign: what a superuser of the database can do to the log, and who finds it, where.

``python -m tests.audit.tamper`` runs all of it and ends with one line of JSON: ``kinds``, how many of them were ``found`` at
the right place, and which are ``undetectable`` (shown to be so, and said in docs/audit.md). Exit code 1 if any kind behaved
otherwise than it is written down here.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.events.audit.export import line, note_line
from shared.events.audit.folder import CheckpointFolder
from shared.events.audit.note import Checkpoint, SigningKey
from shared.events.audit.seal import Sealer
from shared.events.record import leaf, link, origin, record
from shared.events.store import COLUMNS, recorded
from tests.audit.sealed import SealedLog
from tests.scratch import folder
from tests.servers import PostgresServer, choose, start_postgres
from tests.store.logs import Log

# So many events; the last checkpoint outside, and the one before it: the auditor has copies of both. Four events came later.
EVENTS, SEALED, KEPT = 40, 36, 20


@dataclass
class Scene:
    """A log after tampering, as the online check and the auditor see it."""

    sealed: SealedLog
    admin: Any

    async def execute(self, *statements: str) -> None:
        for statement in statements:
            done = await self.admin.execute(statement)
            assert done not in ("UPDATE 0", "DELETE 0", "INSERT 0 0"), statement

    async def relink(self, first: int) -> None:
        """All links from a position on computed anew, and the head put where the events end: a careful forger."""
        before = await self.admin.fetchval("SELECT link FROM log.events WHERE position = $1", first - 1)
        current = before or origin(self.sealed.log_id)
        rows = await self.admin.fetch(f"SELECT {COLUMNS} FROM log.events WHERE position >= $1 ORDER BY position", first)
        last = first - 1
        for row in map(recorded, rows):
            current, last = link(current, leaf(record(row))), row.position
            await self.admin.execute("UPDATE log.events SET link = $2 WHERE position = $1", last, current)
        await self.admin.execute("UPDATE log.log_head SET position = $1, link = $2", last, current)

    async def close_gap(self, position: int) -> None:
        """Moves everything behind a position one place forward."""
        await self.execute(
            f"UPDATE log.events SET position = 10000 + position WHERE position > {position}",
            "UPDATE log.events SET position = position - 10001 WHERE position > 10000",
        )

    async def open_gap(self, position: int) -> None:
        """Makes room at a position."""
        await self.execute(
            f"UPDATE log.events SET position = 10000 + position WHERE position >= {position}",
            "UPDATE log.events SET position = position - 9999 WHERE position > 10000",
        )

    async def insert(self, position: int) -> None:
        """An event in a stream of its own, so that no version tells."""
        await self.execute(
            f"INSERT INTO log.events SELECT {position}, gen_random_uuid(), 'plan-' || repeat('e', 32), 0, type, body,"
            f" recorded_at, link FROM log.events WHERE position = {position - 1}"
        )

    async def forget_seals(self, beyond: int) -> None:
        """The forger's database has no checkpoint of more events than this."""
        await self.admin.execute("DELETE FROM log.checkpoint WHERE size > $1", beyond)
        await self.admin.execute("DELETE FROM log.subtree")

    async def resign(self, key: SigningKey) -> None:
        """Seals the forged log with a key, with no folder to contradict it."""
        await self.forget_seals(0)
        forger = CheckpointFolder(Path(tempfile.mkdtemp(dir=self.sealed.path)))
        await Sealer(self.admin_pool, [key], forger).seal()

    @property
    def admin_pool(self) -> Any:
        return _One(self.admin)


class _One:
    """One connection, inside its transaction, in a pool's place."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def acquire(self) -> _One:
        return self

    async def __aenter__(self) -> Any:
        return self._connection

    async def __aexit__(self, *_: object) -> None:
        return None


Act = Callable[[Scene], Awaitable[None]]


@dataclass(frozen=True)
class Kind:
    """``online``, ``offline``: (problem, position) that the check in the database, and the verifier with an export made
    after it and what the auditor kept, must find; None: nothing, as both say that all is well."""

    name: str
    act: Act
    online: tuple[str, int] | None
    offline: tuple[str, int] | None
    upto: int | None = None  # of the offline finding, where only a stretch can be named


BYTE = {
    "event_id": "overlay(event_id::text placing CASE substr(event_id::text, 1, 1) WHEN '0' THEN '1' ELSE '0' END from 1 for 1)::uuid",
    "stream": "overlay(stream placing CASE substr(stream, 10, 1) WHEN '0' THEN '1' ELSE '0' END from 10 for 1)",
    "version": "version + 1000",
    "type": "'PlanStarteD'",
    "body": "set_byte(body, octet_length(body) / 2, get_byte(body, octet_length(body) / 2) # 1)",
    "recorded_at": "recorded_at + interval '1 microsecond'",
    "link": "set_byte(link, 31, get_byte(link, 31) # 1)",
}


def _sql(*statements: str) -> Act:
    async def act(scene: Scene) -> None:
        await scene.execute(*statements)

    return act


def _byte(column: str) -> Act:
    return _sql(f"UPDATE log.events SET {column} = {BYTE[column]} WHERE position = 17")


async def _position(scene: Scene) -> None:
    await scene.execute("UPDATE log.events SET position = 1017 WHERE position = 17")


def _swap(first: int) -> Act:
    return _sql(
        f"UPDATE log.events SET position = 10000 + {2 * first + 1} - position WHERE position IN ({first}, {first + 1})",
        "UPDATE log.events SET position = position - 10000 WHERE position > 10000",
    )


async def _insert(scene: Scene) -> None:
    await scene.open_gap(17)
    await scene.insert(17)
    await scene.execute("UPDATE log.log_head SET position = position + 1")


async def _insert_between(scene: Scene) -> None:
    """A second event of one position cannot be stored while the key stands."""
    await scene.admin.execute("ALTER TABLE log.events DROP CONSTRAINT events_pkey")
    await scene.insert(17)


async def _remove_and_close(scene: Scene) -> None:
    await scene.execute("DELETE FROM log.events WHERE position = 17")
    await scene.close_gap(17)
    await scene.execute("UPDATE log.log_head SET position = position - 1")


def _cut(last: int) -> Act:
    async def act(scene: Scene) -> None:
        await scene.execute(
            f"DELETE FROM log.events WHERE position > {last}",
            f"UPDATE log.log_head SET position = {last}, link = (SELECT link FROM log.events WHERE position = {last})",
        )
        await scene.forget_seals(last)

    return act


def _rewrite(position: int, *, forget: bool = True) -> Act:
    async def act(scene: Scene) -> None:
        await scene.execute(f"UPDATE log.events SET body = {BYTE['body']} WHERE position = {position}")
        await scene.relink(position)
        if forget:
            await scene.forget_seals(position - 1)

    return act


async def _remove_rewritten(scene: Scene) -> None:
    await _remove_and_close(scene)
    await scene.relink(17)
    await scene.forget_seals(16)


async def _insert_rewritten(scene: Scene) -> None:
    await _insert(scene)
    await scene.relink(17)
    await scene.forget_seals(16)


_MOVED = "UPDATE log.events SET stream = 'plan-' || repeat('e', 32), version = 0 WHERE position = 17"


async def _move_rewritten(scene: Scene) -> None:
    """To a stream of its own; the versions behind it in the old stream close up, and the links follow."""
    stream, version = await scene.admin.fetchrow("SELECT stream, version FROM log.events WHERE position = 17")
    await scene.execute(_MOVED)
    rest = f"WHERE stream = '{stream}' AND version"
    await scene.execute(
        f"UPDATE log.events SET version = version + 1000 {rest} > {version}",
        f"UPDATE log.events SET version = version - 1001 {rest} > 1000",
    )
    await scene.relink(17)
    await scene.forget_seals(16)


async def _fork(scene: Scene) -> None:
    """With the sealer's own key: a second history from event 11 on, signed where nobody holds the first against it."""
    await _rewrite(11)(scene)
    await scene.resign(scene.sealed.key)


async def _replaced_key(scene: Scene) -> None:
    await _rewrite(11)(scene)
    await scene.resign(SigningKey.new())


async def _replaced_key_in_place(scene: Scene) -> None:
    """The last checkpoint in the database signed anew by another key."""
    size, root = await scene.admin.fetchrow("SELECT size, root FROM log.checkpoint ORDER BY size DESC LIMIT 1")
    note = Checkpoint(scene.sealed.log_id, size, root).signed([SigningKey.new()])
    await scene.admin.execute("UPDATE log.checkpoint SET note = $2 WHERE size = $1", size, note)


async def _shorter(scene: Scene) -> None:
    """A checkpoint of a shorter tree as the newest, over a log that was cut to it; the folder and the auditor know more."""
    await _cut(30)(scene)
    await scene.resign(scene.sealed.key)


async def _two_of_one_size(scene: Scene) -> None:
    """Both are signed by the sealer's key, and of as many events."""
    forged = Checkpoint(scene.sealed.log_id, KEPT, bytes(32))
    note = forged.signed([scene.sealed.key])
    await scene.admin.execute("UPDATE log.checkpoint SET note = $1, root = $2 WHERE size = $3", note, forged.root, KEPT)


KINDS = [
    Kind("a byte of position", _position, ("missing", 17), ("removed", 17)),
    *(
        Kind(f"a byte of {column}", _byte(column), ("link", 17), (problem, 17))
        for column, problem in dict.fromkeys(BYTE, "changed").items()
    ),
    Kind("delete the first", _sql("DELETE FROM log.events WHERE position = 1"), ("missing", 1), ("removed", 1)),
    Kind(
        "delete one in the middle", _sql("DELETE FROM log.events WHERE position = 17"), ("missing", 17), ("removed", 17)
    ),
    Kind(
        "delete the last",
        _sql(f"DELETE FROM log.events WHERE position = {EVENTS}"),
        ("missing", EVENTS),
        ("cut_off", EVENTS),
    ),
    Kind("delete and close the gap", _remove_and_close, ("link", 17), ("removed", 17)),
    Kind("swap two of different streams", _swap(17), ("link", 17), ("reordered", 17)),
    Kind("insert", _insert, ("link", 17), ("inserted", 17)),
    Kind("insert a second of one position", _insert_between, ("link", 17), ("inserted", 17)),
    Kind("truncate the tail before the last checkpoint", _cut(30), ("cut_off", 31), ("cut_off", 31)),
    Kind(
        "rewrite with new links, checkpoints left", _rewrite(17, forget=False), ("checkpoint", 1), ("changed", 1), KEPT
    ),
    Kind("rewrite with new links, checkpoints forgotten", _rewrite(17), ("checkpoint", 1), ("changed", 1), KEPT),
    Kind("rewrite with new links between two checkpoints", _rewrite(30), ("checkpoint", 21), ("changed", 21), SEALED),
    Kind("delete with new links", _remove_rewritten, ("checkpoint", 1), ("removed", 19)),
    Kind("insert with new links", _insert_rewritten, ("checkpoint", 1), ("changed", 1), KEPT),
    Kind("move an event to another stream", _sql(_MOVED), ("link", 17), ("changed", 17)),
    Kind("move to another stream with new links", _move_rewritten, ("checkpoint", 1), ("changed", 1), KEPT),
    Kind("fork, signed with the key", _fork, ("checkpoints", 1), ("checkpoints_inconsistent", 1), KEPT),
    Kind("replaced key", _replaced_key, ("checkpoint", 1), ("changed", 1), KEPT),
    Kind("replaced key of one checkpoint", _replaced_key_in_place, ("key", 37), ("key_unknown", 37)),
    Kind("checkpoint of a shorter tree", _shorter, ("cut_off", 31), ("cut_off", 31)),
    Kind("two checkpoints of one size", _two_of_one_size, ("checkpoints", 1), ("checkpoints_inconsistent", 1), KEPT),
    # What cannot be found, and is said so: it is behind everything that anybody outside holds.
    Kind("truncate behind the last checkpoint", _cut(38), None, None),
    Kind("rewrite behind the last checkpoint", _rewrite(38), None, None),
]
UNDETECTABLE = ("truncate behind the last checkpoint", "rewrite behind the last checkpoint")


async def act_out(sealed: SealedLog, kind: Kind) -> tuple[Any, dict[str, Any]]:
    """What the online check and the offline verifier say about a tampered log. Nothing of the tampering stays."""
    admin = await sealed.log.database.connect()
    try:
        await admin.execute(
            "BEGIN; ALTER TABLE log.events DISABLE TRIGGER ALL; ALTER TABLE log.log_head DISABLE TRIGGER ALL;"
            " ALTER TABLE log.checkpoint DISABLE TRIGGER ALL"
        )
        await kind.act(Scene(sealed, admin))
        online = await sealed.check(admin)
        file = sealed.path / "forged.ndjson"
        file.write_bytes(b"".join(await _forged_export(admin, sealed.log_id)))
        kept = [word for size in (KEPT, SEALED) for word in ("--checkpoint", sealed.kept(size))]
        return online, sealed.verify(file, *kept)
    finally:
        await admin.close()


async def _forged_export(admin: Any, log_id: str) -> list[bytes]:
    """An export by somebody who does not look whether there are holes, as the product's does."""
    head = await admin.fetchrow("SELECT position, link FROM log.log_head")
    notes = dict(tuple(row) for row in await admin.fetch("SELECT size, note FROM log.checkpoint"))
    chosen = {"first": 1, "kind": "all", "last": head["position"]}
    begun = {"format": "cloudward-export-1", "head": head["position"], "link": head["link"].hex(), "log": log_id}
    lines = [note_line("begun", log_id, 0, {**begun, "selection": chosen})]
    rows = [recorded(row) for row in await admin.fetch(f"SELECT {COLUMNS} FROM log.events ORDER BY position")]
    for row in rows:
        lines.append(line(row, log_id))
        if row.position in notes:
            note = {"note": notes[row.position], "size": row.position}
            lines.append(note_line("checkpoint", log_id, row.position, note))
    end = rows[-1].position
    return [*lines, note_line("ended", log_id, end, {"events": len(rows), "position": end})]


def judged(kind: Kind, online: Any, offline: dict[str, Any]) -> str:
    """What is otherwise than it should be; empty where nothing is."""
    seen_online = None if online.ok else (online.problem, online.position)
    seen_offline = None if offline["ok"] else (offline["problem"], offline["position"])
    if seen_online != kind.online:
        return f"online: {seen_online}, not {kind.online}: {online.message}"
    if seen_offline != kind.offline or (kind.offline and offline.get("upto") != kind.upto):
        return f"offline: {seen_offline} up to {offline.get('upto')}, not {kind.offline}: {offline['message']}"
    return ""


async def prepare(log: Log, path: Path) -> SealedLog:
    """A log as all kinds find it."""
    sealed = await SealedLog.of(log, await log.store(), path)
    await sealed.append(KEPT)
    await sealed.seal()
    await sealed.append(SEALED - KEPT)
    await sealed.seal()
    await sealed.append(EVENTS - SEALED)
    return sealed


async def campaign() -> int:
    scratch = folder("cwt-")
    server: PostgresServer = await start_postgres(choose(), scratch / "pg")
    found, wrong = 0, 0
    try:
        database = await server.fresh_database()
        async with AsyncExitStack() as stack:
            sealed = await prepare(Log(database, stack), scratch)
            for kind in KINDS:
                online, offline = await act_out(sealed, kind)
                trouble = judged(kind, online, offline)
                wrong += bool(trouble)
                found += not trouble and kind.online is not None
                print(f"{'ok ' if not trouble else 'NOT'} {kind.name}: {trouble or offline['message']}", flush=True)
    finally:
        await server.stop()
        shutil.rmtree(scratch, ignore_errors=True)
    print(json.dumps({"kinds": len(KINDS), "found": found, "undetectable": list(UNDETECTABLE)}))
    return 1 if wrong or found + len(UNDETECTABLE) != len(KINDS) else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(campaign()))
