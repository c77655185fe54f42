"""Schemathesis on the whole of ``/api/v1``, over HTTP, against real services: ``python -m tests.fuzz``.

A deployment with its stand-ins is started and does a migration; then requests are made from the API's own OpenAPI document, right
ones and wrong ones, and every answer is held against it. Paths name things that exist as often as things that do not. The last
line is one JSON object; the exit code is 1 if anything was found.
"""

import argparse
import asyncio
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.e2e.world import SERVERS, World, open_world

# An answer that has no end cannot be read to its end; tests/unit/dashboard reads its beginning.
ENDLESS = "/api/v1/events/stream"
UNKNOWN = "0" * 32


async def world_values(world: World) -> dict[str, list[str]]:
    """Something in every table, and the ids by the names that paths have for them."""
    move = await world.move("south")
    await world.run(move)
    await world.ended(move)
    second = await world.call("post", f"/plans/{move.plan}/copy", {"name": "copy"})
    analysis = (await world.call("get", f"/sources/{move.source}"))["analysis"]["id"]
    token = (await world.call("post", "/tokens", {"name": "fuzz", "role": "viewer"}))["id"]
    values = {
        "source": [move.source],
        "site": [move.site],
        "plan": [move.plan, second["id"]],
        "analysis": [analysis],
        "token": [token],
    }
    return {name: [*found, UNKNOWN] for name, found in values.items()}


def configuration(values: dict[str, list[str]], token: str) -> str:
    """Of schemathesis, in TOML."""
    lines = [
        "[headers]",
        f'Authorization = "Bearer {token}"',
        "[parameters]",
        *(f'"path.{name}" = {json.dumps(found[0])}' for name, found in values.items()),
        "[[operations]]",
        f'include-path = "{ENDLESS}"',
        "enabled = false",
    ]
    return "\n".join(lines) + "\n"


def run(url: str, folder: Path, examples: int, more: list[str]) -> tuple[int, dict[str, Any]]:
    """Schemathesis' exit code and its own report."""
    report = folder / "report.json"
    done = subprocess.run(
        [
            str(Path(sys.executable).with_name("st")),
            "--config-file",
            str(folder / "schemathesis.toml"),
            "run",
            f"{url}/api/v1/openapi.json",
            *("--checks", "all", "--continue-on-failure", "--generation-deterministic", "--no-color"),
            *("--max-examples", str(examples), "--request-timeout", "30"),
            *("--report", "json", "--report-json-path", str(report)),
            *more,
        ],
        cwd=folder,
        check=False,
    )
    return done.returncode, json.loads(report.read_text()) if report.exists() else {}


async def measure(folder: Path, examples: int, more: list[str]) -> int:
    servers = {"south": SERVERS["south"]}
    async with open_world(folder / "data", servers=servers, executors=1) as world:
        values = await world_values(world)
        (folder / "schemathesis.toml").write_text(configuration(values, world.house.token))
        began = time.monotonic()
        code, report = await asyncio.to_thread(run, world.house.dashboard_url, folder, examples, more)
        seconds = time.monotonic() - began
    (Path("/tmp") / "st-report.json").write_text(json.dumps(report))
    sys.stdout.write(json.dumps({"bench": "fuzz", "exit": code, "seconds": round(seconds, 1)}) + "\n")
    return int(code != 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=30, help="requests of each kind and operation")
    given, more = parser.parse_known_args()
    folder = Path(tempfile.mkdtemp(prefix="cwf-", dir="/tmp"))
    try:
        code = asyncio.run(measure(folder, given.examples, more))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
