"""The scan for what must be nowhere but in ``people.*``: over all that test runs leave behind.

Names and texts that tests plant hold the canary. ``tests/conftest.py`` has every database looked at before it is dropped,
every Cloudward that a test starts before it ends (its log, metrics, log files, what JetStream keeps, every message that went
over NATS), every trace sent to ``Collector``, and every problem document that any client in a test receives.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import re
import threading
from collections.abc import Iterable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from unittest import mock

import asyncpg
import httpx
from google.protobuf.text_format import MessageToString
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from cli.embedded.supervisor import Supervisor
from cli.tryout import SERVER_TOKEN, SITE_CREDENTIAL

#: The canary: letters only, so that it can be part of a space key; a word that nothing else uses.
CANARY = "zaunkoenig"
#: Credentials of the stand-ins, and the wrong one that tests try.
TOKENS = (
    SERVER_TOKEN,
    SITE_CREDENTIAL["token"],
    "wrong-token",
    "sandbox-org-key",
    "sandbox-scim-key",
    "sandbox-client-secret",
)
# Each begins with letters of its own, so that the search runs over most bytes at once: an address is found by its end; an
# account id; user and password in an address.
_SHAPES = (
    re.compile(rb"@[\w-]+\.[a-z]{2,}\b"),
    re.compile(rb"\b712020:[0-9a-f]{8}-"),
    re.compile(rb"//[^/\s\"@]+:[^/\s\"@]+@"),
)
_PRIVATE_SQL = rf"{CANARY}|[[:alnum:]]@[[:alnum:]-]+\.[a-z]{{2,}}|712020:[0-9a-f]{{8}}-|\m({'|'.join(TOKENS)})\M"


class Scan:
    """``found``: (place, what) of everything that should not be there. ``looked``: bytes looked at, by kind of place."""

    def __init__(self) -> None:
        self.found: set[tuple[str, str]] = set()
        self.looked: dict[str, int] = {}
        self._words = [token.encode() for token in TOKENS]

    def seek(self, words: Iterable[str]) -> None:
        """Seeks these words too, whole."""
        self._words += [word.encode() for word in words]

    def look(self, kind: str, place: str, data: bytes) -> None:
        self.looked[kind] = self.looked.get(kind, 0) + len(data)
        places = [match.start() for shape in _SHAPES for match in shape.finditer(data)]
        places += _finds(data.lower(), CANARY.encode())
        for word in self._words:
            places += [at for at in _finds(data, word) if not _joined(data, at, at + len(word))]
        for at in places:
            self.found.add((f"{kind}: {place}", data[max(0, at - 60) : at + 60].decode(errors="replace")))

    async def database(self, place: str, dsn: str) -> None:
        """The events of a log. Where there is no log, or no database any more, there is nothing to find."""
        with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError):
            connection = await asyncpg.connect(dsn, timeout=5)
            try:
                rows = await connection.fetch(
                    "SELECT convert_to(concat_ws(' ', position, stream, type, ''), 'UTF8') || body AS event FROM log.events"
                    " WHERE encode(body, 'escape') ~* $1 OR stream ~* $1 OR type ~* $1 ORDER BY position LIMIT 20",
                    _PRIVATE_SQL,
                )
                self.looked["events"] = self.looked.get("events", 0) + await connection.fetchval(
                    "SELECT coalesce(sum(octet_length(body)), 0)::bigint FROM log.events"
                )
            finally:
                await connection.close()
            for row in rows:
                self.found.add((f"events: {place}", row["event"].decode(errors="replace")[:400]))

    async def house(self, house: Supervisor) -> None:
        """A Cloudward under way: its events, and the metrics of each service."""
        if not house.postgres.running:
            return
        await self.database(house.data.name, house.postgres.admin_dsn)
        async with httpx.AsyncClient(timeout=2, trust_env=False) as http:
            for service in house.services.values():
                if (port := service.told().get("ops_port")) is None:
                    continue  # it is starting
                with contextlib.suppress(httpx.HTTPError):
                    answer = await http.get(f"http://127.0.0.1:{port}/metrics")
                    self.look("metrics", service.name, answer.content)

    def folder(self, data: Path) -> None:
        """What a Cloudward wrote: log lines, and all that went over NATS: every message as it came, or what JetStream keeps of
        them. The sandbox is no part of a deployment."""
        traced = data / "logs" / "nats.log"
        kept = [] if traced.exists() and b"MSG_PAYLOAD" in traced.read_bytes() else (data / "nats").rglob("*")
        for file in [*kept, *(data / "logs").glob("*.log")]:
            if file.is_file() and file.name != "sandbox.log":
                kind = "nats" if "nats" in file.relative_to(data).parts or file.name == "nats.log" else "logs"
                with contextlib.suppress(OSError):
                    self.look(kind, str(file.relative_to(data)), file.read_bytes())

    def answer(self, response: httpx.Response) -> None:
        """An answer that a client got, if it is a problem document."""
        kind = response.headers.get("content-type", "")
        if kind.startswith("application/problem+json") and response.is_stream_consumed:
            self.look("problems", f"{response.request.method} {response.status_code}", response.content)

    def kept(self) -> str:
        """As text, for ``add``."""
        return json.dumps({"found": sorted(self.found), "looked": self.looked})

    def add(self, kept: str) -> None:
        """What another process saw."""
        told = json.loads(kept)
        self.found |= {(place, what) for place, what in told["found"]}
        for kind, size in told["looked"].items():
            self.looked[kind] = self.looked.get(kind, 0) + size

    @contextlib.contextmanager
    def watching(self, *, every_message: bool = True) -> Iterator[None]:
        """Whatever tests start and receive in this process meanwhile is looked at. ``every_message``: each that goes over NATS,
        else what JetStream keeps of them in the end."""
        start, stop = Supervisor.start, Supervisor.stop
        send, asend = httpx.Client.send, httpx.AsyncClient.send

        async def started(house: Supervisor) -> None:
            house.nats.trace = every_message
            await start(house)

        async def stopped(house: Supervisor) -> None:
            await self.house(house)
            await stop(house)
            self.folder(house.data)

        def sent(client: httpx.Client, *words: Any, **more: Any) -> httpx.Response:
            response = send(client, *words, **more)
            self.answer(response)
            return response

        async def asent(client: httpx.AsyncClient, *words: Any, **more: Any) -> httpx.Response:
            response = await asend(client, *words, **more)
            self.answer(response)
            return response

        with contextlib.ExitStack() as stack:
            for owner, name, watched in (
                (Supervisor, "start", started),
                (Supervisor, "stop", stopped),
                (httpx.Client, "send", sent),
                (httpx.AsyncClient, "send", asent),
            ):
                stack.enter_context(mock.patch.object(owner, name, watched))
            yield


def _finds(data: bytes, word: bytes) -> Iterator[int]:
    at = data.find(word)
    while at >= 0:
        yield at
        at = data.find(word, at + 1)


def _joined(data: bytes, start: int, end: int) -> bool:
    """Whether what stands there is part of a longer word."""
    around = data[max(0, start - 1) : start] + data[end : end + 1]
    return any(each.isalnum() or each in ("_", "-") for each in around.decode("latin-1"))


#: Of this test run.
SCAN = Scan()


# Of spans and traces: bytes of chance, in which anything may be read.
_RANDOM_IDS = re.compile(rb'(?m)^\s*(?:parent_)?(?:span|trace)_id: ".*"$')


class Collector:
    """Takes traces by OTLP over HTTP, as a backend would, and has them looked at. ``kept``: all of them, as text; ``requests``: as
    they came."""

    def __init__(self, scan: Scan) -> None:
        kept = self.kept = bytearray()
        requests = self.requests = list[ExportTraceServiceRequest]()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                data = self.rfile.read(int(self.headers.get("content-length", 0)))
                if self.headers.get("content-encoding") == "gzip":
                    data = gzip.decompress(data)
                requests.append(ExportTraceServiceRequest.FromString(data))
                text = MessageToString(requests[-1], as_utf8=True).encode()
                text = _RANDOM_IDS.sub(b"", text)
                kept.extend(text)
                scan.look("traces", self.path, text)
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *arguments: Any) -> None:
                """Nobody reads it."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def report(found: Iterable[tuple[str, str]]) -> str:
    """For people: at most thirty of what was found."""
    lines = [f"{place}: {json.dumps(what, ensure_ascii=False)}" for place, what in sorted(found)]
    return "\n".join(lines[:30])
