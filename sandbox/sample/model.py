"""A plain model of one Confluence Server or Data Center instance, held in memory.

Bodies and files may be made on demand from the instance's seed, so that a large instance is a list of small rows.
Where a body names its own instance by address it holds the placeholder ``BASE``; ``Instance.body`` puts the address in.
"""

import hashlib
import random
import struct
import zlib
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from itertools import islice
from typing import Literal

BASE = "http://base.invalid"

Kind = Literal["page", "blogpost", "comment", "attachment"]


@dataclass(slots=True)
class User:
    """``email`` as typed by someone, possibly wrong or None. ``key``: 32 hexadecimal digits."""

    key: str
    username: str
    display_name: str
    email: str | None
    active: bool = True
    directory: str = "Confluence Internal Directory"


@dataclass(slots=True)
class Group:
    """``users``: keys of direct members; ``groups``: names of groups in it."""

    name: str
    users: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    directory: str = "Confluence Internal Directory"


@dataclass(slots=True)
class SpacePermission:
    """``type`` as in exports (VIEWSPACE …). Neither user nor group: anonymous."""

    type: str
    user: str | None = None
    group: str | None = None


@dataclass(slots=True)
class Space:
    id: int
    key: str
    name: str
    type: Literal["global", "personal"]
    status: Literal["current", "archived"]
    description: str
    creator: str
    created: datetime
    homepage: int | None = None
    permissions: list[SpacePermission] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    watchers: tuple[str, ...] = ()


@dataclass(slots=True)
class Restriction:
    operation: Literal["read", "update"]
    user: str | None = None
    group: str | None = None


@dataclass(slots=True)
class Revision:
    """One version of a page, blog post or file."""

    number: int
    by: str
    when: datetime
    message: str = ""


@dataclass(slots=True)
class Inline:
    """What makes a comment an inline one. ``status``: open, resolved, reopened or dangling."""

    marker: str
    selection: str
    status: str = "open"


@dataclass(slots=True)
class Content:
    """A page, blog post, comment or attachment. ``body`` None: made on demand.

    ``title``: of an attachment its file name. ``container``: of a comment or attachment what it hangs on. ``parent``:
    of a page its parent, of a reply its comment.
    """

    id: int
    kind: Kind
    space: str
    title: str
    creator: str
    created: datetime
    revisions: list[Revision]
    body: str | None = ""
    status: Literal["current", "trashed", "draft"] = "current"
    parent: int | None = None
    container: int | None = None
    position: int | None = None
    labels: tuple[tuple[str, str], ...] = ()
    restrictions: tuple[Restriction, ...] = ()
    properties: tuple[tuple[str, object], ...] = ()
    inline: Inline | None = None
    media_type: str = ""
    size: int = 0
    comment: str = ""
    missing_file: bool = False
    watchers: tuple[str, ...] = ()

    @property
    def version(self) -> int:
        return self.revisions[-1].number

    @property
    def modified(self) -> datetime:
        return self.revisions[-1].when

    @property
    def modifier(self) -> str:
        return self.revisions[-1].by


@dataclass
class Instance:
    """A whole instance, its content held in memory. ``sandbox.sample.generate`` has one that makes content when asked."""

    name: str
    seed: int
    offset: timedelta = timedelta(0)
    users: dict[str, User] = field(default_factory=dict)
    groups: dict[str, Group] = field(default_factory=dict)
    spaces: dict[str, Space] = field(default_factory=dict)
    _rows: dict[int, Content] = field(default_factory=dict)
    _of_space: dict[tuple[str, Kind], list[int]] = field(default_factory=lambda: defaultdict(list), repr=False)
    _of_kind: dict[Kind, list[int]] = field(default_factory=lambda: defaultdict(list), repr=False)
    _children: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list), repr=False)
    _hanging: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list), repr=False)
    _by_name: dict[str, str] = field(default_factory=dict, repr=False)
    _next_id: int = 98305

    @property
    def contents(self) -> Mapping[int, Content]:
        """Every page, blog post, comment and attachment by id, whatever its status."""
        return self._rows

    @property
    def timezone(self) -> timezone:
        return timezone(self.offset)

    def new_id(self) -> int:
        self._next_id += 1
        return self._next_id - 1

    def add_user(self, user: User) -> User:
        self.users[user.key] = user
        self._by_name[user.username.lower()] = user.key
        return user

    def add(self, content: Content) -> Content:
        self._rows[content.id] = content
        self._of_space[content.space, content.kind].append(content.id)
        self._of_kind[content.kind].append(content.id)
        if content.parent is not None:
            self._children[content.parent].append(content.id)
        if content.container is not None:
            self._hanging[content.container].append(content.id)
        return content

    def reparent(self, content: Content, parent: int | None) -> None:
        if content.parent is not None:
            self._children[content.parent].remove(content.id)
        if parent is not None:
            self._children[parent].append(content.id)
        content.parent = parent

    def user_by_name(self, username: str) -> User | None:
        key = self._by_name.get(username.lower())
        return self.users[key] if key else None

    def space_by_key(self, key: str) -> Space | None:
        found = self.spaces.get(key)
        return found or next((s for s in self.spaces.values() if s.key.lower() == key.lower()), None)

    def live(self, content: Content) -> bool:
        """Current, and so is everything it hangs on."""
        while content.status == "current":
            if content.container is None:
                return True
            content = self.contents[content.container]
        return False

    def listed(self, kind: Kind, space: str | None = None, after: int = 0) -> Iterator[Content]:
        """Everything of a kind, by id, whatever its status: in a space or everywhere, with ids above ``after``."""
        ids = self._of_kind.get(kind, []) if space is None else self._of_space.get((space, kind), [])
        for n in range(bisect_right(ids, after), len(ids)):
            yield self.contents[ids[n]]

    def current(self, kind: Kind, space: str | None, start: int) -> Iterator[Content]:
        """Those of status current from the ``start``-th on."""
        return islice((c for c in self.listed(kind, space) if c.status == "current"), start, None)

    def titled(self, kind: Kind, space: str, title: str) -> Iterator[Content]:
        """Everything of a kind in a space whose title is this, whatever its case and status."""
        return (c for c in self.listed(kind, space) if c.title.lower() == title.lower())

    def children(self, id: int, kind: Kind) -> list[Content]:
        """Direct children: pages by position, replies by id."""
        found = [self.contents[i] for i in self._children.get(id, ()) if self.contents[i].kind == kind]
        return sorted(
            found, key=lambda c: (c.position is None, c.position or 0, c.title.lower() if kind == "page" else "", c.id)
        )

    def hanging(self, id: int, kind: Kind) -> list[Content]:
        """All comments (replies too) or attachments that hang on a content."""
        return [self.contents[i] for i in self._hanging.get(id, ()) if self.contents[i].kind == kind]

    def ancestors(self, content: Content) -> list[Content]:
        """From the top down to the parent."""
        chain: list[Content] = []
        parent = content.parent
        while parent is not None:
            above = self.contents[parent]
            chain.append(above)
            parent = above.parent
        return chain[::-1]

    def members(self, group: str) -> set[str]:
        """Keys of all members, nested groups included; cycles are harmless."""
        seen: set[str] = set()
        todo = [group]
        keys: set[str] = set()
        while todo:
            name = todo.pop()
            if name in seen or name not in self.groups:
                continue
            seen.add(name)
            keys.update(self.groups[name].users)
            todo.extend(self.groups[name].groups)
        return keys

    def body(self, content: Content, base_url: str = BASE, version: int | None = None) -> str:
        """Storage format of a version (None: the current one), its own address put in."""
        text = content.body if content.body is not None else self.written(content)
        if version is not None and version < content.version:
            text = f"<p>As it was in version {version}.</p>{text}"
        return text.replace(BASE, base_url)

    def written(self, content: Content) -> str:
        """The body of a row that holds none."""
        raise NotImplementedError(f"content {content.id} has no body")

    @staticmethod
    def file_size(content: Content, version: int) -> int:
        """Bytes of a version of an attachment."""
        if content.media_type == "image/png" or version == content.version:
            return content.size
        return max(1, content.size - 7 * (content.version - version))

    def file(self, content: Content, version: int | None = None) -> bytes:
        """Bytes of a version of an attachment; the current one has exactly ``size`` bytes."""
        number = version or content.version
        size = self.file_size(content, number)
        key = f"{self.seed}:{self.name}:{content.id}:{number}"
        if content.media_type == "image/png":
            return png(key, size)
        if content.media_type.startswith("text/"):
            line = f"{content.title}, version {number}. Measured on a quiet evening.\n".encode()
            return (line * (size // len(line) + 1))[:size]
        return random.Random(key).randbytes(size)


def png(key: str, size: int) -> bytes:
    """A small picture in one color, padded by a text chunk to ``size`` bytes (at least 120)."""
    color = hashlib.sha256(key.encode()).digest()[:3]
    rows = b"".join(b"\0" + color * 16 for _ in range(16))

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 16, 16, 8, 2, 0, 0, 0))
    tail = chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")
    padding = max(0, size - len(head) - len(tail) - 12)
    return head + chunk(b"tEXt", b"C\0" + b"." * (padding - 2) if padding >= 2 else b"C\0"[:padding]) + tail


def user_key(seed: int, instance: str, username: str) -> str:
    """32 hexadecimal digits that begin as those of real instances do."""
    return "8a80" + hashlib.sha256(f"{seed}:{instance}:{username}".encode()).hexdigest()[:28]


def tiny(id: int) -> str:
    """Code of a tiny link: base64 of the id's little-endian bytes, trailing A and = cut."""
    import base64

    raw = id.to_bytes(4 if id < 2**32 else 8, "little")
    return base64.b64encode(raw).decode().rstrip("=").rstrip("A").replace("/", "-").replace("+", "_")
