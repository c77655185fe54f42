"""Search, filters, sort and page of a table live in its URL."""

from __future__ import annotations

from urllib.parse import parse_qsl

from hypothesis import given
from hypothesis import strategies as st

from services.dashboard.domain.listing import Listing, Rows, Shape, pattern

SHAPE = Shape(("name", "size"), "-size", {"state": ("open", "closed"), "owner": None})


def read(query: str) -> Listing:
    return Listing.read("/t", SHAPE, parse_qsl(query, keep_blank_values=True))


def test_what_is_not_known_is_left_out_instead_of_failing() -> None:
    listing = read("sort=hack&page=-3&size=7&state=open,weird&nothing=1&page=x")
    assert (listing.sort, listing.page, listing.size, dict(listing.chosen)) == ("-size", 1, 100, {"state": ("open",)})


def test_another_sort_or_filter_begins_at_the_first_page() -> None:
    listing = read("page=4&q=a&state=open,closed")
    assert read(listing.sorted_by("name").partition("?")[2]).page == 1
    assert read(listing.sorted_by("name").partition("?")[2]).sort == "name"
    assert dict(read(listing.without("state", "open").partition("?")[2]).chosen) == {"state": ("closed",)}
    assert listing.cleared == "/t"


def test_sorting_again_by_the_same_column_turns_it_round() -> None:
    assert read("sort=name").sorted_by("name") == "/t?sort=-name"
    assert read("").sorted_by("size") == "/t?sort=size" and read("").direction("size") == "descending"


@given(
    st.builds(
        dict,
        q=st.text(max_size=20),
        sort=st.sampled_from(["name", "-name", "size", "-size"]),
        page=st.integers(1, 10**6).map(str),
        size=st.sampled_from(["50", "100", "500"]),
        state=st.sampled_from(["open", "closed", "open,closed"]),
    )
)
def test_a_listing_written_to_a_url_reads_back_as_itself(query: dict[str, str]) -> None:
    listing = Listing.read("/t", SHAPE, list(query.items()))
    assert read(listing.query()) == listing


@given(st.integers(0, 10**6), st.integers(1, 10**4))
def test_the_pager_always_offers_the_first_the_last_and_the_neighbors(total: int, page: int) -> None:
    rows = Rows((), total, total, Listing("/t", SHAPE, page=page))
    rows = Rows((), total, total, Listing("/t", SHAPE, page=min(page, rows.pages)))
    near = [n for n in rows.near if n is not None]
    assert near[0] == 1 and near[-1] == rows.pages and rows.listing.page in near and near == sorted(set(near))
    assert len(rows.near) <= 9 and 0 <= rows.first <= rows.last <= total


def test_a_search_takes_percent_signs_literally() -> None:
    assert pattern("100%_\\") == "%100\\%\\_\\\\%"
