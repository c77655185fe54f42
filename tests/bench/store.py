"""Events per second of the event store, beside two measures, in one run: ``python -m tests.bench.store``.

* store_N: N concurrent callers, each appending one typed event at a time to streams of ten events; with contract, encoding,
  expected version, duplicate check and links. One process, as every service is.
* asyncpg_N: the lower bound of any store: a single-row INSERT of the ready bytes into a table with the same columns and
  indexes over N connections; no lock, no version check, no links, and readers can skip events.
* eventsourcing_N: the Postgres recorder of the library ``eventsourcing`` as it comes, N threads, ready bytes as well.

All against one Postgres with fsync on and the same body. The cases take turns, and what is shown is the median of the rounds.
The last line is one JSON object.
"""

import argparse
import asyncio
import json
import os
import shutil
import statistics
import tempfile
import threading
import time
from collections import defaultdict
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import uvloop
from eventsourcing.persistence import StoredEvent
from eventsourcing.postgres import PostgresApplicationRecorder, PostgresDatastore

from cli.embedded.postgres import EmbeddedPostgres
from shared.events import schema
from shared.events.catalog.chunk import ChunkClaimed
from shared.events.contract import Actor, Context, encode
from shared.events.database import open_pool
from shared.events.store import Append, EventStore
from shared.events.types import new_id
from shared.events.verify import verify_links
from shared.ops.settings import Settings

CONTEXT = Context(actor=Actor(kind="service", key=new_id()), correlation=new_id(), causation=new_id(), command=new_id())
WORKER, TASK, PLAN = new_id(), new_id(), new_id()
STREAM_LENGTH = 10

INSERT = "INSERT INTO raw (event_id, stream, version, type, body, link) VALUES ($1, $2, $3, 'ChunkClaimed', $4, $5)"
TABLE = """
CREATE TABLE raw (
  position bigserial PRIMARY KEY, event_id uuid NOT NULL UNIQUE, stream text COLLATE "C" NOT NULL, version int NOT NULL,
  type text COLLATE "C" NOT NULL, body bytea NOT NULL, recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  link bytea NOT NULL, UNIQUE (stream, version))
"""


def event(chunk: str) -> ChunkClaimed:
    return ChunkClaimed(chunk=chunk, epoch=1, task=TASK, plan=PLAN, worker=WORKER, attempt=1, purpose="work")


BODY = encode(event(new_id()), CONTEXT)


async def store_case(store: EventStore, callers: int, seconds: float) -> float:
    appended = 0
    end = time.perf_counter() + seconds

    async def call() -> None:
        nonlocal appended
        chunk, version = new_id(), -1
        while time.perf_counter() < end:
            answer = await store.append(Append(f"chunk-{chunk}", version, ((new_id(), event(chunk)),), CONTEXT))
            assert answer.outcome == "appended" and answer.version is not None
            version = answer.version
            appended += 1
            if version + 1 == STREAM_LENGTH:
                chunk, version = new_id(), -1

    begin = time.perf_counter()
    await asyncio.gather(*(call() for _ in range(callers)))
    return appended / (time.perf_counter() - begin)


async def asyncpg_case(pool: Any, connections: int, seconds: float) -> float:
    inserted = 0
    end = time.perf_counter() + seconds

    async def call() -> None:
        nonlocal inserted
        link = bytes(32)
        async with pool.acquire() as connection:
            statement = await connection.prepare(INSERT)
            stream, version = f"chunk-{new_id()}", 0
            while time.perf_counter() < end:
                await statement.fetch(uuid4(), stream, version, BODY, link)
                inserted += 1
                version += 1
                if version == STREAM_LENGTH:
                    stream, version = f"chunk-{new_id()}", 0

    begin = time.perf_counter()
    await asyncio.gather(*(call() for _ in range(connections)))
    return inserted / (time.perf_counter() - begin)


def eventsourcing_case(recorder: PostgresApplicationRecorder, threads: int, seconds: float) -> float:
    counts = [0] * threads
    begin = time.perf_counter()
    end = begin + seconds

    def call(number: int) -> None:
        stream, version = uuid4(), 0
        while time.perf_counter() < end:
            recorder.insert_events([StoredEvent(stream, version, "ChunkClaimed", BODY)])
            counts[number] += 1
            version += 1
            if version == STREAM_LENGTH:
                stream, version = uuid4(), 0

    workers = [threading.Thread(target=call, args=(n,)) for n in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(counts) / (time.perf_counter() - begin)


async def measure(server: EmbeddedPostgres, rounds: int, seconds: float) -> dict[str, float]:
    roles = (schema.MIGRATE, *schema.SERVICES)
    await schema.upgrade(server.admin_dsn, {role: server.password(role) for role in roles})
    admin = await asyncpg.create_pool(server.admin_dsn, min_size=8, max_size=8)
    await admin.execute(TABLE)
    datastore = PostgresDatastore(
        "cloudward", str(server.socket), 5432, "postgres", server.password("postgres"), pool_size=8, schema="public"
    )
    recorder = PostgresApplicationRecorder(datastore)
    recorder.create_table()
    settings = Settings(
        database_url=server.url("cw_executor"), database_password_file=server.password_file("cw_executor")
    )
    pool = await open_pool(settings, application="bench")
    found: dict[str, list[float]] = defaultdict(list)
    async with EventStore(pool) as store:
        for number in range(rounds + 1):
            length = 0.5 if number == 0 else seconds  # the first round only warms up
            rates = {
                "store_1": await store_case(store, 1, length),
                "asyncpg_8": await asyncpg_case(admin, 8, length),
                "store_8": await store_case(store, 8, length),
                "eventsourcing_8": await asyncio.to_thread(eventsourcing_case, recorder, 8, length),
                "store_64": await store_case(store, 64, length),
            }
            for name, rate in rates.items() if number else ():
                found[name].append(rate)
        verdict = await verify_links(pool)
        assert verdict.ok, verdict.message
    await pool.close()
    await admin.close()
    datastore.close()
    for name, all_ in found.items():
        print(f"{name:16} {statistics.median(all_):10,.0f} events/s   {min(all_):,.0f} to {max(all_):,.0f}")
    print(f"links of {verdict.checked:,} events checked")
    return {name: round(statistics.median(all_), 1) for name, all_ in found.items()}


async def run(rounds: int, seconds: float) -> None:
    folder = Path(tempfile.mkdtemp(prefix="cwb-", dir="/tmp"))
    server = EmbeddedPostgres(folder)
    try:
        await server.start()
        rates = await measure(server, rounds, seconds)
    finally:
        await server.stop()
        shutil.rmtree(folder, ignore_errors=True)
    to_asyncpg, to_library = rates["store_64"] / rates["asyncpg_8"], rates["store_64"] / rates["eventsourcing_8"]
    print(f"store_64 is {to_asyncpg:.2f} times asyncpg_8 and {to_library:.1f} times eventsourcing_8")
    print(
        json.dumps(
            {
                **rates,
                "ratio_asyncpg": round(to_asyncpg, 2),
                "ratio_eventsourcing": round(to_library, 1),
                "rounds": rounds,
                "seconds": seconds,
                "body_bytes": len(BODY),
                "cores": os.cpu_count(),
            }
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.5, help="length of one measurement")
    given = parser.parse_args()
    uvloop.run(run(given.rounds, given.seconds))


if __name__ == "__main__":
    main()
