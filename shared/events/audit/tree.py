"""The Merkle tree of RFC 6962 over the log: leaf ``i`` (from 0) is the record at position ``i + 1``.

Pure functions of hashes. A *subtree* ``(level, number)`` is the complete one over leaves ``number * 2**level`` up to
``(number + 1) * 2**level``; once complete it never changes, so it may be kept.
"""

from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256

EMPTY = sha256(b"").digest()  # the root of a tree without leaves
Subtree = tuple[int, int]  # level, number
Range = tuple[int, int]  # leaves from the first up to, without, the second


def node(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 ‖ left ‖ right)."""
    return sha256(b"\x01" + left + right).digest()


def fold(peaks: Sequence[bytes]) -> bytes:
    """The root of a tree from the roots of its complete subtrees, largest (leftmost) first."""
    if not peaks:
        return EMPTY
    root = peaks[-1]
    for peak in reversed(peaks[:-1]):
        root = node(peak, root)
    return root


class Frontier:
    """The right edge of a growing tree: at most 64 hashes, whatever its size.

    ``peaks``: the roots of its complete subtrees, largest first. Raises ValueError where they do not fit ``size``.
    """

    def __init__(self, size: int = 0, peaks: Iterable[bytes] = ()) -> None:
        self.size, self.peaks = size, list(peaks)
        if size < 0 or len(self.peaks) != size.bit_count() or any(len(peak) != 32 for peak in self.peaks):
            raise ValueError(f"a tree of {size} leaves has {size.bit_count()} peaks of 32 bytes")

    @classmethod
    def of_bytes(cls, size: int, peaks: bytes) -> "Frontier":
        return cls(size, (peaks[at : at + 32] for at in range(0, len(peaks), 32)))

    def __bytes__(self) -> bytes:
        return b"".join(self.peaks)

    def copy(self) -> "Frontier":
        return Frontier(self.size, self.peaks)

    @property
    def root(self) -> bytes:
        return fold(self.peaks)

    def add(self, subtree: bytes, level: int = 0) -> list[tuple[int, int, bytes]]:
        """Adds a leaf, or a complete subtree where one of its level may stand. Returns the subtrees that this
        completed, lowest first, the added one included: (level, number, hash)."""
        number = self.size >> level
        if number << level != self.size:
            raise ValueError(f"no subtree of level {level} begins at leaf {self.size}")
        completed = [(level, number, subtree)]
        while number & 1:
            number >>= 1
            level += 1
            subtree = node(self.peaks.pop(), subtree)
            completed.append((level, number, subtree))
        self.peaks.append(subtree)
        self.size += 1 << completed[0][0]
        return completed


def pieces(start: int, end: int) -> Iterator[Subtree]:
    """The largest complete subtrees that together are the leaves from ``start`` up to ``end``, from left to right."""
    while start < end:
        level = (end - start).bit_length() - 1
        if start:
            level = min(level, (start & -start).bit_length() - 1)
        yield level, start >> level
        start += 1 << level


def _split(width: int) -> int:
    """The largest power of two below ``width``."""
    return 1 << ((width - 1).bit_length() - 1)


def inclusion_path(index: int, size: int) -> list[Range]:
    """The leaves under each hash of the proof that leaf ``index`` is in the tree of ``size`` leaves, leaf's sibling
    first (RFC 6962, 2.1.1)."""
    if not 0 <= index < size:
        raise ValueError(f"a tree of {size} leaves has no leaf {index}")
    start, end, path = 0, size, []
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            path.append((middle, end))
            end = middle
        else:
            path.append((start, middle))
            start = middle
    return path[::-1]


def consistency_path(old: int, new: int) -> list[Range]:
    """The leaves under each hash of the proof that the tree of ``old`` leaves is how the one of ``new`` leaves began
    (RFC 6962, 2.1.2). Empty for equal sizes and for an empty old tree."""
    if not 0 <= old <= new:
        raise ValueError(f"a tree of {new} leaves did not begin with {old}")
    if old in (0, new):
        return []
    start, end, path, whole = 0, new, [], True
    while old != end:  # the tree over start…end, of which old's leaves are the beginning
        middle = start + _split(end - start)
        if old <= middle:
            path.append((middle, end))
            end = middle
        else:
            path.append((start, middle))
            start, whole = middle, False
    if not whole:  # else it is the old root itself, which the verifier has
        path.append((start, end))
    return path[::-1]


def root_of_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes | None:
    """The root that the proof leads to, to be compared with a signed one; None where the proof has the wrong length."""
    if not 0 <= index < size:
        return None
    last, found = size - 1, leaf
    for sibling in path:
        if last == 0:
            return None
        if index & 1 or index == last:
            found = node(sibling, found)
            while not index & 1 and index:
                index, last = index >> 1, last >> 1
        else:
            found = node(found, sibling)
        index, last = index >> 1, last >> 1
    return found if last == 0 else None


def consistent(old: int, old_root: bytes, new: int, new_root: bytes, path: Sequence[bytes]) -> bool:
    """Whether the proof shows that the old tree is how the new one began (RFC 9162, 2.1.4.2)."""
    if old == new:
        return not path and old_root == new_root
    if old == 0:
        return not path and old_root == EMPTY
    if not 0 < old < new or not path:
        return False
    hashes = list(path)
    if old & (old - 1) == 0:
        hashes.insert(0, old_root)
    index, last = old - 1, new - 1
    while index & 1:
        index, last = index >> 1, last >> 1
    found_old = found_new = hashes[0]
    for each in hashes[1:]:
        if last == 0:
            return False
        if index & 1 or index == last:
            found_old, found_new = node(each, found_old), node(each, found_new)
            while not index & 1 and index:
                index, last = index >> 1, last >> 1
        else:
            found_new = node(found_new, each)
        index, last = index >> 1, last >> 1
    return last == 0 and found_old == old_root and found_new == new_root
