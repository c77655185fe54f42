"""A log with a sealer, a folder outside, and an auditor who has nothing but files and verify_log.py."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.events.audit import verify_log
from shared.events.audit.check import Finding, check
from shared.events.audit.export import PACKED, Exported, Selection, export
from shared.events.audit.folder import CheckpointFolder
from shared.events.audit.note import Checkpoint, PublicKey, SigningKey
from shared.events.audit.seal import Sealer
from shared.events.store import EventStore
from tests.store.commands import command, plan
from tests.store.logs import Log


@dataclass
class SealedLog:
    log: Log
    store: EventStore
    pool: Any  # of the sealer's role
    key: SigningKey
    folder: CheckpointFolder
    path: Path
    log_id: str

    @classmethod
    async def of(cls, log: Log, store: EventStore, path: Path) -> SealedLog:
        pool = await log.pool("cw_sealer", size=4)
        log_id = (await store.head()).log_id
        return cls(log, store, pool, SigningKey.new(), CheckpointFolder(path / "outside"), path, log_id)

    @property
    def public(self) -> PublicKey:
        return self.key.public(self.log_id)

    async def append(self, events: int, streams: int = 3) -> None:
        """So many events in a few streams, each in a call of its own, as services append."""
        versions: dict[str, int] = {}
        names = [plan() for _ in range(streams)]
        for number in range(events):
            stream = names[number % streams]
            result = await self.store.append(command(stream, versions.get(stream, -1)))
            assert result.recorded
            versions[stream] = versions.get(stream, -1) + 1

    async def seal(self) -> Checkpoint:
        sealed = await Sealer(self.pool, [self.key], self.folder).seal()
        assert sealed.checkpoint is not None
        return sealed.checkpoint

    def kept(self, size: int) -> Path:
        """A checkpoint as the auditor kept it."""
        file = self.path / f"kept-{size}"
        file.write_text(self.folder.note(size))
        return file

    async def check(self, source: Any = None, trusted: list[PublicKey] | None = None) -> Finding:
        return await check(source or self.pool, trusted or [self.public], self.folder)

    async def export(self, source: Any = None, name: str = "export.ndjson", selection: Selection | None = None) -> Path:
        file = self.path / name
        with file.open("wb") if file.suffix != ".gz" else gzip.open(file, "wb", compresslevel=PACKED) as out:

            async def write(line: bytes) -> None:
                out.write(line)

            self.exported: Exported = await export(source or self.pool, selection or Selection(), write)
        return file

    def verify(self, file: Path, *words: str | Path, key: PublicKey | None = None) -> dict[str, Any]:
        """The verifier's answer, as an auditor gets it: in a process of its own that sees no package."""
        return verified(file, "--key", str(key or self.public), *words)


def verified(file: Path, *words: str | Path) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-I", "-S", verify_log.__file__, file, *words, "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    assert answer["ok"] == (done.returncode == 0)
    return answer
