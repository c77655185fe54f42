"""An analysis of a large source by real processes, and listing its spaces: ``python -m tests.bench.analysis``.

The source is a generated server of the sandbox. Measured: how long the analysis takes, the most memory the analyzer ever had
(VmHWM), and how long the API takes to list and filter the spaces, each request anew, over HTTP. With ``--kills`` the source is
analyzed once more, while the analyzer is killed that often at random moments: the numbers have to be the same. The last line is
one JSON object.
"""

import argparse
import asyncio
import json
import os
import random
import shutil
import signal
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from cli.client import Client
from cli.embedded.supervisor import Supervisor
from cli.tryout import SERVER_TOKEN

_LISTS = 200


def _memory(pid: int | None, field: str = "VmHWM") -> int:
    """Megabytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) // 1024
    return 0


def _listing(client: Client, analysis: str, rounds: int) -> list[float]:
    chance, times = random.Random(1), []
    for n in range(rounds):
        query: dict[str, Any] = [
            {"search": chance.choice("abcdefgh") + chance.choice("aeiou")},
            {"type": "global", "status": "current", "sort": "pages"},
            {"offset": chance.randrange(5000)},
            {"sort": "last_edit", "search": str(chance.randrange(10, 99))},
        ][n % 4]
        began = time.perf_counter()
        client.get(f"/analyses/{analysis}/spaces", limit=100, **query)
        times.append((time.perf_counter() - began) * 1000)
    return times


async def killed(house: Supervisor, client: Client, source: str, kills: int, spaces: int) -> dict[str, Any]:
    """The analysis made again, with the analyzer killed while it lists, and then at random numbers of spaces analyzed; what it
    found, and how many spaces it had analyzed at each kill."""
    chance = random.Random(5)
    analysis = (await asyncio.to_thread(client.post, f"/sources/{source}/analyses"))["id"]
    ending = asyncio.create_task(asyncio.to_thread(client.analyzed, analysis, pause=1))
    done = []
    for moment in [0, *sorted(chance.randrange(1, spaces) for _ in range(kills - 1))]:
        await asyncio.sleep(chance.uniform(0, 5))
        now = await asyncio.to_thread(client.get, f"/analyses/{analysis}")
        while now["spaces_analyzed"] < moment and not ending.done():
            await asyncio.sleep(0.2)
            now = await asyncio.to_thread(client.get, f"/analyses/{analysis}")
        if ending.done():
            break
        done.append(now["spaces_analyzed"])
        os.kill(house.pid("analyzer") or 0, signal.SIGKILL)
    found = await ending
    return {"state": found["state"], "numbers": found["numbers"], "killed_at_spaces": done}


async def measure(folder: Path, spaces: int, users: int, pages: int, version: str, kills: int) -> dict[str, Any]:
    options = {"version": version, "generate": {"spaces": spaces, "pages": pages, "users": users}, "journal": 1000}
    sandbox = {
        "admin_port": 0,
        "host": "127.0.0.1",
        "instances": [{"name": "large", "kind": "server", "port": 0, "options": options}],
    }
    async with Supervisor(folder / "data", export_roots=[], sandbox=sandbox, executors=1, fast=True) as house:
        (large,) = house.sandbox["instances"]
        client = Client(house.dashboard_url, house.token, patience=60)
        body = {"name": "large", "location": large["url"], "credential": {"token": SERVER_TOKEN}}
        source = (await asyncio.to_thread(client.post, "/sources", body))["id"]
        idle = _memory(house.pid("analyzer"), "VmRSS")
        began = time.monotonic()
        analysis = (await asyncio.to_thread(client.post, f"/sources/{source}/analyses"))["id"]

        def tell(found: dict[str, Any]) -> None:
            sys.stderr.write(
                f"\r{found['users_listed']} users, {found['spaces_analyzed']}/{found['spaces_listed']} spaces "
            )

        found = await asyncio.to_thread(lambda: client.analyzed(analysis, each=tell, pause=1))
        seconds = time.monotonic() - began
        assert found["state"] == "completed", found
        times = await asyncio.to_thread(_listing, client, analysis, _LISTS)
        most = _memory(house.pid("analyzer"))
        again = await killed(house, client, source, kills, spaces) if kills else {}
        return {
            "bench": "analysis",
            "spaces": found["numbers"]["spaces"],
            "users": found["numbers"]["users"],
            "pages": found["numbers"]["pages"],
            "seconds": round(seconds, 1),
            "analyzer_mb_before": idle,
            "analyzer_mb_most": most,
            "list_ms_median": round(statistics.median(times), 1),
            "list_ms_p95": round(sorted(times)[int(len(times) * 0.95)], 1),
            "lists": len(times),
            **({"killed": again, "same_after_kills": again["numbers"] == found["numbers"]} if kills else {}),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spaces", type=int, default=10_000)
    parser.add_argument("--users", type=int, default=50_000)
    parser.add_argument("--pages", type=int, default=20_000)
    parser.add_argument("--version", default="9.2.1")
    parser.add_argument("--kills", type=int, default=0, help="of the analyzer, in a second analysis")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="cwb-", dir="/tmp"))
    try:
        result = asyncio.run(measure(folder, given.spaces, given.users, given.pages, given.version, given.kills))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    sys.stderr.write("\n")
    sys.stdout.write(json.dumps(result) + "\n")
    sys.exit(int(not result.get("same_after_kills", True)))


if __name__ == "__main__":
    main()
