"""Writes the page of all events, from their classes: ``python -m shared.events.catalogue`` (``--check`` only compares)."""

import inspect
import sys
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from shared.events import catalog, types
from shared.events.contract import Actor, Context, Event, event_types
from shared.events.reasons import Reason

PAGE = Path(__file__).parents[2] / "docs" / "events.md"

_INTRODUCTION = """# Events

Every event type there is, written by `python -m shared.events.catalogue` from the classes in `shared/events/catalog`. An event
is immutable. It holds no free text and no personal data: ids, counts, sizes, versions, digests, times, and codes from closed
lists. A stream is named `<category>-<id>`; only the roles named with a category append to its streams.

In the log an event has a position, an event id, a stream and a version in it, the time of recording and a link
([audit](audit.md)). Its body is canonical JSON: the fields below under `data`, the version of its contract under `schema`, and
the envelope beside them.
"""

# What a constrained type of shared.events.types is, for readers. Kinds of integers are told apart by their names there.
_MEANINGS = {
    "Id": "32 hexadecimal digits",
    "EntityId": "id given by source or site, or a random key for people and groups",
    "Digest": "SHA-256, hexadecimal",
    "Release": "version of a product",
    "TraceParent": "W3C trace context",
    "Count": "whole number from 0, below 2^53",
}
_WRITERS = {
    "plan": "planner",
    "task": "planner",
    "target": "planner",
    "site": "planner",
    "program": "planner",
    "source": "analyzer",
    "analysis": "analyzer",
    "chunk": "executor; analyzer for analyses",
    "access": "dashboard",
    "webhook": "dashboard",
    "audit": "dashboard, sealer",
}
_ORDER = list(_WRITERS)


def page() -> str:
    """The whole page, in Markdown."""
    assert catalog.__all__  # importing it registers the events
    events = sorted(_defined(), key=lambda e: (_ORDER.index(e.CATEGORY), e.__module__, inspect.getsourcelines(e)[1]))
    lines = [_INTRODUCTION, "## Envelope", "", *_table(Context), "", *_section(Actor)]
    parts: list[type[BaseModel]] = [Actor]
    lists: list[type[Enum]] = []
    for category in dict.fromkeys(e.CATEGORY for e in events):
        lines += ["", f"## {category}", "", f"Appended by: {_WRITERS[category]}.", ""]
        for event in (e for e in events if category == e.CATEGORY):
            lines += [*_section(event, f" (schema {event.SCHEMA})"), ""]
            for found in _inside(event):
                if issubclass(found, Enum):
                    if found not in lists:
                        lists.append(found)
                elif found not in parts:
                    parts.append(found)
    lines += ["## Parts", "", "Values inside events.", ""]
    for part in sorted(parts[1:], key=lambda p: p.__name__):
        lines += [*_section(part), ""]
    lines += ["## Closed lists", ""]
    for closed in sorted(lists, key=lambda e: e.__name__):
        note = " What they mean is in `shared/events/reasons.py`." if closed is Reason else ""
        lines += [f"### {closed.__name__}", "", ", ".join(f"`{m.value}`" for m in closed) + "." + note, ""]
    lines += ["## Types", "", "| type | what it is |", "|---|---|"]
    lines += [f"| {name} | {meaning} |" for name, meaning in _MEANINGS.items()]
    return "\n".join(lines).rstrip() + "\n"


def _defined() -> list[type[Event]]:
    """The events of the catalog; others may be registered too, as by tests."""
    return [e for e in event_types().values() if e.__module__.startswith(catalog.__name__ + ".")]


def _section(model: type[BaseModel], suffix: str = "") -> list[str]:
    # Only a docstring of its own: an inherited one is about the base.
    text = inspect.cleandoc(model.__dict__.get("__doc__") or "").replace("``", "`")
    return [f"### {model.__name__}{suffix}", "", *([text, ""] if text else []), *_table(model)]


def _table(model: type[BaseModel]) -> list[str]:
    if not model.model_fields:
        return ["No fields."]
    rows = [f"| `{name}` | {_field(field)} |" for name, field in model.model_fields.items()]
    return ["| field | type |", "|---|---|", *rows]


def _field(field: FieldInfo) -> str:
    annotation = Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
    text = _name(annotation)
    return text if field.is_required() or text.endswith(", optional") else text + ", optional"


def _name(annotation: Any) -> str:
    for name in _MEANINGS:
        if annotation == getattr(types, name):
            return name
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _name(arguments[0])
    if origin is Literal:
        return " \\| ".join(f"`{a}`" for a in arguments)
    if origin in (Union, UnionType):
        text = " \\| ".join(_name(a) for a in arguments if a is not NoneType)
        return text + (", optional" if NoneType in arguments else "")
    if origin in (tuple, list):
        return f"list of {_name(arguments[0])}"
    if annotation is bool:
        return "true or false"
    if annotation is int:
        return "Count"
    if isinstance(annotation, type) and issubclass(annotation, (BaseModel, Enum)):
        return f"[{annotation.__name__}](#{annotation.__name__.lower()})"
    raise TypeError(f"the page has no words for {annotation!r}")


def _inside(annotation: Any) -> Iterator[type[BaseModel] | type[Enum]]:
    """Parts and closed lists that a class or annotation mentions, however deep."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        if not issubclass(annotation, Event):
            yield annotation
        for field in annotation.model_fields.values():
            yield from _inside(field.annotation)
    elif isinstance(annotation, type) and issubclass(annotation, Enum):
        yield annotation
    else:
        for argument in get_args(annotation):
            yield from _inside(argument)


def main(arguments: list[str]) -> int:
    text = page()
    if "--check" in arguments:
        current = PAGE.exists() and PAGE.read_text(encoding="utf-8") == text
        if not current:
            sys.stderr.write(f"{PAGE.name} is not what the catalog says. Run python -m shared.events.catalogue.\n")
        return 0 if current else 1
    PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
