"""``python -m tests.bench.sandbox``: how many page creations a second one sandbox process answers to 16 connections.

The client writes prepared requests on raw sockets and reads answers by their length: it has to cost little, since it shares
the machine with what is measured. The last line is JSON; below the floor the exit status is 1.
"""

import argparse
import asyncio
import base64
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import cast

import httpx
import uvloop

CONNECTIONS = 16
FLOOR = 1_500
_LOGIN = base64.b64encode(b"migrator@example.com:sandbox-token").decode()
_BODY = "<p>" + "A sentence as it stands on a page of middle length. " * 20 + "</p>"


def _request(host: str, space: str, number: int) -> bytes:
    body = json.dumps(
        {
            "spaceId": space,
            "status": "current",
            "title": f"Page {number}",
            "body": {"representation": "storage", "value": _BODY},
        }
    ).encode()
    head = (
        f"POST /wiki/api/v2/pages HTTP/1.1\r\nHost: {host}\r\nAuthorization: Basic {_LOGIN}\r\n"
        f"Content-Type: application/json\r\nAccept: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class _Connection(asyncio.Protocol):
    """Sends the next request when an answer is whole."""

    def __init__(self, requests: list[bytes], done: asyncio.Future[None]) -> None:
        self._requests, self._done = iter(requests), done
        self._buffer = bytearray()
        self.answered = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own class is not one by name
        self._next()

    def _next(self) -> None:
        request = next(self._requests, None)
        if request is not None:
            self._transport.write(request)
        elif not self._done.done():
            self._done.set_result(None)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = bytes(self._buffer[:end]).lower()
        length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
        if len(self._buffer) < end + 4 + length:
            return
        if not self._buffer.startswith(b"HTTP/1.1 200"):
            self._done.set_exception(RuntimeError(bytes(self._buffer[:500]).decode("latin-1")))
            return
        self.answered += 1
        self._buffer.clear()
        self._next()


async def _drive(url: str, pages: int, admin: str) -> float:
    host = url.removeprefix("http://")
    async with httpx.AsyncClient(auth=("migrator@example.com", "sandbox-token"), trust_env=False) as client:
        reply = await client.post(f"{url}/wiki/rest/api/space", json={"key": "BENCH", "name": "Bench"})
        space = str(reply.json()["id"])
        each = pages // CONNECTIONS
        work = [[_request(host, space, part * each + number) for number in range(each)] for part in range(CONNECTIONS)]
        loop = asyncio.get_running_loop()
        name, _, port = host.partition(":")
        began = time.perf_counter()
        waiting = []
        for requests in work:
            done: asyncio.Future[None] = loop.create_future()
            await loop.create_connection(
                lambda requests=requests, done=done: _Connection(requests, done), name, int(port)
            )
            waiting.append(done)
        await asyncio.gather(*waiting)
        seconds = time.perf_counter() - began
        created = (await client.get(f"{admin}/sites/bench/created", params={"least": 1})).json()["created"]
        found = sum(item["kind"] == "page" for item in created)
        if found != each * CONNECTIONS:
            raise RuntimeError(f"{each * CONNECTIONS} pages were asked for, {found} are there")
    return each * CONNECTIONS / seconds


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.sandbox", description=__doc__)
    parser.add_argument("--pages", type=int, default=8_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    rates = []
    for _ in range(arguments.rounds):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "sandbox.json"
            path.write_text(json.dumps({"instances": [{"name": "bench", "kind": "cloud"}]}))
            command = [sys.executable, "-m", "sandbox", "--config", str(path), "--with-parent"]
            with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
                try:
                    assert process.stdout is not None
                    told = json.loads(process.stdout.readline())
                    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                        rates.append(
                            runner.run(_drive(told["instances"][0]["url"], arguments.pages, told["admin"]["url"]))
                        )
                finally:
                    process.terminate()
    rate = sorted(rates)[len(rates) // 2]
    line = {
        "page_creations_per_second": round(rate),
        "rounds": [round(value) for value in rates],
        "connections": CONNECTIONS,
        "pages": arguments.pages,
        "floor": FLOOR,
    }
    print(json.dumps(line))
    return int(rate < FLOOR)


if __name__ == "__main__":
    sys.exit(main())
