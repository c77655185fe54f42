"""A lost, a doubled and an invented entity each make a plan not conserved."""

import pytest

from shared.events.projections.conservation import Key, conserved

INVENTORY: list[Key] = [("page", "1"), ("page", "2"), ("page", "3"), ("comment", "1")]


def test_every_entity_with_exactly_one_outcome_is_conserved() -> None:
    assert conserved(INVENTORY, INVENTORY, {}).ok
    assert conserved(INVENTORY, INVENTORY[:2], {"page": 1, "comment": 1}).ok
    assert conserved([], [], {}).ok


@pytest.mark.parametrize(
    ("outcomes", "remainder", "side", "kind"),
    [
        (INVENTORY[1:], {}, "lost", "page"),
        ([*INVENTORY, INVENTORY[0]], {}, "doubled", "page"),
        ([*INVENTORY, ("comment", "9")], {}, "invented", "comment"),
        (INVENTORY, {"page": 1}, "lost", "page"),
    ],
    ids=["lost", "doubled", "invented", "more left than there is"],
)
def test_it_is_not_conserved_with_one(outcomes: list[Key], remainder: dict[str, int], side: str, kind: str) -> None:
    found = conserved(INVENTORY, outcomes, remainder)
    assert not found.ok and set(getattr(found, side)) == {kind}


def test_a_lost_entity_is_not_made_good_by_an_invented_one() -> None:
    """The sums agree, the sets do not."""
    found = conserved(INVENTORY, [*INVENTORY[1:], ("page", "9")], {})
    assert (dict(found.lost), dict(found.invented), found.ok) == ({"page": 1}, {"page": 1}, False)
