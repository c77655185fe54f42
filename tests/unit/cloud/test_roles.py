"""On a site with roles nobody gets more than the source gave, but for what comes along with every role of that kind."""

from itertools import combinations

from shared.confluence.cloud import SiteRole
from shared.confluence.roles import ADMINISTER, COMES_ALONG, VIEW, WRITE, operations, role_for

ALL = (
    VIEW,
    ("delete", "space"),
    WRITE,
    ("delete", "page"),
    ("create", "blogpost"),
    ("create", "attachment"),
    ("create", "comment"),
    ("delete", "comment"),
    ("restrict_content", "space"),
    ("export", "space"),
    ADMINISTER,
)


def role(name: str, *held: tuple[str, str]) -> SiteRole:
    return SiteRole(name, name, tuple("/".join(pair) for pair in held))


ADMIN = role("admin", *ALL)
MANAGER = role("manager", *(pair for pair in ALL if pair != ADMINISTER))
WRITER = role("writer", VIEW, WRITE, *sorted(COMES_ALONG[WRITE]))
VIEWER = role("viewer", VIEW, ("create", "comment"), ("delete", "space"))
ROLES = (ADMIN, MANAGER, WRITER, VIEWER)


def test_who_may_only_view_becomes_a_viewer() -> None:
    assert role_for(ROLES, frozenset({VIEW})) is VIEWER


def test_who_may_write_pages_becomes_a_writer() -> None:
    assert role_for(ROLES, frozenset({VIEW, WRITE, ("create", "comment")})) is WRITER


def test_an_administrator_of_the_space_becomes_one() -> None:
    assert role_for(ROLES, frozenset({VIEW, ADMINISTER})) is ADMIN


def test_who_may_not_view_gets_no_role() -> None:
    assert role_for(ROLES, frozenset(ALL) - {VIEW}) is None


def test_no_set_of_permissions_leads_to_a_role_that_gives_more_than_comes_along() -> None:
    for size in range(len(ALL) + 1):
        for held in map(frozenset, combinations(ALL, size)):
            given = role_for(ROLES, held)
            if given is None or ADMINISTER in held:
                continue
            tolerated = frozenset[tuple[str, str]]().union(*(more for of, more in COMES_ALONG.items() if of in held))
            assert operations(given) <= held | tolerated
