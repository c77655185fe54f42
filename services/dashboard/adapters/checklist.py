"""What to do after a run: eleven lines, each a question to the read models and the people's tables, with its rows.

A line is data: its name, its sentence, the heading of the guide that says what to do, and the query of its rows.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from services.dashboard.domain.shapes import ChecklistLine
from shared.confluence.macros import MACROS
from shared.events.projections.base import Pool

ROWS_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Line:
    """``query``: rows of the plan ``$1``, its columns named as readers see them. ``heading``: of docs/guide/after.md."""

    name: str
    title: str
    heading: str
    query: str


_MEMBERSHIPS = """
SELECT g.name AS group, coalesce(p.display_name, p.username, p.id) AS person, coalesce(p.repaired_email, p.email) AS email,
       a.account_id
FROM read.reason r JOIN read.task t USING (task) JOIN read.plan n USING (plan)
JOIN work.task k ON k.task = t.task
JOIN work.inventory i ON i.task = t.task AND i.epoch = k.inventory_epoch AND i.kind = 'membership' AND i.id = r.id
LEFT JOIN people.source_group g ON g.key = i.parent LEFT JOIN people.person p ON p.key = i.container
LEFT JOIN people.account a ON a.person = p.key AND a.site = n.site
WHERE t.plan = $1 AND r.kind = 'membership' AND r.reason = '{reason}' ORDER BY 1, 2
"""
_STANDING = """
SELECT coalesce(p.display_name, p.username, p.id) AS person, coalesce(p.repaired_email, p.email) AS email, s.rule, a.account_id
FROM people.standing s JOIN read.plan n ON n.plan = s.plan JOIN people.person p ON p.key = s.subject
JOIN people.account a ON a.person = p.key AND a.site = n.site
WHERE s.plan = $1 AND s.rule IN ({rules}) ORDER BY 1
"""
_GROWN = "'enabled_absent_chosen', 'enabled_without_chosen'"
_KNOWN_MACROS = ", ".join(f"'{name}'" for name, macro in MACROS.items() if macro.availability == "available")
_BY_HAND = """
SELECT column1 AS setting FROM (VALUES ('site name, logo, colors and look'), ('global permissions'), ('permissions of anonymous users'),
  ('defaults of new spaces'), ('mail server, templates of mails'), ('user macros, themes, custom HTML'), ('global page templates'),
  ('shortcuts and application links'), ('sign-in, session and security settings')) AS by_hand WHERE $1::text IS NOT NULL
"""

LINES: tuple[Line, ...] = (
    Line(
        "groups",
        "Review the groups: which were made and which merged, and how many joined.",
        "review-imported-groups",
        "SELECT g.name AS group, s.rule AS became, count(m.*) AS members FROM people.standing s"
        " JOIN people.source_group g ON g.key = s.subject LEFT JOIN people.membership m ON m.source_group = g.key"
        " WHERE s.plan = $1 GROUP BY g.key, g.name, s.rule ORDER BY s.rule DESC, g.name",
    ),
    Line("access", "People whose access grew, by rule.", "people-whose-access-grew", _STANDING.format(rules=_GROWN)),
    Line(
        "generic_groups",
        "Add these people to the generic groups by hand.",
        "add-people-to-the-generic-groups",
        _MEMBERSHIPS.format(reason="generic_group"),
    ),
    Line(
        "withheld",
        "Memberships withheld, because the person is to have no access.",
        "memberships-withheld",
        _MEMBERSHIPS.format(reason="access_withheld"),
    ),
    Line(
        "directories",
        "Check that users of these directories are synchronized.",
        "external-directories",
        "SELECT p.directory, count(*) AS people FROM people.person p JOIN read.plan n ON n.source = p.source"
        " WHERE n.plan = $1 AND p.directory IS NOT NULL AND p.directory !~* 'internal' GROUP BY 1 ORDER BY 1",
    ),
    Line("settings", "Set these by hand: no plan moves them.", "global-settings-and-permissions", _BY_HAND),
    Line(
        "former_users",
        "Former users: no account was made for these people.",
        "former-users",
        "SELECT coalesce(p.display_name, p.username, p.id) AS person, r.reason FROM read.reason r JOIN read.task t USING (task)"
        " LEFT JOIN people.person p ON p.key = r.id WHERE t.plan = $1 AND r.kind = 'user' AND r.outcome = 'skipped' ORDER BY 1",
    ),
    Line(
        "spaces",
        "Spaces on the site: let their owners look.",
        "spaces-and-their-owners",
        "SELECT s.key, s.name, t.state, t.target_space AS site_id FROM read.task t JOIN read.plan n USING (plan)"
        " LEFT JOIN people.space s ON s.source = n.source AND s.space = t.space"
        " WHERE t.plan = $1 AND t.kind = 'space' AND t.target_space IS NOT NULL ORDER BY s.key",
    ),
    Line(
        "apps",
        "Apps to install, and macros that Cloud does not have.",
        "apps-and-macros",
        "SELECT m.macro, sum(m.uses)::bigint AS uses, count(*) AS pages FROM people.macro_use m JOIN read.plan n ON n.analysis ="
        " m.analysis JOIN read.plan_space s ON s.plan = n.plan AND s.space = m.space"
        f" WHERE n.plan = $1 AND m.macro NOT IN ({_KNOWN_MACROS}) GROUP BY 1 ORDER BY 2 DESC, 1",
    ),
    Line(
        "not_moved",
        "What was not moved, or moved with a defect, and why.",
        "what-was-not-moved",
        "SELECT r.kind, r.outcome, r.reason, count(*) AS entities FROM read.reason r JOIN read.task t USING (task)"
        " WHERE t.plan = $1 GROUP BY 1, 2, 3 ORDER BY 4 DESC, 1, 3",
    ),
    Line(
        "invite",
        "Invite these people or remind them, when you are ready: at first they may have to set a password.",
        "invite-people",
        _STANDING.format(rules=_GROWN),
    ),
)
BY_NAME = {line.name: line for line in LINES}


class Checklist:
    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def lines(self, plan: str) -> list[ChecklistLine]:
        """All lines, each with how many rows it has and the first of them."""
        found = []
        for number, line in enumerate(LINES, 1):
            count = await self._pool.fetchval(f"SELECT count(*) FROM ({line.query}) q", plan)
            rows = await self._pool.fetch(f"{line.query} LIMIT {ROWS_SHOWN}", plan)
            found.append(
                ChecklistLine(
                    number=number,
                    name=line.name,
                    title=line.title,
                    guide=f"docs/guide/after.md#{line.heading}",
                    count=count,
                    rows=[dict(row) for row in rows],
                )
            )
        return found

    async def columns(self, line: Line, plan: str) -> list[str]:
        async with self._pool.acquire() as connection:
            statement = await connection.prepare(line.query)
            return [attribute.name for attribute in statement.get_attributes()]

    async def rows(self, line: Line, plan: str) -> AsyncIterator[list[Any]]:
        """Every row of a line."""
        async with self._pool.acquire() as connection, connection.transaction(readonly=True):
            async for row in connection.cursor(line.query, plan, prefetch=500):
                yield list(row.values())
