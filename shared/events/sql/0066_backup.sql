-- A server that is read by the backup that it is asked for.
ALTER TABLE people.source DROP CONSTRAINT source_kind_check,
  ADD CONSTRAINT source_kind_check CHECK (kind IN ('rest', 'xml', 'csv', 'backup'));
