-- Decisions about addresses, domains and maps. Their texts are here; the log has counts only.
ALTER TABLE people.person DROP COLUMN supplied;
ALTER TABLE people.person DROP CONSTRAINT person_repair_check;
ALTER TABLE people.person ADD CONSTRAINT person_repair_check CHECK (repair IN ('merged', 'generated', 'former', 'corrected'));

-- A file on its way to the service that reads it; deleted when it is read, or refused.
CREATE TABLE people.upload (id text PRIMARY KEY, text text NOT NULL, recorded_at timestamptz NOT NULL DEFAULT clock_timestamp());
CREATE TABLE people.domain (source text NOT NULL, domain text NOT NULL, trusted boolean NOT NULL, PRIMARY KEY (source, domain));

-- What a service may ask without seeing addresses: the domains of a source's people that nobody has marked as trusted, with
-- how many people have an address there. Addresses that Cloudward generated, and people who get no account, do not count.
CREATE FUNCTION people.untrusted_domains_v1(of_source text) RETURNS TABLE (domain text, people bigint, reviewed boolean)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = '' AS $$
  SELECT a.domain, count(*), bool_or(d.domain IS NOT NULL) FROM (
    SELECT lower(split_part(coalesce(p.repaired_email, p.email), '@', 2)) AS domain FROM people.person p
    WHERE p.source = of_source AND p.repair IS DISTINCT FROM 'former' AND p.repair IS DISTINCT FROM 'generated'
      AND (p.repair IS NOT NULL OR p.address IN ('usable', 'duplicate'))
  ) a LEFT JOIN people.domain d ON d.source = of_source AND d.domain = a.domain
  WHERE d.trusted IS NOT TRUE GROUP BY a.domain ORDER BY 2 DESC, 1
$$;
REVOKE ALL ON FUNCTION people.untrusted_domains_v1(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION people.untrusted_domains_v1(text) TO cw_planner, cw_analyzer, cw_dashboard;

GRANT INSERT, SELECT (id) ON people.upload TO cw_dashboard;
GRANT SELECT, DELETE ON people.upload TO cw_analyzer;
GRANT SELECT, INSERT, UPDATE ON people.domain TO cw_analyzer;
GRANT SELECT ON people.domain TO cw_dashboard;
ALTER TABLE read.source ADD COLUMN corrected bigint;
