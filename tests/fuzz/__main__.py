"""Schemathesis on the whole of ``/api/v1``, over HTTP, against real services: ``python -m tests.fuzz``.

A deployment with its stand-ins is started and does a migration; then requests are made from the API's own OpenAPI document, right
ones and wrong ones, and every answer is held against it. Paths name things that exist. The last
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
# Rules between two fields, of a text that is uploaded, or of this deployment (which addresses may be called): no schema says them,
# so what the schema allows may be refused here with 422.
RULES = (
    "/plan-file",
    "/sources",
    "/sources/{source}/credential",
    "/sources/{source}/addresses",
    "/sources/{source}/domains.csv",
    "/sources/{source}/maps",
    "/sites",
    "/sites/{site}/credential",
    "/webhooks",
)
_ACCEPTED = ["2xx", "3xx", "401", "403", "404", "409", "422", "429", "5xx"]


async def world_values(world: World) -> dict[str, str]:
    """Something in every table, and the ids by the names that paths have for them."""
    move = await world.move("south")
    await world.run(move)
    await world.ended(move)
    second = await world.call("post", f"/plans/{move.plan}/copy", {"name": "copy"})
    analysis = (await world.call("get", f"/sources/{move.source}"))["analysis"]["id"]
    hook = await world.call("post", "/webhooks", {"name": "fuzz", "url": "https://hooks.example.com/"})
    delivery = (await world.call("post", f"/webhooks/{hook['id']}/test"))["id"]
    token = (await world.call("post", "/tokens", {"name": "fuzz", "role": "viewer"}))["id"]
    return {
        "source": move.source,
        "site": move.site,
        "plan": second["id"],
        "analysis": analysis,
        "token": token,
        "webhook": hook["id"],
        "delivery": delivery,
    }


def configuration(values: dict[str, str], token: str) -> str:
    """Of schemathesis, in TOML."""
    lines = [
        "[headers]",
        f'Authorization = "Bearer {token}"',
        "[parameters]",
        *(f'"path.{name}" = {json.dumps(found)}' for name, found in values.items()),
        "[[operations]]",
        f'include-path = "{ENDLESS}"',
        "enabled = false",
    ]
    for path in RULES:
        lines += ["[[operations]]", 'include-method = "POST"', f'include-path = "/api/v1{path}"']
        lines.append(f"checks.positive_data_acceptance.expected-statuses = {json.dumps(_ACCEPTED)}")
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
    cases = report.get("test_cases", {})
    result = {
        "bench": "fuzz",
        "operations": report.get("operations", {}).get("tested"),
        "of": report.get("operations", {}).get("total"),
        "requests": cases.get("generated"),
        "found": cases.get("unique_failures"),
        "complete": report.get("complete"),
        "seconds": round(seconds, 1),
    }
    sys.stdout.write(json.dumps(result) + "\n")
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
