"""Plans wait for a login that is over, and go on after the next: decided by how vault and tables stand, at every sweep."""

from collections.abc import Awaitable, Callable

import asyncpg

from shared.events.catalog.plan import PlanPaused, PlanResumed
from shared.events.catalog.target import CredentialExpired
from shared.events.contract import Event
from shared.events.store import EventStore
from shared.events.types import derived_id

# Stream, expected version, id of the event, the event, what it belongs to.
Appending = Callable[[str, int, str, Event, str], Awaitable[bool]]

_OVER = """
SELECT s.id FROM people.site s JOIN work.site w ON w.site = s.id
WHERE NOT w.expired AND s.secret IN (SELECT vault.refused_v1())
"""
_WAITING = """
SELECT p.plan, p.version, p.paused FROM work.plan p JOIN work.site w ON w.site = p.site
WHERE p.status = 'RUNNING' AND NOT p.stop_requested AND CASE
  WHEN p.paused THEN NOT w.expired AND p.paused_for = 'credential_expired' ELSE w.expired END
"""


async def mind(store: EventStore, pool: asyncpg.Pool, append: Appending) -> None:
    for site in [row["id"] for row in await pool.fetch(_OVER)]:
        last = (await store.read_stream(f"site-{site}"))[-1]
        if not isinstance(last.event, CredentialExpired):  # else the tables are behind the log
            name = derived_id(site, f"expired:{last.version}")
            await append(f"site-{site}", last.version, name, CredentialExpired(site=site), site)
    for row in await pool.fetch(_WAITING):
        plan = row["plan"]
        event: Event = PlanResumed(plan=plan) if row["paused"] else PlanPaused(plan=plan, reason="credential_expired")
        await append(f"plan-{plan}", row["version"], derived_id(plan, f"login:{row['version']}"), event, plan)
