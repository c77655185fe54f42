-- Logging in to a site with an Atlassian account. A refresh token is good for one use, and one used twice ends the login: so of
-- all processes one at a time may use it, and what it got is stored before anybody uses that. `refused`: the login is over.
ALTER TABLE vault.secret ADD COLUMN refresh_until timestamptz, ADD COLUMN refused boolean NOT NULL DEFAULT false;

-- The right to refresh a credential of which the caller has seen this version, for so many seconds. `granted`; `busy`: another
-- has it; `stale`: there is a newer version; `refused`: the login is over.
CREATE FUNCTION vault.begin_refresh_v1(secret text, seen_version int, seconds double precision) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = vault, pg_temp AS $$
DECLARE
  s vault.secret;
BEGIN
  SELECT * INTO STRICT s FROM vault.secret v WHERE v.id = begin_refresh_v1.secret FOR UPDATE;
  IF s.version <> seen_version THEN RETURN 'stale'; END IF;
  IF s.refused THEN RETURN 'refused'; END IF;
  IF s.refresh_until > clock_timestamp() THEN RETURN 'busy'; END IF;
  UPDATE vault.secret v SET refresh_until = clock_timestamp() + make_interval(secs => least(seconds, 300)) WHERE v.id = s.id;
  RETURN 'granted';
END $$;

-- Stores what a refresh gave, as the next version, and gives the right back. False: there was a newer version already.
CREATE FUNCTION vault.store_refresh_v1(secret text, seen_version int, nonce bytea, ciphertext bytea) RETURNS boolean
LANGUAGE sql SECURITY DEFINER SET search_path = vault, pg_temp AS $$
  WITH stored AS (
    UPDATE vault.secret v SET nonce = store_refresh_v1.nonce, ciphertext = store_refresh_v1.ciphertext,
      version = v.version + 1, refresh_until = NULL, refused = false
    WHERE v.id = store_refresh_v1.secret AND v.version = seen_version AND v.reference IS NULL RETURNING true)
  SELECT EXISTS (SELECT FROM stored)
$$;

-- Gives the right back with nothing stored. `refused`: the authorization server said that the login is over.
CREATE FUNCTION vault.end_refresh_v1(secret text, seen_version int, refused boolean) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = vault, pg_temp AS $$
  UPDATE vault.secret v SET refresh_until = NULL, refused = end_refresh_v1.refused
  WHERE v.id = end_refresh_v1.secret AND v.version = seen_version
$$;

-- The credentials whose login is over: ids only, for who pauses the plans that need them.
CREATE FUNCTION vault.refused_v1() RETURNS SETOF text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = vault, pg_temp AS $$ SELECT id FROM vault.secret WHERE refused $$;

REVOKE ALL ON FUNCTION vault.begin_refresh_v1, vault.store_refresh_v1, vault.end_refresh_v1, vault.refused_v1 FROM PUBLIC;
GRANT USAGE ON SCHEMA vault TO cw_planner;
GRANT EXECUTE ON FUNCTION vault.begin_refresh_v1, vault.store_refresh_v1, vault.end_refresh_v1 TO cw_analyzer, cw_executor;
GRANT EXECUTE ON FUNCTION vault.refused_v1 TO cw_planner;

-- A login under way or done: who it is and which sites it opens, as Atlassian said. digest: of the state that its answer brings;
-- back: the page that it began on, none for the command line.
CREATE TABLE people.login (
  id text PRIMARY KEY, digest bytea NOT NULL UNIQUE, redirect text NOT NULL, back text,
  state text NOT NULL CHECK (state IN ('asked', 'open', 'denied', 'failed')), created_at timestamptz NOT NULL DEFAULT now(),
  secret text, account_id text, name text, email text,
  sites jsonb NOT NULL DEFAULT '[]'                   -- {cloud_id, url, name, site_admin}
);
GRANT SELECT, INSERT, UPDATE, DELETE ON people.login TO cw_dashboard;
GRANT SELECT ON people.login TO cw_planner;

-- organization: of vault.secret, what the organization's key is; login, cloud_id: of a site that is reached by a login.
ALTER TABLE people.site ADD COLUMN organization text, ADD COLUMN login text, ADD COLUMN cloud_id text;

ALTER TABLE work.site ADD COLUMN expired boolean NOT NULL DEFAULT false;
ALTER TABLE work.plan ADD COLUMN paused_for text;
ALTER TABLE read.site ADD COLUMN expired boolean NOT NULL DEFAULT false, ADD COLUMN replaced_at timestamptz;
ALTER TABLE read.source ADD COLUMN replaced_at timestamptz;
ALTER TABLE read.plan ADD COLUMN paused_for text;
