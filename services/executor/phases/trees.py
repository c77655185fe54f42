"""Chosen page trees of a space: which pages they hold, and what hangs on those. Only ids are kept in memory."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from shared.confluence.model import Item


def depths(parents: Mapping[str, str | None], roots: Iterable[str]) -> dict[str, int]:
    """The pages of the trees, each with its depth below the topmost root above it. ``parents``: of every page.

    >>> depths({"1": None, "2": "1", "3": "2", "4": None}, ["2", "3"])
    {'2': 0, '3': 1}
    """
    chosen, found = frozenset(roots), {}
    for page in parents:
        path, at = [page], parents[page]
        while at is not None and at in parents and at not in path:
            path.append(at)
            at = parents[at]
        tops = [n for n, above in enumerate(path) if above in chosen]
        if tops:
            found[page] = tops[-1]
    return found


class Trees:
    """Asked for one item of the space after the other. ``restricted``: of each page that has restrictions, how many."""

    def __init__(
        self, parents: Mapping[str, str | None], roots: Iterable[str], restricted: Mapping[str, int] | None = None
    ) -> None:
        self._depths = depths(parents, roots)
        self._parents, self._restricted = parents, restricted or {}
        self._files: set[str] = set()
        self._waiting: list[Item] = []

    def taken(self, item: Item) -> Item | None:
        """The item as the plan takes it, or None. A comment on a file that is not listed yet waits for ``held_back``."""
        if item.kind == "page":
            depth = self._depths.get(item.id)
            if depth is None:
                return None
            if depth:
                return replace(item, depth=depth)
            # At the top of the site's space nothing hides it any more but what it says itself.
            return replace(item, depth=0, parent=None, restrictions=item.restrictions + self._above(item.id))
        if item.container in self._depths or (item.kind == "comment" and item.container in self._files):
            if item.kind == "attachment":
                self._files.add(item.id)
            return item
        if item.kind == "comment":
            self._waiting.append(item)
        return None

    def _above(self, page: str) -> int:
        """How many restrictions the pages above it have."""
        seen, at = {page}, self._parents.get(page)
        while at is not None and at not in seen:
            seen.add(at)
            at = self._parents.get(at)
        return sum(self._restricted.get(above, 0) for above in seen - {page})

    def held_back(self) -> list[Item]:
        return [item for item in self._waiting if item.container in self._files]
