"""What an event is: its base class, the envelope around it, and the canonical bytes that are stored.

A stored body is canonical JSON (UTF-8, keys sorted, no white space, no floats, integers below 2^53) of the event's data and
of its envelope's part that is not a column of the event table. Nothing re-serializes a body once it is stored: links,
proofs and exports are about these bytes.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any, ClassVar, Literal, cast, get_args, get_origin

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, StringConstraints, ValidationError
from pydantic_core import CoreSchema

from shared.events.types import PATTERNS, Id, TraceParent


class UnknownEvent(Exception):
    """The log holds an event type, or a schema version, that this release does not know: a newer release is needed."""

    def __init__(self, type_: str, schema: int, position: int) -> None:
        super().__init__(
            f"Event {position} is a {type_} of schema {schema}, which this release does not know."
            " A newer release wrote it: update this service."
        )
        self.type, self.schema, self.position = type_, schema, position


class BadEvent(Exception):
    """A stored event of a known type does not satisfy its own contract."""

    def __init__(self, type_: str, position: int, reason: str) -> None:
        super().__init__(f"Event {position} ({type_}) does not satisfy its contract: {reason}")
        self.type, self.position = type_, position


class Part(BaseModel):
    """A value inside an event: frozen, closed, and held to the same rule about text."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Sorts the fields: pydantic's own JSON is then canonical, at a fraction of what sorting it afterwards costs."""
        schema = cast(dict[str, Any], handler(source))
        schema["schema"]["fields"] = dict(sorted(schema["schema"]["fields"].items()))
        return cast(CoreSchema, schema)

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        for name, field in cls.model_fields.items():
            for piece in _pieces(field.annotation, field.metadata):
                raise TypeError(f"{cls.__name__}.{name}: {piece} is free text or a float; events may hold neither")


class Event(Part):
    """Base of all events. A subclass names its category, which is also the first part of its stream's name."""

    CATEGORY: ClassVar[str] = ""
    SCHEMA: ClassVar[int] = 1

    def __init_subclass__(cls, abstract: bool = False, **kwargs: Any) -> None:
        """``abstract``: a base of several event types, not one itself."""
        super().__init_subclass__(**kwargs)

    @classmethod
    def __pydantic_init_subclass__(cls, abstract: bool = False, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        if abstract:
            return
        if not cls.CATEGORY:
            raise TypeError(f"{cls.__name__} names no category")
        if _REGISTRY.setdefault(cls.__name__, cls) is not cls:
            raise TypeError(f"two event types are called {cls.__name__}")


_REGISTRY: dict[str, type[Event]] = {}
_UPCASTERS: dict[tuple[str, int], Callable[[dict[str, Any]], dict[str, Any]]] = {}


def _pieces(annotation: Any, metadata: list[Any]) -> Iterator[str]:
    """The parts of an annotation that an event may not hold."""
    if any(isinstance(m, StringConstraints) and m.pattern in PATTERNS for m in metadata):
        return
    if any(getattr(m, "pattern", None) in PATTERNS for m in metadata):
        return
    origin = get_origin(annotation)
    if origin is Literal:
        return
    if annotation in (str, bytes, float, Any, object):
        yield getattr(annotation, "__name__", str(annotation))
        return
    if isinstance(annotation, type) and issubclass(annotation, (Enum, BaseModel, int, bool)):
        return
    if hasattr(annotation, "__metadata__"):
        yield from _pieces(get_args(annotation)[0], list(annotation.__metadata__))
        return
    for argument in get_args(annotation):
        if argument not in (type(None), Ellipsis):
            yield from _pieces(argument, [])


def upcaster(type_: str, schema: int) -> Callable[[Callable[[dict[str, Any]], dict[str, Any]]], Callable[..., Any]]:
    """Registers the function that turns the data of ``type_`` at ``schema`` into data of the next schema."""

    def register(function: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[..., Any]:
        if _UPCASTERS.setdefault((type_, schema), function) is not function:
            raise TypeError(f"two upcasters for {type_} of schema {schema}")
        return function

    return register


def event_types() -> dict[str, type[Event]]:
    """All known event types by name; importing ``shared.events.catalog`` fills it."""
    return dict(_REGISTRY)


# How an actor showed who it is: a bearer token; a session opened by a link that works once, or by an identity provider;
# a service's login at the database, which decides what it may append.
Authentication = Literal["token", "one_time_link", "oidc", "database_role"]


class Actor(Part):
    """Who caused an event. ``key`` is a person key, a token's id or a service's id: never a name or an address.

    ``authentication``: how it showed that; None in events of before this was recorded.
    """

    kind: Literal["person", "token", "service"]
    key: Id
    authentication: Authentication | None = None


class Context(Part):
    """The envelope's part that travels in the body: who, on what occasion, caused by what."""

    actor: Actor
    correlation: Id  # the first command of the whole story
    causation: Id  # the command or event that led to this one
    command: Id | None = None  # the command, where one led here
    trace: TraceParent | None = None


@dataclass(frozen=True, slots=True)
class Recorded:
    """One row of the log. ``recorded_at`` is in microseconds since 1970, ``link`` is 32 bytes."""

    position: int
    event_id: str
    stream: str
    version: int
    type: str
    body: bytes
    recorded_at: int
    link: bytes

    @property
    def category(self) -> str:
        return self.stream.partition("-")[0]

    @property
    def stream_id(self) -> str:
        return self.stream.partition("-")[2]

    @property
    def event(self) -> Event:
        """The typed event, upcast to this release's schema. Raises UnknownEvent or BadEvent."""
        return decode(self)[0]

    @property
    def context(self) -> Context:
        """The envelope's part kept in the body."""
        return decode(self)[1]


_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def canonical(value: Any) -> bytes:
    """Canonical JSON: UTF-8, keys sorted, no white space, no floats."""
    return _CANONICAL.encode(value).encode()


def encode(event: Event, context: Context) -> bytes:
    """The body that is stored for an event."""
    before, after = _envelope(context)
    data = event.__pydantic_serializer__.to_json(event, exclude_none=True)
    return b'%b"data":%b,"schema":%d%b' % (before, data, event.SCHEMA, after)


_ENVELOPES: dict[int, tuple[Context, bytes, bytes]] = {}  # by the identity of the context, which the entry keeps alive


def _envelope(context: Context) -> tuple[bytes, bytes]:
    """The canonical JSON of an envelope, cut open where the keys ``data`` and ``schema`` have their place in the order.

    Many events share one envelope: all that a command, or a worker on its chunk, appends.
    """
    kept = _ENVELOPES.get(id(context))
    if kept is None:
        if len(_ENVELOPES) >= 1024:
            _ENVELOPES.clear()
        kept = _ENVELOPES[id(context)] = (context, *_cut(context))
    return kept[1], kept[2]


def _cut(context: Context) -> tuple[bytes, bytes]:
    fields = context.model_dump(mode="json", exclude_none=True)
    before = canonical({k: v for k, v in fields.items() if k < "data"})
    after = canonical({k: v for k, v in fields.items() if k > "schema"})
    assert before != b"{}" and not any("data" <= k <= "schema" for k in fields)
    return before[:-1] + b",", (b"," if after != b"{}" else b"") + after[1:]


def decode(row: Recorded) -> tuple[Event, Context]:
    """Event and context of a stored row. Raises UnknownEvent for a newer one and BadEvent for a damaged one."""
    try:
        body = json.loads(row.body)
        schema, data = body["schema"], body["data"]
        context = Context.model_validate({k: v for k, v in body.items() if k not in ("schema", "data")})
    except (ValueError, KeyError, TypeError, ValidationError) as error:
        raise BadEvent(row.type, row.position, f"its body cannot be read ({type(error).__name__})") from error
    kind = _REGISTRY.get(row.type)
    if kind is None or schema > kind.SCHEMA:
        raise UnknownEvent(row.type, schema, row.position)
    while schema < kind.SCHEMA:
        step = _UPCASTERS.get((row.type, schema))
        if step is None:
            raise BadEvent(row.type, row.position, f"no upcaster from schema {schema}")
        data, schema = step(data), schema + 1
    try:
        return kind.model_validate(data), context
    except ValidationError as error:
        places = ", ".join(".".join(map(str, e["loc"])) + " " + e["type"] for e in error.errors()[:3])
        raise BadEvent(row.type, row.position, places) from error
