"""Checks the log where it is: its links, and its checkpoints in the database and outside it, in one pass."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from shared.events.audit.folder import CheckpointFolder
from shared.events.audit.kept import KEPT
from shared.events.audit.note import BadNote, Checkpoint, PublicKey, opened
from shared.events.audit.tree import Frontier
from shared.events.verify import verify_links

Problem = Literal["link", "missing", "head", "checkpoint", "checkpoints", "key", "cut_off", "tree"]


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of a check. ``checked``: events from the first on whose links are right. ``sealed``: events under the
    last checkpoint that fits; ``checkpoints``: how many fit.

    Where something is off, ``position`` is the first place, or the first of the places up to ``upto`` at one of which it
    is, and ``problem`` says how. ``link``, ``missing`` and ``head`` are as in ``shared.events.verify``. ``checkpoint``: the
    events are not those that were signed, though all links were computed anew. ``checkpoints``: two that are signed
    contradict each other. ``key``: a checkpoint that no trusted key has signed. ``cut_off``: the log ends before a
    checkpoint does. ``tree``: kept hashes are not those of the events; they are made anew by ``seal --rebuild``.
    """

    log_id: str
    checked: int
    link: bytes
    sealed: int
    checkpoints: int
    position: int | None = None
    upto: int | None = None
    problem: Problem | None = None
    message: str = "Every event is as it was appended."

    @property
    def ok(self) -> bool:
        return self.problem is None


class _Checkpoints:
    """The checkpoints to be met, in order of size, and what was found about them."""

    def __init__(self, notes: list[tuple[str, str, bytes | None]], trusted: Sequence[PublicKey], log: str) -> None:
        self.unknown: str | None = None
        self.contradiction: tuple[str, int] | None = None
        found: list[tuple[Checkpoint, str]] = []
        for where, note, root in notes:
            try:
                checkpoint = opened(note, trusted)
            except BadNote as error:
                self.unknown = self.unknown or f"{where}: {error}"
                continue
            if checkpoint.origin != log:
                self.unknown = self.unknown or f"{where}: it is a checkpoint of another log."
            elif root is not None and checkpoint.root != root:
                self.contradiction = (f"{where} is kept with another root than the signed one.", checkpoint.size)
            else:
                found.append((checkpoint, where))
        self.waiting = sorted(found, key=lambda each: each[0].size)
        for (one, here), (other, there) in zip(self.waiting, self.waiting[1:], strict=False):
            if one.size == other.size and one.root != other.root:
                self.contradiction = (f"{here} and {there} differ, and both are signed.", one.size)
        self.fits: list[int] = []
        self.misfits: list[tuple[int, str]] = []

    def meet(self, frontier: Frontier) -> None:
        while self.waiting and self.waiting[0][0].size == frontier.size:
            checkpoint, where = self.waiting.pop(0)
            if checkpoint.root == frontier.root:
                self.fits.append(checkpoint.size)
            else:
                self.misfits.append((checkpoint.size, where))

    @property
    def sealed(self) -> int:
        """Events under the last checkpoint before the first that does not fit."""
        return max((size for size in self.fits if not self.misfits or size < self.misfits[0][0]), default=0)


async def check(
    pool: Any, trusted: Sequence[PublicKey] | None = None, folder: CheckpointFolder | None = None
) -> Finding:
    """Reads the whole log once. ``trusted``: the log's public keys; without them, those kept in ``folder`` (or nobody's:
    checkpoints are then not looked at). Events appended meanwhile are left to the next check."""
    keys = list(trusted) if trusted is not None else folder.keys() if folder is not None else []
    row = await pool.fetchrow("SELECT log_id FROM log.log_head")
    log = row[0].hex if row is not None else ""
    checkpoints = _Checkpoints([each async for each in _notes(pool, folder)] if keys else [], keys, log)
    kept = {
        (r[0], r[1]): r[2] for r in await pool.fetch("SELECT level, number, hash FROM log.subtree WHERE level >= 16")
    }
    frontier, damaged = Frontier(), list[int]()
    lower = _Kept(pool)

    async def each(position: int, leaf: bytes) -> None:
        for level, number, found in frontier.add(leaf):
            if level >= KEPT and not damaged:
                there = kept.get((level, number)) if level >= 16 else await lower.hash(level, number)
                if there is not None and there != found:
                    damaged.append((number << level) + 1)
        checkpoints.meet(frontier)

    links = await verify_links(pool, each)

    def finding(problem: Problem | None, position: int | None, message: str, upto: int | None = None) -> Finding:
        told = (position, upto, problem, message)
        return Finding(links.log_id, links.checked, links.link, checkpoints.sealed, len(checkpoints.fits), *told)

    if checkpoints.waiting and links.problem in (None, "head"):
        size, where = checkpoints.waiting[0][0].size, checkpoints.waiting[0][1]
        return finding(
            "cut_off", links.checked + 1, f"The log ends at {links.checked}, but {where} is of {size} events."
        )
    if links.problem is not None:
        return finding(links.problem, links.position, links.message)
    if checkpoints.contradiction is not None:
        text, size = checkpoints.contradiction
        return finding("checkpoints", _after(checkpoints, size), text, size)
    if checkpoints.misfits:
        size, where = checkpoints.misfits[0]
        later = [each for each in checkpoints.fits if each >= size]
        start = _after(checkpoints, size)
        if later:
            text = f"The events are those of the checkpoint of {later[0]} events, but not those of {where}, signed too."
            return finding("checkpoints", start, text, size)
        text = f"The events are not those that were signed in {where}: one of the events {start} to {size} was changed."
        return finding("checkpoint", start, text + " All links after it were computed anew.", size)
    if checkpoints.unknown is not None:
        return finding("key", checkpoints.sealed + 1, checkpoints.unknown)
    if damaged:
        return finding(
            "tree",
            damaged[0],
            "Kept hashes of the tree are not those of the events. Run `cloudward audit seal --rebuild`.",
        )
    told = (
        f"Every event is as it was appended. {len(checkpoints.fits)} checkpoints fit, the last of {checkpoints.sealed}."
    )
    return finding(None, None, told if keys else "Every event is as it was appended. No checkpoint was looked at.")


def _after(checkpoints: _Checkpoints, size: int) -> int:
    return max((each for each in checkpoints.fits if each < size), default=0) + 1


async def _notes(pool: Any, folder: CheckpointFolder | None) -> Any:
    """(where, note, root as kept) of every checkpoint, in the database and outside."""
    for row in await pool.fetch("SELECT size, note, root FROM log.checkpoint ORDER BY size"):
        yield f"the checkpoint of {row['size']} events in the database", row["note"], row["root"]
    if folder is not None:
        for size, note in folder.notes():
            yield f"the checkpoint of {size} events outside the database", note, None


class _Kept:
    """Kept subtrees of the lower levels, read a stretch at a time as the check goes over them."""

    _STRETCH = 1 << 16  # leaves

    def __init__(self, pool: Any) -> None:
        self._pool, self._stretch = pool, -1
        self._hashes: dict[tuple[int, int], bytes] = {}

    async def hash(self, level: int, number: int) -> bytes | None:
        stretch = (number << level) // self._STRETCH
        if stretch != self._stretch:
            start, self._stretch = stretch * self._STRETCH, stretch
            rows = await self._pool.fetch(
                "SELECT level, number, hash FROM log.subtree s WHERE level BETWEEN $1 AND 15"
                " AND number BETWEEN $2::bigint >> level AND ($3::bigint - 1) >> level",
                KEPT,
                start,
                start + self._STRETCH,
            )
            self._hashes = {(row[0], row[1]): row[2] for row in rows}
        return self._hashes.get((level, number))


def noted(finding: Finding) -> Iterator[tuple[str, Any]]:
    """A finding as a JSON document's fields."""
    yield "ok", finding.ok
    for name in ("log_id", "checked", "sealed", "checkpoints", "position", "upto", "problem", "message"):
        yield name, getattr(finding, name)
    yield "link", finding.link.hex()
