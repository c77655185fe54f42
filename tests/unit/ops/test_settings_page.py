"""The page of settings is written from the class, and every setting says what it is for."""

from shared.ops import settings_page
from shared.ops.settings import Settings


def test_the_page_of_settings_is_current() -> None:
    assert settings_page.main(["--check"]) == 0, "run python -m shared.ops.settings_page and commit docs/settings.md"


def test_every_setting_says_what_it_is_for() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []
