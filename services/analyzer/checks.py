"""One round of checks: asks source and site what the checks of a plan need to know. Nothing is changed on either.

What was found goes beside the log, one row each; the log gets results and numbers. The planner judges.
"""

from contextlib import AsyncExitStack
from dataclasses import dataclass
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
from shared.events.claims import Claim, LeaseLost
from shared.events.contract import Actor, Context
from shared.events.reasons import GENERIC_GROUPS
from shared.events.store import UNAVAILABLE, Append, EventStore
from shared.events.types import derived_id
from shared.ops.settings import Settings
from shared.ops.vault import VaultError

log = structlog.get_logger(__name__)

_INTERRUPTIONS: tuple[type[BaseException], ...] = (LeaseLost, *UNAVAILABLE)
_MOST_FINDINGS = 10_000
_MOST_SPACES = 500  # of the site whose permissions are looked at for what a merged group reaches
_KEYS_NAMED = 10
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
        async with AsyncExitStack() as stack:
            try:
                source = await self._source(saved, stack)
                await self._site(saved, source)
            except _INTERRUPTIONS:
                raise
            except Exception as error:
                if not self._claim.one_by_one:
                    raise  # the lease runs out, and another attempt may fare better
                log.exception("checks given up", error=type(error).__name__)  # what was not found out is not checked
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

    async def _source(self, saved: PlanSaved, stack: AsyncExitStack) -> "_Groups | None":
        """The source with its groups; None where it does not answer."""
        self._claim.progress.update(stage="source")
        try:
            source = await open_source(self._pool, self._settings, saved.source)
        except (SourceError, VaultError) as error:
            await self._found(Check.SOURCE_REACHABLE, [{"problem": str(error)}], "error")
            return None
        stack.push_async_callback(source.close)
        try:
            await source.info()
            await self._found(Check.SOURCE_REACHABLE, [])
            await self._changed(source, saved)
            groups = [group.name async for group in source.groups()] if saved.groups else []
        except (SourceError, VaultError) as error:
            await self._found(Check.SOURCE_REACHABLE, [{"problem": str(error)}], "error")
            return None
        await self._found(Check.GENERIC_GROUPS, [{"group": g} for g in groups if g.lower() in GENERIC_GROUPS])
        return _Groups(source, groups)

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

    async def _site(self, saved: PlanSaved, source: "_Groups | None") -> None:
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
            if source is not None:
                await self._merges(site, saved, source)
            await self._found(Check.SITE_REACHABLE, [])
        except (SiteError, LoginExpired, VaultError) as error:
            await self._found(Check.SITE_REACHABLE, [{"problem": str(error)}], "error")
        finally:
            await site.aclose()

    async def _merges(self, site: CloudSite, saved: PlanSaved, source: "_Groups") -> None:
        """Which groups of the site those that move would merge into, as the plan's map names them: who would join, and what
        they would gain by it, product by product."""
        self._claim.progress.update(stage="groups")
        mapped = {
            row["source_name"]: row["name"]
            for row in await self._pool.fetch(
                "SELECT g.name AS source_name, m.name FROM people.source_group g JOIN people.group_map m"
                " ON m.source_group = g.key WHERE g.source = $1 AND m.map = $2",
                saved.source,
                saved.map,
            )
        }
        there = {group.name.casefold(): group async for group in site.group_list()}
        merging = [
            (name, there[target.casefold()])
            for name in source.names
            if name.casefold() not in GENERIC_GROUPS
            and (target := mapped.get(name, name)) is not None
            and target.casefold() in there
        ]
        findings = []
        if merging:
            gains = await _Gains.of(site)
            for name, group in merging:
                members = [member async for member in source.source.members(name)]
                joining = await self._pool.fetchval(
                    "SELECT count(*) FROM people.person WHERE source = $1 AND id = ANY($2) AND active IS NOT FALSE",
                    saved.source,
                    members,
                )
                findings.append(
                    {
                        "group": name,
                        "into": group.name,
                        "would join": joining if saved.users != "none" else 0,
                        "gives": gains.gives(group.id),
                        "reaches spaces": gains.reaches(group.id),
                    }
                )
        await self._found(Check.GROUP_MERGES, findings)

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


@dataclass(frozen=True, slots=True)
class _Groups:
    """The open source and the names of its groups, where groups move."""

    source: Source
    names: list[str]


class _Gains:
    """What membership in a group of the site gives."""

    def __init__(self) -> None:
        self._products: dict[str, list[str]] = {}
        self._jira_told = True
        self._spaces: dict[str, list[str]] = {}
        self._seen = self._more = 0

    @classmethod
    async def of(cls, site: CloudSite) -> "_Gains":
        self = cls()
        for group in await site.access_groups():
            self._add(group.id, "Confluence")
        for group in await site.administering_groups():
            self._add(group.id, "administration")
        jira = await site.jira_groups()
        self._jira_told = jira is not None
        for id, products in (jira or {}).items():
            for product in products:
                self._add(id, product)
        roles = await site.role_mode() == "roles"
        async for space in site.spaces():
            if self._seen == _MOST_SPACES:
                self._more += 1
                continue
            self._seen += 1
            if roles:
                holders = {a.principal async for a in site.role_assignments(space.id) if a.principal_type == "GROUP"}
            else:
                holders = {p.principal async for p in site.space_permissions(space.id) if p.principal_type == "group"}
            for holder in holders:
                self._spaces.setdefault(holder, []).append(space.key)
        return self

    def _add(self, group: str, product: str) -> None:
        products = self._products.setdefault(group, [])
        if product not in products:
            products.append(product)

    def gives(self, group: str) -> str:
        told = ", ".join(self._products.get(group, ()))
        unknown = "" if self._jira_told else "Jira not known"
        return ", ".join(part for part in (told, unknown) if part) or "nothing"

    def reaches(self, group: str) -> str:
        keys = sorted(self._spaces.get(group, []))
        named = ", ".join(keys[:_KEYS_NAMED]) + (" …" if len(keys) > _KEYS_NAMED else "")
        looked = f" of {self._seen} looked at, {self._more} were not" if self._more else ""
        return f"{len(keys)}{looked}{f': {named}' if named else ''}"


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
