"""Probes and metrics."""

import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import httpx

from shared.ops.health import Degraded, OpsServer
from shared.ops.settings import Settings


async def _until(ops: OpsServer, ready: bool) -> None:
    for _ in range(100):
        if ops.ready is ready:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"not {ready} within 5 s")


async def test_readiness_is_red_while_one_check_fails_and_liveness_is_not(tmp_path: Path) -> None:
    broken = True

    async def database() -> None:
        if broken:
            raise ConnectionError("secret detail")

    async def projection() -> None:
        raise Degraded("12 events behind")

    settings = Settings(ops_port=0, run_file=tmp_path / "run" / "planner.json")
    async with OpsServer(settings, "planner", {"database": database, "projection": projection}) as ops:
        told = json.loads((tmp_path / "run" / "planner.json").read_text())
        assert told["ops_port"] == ops.port
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{ops.port}") as http:
            await asyncio.sleep(0.05)
            answer = await http.get("/readyz")
            assert answer.status_code == 503
            assert answer.json()["checks"]["database"] == {"state": "failed", "detail": "ConnectionError"}
            assert (await http.get("/livez")).status_code == 200
            broken = False
            await _until(ops, True)
            answer = await http.get("/readyz")
            assert answer.status_code == 200
            assert answer.json()["checks"]["projection"]["state"] == "degraded"
            assert "cloudward_loop_lag_seconds" in (await http.get("/metrics")).text


_STUCK = """
import asyncio, sys, time
from shared.ops.health import OpsServer
from shared.ops.process import run_service
async def main(settings, stop):
    async with OpsServer(settings, "executor") as ops:
        print(ops.port, flush=True)
        await asyncio.sleep(0.5)
        time.sleep(8)  # no await: the loop is stuck
        await stop.wait()
run_service("executor", main)
"""


def test_a_stuck_event_loop_is_named_while_it_is_stuck_and_no_longer_than_that() -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", _STUCK], stdout=subprocess.PIPE, text=True, env={**os.environ, "CLOUDWARD_OPS_PORT": "0"}
    )
    try:
        assert child.stdout is not None
        port = int(child.stdout.readline())
        for status in (503, 200):
            deadline = time.monotonic() + 15
            while (answer := httpx.get(f"http://127.0.0.1:{port}/readyz", trust_env=False)).status_code != status:
                assert time.monotonic() < deadline, answer.text
                time.sleep(0.1)
            state = answer.json()["checks"]["event loop"]["state"]
            assert state == ("failed" if status == 503 else "ok")
    finally:
        child.kill()
        child.communicate()
