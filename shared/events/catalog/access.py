"""Events of people and tokens that use the dashboard: who logged in, how, and what they were allowed."""

from typing import ClassVar, Literal

from shared.events.contract import Event
from shared.events.types import Id

Role = Literal["viewer", "operator", "auditor", "admin"]
SignIn = Literal["oidc", "one_time_link"]


class AccessEvent(Event, abstract=True):
    """``subject``: the key of the person or the id of the token that the event is about."""

    CATEGORY: ClassVar[str] = "access"
    subject: Id


class SignedIn(AccessEvent):
    """A browser was logged in: from here on its session acts as this person, with this role."""

    role: Role
    method: SignIn


class SignInRefused(AccessEvent):
    """Somebody tried to log in and may not. ``subject`` is the deployment where nobody could be told.

    Recorded at most once a minute for one address; the address itself is in the dashboard's log, not here.
    """

    method: SignIn
    code: Literal["link_invalid", "provider_refused", "answer_invalid", "no_role"]


class SignedOut(AccessEvent):
    """A person logged out; the session's cookie is worth nothing any more."""


class TokenCreated(AccessEvent):
    """A token for machines exists; it is shown once and stored as a digest. ``days``: until it expires; none: never."""

    role: Role
    days: int | None = None


class TokenRevoked(AccessEvent):
    """The token is refused from here on."""
