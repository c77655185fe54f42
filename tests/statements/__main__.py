"""Lists each row with its tests and its heading: ``python -m tests.statements``. Exit code 1 where a row has neither.

Tests carry the numbers (``@pytest.mark.statement``), ``guide.toml`` the headings. The rows themselves are the reference's and are
not repeated here; where it lies beside the checkout, their number is compared with it.
"""

import ast
import re
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "guide"
ROWS = 114
_REFERENCE = ROOT.parent / "shared" / "STATEMENTS.md"


def tests() -> dict[int, list[str]]:
    """Of each row the tests that carry its number, as pytest names them."""
    found: dict[int, list[str]] = defaultdict(list)
    for file in sorted((ROOT / "tests").rglob("test_*.py")):
        text = file.read_text(encoding="utf-8")
        if "mark.statement(" not in text:
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                for number in _numbers(node):
                    found[number].append(f"{file.relative_to(ROOT)}::{node.name}")
    return found


def _numbers(node: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[int]:
    for mark in node.decorator_list:
        if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.statement":
            for argument in mark.args:
                yield int(ast.literal_eval(argument))


def headings() -> dict[int, str]:
    """Of each row that a document meets, page and heading."""
    table = tomllib.loads((Path(__file__).parent / "guide.toml").read_text(encoding="utf-8"))
    return {int(number): str(place) for number, place in table.items()}


def anchors(page: Path) -> set[str]:
    """The names by which a page's headings are linked to.

    >>> slug("### Spaces & their `owners`")
    'spaces--their-owners'
    """
    return {slug(line) for line in page.read_text(encoding="utf-8").splitlines() if re.match(r"#+ ", line)}


def slug(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lstrip("#").strip().lower()).replace(" ", "-")


def problems() -> list[str]:
    """What is wrong, one sentence each."""
    shown, written = tests(), headings()
    found = [
        f"row {n}: neither a test nor a heading" for n in range(1, ROWS + 1) if n not in shown and n not in written
    ]
    found += [f"there is no row {n}" for n in sorted({*shown, *written}) if not 1 <= n <= ROWS]
    for number, place in written.items():
        page, _, heading = place.partition("#")
        if not (GUIDE / page).is_file() or heading not in anchors(GUIDE / page):
            found.append(f"row {number}: docs/guide/{place} is no heading")
    if _REFERENCE.is_file():
        rows = re.findall(r"^\| *(\d+) *\|", _REFERENCE.read_text(encoding="utf-8"), flags=re.MULTILINE)
        if [int(n) for n in rows] != list(range(1, ROWS + 1)):
            found.append(f"the reference has {len(rows)} rows, not {ROWS}")
    return found


def main() -> int:
    shown, written = tests(), headings()
    for number in range(1, ROWS + 1):
        places = [*shown.get(number, ()), *([f"docs/guide/{written[number]}"] if number in written else [])]
        sys.stdout.write(f"{number:>3}  {'; '.join(places) or '-'}\n")
    found = problems()
    for problem in found:
        sys.stdout.write(f"{problem}\n")
    tested = sum(n in shown for n in range(1, ROWS + 1))
    sys.stdout.write(f"{ROWS} rows: {tested} with a test, {ROWS - tested - len(found)} by a heading alone\n")
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
