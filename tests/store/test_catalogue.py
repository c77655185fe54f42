"""Claims about the page of all events."""

from shared.events import catalogue


def test_the_page_of_all_events_is_current() -> None:
    assert catalogue.main(["--check"]) == 0, "run python -m shared.events.catalogue and commit docs/events.md"


def test_the_page_names_every_event_of_the_catalog() -> None:
    text = catalogue.page()
    for event in catalogue._defined():
        assert f"\n### {event.__name__} (schema {event.SCHEMA})\n" in text


def test_every_event_says_what_it_means() -> None:
    assert [e.__name__ for e in catalogue._defined() if not e.__dict__.get("__doc__")] == []
