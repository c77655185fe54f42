-- A dry run writes nothing to the site. What it would have made stands here until it has ended, so that later steps of the same
-- run find it as they would on the site. Texts: they stand outside the log, and leave with the dry run.
CREATE SEQUENCE people.dry_id START 9000000000000001;
CREATE TABLE people.dry_object (
  ledger text NOT NULL, kind text NOT NULL, id text NOT NULL,  -- an id of the site: its state in the dry run differs from the site's
  space text, holder text,        -- holder: the page above, or what a comment or file hangs on
  position double precision,      -- among its siblings
  slot text,                      -- what no other may be called: kind, place and title
  state jsonb NOT NULL, body text,
  PRIMARY KEY (ledger, kind, id), UNIQUE (ledger, slot)
);
CREATE INDEX ON people.dry_object (ledger, kind, holder);
CREATE INDEX ON people.dry_object (ledger, kind, space);
GRANT SELECT, INSERT, UPDATE, DELETE ON people.dry_object TO cw_executor;
GRANT USAGE ON SEQUENCE people.dry_id TO cw_executor;
GRANT SELECT, DELETE ON people.dry_object TO cw_planner;
-- Who has which account on the site is known to a dry run from its start, and forgotten at its end.
GRANT SELECT, INSERT, DELETE ON people.account, people.site_group TO cw_planner;

-- Under which id a plan keeps what is where on the site: the site's own, or the dry run's.
ALTER TABLE work.plan ADD COLUMN ledger text NOT NULL DEFAULT '';
UPDATE work.plan SET ledger = site;
ALTER TABLE read.plan ADD COLUMN dry_run boolean NOT NULL DEFAULT false;
