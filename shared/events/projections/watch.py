"""Whether readers of the log move, by their checkpoints: true whichever replica runs them, or none does."""

from dataclasses import dataclass

from shared.events.projections.base import Pool, identifier
from shared.ops import metrics

# A reader that has not moved for so long, though there is more, stands still. Seconds.
STANDS = 6.0


@dataclass(frozen=True, slots=True)
class Seen:
    """``still``: seconds for which it has not moved though there is more."""

    position: int
    head: int
    still: float

    @property
    def stands(self) -> bool:
        return self.still > STANDS


class Watch:
    """Of one reader: the row ``name`` of ``<schema>.checkpoint``."""

    def __init__(self, pool: Pool, schema: str, name: str) -> None:
        self._pool, self._name, self._standing = pool, name, metrics.Standing()
        self._query = (
            "SELECT h.position AS head, coalesce(c.position, 0) AS position FROM log.log_head h"
            f" LEFT JOIN {identifier(schema)}.checkpoint c ON c.name = $1"
        )

    async def look(self) -> Seen:
        """Also tells the metrics."""
        [row] = await self._pool.fetch(self._query, self._name, timeout=2)
        position, head = int(row["position"]), int(row["head"])
        seen = Seen(position, head, self._standing.seen(position, head))
        if self._name == "relay":
            metrics.RELAY_POSITION.set(position)
            metrics.RELAY_LAG.set(seen.still)
        else:
            metrics.PROJECTION_POSITION.labels(self._name).set(position)
            metrics.PROJECTION_LAG_EVENTS.labels(self._name).set(head - position)
            metrics.PROJECTION_LAG.labels(self._name).set(seen.still)
        return seen
