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
-- (Not by regular expressions: those cost more than all the rest of an insert.)
CREATE TABLE log.events (
  position bigint PRIMARY KEY,
  event_id uuid NOT NULL UNIQUE,
  stream text COLLATE "C" NOT NULL CHECK (strpos(stream, ' ') = 0 AND strpos(stream, E'\n') = 0),
  version int NOT NULL CHECK (version >= 0),
  type text COLLATE "C" NOT NULL CHECK (strpos(type, ' ') = 0 AND strpos(type, E'\n') = 0),
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
  refused text; before bigint; after bigint; first int; last int := 0;
BEGIN
  SELECT u.s INTO refused FROM unnest(streams) u(s)
    WHERE NOT EXISTS (SELECT FROM writer w WHERE w.role = session_user AND w.category = split_part(u.s, '-', 1)) LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION 'role % may not append to streams of category %', session_user, split_part(refused, '-', 1)
      USING ERRCODE = 'insufficient_privilege';
  END IF;
  -- From here to the commit nobody else appends; every later statement sees all that was appended before.
  SELECT position INTO STRICT before FROM log_head FOR UPDATE;
  IF (SELECT count(DISTINCT u.s) = cardinality(streams) FROM unnest(streams) u(s))
    AND (SELECT count(DISTINCT u.i) = cardinality(ids) FROM unnest(ids) u(i)) AND NOT streams && guard_streams
  THEN
    RETURN QUERY SELECT * FROM append_independent(
      streams, expected, counts, ids, types, bodies, guarded, guard_streams, guard_versions);
  ELSE
    FOR k IN 1 .. cardinality(streams) LOOP
      first := last + 1; last := last + counts[k];
      RETURN QUERY SELECT * FROM append_independent(
        streams[k:k], expected[k:k], counts[k:k], ids[first:last], types[first:last], bodies[first:last],
        ARRAY(SELECT 1 FROM unnest(guarded) u(c) WHERE u.c = k),
        ARRAY(SELECT u.s FROM unnest(guarded, guard_streams) WITH ORDINALITY u(c, s, o) WHERE u.c = k ORDER BY u.o),
        ARRAY(SELECT u.v FROM unnest(guarded, guard_versions) WITH ORDINALITY u(c, v, o) WHERE u.c = k ORDER BY u.o));
    END LOOP;
  END IF;
  SELECT position INTO STRICT after FROM log_head;
  IF after > before THEN
    PERFORM pg_notify('log', after::text);  -- a hint for waiting readers; they poll besides
  END IF;
END $$;

-- The work of append_v1 for commands that do not touch each other: no stream, id or guard of one is a stream or id of another.
-- So all can be judged by the log as it is, and written at once. The caller holds the lock.
-- The settings: a plan made while the table was small or not yet analyzed must not scan it for ever after.
CREATE FUNCTION log.append_independent(
  streams text[], expected int[], counts int[], ids uuid[], types text[], bodies bytea[],
  guarded int[], guard_streams text[], guard_versions int[]
) RETURNS TABLE (outcome text, at bigint, actual int)
LANGUAGE plpgsql SET search_path = log, pg_temp
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off AS $$
DECLARE
  h log_head; c record; e record;
  first int; last int := 0;                -- the command's events
  accepted int[] := '{}';                  -- for each event: the version it gets, or -1 if its command is not accepted
  owners int[] := '{}';                    -- for each event: its command
  off int[]; off_actual int[];             -- commands with a guard that is off, and its stream's actual version
  leaves bytea[]; leaf bytea; links bytea[] := '{}';
  moment timestamptz; micros bigint; start bigint;
BEGIN
  SELECT * INTO STRICT h FROM log_head;
  start := h.position;
  IF cardinality(guarded) > 0 THEN
    SELECT array_agg(g.c ORDER BY g.o), array_agg(g.actual ORDER BY g.o) INTO off, off_actual FROM (
      SELECT u.c, u.v, u.o, coalesce((SELECT max(ev.version) FROM events ev WHERE ev.stream = u.s), -1) AS actual
      FROM unnest(guarded, guard_streams, guard_versions) WITH ORDINALITY u(c, s, v, o)) g WHERE g.actual <> g.v;
  END IF;
  FOR c IN
    SELECT u.k, u.stream, u.expected, u.events, u.first,
      coalesce((SELECT max(ev.version) FROM events ev WHERE ev.stream = u.stream), -1) AS current,
      (SELECT ev.position FROM events ev WHERE ev.event_id = ids[u.first]) AS recorded
    FROM (SELECT t.k::int, t.stream, t.expected, t.events, (1 + sum(t.events) OVER (ORDER BY t.k) - t.events)::int AS first
          FROM unnest(streams, expected, counts) WITH ORDINALITY t(stream, expected, events, k)) u ORDER BY u.k
  LOOP
    first := c.first; last := c.first + c.events - 1;
    owners := owners || array_fill(c.k, ARRAY[c.events]);
    IF c.recorded IS NULL AND c.current = c.expected AND array_position(off, c.k) IS NULL THEN
      FOR v IN c.current + 1 .. c.current + c.events LOOP accepted := accepted || v; END LOOP;
      h.position := h.position + c.events;
      outcome := 'appended'; at := h.position; actual := c.current + c.events; RETURN NEXT;
      CONTINUE;
    END IF;
    accepted := accepted || array_fill(-1, ARRAY[c.events]);
    IF c.recorded IS NOT NULL THEN
      SELECT ev.stream, ev.version INTO STRICT e FROM events ev WHERE ev.position = c.recorded;
      outcome := CASE WHEN e.stream = c.stream AND (last = first OR ids[first:last] = ARRAY(
          SELECT ev.event_id FROM events ev WHERE ev.stream = c.stream
            AND ev.version BETWEEN e.version AND e.version + last - first ORDER BY ev.version))
        THEN 'duplicate' ELSE 'mismatch' END;
      at := c.recorded + last - first; actual := e.version + last - first;
    ELSE
      outcome := 'conflict'; at := NULL;
      actual := CASE WHEN c.current <> c.expected THEN c.current ELSE off_actual[array_position(off, c.k)] END;
    END IF;
    RETURN NEXT;
  END LOOP;
  IF h.position = start THEN RETURN; END IF;

  moment := greatest(clock_timestamp(), h.recorded_at);  -- never before the event in front of it, whatever the clock does
  micros := (extract(epoch FROM moment) * 1000000)::bigint;
  SELECT array_agg(sha256('\x00'::bytea || convert_to(format(E'cw1 %s %s %s %s %s %s\n',
      start + r.n, micros, encode(uuid_send(r.id), 'hex'), r.stream, r.version, r.type), 'UTF8') || r.body) ORDER BY r.n)
    INTO leaves FROM (
      SELECT row_number() OVER (ORDER BY u.o) AS n, u.id, streams[u.k] AS stream, u.version, u.type, u.body
      FROM unnest(owners, accepted, ids, types, bodies) WITH ORDINALITY u(k, version, id, type, body, o)
      WHERE u.version >= 0) r;
  FOREACH leaf IN ARRAY leaves LOOP
    h.link := sha256('\x02'::bytea || h.link || leaf);
    links := links || h.link;
  END LOOP;
  INSERT INTO events (position, event_id, stream, version, type, body, recorded_at, link)
    SELECT start + r.n, r.id, r.stream, r.version, r.type, r.body, moment, links[r.n] FROM (
      SELECT row_number() OVER (ORDER BY u.o) AS n, u.id, streams[u.k] AS stream, u.version, u.type, u.body
      FROM unnest(owners, accepted, ids, types, bodies) WITH ORDINALITY u(k, version, id, type, body, o)
      WHERE u.version >= 0) r;
  UPDATE log_head SET position = h.position, recorded_at = moment, link = h.link;
END $$;

-- Functions are executable by everyone unless said otherwise; here nothing is, now or later.
ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA log FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA log, meta FROM PUBLIC;
REVOKE ALL ON SCHEMA log, meta FROM PUBLIC;
GRANT USAGE ON SCHEMA log, meta TO cw_planner, cw_analyzer, cw_executor, cw_dashboard, cw_sealer;
GRANT SELECT ON log.events, log.log_head, meta.migration, meta.schema TO cw_planner, cw_analyzer, cw_executor, cw_dashboard, cw_sealer;
GRANT EXECUTE ON FUNCTION log.append_v1 TO cw_planner, cw_analyzer, cw_executor, cw_dashboard, cw_sealer;
