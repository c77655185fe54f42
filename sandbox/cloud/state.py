"""What a Cloud site holds: accounts, groups, spaces, content, comments, attachments. Plain objects in dictionaries."""

import hashlib
import time
import uuid
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from sandbox.wire import Document

Kind = Literal["page", "blogpost"]
ANONYMOUS = "anonymous"
NAMESPACE = uuid.UUID("6f1d4c52-3d0e-5a6e-9a63-6f8f0a1f2b11")

#: Operations of a classic space as (key, target), the pairs that v1 accepts. Source: Cloud REST v1, space permission.
SPACE_OPERATIONS = (
    ("read", "space"),
    ("delete", "space"),
    ("create", "page"),
    ("delete", "page"),
    ("archive", "page"),
    ("create", "blogpost"),
    ("delete", "blogpost"),
    ("create", "attachment"),
    ("delete", "attachment"),
    ("create", "comment"),
    ("delete", "comment"),
    ("restrict_content", "space"),
    ("export", "space"),
    ("administer", "space"),
)
Operation = tuple[str, str]

#: What everyone with access to Confluence gets in a new space that is not private.
DEFAULT_OPERATIONS: tuple[Operation, ...] = (
    ("read", "space"),
    ("delete", "space"),
    ("create", "page"),
    ("create", "blogpost"),
    ("create", "attachment"),
    ("create", "comment"),
    ("delete", "comment"),
    ("restrict_content", "space"),
)


def now() -> str:
    """ISO 8601 with milliseconds and Z, as v2 writes times."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def digest(text: str) -> str:
    """A short name of a text, to tell objects without a title apart."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def account_id(email: str) -> str:
    """Accounts belong to Atlassian, not to a site: the same address has the same id on every site."""
    return f"712020:{uuid.uuid5(NAMESPACE, email.lower())}"


@dataclass(slots=True)
class Account:
    """``groups``: ids. ``email_visible``: whether others see the address. ``managed``: of a domain that the organization
    verified. ``scim``: id in the directory that provisions it, None where none does."""

    id: str
    email: str
    name: str
    active: bool = True
    email_visible: bool = True
    invited: bool = False
    managed: bool = False
    scim: str | None = None
    groups: dict[str, None] = field(default_factory=dict)


@dataclass(slots=True)
class Group:
    """``products``: what its members may use (``confluence``, ``jira``). ``synced``: a directory owns it, so only that
    directory (SCIM) changes it and its members."""

    id: str
    name: str
    products: frozenset[str] = frozenset()
    admin: bool = False
    synced: bool = False
    members: dict[str, None] = field(default_factory=dict)


@dataclass(slots=True)
class Version:
    number: int
    author: str
    created: str
    message: str = ""
    minor: bool = False
    title: str = ""
    body: str = ""


@dataclass(slots=True)
class Property:
    id: int
    key: str
    value: Any
    version: Version


@dataclass(slots=True)
class Permission:
    """``subject``: user, group, or ACCESS_CLASS/USER/GROUP on a roles site, where ``role`` is set."""

    id: int
    subject: str
    identifier: str
    operation: Operation


@dataclass(slots=True)
class Assignment:
    principal_type: str
    principal_id: str
    role: str


@dataclass(slots=True)
class Restriction:
    users: dict[str, None] = field(default_factory=dict)
    groups: dict[str, None] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.users or self.groups)


@dataclass(slots=True)
class Space:
    """``titles``: lower-cased title of every live, draft and archived page -> id. ``days``: the same of blog posts, with
    their day. ``grants``: operation -> identifiers of the principals that have it, derived from the permissions."""

    id: int
    key: str
    name: str
    description: str
    creator: str
    created: str
    type: str = "global"
    status: str = "current"
    homepage: int | None = None
    permissions: dict[int, Permission] = field(default_factory=dict)
    assignments: list[Assignment] = field(default_factory=list)
    grants: dict[Operation, set[str]] = field(default_factory=dict)
    labels: dict[tuple[str, str], int] = field(default_factory=dict)
    properties: dict[int, Property] = field(default_factory=dict)
    titles: dict[str, int] = field(default_factory=dict)
    days: dict[tuple[str, str], int] = field(default_factory=dict)
    roots: list[int] = field(default_factory=list)
    pages: list[int] = field(default_factory=list)
    blogposts: list[int] = field(default_factory=list)
    watchers: dict[str, None] = field(default_factory=dict)
    known_at: float = 0.0


@dataclass(slots=True)
class Content:
    """A page or blog post. ``children`` in order; ``comments``: top-level ones, footer and inline, in order."""

    id: int
    kind: Kind
    space: int
    title: str
    body: str
    status: str
    author: str
    owner: str
    created: str
    version: Version
    parent: int | None = None
    position: int = 0
    children: list[int] = field(default_factory=list)
    history: list[Version] = field(default_factory=list)
    labels: dict[tuple[str, str], int] = field(default_factory=dict)
    properties: dict[int, Property] = field(default_factory=dict)
    read: Restriction | None = None
    update: Restriction | None = None
    comments: list[int] = field(default_factory=list)
    attachments: dict[str, int] = field(default_factory=dict)
    watchers: dict[str, None] = field(default_factory=dict)


@dataclass(slots=True)
class Comment:
    """``container``: page, blog post or attachment. ``selection`` only for inline comments."""

    id: int
    inline: bool
    container: int
    container_kind: str
    body: str
    author: str
    created: str
    version: Version
    parent: int | None = None
    children: list[int] = field(default_factory=list)
    selection: str | None = None
    match: int = 0
    marker: str = ""
    resolution: str = "open"
    resolved_by: str | None = None
    properties: dict[int, Property] = field(default_factory=dict)


@dataclass(slots=True)
class Blob:
    """One uploaded version of an attachment."""

    number: int
    sha256: str
    size: int
    media_type: str
    comment: str
    author: str
    created: str
    minor: bool


@dataclass(slots=True)
class Attachment:
    id: int
    container: int
    filename: str
    file_id: str
    versions: list[Blob]
    status: str = "current"
    labels: dict[tuple[str, str], int] = field(default_factory=dict)
    properties: dict[int, Property] = field(default_factory=dict)
    comments: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Mail:
    to: str
    kind: str
    text: str


def _seats(option: int | dict[str, int] | None) -> dict[str, int]:
    """Most accounts by product; a plain number is the limit of Confluence. No entry: no limit."""
    if isinstance(option, dict):
        return dict(option)
    return {} if option is None else {"confluence": option}


class Site:
    """The state of one site. Ids are counted from a start of the site's own, so that an id of one is none of another.

    ``elevated``: the administrator whose request, being handled now, uses an admin key.
    """

    def __init__(self, name: str, options: Document) -> None:
        self.name = name
        self.mode: str = options.get("mode", "classic")
        self.jira: bool = options.get("jira", True)
        self.directory_lag: float = options.get("directory_lag", 0.0)
        self.search_lag: float = options.get("search_lag", 60.0)
        self.admin_keys: dict[str, float] = {}
        self.elevated: str | None = None
        self.storage_full = False
        self.plan: str = options.get("plan", "premium")
        self.seats = _seats(options.get("seats"))
        self.elsewhere: frozenset[str] = frozenset(email.lower() for email in options.get("atlassian_accounts", []))
        self.domains: frozenset[str] = frozenset(name.lower() for name in options.get("domains", []))
        self.cloud_id = str(uuid.uuid5(NAMESPACE, f"cloud {name}"))
        self.media_base = ""
        self.org_id: str = options.get("org", "sandbox-org")
        self.directory_id: str = options.get("directory", "sandbox-directory")
        self.org_key: str = options.get("org_key", "sandbox-org-key")
        self.scim_key: str = options.get("scim_key", "sandbox-scim-key")
        self.accounts: dict[str, Account] = {}
        self.by_email: dict[str, Account] = {}
        self.groups: dict[str, Group] = {}
        self.group_names: dict[str, Group] = {}
        self.spaces: dict[int, Space] = {}
        self.space_keys: dict[str, Space] = {}
        self.content: dict[int, Content] = {}
        self.comments: dict[int, Comment] = {}
        self.attachments: dict[int, Attachment] = {}
        self.blobs: dict[str, bytes] = {}
        self.labels: dict[tuple[str, str], int] = {}
        self.tasks: dict[str, Document] = {}
        self.mails: list[Mail] = []
        self._next = 65_536 * (1 + zlib.crc32(name.encode()) % 4_000)
        self._principals: dict[str, frozenset[str]] = {}

    def listed(self, space: Space) -> bool:
        """Whether the directory of spaces knows it yet. The space's own address answers at once."""
        return not self.directory_lag or time.monotonic() - space.known_at >= self.directory_lag

    def new_id(self) -> int:
        self._next += 1
        return self._next

    def label_id(self, prefix: str, name: str) -> int:
        return self.labels.setdefault((prefix, name), 0) or self._number_label(prefix, name)

    def _number_label(self, prefix: str, name: str) -> int:
        self.labels[prefix, name] = self.new_id()
        return self.labels[prefix, name]

    def store(self, data: bytes) -> str:
        """Keep a file, once for equal ones. Answers its SHA-256."""
        digest = hashlib.sha256(data).hexdigest()
        self.blobs.setdefault(digest, data)
        return digest

    # accounts and groups

    def add_account(self, email: str, name: str, **more: Any) -> Account:
        account = Account(account_id(email), email, name, **more)
        self.accounts[account.id] = account
        self.by_email[email.lower()] = account
        return account

    def add_group(self, name: str, **more: Any) -> Group:
        group = Group(str(uuid.uuid5(NAMESPACE, f"group {self.name} {name.lower()}")), name, **more)
        self.groups[group.id] = group
        self.group_names[name.lower()] = group
        return group

    def join(self, account: Account, group: Group) -> None:
        group.members[account.id] = None
        account.groups[group.id] = None
        self._principals.pop(account.id, None)

    def leave(self, account: Account, group: Group) -> None:
        group.members.pop(account.id, None)
        account.groups.pop(group.id, None)
        self._principals.pop(account.id, None)

    def product_group(self, product: str) -> Group:
        return self.group_names[f"{product}-users-{self.name}".lower()]

    def has_product(self, account: Account, product: str) -> bool:
        return account.active and any(product in self.groups[group].products for group in account.groups)

    def is_admin(self, account: Account | None) -> bool:
        return account is not None and account.active and any(self.groups[group].admin for group in account.groups)

    def seats_used(self, product: str = "confluence") -> int:
        return sum(self.has_product(account, product) for account in self.accounts.values())

    def seat_left(self, account: Account, products: Iterable[str]) -> bool:
        """Whether the account could use all these products within the limits."""
        return all(
            product not in self.seats
            or self.has_product(account, product)
            or self.seats_used(product) < self.seats[product]
            for product in products
        )

    def mail(self, to: str, kind: str, text: str) -> None:
        self.mails.append(Mail(to, kind, text))

    def principals(self, account: Account | None) -> frozenset[str]:
        """Identifiers that permissions may name for this account. Without Confluence access it counts as anonymous."""
        if account is None:
            return frozenset((ANONYMOUS,))
        known = self._principals.get(account.id)
        if known is None:
            if self.has_product(account, "confluence"):
                known = frozenset((account.id, ANONYMOUS, "all-licensed-users", *account.groups))
            else:
                known = frozenset((ANONYMOUS,))
            self._principals[account.id] = known
        return known

    # what may be seen and done

    def allows(self, account: Account | None, space: Space, operation: Operation) -> bool:
        if account is not None and account.id == self.elevated:
            return True
        granted = space.grants.get(operation)
        return granted is not None and not granted.isdisjoint(self.principals(account))

    def sees_space(self, account: Account | None, space: Space) -> bool:
        return space.status != "trashed" and self.allows(account, space, ("read", "space"))

    def _passes(self, account: Account | None, restriction: Restriction | None) -> bool:
        if not restriction:
            return True
        if account is None:
            return False
        if account.id == self.elevated:
            return True
        return account.id in restriction.users or not account.groups.keys().isdisjoint(restriction.groups)

    def sees(self, account: Account | None, content: Content) -> bool:
        """View permission of the space, and of every view restriction from the content up to the root."""
        if not self.sees_space(account, self.spaces[content.space]):
            return False
        node: Content | None = content
        while node is not None:
            if node.read is not None and not self._passes(account, node.read):
                return False
            node = self.content.get(node.parent) if node.parent is not None else None
        return content.status != "draft" or (account is not None and account.id == content.author)

    def edits(self, account: Account | None, content: Content) -> bool:
        space = self.spaces[content.space]
        return self.allows(account, space, ("create", content.kind)) and self._passes(account, content.update)

    # titles, order

    def title_key(self, space: Space, content: Content) -> None:
        """Take the content's title. Trashed content does not keep one."""
        if content.kind == "page":
            space.titles[content.title.lower()] = content.id
        else:
            space.days[content.title.lower(), content.created[:10]] = content.id

    def drop_title(self, space: Space, content: Content) -> None:
        if content.kind == "page":
            if space.titles.get(content.title.lower()) == content.id:
                del space.titles[content.title.lower()]
        elif space.days.get((content.title.lower(), content.created[:10])) == content.id:
            del space.days[content.title.lower(), content.created[:10]]

    def taken(self, space: Space, kind: Kind, title: str, created: str, but: int | None = None) -> bool:
        found = space.titles.get(title.lower()) if kind == "page" else space.days.get((title.lower(), created[:10]))
        return found is not None and found != but

    def siblings(self, content: Content) -> list[int]:
        if content.parent is not None and content.parent in self.content:
            return self.content[content.parent].children
        return self.spaces[content.space].roots

    def attach(self, content: Content) -> None:
        """Put a page at the end of its siblings."""
        siblings = self.siblings(content)
        content.position = self.content[siblings[-1]].position + 1 if siblings else 0
        siblings.append(content.id)

    def detach(self, content: Content) -> None:
        siblings = self.siblings(content)
        if content.id in siblings:
            siblings.remove(content.id)

    def is_below(self, content: Content, ancestor: int) -> bool:
        node: Content | None = content
        while node is not None:
            if node.id == ancestor:
                return True
            node = self.content.get(node.parent) if node.parent is not None else None
        return False

    def identity(self, content: Content) -> str:
        return f"{content.kind} {self.spaces[content.space].key}/{content.title}"
