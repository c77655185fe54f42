-- What on a site stands for which entity, from the moment it is made or adopted: outcomes come only with the end of a chunk,
-- and until then another chunk, or a later entity of the same one, would take what looks the same for its own.
CREATE TABLE work.taken (
  site text NOT NULL, target text NOT NULL, source text NOT NULL, kind text NOT NULL, id text NOT NULL, task text NOT NULL,
  PRIMARY KEY (site, target)
);
CREATE INDEX ON work.taken (task);
GRANT SELECT, INSERT, UPDATE, DELETE ON work.taken TO cw_executor;
GRANT SELECT, DELETE ON work.taken TO cw_planner;
