-- The log: every event there is, in one order, append-only. And meta: which migrations made this schema.
CREATE SCHEMA meta;
CREATE TABLE meta.migration (
  file text PRIMARY KEY, sha256 bytea NOT NULL, release text NOT NULL, applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
-- The oldest release that may still work on this schema. A later migration that drops what an old release needs raises it.
CREATE TABLE meta.schema (one boolean PRIMARY KEY DEFAULT true CHECK (one), oldest_release text NOT NULL);
INSERT INTO meta.schema (oldest_release) VALUES ('0.1.0');

CREATE SCHEMA log;

-- One row: the end of the log. Whoever appends locks it first, so positions have no holes and their order is the order of
-- commit: a reader's cursor is one number and cannot skip an event. (A sequence gives numbers out before the commit; a reader
-- then passes by a number whose transaction is still open, and never sees that event.) fillfactor: every update of the row
-- stays on its page.
CREATE TABLE log.log_head (
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  log_id uuid NOT NULL, position bigint NOT NULL, recorded_at timestamptz NOT NULL, link bytea NOT NULL
) WITH (fillfactor = 10);
INSERT INTO log.log_head (log_id, position, recorded_at, link)
SELECT i, 0, 'epoch', sha256(convert_to('cloudward log ' || replace(i::text, '-', ''), 'UTF8')) FROM gen_random_uuid() i;

-- The checks keep the record unambiguous: its first line has single spaces between its words and ends at the first LF.
CREATE TABLE log.events (
  position bigint PRIMARY KEY,
  event_id uuid NOT NULL UNIQUE,
  stream text COLLATE "C" NOT NULL CHECK (stream ~ '^[a-z]+-[0-9a-f]{32}$'),
  version int NOT NULL CHECK (version >= 0),
  type text COLLATE "C" NOT NULL CHECK (type ~ '^[A-Z][A-Za-z]*$'),
  body bytea NOT NULL,
  recorded_at timestamptz NOT NULL,
  link bytea NOT NULL,
  UNIQUE (stream, version)
) WITH (
  -- Rows never change, so a vacuum has only to freeze them, once, soon after they came.
  autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_freeze_min_age = 0, autovacuum_analyze_scale_factor = 0.05,
  toast.autovacuum_vacuum_insert_scale_factor = 0.05, toast.autovacuum_freeze_min_age = 0
);

-- Which role appends to which category of streams (the part of a stream's name before the first '-').
CREATE TABLE log.writer (role name NOT NULL, category text COLLATE "C" NOT NULL, PRIMARY KEY (role, category));
INSERT INTO log.writer (role, category) VALUES
  ('cw_planner', 'plan'), ('cw_planner', 'task'), ('cw_planner', 'target'), ('cw_planner', 'site'), ('cw_planner', 'program'),
  ('cw_analyzer', 'source'), ('cw_analyzer', 'analysis'), ('cw_analyzer', 'chunk'),
  ('cw_executor', 'chunk'),
  ('cw_dashboard', 'access'), ('cw_dashboard', 'audit'),
  ('cw_sealer', 'audit');

CREATE FUNCTION log.refuse_change() RETURNS trigger LANGUAGE plpgsql SET search_path = log, pg_temp AS $$
BEGIN
  RAISE EXCEPTION 'the log is append-only: % of log.% is refused', TG_OP, TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END $$;
-- ALWAYS: also where session_replication_role would silence ordinary triggers.
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON log.events FOR EACH ROW EXECUTE FUNCTION log.refuse_change();
CREATE TRIGGER append_only_truncate BEFORE TRUNCATE ON log.events FOR EACH STATEMENT EXECUTE FUNCTION log.refuse_change();
CREATE TRIGGER one_head BEFORE DELETE ON log.log_head FOR EACH ROW EXECUTE FUNCTION log.refuse_change();
CREATE TRIGGER one_head_truncate BEFORE TRUNCATE ON log.log_head FOR EACH STATEMENT EXECUTE FUNCTION log.refuse_change();
ALTER TABLE log.events ENABLE ALWAYS TRIGGER append_only;
ALTER TABLE log.events ENABLE ALWAYS TRIGGER append_only_truncate;
ALTER TABLE log.log_head ENABLE ALWAYS TRIGGER one_head;
ALTER TABLE log.log_head ENABLE ALWAYS TRIGGER one_head_truncate;

-- Appends many commands at once. Command k is (streams[k], expected[k]) with the next counts[k] of the events (ids, types,
-- bodies); guard g belongs to command guarded[g]. Commands are judged in order and each sees those before it: two commands on
-- one stream in one call behave exactly as if they had come in two calls. One row per command, in order:
--   appended   at and actual: position and version of its last event
--   duplicate  all its event ids are recorded, in that order, in that stream: position and version of the last one
--   conflict   the stream, or one of its guards, is at another version: the actual version of the first that is off
--   mismatch   its first event id is recorded elsewhere, or with others: the caller has reused an id (a bug; never retry)
-- A reused later id breaks the unique index and with it the whole call; the client then sends its commands one by one.
-- A guard (stream, version) is a condition on a stream that the command does not write: "the plan is still as I read it".
-- Expected version -1: the stream has no event yet. The first event of a stream has version 0.
CREATE FUNCTION log.append_v1(
  streams text[], expected int[], counts int[], ids uuid[], types text[], bodies bytea[],
  guarded int[], guard_streams text[], guard_versions int[]
) RETURNS TABLE (outcome text, at bigint, actual int)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = log, pg_temp AS $$
DECLARE
  h log_head;
  first int; last int := 0;  -- the command's events
  heads jsonb := '{}';       -- version of every stream that this call has written
  start bigint; current int; e record; g record; us bigint; moment timestamptz; refused text;
BEGIN
  SELECT u.s INTO refused FROM unnest(streams) u(s)
    WHERE NOT EXISTS (SELECT FROM writer w WHERE w.role = session_user AND w.category = split_part(u.s, '-', 1)) LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION 'role % may not append to streams of category %', session_user, split_part(refused, '-', 1)
      USING ERRCODE = 'insufficient_privilege';
  END IF;
  SELECT * INTO STRICT h FROM log_head FOR UPDATE;
  start := h.position;
  moment := greatest(clock_timestamp(), h.recorded_at);  -- never before the event in front of it, whatever the clock does
  us := (extract(epoch FROM moment) * 1000000)::bigint;
  <<commands>> FOR k IN 1 .. coalesce(cardinality(streams), 0) LOOP
    first := last + 1; last := last + counts[k];
    SELECT ev.position, ev.version, ev.stream INTO e FROM events ev WHERE ev.event_id = ids[first];
    IF FOUND THEN
      outcome := CASE WHEN e.stream = streams[k] AND (last = first OR ids[first:last] = ARRAY(
          SELECT ev.event_id FROM events ev WHERE ev.stream = streams[k]
            AND ev.version BETWEEN e.version AND e.version + last - first ORDER BY ev.version))
        THEN 'duplicate' ELSE 'mismatch' END;
      at := e.position + last - first; actual := e.version + last - first; RETURN NEXT; CONTINUE commands;
    END IF;
    IF heads ? streams[k] THEN current := (heads ->> streams[k])::int;
    ELSE SELECT coalesce(max(ev.version), -1) INTO current FROM events ev WHERE ev.stream = streams[k]; END IF;
    IF current <> expected[k] THEN
      outcome := 'conflict'; at := NULL; actual := current; RETURN NEXT; CONTINUE commands;
    END IF;
    FOR g IN SELECT u.s, u.v FROM unnest(guarded, guard_streams, guard_versions) u(c, s, v) WHERE u.c = k LOOP
      SELECT coalesce(max(ev.version), -1) INTO actual FROM events ev WHERE ev.stream = g.s;
      IF actual <> g.v THEN outcome := 'conflict'; at := NULL; RETURN NEXT; CONTINUE commands; END IF;
    END LOOP;
    FOR m IN first .. last LOOP
      h.position := h.position + 1; current := current + 1;
      h.link := sha256('\x02'::bytea || h.link || sha256('\x00'::bytea || convert_to(format(E'cw1 %s %s %s %s %s %s\n',
        h.position, us, encode(uuid_send(ids[m]), 'hex'), streams[k], current, types[m]), 'UTF8') || bodies[m]));
      INSERT INTO events VALUES (h.position, ids[m], streams[k], current, types[m], bodies[m], moment, h.link);
    END LOOP;
    heads := jsonb_set(heads, ARRAY[streams[k]], to_jsonb(current));
    outcome := 'appended'; at := h.position; actual := current; RETURN NEXT;
  END LOOP;
  IF h.position > start THEN
    UPDATE log_head SET position = h.position, recorded_at = moment, link = h.link;
    PERFORM pg_notify('log', h.position::text);  -- a hint for waiting readers; they poll besides
  END IF;
END $$;

-- Functions are executable by everyone unless said otherwise; here nothing is, now or later.
ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA log FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA log, meta FROM PUBLIC;
REVOKE ALL ON SCHEMA log, meta FROM PUBLIC;
GRANT USAGE ON SCHEMA log, meta TO cw_planner, cw_analyzer, cw_executor, cw_dashboard, cw_sealer;
GRANT SELECT ON log.events, log.log_head, meta.migration, meta.schema TO cw_planner, cw_analyzer, cw_executor, cw_dashboard, cw_sealer;
GRANT EXECUTE ON FUNCTION log.append_v1 TO cw_planner, cw_analyzer, cw_executor, cw_dashboard, cw_sealer;
