"""What the API takes and gives. Ids are 32 hexadecimal digits; times are ISO 8601 with zone; sizes are bytes."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from services.dashboard.domain.access import Role
from services.dashboard.domain.webhooks import EVENTS
from shared.events.catalog.plan import MoveOptions
from shared.events.catalog.webhook import Told
from shared.events.checks import Check
from shared.events.commands import Scope, SpaceFilter
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


class SourceIn(Input):
    """``kind`` may be left out: an address beginning with http is a server, anything else the path of an export. ``backup``: the
    server is asked for a backup of its whole site, by its API, and that is read."""

    name: str = Field(min_length=1, max_length=200)
    location: str = Field(min_length=1, max_length=2000)
    kind: Literal["rest", "xml", "csv", "backup"] | None = None
    credential: CredentialIn | None = None

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


class LoginSite(BaseModel):
    """``site_admin``: whether the account administers the site, as the site says; None: it does not tell."""

    cloud_id: str
    url: str
    name: str
    site_admin: bool | None


class Login(BaseModel):
    """``state``: asked (waits for the browser), open, denied by the person, failed. ``url``: where the browser is to go."""

    id: str
    state: Literal["asked", "open", "denied", "failed"]
    url: str | None = None
    name: str | None = None
    email: str | None = None
    sites: list[LoginSite] = Field(default_factory=list)


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


class CheckedFile(BaseModel):
    """A plan file that was looked at. ``plan``: what would be saved, with ids instead of names."""

    class Mistake(BaseModel):
        """``line`` and ``column`` count from 1; ``where``: the place in the file, such as ``spaces[2].move``."""

        line: int
        column: int
        where: str
        problem: str
        remedy: str

    ok: bool
    mistakes: list[Mistake]
    plan: dict[str, Any] | None


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


class DecideIn(Input):
    excluded: bool


class CheckOut(BaseModel):
    """``blocks``: an error forbids the run. ``excludable``: may be left out. ``count`` of findings, the first 1,000 of which
    are here. ``checked_at``: when source or site was asked; None: it is judged by what is recorded."""

    check: Check
    result: Literal["passed", "warning", "error", "not_checked"]
    meaning: str
    way_on: str
    guide: str = Field(default="", description="Page and heading of the guide that explain it.")
    blocks: bool
    excludable: bool
    excluded: bool
    count: int
    findings: list[dict[str, Any]]
    checked_at: datetime | None
    round: str | None


class RoundOut(BaseModel):
    round: str
    completed: bool


class TokenIn(Input):
    """``days``: until it expires; none: never."""

    name: str = Field(min_length=1, max_length=200)
    role: Annotated[Role, Loose]
    days: int | None = Field(default=90, ge=1, le=3650)


class TokenMade(BaseModel):
    """``token``: the secret, given this one time only."""

    id: str
    token: str | None


class TokenShown(BaseModel):
    id: str
    name: str
    role: Role
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    used_at: datetime | None


class WebhookIn(Input):
    """``events``: what it is told; all of them where nothing is said."""

    name: str = Field(min_length=1, max_length=200)
    url: str = Field(min_length=1, max_length=2000, pattern=r"^https?://")
    events: list[Told] = Field(default_factory=lambda: list(EVENTS), min_length=1, max_length=len(EVENTS))


class WebhookMade(BaseModel):
    """``secret``: what deliveries are signed with, given this one time only."""

    id: str
    secret: str | None


class WebhookShown(BaseModel):
    """``last_state``: of the last delivery that has ended; ``waiting``, ``failed``: how many deliveries are so."""

    id: str
    name: str
    url: str
    events: list[Told]
    created_at: datetime
    last_state: Literal["delivered", "failed"] | None
    last_at: datetime | None
    waiting: int
    failed: int


class DeliveryShown(BaseModel):
    """``position``: of the event, none for a test. ``status`` (of the receiver), ``problem`` (what kept it from answering), ``ms``
    and ``tried_at``: of the last attempt; ``due_at``: of the next."""

    id: str
    event: str
    position: int | None
    plan: str | None
    plan_name: str | None
    state: Literal["waiting", "delivered", "failed"]
    attempts: int
    created_at: datetime
    ended_at: datetime | None
    due_at: datetime | None
    status: int | None
    problem: str | None
    ms: int | None
    tried_at: datetime | None


class DeliveriesShown(BaseModel):
    """Newest first. ``next``: pass it as ``before`` for older ones; None at the end."""

    deliveries: list[DeliveryShown]
    next: str | None


class SignInLinkIn(Input):
    role: Annotated[Role, Loose] = Role.ADMIN


class SignInLink(BaseModel):
    path: str


class Recorded(BaseModel):
    """A command's answer: the work is recorded under ``id``. ``position``: pass it as ``after`` to read what it did."""

    id: str
    position: int | None = None
    result: dict[str, Any] = Field(default_factory=dict)


class Counts(BaseModel):
    """selected = migrated + skipped + failed once everything has ended."""

    selected: int = 0
    migrated: int = 0
    skipped: int = 0
    failed: int = 0


class Numbers(BaseModel):
    """What a source holds. Addresses: people whose address cannot be used as it is."""

    users: int
    groups: int
    spaces: int
    pages: int
    blogposts: int
    comments: int
    attachments: int
    attachment_bytes: int
    missing_files: int
    addresses_invalid: int
    addresses_duplicate: int
    addresses_unknown: int


class AnalyzedSpace(BaseModel):
    id: str
    key: str | None
    name: str | None
    type: str
    status: str
    pages: int
    blogposts: int
    comments: int
    attachments: int
    attachment_bytes: int
    missing_files: int
    homepage: str | None = None
    last_edit: datetime | None = None
    body_bytes: int | None = None
    macros: int | None = None
    restricted: int | None = None
    guardrails: dict[str, int] = Field(default_factory=dict)
    left_behind: dict[str, int] = Field(
        default_factory=dict, description="What no plan moves, by kind, as far as the source tells."
    )


class Spaces(BaseModel):
    """A page of a list. ``total``: how many match; ``next``: pass it as ``offset`` for more, None at the end."""

    total: int
    next: int | None
    spaces: list[AnalyzedSpace]


class Finding(BaseModel):
    """``number``: what the guardrail counts, as bytes, children, depth or holders."""

    guardrail: str
    space: str | None
    content: str
    title: str | None
    number: int | None


class MacroUses(BaseModel):
    """``availability`` on Cloud: available, check (not in every editor), unavailable, or app (comes with one, or is a user macro)."""

    macro: str
    uses: int
    pages: int
    availability: str
    note: str


class SpaceChange(BaseModel):
    """``what``: added, removed or changed since the other analysis; ``before`` and ``now``: pages, blog posts and so on."""

    space: str
    key: str | None
    name: str | None
    what: Literal["added", "removed", "changed"]
    before: dict[str, int | None] | None
    now: dict[str, int | None] | None


class Changes(BaseModel):
    """Two snapshots of a source compared."""

    analysis: str
    since: str
    since_at: datetime
    spaces: list[SpaceChange]


class Analysis(BaseModel):
    """``code`` and ``sentence`` say why a failed one failed. ``numbers`` once it is completed."""

    id: str
    source: str
    state: Literal["running", "completed", "failed"]
    started_at: datetime
    ended_at: datetime | None
    code: str | None
    sentence: str | None
    release: str | None
    numbers: Numbers | None
    spaces_analyzed: int
    spaces_listed: int | None = None
    users_listed: int | None = None
    age: int | None = Field(default=None, description="Seconds since the snapshot was completed.")
    memberships: int | None = None
    macros: int | None = None
    guardrails: dict[str, int] = Field(default_factory=dict)
    progress: dict[str, Any] | None = None
    spaces: list[AnalyzedSpace] | None = None


class PersonAddress(BaseModel):
    """``address``: usable, invalid, duplicate or unknown; ``directory``: where the source keeps the person, if it tells."""

    id: str
    username: str | None
    display_name: str | None
    email: str | None
    address: str
    active: bool | None
    directory: str | None
    repair: str | None
    repaired_email: str | None


class Domain(BaseModel):
    """``trusted``: None as long as nobody has said anything."""

    domain: str
    people: int
    trusted: bool | None


class ChecklistLine(BaseModel):
    """``count``: of rows in all; ``rows``: the first of them. ``guide``: page and heading that say what to do."""

    number: int
    name: str
    title: str
    guide: str
    count: int
    rows: list[dict[str, Any]]


class DomainsIn(Input):
    """``every``: all domains of the source that are not named are trusted."""

    trusted: list[str] = Field(default_factory=list, max_length=10_000)
    untrusted: list[str] = Field(default_factory=list, max_length=10_000)
    every: bool = False


class MapIn(Input):
    """Texts of CSV. ``groups``: Group, Target (none drops the group); ``users``: User (key or name), AccountId."""

    groups: str | None = Field(default=None, max_length=32_000_000)
    users: str | None = Field(default=None, max_length=32_000_000)


class Repair(BaseModel):
    merged: int
    generated: int
    former: int
    corrected: int = 0
    at: datetime


class Source(BaseModel):
    id: str
    name: str
    kind: Literal["rest", "xml", "csv", "backup"]
    location: str
    registered_at: datetime
    replaced_at: datetime | None = Field(default=None, description="When it got another credential last.")
    info: dict[str, Any] | None
    repair: Repair | None
    analysis: Analysis | None


class Site(BaseModel):
    id: str
    name: str
    url: str
    kind: str
    sandbox: bool
    registered_at: datetime
    replaced_at: datetime | None = Field(default=None, description="When it got another credential last.")
    expired: bool = Field(default=False, description="The login is over: somebody has to log in again.")
    account: str | None = Field(default=None, description="Who logged in.")


class Named(BaseModel):
    id: str
    name: str
    url: str | None = None


class SpaceCounts(BaseModel):
    selected: int
    migrated: int
    failed: int


class PlanSummary(BaseModel):
    """``total``: entities selected, with the analysis' numbers for spaces whose inventory is not taken yet
    (``counting`` says how many those are), so it may change while spaces are counted. ``percent`` never falls: it weighs
    each task by the analysis. ``line``: the status in numbers, as a sentence."""

    id: str
    name: str
    status: Literal["READY", "RUNNING", "STOPPED", "FINISHED", "FAILED"]
    stopping: bool
    paused: bool
    guide: str = Field(default="", description="Page and heading of the guide that explain the status.")
    paused_for: Literal["credential_expired"] | None = Field(
        default=None, description="Why it is paused, where nobody asked for it: it goes on by itself when that is over."
    )
    archived: bool
    stuck: int | None
    stuck_code: str | None
    source: Named
    site: Named
    stage: str
    dry_run: bool = False
    spaces: SpaceCounts
    kinds: dict[str, Counts]
    done: int
    total: int
    pages_total: int
    counting: int
    chunks_claimed: int
    percent: int = 0
    conserved: bool | None
    saved_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    position: int
    line: str = ""
    follow: str | None = None


class Task(BaseModel):
    """``kind``: users, groups or space; undo (of a space) or undo_people. ``link``: the space on the site, once it is there. ``what`` of a space moves, of
    it only the page trees below ``roots`` where there are some; ``new_key``: its key on the site, where it is another."""

    id: str | None
    kind: str
    space: str | None
    key: str | None
    name: str | None
    state: str
    phase: str | None
    reason: str | None
    kinds: dict[str, Counts]
    link: str | None
    started_at: datetime | None
    ended_at: datetime | None
    what: str = "all"
    roots: list[str] = Field(default_factory=list)
    new_key: str | None = None


class ReasonGroup(BaseModel):
    """One cause: how many entities of a kind ended so, what it means and what can be done. ``examples``: a few ids;
    ``names``: what people, groups and spaces among them are called; ``spaces``: keys of a few spaces it is met in."""

    kind: str
    outcome: Literal["migrated", "skipped", "failed"]
    reason: str
    count: int
    meaning: str
    way_on: str
    examples: list[str]
    names: list[str] = Field(default_factory=list)
    spaces: list[str] = Field(default_factory=list)
    accepted: bool


class PlanDetail(PlanSummary):
    users: str
    groups: bool
    accepted: list[str]
    key_conflicts: str = "fail"
    addresses: str = "source"
    copy_of: str | None = None
    predecessor: Named | None = None
    digest: str = ""
    start_at: datetime | None = None
    start_refused: str | None = None
    left_behind: dict[str, int] = Field(
        default_factory=dict, description="What its spaces hold and no plan moves, by kind, as the analysis counted it."
    )
    tasks: list[Task]
    reasons: list[ReasonGroup]


class UndoOut(BaseModel):
    """``made``: by kind, how many things on the site the plan made and no undo has removed. ``merged``: groups and spaces that
    were there before it, of which only what it added is removed. ``stay``: accounts, which no API deletes."""

    made: dict[str, int]
    merged: dict[str, int]
    stay: int


class ReportedReason(BaseModel):
    kind: str
    id: str
    outcome: Literal["migrated", "skipped", "failed"]
    reason: str


class ReportedTask(BaseModel):
    """A task that failed. ``kind``: users, groups or space; ``space``: its id at the source."""

    kind: str
    space: str | None
    reason: str


class ReportedReference(BaseModel):
    """References of one body: ``kind`` body or comment, ``id`` of its page, blog post or comment, ``names`` what they name, ``why`` what became of
    them ("rewritten", or why they were not resolved)."""

    space: str | None
    kind: str
    id: str
    names: str
    why: str
    count: int


class ReportedDifference(BaseModel):
    """Something that verification found on the site otherwise than it was sent; "stray": removed, it stood for nothing."""

    space: str | None
    kind: str
    id: str
    what: str


class LeftBehind(BaseModel):
    """What a space holds at the source and no plan moves, and what can be done about it."""

    space: str | None
    kind: str
    count: int
    way_on: str


class Report(BaseModel):
    """``conserved``: for each task and kind, the inventory's ids are the disjoint union of the outcomes, and the sums
    agree. ``tasks``: those that failed. ``reasons``: every entity that was skipped, failed, or moved with a defect."""

    source: str
    plan: str
    status: str
    kinds: dict[str, Counts]
    conserved: bool
    differences: dict[str, dict[str, int]]
    tasks: list[ReportedTask] = Field(default_factory=list)
    dry_run: bool = False
    verification: list[ReportedDifference] = Field(default_factory=list)
    left_behind: list[LeftBehind] = Field(default_factory=list)
    reasons: list[ReportedReason]
    references: list[ReportedReference] = Field(default_factory=list)


class LoggedEvent(BaseModel):
    """One event as it stands in the log."""

    position: int
    id: str
    stream: str
    version: int
    type: str
    recorded_at: datetime
    link: str
    body: dict[str, Any]


class Log(BaseModel):
    """``head``: the last position of the log; ``next``: pass it as ``after`` for what follows."""

    head: int
    next: int
    events: list[LoggedEvent]


class ProjectionHealth(BaseModel):
    name: str
    position: int
    status: str
    sentence: str | None


class Overview(BaseModel):
    """The deployment as the dashboard sees it."""

    head: int
    projections: list[ProjectionHealth]
