"""Commands: what one service asks another to do, by NATS request/reply on ``cmd.<owner>.<verb>``.

A command carries its id: sent twice it has one effect, and the second answer is the first one's. A reply says only that
the work is recorded, and under which id. Texts (names, addresses, paths) may stand in a command and in its reply, so both
travel beside NATS (``letters``); they never enter an event.
"""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from shared.events.catalog.plan import Follow, MoveOptions
from shared.events.checks import Check
from shared.events.contract import Actor
from shared.events.types import Digest, Id, Micros

MOST_BASE_URLS = 50
BaseUrls = Annotated[tuple[Annotated[str, Field(max_length=2000)], ...], Field(max_length=MOST_BASE_URLS)]


class Command(BaseModel):
    """``command_id`` is the caller's idempotency key as an id; ``correlation`` names the story it belongs to."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    SUBJECT: ClassVar[str] = ""
    command_id: Id
    actor: Actor
    correlation: Id


class Problem(BaseModel):
    """Why a command was refused. ``code`` is from a closed list, ``detail`` says what and why, ``way_on`` what next."""

    code: str
    status: int = 409
    detail: str
    way_on: str
    findings: list[dict[str, Any]] = Field(default_factory=list)


class Reply(BaseModel):
    """Either ``id`` (of what was recorded), with ``result`` for details, or a problem."""

    id: str | None = None
    result: dict[str, Any] = Field(default_factory=dict)
    problem: Problem | None = None


class RegisterSource(Command):
    """``location``: base URL of a server, or absolute path of an export (file or folder)."""

    SUBJECT: ClassVar[str] = "cmd.analyzer.register_source"
    name: str = Field(min_length=1, max_length=200)
    kind: Literal["rest", "xml", "csv", "backup"]
    location: str = Field(min_length=1, max_length=2000)
    secret: Id | None = None
    base_urls: BaseUrls = ()


class SetBaseUrls(Command):
    """``base_urls``: all addresses, besides the one that the source tells, under which its pages link to it."""

    SUBJECT: ClassVar[str] = "cmd.analyzer.set_base_urls"
    source: Id
    base_urls: BaseUrls


class ReplaceSourceCredential(Command):
    SUBJECT: ClassVar[str] = "cmd.analyzer.replace_source_credential"
    source: Id
    secret: Id


class Analyze(Command):
    SUBJECT: ClassVar[str] = "cmd.analyzer.analyze"
    source: Id


class RepairAddresses(Command):
    """``duplicates``/``others``: what to do with people whose address is a duplicate, or invalid or unknown."""

    SUBJECT: ClassVar[str] = "cmd.analyzer.repair_addresses"
    source: Id
    duplicates: Literal["merge", "generate", "former", "leave"]
    others: Literal["generate", "former", "leave"]


class CorrectAddresses(Command):
    """``upload``: id of a CSV with columns UserKey, UserName, ErrorType, OldEmail, NewEmail, Tombstone, AccountType."""

    SUBJECT: ClassVar[str] = "cmd.analyzer.correct_addresses"
    source: Id
    upload: Id


class ReviewDomains(Command):
    """Domains to mark. ``every``: all of the source's that are not named; ``upload``: id of a CSV (domain, trusted)."""

    SUBJECT: ClassVar[str] = "cmd.analyzer.review_domains"
    source: Id
    trusted: list[str] = Field(default_factory=list, max_length=10_000)
    untrusted: list[str] = Field(default_factory=list, max_length=10_000)
    every: bool = False
    upload: Id | None = None


class RecordMap(Command):
    """Ids of CSVs: groups (Group, Target; no target drops it), users (User, AccountId; by key or user name)."""

    SUBJECT: ClassVar[str] = "cmd.analyzer.record_map"
    source: Id
    groups: Id | None = None
    users: Id | None = None


class RegisterSite(Command):
    """``url``: of the site, without /wiki. ``sandbox``: a stand-in on this machine. ``login``: the site is reached by it.
    ``organization``: secret with the organization's key."""

    SUBJECT: ClassVar[str] = "cmd.planner.register_site"
    name: str = Field(min_length=1, max_length=200)
    url: str = Field(min_length=1, max_length=2000)
    credential: Literal["api_token", "oauth", "sandbox"]
    sandbox: bool = False
    secret: Id | None = None
    login: Id | None = None
    organization: Id | None = None


class ReplaceSiteCredential(Command):
    """One of ``secret`` and ``login``; ``organization``: another key of the organization, besides or alone."""

    SUBJECT: ClassVar[str] = "cmd.planner.replace_site_credential"
    site: Id
    secret: Id | None = None
    login: Id | None = None
    organization: Id | None = None


class SpaceFilter(BaseModel):
    """Which spaces of the source are meant, where not every one is named. Patterns (``*``, ``?``) are matched against keys,
    ``search`` against key and name; letters' case never counts."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    type: Literal["global", "personal"] | None = None
    status: Literal["current", "archived"] | None = None
    search: str | None = Field(default=None, min_length=1, max_length=200)
    keys: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()


class Scope(BaseModel):
    """A space that does not move whole: ``what`` of it, or only the page trees below and with ``roots``."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    space: str
    what: Literal["all", "attachments", "rights"] = "all"
    roots: tuple[str, ...] = ()


class SavePlan(Command):
    """``spaces``: ids of the source's spaces, or "all" that ``filter`` lets through. ``accepted``: reasons for a skip that
    the review named. ``new_keys``: space id to its key on the site. ``map``: of the source's groups and users.
    ``access_group``: the site's group that gives access, where it has several. For the rest see the event PlanSaved."""

    SUBJECT: ClassVar[str] = "cmd.planner.save_plan"
    name: str = Field(min_length=1, max_length=200)
    source: Id
    site: Id
    stage: Literal["test", "production"] = "test"
    users: Literal["all", "related", "none"] = "all"
    groups: bool = True
    spaces: list[str] | Literal["all"] = "all"
    filter: SpaceFilter | None = None
    accepted: list[str] = Field(default_factory=list)
    map: Id | None = None
    access_group: str | None = Field(default=None, max_length=255)
    options: MoveOptions = MoveOptions()
    scopes: list[Scope] = Field(default_factory=list)
    key_conflicts: Literal["fail", "skip"] = "fail"
    new_keys: dict[str, str] = Field(default_factory=dict)
    addresses: Literal["source", "plan"] = "source"
    copy_of: Id | None = None
    dry_run: bool = False
    predecessor: Id | None = None
    follow: Follow | None = None


class PlanCommand(Command):
    plan: Id


class RunPlan(PlanCommand):
    """``digest``: of what was reviewed; a plan with another one is not run."""

    SUBJECT: ClassVar[str] = "cmd.planner.run_plan"
    consent: bool = False
    digest: Digest | None = None


class StopPlan(PlanCommand):
    SUBJECT: ClassVar[str] = "cmd.planner.stop_plan"


class PausePlan(PlanCommand):
    SUBJECT: ClassVar[str] = "cmd.planner.pause_plan"


class ResumePlan(PlanCommand):
    SUBJECT: ClassVar[str] = "cmd.planner.resume_plan"


class ArchivePlan(PlanCommand):
    SUBJECT: ClassVar[str] = "cmd.planner.archive_plan"


class RetryStuck(PlanCommand):
    SUBJECT: ClassVar[str] = "cmd.planner.retry_stuck"


class SchedulePlan(PlanCommand):
    """``start_at``: in microseconds since 1970. Consent is asked for now."""

    SUBJECT: ClassVar[str] = "cmd.planner.schedule_plan"
    start_at: Micros
    consent: bool = False


class UnschedulePlan(PlanCommand):
    SUBJECT: ClassVar[str] = "cmd.planner.unschedule_plan"


class CopyPlan(PlanCommand):
    """Saves a new plan that holds what this one holds, by the last analysis; as a dry run it writes nothing to the site."""

    SUBJECT: ClassVar[str] = "cmd.planner.copy_plan"
    name: str = Field(min_length=1, max_length=200)
    dry_run: bool = False


class FollowPlan(PlanCommand):
    """Saves a new plan that goes on from this one, which has ended. See ``Follow`` for what it may do."""

    SUBJECT: ClassVar[str] = "cmd.planner.follow_plan"
    name: str = Field(min_length=1, max_length=200)
    follow: Follow


class DecideCheck(PlanCommand):
    SUBJECT: ClassVar[str] = "cmd.planner.decide_check"
    check: Check
    excluded: bool


class JudgeChecks(PlanCommand):
    """A question, not a change: the answer's ``result`` holds ``checks``."""

    SUBJECT: ClassVar[str] = "cmd.planner.judge_checks"


class RunChecks(PlanCommand):
    """Asks source and site what the checks of the plan need to know; the answer names the round."""

    SUBJECT: ClassVar[str] = "cmd.analyzer.run_checks"
    source: Id
    site: Id
