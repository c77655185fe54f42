"""Tables of findings as CSV."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

# A cell that begins so is a formula to spreadsheets: whoever names a group so would run it on the reader's machine.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def to_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """One line each, under the names of all columns that occur.

    >>> to_csv([{"group": "staff"}, {"group": "=cmd()"}])
    "group\\r\\nstaff\\r\\n'=cmd()\\r\\n"
    """
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow(columns)
    for row in rows:
        table.writerow([_cell(row.get(name, "")) for name in columns])
    return text.getvalue()


def _cell(value: Any) -> str:
    text = str(value)
    return f"'{text}" if text.startswith(_FORMULA) else text
