-- Names, addresses and the address book of sources and sites: everything about people and texts that events must not hold.
-- Rows here can be erased; the log speaks of them by random keys only. Backed up together with the log.
CREATE SCHEMA people;

CREATE TABLE people.source (
  id text PRIMARY KEY, name text NOT NULL UNIQUE, kind text NOT NULL CHECK (kind IN ('rest', 'xml', 'csv')),
  location text NOT NULL,            -- base URL, or the path of the export
  secret text,                       -- vault.secret
  export text,                       -- name of the folder in the export store, once the export is taken in
  info jsonb                         -- product, version, build, base_url, as the source told
);
CREATE TABLE people.site (id text PRIMARY KEY, name text NOT NULL UNIQUE, url text NOT NULL, secret text);
CREATE TABLE people.plan (id text PRIMARY KEY, name text NOT NULL UNIQUE);
-- Texts about something that went wrong, for people: events hold codes only. id: of the analysis or plan.
CREATE TABLE people.message (id text PRIMARY KEY, text text NOT NULL);
CREATE TABLE people.actor (key text PRIMARY KEY, kind text NOT NULL, name text NOT NULL);

CREATE TABLE people.space (
  source text NOT NULL, space text NOT NULL, key text NOT NULL, name text NOT NULL, PRIMARY KEY (source, space)
);
CREATE UNIQUE INDEX ON people.space (source, lower(key));

CREATE TABLE people.person (
  key text PRIMARY KEY, source text NOT NULL, id text NOT NULL,   -- id: the source's own
  username text, display_name text, email text, active boolean,
  address text NOT NULL CHECK (address IN ('usable', 'invalid', 'duplicate', 'unknown')),
  repair text CHECK (repair IN ('merged', 'generated', 'former')), -- what was decided about an unusable address
  repaired_email text,
  UNIQUE (source, id)
);
CREATE INDEX ON people.person (source, lower(email));

CREATE TABLE people.source_group (key text PRIMARY KEY, source text NOT NULL, name text NOT NULL, UNIQUE (source, name));

-- Which account of a site a person has, and which group of a site a group became. Account ids are personal data.
CREATE TABLE people.account (site text NOT NULL, person text NOT NULL, account_id text NOT NULL, PRIMARY KEY (site, person));
CREATE TABLE people.site_group (site text NOT NULL, source_group text NOT NULL, group_id text NOT NULL, PRIMARY KEY (site, source_group));

-- The random name of "this space key on this site", for the stream of its reservation.
CREATE TABLE people.target (id text PRIMARY KEY, site text NOT NULL, lower_key text NOT NULL, UNIQUE (site, lower_key));

CREATE SCHEMA vault;
-- A credential: encrypted with the deployment's key, or a reference (env:NAME, file:/path) that services resolve themselves.
CREATE TABLE vault.secret (
  id text PRIMARY KEY, version int NOT NULL DEFAULT 0, reference text, nonce bytea, ciphertext bytea,
  CHECK ((reference IS NULL) <> (ciphertext IS NULL))
);

GRANT USAGE ON SCHEMA people TO cw_planner, cw_analyzer, cw_executor, cw_dashboard;
GRANT USAGE ON SCHEMA vault TO cw_analyzer, cw_executor, cw_dashboard;
GRANT SELECT ON people.source, people.site, people.plan, people.space, people.target TO cw_planner, cw_analyzer, cw_executor, cw_dashboard;
GRANT SELECT ON people.message TO cw_planner, cw_analyzer, cw_executor, cw_dashboard;
GRANT INSERT, UPDATE ON people.message TO cw_planner, cw_analyzer;
GRANT SELECT, INSERT ON people.actor TO cw_dashboard;
GRANT INSERT, UPDATE ON people.source, people.space TO cw_analyzer;
GRANT INSERT, UPDATE ON people.site, people.plan, people.target TO cw_planner;
GRANT SELECT, INSERT, UPDATE ON people.person, people.source_group TO cw_analyzer, cw_executor;
GRANT SELECT, INSERT, UPDATE ON people.account, people.site_group TO cw_executor;
GRANT SELECT (key, source, address, repair, active) ON people.person TO cw_planner;
GRANT SELECT ON people.person, people.source_group, people.account, people.site_group TO cw_dashboard;
GRANT SELECT ON vault.secret TO cw_analyzer, cw_executor;
GRANT INSERT ON vault.secret TO cw_dashboard;
