-- What the check of domains asks, and no address is seen: the domains, not marked as trusted, of those for whom a plan would
-- have to find or make an account by their address. Not of people whom a map gives an account, who get none, or whose
-- address is generated. ``everyone``: of the source; else those whom content of the spaces names.
DROP FUNCTION people.untrusted_domains_v1(text);
CREATE FUNCTION people.untrusted_domains_v2(of_source text, everyone boolean, in_spaces text[], of_map text)
RETURNS TABLE (domain text, people bigint, reviewed boolean)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = '' AS $$
  SELECT a.domain, count(*), bool_or(d.domain IS NOT NULL) FROM (
    SELECT lower(split_part(coalesce(p.repaired_email, p.email), '@', 2)) AS domain FROM people.person p
    WHERE p.source = of_source AND coalesce(p.repaired_email, p.email) LIKE '%@%'
      AND (p.repair IN ('corrected', 'merged') OR p.repair IS NULL AND p.address IN ('usable', 'duplicate'))
      AND (everyone OR EXISTS (
        SELECT FROM people.related r WHERE r.source = p.source AND r.person = p.key AND r.space = ANY(in_spaces)))
      AND NOT EXISTS (SELECT FROM people.user_map m WHERE m.map = of_map AND m.person = p.key)
  ) a LEFT JOIN people.domain d ON d.source = of_source AND d.domain = a.domain
  WHERE d.trusted IS NOT TRUE GROUP BY a.domain ORDER BY 2 DESC, 1
$$;
REVOKE ALL ON FUNCTION people.untrusted_domains_v2(text, boolean, text[], text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION people.untrusted_domains_v2(text, boolean, text[], text) TO cw_planner;
