"""One round of checks: asks source and site what the checks of a plan need to know. Nothing is changed on either.

What was found goes beside the log, one row each; the log gets results and numbers. The planner judges.
"""

from typing import Any

import asyncpg
import structlog

from shared.confluence.cloud import CloudSite, OpenGate
from shared.confluence.cloud.needs import WORDS, Part, missing
from shared.confluence.peers import open_site, open_source
from shared.confluence.site import LoginExpired, SiteError
from shared.confluence.source import Source, SourceError
from shared.confluence.spacekey import site_key
from shared.events.catalog.analysis import SpacesAnalyzed
from shared.events.catalog.check import CheckResult, ChecksCompleted, ChecksStarted
from shared.events.catalog.plan import PlanSaved
from shared.events.checks import Check, Result
from shared.events.claims import Claim
from shared.events.contract import Actor, Context
from shared.events.reasons import GENERIC_GROUPS
from shared.events.store import Append, EventStore
from shared.events.types import derived_id
from shared.ops.settings import Settings
from shared.ops.vault import VaultError

log = structlog.get_logger(__name__)

_MOST_FINDINGS = 10_000
_ONE_BY_ONE = 25  # up to so many keys are asked for one at a time; for more the site's spaces are listed once


class Checks:
    """Runs the round that a claim is about."""

    def __init__(self, store: EventStore, pool: asyncpg.Pool, settings: Settings, actor: Actor, claim: Claim) -> None:
        self._store, self._pool, self._settings = store, pool, settings
        self._actor, self._claim = actor, claim
        self._round = claim.work.task
        self._results: dict[Check, CheckResult] = {}

    async def run(self) -> None:
        rows = await self._store.read_stream(f"analysis-{self._round}")
        if any(isinstance(row.event, ChecksCompleted) for row in rows):
            await self._claim.end(())  # a worker before this one got that far
            return
        started = rows[0].event
        assert isinstance(started, ChecksStarted)
        saved = (await self._store.read_stream(f"plan-{started.plan}"))[0].event
        assert isinstance(saved, PlanSaved)
        await self._pool.execute("DELETE FROM people.check_finding WHERE round = $1", self._round)
        groups = await self._source(saved)
        await self._site(saved, groups)
        event = ChecksCompleted(analysis=self._round, plan=saved.plan, results=tuple(self._results.values()))
        context = Context(actor=self._actor, correlation=saved.plan, causation=self._claim.work.chunk)
        entry = (derived_id(self._round, "completed"), event)
        await self._store.append(Append(f"analysis-{self._round}", rows[-1].version, (entry,), context))
        await self._claim.end(())

    async def _found(self, check: Check, findings: list[dict[str, Any]], bad: Result = "warning") -> None:
        """Passed where nothing was found."""
        await self._pool.executemany(
            "INSERT INTO people.check_finding VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
            [(self._round, check.value, n, found) for n, found in enumerate(findings[:_MOST_FINDINGS])],
        )
        self._results[check] = CheckResult(check=check, result=bad if findings else "passed", findings=len(findings))

    # -- the source ----------------------------------------------------------------------------------------------

    async def _source(self, saved: PlanSaved) -> list[str] | None:
        """The names of the source's groups; None where it does not tell."""
        self._claim.progress.update(stage="source")
        try:
            source = await open_source(self._pool, self._settings, saved.source)
        except (SourceError, VaultError) as error:
            await self._found(Check.SOURCE_REACHABLE, [{"problem": str(error)}], "error")
            return None
        try:
            await source.info()
            await self._found(Check.SOURCE_REACHABLE, [])
            await self._changed(source, saved)
            groups = [group.name async for group in source.groups()] if saved.groups else []
        except (SourceError, VaultError) as error:
            await self._found(Check.SOURCE_REACHABLE, [{"problem": str(error)}], "error")
            return None
        finally:
            await source.close()
        await self._found(Check.GENERIC_GROUPS, [{"group": g} for g in groups if g.lower() in GENERIC_GROUPS])
        return groups

    async def _changed(self, source: Source, saved: PlanSaved) -> None:
        """Spaces that came or went since the plan's analysis."""
        analyzed = {
            n.space
            for row in await self._store.read_stream(f"analysis-{saved.analysis}")
            if isinstance(row.event, SpacesAnalyzed)
            for n in row.event.spaces
        }
        now = {space.id: space.key async for space in source.spaces()}
        findings = [{"space": key, "change": "new"} for id, key in now.items() if id not in analyzed]
        findings += [{"space": id, "change": "gone"} for id in sorted(analyzed - set(now))]
        await self._found(Check.SOURCE_CHANGED, findings)

    # -- the site ------------------------------------------------------------------------------------------------

    async def _site(self, saved: PlanSaved, groups: list[str] | None) -> None:
        self._claim.progress.update(stage="site")
        try:
            site = await open_site(self._pool, self._settings, saved.site, OpenGate())
        except VaultError as error:
            await self._found(Check.SITE_REACHABLE, [{"problem": str(error)}], "error")
            return
        try:
            await site.whoami()
            await self._rights(site, saved)
            await self._keys(site, saved)
            if groups is not None:
                there = {group.name.lower() async for group in site.group_list()}
                merged = [{"group": g} for g in groups if g.lower() in there and g.lower() not in GENERIC_GROUPS]
                await self._found(Check.GROUP_MERGES, merged)
            await self._found(Check.SITE_REACHABLE, [])
        except (SiteError, LoginExpired, VaultError) as error:
            await self._found(Check.SITE_REACHABLE, [{"problem": str(error)}], "error")
        finally:
            await site.aclose()

    async def _rights(self, site: CloudSite, saved: PlanSaved) -> None:
        rights = await site.rights()
        lacking = missing(_parts(saved, await site.role_mode()), rights)
        needs = [
            {"operation": need.operation, "missing": " or ".join(WORDS[right] for right in need.any_of)}
            for need in lacking
        ]
        await self._found(Check.CREDENTIALS, needs, "error")
        no_admin = [] if "site_admin" in rights else [{"missing": WORDS["site_admin"]}]
        await self._found(Check.SITE_ADMIN, no_admin)
        jira = {"jira_admin", "user_search"} & rights
        await self._found(Check.JIRA_BEFORE_CONFLUENCE, [{"site": "has Jira"}] if jira else [])
        created = 0
        if "organization" not in rights and (saved.users != "none" or saved.spaces):
            created = await self._pool.fetchval(
                "SELECT count(*) FROM people.person p WHERE source = $1 AND coalesce(repair, '') <> 'former'"
                " AND NOT EXISTS (SELECT FROM people.account a WHERE a.site = $2 AND a.person = p.key)",
                saved.source,
                saved.site,
            )
        await self._found(Check.MAILS_DURING_RUN, [{"at most": created}] if created else [])

    async def _keys(self, site: CloudSite, saved: PlanSaved) -> None:
        """Keys of the site that the plan's spaces would get, in any case of letters."""
        texts = {
            row["space"]: (row["key"], row["new_key"] or site_key(row["key"]))
            for row in await self._pool.fetch(
                "SELECT s.space, s.key, k.key AS new_key FROM people.space s"
                " LEFT JOIN people.plan_key k ON k.plan = $2 AND k.space = s.space WHERE s.source = $1",
                saved.source,
                saved.plan,
            )
        }
        wanted = {
            texts[space][1].lower(): texts[space]
            for space in saved.spaces
            if space in texts and saved.scope(space).what == "all"
        }
        taken: list[str] = []
        if len(wanted) <= _ONE_BY_ONE:
            for key in wanted:
                if await site.find_space(wanted[key][1]) is not None:
                    taken.append(key)
        else:
            taken = [key async for space in site.spaces() if (key := space.key.lower()) in wanted]
        findings = [{"space": wanted[key][0], "key on the site": wanted[key][1]} for key in taken]
        await self._found(Check.SPACE_KEYS, findings)


def _parts(saved: PlanSaved, mode: str) -> frozenset[Part]:
    """The parts of a plan that need rights of their own."""
    parts: set[Part] = set()
    if saved.spaces:
        parts |= {"spaces", "users", "watches"}
        if mode == "classic":
            parts.add("permissions")
    if saved.users != "none":
        parts.add("users")
    if saved.groups:
        parts.add("groups")
    return frozenset(parts)
