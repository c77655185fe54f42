"""Saving a plan: what the user decided becomes the one event that never changes, or a refusal that names every mistake."""

import hashlib
from collections.abc import Sequence
from typing import Any

import asyncpg

from services.planner.domain.selection import Candidate, key_mistakes, passes, scope_mistakes, shown_id
from shared.events import commands as c
from shared.events.catalog.analysis import SpacesAnalyzed
from shared.events.catalog.plan import INVITING, Follow, PlanSaved, SpaceScope
from shared.events.contract import canonical
from shared.events.deciding import refused
from shared.events.reasons import Reason
from shared.events.store import EventStore

# A plan with all those that it follows, itself first.
_CHAIN = """
WITH RECURSIVE chain AS (
  SELECT plan, predecessor, 0 AS n FROM work.plan WHERE plan = $1
  UNION ALL SELECT p.plan, p.predecessor, n + 1 FROM work.plan p JOIN chain ON p.plan = chain.predecessor
) SELECT plan FROM chain ORDER BY n
"""
# What a following plan's user agrees to by asking for it.
ACCEPTED: dict[Follow, tuple[str, ...]] = {
    "continue": (),
    "retry": (),
    "delta": (Reason.GONE_AT_SOURCE,),
    "invite": (Reason.ACCESS_ENDED,),
    "remind": (Reason.ACCESS_ENDED,),
    "undo": (Reason.CHANGED_ON_SITE, Reason.GONE_ON_SITE, Reason.IN_USE, Reason.ACCOUNT_STAYS),
}


class Saving:
    def __init__(self, store: EventStore, pool: asyncpg.Pool) -> None:
        self._store, self._pool = store, pool

    async def prepare(self, command: c.SavePlan, plan: str) -> PlanSaved | c.Reply:
        """The event, with its texts already beside the log; or why there is none."""
        taken = await self._pool.fetchval("SELECT id FROM people.plan WHERE name = $1", command.name)
        if taken is not None and taken != plan:
            return refused("name_taken", "A plan of this name is there already.", "Choose another name.")
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
                findings=[
                    {"code": m.code, "detail": m.detail, "way_on": m.way_on, "space": shown_id(m.space)}
                    for m in mistakes
                ],
            )
        if not chosen and command.users != "all" and not command.groups and command.follow not in INVITING:
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
        return self._again(
            command,
            saved,
            {row["space"]: row["key"] for row in keys},
            named,
            copy_of=saved.plan,
            dry_run=command.dry_run,
            predecessor=saved.predecessor,
            follow=saved.follow,
        )

    @staticmethod
    def _again(
        command: c.CopyPlan | c.FollowPlan,
        saved: PlanSaved,
        new_keys: dict[str, str],
        access_group: str | None,
        **more: Any,
    ) -> c.SavePlan:
        held: dict[str, Any] = {
            "command_id": command.command_id,
            "actor": command.actor,
            "correlation": command.correlation,
            "name": command.name,
            "source": saved.source,
            "site": saved.site,
            "stage": saved.stage,
            "users": saved.users,
            "groups": saved.groups,
            "spaces": list(saved.spaces),
            "accepted": [reason.value for reason in saved.accepted],
            "scopes": [c.Scope(space=s.space, what=s.what, roots=s.roots) for s in saved.scopes],
            "key_conflicts": saved.key_conflicts,
            "new_keys": new_keys,
            "addresses": saved.addresses,
            "map": saved.map,
            "access_group": access_group,
            "options": saved.options,
        }
        return c.SavePlan(**{**held, **more})

    async def following(self, command: c.FollowPlan, saved: PlanSaved) -> c.SavePlan | c.Reply:
        """The command that saves a plan which goes on from this one; or why there is none.

        A plan that continues or retries takes the spaces that have not moved whole; one that brings changes takes those of
        all plans before it; an undo what this one plan had.
        """
        chain = await self._pool.fetch(_CHAIN, saved.plan)
        plans = [row["plan"] for row in chain]
        if (
            await self._pool.fetchval(
                "SELECT true FROM work.plan WHERE predecessor = ANY($1) AND follow = 'undo' AND status <> 'READY' AND ledger = site LIMIT 1",
                plans,
            )
            and command.follow != "undo"
        ):
            return refused(
                "undone",
                "The plan, or one that it follows, was undone: what it recorded is not what the site holds.",
                "Save a new plan, or copy this one: cloudward plan copy.",
            )
        if command.follow in INVITING:
            return await self._inviting(command, saved)
        spaces: list[str] = list(saved.spaces)
        follow = command.follow
        if follow in ("continue", "retry"):
            moved = {
                row["space"]
                for row in await self._pool.fetch(
                    "SELECT space FROM work.task WHERE plan = $1 AND ending ->> 'type' = 'SpaceMigrated'", saved.plan
                )
            }
            spaces = [space for space in spaces if space not in moved]
            if follow == "continue" and saved.follow == "delta":
                follow = "delta"  # what it had not come to is what changed, too
        elif follow == "delta":
            for plan in plans[1:]:
                before = (await self._store.read_stream(f"plan-{plan}"))[0].event
                assert isinstance(before, PlanSaved)
                spaces += [space for space in before.spaces if space not in spaces]
        keys = await self._pool.fetch(
            "SELECT DISTINCT ON (space) space, key FROM people.plan_key WHERE plan = ANY($1) AND space = ANY($2)"
            " ORDER BY space, array_position($1, plan)",
            plans,
            spaces,
        )
        named = await self._pool.fetchval("SELECT access_group FROM people.plan WHERE id = $1", saved.plan)
        accepted = {*(reason.value for reason in saved.accepted), *ACCEPTED[follow]}
        return self._again(
            command,
            saved,
            {row["space"]: row["key"] for row in keys},
            named,
            spaces=spaces,
            scopes=[c.Scope(space=s.space, what=s.what, roots=s.roots) for s in saved.scopes if s.space in spaces],
            accepted=sorted(accepted),
            predecessor=saved.plan,
            follow=follow,
        )

    async def _inviting(self, command: c.FollowPlan, saved: PlanSaved) -> c.SavePlan | c.Reply:
        """The command that saves a plan which invites people of this one; or why there is none."""
        if not await self._pool.fetchval(
            "SELECT EXISTS (SELECT FROM people.invitable_v1($1, $2, NULL))", saved.plan, command.follow == "remind"
        ):
            return refused(
                "nobody_to_invite",
                "Nobody to whom the plan gave access was invited before."
                if command.follow == "remind"
                else "There is nobody to whom the plan gave access and who has not been invited.",
                "Look who was invited: cloudward plan invitations.",
            )
        named = await self._pool.fetchval("SELECT access_group FROM people.plan WHERE id = $1", saved.plan)
        return self._again(
            command,
            saved,
            {},
            named,
            users="none",
            groups=False,
            spaces=[],
            scopes=[],
            addresses="source",
            accepted=sorted(reason for reason in ACCEPTED[command.follow]),
            predecessor=saved.plan,
            follow=command.follow,
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
                findings=[{"space": shown_id(s)} for s in unknown[:100]],
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
            **({"follow": command.follow, "predecessor": command.predecessor} if command.follow else {}),
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
            predecessor=command.predecessor,
            follow=command.follow,
            map=command.map,
            options=command.options,
        )
