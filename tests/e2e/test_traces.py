"""A click is one trace through NATS to its events; the chunks it leads to have traces that point back at it, down to the site."""

import asyncio
import gzip
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import pytest_asyncio
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.e2e.world import QUICK, World, open_world

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Seen:
    """A span as a collector gets it."""

    service: str
    name: str
    trace: bytes
    id: bytes
    parent: bytes
    links: tuple[bytes, ...]  # traces
    text: str  # all of it


class Collector:
    def __init__(self) -> None:
        self.spans: list[Seen] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                collector.take(ExportTraceServiceRequest.FromString(body))
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """Spans come all the time."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def take(self, request: ExportTraceServiceRequest) -> None:
        for resource in request.resource_spans:
            names = {a.key: a.value.string_value for a in resource.resource.attributes}
            for scope in resource.scope_spans:
                for span in scope.spans:
                    links = tuple(link.trace_id for link in span.links)
                    ids = (span.trace_id, span.span_id, span.parent_span_id)
                    self.spans.append(Seen(names["service.name"], span.name, *ids, links, str(span)))

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.server.shutdown()
    collector.server.server_close()


@pytest_asyncio.fixture
async def traced(collector: Collector, tmp_path: Path) -> AsyncIterator[World]:
    servers = {"south": {"version": "7.19.0", "sample": "south"}}
    settings = {**QUICK, "CLOUDWARD_OTLP_ENDPOINT": collector.endpoint}
    async with open_world(tmp_path / "data", servers=servers, settings=settings) as world:
        yield world


async def test_one_trace_leads_from_the_click_through_nats_to_the_site(traced: World, collector: Collector) -> None:
    move = await traced.move(server="south")
    await traced.run(move)
    assert (await traced.ended(move))["status"] == "FINISHED"
    await asyncio.sleep(3)  # spans are sent in batches

    by_id = {span.id: span for span in collector.spans}
    roots = {
        s.trace: s for s in collector.spans if s.service == "cloudward-dashboard" and not s.parent and "run" in s.name
    }
    assert roots, {s.name for s in collector.spans if s.service == "cloudward-dashboard"}
    (click,) = roots.values()
    in_planner = [s for s in collector.spans if s.trace == click.trace and s.service == "cloudward-planner"]
    assert in_planner, "the command's trace ends before the planner"
    assert all(span.parent in by_id for span in in_planner)

    chunks = {s.trace for s in collector.spans if s.service == "cloudward-executor" and click.trace in s.links}
    assert len(chunks) > 3, "no chunk points back at the click"
    requests = [s for s in collector.spans if s.trace in chunks and s.service == "cloudward-executor" and s.parent]
    assert any("/wiki/api/v2/pages" in s.text for s in requests), {s.name for s in requests}

    # Templates of paths, never what stands in them.
    assert not [
        s.name for s in collector.spans if move.url in s.text or "Hushmere" in s.text or "token" in s.text.lower()
    ]
