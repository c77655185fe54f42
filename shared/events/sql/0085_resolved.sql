-- Whether a comment on a piece of text was closed when it was listed: its version does not tell, and a plan that follows compares.
ALTER TABLE work.inventory ADD COLUMN resolved boolean NOT NULL DEFAULT false;
