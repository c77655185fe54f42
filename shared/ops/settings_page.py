"""Writes the page of all settings, from their class: ``python -m shared.ops.settings_page`` (``--check`` only compares)."""

import sys
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from shared.ops.settings import Settings

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"

_INTRODUCTION = """# Settings

Every service reads its settings from the environment; `cloudward up` and `compose.yaml` set them. Written by
`python -m shared.ops.settings_page` from `shared/ops/settings.py`. Durations are in seconds. Secrets come as files or
references, never as plain values.

| setting | kind | default | meaning |
|---|---|---|---|
"""
_KINDS = {str: "text", int: "whole number", float: "number", bool: "true or false", Path: "path"}


def page() -> str:
    """The whole page, in Markdown."""
    prefix = Settings.model_config["env_prefix"]
    return _INTRODUCTION + "".join(
        f"| `{prefix}{name.upper()}` | {_kind(field)} | {_default(field)} | {field.description} |\n"
        for name, field in Settings.model_fields.items()
    )


def _kind(field: FieldInfo) -> str:
    bounds = {type(each).__name__: each for each in field.metadata}
    words = {"Ge": ("ge", "from"), "Gt": ("gt", "above"), "Le": ("le", "to"), "Lt": ("lt", "below")}
    limits = " ".join(f"{word} {getattr(bounds[n], at):g}" for n, (at, word) in words.items() if n in bounds)
    kind = _KINDS[_plain(field.annotation)]
    return f"{kind}, {limits}" if limits else kind


def _plain(annotation: Any) -> type:
    """The type itself, of one that may also be left out."""
    if get_origin(annotation) in (Union, UnionType):
        annotation = next(each for each in get_args(annotation) if each is not NoneType)
    assert isinstance(annotation, type)
    return annotation


def _default(field: FieldInfo) -> str:
    if field.default is PydanticUndefined:
        return "none: it must be set"
    if field.default in (None, ""):
        return "none"
    value = f"{field.default:g}" if isinstance(field.default, float) else str(field.default)
    return f"`{value}`"


def main(arguments: list[str] | None = None) -> int:
    """Exit code 1 if ``--check`` finds the page not current."""
    check = "--check" in (sys.argv[1:] if arguments is None else arguments)
    if not check:
        PAGE.write_text(page(), encoding="utf-8")
    return int(PAGE.read_text(encoding="utf-8") != page())


if __name__ == "__main__":
    sys.exit(main())
