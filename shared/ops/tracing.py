"""Traces: off unless ``CLOUDWARD_OTLP_ENDPOINT`` says where to send them.

One trace for a command, from the click through NATS to the events it appended; a new one for each chunk, linked to the
command's, since a plan would be one trace without an end. Spans hold ids, codes and templates of paths: never an address,
a query, a title or a name.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import structlog
from opentelemetry import context as otel
from opentelemetry import trace
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from shared.ops.metrics import RELEASE
from shared.ops.settings import Settings

if TYPE_CHECKING:
    from shared.events.contract import Context

HEADER = "traceparent"
_PROPAGATOR = TraceContextTextMapPropagator()
_ON = [False]
_TRACER = trace.get_tracer("cloudward", RELEASE)


def configure(service: str, settings: Settings) -> None:
    """Sends the spans of this process by OTLP over HTTP, in batches, from a thread. Without an endpoint nothing happens."""
    if settings.otlp_endpoint is None:
        return
    # Imported here: they cost start-up time and memory that only who traces should pay.
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

    resource = Resource.create(
        {"service.name": f"cloudward-{service}", "service.namespace": "cloudward", "service.version": RELEASE}
    )
    provider = TracerProvider(resource=resource, sampler=ParentBased(TraceIdRatioBased(settings.otlp_ratio)))
    exporter = OTLPSpanExporter(endpoint=f"{settings.otlp_endpoint.rstrip('/')}/v1/traces", timeout=5)
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=2000))
    trace.set_tracer_provider(provider)
    _ON[0] = True


@contextmanager
def span(
    name: str,
    kind: SpanKind = SpanKind.INTERNAL,
    attributes: Mapping[str, str | int | float | bool] | None = None,
    *,
    parent: str | None = None,
    link: str | None = None,
    new: bool = False,
) -> Iterator[Span]:
    """A span around a block; an exception is noted by its class alone.

    ``parent``: traceparent of who caused it. ``link``: traceparent of what it has to do with. ``new``: of a trace of its own.
    """
    where = _remote(parent) if parent else (otel.Context() if new else None)
    linked = _context(link)
    current = _TRACER.start_span(
        name, where, kind, dict(attributes or {}), links=[Link(linked)] if linked is not None else None
    )
    with trace.use_span(current, end_on_exit=True, record_exception=False, set_status_on_exception=False):
        context = current.get_span_context()
        ids = {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"} if context.is_valid else {}
        with structlog.contextvars.bound_contextvars(**ids):
            try:
                yield current
            except Exception as error:
                current.set_attribute("error.type", type(error).__name__)
                current.set_status(Status(StatusCode.ERROR))
                raise


def on() -> bool:
    """Whether this process sends spans."""
    return _ON[0]


def traceparent() -> str | None:
    """Of the span under way, for who is called or for an event; None without one."""
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier)
    return carrier.get(HEADER)


def headers() -> dict[str, str]:
    """Of a message that is sent from the span under way."""
    found = traceparent()
    return {HEADER: found} if found else {}


def traced(context: "Context") -> "Context":
    """The envelope of an event with the span under way, if there is one and it does not name another."""
    if context.trace is None and (found := traceparent()) is not None:
        return context.model_copy(update={"trace": found})
    return context


def _remote(parent: str) -> otel.Context:
    return _PROPAGATOR.extract({HEADER: parent}, context=otel.Context())


def _context(parent: str | None) -> SpanContext | None:
    if parent is None:
        return None
    found: Any = trace.get_current_span(_remote(parent)).get_span_context()
    return found if found.is_valid else None
