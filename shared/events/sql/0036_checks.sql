-- Whom the live content of a space names, as analyses found it: who comes along with the space.
CREATE TABLE people.related (source text NOT NULL, space text NOT NULL, person text NOT NULL, PRIMARY KEY (source, space, person));
GRANT SELECT, INSERT, DELETE ON people.related TO cw_analyzer;
GRANT SELECT ON people.related TO cw_planner, cw_executor, cw_dashboard;

-- Rounds of checks: what source and site said about a plan. A projection of the log, as the other tables of work.
CREATE TABLE work.checks (
  round text PRIMARY KEY, plan text NOT NULL, source text NOT NULL, site text NOT NULL,
  state text NOT NULL, results jsonb NOT NULL DEFAULT '{}',   -- check to {result, findings}
  position bigint NOT NULL, completed_at timestamptz
);
CREATE INDEX ON work.checks (plan, position);
-- Checks that somebody left out for a plan.
CREATE TABLE work.plan_check (plan text NOT NULL, name text NOT NULL, PRIMARY KEY (plan, name));
GRANT SELECT ON work.checks, work.plan_check TO cw_planner, cw_analyzer, cw_executor, cw_dashboard;
GRANT INSERT, UPDATE, DELETE ON work.checks, work.plan_check TO cw_planner;

-- What the checks of a round found, for people: one row each, its columns by check. Holds names, so it can be erased.
CREATE TABLE people.check_finding (
  round text NOT NULL, name text NOT NULL, ordinal int NOT NULL, found jsonb NOT NULL, PRIMARY KEY (round, name, ordinal)
);
GRANT SELECT ON people.check_finding TO cw_planner, cw_analyzer, cw_dashboard;
GRANT INSERT, DELETE ON people.check_finding TO cw_analyzer;

-- When a plan is to start by itself, and whether consent was given for that.
ALTER TABLE work.plan ADD COLUMN start_at timestamptz, ADD COLUMN start_consent text, ADD COLUMN archived boolean NOT NULL DEFAULT false;
ALTER TABLE read.plan ADD COLUMN start_at timestamptz, ADD COLUMN start_refused text;
