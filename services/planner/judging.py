"""Judges the checks of a plan: by what is recorded, and by what source and site last said when they were asked."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import asyncpg

from shared.confluence.macros import macro
from shared.events.catalog.analysis import Guardrail, SpacesAnalyzed
from shared.events.catalog.plan import PlanSaved
from shared.events.checks import CHECKS, Check, Result, guide
from shared.events.schema import RELEASE, order
from shared.events.store import EventStore

_SKEW = 5.0  # seconds
_SHOWN = 1000


@dataclass(slots=True)
class Judged:
    """``findings``: rows for people, at most 1,000; ``count``: of all. ``round``: where the rest of them is kept."""

    check: Check
    result: Result
    count: int = 0
    findings: list[dict[str, Any]] = field(default_factory=list)
    checked_at: datetime | None = None
    round: str | None = None
    excluded: bool = False

    @property
    def forbids(self) -> bool:
        return CHECKS[self.check].blocks and self.result == "error"

    def document(self) -> dict[str, Any]:
        explained = CHECKS[self.check]
        return {
            "check": self.check.value,
            "result": self.result,
            "meaning": explained.meaning,
            "way_on": explained.way_on,
            "guide": guide(self.check),
            "blocks": explained.blocks,
            "excludable": explained.excludable,
            "excluded": self.excluded,
            "count": self.count,
            "findings": self.findings,
            "checked_at": self.checked_at.isoformat() if self.checked_at else None,
            "round": self.round,
        }


Found = tuple[Result, list[dict[str, Any]]]


class Judge:
    """Everything about one plan. ``consented``: someone agrees with this very command. ``least_release``: the operator's."""

    def __init__(
        self,
        store: EventStore,
        pool: asyncpg.Pool,
        saved: PlanSaved,
        consented: bool = False,
        least_release: str = "",
    ) -> None:
        self._store, self._pool, self._saved, self._consented = store, pool, saved, consented
        self._least = least_release
        self._recorded: dict[Check, Callable[[], Awaitable[Found]]] = {
            Check.UPDATE_REQUIRED: self.update_required,
            Check.CONSENT: self._consent,
            Check.ADDRESSES: self.addresses,
            Check.DOMAINS: self._domains,
            Check.CONFLICT_FROM_EARLIER_PLAN: self._earlier,
            Check.MISSING_FILES: self._pointed_out(Guardrail.FILE_MISSING),
            Check.BODY_LIMITS: self._pointed_out(Guardrail.BODY_NEAR_LIMIT),
            Check.ATTACHMENT_LIMITS: self._pointed_out(Guardrail.ATTACHMENT_OVER_LIMIT),
            Check.TITLE_CLASHES: self._pointed_out(Guardrail.TITLE_CLASH),
            Check.RESTRICTIONS_BY_DEPARTED: self._departed,
            Check.MACROS_UNAVAILABLE: self._macros,
            Check.EXTERNAL_DIRECTORY: self._directories,
            Check.GLOBAL_SETTINGS: self._global,
            Check.LICENCE_SEATS: self._seats,
            Check.CLOCK_SKEW: self._clock,
            Check.RATE_LIMITS: self._rate,
            Check.DURATION: self._duration,
        }

    async def all(self) -> list[Judged]:
        """Every check, those that forbid the run first."""
        asked = await self._pool.fetchrow(
            "SELECT round, results, completed_at FROM work.checks WHERE plan = $1 AND state = 'completed'"
            " ORDER BY position DESC LIMIT 1",
            self._saved.plan,
        )
        excluded = {
            row["name"]
            for row in await self._pool.fetch("SELECT name FROM work.plan_check WHERE plan = $1", self._saved.plan)
        }
        return [await self._one(check, asked, excluded) for check in CHECKS]

    async def forbidding(self) -> list[Judged]:
        """The checks that forbid the run now."""
        return [judged for judged in await self.all() if judged.forbids]

    async def _one(self, check: Check, asked: asyncpg.Record | None, excluded: set[str]) -> Judged:
        out = check.value in excluded and CHECKS[check].excludable
        if (judge := self._recorded.get(check)) is not None:
            result, findings = await judge()
            return Judged(check, result, len(findings), findings[:_SHOWN], excluded=out)
        told = asked["results"].get(check.value) if asked is not None else None
        if told is None or asked is None:
            return Judged(check, "not_checked", excluded=out)
        rows = await self._pool.fetch(
            "SELECT found FROM people.check_finding WHERE round = $1 AND name = $2 ORDER BY ordinal LIMIT $3",
            asked["round"],
            check.value,
            _SHOWN,
        )
        findings = [row["found"] for row in rows]
        return Judged(check, told["result"], told["findings"], findings, asked["completed_at"], asked["round"], out)

    # -- by what is recorded -------------------------------------------------------------------------------------

    async def update_required(self) -> Found:
        """Services that are connected say their release in their connection's name."""
        rows = await self._pool.fetch(
            "SELECT DISTINCT split_part(application_name, ' ', 1) AS service, split_part(application_name, ' ', 2) AS release"
            " FROM pg_stat_activity WHERE datname = current_database() AND usename LIKE 'cw\\_%'"
            " AND split_part(application_name, ' ', 1) IN ('planner', 'analyzer', 'executor', 'dashboard')"
            " AND application_name <> 'planner leader'"  # the leader's own connection, beside its replica's pool
        )
        findings = [
            {"service": row["service"], "release": row["release"] or "unknown", "needed": RELEASE}
            for row in rows
            if row["release"] != RELEASE
        ]
        if self._least and order(RELEASE) < order(self._least):
            findings.append({"service": "all", "release": RELEASE, "needed": f"{self._least} or newer"})
        return ("error" if findings else "passed"), findings

    async def _consent(self) -> Found:
        given = await consent(self._pool, self._saved, self._consented)
        return ("passed", []) if given else ("error", [{"needed": "someone has to agree"}])

    async def addresses(self) -> Found:
        """Of everybody at the source; of the plan's people where the plan narrows it."""
        saved = self._saved
        rows = await self._pool.fetch(
            "SELECT p.address, count(*) AS n FROM people.person p WHERE p.source = $1 AND p.repair IS NULL"
            " AND (p.address IN ('invalid', 'duplicate') OR ($2 AND p.address = 'unknown'))"
            " AND ($3 OR EXISTS (SELECT FROM people.related r WHERE r.source = p.source AND r.person = p.key"
            "   AND r.space = ANY($4)))"
            " GROUP BY p.address ORDER BY p.address",
            saved.source,
            saved.users != "none",
            saved.addresses == "source" or saved.users == "all",
            list(saved.spaces),
        )
        return ("error" if rows else "passed"), [{"address": r["address"], "people": r["n"]} for r in rows]

    async def _domains(self) -> Found:
        saved = self._saved
        rows = await self._pool.fetch(
            "SELECT domain, people, reviewed FROM people.untrusted_domains_v2($1, $2, $3, $4)",
            saved.source,
            saved.users == "all",
            list(saved.spaces),
            saved.map,
        )
        return ("error" if rows else "passed"), [
            {"domain": r["domain"], "people": r["people"], "marked": "not trusted" if r["reviewed"] else "not yet"}
            for r in rows
        ]

    async def _earlier(self) -> Found:
        rows = await self._pool.fetch(
            "SELECT s.key, n.name FROM work.id_map m JOIN work.task t ON t.task = m.task"
            " JOIN people.plan n ON n.id = t.plan JOIN people.space s ON s.source = m.source AND s.space = m.id"
            " WHERE m.site = $1 AND m.source = $2 AND m.kind = 'space' AND m.id = ANY($3) AND t.plan <> $4"
            " AND t.what <> 'attachments' ORDER BY s.key",
            self._saved.site,
            self._saved.source,
            [s for s in self._saved.spaces if self._saved.scope(s).what == "all"],
            self._saved.plan,
        )
        return ("warning" if rows else "passed"), [{"space": r["key"], "moved by plan": r["name"]} for r in rows]

    def _pointed_out(self, guardrail: Guardrail) -> Callable[[], Awaitable[Found]]:
        async def found() -> Found:
            """By the plan's analysis, in the spaces of the plan."""
            rows = await self._pool.fetch(
                "SELECT s.key, f.content, f.title, f.number FROM people.finding f"
                " JOIN people.space s ON s.source = $1 AND s.space = f.space"
                " WHERE f.analysis = $2 AND f.guardrail = $3 AND f.space = ANY($4) ORDER BY s.key, f.content",
                self._saved.source,
                self._saved.analysis,
                guardrail.value,
                list(self._saved.spaces),
            )
            findings = [
                {"space": r["key"], "content": r["content"], "title": r["title"] or "", "number": r["number"] or ""}
                for r in rows
            ]
            return ("warning" if findings else "passed"), findings

        return found

    async def _departed(self) -> Found:
        """Pages that nobody may see but people who have left, or in part."""
        rows = await self._pool.fetch(
            "SELECT s.key, h.content, h.title, count(*) FILTER (WHERE p.active) AS here, count(*) AS holders"
            " FROM people.restriction_holder h JOIN people.space s ON s.source = $1 AND s.space = h.space"
            " LEFT JOIN people.person p ON p.source = $1 AND p.id = h.person"
            " WHERE h.analysis = $2 AND h.space = ANY($3) GROUP BY s.key, h.content, h.title"
            " HAVING count(*) FILTER (WHERE p.active) < count(*) ORDER BY s.key, h.content",
            self._saved.source,
            self._saved.analysis,
            list(self._saved.spaces),
        )
        findings = [
            {"space": r["key"], "content": r["content"], "title": r["title"] or "", "left": r["holders"] - r["here"]}
            for r in rows
        ]
        return ("warning" if findings else "passed"), findings

    async def _macros(self) -> Found:
        """Macros of the plan's spaces that Cloud does not have for certain, by the plan's analysis."""
        rows = await self._pool.fetch(
            "SELECT macro, sum(uses)::bigint AS uses, count(*) AS pages FROM people.macro_use"
            " WHERE analysis = $1 AND space = ANY($2) GROUP BY macro ORDER BY uses DESC, macro",
            self._saved.analysis,
            list(self._saved.spaces),
        )
        findings = [
            {
                "macro": r["macro"],
                "uses": r["uses"],
                "pages": r["pages"],
                "on Cloud": known.availability,
                "do": known.note,
            }
            for r in rows
            if (known := macro(r["macro"])).availability != "available"
        ]
        return ("warning" if findings else "passed"), findings

    async def _directories(self) -> Found:
        """The source tells directories by export only; by REST nothing is known."""
        rows = await self._pool.fetch(
            "SELECT directory, count(*) AS n FROM people.person WHERE source = $1 AND directory IS NOT NULL"
            " GROUP BY directory ORDER BY directory",
            self._saved.source,
        )
        if not rows:
            return "not_checked", []
        external = [r for r in rows if "internal" not in r["directory"].lower()]
        return ("warning" if external else "passed"), [
            {"directory": r["directory"], "people": r["n"]} for r in external
        ]

    async def _global(self) -> Found:
        kinds = ("global settings", "global permissions", "themes and layouts of the site", "apps and their settings")
        return "warning", [{"set by hand": kind} for kind in kinds]

    async def _seats(self) -> Found:
        if self._saved.users == "none":
            return "passed", []
        n = await self._pool.fetchval(
            "SELECT count(*) FROM people.person WHERE source = $1 AND active IS NOT FALSE AND coalesce(repair, '') <> 'former'",
            self._saved.source,
        )
        return ("warning", [{"at most": n}]) if n else ("passed", [])

    async def _clock(self) -> Found:
        skew = abs(
            float(await self._pool.fetchval("SELECT extract(epoch FROM clock_timestamp())::float8")) - time.time()
        )
        return ("warning", [{"seconds": round(skew)}]) if skew > _SKEW else ("passed", [])

    async def _rate(self) -> Found:
        left = await self._pool.fetchval(
            "SELECT extract(epoch FROM until - clock_timestamp())::float8 FROM work.throttle WHERE site = $1",
            self._saved.site,
        )
        return ("warning", [{"seconds to wait": round(left)}]) if left and left > 0 else ("passed", [])

    async def _duration(self) -> Found:
        """Entities of the analysis by the rate of the spaces that were moved to this site last."""
        entities = 0
        chosen = set(self._saved.spaces)
        for row in await self._store.read_stream(f"analysis-{self._saved.analysis}"):
            if isinstance(event := row.event, SpacesAnalyzed):
                entities += sum(
                    n.pages + n.blogposts + n.comments + n.attachments for n in event.spaces if n.space in chosen
                )
        measured = await self._pool.fetchrow(
            "WITH last AS (SELECT t.task, t.started_at FROM work.task t JOIN work.plan p USING (plan) WHERE p.ledger = $1"
            "  AND t.kind = 'space' AND t.state = 'ended' ORDER BY t.started_at DESC LIMIT 50)"
            " SELECT count(*) AS spaces, (SELECT count(*) FROM work.outcome o JOIN last USING (task)"
            "  WHERE o.kind IN ('page', 'blogpost', 'comment', 'attachment')) AS entities,"
            " extract(epoch FROM (SELECT max(k.changed_at) FROM work.chunk k JOIN last USING (task)) - min(started_at))::float8"
            " AS seconds FROM last",
            self._saved.site,
        )
        if not measured or not measured["entities"] or not measured["seconds"]:
            return "not_checked", [{"entities": entities, "basis": "nothing was moved to this site yet"}]
        rate = measured["entities"] / max(measured["seconds"], 1.0)
        finding = {
            "entities": entities,
            "minutes": round(entities / rate / 60),
            "basis": f"{measured['entities']} entities of {measured['spaces']} spaces in {measured['seconds']:.0f} s",
        }
        return "passed", [finding]


async def consent(pool: asyncpg.Pool, saved: PlanSaved, given: bool) -> str | None:
    """How consent stands: ``not_needed_for_dry_run``, ``not_needed_for_sandbox``, ``given``, ``given_before``; None: nobody has agreed."""
    if saved.dry_run:
        return "not_needed_for_dry_run"
    if await pool.fetchval("SELECT sandbox FROM work.site WHERE site = $1", saved.site):
        return "not_needed_for_sandbox"
    if given:
        return "given"
    before = await pool.fetchval(
        "SELECT true FROM work.plan WHERE source = $1 AND site = $2 AND (consent = 'given' OR start_consent = 'given')"
        " LIMIT 1",
        saved.source,
        saved.site,
    )
    return "given_before" if before else None
