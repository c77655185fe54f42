-- Appending with fewer and cheaper statements. Signature, answers and records stay those of 0001_log.sql.

-- What append_v1 answers to one command by the log as it is; `appended`: nothing stands against it. The guards are those of
-- the command, in order. The caller holds the lock.
CREATE FUNCTION log.judge(
  stream text, expected int, ids uuid[], guard_streams text[], guard_versions int[],
  OUT outcome text, OUT at bigint, OUT actual int
) LANGUAGE plpgsql AS $$
DECLARE
  e log.events; g record; more int := cardinality(ids) - 1;
BEGIN
  SELECT * INTO e FROM events ev WHERE ev.event_id = ids[1];
  IF FOUND THEN
    outcome := CASE WHEN e.stream = judge.stream AND (more = 0 OR ids = ARRAY(
        SELECT ev.event_id FROM events ev WHERE ev.stream = e.stream
          AND ev.version BETWEEN e.version AND e.version + more ORDER BY ev.version))
      THEN 'duplicate' ELSE 'mismatch' END;
    at := e.position + more; actual := e.version + more;
    RETURN;
  END IF;
  FOR g IN
    SELECT u.s, u.v FROM unnest(judge.stream || guard_streams, expected || guard_versions) WITH ORDINALITY u(s, v, o)
      ORDER BY u.o
  LOOP
    actual := coalesce((SELECT ev.version FROM events ev WHERE ev.stream = g.s ORDER BY ev.version DESC LIMIT 1), -1);
    IF actual <> g.v THEN outcome := 'conflict'; RETURN; END IF;
  END LOOP;
  outcome := 'appended';
END $$;

-- Writes events behind the end of the log and moves the end. The caller holds the lock and has judged their commands.
CREATE FUNCTION log.write(
  h log.log_head, ids uuid[], streams text[], versions int[], types text[], bodies bytea[]
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  moment timestamptz := greatest(clock_timestamp(), h.recorded_at);  -- never before the event in front of it, whatever the clock does
  micros text := ' ' || (extract(epoch FROM moment) * 1000000)::bigint || ' ';
  start bigint := h.position; n int := cardinality(ids);
  link bytea := h.link; links bytea[] := '{}';
BEGIN
  FOR i IN 1 .. n LOOP
    link := sha256('\x02'::bytea || link || sha256('\x00'::bytea || convert_to('cw1 ' || start + i || micros
      || encode(uuid_send(ids[i]), 'hex') || ' ' || streams[i] || ' ' || versions[i] || ' ' || types[i] || E'\n', 'UTF8') || bodies[i]));
    links := links || link;
  END LOOP;
  INSERT INTO events (position, event_id, stream, version, type, body, recorded_at, link)
    SELECT start + u.o, u.id, u.s, u.v, u.t, u.b, moment, u.l
    FROM unnest(ids, streams, versions, types, bodies, links) WITH ORDINALITY u(id, s, v, t, b, l, o);
  UPDATE log_head SET position = start + n, recorded_at = moment, link = links[n];
END $$;

-- The settings: a plan made while the table was small or not yet analyzed must not scan it for ever after. They hold in the
-- two functions above as well, which nobody else may call.
CREATE OR REPLACE FUNCTION log.append_v1(
  streams text[], expected int[], counts int[], ids uuid[], types text[], bodies bytea[],
  guarded int[], guard_streams text[], guard_versions int[]
) RETURNS TABLE (outcome text, at bigint, actual int)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = log, pg_temp
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off AS $$
DECLARE
  refused text; h log.log_head; start bigint; n int := cardinality(streams);
  apart boolean;  -- the commands do not touch each other: no stream, id or guard of one is a stream or id of another
  off int[];      -- then: the commands to look at closely, because something stands against them
  first int; last int := 0;  -- a command's events
  to_ids uuid[] := '{}'; to_streams text[] := '{}'; to_versions int[] := '{}'; to_types text[] := '{}'; to_bodies bytea[] := '{}';
BEGIN
  SELECT u.s INTO refused FROM unnest(streams) u(s)
    WHERE split_part(u.s, '-', 1) <> ALL (ARRAY(SELECT w.category FROM writer w WHERE w.role = session_user)) LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION 'role % may not append to streams of category %', session_user, split_part(refused, '-', 1)
      USING ERRCODE = 'insufficient_privilege';
  END IF;
  -- From here to the commit nobody else appends; every later statement sees all that was appended before.
  SELECT * INTO STRICT h FROM log_head FOR UPDATE;
  start := h.position;
  SELECT NOT streams && guard_streams AND n = (SELECT count(DISTINCT u.s) FROM unnest(streams) u(s))
    AND cardinality(ids) = (SELECT count(DISTINCT u.i) FROM unnest(ids) u(i)) INTO apart;
  IF apart THEN
    -- All can be judged by the log as it is, and written at once.
    off := ARRAY(
      SELECT u.k FROM unnest(streams, expected, counts) WITH ORDINALITY u(s, x, c, k)
      WHERE u.x <> coalesce((SELECT ev.version FROM events ev WHERE ev.stream = u.s ORDER BY ev.version DESC LIMIT 1), -1));
    IF cardinality(guarded) > 0 THEN
      off := off || ARRAY(
        SELECT u.k FROM unnest(guarded, guard_streams, guard_versions) u(k, s, v)
        WHERE u.v <> coalesce((SELECT ev.version FROM events ev WHERE ev.stream = u.s ORDER BY ev.version DESC LIMIT 1), -1));
    END IF;
    IF EXISTS (SELECT FROM events ev WHERE ev.event_id = ANY (ids)) THEN
      off := off || ARRAY(
        SELECT u.k FROM (SELECT k::int, 1 + sum(t.c) OVER (ORDER BY t.k) - t.c AS first FROM unnest(counts) WITH ORDINALITY t(c, k)) u
        WHERE EXISTS (SELECT FROM events ev WHERE ev.event_id = ids[u.first]));
    END IF;
    IF cardinality(off) = 0 AND counts = array_fill(1, ARRAY[n]) THEN  -- the usual case
      to_versions := ARRAY(SELECT u.x + 1 FROM unnest(expected) WITH ORDINALITY u(x, k) ORDER BY u.k);
      PERFORM write(h, ids, streams, to_versions, types, bodies);
      PERFORM pg_notify('log', (start + n)::text);
      RETURN QUERY SELECT 'appended', start + u.k, u.v FROM unnest(to_versions) WITH ORDINALITY u(v, k);
      RETURN;
    END IF;
  END IF;
  FOR k IN 1 .. n LOOP
    first := last + 1; last := last + counts[k];
    IF apart AND k <> ALL (off) THEN
      outcome := 'appended';
    ELSE
      SELECT * INTO outcome, at, actual FROM judge(streams[k], expected[k], ids[first:last],
        ARRAY(SELECT u.s FROM unnest(guarded, guard_streams) WITH ORDINALITY u(c, s, o) WHERE u.c = k ORDER BY u.o),
        ARRAY(SELECT u.v FROM unnest(guarded, guard_versions) WITH ORDINALITY u(c, v, o) WHERE u.c = k ORDER BY u.o));
    END IF;
    IF outcome = 'appended' THEN
      to_ids := to_ids || ids[first:last]; to_types := to_types || types[first:last]; to_bodies := to_bodies || bodies[first:last];
      to_streams := to_streams || array_fill(streams[k], ARRAY[counts[k]]);
      to_versions := to_versions || ARRAY(SELECT generate_series(expected[k] + 1, expected[k] + counts[k]));
      at := h.position + cardinality(to_ids); actual := expected[k] + counts[k];
      IF NOT apart THEN
        -- The next command is to see it.
        PERFORM write(h, to_ids, to_streams, to_versions, to_types, to_bodies);
        SELECT * INTO STRICT h FROM log_head;
        to_ids := '{}'; to_streams := '{}'; to_versions := '{}'; to_types := '{}'; to_bodies := '{}';
      END IF;
    END IF;
    RETURN NEXT;
  END LOOP;
  IF cardinality(to_ids) > 0 THEN
    PERFORM write(h, to_ids, to_streams, to_versions, to_types, to_bodies);
  END IF;
  IF h.position + cardinality(to_ids) > start THEN
    PERFORM pg_notify('log', (h.position + cardinality(to_ids))::text);  -- a hint for waiting readers; they poll besides
  END IF;
END $$;

DROP FUNCTION log.append_independent;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA log FROM PUBLIC;
