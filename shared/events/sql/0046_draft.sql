-- A plan that is being put together in the browser. It is nobody's truth: what counts is the event of the plan that is saved from it.
CREATE TABLE people.draft (
  id text PRIMARY KEY, actor text NOT NULL, data jsonb NOT NULL, updated_at timestamptz NOT NULL DEFAULT now()
);
GRANT SELECT, INSERT, UPDATE, DELETE ON people.draft TO cw_dashboard;
