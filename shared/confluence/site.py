"""The site: a Confluence Cloud that is written to. What it answers, and what can go wrong, independent of transport.

The client is ``shared.confluence.cloud.CloudSite``. It uses API v2 where it exists and v1 where it must.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal


class SiteError(Exception):
    """Base of what can go wrong on the site's side. ``status``: HTTP status or None. Texts hold no secrets."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class SiteUnauthorized(SiteError):
    """The credential is refused, or answered as anonymous."""


class SiteForbids(SiteError):
    """403: the account lacks the right for this operation."""


class NotOnSite(SiteError):
    """404: missing, or not visible to the account."""


class VersionConflict(SiteError):
    """409: someone wrote a newer version."""


class TitleTaken(SiteError):
    """400: a page or blog post of the space has this title."""


class KeyTaken(SiteError):
    """400/409: a space, maybe a trashed or invisible one, has this key."""


class PropertyTaken(SiteError):
    """400/409: the content has a property of this key."""


class NameTaken(SiteError):
    """400/409: a group or attachment of this name exists."""


class SeatsExhausted(SiteError):
    """400/402/409: the licence has no seat left for one more user."""


class AccountHidden(SiteError):
    """400: an account with this address exists, and the site does not show it to the credential."""


class TooLarge(SiteError):
    """413: body or file over the site's limit."""


class SiteRefused(SiteError):
    """400 and other answers that say the request itself is wrong: repeating it is useless. The write did not happen."""


class Throttled(SiteError):
    """429: not done. ``retry_after`` in seconds, None if the site does not say."""

    def __init__(self, message: str, retry_after: float | None) -> None:
        super().__init__(message, 429)
        self.retry_after = retry_after


class SiteUnavailable(SiteError):
    """Nothing was done: the connection could not be made, or a read failed."""


class OutcomeUnknown(SiteError):
    """A write was sent and its answer was not received, or was 5xx: it may have happened. Look before repeating."""


class LoginExpired(Exception):
    """The login to the site is over, for every request: nothing was done, and nothing can be until somebody logs in again.

    Not a ``SiteError``: it says nothing about what was asked for.
    """


class WritesForbidden(Exception):
    """The worker lost its lease: it must not send another write. Raised before anything is sent."""


@dataclass(frozen=True, slots=True)
class Account:
    """An account of the site. ``email`` may be hidden (None)."""

    account_id: str
    display_name: str | None
    email: str | None
    active: bool = True


@dataclass(frozen=True, slots=True)
class SiteSpace:
    """``description``: plain text; the marker of a reservation is looked for in it."""

    id: str
    key: str
    name: str
    homepage_id: str | None
    description: str
    creator: str | None
    created_at: datetime | None
    status: str = "current"


@dataclass(frozen=True, slots=True)
class SiteContent:
    """A page or blog post. ``body`` only where it was asked for. ``author``, ``owner``: account ids."""

    id: str
    kind: Literal["page", "blogpost"]
    space_id: str
    title: str
    version: int
    author: str | None
    created_at: datetime | None
    last_editor: str | None
    parent: str | None = None
    position: int | None = None
    body: str | None = None
    owner: str | None = None


@dataclass(frozen=True, slots=True)
class SiteComment:
    """``inline``: it hangs on a piece of the page's text; then ``resolved`` tells whether the matter is closed."""

    id: str
    container: str | None
    parent: str | None
    version: int
    author: str | None
    created_at: datetime | None
    body: str
    inline: bool = False
    resolved: bool = False


@dataclass(frozen=True, slots=True)
class SiteAttachment:
    """``id`` with its "att" prefix."""

    id: str
    container: str
    filename: str
    version: int
    size: int
    media_type: str
    author: str | None
    created_at: datetime | None


@dataclass(frozen=True, slots=True)
class SiteGroup:
    """``synced``: owned by a directory outside, so read-only on the site."""

    id: str
    name: str
    synced: bool = False
