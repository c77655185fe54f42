"""The planner's commands: load, decide, append, answer.

A command sent twice has one effect: its first event's id follows from the command's id, and is looked for first.
"""

import asyncio
from collections.abc import Callable
from ipaddress import ip_address
from urllib.parse import urlsplit

import asyncpg

from services.planner.domain import plans
from services.planner.saving import Saving
from shared.events import commands as c
from shared.events.catalog.plan import (
    PlanArchived,
    PlanPaused,
    PlanResumed,
    PlanSaved,
    PlanStarted,
    PlanStopRequested,
    PlanUnstuck,
)
from shared.events.catalog.target import SiteRegistered
from shared.events.contract import BadEvent, Event, UnknownEvent
from shared.events.deciding import OVERTAKEN, Decider, refused
from shared.events.store import EventStore
from shared.events.types import derived_id


class Handlers(Decider):
    """One method for each command; ``COMMANDS`` below maps them."""

    def __init__(self, store: EventStore, pool: asyncpg.Pool) -> None:
        super().__init__(store)
        self._pool = pool

    async def register_site(self, command: c.RegisterSite) -> c.Reply:
        site = derived_id(command.command_id, "site")
        if (done := await self.recorded(command)) is not None:
            return done
        taken = await self._pool.fetchval("SELECT id FROM people.site WHERE name = $1", command.name)
        if taken is not None and taken != site:
            return refused("name_taken", f"A site is called “{command.name}” already.", "Choose another name.")
        if command.sandbox and not _on_this_machine(command.url):
            return refused(
                "not_a_sandbox",
                "A sandbox is a stand-in on this machine, and this address leads elsewhere.",
                "Add it as a real site: without --sandbox.",
                422,
            )
        await self._pool.execute(
            "INSERT INTO people.site VALUES ($1, $2, $3, $4) ON CONFLICT (id) DO NOTHING",
            site,
            command.name,
            command.url.rstrip("/"),
            command.secret,
        )
        event = SiteRegistered(site=site, credential=command.credential, sandbox=command.sandbox)
        return await self.decide(command, f"site-{site}", -1, event)

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
            if isinstance(command, c.RunPlan):
                prepared = await self._prepare_run(command, plan)
                if isinstance(prepared, c.Reply):
                    return prepared
                event = prepared
            assert event is not None
            reply = await self.decide(command, f"plan-{command.plan}", plan.version, event)
            if reply.problem is None or reply.problem.code != OVERTAKEN:
                return reply
        return reply

    async def _prepare_run(self, command: c.RunPlan, plan: plans.Plan) -> PlanStarted | c.Reply:
        """The run's event, or why it is refused: consent, and people whose addresses nobody has repaired."""
        await self._caught_up()
        saved = plan.saved
        await self._keep_keys(saved)
        unknown_too = saved.users != "none"
        rows = await self._pool.fetch(
            "SELECT address, count(*) AS n FROM people.person WHERE source = $1 AND repair IS NULL"
            " AND (address IN ('invalid', 'duplicate') OR ($2 AND address = 'unknown')) GROUP BY address ORDER BY address",
            saved.source,
            unknown_too,
        )
        if rows:
            numbers = ", ".join(f"{r['n']} {r['address']}" for r in rows)
            return refused(
                "email_errors_unresolved",
                f"The source has people with unusable e-mail addresses: {numbers}.",
                "Repair them where they are kept, or decide here: cloudward source repair SOURCE --duplicates merge"
                " --others generate.",
                findings=[{"address": r["address"], "people": r["n"]} for r in rows],
            )
        if await self._pool.fetchval("SELECT sandbox FROM work.site WHERE site = $1", saved.site):
            return PlanStarted(plan=plan.id, consent="not_needed_for_sandbox")
        if command.consent:
            return PlanStarted(plan=plan.id, consent="given")
        before = await self._pool.fetchval(
            "SELECT true FROM work.plan WHERE source = $1 AND site = $2 AND consent = 'given' LIMIT 1",
            saved.source,
            saved.site,
        )
        if before:
            return PlanStarted(plan=plan.id, consent="given_before")
        return refused(
            "consent_required",
            "Nobody has agreed yet that data of this source are copied to this site.",
            "Run it with --consent to agree; who and when is recorded.",
        )

    async def _keep_keys(self, saved: PlanSaved) -> None:
        """A space that goes on in what an earlier plan made keeps the key that it got then."""
        await self._pool.execute(
            "INSERT INTO people.plan_key SELECT $1, m.id, k.key FROM work.id_map m JOIN work.task t ON t.task = m.task"
            " JOIN people.plan_key k ON k.plan = t.plan AND k.space = m.id WHERE m.site = $2 AND m.source = $3"
            " AND m.kind = 'space' AND m.id = ANY($4) AND (t.what = 'attachments' OR m.id = ANY($5)) ON CONFLICT DO NOTHING",
            saved.plan,
            saved.site,
            saved.source,
            list(saved.spaces),
            [scope.space for scope in saved.scopes if scope.what != "all"],
        )

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
    c.SavePlan: "save_plan",
    c.RunPlan: "run_plan",
    c.StopPlan: "stop_plan",
    c.PausePlan: "pause_plan",
    c.ResumePlan: "resume_plan",
    c.ArchivePlan: "archive_plan",
    c.RetryStuck: "retry_stuck",
}
