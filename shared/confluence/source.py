"""A source: one Confluence instance, by REST or as an export. It is only ever read.

Everything streams: no method returns a list of a whole source or space. All iteration orders are stable as long as the
source does not change. Adapters: ``shared.confluence.rest`` and, for exports, ``shared.confluence.export``.
"""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from datetime import date
from typing import Any, Literal, Protocol

from shared.confluence.model import (
    Attachment,
    Comment,
    Content,
    FileVersion,
    Group,
    Item,
    Permission,
    Person,
    ReaderNote,
    Revision,
    SourceInfo,
    Space,
    Surveyed,
)


class SourceError(Exception):
    """Base of what can go wrong on the source's side. The text says what, why and what next, without secrets."""


class SourceUnreachable(SourceError):
    """No answer, or not an HTTP answer of Confluence. Worth a retry."""


class SourceUnauthorized(SourceError):
    """The credential is refused, or (as Confluence also does) answered as anonymous."""


class SourceUnsupported(SourceError):
    """Not a Confluence, or a version or kind of export that cannot be read."""


class NotInSource(SourceError):
    """The entity is not there, or not visible to the credential."""


class FileMissing(NotInSource):
    """The attachment is listed, its bytes are not there."""


class Source(Protocol):
    """Protocol of all sources. Unknown ids raise NotInSource; trouble raises another SourceError."""

    async def info(self) -> SourceInfo:
        """Who it is; checks that the credential is accepted."""
        ...

    async def notes(self) -> list[ReaderNote]:
        """What was odd about it and survived (malformed exports); short."""
        ...

    def people(self) -> AsyncIterator[Person]:
        """All people known to the source, disabled ones too."""
        ...

    async def person(self, id: str) -> Person | None:
        """One person by id; a name that no longer resolves gives None."""
        ...

    async def person_by_name(self, username: str) -> Person | None:
        """One person by user name (case-insensitive), as mentions of old releases have it."""
        ...

    def groups(self) -> AsyncIterator[Group]: ...

    def members(self, group: str) -> AsyncIterator[str]:
        """Ids of the people in a group, nested groups flattened, each once; cycles are survived."""
        ...

    def spaces(self) -> AsyncIterator[Space]:
        """All spaces, archived and personal ones too, ordered by key."""
        ...

    async def space(self, id: str) -> Space: ...

    async def space_by_key(self, key: str) -> Space | None:
        """By key, case-insensitive."""
        ...

    def items(self, space_id: str) -> AsyncIterator[Item]:
        """All live entities of a space: every page, blog post, comment and attachment exactly once, in no promised order of
        kinds; comments and attachments only where what they hang on is live."""
        ...

    def related_people(self, space_id: str) -> AsyncIterator[str]:
        """Ids of the people that live content of the space names: authors, editors, commenters, mentioned, holders of
        restrictions and permissions. Each once. Mentions by user name that resolve give the person's id."""
        ...

    def survey(self, space: Space) -> AsyncIterator[Surveyed]:
        """One pass over a space: every item as ``items`` has it, the content of every page and blog post, and everybody as
        ``related_people`` has them, though perhaps more than once. What an analysis reads."""
        ...

    async def content(self, id: str, *, placed: bool = True) -> Content:
        """A page or blog post. ``placed`` False: without the page above it, for which a server tells all above that as well."""
        ...

    async def comment(self, id: str) -> Comment: ...

    async def attachment(self, id: str) -> Attachment: ...

    def open_attachment(self, id: str, version: int | None = None) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """The bytes of a version (None: the current one), in chunks of at most 1 MiB. Raises FileMissing on entering."""
        ...

    def versions(self, id: str, last: int) -> AsyncIterator[Revision]:
        """The last so many earlier versions of a page or blog post, oldest first, without the current one."""
        ...

    async def file_versions(self, id: str) -> list[FileVersion]:
        """The versions of an attachment whose bytes are there, oldest first, the current one last."""
        ...

    async def properties(self, id: str) -> list[tuple[str, Any]]:
        """Content properties of a page or blog post: key and JSON value."""
        ...

    async def watchers(self, kind: Literal["content", "space"], id: str) -> list[str]:
        """Ids of the people who watch a page, a blog post or a space."""
        ...

    async def left_behind(self, space_id: str) -> dict[str, int]:
        """What the space holds besides and no API of the cloud takes, counted by kind (see ``LEFT_KINDS``); only what the
        source tells."""
        ...

    def permissions(self, space_id: str) -> AsyncIterator[Permission]: ...

    async def find_content(self, space_key: str, title: str, posting_day: date | None = None) -> str | None:
        """Id of the live page (or, with a day, blog post) with this title in this space (both case-insensitive)."""
        ...

    async def close(self) -> None: ...
