-- Addresses, besides the one that the source tells, under which its pages link to it: older ones, and those of an export, which
-- tells none. Without a trailing slash.
ALTER TABLE people.source ADD COLUMN base_urls text[] NOT NULL DEFAULT '{}';
