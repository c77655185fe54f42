"""Events of a site, and of a target: one space key on one site, which belongs to one plan at a time."""

from typing import ClassVar, Literal

from shared.events.contract import Event
from shared.events.types import Id


class SiteRegistered(Event):
    """A Confluence Cloud site became known. ``sandbox``: a stand-in on this machine, for which no consent is asked.

    ``login``: somebody logged in with an Atlassian account, picked this site of it and confirmed; account and address stand
    under this id outside the log. ``site_admin``: whether the account administers the site, as the site said then.
    """

    CATEGORY: ClassVar[str] = "site"
    site: Id
    credential: Literal["api_token", "oauth", "sandbox"]
    sandbox: bool
    login: Id | None = None
    site_admin: bool | None = None


class SiteCredentialReplaced(Event):
    """From here on the site is reached with another credential, which stands outside the log."""

    CATEGORY: ClassVar[str] = "site"
    site: Id
    credential: Literal["api_token", "oauth", "sandbox"]
    login: Id | None = None
    site_admin: bool | None = None


class CredentialExpired(Event):
    """The login to the site is over: nothing renews it any more. Plans that need it are paused until somebody logs in."""

    CATEGORY: ClassVar[str] = "site"
    site: Id


class SpaceReserved(Event):
    """From here on only this plan writes to the target. The marker stands in the space's description when it is created."""

    CATEGORY: ClassVar[str] = "target"
    target: Id
    site: Id
    plan: Id
    task: Id
    marker: Id


class SpaceReleased(Event):
    """The plan's work on the space is over: another plan may reserve the target."""

    CATEGORY: ClassVar[str] = "target"
    target: Id
    plan: Id
