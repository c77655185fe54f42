-- Webhooks: where plans' changes of status are told to. Events name a webhook by its id; its name and address are texts and stand here.
INSERT INTO log.writer (role, category) VALUES ('cw_dashboard', 'webhook');

CREATE TABLE people.webhook (
  id text PRIMARY KEY, name text NOT NULL, url text NOT NULL,
  events text[] NOT NULL,            -- what it is told, such as plan.failed
  since bigint NOT NULL,             -- head of the log when it was made: it is told what comes after
  created_at timestamptz NOT NULL DEFAULT now(), removed_at timestamptz
);
CREATE UNIQUE INDEX ON people.webhook (name) WHERE removed_at IS NULL;
-- What deliveries are signed with, sealed with the deployment's key. After a rotation the old one signs too, until it ends.
CREATE TABLE vault.webhook_secret (
  id text PRIMARY KEY, webhook text NOT NULL, nonce bytea NOT NULL, ciphertext bytea NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(), ends_at timestamptz
);
CREATE INDEX ON vault.webhook_secret (webhook);

CREATE SCHEMA hook;
-- Up to where the log is turned into deliveries.
CREATE TABLE hook.cursor (one boolean PRIMARY KEY DEFAULT true CHECK (one), position bigint NOT NULL);
INSERT INTO hook.cursor (position) SELECT coalesce(max(position), 0) FROM log.log_head;
-- One event for one webhook. What is sent is made anew from the log for each attempt; nothing of it is kept here.
CREATE TABLE hook.delivery (
  id text PRIMARY KEY, webhook text NOT NULL, event text NOT NULL, position bigint,  -- position: none for a test
  plan text, state text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'delivered', 'failed')),
  attempts int NOT NULL DEFAULT 0, round int NOT NULL DEFAULT 0,  -- round: attempts since it was last sent again by hand
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(), due_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  ended_at timestamptz
);
CREATE INDEX ON hook.delivery (due_at) WHERE state = 'waiting';
CREATE INDEX ON hook.delivery (webhook, created_at, id);
CREATE TABLE hook.attempt (
  delivery text NOT NULL REFERENCES hook.delivery ON DELETE CASCADE, attempt int NOT NULL,
  at timestamptz NOT NULL DEFAULT clock_timestamp(), status int, problem text, ms int NOT NULL, PRIMARY KEY (delivery, attempt)
);

GRANT USAGE ON SCHEMA hook TO cw_dashboard, cw_owner;
GRANT SELECT, INSERT, UPDATE ON people.webhook TO cw_dashboard;
GRANT SELECT, INSERT, UPDATE, DELETE ON vault.webhook_secret, hook.cursor, hook.delivery, hook.attempt TO cw_dashboard;
