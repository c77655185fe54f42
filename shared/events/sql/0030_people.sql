-- What was on the site when a plan first came to a person or group: of a person the row of the table in
-- shared/confluence/access.py, of a group whether it is created or merged. Written before anything is done, so that a second
-- attempt does not take the first one's work for what was there before.
CREATE TABLE people.standing (
  plan text NOT NULL, subject text NOT NULL, rule text NOT NULL, PRIMARY KEY (plan, subject)
);

-- The group of the site through which the plan gives access, where the site has several.
ALTER TABLE people.plan ADD COLUMN access_group text;

-- Maps of a source's groups and users, uploaded whole and never changed; a plan names one by its id.
CREATE TABLE people.map (id text PRIMARY KEY, source text NOT NULL, recorded_at timestamptz NOT NULL DEFAULT clock_timestamp());
CREATE TABLE people.group_map (
  map text NOT NULL, source_group text NOT NULL,
  name text,                          -- on the site; null: the group is dropped
  PRIMARY KEY (map, source_group)
);
CREATE TABLE people.user_map (map text NOT NULL, person text NOT NULL, account_id text NOT NULL, PRIMARY KEY (map, person));

GRANT SELECT ON people.standing, people.map, people.group_map, people.user_map TO cw_executor, cw_dashboard, cw_analyzer, cw_planner;
GRANT INSERT ON people.standing TO cw_executor;
GRANT INSERT ON people.map, people.group_map, people.user_map TO cw_analyzer;

-- A group of the site that a directory outside owns: it is reported, never written to.
ALTER TABLE people.site_group ADD COLUMN synced boolean NOT NULL DEFAULT false;
