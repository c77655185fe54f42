-- What a space holds besides and no plan moves, by kind, as its analysis counted it.
ALTER TABLE read.analysis_space ADD COLUMN left_behind jsonb;
-- Whether any file got another name is asked for every chunk of bodies.
CREATE INDEX ON work.outcome (kind) WHERE reason = 'title_clash';
