-- Strays that a chunk of verification is about to remove, written down before each is: an attempt that dies, or loses an answer,
-- leaves to the next what has to stand in the chunk's end. Gone once that is recorded.
CREATE TABLE work.stray (chunk text NOT NULL, id text NOT NULL, PRIMARY KEY (chunk, id));
GRANT SELECT, INSERT, DELETE ON work.stray TO cw_executor;
