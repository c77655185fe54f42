-- What a plan's page shows must not cost more for a plan of ten thousand spaces: sums are kept as events come, not counted when read.
CREATE INDEX ON read.chunk (task) WHERE state = 'claimed';
CREATE TABLE read.plan_kind (
  plan text NOT NULL, kind text NOT NULL, selected bigint NOT NULL DEFAULT 0, migrated bigint NOT NULL DEFAULT 0,
  skipped bigint NOT NULL DEFAULT 0, failed bigint NOT NULL DEFAULT 0, PRIMARY KEY (plan, kind)
);
INSERT INTO read.plan_kind SELECT t.plan, k.kind, sum(k.selected), sum(k.migrated), sum(k.skipped), sum(k.failed)
  FROM read.task t JOIN read.task_kind k USING (task) GROUP BY t.plan, k.kind;
-- Over all kinds; selected: null before the inventory is taken.
ALTER TABLE read.task ADD COLUMN selected bigint, ADD COLUMN done bigint NOT NULL DEFAULT 0;
UPDATE read.task t SET selected = k.selected, done = k.done FROM (
  SELECT task, sum(selected) AS selected, sum(migrated + skipped + failed) AS done FROM read.task_kind GROUP BY task) k
  WHERE k.task = t.task;
-- What moved when, by the minute: for the rate and what is left of it. micros: how long the chunks took that it came in.
ALTER TABLE read.chunk ADD COLUMN claimed_at timestamptz;
CREATE TABLE read.pace (
  plan text NOT NULL, minute timestamptz NOT NULL, kind text NOT NULL, done bigint NOT NULL, micros bigint NOT NULL,
  PRIMARY KEY (plan, minute, kind)
);
GRANT SELECT, INSERT, UPDATE, DELETE ON read.plan_kind, read.pace TO cw_dashboard;

-- How much of a plan each part of it is, by its analysis. part: id of a space, or users, or groups.
CREATE TABLE read.weight (
  analysis text NOT NULL, part text NOT NULL, pages bigint NOT NULL, entities bigint NOT NULL, PRIMARY KEY (analysis, part)
);
INSERT INTO read.weight SELECT analysis, space, pages, pages + blogposts + comments + attachments FROM read.analysis_space;
INSERT INTO read.weight SELECT analysis, 'users', 0, users FROM read.analysis WHERE users IS NOT NULL;
INSERT INTO read.weight SELECT analysis, 'groups', 0, groups FROM read.analysis WHERE groups IS NOT NULL;
-- weight: of everything, and of the tasks that have ended; waiting: what no inventory has counted yet.
ALTER TABLE read.plan ADD COLUMN weight bigint NOT NULL DEFAULT 0, ADD COLUMN weight_done bigint NOT NULL DEFAULT 0,
  ADD COLUMN waiting_spaces bigint NOT NULL DEFAULT 0, ADD COLUMN waiting_pages bigint NOT NULL DEFAULT 0,
  ADD COLUMN waiting_entities bigint NOT NULL DEFAULT 0;
ALTER TABLE read.task ADD COLUMN weight bigint NOT NULL DEFAULT 0;
UPDATE read.task t SET weight = coalesce(w.entities, 0) + (t.space IS NOT NULL)::int FROM read.plan p LEFT JOIN read.weight w ON true
  WHERE p.plan = t.plan AND w.analysis = p.analysis AND w.part = coalesce(t.space, t.kind);
UPDATE read.plan p SET (weight, waiting_spaces, waiting_pages, waiting_entities) = (
    SELECT coalesce(sum(1 + coalesce(w.entities, 0)), 0), count(*) FILTER (WHERE t.selected IS NULL),
           coalesce(sum(w.pages) FILTER (WHERE t.selected IS NULL), 0), coalesce(sum(w.entities) FILTER (WHERE t.selected IS NULL), 0)
    FROM read.plan_space s LEFT JOIN read.weight w ON w.analysis = p.analysis AND w.part = s.space
    LEFT JOIN read.task t ON t.plan = s.plan AND t.space = s.space WHERE s.plan = p.plan);
UPDATE read.plan p SET weight = weight + coalesce((SELECT sum(entities) FROM read.weight w WHERE w.analysis = p.analysis
  AND (w.part = 'users' AND p.users = 'all' OR w.part = 'groups' AND p.groups)), 0),
  weight_done = coalesce((SELECT sum(weight) FROM read.task t WHERE t.plan = p.plan AND t.ended_at IS NOT NULL), 0);
CREATE INDEX ON read.task (plan) WHERE ended_at IS NULL;
CREATE INDEX ON read.task (plan, space);
CREATE INDEX ON read.task (plan, state);

-- What did not simply move, by cause: examples are ids, spaces those it is met in, a few of each.
CREATE TABLE read.cause (
  plan text NOT NULL, kind text NOT NULL, outcome text NOT NULL, reason text NOT NULL, count bigint NOT NULL,
  examples text[] NOT NULL, spaces text[] NOT NULL, PRIMARY KEY (plan, kind, outcome, reason)
);
INSERT INTO read.cause SELECT t.plan, r.kind, r.outcome, r.reason, sum(r.n),
    coalesce((array_agg(r.id ORDER BY r.position) FILTER (WHERE r.id IS NOT NULL))[1:3], '{}'),
    coalesce((array_agg(DISTINCT t.space) FILTER (WHERE t.space IS NOT NULL))[1:6], '{}')
  FROM (SELECT task, kind, outcome, reason, 1::bigint AS n, id, position FROM read.reason
        UNION ALL SELECT task, kind, 'skipped', reason, count, NULL, position FROM read.remainder) r
  JOIN read.task t USING (task) GROUP BY 1, 2, 3, 4;
GRANT SELECT, INSERT, UPDATE, DELETE ON read.weight, read.cause TO cw_dashboard;
CREATE INDEX ON read.chunk (task) WHERE attempt > 1;
