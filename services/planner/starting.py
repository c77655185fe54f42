"""Whether a plan may start now: one judgement for every way in, the command line, the API, a page, or its own schedule."""

import asyncpg

from services.planner.judging import Judge, Judged, consent
from shared.events import commands as c
from shared.events.catalog.plan import PlanSaved, PlanStarted
from shared.events.checks import CHECKS, Check
from shared.events.deciding import refused
from shared.events.store import EventStore

# Checks whose refusal has a code of its own; another's is "check_" and its name.
CODES = {
    Check.ADDRESSES: "email_errors_unresolved",
    Check.CONSENT: "consent_required",
    Check.UPDATE_REQUIRED: "update_required",
}


class Starting:
    def __init__(self, store: EventStore, pool: asyncpg.Pool, least_release: str = "") -> None:
        self._store, self._pool, self._least = store, pool, least_release

    async def prepare(self, saved: PlanSaved, agreed: bool, *, scheduled: bool = False) -> PlanStarted | c.Reply:
        """The run's event, or why it is refused: the first check that forbids it. ``agreed``: consent comes with the command."""
        judge = Judge(self._store, self._pool, saved, agreed, self._least)
        forbidding = sorted(await judge.forbidding(), key=lambda judged: judged.check is Check.CONSENT)
        if forbidding:
            return refusal(forbidding[0])
        stands = await consent(self._pool, saved, agreed)
        await self._keep_keys(saved)
        await self._open_ledger(saved)
        return PlanStarted.model_validate({"plan": saved.plan, "consent": stands, "scheduled": scheduled})

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

    async def _open_ledger(self, saved: PlanSaved) -> None:
        """A dry run knows the people and groups that are known on the site. The rest its projection takes over."""
        if saved.dry_run:
            for table, columns in (("account", "person, account_id"), ("site_group", "source_group, group_id, synced")):
                await self._pool.execute(
                    f"INSERT INTO people.{table} (site, {columns}) SELECT $1, {columns} FROM people.{table}"
                    " WHERE site = $2 ON CONFLICT DO NOTHING",
                    saved.ledger,
                    saved.site,
                )


def check_of(code: str) -> Check:
    """The check whose refusal has this code.

    >>> check_of("consent_required").value, check_of("check_domains").value
    ('consent', 'domains')
    """
    for check in Check:
        if code == code_of(check):
            return check
    raise LookupError(f"no check refuses with {code}")


def code_of(check: Check) -> str:
    return CODES.get(check, f"check_{check}")


def refusal(judged: Judged) -> c.Reply:
    explained = CHECKS[judged.check]
    if judged.check is Check.CONSENT:
        return refused(
            "consent_required",
            "Nobody has agreed yet that data of this source are copied to this site: the first run of a source asks to"
            " securely share your migration data with Atlassian.",
            "Run it with --consent to agree; who and when is recorded.",
        )
    code = code_of(judged.check)
    if judged.check is Check.ADDRESSES:
        numbers = ", ".join(f"{f['people']} {f['address']}" for f in judged.findings)
        return refused(
            code,
            f"The source has people with unusable e-mail addresses: {numbers}.",
            "Repair them where they are kept (internal directory, LDAP or Crowd, Jira), or decide here: cloudward source"
            " repair SOURCE --duplicates merge --others generate.",
            findings=judged.findings,
        )
    if judged.check is Check.DOMAINS:
        one = judged.count == 1
        return refused(
            code,
            f"{judged.count:,} e-mail domain{'' if one else 's'} of people who move {'is' if one else 'are'} not trusted.",
            "Look at them: cloudward plan check PLAN domains. Trust those that are yours: cloudward source domains SOURCE"
            " --trust DOMAIN, or --trust-all. People of the others: correct their addresses, make them Former users or map"
            " them to accounts.",
        )
    # What it found may name people, domains and addresses: the checks of the plan show it, a problem document does not.
    return refused(
        code,
        f"The check {judged.check} forbids the run, by {judged.count} finding{'' if judged.count == 1 else 's'}.",
        f"{explained.way_on} What it found: cloudward plan check PLAN {judged.check}.",
    )
