"""One table as a person asked for it: search, filters, sort and page, all of them in the URL. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlencode

SIZES = (50, 100, 250, 500)
SIZE = 100


@dataclass(frozen=True, slots=True)
class Shape:
    """What a table can be asked for. ``sorts``: names in the URL; ``filters``: names with the values they take."""

    sorts: tuple[str, ...]
    default: str
    filters: Mapping[str, Sequence[str] | None] = field(default_factory=dict)  # None: any text


@dataclass(frozen=True, slots=True)
class Listing:
    """``sort``: a name of the shape, with "-" before it for descending. ``chosen``: filter → values; none: no filter."""

    path: str
    shape: Shape
    q: str = ""
    sort: str = ""
    page: int = 1
    size: int = SIZE
    chosen: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def read(cls, path: str, shape: Shape, query: Sequence[tuple[str, str]]) -> "Listing":
        """From the URL's query. What it does not know it leaves out: an old link still shows something."""
        given: dict[str, list[str]] = {}
        for name, value in query:
            given.setdefault(name, []).extend(value.split(",") if name in shape.filters else [value])
        sort = given.get("sort", [shape.default])[-1]
        chosen = {
            name: tuple(dict.fromkeys(v for v in given[name] if v and (allowed is None or v in allowed)))
            for name, allowed in shape.filters.items()
            if name in given
        }
        return cls(
            path,
            shape,
            q=given.get("q", [""])[-1].strip()[:200],
            sort=sort if sort.removeprefix("-") in shape.sorts else shape.default,
            page=_number(given.get("page", ["1"])[-1], 1),
            size=_size(given.get("size", [str(SIZE)])[-1]),
            chosen={name: values for name, values in chosen.items() if values},
        )

    @property
    def column(self) -> str:
        return self.sort.removeprefix("-")

    @property
    def descending(self) -> bool:
        return self.sort.startswith("-")

    @property
    def offset(self) -> int:
        return (self.page - 1) * self.size

    @property
    def filtered(self) -> bool:
        return bool(self.q or self.chosen)

    def one(self, name: str) -> str | None:
        """The only value of a filter, where it has one."""
        return next(iter(self.chosen.get(name, ())), None)

    def sorted_by(self, column: str) -> str:
        """The table sorted by this column; by the one it is sorted by, the other way round. From the first page."""
        return self._url(replace(self, page=1, sort=f"-{column}" if self.sort == column else column))

    def at(self, page: int) -> str:
        return self._url(replace(self, page=page))

    def without(self, name: str, value: str | None = None) -> str:
        """Without one filter, or one value of it, or ("q") without the search."""
        if name == "q":
            return self._url(replace(self, q="", page=1))
        kept = tuple(v for v in self.chosen.get(name, ()) if value is not None and v != value)
        chosen = {**{n: v for n, v in self.chosen.items() if n != name}, **({name: kept} if kept else {})}
        return self._url(replace(self, chosen=chosen, page=1))

    @property
    def cleared(self) -> str:
        return self._url(replace(self, q="", chosen={}, page=1))

    def direction(self, column: str) -> str | None:
        """``aria-sort`` of a column's header."""
        if column != self.column:
            return None
        return "descending" if self.descending else "ascending"

    def query(self) -> str:
        return self._url(self).partition("?")[2]

    def _url(self, to: "Listing") -> str:
        pairs: list[tuple[str, Any]] = [("q", to.q)] if to.q else []
        pairs += [(name, ",".join(values)) for name, values in to.chosen.items()]
        pairs += [("sort", to.sort)] if to.sort != to.shape.default else []
        pairs += [("size", to.size)] if to.size != SIZE else []
        pairs += [("page", to.page)] if to.page != 1 else []
        return f"{self.path}?{urlencode(pairs, safe=',')}" if pairs else self.path


@dataclass(frozen=True, slots=True)
class Rows:
    """A page of rows and how many there are: with the filters, and without."""

    rows: Sequence[Any]
    total: int
    every: int
    listing: Listing

    @property
    def pages(self) -> int:
        return max(1, -(-self.total // self.listing.size))

    @property
    def first(self) -> int:
        return min(self.listing.offset + 1, self.total)

    @property
    def last(self) -> int:
        return min(self.listing.offset + self.listing.size, self.total)

    @property
    def near(self) -> list[int | None]:
        """Page numbers to offer; None for a gap."""
        here, wanted = self.listing.page, {1, self.pages}
        wanted |= {n for n in range(here - 2, here + 3) if 1 <= n <= self.pages}
        found: list[int | None] = []
        for number in sorted(wanted):
            if found and found[-1] is not None and number - found[-1] > 1:
                found.append(None)
            found.append(number)
        return found


def _number(text: str, least: int) -> int:
    return max(least, min(int(text), 10_000_000)) if text.isascii() and text.isdigit() else least


def _size(text: str) -> int:
    return int(text) if text.isdigit() and int(text) in SIZES else SIZE


def pattern(text: str) -> str:
    """For ILIKE: the text anywhere, taken literally."""
    escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"
