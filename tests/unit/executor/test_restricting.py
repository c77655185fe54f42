"""Restrictions brought to the site: never is anybody let in whom the source keeps out, and nobody's own decision is undone."""

import asyncio
from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from services.executor.phases import restricting
from shared.confluence.model import Content, Restriction
from shared.events.reasons import Reason

ME = "712020:me"
people = st.sets(st.sampled_from("abcd"), min_size=1)
levels = st.lists(
    people | st.none(), min_size=1, max_size=4
)  # who may see each page from the top down; None: everybody


def page(id: str, readers: set[str] | None) -> Content:
    held = tuple(Restriction("read", person, None) for person in sorted(readers or ()))
    return Content(id, "page", "1", id, "", "storage", 1, None, None, None, None, restrictions=held)


class Site:
    def __init__(self, there: set[str] | None = None) -> None:
        self.there: Any = {} if there is None else {"read": ([ME, *sorted(there)], [])}
        self.writes = 0

    async def restrictions(self, target: str) -> Any:
        return self.there

    async def set_restrictions(self, target: str, holders: Any) -> None:
        self.there, self.writes = holders, self.writes + 1


class Job:
    """Everybody is on the site under the same name. ``recorded``: the digest that an earlier plan recorded."""

    def __init__(self, site: Site | None = None, recorded: str | None = None) -> None:
        self.site, self.me = site or Site(), SimpleNamespace(account_id=ME)
        self._recorded = recorded

    async def account(self, id: str) -> str | None:
        return id

    async def restricted(self, id: str, target: str) -> Any:
        return None if self._recorded is None else {"digest": self._recorded}


def seen_by(holders: Any) -> set[str] | None:
    """None: by everybody."""
    return set(holders["read"][0]) - {ME} if "read" in holders else None


def bring(job: Job, content: Content, *more: Any) -> Any:
    held: Any = job
    return asyncio.run(restricting.bring(held, content, "t", *more))


@given(levels)
def test_who_sees_a_page_without_those_above_it_saw_it_below_them(path: list[set[str] | None]) -> None:
    *above, own = [page(str(n), readers) for n, readers in enumerate(path)]
    hiding = [each for each in above if restricting.hides(each)]
    job: Any = Job()
    wanted = asyncio.run(restricting.wanted(job, own, hiding))
    lists = [readers for readers in path if readers is not None]
    found = seen_by(wanted.holders)
    if not lists:
        assert found is None
    else:
        assert found is not None and found <= set.intersection(*lists)
        assert ME in wanted.holders["read"][0], "or the migrator would lose the page"
    if len(lists) == 1:
        assert found == lists[0], "one list is taken over as it is"
    assert (wanted.reason is Reason.KEPT_CLOSED) == (len(lists) > 1)


@given(people | st.none(), people, people)
def test_what_somebody_set_on_the_site_stays_unless_it_is_what_was_recorded(
    was: set[str] | None, theirs: set[str], now: set[str]
) -> None:
    job: Any = Job()
    recorded = asyncio.run(restricting.wanted(job, page("1", was))).digest
    site = Site(theirs)
    told = bring(Job(site, recorded), page("1", now))
    if theirs in (was, now) and was != now:
        assert told is not None and seen_by(site.there) == now
    elif was == now:
        assert told is not None and site.writes == 0, (
            "nothing is new at the source: what stands there is theirs to decide"
        )
    else:
        assert told is None and seen_by(site.there) == theirs


@given(people, people | st.none())
def test_what_a_page_took_over_where_it_stood_is_known_and_replaced(lender: set[str], own: set[str] | None) -> None:
    job: Any = Job()
    above = page("0", lender)
    lent = asyncio.run(restricting.wanted(job, page("1", own), [above]))
    site = Site()
    site.there = lent.holders
    recorded = asyncio.run(restricting.wanted(job, page("1", own))).digest if own else None
    assert bring(Job(site, recorded), page("1", own), (), [above]) is not None
    assert seen_by(site.there) == own
