-- Who may call the dashboard. Secrets (tokens, links, session cookies) are kept as SHA-256 only: they are random with 256 bits,
-- so a slow hash would protect nothing more. Which person or token a key stands for is in people.actor.
CREATE TABLE vault.token (
  id text PRIMARY KEY, name text NOT NULL, digest bytea NOT NULL UNIQUE, role text NOT NULL,
  created_by text NOT NULL, created_at timestamptz NOT NULL DEFAULT now(), expires_at timestamptz,
  revoked_at timestamptz, used_at timestamptz          -- used_at: to the minute
);
CREATE UNIQUE INDEX ON vault.token (name) WHERE revoked_at IS NULL;
-- A link that logs in once, for deployments without an identity provider.
CREATE TABLE vault.sign_in_link (
  id text PRIMARY KEY, digest bytea NOT NULL UNIQUE, role text NOT NULL, expires_at timestamptz NOT NULL, used_at timestamptz
);
-- A login under way at the identity provider: state, nonce and the PKCE verifier, until the answer comes.
CREATE TABLE vault.sign_in (
  digest bytea PRIMARY KEY, nonce text NOT NULL, verifier text NOT NULL, back text NOT NULL, expires_at timestamptz NOT NULL
);
CREATE TABLE vault.session (
  digest bytea PRIMARY KEY, actor text NOT NULL, role text NOT NULL, authentication text NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(), used_at timestamptz NOT NULL DEFAULT now(), expires_at timestamptz NOT NULL
);
CREATE INDEX ON vault.session (actor);
-- Which person of ours an identity provider's subject is.
CREATE TABLE people.identity (issuer text NOT NULL, subject text NOT NULL, actor text NOT NULL, PRIMARY KEY (issuer, subject));

GRANT SELECT, INSERT, UPDATE, DELETE ON vault.token, vault.sign_in_link, vault.sign_in, vault.session TO cw_dashboard;
GRANT SELECT, INSERT ON people.identity TO cw_dashboard;
GRANT UPDATE (name) ON people.actor TO cw_dashboard;
