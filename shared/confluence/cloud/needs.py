"""Which operation on the site needs which credential: data, read by the checks and by the documentation.

Source: the project's reference, section 0 and 3 (who may call what on Cloud).
"""

from dataclasses import dataclass
from typing import Literal

Right = Literal["confluence", "site_admin", "jira_admin", "user_search", "api_token", "organization"]
Part = Literal["spaces", "users", "groups", "permissions", "watches"]

WORDS: dict[Right, str] = {
    "confluence": "an account with access to Confluence that may create spaces",
    "site_admin": "a site administrator",
    "jira_admin": "Administer Jira, or an organization key",
    "user_search": "Jira on the site with “Browse users”, or an organization key",
    "api_token": "an API token: the site lets no app set space permissions",
    "organization": "an organization key",
}


@dataclass(frozen=True, slots=True)
class Need:
    """``any_of``: one of these rights suffices. ``part``: of a plan that holds it, the operation is needed."""

    operation: str
    part: Part
    any_of: tuple[Right, ...]


NEEDS: tuple[Need, ...] = (
    Need("create spaces, pages and what hangs on them", "spaces", ("confluence",)),
    Need("look accounts up by address", "users", ("user_search", "organization")),
    Need("create accounts", "users", ("jira_admin", "organization")),
    Need("give access by a group", "users", ("site_admin",)),
    Need("create groups and add members", "groups", ("site_admin",)),
    Need("set space permissions on a classic site", "permissions", ("api_token",)),
    Need("make others watch pages", "watches", ("site_admin",)),
)


def missing(parts: frozenset[Part], rights: frozenset[Right]) -> list[Need]:
    """The operations that a plan with these parts needs and that these rights do not suffice for.

    >>> [n.operation for n in missing(frozenset({"groups"}), frozenset({"confluence"}))]
    ['create groups and add members']
    """
    return [need for need in NEEDS if need.part in parts and not rights & set(need.any_of)]
