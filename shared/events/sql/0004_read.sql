-- What people see: projections of the log, written by the dashboard and rebuilt by the owner. Nothing here is a truth of its
-- own, and nothing here is a name or an address: those are joined from people.* when a page is read, so that erasing a person
-- there erases them everywhere. Every table is filled through a schema name given at run time, so that a rebuild can fill
-- tables of the same shape beside these.
CREATE SCHEMA read;

CREATE TABLE read.checkpoint (name text PRIMARY KEY, position bigint NOT NULL);

-- Projection "connections": sources, sites, analyses.
CREATE TABLE read.source (
  source text PRIMARY KEY, kind text NOT NULL, registered_at timestamptz NOT NULL,
  merged bigint, generated bigint, former bigint, repaired_at timestamptz  -- the last decision about unusable addresses
);
CREATE TABLE read.site (
  site text PRIMARY KEY, credential text NOT NULL, sandbox boolean NOT NULL, registered_at timestamptz NOT NULL
);
CREATE TABLE read.analysis (
  analysis text PRIMARY KEY, source text NOT NULL, chunk text NOT NULL, position bigint NOT NULL,
  state text NOT NULL CHECK (state IN ('running', 'completed', 'failed')), code text, release text,
  started_at timestamptz NOT NULL, ended_at timestamptz,
  users bigint, groups bigint, spaces bigint, pages bigint, blogposts bigint, comments bigint, attachments bigint,
  attachment_bytes bigint, missing_files bigint, addresses_invalid bigint, addresses_duplicate bigint, addresses_unknown bigint
);
CREATE INDEX ON read.analysis (source, position);
CREATE TABLE read.analysis_space (
  analysis text NOT NULL, space text NOT NULL, type text NOT NULL, status text NOT NULL,
  pages bigint NOT NULL, blogposts bigint NOT NULL, comments bigint NOT NULL, attachments bigint NOT NULL,
  attachment_bytes bigint NOT NULL, missing_files bigint NOT NULL, PRIMARY KEY (analysis, space)
);

-- Projection "plans": plans, their tasks, and what became of every entity.
CREATE TABLE read.plan (
  plan text PRIMARY KEY, source text NOT NULL, site text NOT NULL, analysis text NOT NULL, stage text NOT NULL,
  users text NOT NULL, groups boolean NOT NULL, spaces_selected bigint NOT NULL, accepted text[] NOT NULL, predecessor text,
  status text NOT NULL CHECK (status IN ('READY', 'RUNNING', 'STOPPED', 'FINISHED', 'FAILED')),
  stopping boolean NOT NULL DEFAULT false, paused boolean NOT NULL DEFAULT false, archived boolean NOT NULL DEFAULT false,
  stuck bigint, stuck_code text, version int NOT NULL, position bigint NOT NULL,  -- of the plan's last event
  saved_at timestamptz NOT NULL, started_at timestamptz, stop_requested_at timestamptz, ended_at timestamptz,
  consent text, conserved boolean, spaces_migrated bigint NOT NULL DEFAULT 0, spaces_failed bigint NOT NULL DEFAULT 0
);
CREATE INDEX ON read.plan (saved_at);
CREATE TABLE read.plan_space (plan text NOT NULL, space text NOT NULL, PRIMARY KEY (plan, space));
CREATE TABLE read.task (
  task text PRIMARY KEY, plan text NOT NULL, kind text NOT NULL, space text, target text, target_space text,
  state text NOT NULL CHECK (state IN ('running', 'failing', 'done', 'migrated', 'failed', 'stopped')), reason text,
  phase text, depth int, started_at timestamptz NOT NULL, ended_at timestamptz, position bigint NOT NULL
);
CREATE INDEX ON read.task (plan);
CREATE TABLE read.chunk (
  chunk text PRIMARY KEY, task text NOT NULL, phase text NOT NULL, depth int NOT NULL, entities bigint NOT NULL,
  state text NOT NULL CHECK (state IN ('planned', 'claimed', 'ended')), attempt int NOT NULL DEFAULT 0
);
CREATE INDEX ON read.chunk (task, state);
CREATE TABLE read.task_kind (
  task text NOT NULL, kind text NOT NULL, selected bigint NOT NULL DEFAULT 0, migrated bigint NOT NULL DEFAULT 0,
  skipped bigint NOT NULL DEFAULT 0, failed bigint NOT NULL DEFAULT 0, PRIMARY KEY (task, kind)
);
-- One entity with a reason: skipped, failed, or migrated with a defect.
CREATE TABLE read.reason (
  task text NOT NULL, kind text NOT NULL, id text NOT NULL, outcome text NOT NULL, reason text NOT NULL, position bigint NOT NULL,
  PRIMARY KEY (task, kind, id, position)
);
-- Entities of chunks that never began: counted when their task ends. Which they are, the inventory tells.
CREATE TABLE read.remainder (
  task text NOT NULL, kind text NOT NULL, count bigint NOT NULL, reason text NOT NULL, position bigint NOT NULL, PRIMARY KEY (task, kind)
);

GRANT USAGE ON SCHEMA read TO cw_dashboard, cw_owner;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA read TO cw_dashboard;
