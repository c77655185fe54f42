"""What all parts of a dry run's site share: the real one, what was made, and the rules the site has for everything."""

from collections.abc import Collection
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any
from xml.parsers import expat

from services.executor.dry.objects import Made, Objects
from shared.confluence.cloud import CloudSite
from shared.confluence.cloud.content import Kind, Representation
from shared.confluence.cloud.gate import Gate
from shared.confluence.site import (
    Account,
    SiteAttachment,
    SiteComment,
    SiteContent,
    SiteRefused,
    SiteSpace,
    TooLarge,
)

BODY_LIMIT = 5 * 1024 * 1024  # bytes of one body, the site's documented limit
LABEL_LIMIT = 255
_NOT_IN_LABELS = frozenset(" :;,.?&[]()#^*!@\t\n")
ROOT = "root:"  # holder of the pages without a parent: this and the space


class Overlay:
    """``real``: called for reads only. ``made``: what would have been written."""

    def __init__(self, real: CloudSite, made: Objects, me: Account, gate: Gate) -> None:
        self._real, self._made, self._me, self._gate = real, made, me, gate


def is_made(id: str) -> bool:
    """Whether an id of content, a space or a file is one that a dry run gave."""
    return len(number := id.removeprefix("att")) >= 16 and number.startswith("9")


def slot(kind: Kind, space: str, title: str, post: SiteContent | None = None) -> str:
    """Pages of a space differ by title, its blog posts by title and day."""
    on = f" {day(post)}" if kind == "blogpost" and post is not None else ""
    return f"{kind} {space}{on} {title.casefold()}"


def day(content: SiteContent) -> str:
    return content.created_at.astimezone(UTC).date().isoformat() if content.created_at else ""


def folded(text: str) -> str:
    return text.strip().casefold()


def below(comment: str) -> str:
    return f"comment:{comment}"


def now() -> datetime:
    return datetime.now(UTC)


def check_body(body: str, representation: Representation) -> None:
    """What the site refuses at once: too large, or no well-formed storage format."""
    if len(body.encode()) > BODY_LIMIT:
        raise TooLarge("the body is larger than the site accepts", 413)
    if representation == "storage":
        parser = expat.ParserCreate()
        parser.UseForeignDTD(True)  # so that entities of HTML are no error
        try:
            parser.Parse(f"<body>{body}</body>", True)
        except expat.ExpatError as error:
            raise SiteRefused("the body is not well-formed storage format", 400) from error


def check_labels(names: Collection[str]) -> None:
    for name in names:
        if not name or len(name) > LABEL_LIMIT or _NOT_IN_LABELS & set(name):
            raise SiteRefused("a label holds characters that are not allowed, or is too long", 400)


def state_of(value: Any, *without: str) -> dict[str, Any]:
    told = {name: field for name, field in asdict(value).items() if name not in without}
    return {name: field.isoformat() if isinstance(field, datetime) else field for name, field in told.items()}


def fields_of(made: Made) -> dict[str, Any]:
    fields = dict(made.state)
    if fields.get("created_at") is not None:
        fields["created_at"] = datetime.fromisoformat(fields["created_at"])
    return fields


def space_of(made: Made) -> SiteSpace:
    return SiteSpace(**fields_of(made))


def content_of(made: Made) -> SiteContent:
    return SiteContent(**fields_of(made), body=made.body)


def comment_of(made: Made) -> SiteComment:
    return SiteComment(**fields_of(made), body=made.body or "")


def attachment_of(made: Made) -> SiteAttachment:
    return SiteAttachment(**fields_of(made))
