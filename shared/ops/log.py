"""Log lines: JSON for machines, text for people; with the ids of the story they belong to, never with its contents.

A log line holds ids, counts, codes and types. No secret and no personal data: known names of secrets are struck out,
addresses lose their credentials, and of an exception the type and the places are kept, not the message (a database or a
parser quotes values in it). ``CLOUDWARD_LOG_LEVEL=debug`` keeps the messages: not for production.
"""

import logging
import re
import socket
import sys
import traceback
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from shared.ops.metrics import RELEASE

_STRUCK = "[struck out]"
_SECRET_NAME = re.compile(
    r"(^|_)(password|passwd|secret|token|authorization|cookie|api_?key|credential|credentials|dsn|email|address)(_|$)",
    re.IGNORECASE,
)
# user:password@ in an address, and what follows the name of an HTTP scheme of authentication.
_USERINFO = re.compile(r"(?<=://)[^/@\s]+:[^/@\s]*@")
_AUTHENTICATION = re.compile(r"\b(Bearer|Basic)\s+[A-Za-z0-9._~+/=-]{6,}", re.IGNORECASE)

# These libraries log addresses, requests or payloads at info.
_QUIET = ("httpx", "httpcore", "aiohttp.access", "asyncio", "nats", "urllib3")


def configure(service: str, *, format: str = "json", level: str = "info") -> None:
    """Sends all log lines of this process (structlog and the standard library's) to stderr.

    ``format``: json or text. ``level``: debug, info, warning or error.
    """
    number = getattr(logging, level.upper(), logging.INFO)
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
        _named(service),
        _exceptions(messages=number <= logging.DEBUG),
        strike_out,
    ]
    renderer: Processor
    if format == "text":
        renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    else:
        renderer = structlog.processors.JSONRenderer(ensure_ascii=False)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(number)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(number, logging.WARNING))


@contextmanager
def correlated(**ids: str | int | None) -> Iterator[None]:
    """Adds ids (``correlation``, ``command_id``, ``plan``, ``chunk`` …) to all lines logged inside, also in tasks."""
    tokens = structlog.contextvars.bind_contextvars(**{key: value for key, value in ids.items() if value is not None})
    try:
        yield
    finally:
        structlog.contextvars.reset_contextvars(**tokens)


def strike_out(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Replaces what must not be logged, at any depth of mappings and lists."""
    if "caused_by" in event:  # how stamina tells of a retry: the error's text, and the arguments of what is retried
        event["caused_by"] = str(event["caused_by"]).partition("(")[0]
        event.pop("args", None)
        event.pop("kwargs", None)
    for key, value in event.items():
        event[key] = _clean(key, value)
    return event


def _clean(key: str, value: Any) -> Any:
    if _SECRET_NAME.search(key) and value is not None and not isinstance(value, bool | int | float):
        return _STRUCK
    if isinstance(value, str):
        return _AUTHENTICATION.sub(rf"\1 {_STRUCK}", _USERINFO.sub(f"{_STRUCK}@", value))
    if isinstance(value, Mapping):
        return {str(k): _clean(str(k), v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_clean("", item) for item in value]
    return value


def _named(service: str) -> Processor:
    instance = socket.gethostname()

    def add(_: WrappedLogger, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event["service"], event["version"], event["instance"] = service, RELEASE, instance
        return event

    return add


def _exceptions(*, messages: bool) -> Processor:
    def replace(_: WrappedLogger, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        info = event.pop("exc_info", None)
        if not info:
            return event
        error = info if isinstance(info, BaseException) else info[1] if isinstance(info, tuple) else sys.exc_info()[1]
        if error is not None:
            event["exception"] = describe(error, messages=messages)
        return event

    return replace


def describe(error: BaseException, *, messages: bool = False) -> list[str]:
    """An exception and its causes, each as ``Type at file:line in function < …``, innermost place first."""
    lines = []
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        name = f"{type(current).__module__}.{type(current).__qualname__}".removeprefix("builtins.")
        sqlstate = getattr(current, "sqlstate", None)
        head = name + (f" [{sqlstate}]" if sqlstate else "") + (f": {current}" if messages else "")
        lines.append(f"{head} at {_places(current.__traceback__)}")
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return lines


def _places(trace: TracebackType | None, limit: int = 8) -> str:
    frames = traceback.extract_tb(trace)[-limit:]
    words = []
    for frame in reversed(frames):
        file = "/".join(frame.filename.rsplit("/", 3)[-3:])
        words.append(f"{file}:{frame.lineno} in {frame.name}")
    return " < ".join(words) or "no frame"
