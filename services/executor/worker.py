"""Takes hints, claims chunks, and runs them, a few at a time."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import asyncpg
import structlog

from services.executor.dry.site import DrySite
from services.executor.entities import reason_of
from services.executor.following import chain_of
from services.executor.gate import CLAIM, SiteGate
from services.executor.job import Draining, Job, SpaceGone, rows_of
from services.executor.phases import (
    attachments,
    comments,
    details,
    inventory,
    invitations,
    opening,
    pages,
    people,
    provenance,
    space,
    undo,
    undo_people,
    verification,
)
from shared.confluence.cloud import CloudSite
from shared.confluence.peers import open_site, open_source
from shared.confluence.site import (
    Account,
    LoginExpired,
    OutcomeUnknown,
    SiteError,
    SiteUnavailable,
    Throttled,
    WritesForbidden,
)
from shared.confluence.source import Source, SourceError, SourceUnreachable
from shared.events.catalog.plan import PlanSaved
from shared.events.catalog.work import Entity, Kind, Outcome, Phase
from shared.events.claims import ONE_BY_ONE, Claim, Claims, LeaseLost
from shared.events.reasons import Reason
from shared.events.store import UNAVAILABLE, EventStore
from shared.ops.settings import Settings
from shared.ops.vault import VaultError

log = structlog.get_logger(__name__)

PHASES: dict[Phase, Callable[[Job], Awaitable[None]]] = {
    Phase.USER: people.users,
    Phase.GROUP: people.groups,
    Phase.MEMBERSHIP: people.memberships,
    Phase.SPACE: space.create,
    Phase.PAGE: pages.pages,
    Phase.BLOGPOST: pages.blogposts,
    Phase.VERSION: pages.versions,
    Phase.ATTACHMENT: attachments.move,
    Phase.BODY: pages.second_pass,
    Phase.LINK: pages.links,
    Phase.OWNER: pages.owners,
    Phase.COMMENT: comments.move,
    Phase.LABEL: details.labels,
    Phase.PROPERTY: details.properties,
    Phase.PROVENANCE: provenance.note,
    Phase.ORDER: details.order,
    Phase.RESTRICTION: details.restrictions,
    Phase.VERIFICATION: verification.verify,
    Phase.OPENING: opening.open_space,
    Phase.WATCH: details.watches,
    Phase.INVITATION: invitations.send,
}
# Of a plan that undoes another.
UNDO: dict[Phase, Callable[[Job], Awaitable[None]]] = {
    Phase.PAGE: undo.contents,
    Phase.BLOGPOST: undo.contents,
    Phase.ATTACHMENT: undo.attachments,
    Phase.COMMENT: undo.comments,
    Phase.SPACE: undo.space,
    Phase.MEMBERSHIP: undo_people.memberships,
    Phase.GROUP: undo_people.groups,
    Phase.USER: undo_people.users,
}


async def _tell_unknown(claim: Claim) -> None:
    """Of people whose invitation may have been sent it is recorded that nobody knows, whatever becomes of the others."""
    for person in claim.unanswered:
        await claim.entity_ended(
            Entity(kind=Kind.INVITATION, id=person, outcome=Outcome.FAILED, reason=Reason.INVITATION_UNKNOWN)
        )


class Executor:
    """One per process. ``work`` runs one hint to its end; sources and sites stay open between chunks."""

    def __init__(
        self,
        store: EventStore,
        pool: asyncpg.Pool,
        claims: Claims,
        settings: Settings,
        wake: Callable[[str], Awaitable[None]] | None = None,
    ) -> None:
        self._store, self._pool, self._claims, self._settings = store, pool, claims, settings
        self._wake = wake
        self._gates: dict[str, SiteGate] = {}
        self._sources: dict[str, Source] = {}
        self._sites: dict[str, tuple[CloudSite, Account]] = {}
        self._dry: dict[str, DrySite] = {}  # by ledger
        self._plans: dict[str, PlanSaved] = {}
        self._told: dict[str, str | None] = {}  # the base URL that a source tells
        self._secrets: dict[str, str | None] = {}  # of each source and site, the credential that it was opened with
        self._replaced: list[Callable[[], Awaitable[None]]] = []
        self._opening = asyncio.Lock()

    async def work(self, hint: bytes, acknowledge: Callable[[], Awaitable[None]]) -> float | None:
        """Works on the hinted chunk. Returns seconds after which the hint is worth a second look, or None.

        The hint is acknowledged once the claim is in the log (or there is nothing to claim): from then on the lease, not
        the message, says who works.
        """
        claim = await self._claims.take_hinted(hint)
        if isinstance(claim, float):
            return claim
        if claim is None:
            await acknowledge()
            return None
        acknowledged = asyncio.ensure_future(acknowledge())
        await self._run(claim)
        await acknowledged
        return None

    def drain(self) -> None:
        """Lets go of the chunks under way, each between two entities."""
        self._claims.draining.set()

    def throttle_news(self, side: str) -> None:
        """Somebody was told by this site or source to wait."""
        if side in self._gates:
            self._gates[side].news()

    def _gate(self, side: str) -> SiteGate:
        if side not in self._gates:
            self._gates[side] = SiteGate(side, self._pool, self._settings, self._wake)
        return self._gates[side]

    async def _run(self, claim: Claim) -> None:
        CLAIM.set(claim)
        work, started = claim.work, time.monotonic()
        context = structlog.contextvars.bound_contextvars(
            plan=work.plan, chunk=work.chunk, phase=work.phase.value, attempt=claim.attempt, epoch=claim.epoch
        )
        with context:
            try:
                async with claim, self._claims.traced(claim):
                    await self._guarded(claim)
            except Draining:
                log.info("chunk released")
            except (LeaseLost, WritesForbidden):
                log.warning("chunk given up: the lease is over")
            except UNAVAILABLE as error:
                log.warning("chunk interrupted", error=type(error).__name__, detail=str(error))
            else:
                log.info("chunk ended", seconds=round(time.monotonic() - started, 3), purpose=claim.purpose)

    async def _guarded(self, claim: Claim) -> None:
        """Runs the phase. What keeps a whole chunk from being done at all is recorded for each of its entities."""
        waited = 0.0
        await _tell_unknown(claim)
        if claim.give_up_first and claim.work.phase in (Phase.INVENTORY, Phase.VERIFICATION):
            await claim.end((), fatal=Reason.CRASHED_EXECUTOR)  # no entity of it could be named instead
            return
        while True:
            try:
                job = await self._job(claim)
                if claim.work.phase is Phase.INVENTORY:
                    await inventory.take(job, await self._kind(claim))
                else:
                    await (UNDO if job.saved.follow == "undo" else PHASES)[claim.work.phase](job)
                return
            except (Draining, LeaseLost, WritesForbidden):
                raise
            except LoginExpired as error:
                # Not the entities' fault: they wait for somebody to log in again.
                await claim.rest(self._settings.sweep)
                await claim.release(())
                raise Draining from error
            except (Throttled, OutcomeUnknown, SiteUnavailable, SourceUnreachable) as error:
                # Outside the loop over entities only reads happen, so waiting and beginning again is safe.
                if waited > self._settings.patience:
                    await self._give_up(claim, error)
                    return
                pause = min(0.5 + waited, 15.0)
                waited += pause
                claim.progress.update(waiting=type(error).__name__)
                if await claim.rest(pause):
                    await claim.release(())
                    raise Draining from error
            except (SourceError, SiteError, SpaceGone, VaultError, LookupError) as error:
                log.warning("chunk not possible", error=type(error).__name__, status=getattr(error, "status", None))
                await self._give_up(claim, error)
                return
            except UNAVAILABLE:
                raise
            except Exception as error:
                log.exception("chunk failed", error=type(error).__name__)
                if claim.attempt < ONE_BY_ONE:
                    raise  # the lease runs out, and another attempt may fare better
                await self._give_up(claim, error)
                return

    async def _give_up(self, claim: Claim, error: Exception) -> None:
        reason = reason_of(error)
        await _tell_unknown(claim)
        row = await self._pool.fetchrow(
            "SELECT p.source, p.site, t.inventory_epoch FROM work.task t JOIN work.plan p USING (plan) WHERE t.task = $1",
            claim.work.task,
        )
        if claim.work.phase in (Phase.INVENTORY, Phase.VERIFICATION) or row is None:
            await claim.end((), fatal=reason)
            return
        rows = await rows_of(self._pool, claim, row["inventory_epoch"])
        outcome = Outcome.FAILED if claim.purpose == "work" else Outcome.SKIPPED
        why = reason if claim.purpose == "work" else claim.settled_as
        await claim.end([r.ended(outcome, why) for r in rows])

    async def _kind(self, claim: Claim) -> str:
        return str(await self._pool.fetchval("SELECT kind FROM work.task WHERE task = $1", claim.work.task))

    async def _plan(self, plan: str) -> PlanSaved:
        if plan not in self._plans:
            saved = (await self._store.read_stream(f"plan-{plan}"))[0].event
            assert isinstance(saved, PlanSaved)
            self._plans[plan] = saved
        return self._plans[plan]

    async def _forget_replaced(self, saved: PlanSaved) -> None:
        """Opens what has another credential by now anew. Chunks under way keep what they have: it is closed at the end."""
        row = await self._pool.fetchrow(
            "SELECT (SELECT secret FROM people.source WHERE id = $1),"
            " (SELECT concat(secret, ' ', organization) FROM people.site WHERE id = $2)",
            saved.source,
            saved.site,
        )
        for kind, id, secret in (("source", saved.source, row[0]), ("site", saved.site, row[1])) if row else ():
            if self._secrets.setdefault(id, secret) == secret:
                continue
            self._secrets[id] = secret
            if kind == "source" and (source := self._sources.pop(id, None)) is not None:
                self._replaced.append(source.close)
            if kind == "site" and (site := self._sites.pop(id, None)) is not None:
                self._replaced.append(site[0].aclose)
                self._dry.clear()

    async def _job(self, claim: Claim) -> Job:
        work = claim.work
        saved = await self._plan(work.plan or "")
        task = await self._pool.fetchrow(
            "SELECT kind, space, marker, inventory_epoch, started_at FROM work.task WHERE task = $1", work.task
        )
        if task is None:
            raise LookupError("a chunk without a task")
        async with self._opening:
            await self._forget_replaced(saved)
            if saved.source not in self._sources and not saved.invites:  # the source may be gone by then
                source = await open_source(self._pool, self._settings, saved.source, self._gate(saved.source))
                try:
                    info = await source.info()
                except BaseException:
                    await source.close()
                    raise
                self._sources[saved.source], self._told[saved.source] = source, info.base_url
            if saved.site not in self._sites:
                site = await open_site(self._pool, self._settings, saved.site, self._gate(saved.site))
                try:
                    self._sites[saved.site] = (site, await site.whoami())
                except BaseException:
                    await site.aclose()
                    raise
        real, me = self._sites[saved.site]
        return Job(
            claim=claim,
            pool=self._pool,
            settings=self._settings,
            saved=saved,
            space_id=task["space"],
            marker=task["marker"],
            epoch=task["inventory_epoch"],
            opened=self._sources.get(saved.source),
            site=self._dry_site(saved, real, me) if saved.dry_run else real,
            me=me,
            bases=await self._bases(saved.source),
            chain=await chain_of(self._pool, saved, task["kind"], task["space"]),
            started_at=task["started_at"],
        )

    async def _bases(self, source: str) -> tuple[str, ...]:
        """Every address under which the source's own links may be written: the one that it tells, the one that it is read at,
        and what somebody named besides, which may change at any time."""
        row = await self._pool.fetchrow("SELECT location, base_urls FROM people.source WHERE id = $1", source)
        found = [self._told.get(source), *((row["location"], *row["base_urls"]) if row else ())]
        return tuple(dict.fromkeys(base.rstrip("/") for base in found if base and "://" in base))

    def _dry_site(self, saved: PlanSaved, real: CloudSite, me: Account) -> DrySite:
        if saved.ledger not in self._dry:
            self._dry[saved.ledger] = DrySite(real, self._pool, saved.ledger, me, self._gate(saved.site))
        return self._dry[saved.ledger]

    async def close(self) -> None:
        for close in self._replaced:
            await close()
        for source in self._sources.values():
            await source.close()
        for site, _ in self._sites.values():
            await site.aclose()
