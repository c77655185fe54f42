"""What a following plan takes of what the source holds now.

The whole listing stands under the negative epoch. Its rows that the plan takes are copied under the epoch itself, which is the
task's inventory: the same pipeline goes over it as over any other.
"""

from services.executor.following import Listed, earlier_of, takes
from services.executor.job import Job
from shared.events.catalog.work import Kind

_BATCH = 1000
_COLUMNS = "kind, id, version, parent, container, depth, position, size, has_file, dangling, homepage, along, resolved"
_TAKE = (
    f"INSERT INTO work.inventory (task, epoch, ordinal, {_COLUMNS}) SELECT task, -epoch, ordinal, {_COLUMNS}"
    " FROM work.inventory l WHERE l.task = $1 AND l.epoch = -$2::int"
)

# Every page and blog post of which something is taken is gone over by verification, which goes by bodies.
_BODIES = f"""
{_TAKE} AND l.kind = 'body' AND l.id IN (
  SELECT coalesce(above.container, t.container, t.id) FROM work.inventory t
  LEFT JOIN work.inventory above ON above.task = $1 AND above.epoch = -$2::int AND above.kind = 'attachment'
    AND above.id = t.container AND t.kind = 'comment'
  WHERE t.task = $1 AND t.epoch = $2 AND t.kind NOT IN ('space', 'permission', 'order', 'link')
) ON CONFLICT DO NOTHING
"""

_SIBLINGS = """
SELECT parent, string_agg(id, ',' ORDER BY position NULLS LAST, ordinal) AS ids FROM work.inventory
WHERE task = {task} AND epoch = {epoch} AND kind = 'page' AND NOT homepage GROUP BY parent
"""
# Pages come below a parent, or stand in another order than when they were last listed.
_ORDERS = f"""
WITH now AS ({_SIBLINGS.format(task="$1", epoch="-$2::int")}), was AS ({_SIBLINGS.format(task="$3", epoch="$4::int")})
{_TAKE} AND l.kind = 'order' AND (
  EXISTS (SELECT FROM work.inventory t WHERE t.task = $1 AND t.epoch = $2 AND t.kind = 'page' AND NOT t.homepage
          AND t.parent IS NOT DISTINCT FROM l.parent)
  OR ($5 AND EXISTS (SELECT FROM now LEFT JOIN was ON was.parent IS NOT DISTINCT FROM now.parent
                     WHERE now.parent IS NOT DISTINCT FROM l.parent AND now.ids IS DISTINCT FROM was.ids))
) ON CONFLICT DO NOTHING
"""
# Ids of permissions may be their ordinals: where there are more or fewer than before, all are looked at again.
_PERMISSIONS = f"""
{_TAKE} AND l.kind = 'permission'
AND (SELECT count(*) FROM work.inventory n WHERE n.task = $1 AND n.epoch = -$2::int AND n.kind = 'permission')
 <> (SELECT count(*) FROM work.inventory b WHERE b.task = $3 AND b.epoch = $4 AND b.kind = 'permission')
ON CONFLICT DO NOTHING
"""
# What moved and is on the site, and that the source does not list any more; and pages that are not restricted any more.
_GONE = """
INSERT INTO work.inventory (task, epoch, ordinal, kind, id, version, parent, container, depth, gone)
SELECT $1, $2, $3 + row_number() OVER (ORDER BY g.kind, g.id), g.kind, g.id, g.version, g.parent, g.container, g.depth, true
FROM (
  SELECT DISTINCT ON (i.kind, i.id) i.kind, i.id, i.version, i.parent, i.container, i.depth
  FROM work.outcome o JOIN work.task t ON t.task = o.task
  JOIN work.inventory i ON i.task = o.task AND i.epoch = t.inventory_epoch AND i.kind = o.kind AND i.id = o.id
  WHERE o.task = ANY($4) AND o.outcome = 'migrated' AND NOT i.gone
    AND NOT EXISTS (SELECT FROM work.inventory l WHERE l.task = $1 AND l.epoch = -$2::int AND l.kind = o.kind AND l.id = o.id)
    AND ((o.kind IN ('page', 'blogpost', 'attachment', 'comment')
          AND EXISTS (SELECT FROM work.id_map m WHERE m.site = $5 AND m.source = $6 AND m.kind = o.kind AND m.id = o.id))
      OR (o.kind = 'restriction' AND EXISTS (
          SELECT FROM work.inventory l WHERE l.task = $1 AND l.epoch = -$2::int AND l.kind = i.parent AND l.id = o.id)))
  ORDER BY i.kind, i.id, o.position DESC
) g
"""
# What moved into a space that nobody has seen, and is not at the source any more, whoever might see it there.
_UNSEEN = """
INSERT INTO work.inventory (task, epoch, ordinal, kind, id, parent, gone)
SELECT $1, $2, (SELECT max(ordinal) FROM work.inventory WHERE task = $1) + row_number() OVER (ORDER BY g.kind, g.id),
       'restriction', g.id, g.kind, true
FROM (
  SELECT DISTINCT o.kind, o.id FROM work.outcome o
  JOIN work.id_map m ON m.site = $4 AND m.source = $5 AND m.kind = o.kind AND m.id = o.id
  WHERE o.task = ANY($3) AND o.outcome = 'migrated' AND o.kind IN ('page', 'blogpost')
    AND NOT EXISTS (SELECT FROM work.inventory l WHERE l.task = $1 AND l.epoch = -$2::int AND l.kind = o.kind AND l.id = o.id)
) g ON CONFLICT DO NOTHING
"""


async def choose(job: Job, listed: int) -> None:
    """``listed``: how many rows the listing has."""
    task, epoch = job.claim.work.task, job.claim.epoch
    assert job.saved.follow is not None
    after = -1
    while True:
        rows = await job.pool.fetch(
            "SELECT ordinal, kind, id, version, parent, container, resolved FROM work.inventory WHERE task = $1 AND epoch = -$2::int"
            " AND ordinal > $3 ORDER BY ordinal LIMIT $4",
            task,
            epoch,
            after,
            _BATCH,
        )
        if not rows:
            break
        named = [(Kind(row["kind"]), row["id"]) for row in rows]
        earlier = await earlier_of(job.pool, job.chain, job.site_id, job.source_id, named)
        taken = [
            row["ordinal"]
            for row, (kind, id) in zip(rows, named, strict=True)
            if takes(
                job.saved.follow,
                kind,
                Listed(row["version"], row["parent"], row["container"], row["resolved"]),
                earlier[kind, id],
                unfinished=job.chain.unfinished,
            )
        ]
        await job.pool.execute(f"{_TAKE} AND l.ordinal = ANY($3) ON CONFLICT DO NOTHING", task, epoch, taken)
        after = rows[-1]["ordinal"]
        job.claim.progress["done"] = after
    if job.space_id is None:
        return
    before, delta = job.chain.listing, job.saved.follow == "delta"
    base = (before.task, before.listing) if before is not None else ("", 0)
    await job.pool.execute(_ORDERS, task, epoch, *base, delta)
    if delta and before is not None:
        await job.pool.execute(_PERMISSIONS, task, epoch, *base)
        await job.pool.execute(_GONE, task, epoch, listed, job.chain.tasks, job.site_id, job.source_id)
    if job.chain.unfinished:
        await job.pool.execute(_UNSEEN, task, epoch, job.chain.tasks, job.site_id, job.source_id)
    await job.pool.execute(_BODIES, task, epoch)
