"""Saving a plan: what the user decided becomes the one event that never changes, or a refusal that names every mistake."""

import hashlib
from collections.abc import Sequence
from typing import Any

import asyncpg

from services.planner.domain.selection import Candidate, key_mistakes, passes, scope_mistakes
from shared.events import commands as c
from shared.events.catalog.analysis import SpacesAnalyzed
from shared.events.catalog.plan import PlanSaved, SpaceScope
from shared.events.contract import canonical
from shared.events.deciding import refused
from shared.events.reasons import Reason
from shared.events.store import EventStore


class Saving:
    def __init__(self, store: EventStore, pool: asyncpg.Pool) -> None:
        self._store, self._pool = store, pool

    async def prepare(self, command: c.SavePlan, plan: str) -> PlanSaved | c.Reply:
        """The event, with its texts already beside the log; or why there is none."""
        taken = await self._pool.fetchval("SELECT id FROM people.plan WHERE name = $1", command.name)
        if taken is not None and taken != plan:
            return refused("name_taken", f"A plan is called “{command.name}” already.", "Choose another name.")
        if not await self._pool.fetchval("SELECT true FROM work.site WHERE site = $1", command.site):
            return refused("site_unknown", "There is no such site.", "Add the site first: cloudward site add.", 404)
        analysis = await self._pool.fetchval(
            "SELECT analysis FROM work.analysis WHERE source = $1 AND state = 'completed' ORDER BY position DESC LIMIT 1",
            command.source,
        )
        if analysis is None:
            return refused(
                "not_analyzed", "The source has no completed analysis.", "Analyze it first: cloudward analyze SOURCE."
            )
        chosen = await self._chosen(command, analysis)
        if isinstance(chosen, c.Reply):
            return chosen
        mistakes = key_mistakes(chosen, command.new_keys) + scope_mistakes(chosen, command.scopes)
        if mistakes:
            return refused(
                mistakes[0].code,
                " ".join(m.detail for m in mistakes[:3]),
                " ".join(dict.fromkeys(m.way_on for m in mistakes[:3])),
                422,
                findings=[{"code": m.code, "detail": m.detail, "way_on": m.way_on, "space": m.space} for m in mistakes],
            )
        if not chosen and command.users != "all" and not command.groups:
            return refused(
                "empty_plan", "The plan holds neither users nor spaces.", "Choose at least one of them.", 422
            )
        try:
            accepted = {Reason(a) for a in command.accepted}
        except ValueError as error:
            return refused("reason_unknown", str(error), "See the list of reasons in the documentation.", 422)
        if command.map is not None and not await self._pool.fetchval(
            "SELECT true FROM people.map WHERE id = $1 AND source = $2", command.map, command.source
        ):
            return refused("map_unknown", "The source has no such map.", "Make one: cloudward source map.", 422)
        if command.key_conflicts == "skip":
            accepted.add(Reason.SPACE_KEY_CONFLICT)
        return await self._record(command, plan, analysis, [s.space for s in chosen], accepted)

    async def copy(self, command: c.CopyPlan, saved: PlanSaved) -> c.SavePlan:
        """The command that saves what a plan holds under another name."""
        keys = await self._pool.fetch("SELECT space, key FROM people.plan_key WHERE plan = $1", saved.plan)
        named = await self._pool.fetchval("SELECT access_group FROM people.plan WHERE id = $1", saved.plan)
        return c.SavePlan(
            command_id=command.command_id,
            actor=command.actor,
            correlation=command.correlation,
            name=command.name,
            source=saved.source,
            site=saved.site,
            stage=saved.stage,
            users=saved.users,
            groups=saved.groups,
            spaces=list(saved.spaces),
            accepted=[reason.value for reason in saved.accepted],
            scopes=[c.Scope(space=s.space, what=s.what, roots=s.roots) for s in saved.scopes],
            key_conflicts=saved.key_conflicts,
            new_keys={row["space"]: row["key"] for row in keys},
            addresses=saved.addresses,
            copy_of=saved.plan,
            dry_run=command.dry_run,
            map=saved.map,
            access_group=named,
            options=saved.options,
        )

    async def _chosen(self, command: c.SavePlan, analysis: str) -> Sequence[Candidate] | c.Reply:
        """The plan's spaces, each with what the analysis says about it, in the analysis' order."""
        known: dict[str, Candidate] = {}
        texts = {
            r["space"]: (r["key"], r["name"])
            for r in await self._pool.fetch(
                "SELECT space, key, name FROM people.space WHERE source = $1", command.source
            )
        }
        for row in await self._store.read_stream(f"analysis-{analysis}"):
            if isinstance(event := row.event, SpacesAnalyzed):
                for n in event.spaces:
                    key, name = texts.get(n.space, (n.space, ""))
                    known[n.space] = Candidate(n.space, key, name, n.type, n.status)
        if command.spaces == "all":
            left_out = command.options.personal_spaces == "leave_out"
            wanted = [s for s in known.values() if not (left_out and s.type == "personal")]
            return [s for s in wanted if passes(s, command.filter or c.SpaceFilter())]
        if unknown := sorted(set(command.spaces) - set(known)):
            return refused(
                "space_unknown",
                f"{len(unknown)} of the chosen spaces are not in the source's last analysis.",
                "Analyze the source again, or leave them out.",
                422,
                findings=[{"space": s} for s in unknown[:100]],
            )
        return [known[s] for s in dict.fromkeys(command.spaces)]

    async def _record(
        self, command: c.SavePlan, plan: str, analysis: str, spaces: Sequence[str], accepted: set[Reason]
    ) -> PlanSaved:
        reasons = tuple(sorted(accepted))
        scopes = tuple(
            SpaceScope(space=s.space, what=s.what, roots=tuple(dict.fromkeys(s.roots)))
            for s in command.scopes
            if s.what != "all" or s.roots
        )
        decided: dict[str, Any] = {
            "source": command.source,
            "site": command.site,
            "users": command.users,
            "groups": command.groups,
            "spaces": sorted(spaces),
            "accepted": [a.value for a in reasons],
            "scopes": sorted((s.model_dump(mode="json") for s in scopes), key=lambda s: str(s["space"])),
            "key_conflicts": command.key_conflicts,
            "new_keys": command.new_keys,
            "addresses": command.addresses,
            **({"map": command.map} if command.map else {}),
            **({"dry_run": True} if command.dry_run else {}),
            **({"access_group": command.access_group} if command.access_group else {}),
            "options": command.options.model_dump(mode="json"),
        }
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(
                "INSERT INTO people.plan (id, name, access_group) VALUES ($1, $2, $3) ON CONFLICT (id) DO NOTHING",
                plan,
                command.name,
                command.access_group,
            )
            await connection.executemany(
                "INSERT INTO people.plan_key VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
                [(plan, space, key) for space, key in command.new_keys.items()],
            )
        return PlanSaved(
            plan=plan,
            source=command.source,
            site=command.site,
            analysis=analysis,
            stage=command.stage,
            users=command.users,
            groups=command.groups,
            spaces=tuple(spaces),
            accepted=reasons,
            digest=hashlib.sha256(canonical(decided)).hexdigest(),
            scopes=scopes,
            key_conflicts=command.key_conflicts,
            new_keys=tuple(sorted(command.new_keys)),
            addresses=command.addresses,
            copy_of=command.copy_of,
            dry_run=command.dry_run,
            map=command.map,
            options=command.options,
        )
