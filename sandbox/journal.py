"""The journal: every request with its effect, in the order of the effects, and how often each object was created."""

import time
from collections import Counter, deque
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from itertools import islice

from sandbox.wire import Document, Effect


@dataclass(slots=True)
class Entry:
    """One request. ``status``: what the site decided; ``answered``: what the client was sent, where a fault changed it:
    a status, ``closed`` or ``holding``. ``connection``: the client's port. ``claim``: what the client says it works on, by
    the header ``X-Cloudward-Claim``. Bodies are not kept, only their sizes."""

    sequence: int
    time: float
    method: str
    route: str
    path: str
    query: str
    account: str
    status: int
    answered: int | str
    request_bytes: int
    response_bytes: int
    effects: tuple[Effect, ...]
    connection: int = 0
    claim: str = ""

    def document(self) -> Document:
        return {
            "sequence": self.sequence,
            "time": self.time,
            "method": self.method,
            "route": self.route,
            "path": self.path,
            "query": self.query,
            "account": self.account,
            "status": self.status,
            "answered": self.answered,
            "requestBytes": self.request_bytes,
            "responseBytes": self.response_bytes,
            "connection": self.connection,
            "claim": self.claim,
            "effects": [
                {"verb": effect.verb, "kind": effect.kind, "id": effect.id, "identity": effect.identity}
                for effect in self.effects
            ],
        }


@dataclass(frozen=True, slots=True)
class Wanted:
    """What entries are asked for; None: any. ``route`` and ``identity`` may hold ``*``. ``verb``, ``kind`` and ``identity`` are
    those of one effect: an entry that has such an effect is wanted."""

    method: str | None = None
    route: str | None = None
    account: str | None = None
    status: str | None = None
    claim: str | None = None
    verb: str | None = None
    kind: str | None = None
    identity: str | None = None

    def fits(self, entry: Entry) -> bool:
        return (
            self.method in (None, entry.method)
            and (self.route is None or fnmatchcase(entry.route, self.route.replace("[", "[[]")))
            and self.account in (None, entry.account)
            and self.status in (None, str(entry.status))
            and self.claim in (None, entry.claim)
            and ((self.verb, self.kind, self.identity) == (None, None, None) or any(map(self._had, entry.effects)))
        )

    def _had(self, effect: Effect) -> bool:
        return (
            self.verb in (None, effect.verb)
            and self.kind in (None, effect.kind)
            and (self.identity is None or fnmatchcase(effect.identity, self.identity.replace("[", "[[]")))
        )


FILTERS = tuple(field.name for field in fields(Wanted))
_ALL = Wanted()


class Journal:
    """Keeps the last ``size`` requests; the counts of creations are kept for the life of the site."""

    def __init__(self, size: int = 200_000) -> None:
        self._entries: deque[Entry] = deque(maxlen=size)
        self._sequence = 0
        self.created: Counter[tuple[str, str]] = Counter()

    def record(
        self,
        method: str,
        route: str,
        path: str,
        query: str,
        account: str,
        status: int,
        request_bytes: int,
        response_bytes: int,
        effects: list[Effect],
        connection: int = 0,
        claim: str = "",
    ) -> Entry:
        self._sequence += 1
        for effect in effects:
            if effect.verb == "created":
                self.created[effect.kind, effect.identity] += 1
        entry = Entry(
            self._sequence,
            time.time(),
            method,
            route,
            path,
            query,
            account,
            status,
            status,
            request_bytes,
            response_bytes,
            tuple(effects),
            connection,
            claim,
        )
        self._entries.append(entry)
        return entry

    def after(self, sequence: int, limit: int, wanted: Wanted = _ALL) -> list[Entry]:
        """At most ``limit`` wanted entries behind ``sequence``, oldest first."""
        if not self._entries:
            return []
        start = max(0, sequence - self._entries[0].sequence + 1)
        entries = islice(self._entries, start, None)
        return list(islice((entry for entry in entries if wanted is _ALL or wanted.fits(entry)), limit))

    @property
    def last(self) -> int:
        return self._sequence

    def creations(self, least: int = 1) -> list[Document]:
        """What was created at least ``least`` times, by kind and identity."""
        return [
            {"kind": kind, "identity": identity, "times": times}
            for (kind, identity), times in sorted(self.created.items())
            if times >= least
        ]
