-- A command on its way to the service that decides about it, and that service's answer. NATS carries ids only, so whoever listens
-- there reads no name. The asker takes the row away with the answer; what nobody came back for is deleted after an hour.
CREATE TABLE people.letter (
  id text PRIMARY KEY, command text NOT NULL, reply text, recorded_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX ON people.letter (recorded_at);
GRANT SELECT, INSERT, DELETE ON people.letter TO cw_dashboard;
GRANT SELECT, UPDATE (reply) ON people.letter TO cw_planner, cw_analyzer;
