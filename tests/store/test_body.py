"""Claims about the bytes that are stored for an event."""

import json

from shared.events.catalog.chunk import ChunkClaimed
from shared.events.contract import Actor, Context, canonical, encode
from shared.events.types import new_id
from tests.golden import story


def test_a_body_is_the_canonical_json_of_data_schema_and_envelope() -> None:
    event = ChunkClaimed(chunk=new_id(), epoch=1, task=new_id(), worker=new_id(), attempt=1, purpose="work")
    for optional in ({}, {"command": new_id()}, {"trace": f"00-{new_id()}-{'ab' * 8}-01"}):
        context = Context(
            actor=Actor(kind="person", key=new_id()), correlation=new_id(), causation=new_id(), **optional
        )
        body = encode(event, context)
        expected = {
            "data": event.model_dump(mode="json", exclude_none=True),
            "schema": 1,
            **context.model_dump(mode="json", exclude_none=True),
        }
        assert body == canonical(expected)
        assert body == json.dumps(json.loads(body), sort_keys=True, separators=(",", ":")).encode()


def test_the_bodies_of_events_of_every_type_are_canonical() -> None:
    context = Context(actor=Actor(kind="service", key=new_id()), correlation=new_id(), causation=new_id())
    for event in story.story():
        body = encode(event, context)
        assert body == canonical(json.loads(body)), type(event).__name__
        assert json.loads(body)["data"] == event.model_dump(mode="json", exclude_none=True)
