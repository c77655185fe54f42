"""Who gets an account, access and memberships on the site: one table, by what a person is at the source, what they were on
the site before, and how the plan takes them along. Pure.

Whoever is to have no access is put into no group at all: a merged group, one of Jira's too, could give access by the back
door. Nobody loses what they had.
"""

from dataclasses import dataclass
from typing import Literal

from shared.events.catalog.work import AccessRule
from shared.events.reasons import GENERIC_GROUPS

#: On the site before the plan came to this person: no account; an account that may not use Confluence; one that may.
Before = Literal["absent", "without", "with"]


@dataclass(frozen=True, slots=True)
class Standing:
    """``grant``: joins the site's group that gives access. ``memberships``: joins the groups it is in at the source.
    ``seat``: holds a licence afterwards."""

    create: bool
    grant: bool
    memberships: bool
    seat: bool


_R = AccessRule
#                                   create  grant  memberships  seat
STANDINGS: dict[AccessRule, Standing] = {
    _R.ENABLED_ABSENT_CHOSEN: Standing(True, True, True, True),
    _R.ENABLED_ABSENT_ALONG: Standing(True, False, False, False),
    _R.ENABLED_WITHOUT_CHOSEN: Standing(False, True, True, True),
    _R.ENABLED_WITHOUT_ALONG: Standing(False, False, False, False),
    _R.ENABLED_WITH_CHOSEN: Standing(False, False, True, True),
    _R.ENABLED_WITH_ALONG: Standing(False, False, False, True),
    _R.DISABLED_ABSENT_CHOSEN: Standing(True, False, False, False),
    _R.DISABLED_ABSENT_ALONG: Standing(True, False, False, False),
    _R.DISABLED_WITHOUT_CHOSEN: Standing(False, False, False, False),
    _R.DISABLED_WITHOUT_ALONG: Standing(False, False, False, False),
    _R.DISABLED_WITH_CHOSEN: Standing(False, False, False, True),
    _R.DISABLED_WITH_ALONG: Standing(False, False, False, True),
}


def rule(*, enabled: bool, before: Before, along: bool) -> AccessRule:
    """The row and column of the table that a person stands in.

    >>> rule(enabled=True, before="absent", along=False).value
    'enabled_absent_chosen'
    """
    return AccessRule(f"{'enabled' if enabled else 'disabled'}_{before}_{'along' if along else 'chosen'}")


def access_group(ids: dict[str, str], named: str | None) -> str | None:
    """The id of the group through which access is granted: the one the plan names, or the only one there is.

    ``ids``: by name, the groups of the site that give access. A generic group never is the one. None: the plan has to name
    one of them.
    """
    ids = {name: id for name, id in ids.items() if name.lower() not in GENERIC_GROUPS}
    if named is not None:
        return next((id for name, id in ids.items() if name.casefold() == named.casefold()), None)
    return next(iter(ids.values())) if len(ids) == 1 else None
