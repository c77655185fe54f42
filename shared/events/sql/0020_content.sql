-- Which bodies on a site link to content of the source that is not there yet: a later plan that moves it mends them. A projection,
-- as work.outcome is. Ids only.
CREATE TABLE work.open_link (
  site text NOT NULL, source text NOT NULL, target text NOT NULL,  -- target: the source's id of what is linked to
  kind text NOT NULL, id text NOT NULL, task text NOT NULL,        -- the body that links: of a page, blog post or comment
  PRIMARY KEY (site, source, target, kind, id)
);
CREATE INDEX ON work.open_link (site, source, kind, id);
GRANT SELECT ON work.open_link TO cw_planner, cw_analyzer, cw_executor, cw_dashboard;
GRANT INSERT, UPDATE, DELETE ON work.open_link TO cw_planner;

-- References of bodies: those that were rewritten, and those that were not resolved, with what they name and why.
CREATE TABLE read.reference (
  task text NOT NULL, kind text NOT NULL, id text NOT NULL, names text NOT NULL, why text NOT NULL, count bigint NOT NULL,
  position bigint NOT NULL, PRIMARY KEY (task, kind, id, names, why, position)
);
-- What verification found otherwise than it was sent, and what it removed because it stood for nothing ("stray").
CREATE TABLE read.difference (
  task text NOT NULL, kind text NOT NULL, id text NOT NULL, what text NOT NULL, position bigint NOT NULL,
  PRIMARY KEY (task, kind, id, what, position)
);
-- What a space holds at the source and no plan moves: so many of a kind.
CREATE TABLE read.left_behind (
  task text NOT NULL, kind text NOT NULL, count bigint NOT NULL, position bigint NOT NULL, PRIMARY KEY (task, kind)
);
GRANT SELECT, INSERT, UPDATE, DELETE ON read.reference, read.difference, read.left_behind TO cw_dashboard;
