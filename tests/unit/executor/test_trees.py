"""Page trees: which pages of a space a plan takes, and what hangs on them."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from services.executor.phases.trees import Trees, depths
from shared.confluence.model import Item

PARENTS = {"1": None, "2": "1", "3": "2", "4": "2", "5": None, "6": "5"}


def page(id: str, depth: int) -> Item:
    return Item(kind="page", id=id, version=1, parent=PARENTS[id], depth=depth)


def test_a_tree_is_its_root_and_everything_below_counted_from_the_root() -> None:
    trees = Trees(PARENTS, ["2"])
    taken = [trees.taken(page(id, depth)) for id, depth in (("1", 0), ("2", 1), ("3", 2), ("4", 2), ("5", 0))]
    assert [(i.id, i.parent, i.depth) for i in taken if i] == [("2", None, 0), ("3", "2", 1), ("4", "2", 1)]


def test_what_is_restricted_above_a_root_is_the_roots_matter_and_no_other_pages() -> None:
    trees = Trees(PARENTS, ["3", "6"], {"1": 2, "2": 1, "3": 1, "6": 4})
    taken = [trees.taken(replace(page(id, 0), restrictions=own)) for id, own in (("3", 1), ("6", 4))]
    assert [(i.id, i.restrictions) for i in taken if i] == [("3", 4), ("6", 4)]
    whole = Trees(PARENTS, ["1"], {"1": 2, "2": 1})
    assert [i.restrictions for i in map(whole.taken, (page("1", 0), page("2", 1), page("3", 2))) if i] == [0, 0, 0]


def test_a_root_below_another_root_stays_where_it_is() -> None:
    assert depths(PARENTS, ["3", "1"]) == {"1": 0, "2": 1, "3": 2, "4": 2}


def test_files_and_comments_follow_their_page_also_a_comment_on_a_file_that_is_listed_later() -> None:
    trees = Trees(PARENTS, ["5"])
    items = [
        Item(kind="comment", id="c1", version=1, container="6"),
        Item(kind="comment", id="c2", version=1, container="3"),
        Item(kind="comment", id="c3", version=1, container="a1"),
        Item(kind="attachment", id="a1", version=1, container="6"),
        Item(kind="attachment", id="a2", version=1, container="3"),
        Item(kind="blogpost", id="b1", version=1),
    ]
    assert [i.id for i in items if trees.taken(i)] == ["c1", "a1"]
    assert [i.id for i in trees.held_back()] == ["c3"]


@given(st.dictionaries(st.sampled_from("abcdefgh"), st.none() | st.sampled_from("abcdefghz"), min_size=1), st.data())
def test_every_page_below_a_root_is_taken_once_even_among_cycles(
    parents: dict[str, str | None], data: st.DataObject
) -> None:
    roots = data.draw(st.lists(st.sampled_from(sorted(parents)), min_size=1))
    found = depths(parents, roots)
    assert set(roots) <= set(found)
    for child, parent in parents.items():
        if parent in found and parent in parents:
            assert child in found
