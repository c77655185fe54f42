"""Who was invited after a plan, when, and what became of it; and who could be."""

from collections.abc import AsyncIterator

from services.dashboard.domain.shapes import Invitation, InvitationsOut
from shared.events.projections.base import Pool

_ROWS = """
SELECT coalesce(p.display_name, p.username, p.id) AS person, coalesce(p.repaired_email, p.email) AS email, a.account_id, n.plan,
       n.follow = 'remind' AS reminder,
       CASE WHEN o.outcome = 'migrated' THEN 'invited' WHEN o.reason = 'invitation_unknown' THEN 'unknown'
            WHEN o.outcome IS NULL AND t.state <> 'ended' THEN 'waiting' ELSE 'not_invited' END AS state,
       CASE WHEN o.outcome IS NULL AND t.state = 'ended' THEN t.ending ->> 'remainder_reason' ELSE o.reason END AS reason,
       e.recorded_at AS at
FROM work.plan n JOIN work.task t ON t.plan = n.plan AND t.kind = 'invitations'
JOIN work.inventory i ON i.task = t.task AND i.epoch = t.inventory_epoch AND i.kind = 'invitation'
LEFT JOIN work.outcome o ON o.task = t.task AND o.kind = 'invitation' AND o.id = i.id LEFT JOIN log.events e ON e.position = o.position
LEFT JOIN people.person p ON p.key = i.id LEFT JOIN people.account a ON a.site = n.site AND a.person = i.id
WHERE n.predecessor = $1 ORDER BY t.started_at, t.task, i.ordinal
"""


class Invitations:
    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def told(self, plan: str, limit: int = 0, offset: int = 0) -> InvitationsOut:
        """The numbers, and a part of the rows, oldest first."""
        numbers = await self._pool.fetchrow(
            "SELECT (SELECT count(*) FROM people.invitable_v1($1, false, NULL)) AS to_invite,"
            f" (SELECT count(*) FROM people.invitable_v1($1, true, NULL)) AS to_remind, (SELECT count(*) FROM ({_ROWS}) r) AS total",
            plan,
        )
        assert numbers is not None
        rows = await self._pool.fetch(f"{_ROWS} LIMIT $2 OFFSET $3", plan, limit, offset)
        return InvitationsOut(**numbers, people=[Invitation(**row) for row in rows])

    async def rows(self, plan: str) -> AsyncIterator[list[object]]:
        """Every row, in the order of the shape's fields."""
        async with self._pool.acquire() as connection, connection.transaction(readonly=True):
            async for row in connection.cursor(_ROWS, plan, prefetch=500):
                yield [row[name] for name in Invitation.model_fields]
