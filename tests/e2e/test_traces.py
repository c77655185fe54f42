"""A click is one trace through NATS to its events; the chunks it leads to have traces that point back at it, down to the site."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.e2e.world import World
from tests.privacy import Collector

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


def spans_of(requests: Sequence[ExportTraceServiceRequest]) -> list[Seen]:
    found = []
    for resource in (each for request in requests for each in request.resource_spans):
        names = {a.key: a.value.string_value for a in resource.resource.attributes}
        for span in (span for scope in resource.scope_spans for span in scope.spans):
            links = tuple(link.trace_id for link in span.links)
            ids = (span.trace_id, span.span_id, span.parent_span_id)
            found.append(Seen(names["service.name"], span.name, *ids, links, str(span)))
    return found


async def test_one_trace_leads_from_the_click_through_nats_to_the_site(
    world: World, south: str, collector: Collector
) -> None:
    move, before = await world.plan(south), len(collector.requests)
    await world.run(move)
    assert (await world.ended(move))["status"] == "FINISHED"
    await asyncio.sleep(3)  # spans are sent in batches

    spans = spans_of(collector.requests[before:])
    by_id = {span.id: span for span in spans}
    roots = [s for s in spans if s.service == "cloudward-dashboard" and not s.parent and "run" in s.name]
    assert roots, {s.name for s in spans if s.service == "cloudward-dashboard"}
    click = roots[-1]  # before it, the last one of another test may have come late
    in_planner = [s for s in spans if s.trace == click.trace and s.service == "cloudward-planner"]
    assert in_planner, "the command's trace ends before the planner"
    assert all(span.parent in by_id for span in in_planner)

    chunks = {s.trace for s in spans if s.service == "cloudward-executor" and click.trace in s.links}
    assert len(chunks) > 3, "no chunk points back at the click"
    requests = [s for s in spans if s.trace in chunks and s.service == "cloudward-executor" and s.parent]
    assert any("/wiki/api/v2/pages" in s.text for s in requests), {s.name for s in requests}

    # Templates of paths, never what stands in them.
    assert not [s.name for s in spans if move.url in s.text or "Hushmere" in s.text or "token" in s.text.lower()]
