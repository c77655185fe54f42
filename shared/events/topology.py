"""The streams and durables on NATS, as one table.

JetStream carries wake-ups and hints; the log in Postgres is the truth. So everything here may be lost at any moment, and
is made again from this table: by ``cloudward db upgrade`` (creates and updates) and by the leading planner (creates what
is missing, never updates, never deletes). Nothing else declares anything.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

import nats.errors
import structlog
from nats.js import JetStreamContext
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DeliverPolicy,
    DiscardPolicy,
    RetentionPolicy,
    StorageType,
    StreamConfig,
)
from nats.js.errors import APIError, NotFoundError

log = structlog.get_logger(__name__)

EVENTS = "EVENTS"
WORK = "WORK"

EXECUTOR = "executor"
ANALYZER = "analyzer"

# How long JetStream remembers Nats-Msg-Id: thins out duplicates after a relay's restart, promises nothing.
DUPLICATE_WINDOW = 120.0
# A hint that nobody acknowledged is delivered again after this. Handlers of long chunks acknowledge first: the claim in
# the log, not the message, says who works.
ACK_WAIT = 30.0

# EVENTS serves who was away for a while; who was away for longer pages the log.
_EVENTS_AGE = 7 * 24 * 3600.0
_EVENTS_BYTES = 512 * 1024 * 1024
_WORK_BYTES = 64 * 1024 * 1024
# The dispatcher offers a chunk again every minute, so an old hint says nothing.
_WORK_AGE = 24 * 3600.0


@dataclass(frozen=True)
class Durable:
    """A pull consumer that outlives its readers."""

    stream: str
    name: str
    subject: str

    def config(self) -> ConsumerConfig:
        return ConsumerConfig(
            name=self.name,
            durable_name=self.name,
            filter_subject=self.subject,
            deliver_policy=DeliverPolicy.ALL,
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=ACK_WAIT,
            max_deliver=-1,
            max_ack_pending=1000,
        )


def streams(replicas: int = 1) -> list[StreamConfig]:
    """The streams, each on ``replicas`` servers."""
    return [
        StreamConfig(
            name=EVENTS,
            description="Events of the log, for whoever is awake. The log is in Postgres.",
            subjects=["evt.>"],
            retention=RetentionPolicy.LIMITS,
            storage=StorageType.FILE,
            discard=DiscardPolicy.OLD,
            max_age=_EVENTS_AGE,
            max_bytes=_EVENTS_BYTES,
            duplicate_window=DUPLICATE_WINDOW,
            num_replicas=replicas,
        ),
        StreamConfig(
            name=WORK,
            description="Hints that a chunk can be claimed: ids only.",
            subjects=["work.>"],
            retention=RetentionPolicy.WORK_QUEUE,
            storage=StorageType.FILE,
            discard=DiscardPolicy.OLD,
            max_age=_WORK_AGE,
            max_bytes=_WORK_BYTES,
            duplicate_window=DUPLICATE_WINDOW,
            num_replicas=replicas,
        ),
    ]


DURABLES: Mapping[str, Durable] = {
    EXECUTOR: Durable(WORK, EXECUTOR, "work.chunk"),
    ANALYZER: Durable(WORK, ANALYZER, "work.analysis"),
}


async def upgrade(js: JetStreamContext, *, replicas: int = 1) -> list[str]:
    """Creates and updates all streams and durables; returns the names of those it created. Twice is harmless.

    Raises nats.errors.Error and nats.js.errors.APIError.
    """
    created = []
    for config in streams(replicas):
        try:
            await js.stream_info(str(config.name))
        except NotFoundError:
            await js.add_stream(config)
            created.append(str(config.name))
        else:
            await js.update_stream(config)
    for durable in DURABLES.values():
        if await _consumer_missing(js, durable):
            created.append(f"{durable.stream}.{durable.name}")
        await js.add_consumer(durable.stream, durable.config())
    return created


async def create_missing(js: JetStreamContext, *, replicas: int = 1) -> list[str]:
    """Creates the streams and durables that are not there and returns their names; what is there stays as it is."""
    created = []
    for config in streams(replicas):
        try:
            await js.stream_info(str(config.name))
        except NotFoundError:
            try:
                await js.add_stream(config)
            except APIError as error:
                # Somebody made it meanwhile, perhaps a newer release with another configuration: theirs stands.
                log.info("stream made by another", stream=config.name, error=error.description)
            else:
                created.append(str(config.name))
    for durable in DURABLES.values():
        if await _consumer_missing(js, durable):
            await js.add_consumer(durable.stream, durable.config())
            created.append(f"{durable.stream}.{durable.name}")
    return created


async def missing(js: JetStreamContext) -> list[str]:
    """The names of the streams and durables that are not there. For ``cloudward db wait``."""
    absent = []
    for config in streams():
        try:
            await js.stream_info(str(config.name))
        except NotFoundError:
            absent.append(str(config.name))
    absent += [
        f"{durable.stream}.{durable.name}" for durable in DURABLES.values() if await _consumer_missing(js, durable)
    ]
    return absent


async def wait(js: JetStreamContext, patience: float = 60.0) -> None:
    """Waits until everything is there. Raises TimeoutError with the names of what is missing."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + patience
    while True:
        try:
            absent = await missing(js)
        except (nats.errors.Error, TimeoutError) as error:
            absent = [f"JetStream does not answer ({type(error).__name__})"]
        if not absent:
            return
        if loop.time() + 0.5 > deadline:
            raise TimeoutError(", ".join(absent))
        await asyncio.sleep(0.5)


async def _consumer_missing(js: JetStreamContext, durable: Durable) -> bool:
    try:
        await js.consumer_info(durable.stream, durable.name)
    except NotFoundError:
        return True
    return False
