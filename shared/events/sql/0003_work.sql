-- The planner's and executors' tables. chunk, task, plan, outcome and id_map are projections of the log, written by the
-- process manager in one transaction with its checkpoint. inventory is truth beside the log (a source cannot be asked for the
-- past). lease, offer and throttle are economy: losing them delays work, nothing else.
CREATE SCHEMA work;

CREATE TABLE work.checkpoint (name text PRIMARY KEY, position bigint NOT NULL);

CREATE TABLE work.plan (
  plan text PRIMARY KEY, source text NOT NULL, site text NOT NULL, version int NOT NULL,
  status text NOT NULL, consent text, stop_requested boolean NOT NULL DEFAULT false, paused boolean NOT NULL DEFAULT false,
  stuck bigint,                                   -- the position that made the manager give up on this plan
  digest text NOT NULL, spaces int NOT NULL       -- how many spaces were chosen
);
CREATE TABLE work.analysis (analysis text PRIMARY KEY, source text NOT NULL, state text NOT NULL, position bigint NOT NULL);
CREATE TABLE work.site (site text PRIMARY KEY, sandbox boolean NOT NULL);
-- Events that could not be applied; their plan is stuck until a release that can is told to try again.
CREATE TABLE work.poison (position bigint PRIMARY KEY, plan text, code text NOT NULL);
CREATE TABLE work.task (
  task text PRIMARY KEY, plan text NOT NULL, kind text NOT NULL, space text, target text, marker text,
  version int NOT NULL, state text NOT NULL,      -- running, failing, ended
  failing text,                                   -- the reason, where it is failing
  inventory_epoch int, started_at timestamptz NOT NULL,
  phase text, depth int NOT NULL DEFAULT 0,       -- the last one planned
  slices int NOT NULL DEFAULT 0, planned boolean NOT NULL DEFAULT true, last_ordinal bigint NOT NULL DEFAULT -1,
  ending jsonb                                    -- of an ended task: its last event's type and data
);
CREATE INDEX ON work.task (plan);
CREATE TABLE work.chunk (
  chunk text PRIMARY KEY, task text NOT NULL, plan text, phase text NOT NULL, depth int NOT NULL,
  first_ordinal bigint NOT NULL, last_ordinal bigint NOT NULL, entities int NOT NULL, planned_at bigint NOT NULL,
  state text NOT NULL,                            -- planned, claimed, ended
  epoch int NOT NULL DEFAULT 0, attempt int NOT NULL DEFAULT 0, version int NOT NULL DEFAULT -1, fatal text,
  changed_at timestamptz                          -- of the last claim or release: an offer before it is used up
);
CREATE INDEX ON work.chunk (task, phase, depth);
CREATE INDEX ON work.chunk (plan) WHERE state <> 'ended';
CREATE TABLE work.outcome (
  position bigint NOT NULL, task text NOT NULL, chunk text NOT NULL, kind text NOT NULL, id text NOT NULL,
  outcome text NOT NULL, reason text, target text, target_version int, digest text, pending boolean NOT NULL DEFAULT false,
  PRIMARY KEY (position, kind, id)
);
CREATE INDEX ON work.outcome (task, kind, id);
CREATE INDEX ON work.outcome (chunk);
CREATE TABLE work.id_map (
  site text NOT NULL, source text NOT NULL, kind text NOT NULL, id text NOT NULL, target text NOT NULL, task text NOT NULL,
  PRIMARY KEY (site, source, kind, id)
);
CREATE INDEX ON work.id_map (site, target);

CREATE TABLE work.inventory (
  task text NOT NULL, epoch int NOT NULL, ordinal bigint NOT NULL, kind text NOT NULL, id text NOT NULL,
  version int NOT NULL DEFAULT 0, parent text, container text, depth int NOT NULL DEFAULT 0, position int, size bigint,
  has_file boolean NOT NULL DEFAULT true, dangling boolean NOT NULL DEFAULT false, homepage boolean NOT NULL DEFAULT false,
  along boolean NOT NULL DEFAULT false,           -- a person who comes along with content, not by choice
  PRIMARY KEY (task, epoch, ordinal), UNIQUE (task, epoch, kind, id)
);
CREATE INDEX ON work.inventory (task, epoch, kind, depth, ordinal);

CREATE TABLE work.lease (
  chunk text NOT NULL, epoch int NOT NULL, worker text NOT NULL, expires_at timestamptz NOT NULL, progress jsonb,
  PRIMARY KEY (chunk, epoch)
);
CREATE TABLE work.offer (chunk text PRIMARY KEY, offers int NOT NULL, offered_at timestamptz NOT NULL);
CREATE TABLE work.throttle (site text PRIMARY KEY, until timestamptz NOT NULL);

GRANT USAGE ON SCHEMA work TO cw_planner, cw_analyzer, cw_executor, cw_dashboard;
GRANT SELECT ON ALL TABLES IN SCHEMA work TO cw_planner, cw_analyzer, cw_executor, cw_dashboard;
GRANT INSERT, UPDATE, DELETE ON work.checkpoint, work.plan, work.analysis, work.site, work.poison, work.task, work.chunk, work.outcome, work.id_map, work.offer TO cw_planner;
GRANT INSERT ON work.inventory TO cw_executor;
GRANT INSERT, UPDATE, DELETE ON work.lease TO cw_executor, cw_analyzer;
GRANT INSERT, UPDATE ON work.throttle TO cw_executor;
GRANT DELETE ON work.lease TO cw_planner;
