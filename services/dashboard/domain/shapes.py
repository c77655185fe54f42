"""What the API takes and gives. Ids are 32 hexadecimal digits; times are ISO 8601 with zone; sizes are bytes."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from services.dashboard.domain.access import Role
from shared.events.catalog.webhook import Told
from shared.events.checks import Check


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

    @property
    def forbids(self) -> bool:
        return self.blocks and self.result == "error"


class RoundOut(BaseModel):
    round: str
    completed: bool


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
    base_urls: list[str] = Field(default_factory=list, description="Other addresses that its pages link to it under.")
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


class Invitation(BaseModel):
    """One person in one invitation. ``plan``: that invites. ``invited``: the organization took the request, at ``at``; ``unknown``: its
    answer was lost, nobody can tell whether the mail was sent; ``not_invited``: for ``reason``."""

    person: str | None
    email: str | None
    account_id: str | None
    plan: str
    reminder: bool
    state: Literal["waiting", "invited", "unknown", "not_invited"]
    reason: str | None
    at: datetime | None


class InvitationsOut(BaseModel):
    """``to_invite``: people to whom the plan gave access and who were not invited; ``to_remind``: who were. ``total``: of all rows."""

    to_invite: int
    to_remind: int
    total: int
    people: list[Invitation]


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
    """Something that verification found on the site otherwise than it was sent, or than the source has it now.

    ``what`` it put right by itself: "stray", removed, since it stood for nothing; "restricted", hidden, as the source has it by
    now; "closed" to all but the migrator, since it is not at the source any more or the site did not take who may see it.
    """

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
