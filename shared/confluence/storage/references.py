"""What a body can refer to, and what a reference can become. All are values: equal and hashable by content."""

from dataclasses import dataclass
from typing import Literal

# What bodies refer to


@dataclass(frozen=True, slots=True)
class UserRef:
    """A mention, or a user in a macro's parameter. Exactly one field is set: ``key`` from 5.2 on, ``username`` before,
    ``account_id`` on Cloud."""

    key: str | None = None
    username: str | None = None
    account_id: str | None = None


@dataclass(frozen=True, slots=True)
class PageRef:
    """``space_key`` None: a page of the same space."""

    space_key: str | None
    title: str


@dataclass(frozen=True, slots=True)
class BlogRef:
    """``day`` as written, "2012/01/30"."""

    space_key: str | None
    title: str
    day: str | None


@dataclass(frozen=True, slots=True)
class ContentIdRef:
    id: str


@dataclass(frozen=True, slots=True)
class AttachmentRef:
    """``page``: whose file it is, None for a file of the content itself. That page is a reference of its own, too."""

    filename: str
    page: PageRef | BlogRef | ContentIdRef | None = None


@dataclass(frozen=True, slots=True)
class SpaceRef:
    key: str


@dataclass(frozen=True, slots=True)
class ShortcutRef:
    """``[CONF-1@JIRA]`` of old: ``key`` names a shortcut of the source's settings. Cloud has none."""

    key: str
    parameter: str


UrlKind = Literal["page_title", "page_id", "tiny", "attachment", "space", "blog", "user", "label", "other"]


@dataclass(frozen=True, slots=True)
class UrlRef:
    """An address within the source. ``url`` as the body has it, entities decoded; the other fields as far as it tells.

    ``title``: of a page or blog post, or the label. ``anchor``: without "#", as written. ``day``: "2012/01/30".
    """

    url: str
    kind: UrlKind
    space_key: str | None = None
    title: str | None = None
    content_id: str | None = None
    filename: str | None = None
    anchor: str | None = None
    day: str | None = None
    username: str | None = None


Reference = UserRef | PageRef | BlogRef | ContentIdRef | AttachmentRef | SpaceRef | ShortcutRef | UrlRef


# What they become


@dataclass(frozen=True, slots=True)
class Account:
    """For ``UserRef``."""

    account_id: str


@dataclass(frozen=True, slots=True)
class FormerUser:
    """For ``UserRef``: words in place of the mention, "Former user", with the name behind it only if given."""

    display_name: str | None = None


@dataclass(frozen=True, slots=True)
class Title:
    """For ``PageRef``, ``BlogRef`` and ``ContentIdRef``. ``space_key`` None: the same space. ``day``: None keeps it."""

    space_key: str | None
    title: str
    day: str | None = None


@dataclass(frozen=True, slots=True)
class ContentId:
    """For ``PageRef``, ``BlogRef`` and ``ContentIdRef``."""

    id: str


@dataclass(frozen=True, slots=True)
class SpaceKey:
    """For ``SpaceRef``."""

    key: str


@dataclass(frozen=True, slots=True)
class Filename:
    """For ``AttachmentRef``."""

    name: str


@dataclass(frozen=True, slots=True)
class Url:
    """For ``UrlRef`` and, in links and images, for every reference but users'."""

    url: str


@dataclass(frozen=True, slots=True)
class Keep:
    """Looked at, and right as it is."""


Target = Account | FormerUser | Title | ContentId | SpaceKey | Filename | Url | Keep


@dataclass(frozen=True, slots=True)
class Rewritten:
    """``changed``: occurrences rewritten. ``unresolved``: references without a target that fits, in order, each once."""

    text: str
    changed: int
    unresolved: tuple[Reference, ...]
