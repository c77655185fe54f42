-- Whom an invitation after a plan names: the people to whom the plan gave access to Confluence, one for each account. Nobody who is
-- disabled at the source, whose address is not known for certain (Former users, generated addresses, domains that nobody trusts), or
-- whom a map gave an account. ``again``: those who were invited to this site before, or may have been; else the others. Nobody whom
-- another invitation is about to name (``but_task``: the caller's own). Addresses do not leave the function.
CREATE FUNCTION people.invitable_v1(of_plan text, again boolean, but_task text) RETURNS TABLE (person text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = '' AS $$
  WITH RECURSIVE chain AS (
    SELECT plan, predecessor FROM work.plan WHERE plan = of_plan
    UNION ALL SELECT p.plan, p.predecessor FROM work.plan p JOIN chain c ON p.plan = c.predecessor
  ), inviting AS (
    SELECT t.task, n.site, n.status FROM work.plan n JOIN work.task t ON t.plan = n.plan AND t.kind = 'invitations'
    WHERE n.site = (SELECT site FROM work.plan WHERE plan = of_plan)
  ), asked AS (
    SELECT a.account_id FROM inviting n JOIN work.outcome o ON o.task = n.task AND o.kind = 'invitation'
    JOIN people.account a ON a.site = n.site AND a.person = o.id
    WHERE o.outcome = 'migrated' OR o.reason = 'invitation_unknown'
  ), under_way AS (
    SELECT a.account_id FROM inviting n JOIN work.inventory i ON i.task = n.task AND i.kind = 'invitation'
    JOIN people.account a ON a.site = n.site AND a.person = i.id
    WHERE n.status = 'RUNNING' AND n.task IS DISTINCT FROM but_task
  )
  SELECT DISTINCT ON (a.account_id) p.key FROM work.plan n JOIN work.task t ON t.plan = n.plan AND t.kind = 'users'
  JOIN work.outcome o ON o.task = t.task AND o.kind = 'user' AND o.outcome = 'migrated'
  JOIN people.person p ON p.key = o.id JOIN people.account a ON a.site = n.site AND a.person = p.key
  JOIN people.domain d ON d.source = p.source AND d.trusted
    AND d.domain = lower(split_part(coalesce(p.repaired_email, p.email), '@', 2))
  WHERE n.plan = of_plan AND p.active IS NOT FALSE
    AND (p.repair IN ('corrected', 'merged') OR p.repair IS NULL AND p.address = 'usable')
    AND EXISTS (SELECT FROM people.standing s JOIN chain c ON c.plan = s.plan
                WHERE s.subject = p.key AND s.rule IN ('enabled_absent_chosen', 'enabled_without_chosen'))
    AND NOT EXISTS (SELECT FROM people.user_map m WHERE m.person = p.key AND m.account_id = a.account_id)
    AND again = (a.account_id IN (SELECT account_id FROM asked))
    AND a.account_id NOT IN (SELECT account_id FROM under_way)
  ORDER BY a.account_id, p.key
$$;
REVOKE ALL ON FUNCTION people.invitable_v1(text, boolean, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION people.invitable_v1(text, boolean, text) TO cw_planner, cw_executor, cw_dashboard;
