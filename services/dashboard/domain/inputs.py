"""What requests hold, as the API takes it: strictly, and nothing besides."""

from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from services.dashboard.domain.access import Role
from services.dashboard.domain.webhooks import EVENTS
from shared.events.catalog.plan import MoveOptions
from shared.events.catalog.webhook import Told
from shared.events.commands import MOST_BASE_URLS, Scope, SpaceFilter
from shared.events.reasons import Reason
from shared.events.types import Digest, Id

# As the document says: what JSON has as a string is a member of a closed list, or a time.
Loose = Field(strict=False)


def _no_nul(value: Any) -> Any:
    """Postgres' texts hold every character but this one."""
    if isinstance(value, str) and "\x00" in value:
        raise ValueError("a text may not hold the character U+0000")
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _no_nul(part)
    return value


class Input(BaseModel):
    """A body as a caller sends it: nothing that the document does not name, nothing taken for something else."""

    model_config = ConfigDict(extra="forbid", strict=True)
    _readable = model_validator(mode="before")(_no_nul)


class CredentialIn(Input):
    """One of: ``reference`` ("env:NAME" or "file:/path", resolved by the services themselves), ``token`` (with
    ``email`` for a site), ``username`` and ``password``. It is sealed at once and never given out again."""

    reference: str | None = Field(default=None, pattern=r"^(?:env:[A-Za-z_][A-Za-z0-9_]*|file:/.+)$")
    token: str | None = Field(default=None, min_length=1, repr=False)
    email: str | None = None
    username: str | None = None
    password: str | None = Field(default=None, repr=False)

    @model_validator(mode="after")
    def _one_form(self) -> "CredentialIn":
        given = {name for name in type(self).model_fields if getattr(self, name) is not None}
        if given not in ({"reference"}, {"token"}, {"email", "token"}, {"username", "password"}):
            raise ValueError("give a reference, a token (with e-mail for a site), or user name and password")
        return self


def _base_url(url: str) -> str:
    parts = urlsplit(url.strip())
    whole = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port > 0)
    if not whole or parts.query or parts.fragment or parts.username is not None:
        raise ValueError("give an address such as https://wiki.example.com/confluence")
    return url.strip().rstrip("/")


BaseUrl = Annotated[str, Field(max_length=2000), AfterValidator(_base_url)]
BaseUrlsIn = Annotated[
    list[BaseUrl],
    Field(
        max_length=MOST_BASE_URLS,
        description="Addresses, besides the one that the source tells, under which its pages link to it.",
    ),
]


class UrlsIn(Input):
    """They take the place of those that were there."""

    base_urls: BaseUrlsIn


class SourceIn(Input):
    """``kind`` may be left out: an address beginning with http is a server, anything else the path of an export. ``backup``: the
    server is asked for a backup of its whole site, by its API, and that is read."""

    name: str = Field(min_length=1, max_length=200)
    location: str = Field(min_length=1, max_length=2000)
    kind: Literal["rest", "xml", "csv", "backup"] | None = None
    credential: CredentialIn | None = None
    base_urls: BaseUrlsIn = Field(default_factory=list)

    @property
    def detected_kind(self) -> Literal["rest", "xml", "csv", "backup"]:
        if self.kind is not None:
            return self.kind
        return "rest" if self.location.lower().startswith(("http://", "https://")) else "xml"


class SiteIn(Input):
    """``url`` of the site, without /wiki. ``kind``: how it is logged in to. ``login``: id of a login that opens the site,
    instead of a credential. ``organization``: reference to the organization's key, a JSON object with ``org_id``,
    ``org_key`` and ``directory_id``."""

    name: str = Field(min_length=1, max_length=200)
    url: str = Field(min_length=1, max_length=2000, pattern=r"^https?://")
    kind: Literal["api_token", "oauth", "sandbox"] = "api_token"
    sandbox: bool = False
    credential: CredentialIn | None = None
    login: Id | None = None
    organization: CredentialIn | None = None

    @model_validator(mode="after")
    def _one_way(self) -> "SiteIn":
        if self.login is not None and self.credential is not None:
            raise ValueError("give a credential or a login, not both")
        if self.kind == "oauth" and self.login is None:
            raise ValueError("a site of kind oauth needs a login")
        return self


class ReplaceIn(Input):
    """Another credential of a source or site, in the forms that it was given in; or, of a site, a login."""

    credential: CredentialIn | None = None
    login: Id | None = None
    organization: CredentialIn | None = None

    @model_validator(mode="after")
    def _something(self) -> "ReplaceIn":
        if self.credential is not None and self.login is not None:
            raise ValueError("give a credential or a login, not both")
        if self.credential is None and self.login is None and self.organization is None:
            raise ValueError("give a credential, or of a site a login or the organization's key")
        return self


class RepairIn(Input):
    """What becomes of people whose address is a duplicate, and of those whose address is invalid or unknown."""

    duplicates: Literal["merge", "generate", "former", "leave"] = "merge"
    others: Literal["generate", "former", "leave"] = "generate"


class OptionsIn(MoveOptions):
    model_config = ConfigDict(strict=True)


class PlanIn(Input):
    """``spaces``: ids of the source's spaces, or "all" that ``filter`` lets through. ``scopes``: spaces that do not move
    whole. ``new_keys``: space id to its key on the site. ``key_conflicts``: what becomes of a space whose key is taken there.
    ``addresses``: whose e-mail errors forbid the run. ``accepted``: reasons for a skip that the review named."""

    name: str = Field(min_length=1, max_length=200)
    source: Id
    site: Id
    stage: Literal["test", "production"] = "test"
    users: Literal["all", "related", "none"] = "all"
    groups: bool = True
    spaces: list[str] | Literal["all"] = "all"
    filter: Annotated[SpaceFilter | None, Loose] = None
    accepted: list[Annotated[Reason, Loose]] = Field(default_factory=list)
    map: Id | None = Field(default=None, description="A map of the source's groups and users.")
    access_group: str | None = Field(
        default=None, min_length=1, max_length=255, description="The site's group that gives access, if it has several."
    )
    options: OptionsIn = OptionsIn()
    scopes: list[Annotated[Scope, Loose]] = Field(default_factory=list)
    key_conflicts: Literal["fail", "skip"] = "fail"
    new_keys: dict[str, str] = Field(default_factory=dict)
    addresses: Literal["source", "plan"] = "source"


class RunIn(Input):
    """``consent``: someone agrees that data of the source are copied to the site. ``digest``: of what was reviewed; a plan
    that holds something else is not run."""

    consent: bool = False
    digest: Digest | None = None


class ScheduleIn(Input):
    """``start_at``: ISO 8601 with zone."""

    start_at: Annotated[AwareDatetime, Loose]
    consent: bool = False


class CopyIn(Input):
    """``dry_run``: the copy writes nothing to the site; it runs, and ends with the report of a run."""

    name: str = Field(min_length=1, max_length=200)
    dry_run: bool = False


class InviteIn(Input):
    """``name``: of the plan that invites. ``reminder``: those who were invited before, else only those who were not."""

    name: str = Field(min_length=1, max_length=200)
    reminder: bool = False


class DecideIn(Input):
    excluded: bool


class TokenIn(Input):
    """``days``: until it expires; none: never."""

    name: str = Field(min_length=1, max_length=200)
    role: Annotated[Role, Loose]
    days: int | None = Field(default=90, ge=1, le=3650)


class WebhookIn(Input):
    """``events``: what it is told; all of them where nothing is said."""

    name: str = Field(min_length=1, max_length=200)
    url: str = Field(min_length=1, max_length=2000, pattern=r"^https?://")
    events: list[Told] = Field(default_factory=lambda: list(EVENTS), min_length=1, max_length=len(EVENTS))


class SignInLinkIn(Input):
    role: Annotated[Role, Loose] = Role.ADMIN


class DomainsIn(Input):
    """``every``: all domains of the source that are not named are trusted."""

    trusted: list[str] = Field(default_factory=list, max_length=10_000)
    untrusted: list[str] = Field(default_factory=list, max_length=10_000)
    every: bool = False


class MapIn(Input):
    """Texts of CSV. ``groups``: Group, Target (none drops the group); ``users``: User (key or name), AccountId."""

    groups: str | None = Field(default=None, max_length=32_000_000)
    users: str | None = Field(default=None, max_length=32_000_000)
