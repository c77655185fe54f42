"""Claims about the page of all events."""

from shared.events import catalogue


def test_the_page_of_all_events_is_current() -> None:
    assert catalogue.main(["--check"]) == 0, "run python -m shared.events.catalogue and commit docs/events.md"


def test_the_page_names_every_event_of_the_catalog() -> None:
    text = catalogue.page()
    for event in catalogue._defined():
        assert f"\n### {event.__name__} (schema {event.SCHEMA})\n" in text
