"""Every metric there is, in one table, so that dashboards and alerts have names to rely on.

All begin with ``cloudward_``; durations are in seconds, sizes in bytes. Labels hold codes, phases, kinds and random ids of
plans and sites: never a name, a title, an address or a path with ids in it. Which process exports which is in
docs/operations.md.
"""

import time
from importlib.metadata import version
from typing import Any

from prometheus_client import REGISTRY, Counter, Gauge, Histogram

RELEASE = version("cloudward")
# As OpenTelemetry advises for HTTP, and finer below: an append takes a millisecond.
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_CHUNK_SECONDS = (0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0)
_BATCH = (1, 2, 5, 10, 25, 50, 100, 256, 1000)

# Every process
BUILD_INFO = Gauge("cloudward_build_info", "1; the release is in the label.", ["service", "version"])
READY = Gauge("cloudward_ready", "1 where a check of /readyz is not red.", ["service", "check"])
LOOP_LAG = Gauge("cloudward_loop_lag_seconds", "How late the event loop ran its last tick.")
POOL_SIZE = Gauge("cloudward_db_pool_size", "Connections to Postgres that this process holds.")
POOL_IN_USE = Gauge("cloudward_db_pool_in_use", "Connections to Postgres that are in use.")

# The event store, in every process that appends
APPENDS = Counter("cloudward_append_commands_total", "Commands to the store by what became of them.", ["outcome"])
APPEND_ERRORS = Counter("cloudward_append_errors_total", "Commands that Postgres did not take, or refused.")
APPEND_SECONDS = Histogram("cloudward_append_duration_seconds", "Time of one call to the store.", buckets=_SECONDS)
APPEND_BATCH = Histogram("cloudward_append_batch_events", "Events in one call to the store.", buckets=_BATCH)
LOG_POSITION = Gauge("cloudward_log_position", "The end of the log, as this process knows it.")

# Readers of the log
PROJECTION_POSITION = Gauge(
    "cloudward_projection_position", "Position of the log that a projection shows.", ["projection"]
)
PROJECTION_LAG_EVENTS = Gauge(
    "cloudward_projection_lag_events", "Events that a projection has not taken in.", ["projection"]
)
PROJECTION_LAG = Gauge(
    "cloudward_projection_lag_seconds",
    "Time for which a projection has not moved though there is more.",
    ["projection"],
)
PROJECTION_STOPPED = Gauge(
    "cloudward_projection_stopped", "1 while a projection stands still before an event it cannot pass.", ["projection"]
)
RELAY_LEADER = Gauge("cloudward_relay_leader", "1 on the planner that leads.")
RELAY_POSITION = Gauge("cloudward_relay_position", "Position up to which the log is published on NATS.")
RELAY_LAG = Gauge("cloudward_relay_lag_seconds", "Time for which the relay has not moved though there is more.")

# NATS
CONSUMER_PENDING = Gauge("cloudward_consumer_pending", "Hints not delivered yet.", ["stream", "consumer"])
CONSUMER_ACK_PENDING = Gauge("cloudward_consumer_ack_pending", "Hints under way.", ["stream", "consumer"])
CONSUMER_REDELIVERED = Gauge("cloudward_consumer_redelivered", "Hints under way again.", ["stream", "consumer"])
CONSUMER_LAG = Gauge(
    "cloudward_consumer_lag", "Hints not acknowledged: what executors are scaled by.", ["stream", "consumer"]
)
LAST_FETCH = Gauge(
    "cloudward_consumer_last_fetch_timestamp_seconds", "When this process last asked for hints.", ["consumer"]
)

# Work
IN_FLIGHT = Gauge("cloudward_chunks_in_flight", "Chunks this process works on.")
CHUNKS = Counter("cloudward_chunks_total", "Claimed chunks by how the claim ended.", ["phase", "outcome"])
CHUNK_SECONDS = Histogram(
    "cloudward_chunk_duration_seconds", "From claim to end of a chunk.", ["phase"], buckets=_CHUNK_SECONDS
)
CHUNK_ATTEMPTS = Counter("cloudward_chunk_attempts_total", "Claims of chunks: first or retry.", ["attempt"])
ENTITIES = Counter("cloudward_entities_total", "Entities by outcome.", ["kind", "outcome"])
LEASES_EXPIRED = Counter("cloudward_leases_expired_total", "Chunks taken over from a worker whose lease ran out.")

# Source and site
HTTP_REQUESTS = Counter(
    "cloudward_http_client_requests_total",
    "Requests to sources and sites. status: the code, or timeout, refused, broken.",
    ["side", "site", "operation", "status"],
)
HTTP_SECONDS = Histogram(
    "cloudward_http_client_duration_seconds", "Time to the head of the answer.", ["side", "operation"], buckets=_SECONDS
)
SITE_CONCURRENCY = Gauge(
    "cloudward_site_concurrency_limit", "Requests at once that this process allows itself.", ["site"]
)
SITE_RETRY_AFTER = Gauge("cloudward_site_retry_after_seconds", "The last wait a site asked for.", ["site"])

# Plans, exported by the dashboard from its read models
PLAN_RUNNING = Gauge("cloudward_plan_running", "1 for a plan that runs.", ["plan"])
PLAN_STUCK = Gauge("cloudward_plan_stuck", "1 for a running plan that stands still until a person looks.", ["plan"])
PLAN_PAUSED = Gauge("cloudward_plan_paused", "1 for a running plan that is paused.", ["plan"])
PLAN_THROTTLED = Gauge("cloudward_plan_throttled", "1 while the site of a running plan asks to wait.", ["plan"])
PLAN_ENTITIES = Gauge("cloudward_plan_entities_total", "Entities selected, as far as they are counted.", ["plan"])
PLAN_DONE = Gauge("cloudward_plan_entities_done_total", "Entities with an outcome.", ["plan"])
PLAN_RATE = Gauge("cloudward_plan_entities_per_second", "Entities done per second, over ten minutes.", ["plan"])
PLAN_SECONDS_LEFT = Gauge("cloudward_plan_seconds_left", "What is left at that rate.", ["plan"])
CONSERVATION = Gauge("cloudward_conservation_difference", "Ended plans whose sums do not agree.")
SSE_CONNECTIONS = Gauge("cloudward_sse_connections", "Live pages and event streams that are open.")

# The sealer
CHECKPOINT_TIMESTAMP = Gauge(
    "cloudward_audit_checkpoint_timestamp_seconds", "When the log was last found sealed up to its end."
)
CHECKPOINT_POSITION = Gauge("cloudward_audit_checkpoint_position", "Events under the newest checkpoint.")
VERIFY_FAILED = Gauge("cloudward_audit_verify_failed", "1 while the sealer refuses to sign the log.")


class Standing:
    """For how long a reader has not moved though there is more to read. ``seen(position, head)`` on every look."""

    def __init__(self) -> None:
        self._position = -1
        self._since = time.monotonic()

    def seen(self, position: int, head: int) -> float:
        """Seconds; 0 for a reader that is at the end."""
        now = time.monotonic()
        if position != self._position or position >= head:
            self._position, self._since = position, now
        return now - self._since


def watch_pool(pool: Any) -> None:
    """Size and use of the process's pool, read when somebody asks."""
    POOL_SIZE.set_function(lambda: int(pool.get_size()))
    POOL_IN_USE.set_function(lambda: int(pool.get_size()) - int(pool.get_idle_size()))


def names() -> set[str]:
    """Every name of a series that ``/metrics`` may show: what alerts and the Grafana dashboard can rely on."""
    found: set[str] = set()
    for metric in REGISTRY.collect():
        if metric.name.startswith("cloudward_"):
            suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum")}.get(metric.type, ("",))
            found |= {metric.name + suffix for suffix in suffixes}
    return found
