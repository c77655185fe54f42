-- A round of checks counts the people who have no account on the site yet.
GRANT SELECT ON people.account TO cw_analyzer;
