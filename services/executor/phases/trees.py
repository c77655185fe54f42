"""Chosen page trees of a space: which pages they hold, and what hangs on those. Only ids are kept in memory."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from shared.confluence.model import Item


def path(parents: Mapping[str, str | None], page: str) -> list[str]:
    """The page and those above it, from the bottom up. It ends at the top, at a page that is not there, or where a circle closes."""
    found, at = [page], parents.get(page)
    while at is not None and at in parents and at not in found:
        found.append(at)
        at = parents[at]
    return found


def depths(parents: Mapping[str, str | None], roots: Iterable[str]) -> dict[str, int]:
    """The pages of the trees, each with its depth below the topmost root above it. ``parents``: of every page.

    >>> depths({"1": None, "2": "1", "3": "2", "4": None}, ["2", "3"])
    {'2': 0, '3': 1}
    """
    chosen, found = frozenset(roots), {}
    for page in parents:
        tops = [n for n, above in enumerate(path(parents, page)) if above in chosen]
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
            above = sum(self._restricted.get(page, 0) for page in path(self._parents, item.id)[1:])
            return replace(item, depth=0, parent=None, restrictions=item.restrictions + above)
        if item.container in self._depths or (item.kind == "comment" and item.container in self._files):
            if item.kind == "attachment":
                self._files.add(item.id)
            return item
        if item.kind == "comment":
            self._waiting.append(item)
        return None

    def held_back(self) -> list[Item]:
        return [item for item in self._waiting if item.container in self._files]
