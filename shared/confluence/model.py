"""What a source says, in one form for every kind of source (REST, XML export, CSV export).

Ids are the source's own, as decimal strings; a source that has none for something says how it makes them. Times are
timezone-aware. None means: the source does not tell.
"""

from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Literal


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """``version``: "8.5.6"; for an export the version that wrote it, if it says so, else None. ``base_url``: without a
    trailing slash; links into it are links into this source. ``instance``: a stable name of what was read, for people."""

    product: Literal["server", "cloud"]
    version: str | None
    build: int | None
    base_url: str | None
    instance: str
    exported_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Person:
    """``id``: user key (5.2 and later) or, on older sources, the user name. ``email``: as stored, not checked."""

    id: str
    username: str | None
    display_name: str | None
    email: str | None
    active: bool | None
    directory: str | None = None
    account_id: str | None = None  # Cloud exports


@dataclass(frozen=True, slots=True)
class Group:
    """``name`` is also its id. ``members``: ids of people, nested groups flattened, come from ``Source.members``."""

    name: str
    directory: str | None = None


@dataclass(frozen=True, slots=True)
class Space:
    id: str
    key: str
    name: str
    type: Literal["global", "personal"]
    status: Literal["current", "archived"]
    homepage_id: str | None
    description: str
    creator: str | None = None
    created_at: datetime | None = None
    labels: tuple[str, ...] = ()


ItemKind = Literal["page", "blogpost", "comment", "attachment"]


@dataclass(frozen=True, slots=True)
class Item:
    """One live entity of a space, as the inventory lists it: no text, only what the work is cut by.

    ``parent``: of a page its parent page, of a reply the comment it answers; None at the top or where the parent is not
    live in this space (``dangling`` is then true). ``container``: of a comment or attachment the content it hangs on (page,
    blog post, or, for comments on files, the attachment). ``depth``: 0 at the top. ``position``: among siblings, else None.
    ``size``: bytes of an attachment; ``has_file``: whether the source holds them.
    ``labels``, ``restrictions``, ``properties``, ``watchers``: how
    many. ``history``: so many earlier versions of a page or blog post the source tells. ``resolved``: of a comment on a
    piece of text.
    """

    kind: ItemKind
    id: str
    version: int
    parent: str | None = None
    container: str | None = None
    depth: int = 0
    position: int | None = None
    size: int | None = None
    has_file: bool = True
    labels: int = 0
    restrictions: int = 0
    properties: int = 0
    watchers: int = 0
    history: int = 0
    dangling: bool = False
    homepage: bool = False
    resolved: bool = False


@dataclass(frozen=True, slots=True)
class Restriction:
    """One holder of a page restriction. Exactly one of ``person`` and ``group``."""

    operation: Literal["read", "update"]
    person: str | None = None
    group: str | None = None


@dataclass(frozen=True, slots=True)
class Content:
    """A live page or blog post, whole. ``body`` is storage format, or wiki markup where ``format`` says so (before 4.0).

    ``posting_day``: of a blog post, in the source's time zone; links to it name this day. ``message``: what the editor said
    about this version.
    """

    id: str
    kind: Literal["page", "blogpost"]
    space_id: str
    title: str
    body: str
    format: Literal["storage", "wiki"]
    version: int
    creator: str | None
    created_at: datetime | None
    modifier: str | None
    modified_at: datetime | None
    parent: str | None = None
    posting_day: date | None = None
    labels: tuple[str, ...] = ()  # global labels only: personal ones cannot be set for others
    restrictions: tuple[Restriction, ...] = ()
    message: str | None = None


@dataclass(frozen=True, slots=True)
class Revision:
    """An earlier version of a page or blog post, with the body it had. ``message``: what the editor said about it."""

    number: int
    body: str
    format: Literal["storage", "wiki"]
    editor: str | None
    edited_at: datetime | None
    message: str | None = None


@dataclass(frozen=True, slots=True)
class FileVersion:
    """One version of an attachment that the source holds the bytes of; the current one is the last."""

    number: int
    size: int | None
    comment: str | None
    editor: str | None
    edited_at: datetime | None


@dataclass(frozen=True, slots=True)
class Comment:
    """``location``: "inline" comments carry the selected text and the marker's ref in the page's body."""

    id: str
    container: str
    parent: str | None
    body: str
    format: Literal["storage", "wiki"]
    version: int
    creator: str | None
    created_at: datetime | None
    location: Literal["footer", "inline"]
    resolved: bool = False
    selection: str | None = None
    marker: str | None = None
    modifier: str | None = None
    modified_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Attachment:
    """The current version of an attachment. ``size`` in bytes."""

    id: str
    container: str
    filename: str
    media_type: str
    size: int | None
    version: int
    comment: str | None
    creator: str | None
    created_at: datetime | None
    labels: tuple[str, ...] = ()
    modifier: str | None = None
    modified_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Permission:
    """One space permission. ``operation``: the name used in exports (VIEWSPACE, EDITSPACE …), see the table in the reader.

    ``id``: the source's own or, where it has none, "p" and the ordinal. ``subject``: a person's id or a group's name; None
    for anonymous and for all logged-in users.
    """

    id: str
    operation: str
    subject_kind: Literal["person", "group", "anonymous", "logged_in"]
    subject: str | None = None


@dataclass(frozen=True, slots=True)
class Named:
    """A person whom the live content of a space names, by the source's id."""

    person: str


# What one pass over a space meets: entities, the content of pages and blog posts, and whom all of it names.
Surveyed = Item | Content | Named


@dataclass(frozen=True, slots=True)
class ReaderNote:
    """Something odd that reading survived: a closed code and how often. Shown by the analysis."""

    code: str
    count: int
    examples: tuple[str, ...] = field(default=())
