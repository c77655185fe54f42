"""Real bodies to test with: a folder of reference material beside the checkout, not part of the project."""

import os
import re
import zipfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
REFERENCE = Path(os.environ.get("CLOUDWARD_REFERENCE") or ROOT.parent / "shared")
_BODY = re.compile(r'<property name="body"><!\[CDATA\[(.*?)\]\]></property>', re.DOTALL)


def _exports() -> Iterator[str]:
    """The entities of every export, in a folder or in a zip."""
    for path in sorted((REFERENCE / "exports").rglob("*")):
        if path.name == "entities.xml":
            yield path.read_text(encoding="utf-8", errors="replace")
        elif path.suffix == ".zip" and zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                for name in archive.namelist():
                    if name.endswith("entities.xml"):
                        yield archive.read(name).decode("utf-8", errors="replace")


@cache
def real_bodies() -> tuple[str, ...]:
    """Every body of the reference material; the test is skipped where there is none."""
    found = [
        path.read_text(encoding="utf-8", errors="replace")
        for path in sorted((REFERENCE / "bodies").rglob("*"))
        if path.suffix in (".html", ".xml")
    ]
    for text in _exports():
        # Exports split a "]]>" in a body with a blank, as theirs is the outer CDATA section.
        found += [match.replace("]] >", "]]>") for match in _BODY.findall(text)]
    if not found:
        pytest.skip(f"no reference bodies under {REFERENCE.name}: set CLOUDWARD_REFERENCE")
    return tuple(found)
