"""What a page costs, to extrapolate from: ``python -m tests.bench.capacity [--pages 1000]``.

Moves a generated instance through two executors and ends with one line of JSON: events, requests, bytes of log and of the whole
database for each page, pages a second, and the memory of each process. Exit code 1 if the sums do not agree.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.bench.large import memory
from tests.e2e.world import open_world

_SIZES = """
SELECT pg_database_size(current_database()) AS all, pg_total_relation_size('log.events') AS log,
       (SELECT count(*) FROM log.events) AS events
"""


async def measure(pages: int) -> dict[str, Any]:
    """A fifth as many comments as pages, and half as many files of some 100 kB."""
    content = {"spaces": 4, "pages": pages, "users": 50, "attachments": pages // 2, "comments": pages // 5}
    servers = {"wide": {"version": "7.19.0", "seed": 7, "generate": content}}
    with tempfile.TemporaryDirectory(prefix="cwb-", dir="/tmp") as folder:
        async with open_world(Path(folder) / "world", servers=servers, settings={}, fast=False) as world:
            move = await world.move(server="wide")
            before = (await world.rows(_SIZES))[0]
            began = time.monotonic()
            await world.run(move)
            report = await world.ended(move, timeout=3600)
            seconds = time.monotonic() - began
            after = (await world.rows(_SIZES))[0]
            requests = len(await world.journal(move.site_name))
            entities = sum(tally["selected"] for tally in report["kinds"].values())
            return {
                "bench": "capacity",
                "status": report["status"],
                "conserved": report["conserved"],
                "pages": pages,
                "entities": entities,
                "seconds": round(seconds, 1),
                "pages_per_second": round(pages / seconds, 2),
                "site_requests_per_page": round(requests / pages, 2),
                "events_per_page": round((after["events"] - before["events"]) / pages, 3),
                "log_bytes_per_page": round((after["log"] - before["log"]) / pages),
                "database_bytes_per_page": round((after["all"] - before["all"]) / pages),
                "memory_mb": memory(world),
            }


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.capacity", description=__doc__.partition("\n")[0])
    parser.add_argument("--pages", type=int, default=1000)
    document = asyncio.run(measure(parser.parse_args().pages))
    print(json.dumps(document))
    return int(not document["conserved"])


if __name__ == "__main__":
    sys.exit(main())
