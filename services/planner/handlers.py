"""The planner's commands: load, decide, append, answer.

A command sent twice has one effect: its first event's id follows from the command's id, and is looked for first.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

import asyncpg

from services.planner.domain import plans
from services.planner.judging import Judge, Judged, consent
from services.planner.saving import Saving
from services.planner.starting import Starting, refusal
from shared.events import commands as c
from shared.events.catalog.plan import (
    PlanArchived,
    PlanCheckDecided,
    PlanPaused,
    PlanResumed,
    PlanSaved,
    PlanScheduled,
    PlanStopRequested,
    PlanUnscheduled,
    PlanUnstuck,
)
from shared.events.catalog.target import SiteCredentialReplaced, SiteRegistered
from shared.events.checks import CHECKS, Check
from shared.events.contract import BadEvent, Event, UnknownEvent
from shared.events.deciding import OVERTAKEN, Decider, refused
from shared.events.store import EventStore
from shared.events.types import derived_id


@dataclass(frozen=True, slots=True)
class _Opened:
    """A site as a login opens it."""

    secret: str
    account_id: str
    cloud_id: str
    site_admin: bool


class Handlers(Decider):
    """One method for each command; ``COMMANDS`` below maps them."""

    def __init__(self, store: EventStore, pool: asyncpg.Pool, least_release: str = "") -> None:
        super().__init__(store)
        self._pool, self._least = pool, least_release

    async def register_site(self, command: c.RegisterSite) -> c.Reply:
        site = derived_id(command.command_id, "site")
        if (done := await self.recorded(command)) is not None:
            return done
        taken = await self._pool.fetchval("SELECT id FROM people.site WHERE name = $1", command.name)
        if taken is not None and taken != site:
            return refused("name_taken", "A site of this name is there already.", "Choose another name.")
        if command.sandbox and not _on_this_machine(command.url):
            return refused(
                "not_a_sandbox",
                "A sandbox is a stand-in on this machine, and this address leads elsewhere.",
                "Add it as a real site: without --sandbox.",
                422,
            )
        opened = await self._opened(command.login, command.url)
        if isinstance(opened, c.Reply):
            return opened
        await self._pool.execute(
            "INSERT INTO people.site (id, name, url, secret, organization, login, cloud_id)"
            " VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (id) DO NOTHING",
            site,
            command.name,
            command.url.rstrip("/"),
            opened.secret if opened else command.secret,
            command.organization,
            command.login,
            opened.cloud_id if opened else None,
        )
        event = SiteRegistered(
            site=site,
            credential="oauth" if opened else command.credential,
            sandbox=command.sandbox,
            login=command.login,
            site_admin=opened.site_admin if opened else None,
        )
        return await self.decide(command, f"site-{site}", -1, event)

    async def replace_site_credential(self, command: c.ReplaceSiteCredential) -> c.Reply:
        """Whoever waits for it goes on by itself: plans that were paused because the login was over."""
        if (done := await self.recorded(command)) is not None:
            return done
        rows = await self._store.read_stream(f"site-{command.site}")
        known = await self._pool.fetchrow(
            "SELECT s.url, s.login, l.account_id FROM people.site s LEFT JOIN people.login l ON l.id = s.login"
            " WHERE s.id = $1",
            command.site,
        )
        if not rows or known is None:
            return refused("site_unknown", "There is no such site.", "List them: cloudward site list.", 404)
        opened = await self._opened(command.login, known["url"])
        if isinstance(opened, c.Reply):
            return opened
        if opened and known["login"] and opened.account_id != known["account_id"] and await self._at_work(command.site):
            # What the other account made before an answer was lost is recognized by its account.
            return refused(
                "other_account",
                "Plans that run write to this site as another account.",
                "Log in with the account that was used before, or stop these plans first.",
            )
        registered = rows[0].event
        assert isinstance(registered, SiteRegistered)
        credential = [e.credential for r in rows if isinstance(e := r.event, SiteRegistered | SiteCredentialReplaced)][
            -1
        ]
        if opened:
            values = (opened.secret, command.login, opened.cloud_id)
            await self._pool.execute(
                "UPDATE people.site SET secret = $2, login = $3, cloud_id = $4 WHERE id = $1", command.site, *values
            )
            credential = "oauth"
        elif command.secret is not None:
            await self._pool.execute(
                "UPDATE people.site SET secret = $2, login = NULL, cloud_id = NULL WHERE id = $1",
                command.site,
                command.secret,
            )
            credential = "sandbox" if registered.credential == "sandbox" else "api_token"
        if command.organization is not None:
            await self._pool.execute(
                "UPDATE people.site SET organization = $2 WHERE id = $1", command.site, command.organization
            )
        event = SiteCredentialReplaced(
            site=command.site,
            credential=credential,
            login=command.login,
            site_admin=opened.site_admin if opened else None,
        )
        return await self.decide(command, f"site-{command.site}", rows[-1].version, event)

    async def _opened(self, login: str | None, url: str) -> "_Opened | c.Reply | None":
        """What a login says of the site at this address; None without a login."""
        if login is None:
            return None
        row = await self._pool.fetchrow(
            "SELECT state, secret, account_id, sites FROM people.login WHERE id = $1", login
        )
        if row is None or row["state"] != "open":
            return refused("login_unknown", "There is no such login, or it is not done.", "Log in first.", 404)
        for site in row["sites"]:
            if site["url"].rstrip("/").lower() == url.rstrip("/").lower():
                return _Opened(row["secret"], row["account_id"], site["cloud_id"], site["site_admin"])
        return refused(
            "site_not_of_login",
            "The account that logged in has no access to this site.",
            "Log in with another account, or pick one of the sites that the login lists.",
            422,
        )

    async def _at_work(self, site: str) -> bool:
        return bool(
            await self._pool.fetchval("SELECT true FROM work.plan WHERE site = $1 AND status = 'RUNNING' LIMIT 1", site)
        )

    async def save_plan(self, command: c.SavePlan) -> c.Reply:
        if (done := await self.recorded(command)) is not None:
            return done
        await self._caught_up()
        plan = derived_id(command.command_id, "plan")
        prepared = await Saving(self._store, self._pool).prepare(command, plan)
        if isinstance(prepared, c.Reply):
            return prepared
        return await self.decide(command, f"plan-{plan}", -1, prepared)

    async def run_plan(self, command: c.RunPlan) -> c.Reply:
        return await self._about_plan(command, plans.run, None)

    async def schedule_plan(self, command: c.SchedulePlan) -> c.Reply:
        return await self._about_plan(command, plans.schedule, None)

    async def unschedule_plan(self, command: c.UnschedulePlan) -> c.Reply:
        return await self._about_plan(command, plans.unschedule, PlanUnscheduled(plan=command.plan))

    async def decide_check(self, command: c.DecideCheck) -> c.Reply:
        if command.excluded and not CHECKS[command.check].excludable:
            return refused(
                "not_excludable",
                f"The check {command.check} cannot be left out: it {'forbids the run' if CHECKS[command.check].blocks else 'has no say'}.",
                CHECKS[command.check].way_on,
                422,
            )
        event = PlanCheckDecided(plan=command.plan, check=command.check, excluded=command.excluded)
        return await self._about_plan(command, plans.decide_check, event)

    async def judge_checks(self, command: c.JudgeChecks) -> c.Reply:
        """A question: nothing is recorded."""
        await self._caught_up()
        saved = await self._saved(command.plan)
        if isinstance(saved, c.Reply):
            return saved
        judged = await Judge(self._store, self._pool, saved, least_release=self._least).all()
        return c.Reply(id=command.plan, result={"checks": [each.document() for each in judged]})

    async def copy_plan(self, command: c.CopyPlan) -> c.Reply:
        if (done := await self.recorded(command)) is not None:
            return done
        saved = await self._saved(command.plan)
        if isinstance(saved, c.Reply):
            return saved
        if saved.invites:
            return refused(
                "is_invitation", "The plan only invites people.", "Invite from the plan that gave them access."
            )
        return await self.save_plan(await Saving(self._store, self._pool).copy(command, saved))

    async def follow_plan(self, command: c.FollowPlan) -> c.Reply:
        if (done := await self.recorded(command)) is not None:
            return done
        await self._caught_up()
        plan = plans.fold([(r.version, r.event) for r in await self._store.read_stream(f"plan-{command.plan}")])
        if plan is None:
            return refused("plan_unknown", "There is no such plan.", "List them: cloudward plan list.", 404)
        if (no := plans.follow(plan, command.follow)) is not None:
            return refused(no.code, no.detail, no.way_on)
        following = await Saving(self._store, self._pool).following(command, plan.saved)
        return following if isinstance(following, c.Reply) else await self.save_plan(following)

    async def _saved(self, plan: str) -> PlanSaved | c.Reply:
        rows = await self._store.read_stream(f"plan-{plan}")
        event = rows[0].event if rows else None
        if not isinstance(event, PlanSaved):
            return refused("plan_unknown", "There is no such plan.", "List them: cloudward plan list.", 404)
        return event

    async def _prepare(self, command: c.RunPlan | c.SchedulePlan, plan: plans.Plan) -> Event | c.Reply:
        """The event of a run or of its start time; or why it is refused."""
        await self._caught_up()
        if isinstance(command, c.RunPlan):
            if command.digest is not None and command.digest != plan.saved.digest:
                return refused(
                    "digest_mismatch",
                    "What was reviewed is not what this plan holds.",
                    "Review the plan again: cloudward plan review.",
                )
            return await Starting(self._store, self._pool, self._least).prepare(plan.saved, command.consent)
        if command.start_at <= time.time() * 1e6:
            return refused("time_past", "The start time is in the past.", "Give a later one, or run the plan now.", 422)
        stands = await consent(self._pool, plan.saved, command.consent)
        if stands is None:
            return refusal(Judged(Check.CONSENT, "error"))
        return PlanScheduled.model_validate({"plan": plan.id, "start_at": command.start_at, "consent": stands})

    async def stop_plan(self, command: c.StopPlan) -> c.Reply:
        return await self._about_plan(command, plans.stop, PlanStopRequested(plan=command.plan))

    async def pause_plan(self, command: c.PausePlan) -> c.Reply:
        return await self._about_plan(command, plans.pause, PlanPaused(plan=command.plan))

    async def resume_plan(self, command: c.ResumePlan) -> c.Reply:
        return await self._about_plan(command, plans.resume, PlanResumed(plan=command.plan))

    async def archive_plan(self, command: c.ArchivePlan) -> c.Reply:
        return await self._about_plan(command, plans.archive, PlanArchived(plan=command.plan))

    async def retry_stuck(self, command: c.RetryStuck) -> c.Reply:
        return await self._about_plan(command, _retry_stuck, PlanUnstuck(plan=command.plan))

    async def _about_plan(
        self, command: c.PlanCommand, decide: Callable[[plans.Plan], plans.Refusal | None], event: Event | None
    ) -> c.Reply:
        if (done := await self.recorded(command)) is not None:
            return done
        for _ in range(5):
            rows = await self._store.read_stream(f"plan-{command.plan}")
            try:
                plan = plans.fold([(r.version, r.event) for r in rows])
            except (BadEvent, UnknownEvent) as error:
                return refused(
                    "event_unreadable",
                    f"This release cannot read the plan's event at position {error.position}.",
                    "Update the planner to a release that can; then try the plan again: cloudward plan retry-stuck.",
                )
            if plan is None:
                return refused("plan_unknown", "There is no such plan.", "List them: cloudward plan list.", 404)
            if (no := decide(plan)) is not None:
                return refused(no.code, no.detail, no.way_on)
            if isinstance(command, c.RunPlan | c.SchedulePlan):
                prepared = await self._prepare(command, plan)
                if isinstance(prepared, c.Reply):
                    return prepared
                event = prepared
            assert event is not None
            reply = await self.decide(command, f"plan-{command.plan}", plan.version, event)
            if reply.problem is None or reply.problem.code != OVERTAKEN:
                return reply
        return reply

    async def _caught_up(self) -> None:
        """Waits a little until the tables of work hold what the log held when the command came."""
        head = (await self._store.head()).position
        for _ in range(100):
            position = await self._pool.fetchval("SELECT position FROM work.checkpoint WHERE name = 'work'")
            if (position or 0) >= head:
                return
            await asyncio.sleep(0.05)


def _on_this_machine(url: str) -> bool:
    """Whether an address is this machine's own or, among containers, that of the stand-in's service."""
    host = urlsplit(url).hostname or ""
    if host in ("localhost", "sandbox"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _retry_stuck(plan: plans.Plan) -> plans.Refusal | None:
    return None if plan.stuck else plans.Refusal("not_stuck", "The plan is not stuck.", "Nothing to do.")


COMMANDS: dict[type[c.Command], str] = {
    c.RegisterSite: "register_site",
    c.ReplaceSiteCredential: "replace_site_credential",
    c.SavePlan: "save_plan",
    c.RunPlan: "run_plan",
    c.SchedulePlan: "schedule_plan",
    c.UnschedulePlan: "unschedule_plan",
    c.CopyPlan: "copy_plan",
    c.FollowPlan: "follow_plan",
    c.DecideCheck: "decide_check",
    c.JudgeChecks: "judge_checks",
    c.StopPlan: "stop_plan",
    c.PausePlan: "pause_plan",
    c.ResumePlan: "resume_plan",
    c.ArchivePlan: "archive_plan",
    c.RetryStuck: "retry_stuck",
}
