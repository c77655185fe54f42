-- Signed checkpoints of the log's Merkle tree, and the tree's complete subtrees from 256 leaves on. The sealer writes both.
-- A checkpoint's worth is in its signature and in its copy outside this database; the row here is for whoever reads the log.
CREATE TABLE log.checkpoint (
  size bigint PRIMARY KEY CHECK (size > 0),
  root bytea NOT NULL CHECK (octet_length(root) = 32),
  frontier bytea NOT NULL,           -- the roots of the tree's complete subtrees, largest first: from here the tree grows
  note text NOT NULL,                -- C2SP tlog-checkpoint with its signatures
  signed_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON log.checkpoint FOR EACH ROW EXECUTE FUNCTION log.refuse_change();
CREATE TRIGGER append_only_truncate BEFORE TRUNCATE ON log.checkpoint FOR EACH STATEMENT EXECUTE FUNCTION log.refuse_change();
ALTER TABLE log.checkpoint ENABLE ALWAYS TRIGGER append_only;
ALTER TABLE log.checkpoint ENABLE ALWAYS TRIGGER append_only_truncate;

-- Saves reading the log when a proof is made; a function of log.events, so it may be thrown away and made anew.
CREATE TABLE log.subtree (
  level smallint NOT NULL, number bigint NOT NULL, hash bytea NOT NULL CHECK (octet_length(hash) = 32),
  PRIMARY KEY (level, number)
);

GRANT SELECT ON log.checkpoint, log.subtree TO cw_dashboard, cw_sealer;
GRANT INSERT ON log.checkpoint TO cw_sealer;
GRANT INSERT, UPDATE, DELETE ON log.subtree TO cw_sealer;
