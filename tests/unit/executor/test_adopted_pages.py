"""A page that an earlier attempt made holds the body of that moment, not the one this attempt would write."""

from services.executor.bodies import Body
from services.executor.job import Row
from services.executor.phases.pages import moved
from shared.confluence.site import SiteContent
from shared.events.catalog.work import Kind

ROW = Row(Kind.PAGE, "7", version=3)
THERE = SiteContent("42", "page", "1", "Title", 1, "me", None, "me")


def test_an_adopted_page_is_left_to_the_second_pass_whatever_its_body_would_be_now() -> None:
    entity = moved(ROW, THERE, Body("<p>every link resolved</p>"), reason=None, adopted=True)
    assert entity.pending
    assert entity.digest is None


def test_a_page_just_made_needs_the_second_pass_only_for_what_is_still_pending() -> None:
    assert moved(ROW, THERE, Body("<p/>"), reason=None).pending is None
    assert moved(ROW, THERE, Body("<p/>", pending=True), reason=None).pending
    assert moved(ROW, THERE, Body("<p/>"), reason=None).digest
