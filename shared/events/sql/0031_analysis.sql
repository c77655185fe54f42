-- The listing of a source's spaces that an analysis is cut by: rows of the epoch that the event AnalysisPlanned names.
CREATE TABLE work.analysis_listing (
  analysis text NOT NULL, epoch int NOT NULL, ordinal bigint NOT NULL, space text NOT NULL, type text NOT NULL,
  status text NOT NULL, homepage text, PRIMARY KEY (analysis, epoch, ordinal)
);
GRANT SELECT ON work.analysis_listing TO cw_planner, cw_analyzer, cw_executor, cw_dashboard;
GRANT INSERT ON work.analysis_listing TO cw_analyzer;

-- What an analysis points out, row by row. Titles are texts, so they are here and not in the log; who a row names can be erased.
CREATE TABLE people.finding (
  analysis text NOT NULL, space text NOT NULL, guardrail text NOT NULL, content text NOT NULL, title text,
  number bigint,                      -- bytes, children, depth, holders: what the guardrail counts
  PRIMARY KEY (analysis, space, guardrail, content)
);
CREATE TABLE people.macro_use (
  analysis text NOT NULL, space text NOT NULL, macro text NOT NULL, content text NOT NULL, title text, uses int NOT NULL,
  PRIMARY KEY (analysis, space, macro, content)
);
CREATE INDEX ON people.macro_use (analysis, macro);
-- Who holds a page restriction, by the source's id of the person: those who have left are found by joining people.person.
CREATE TABLE people.restriction_holder (
  analysis text NOT NULL, space text NOT NULL, content text NOT NULL, person text NOT NULL, title text,
  PRIMARY KEY (analysis, space, content, person)
);
CREATE TABLE people.membership (
  source_group text NOT NULL, person text NOT NULL, analysis text NOT NULL, PRIMARY KEY (source_group, person)
);
CREATE INDEX ON people.membership (person);
ALTER TABLE people.person ADD COLUMN directory text;
ALTER TABLE people.source_group ADD COLUMN directory text;

GRANT SELECT ON people.finding, people.macro_use, people.restriction_holder, people.membership TO cw_planner, cw_dashboard, cw_executor, cw_analyzer;
GRANT INSERT, UPDATE, DELETE ON people.finding, people.macro_use, people.restriction_holder, people.membership TO cw_analyzer;
GRANT SELECT (key, source, directory) ON people.source_group TO cw_planner;
GRANT SELECT (directory, id) ON people.person TO cw_planner;

ALTER TABLE read.analysis ADD COLUMN memberships bigint, ADD COLUMN macros bigint, ADD COLUMN users_listed bigint,
  ADD COLUMN spaces_listed bigint, ADD COLUMN chunks_planned bigint NOT NULL DEFAULT 0, ADD COLUMN chunks_done bigint NOT NULL DEFAULT 0;
ALTER TABLE read.analysis_space ADD COLUMN homepage text, ADD COLUMN last_edit bigint, ADD COLUMN body_bytes bigint,
  ADD COLUMN macros bigint, ADD COLUMN restricted bigint;
CREATE TABLE read.analysis_guardrail (
  analysis text NOT NULL, space text NOT NULL, guardrail text NOT NULL, count bigint NOT NULL,
  PRIMARY KEY (analysis, space, guardrail)
);
GRANT SELECT, INSERT, UPDATE, DELETE ON read.analysis_guardrail TO cw_dashboard;

-- The address came by CSV, because the source does not tell any: a new analysis keeps it.
ALTER TABLE people.person ADD COLUMN supplied boolean NOT NULL DEFAULT false;
