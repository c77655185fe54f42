"""How long it takes to seal, export, verify and prove: ``python -m tests.audit.bench [EVENTS]``, one JSON line at the end.

Besides seconds by the clock those of this process alone (``cpu``), which other load on the machine changes less; ``load`` is
the machine's load average before and after.

The log is written straight into the table (its links computed here), because how quickly events are appended is another
benchmark's question. Bodies are as long as those of a chunk of a few pages, some 500 bytes.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from shared.events.audit.proofs import prove_event
from shared.events.contract import Recorded
from shared.events.record import leaf, link, origin, record
from tests.audit.sealed import SealedLog
from tests.servers import choose, start_postgres
from tests.store.logs import Log

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_BATCH = 20_000


def rows(log_id: str, count: int) -> Iterator[tuple[Any, ...]]:
    entity = b'{"id":"123456","kind":"page","outcome":"migrated","target":"1234567","version":3}'
    actor = b'{"actor":{"key":"' + b"0" * 32 + b'","kind":"service"},"causation":"' + b"1" * 32 + b'","correlation":"'
    body = actor + b"2" * 32 + b'","data":{"entities":[' + b",".join([entity] * 3) + b'],"epoch":1},"schema":1}'
    current = origin(log_id)
    for position in range(1, count + 1):
        stream, version = f"chunk-{(position - 1) // 2:032x}", (position - 1) % 2
        micros, id_ = 1_795_000_000_000_000 + position * 250, f"{position:032x}"
        row = Recorded(position, id_, stream, version, "ChunkEnded", body, micros, b"")
        current = link(current, leaf(record(row)))
        moment = _EPOCH + timedelta(microseconds=micros)
        yield position, UUID(id_), stream, version, "ChunkEnded", body, moment, current


async def measure(count: int) -> dict[str, Any]:
    scratch = Path(tempfile.mkdtemp(prefix="cwt-", dir="/tmp"))
    server = await start_postgres(choose(), scratch / "pg")
    try:
        async with AsyncExitStack() as stack:
            log = Log(await server.fresh_database(), stack)
            sealed = await SealedLog.of(log, await log.store(), scratch)
            admin = await log.connect()
            batch: list[tuple[Any, ...]] = []
            last = b""
            for row in rows(sealed.log_id, count):
                batch.append(row)
                last = row[-1]
                if len(batch) == _BATCH or row[0] == count:
                    await admin.copy_records_to_table("events", schema_name="log", records=batch)
                    batch.clear()
            await admin.execute("UPDATE log.log_head SET position = $1, link = $2, recorded_at = now()", count, last)
            await admin.execute("ANALYZE log.events")
            told: dict[str, Any] = {"events": count, "load": [round(os.getloadavg()[0], 1)]}
            told["bytes_per_event"] = await admin.fetchval("SELECT pg_total_relation_size('log.events')") // count
            began = time.monotonic()
            await sealed.seal()
            told["seal_seconds"] = round(time.monotonic() - began, 1)
            for name in ("export.ndjson", "export.ndjson.gz"):
                kind = "packed_export" if name.endswith(".gz") else "export"
                began, busy = time.monotonic(), time.process_time()
                file = await sealed.export(name=name)
                told[f"{kind}_seconds"] = round(time.monotonic() - began, 1)
                told[f"{kind}_cpu_seconds"] = round(time.process_time() - busy, 1)
                told[f"{kind}_bytes"] = file.stat().st_size
            before = os.times()
            answer = sealed.verify(file)
            after = os.times()
            assert answer["ok"], answer
            told["verify_seconds"] = answer["seconds"]
            told["verify_cpu_seconds"] = round(
                after.children_user + after.children_system - before.children_user - before.children_system, 1
            )
            times = []
            for position in range(1, count, max(1, count // 50)):
                began = time.monotonic()
                await prove_event(sealed.pool, position)
                times.append((time.monotonic() - began) * 1000)
            told["proof_ms_median"], told["proof_ms_worst"] = round(statistics.median(times), 1), round(max(times), 1)
            told["load"].append(round(os.getloadavg()[0], 1))
            return told
    finally:
        await server.stop()
        shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    print(json.dumps(asyncio.run(measure(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000))))
