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
    """Asked for one item of the space after the other."""

    def __init__(self, parents: Mapping[str, str | None], roots: Iterable[str]) -> None:
        self._depths = depths(parents, roots)
        self._files: set[str] = set()
        self._waiting: list[Item] = []

    def taken(self, item: Item) -> Item | None:
        """The item as the plan takes it, or None. A comment on a file that is not listed yet waits for ``held_back``."""
        if item.kind == "page":
            depth = self._depths.get(item.id)
            if depth is None:
                return None
            return replace(item, depth=depth, parent=item.parent if depth else None)
        if item.container in self._depths or (item.kind == "comment" and item.container in self._files):
            if item.kind == "attachment":
                self._files.add(item.id)
            return item
        if item.kind == "comment":
            self._waiting.append(item)
        return None

    def held_back(self) -> list[Item]:
        return [item for item in self._waiting if item.container in self._files]
