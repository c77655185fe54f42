"""CSV for people: written so that a spreadsheet takes no cell for a formula, and read back as it was meant."""

import csv
import io
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_MOST = 64 * 1024 * 1024  # characters of a file that is taken


class BadTable(Exception):
    """The file is refused as a whole. ``line`` counts from 1, the header included; ``reason`` quotes nothing of the file."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(f"line {line}: {reason}")
        self.line, self.reason = line, reason


@dataclass(frozen=True, slots=True)
class Line:
    """``number``: of the line in the file at which the row ends."""

    number: int
    cells: dict[str, str]


def safe(value: object) -> str:
    """A cell that no spreadsheet takes for a formula: an apostrophe stands before what would be one.

    >>> safe("=1+1"), safe("Ann"), safe(None), safe(-3)
    ("'=1+1", 'Ann', '', '-3')
    """
    if value is None:
        return ""
    text = str(value)
    return f"'{text}" if not isinstance(value, int) and text.startswith((*_FORMULA, "'")) else text


def meant(cell: str) -> str:
    """What ``safe`` was given."""
    return cell[1:] if cell.startswith("'") and cell[1:].startswith((*_FORMULA, "'")) else cell


def row_text(values: Iterable[object]) -> str:
    """One line of CSV (RFC 4180), with its end."""
    out = io.StringIO()
    csv.writer(out).writerow([safe(value) for value in values])
    return out.getvalue()


async def table(header: Sequence[str], rows: AsyncIterator[Sequence[object]]) -> AsyncIterator[str]:
    """A file of CSV, in pieces."""
    yield row_text(header)
    async for row in rows:
        yield row_text(row)


def read_table(text: str, header: Sequence[str]) -> list[Line]:
    """The rows of a file with exactly these columns, in any order. Raises BadTable."""
    if len(text) > _MOST:
        raise BadTable(1, "the file is larger than 64 MB; cut it in several")
    reader = csv.reader(io.StringIO(text.removeprefix("\ufeff")), strict=True)
    found: list[Line] = []
    try:
        names = [name.strip() for name in next(reader, [])]
        if sorted(names) != sorted(header):
            raise BadTable(1, f"the columns must be {','.join(header)}")
        for row in reader:
            if not any(cell.strip() for cell in row):
                continue
            if len(row) != len(names):
                raise BadTable(reader.line_num, f"it has {len(row)} cells, not {len(names)}")
            cells = dict(zip(names, (meant(cell.strip()) for cell in row), strict=True))
            found.append(Line(reader.line_num, cells))
    except csv.Error as error:
        raise BadTable(max(reader.line_num, 1), f"this is no CSV ({error})") from error
    return found
