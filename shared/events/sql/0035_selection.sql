-- The keys that spaces get on the site where a plan gives them another one. Keys are texts: events name the spaces only.
CREATE TABLE people.plan_key (plan text NOT NULL, space text NOT NULL, key text NOT NULL, PRIMARY KEY (plan, space));
GRANT SELECT ON people.plan_key TO cw_planner, cw_analyzer, cw_executor, cw_dashboard;
GRANT INSERT ON people.plan_key TO cw_planner;

-- What a plan says about a space beside "all of it", for people to read.
ALTER TABLE read.plan ADD COLUMN key_conflicts text NOT NULL DEFAULT 'fail', ADD COLUMN addresses text NOT NULL DEFAULT 'source',
  ADD COLUMN copy_of text;
ALTER TABLE read.plan_space ADD COLUMN what text NOT NULL DEFAULT 'all', ADD COLUMN roots text[] NOT NULL DEFAULT '{}',
  ADD COLUMN new_key boolean NOT NULL DEFAULT false;

-- What of a space a task moves: who comes after it must know.
ALTER TABLE work.task ADD COLUMN what text NOT NULL DEFAULT 'all';
