"""A database restored from a backup is behind the world: sites have what its log does not know of any more.

So whoever brings a backup back says so in the log, before any service starts. From then on every chunk of a plan that began
before it counts as a later attempt: the executor looks on the site before it makes anything.
"""

from typing import Any

from shared.events.types import derived_id

# One stream for the whole log, known without asking, so that a claim pays one look into an index.
STREAM = f"audit-{derived_id('0' * 32, 'restored')}"


async def restored_since_start(pool: Any, plan: str) -> bool:
    """Whether the database was restored after the plan was first saved."""
    return bool(
        await pool.fetchval(
            "SELECT EXISTS (SELECT FROM log.events r, log.events p"
            " WHERE r.stream = $1 AND p.stream = $2 AND p.version = 0 AND r.position > p.position)",
            STREAM,
            f"plan-{plan}",
        )
    )
