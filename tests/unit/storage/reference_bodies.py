"""Real bodies to test with: a folder of reference material beside the checkout, not part of the project."""

import os
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
REFERENCE = Path(os.environ.get("CLOUDWARD_REFERENCE") or ROOT.parent / "shared")
_BODY = re.compile(r'<property name="body"><!\[CDATA\[(.*?)\]\]></property>', re.DOTALL)


@cache
def real_bodies() -> tuple[str, ...]:
    """Every body of the reference material; the test is skipped where there is none."""
    found = [
        path.read_text(encoding="utf-8", errors="replace")
        for path in sorted((REFERENCE / "bodies").rglob("*"))
        if path.suffix in (".html", ".xml")
    ]
    for export in sorted((REFERENCE / "exports").glob("*/entities.xml")):
        text = export.read_text(encoding="utf-8", errors="replace")
        # Exports split a "]]>" in a body with a blank, as theirs is the outer CDATA section.
        found += [match.replace("]] >", "]]>") for match in _BODY.findall(text)]
    if not found:
        pytest.skip(f"no reference bodies under {REFERENCE.name}: set CLOUDWARD_REFERENCE")
    return tuple(found)
