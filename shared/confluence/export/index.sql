-- index.sqlite: what an executor reads. Only live entities; written once, then read only.
-- Times are as the export has them: local to meta "timezone". Rows are inserted in the order they are listed in.
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
CREATE TABLE note (code TEXT PRIMARY KEY, count INTEGER NOT NULL, examples TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE space (id TEXT PRIMARY KEY, key TEXT NOT NULL, lower_key TEXT NOT NULL, name TEXT NOT NULL, type TEXT NOT NULL,
                    status TEXT NOT NULL, homepage TEXT, description TEXT NOT NULL, creator TEXT, created TEXT) WITHOUT ROWID;
CREATE INDEX space_key ON space (lower_key);
CREATE TABLE content (n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, space TEXT NOT NULL,
                      title TEXT NOT NULL, lower_title TEXT NOT NULL, version INTEGER NOT NULL, parent TEXT, position INTEGER,
                      depth INTEGER NOT NULL, dangling INTEGER NOT NULL, creator TEXT, created TEXT, modifier TEXT,
                      modified TEXT, message TEXT, labels INTEGER NOT NULL DEFAULT 0, restrictions INTEGER NOT NULL DEFAULT 0,
                      properties INTEGER NOT NULL DEFAULT 0, watchers INTEGER NOT NULL DEFAULT 0,
                      history INTEGER NOT NULL DEFAULT 0);
CREATE TABLE comment (n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, space TEXT NOT NULL, container TEXT NOT NULL, parent TEXT,
                      version INTEGER NOT NULL, depth INTEGER NOT NULL, dangling INTEGER NOT NULL, creator TEXT, created TEXT,
                      modifier TEXT, modified TEXT, location TEXT NOT NULL, resolved INTEGER NOT NULL, selection TEXT, marker TEXT);
CREATE TABLE attachment (n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, space TEXT NOT NULL, container TEXT NOT NULL,
                         filename TEXT NOT NULL, media_type TEXT NOT NULL, size INTEGER, version INTEGER NOT NULL, comment TEXT,
                         creator TEXT, created TEXT, modifier TEXT, modified TEXT, labels INTEGER NOT NULL DEFAULT 0, path TEXT,
                         file_size INTEGER, crc INTEGER, start INTEGER, packed INTEGER, method INTEGER, mtime_ns INTEGER);
CREATE TABLE body (owner TEXT PRIMARY KEY, format TEXT NOT NULL, data BLOB NOT NULL);
CREATE TABLE label (owner TEXT, name TEXT, PRIMARY KEY (owner, name)) WITHOUT ROWID;
CREATE TABLE restriction (owner TEXT NOT NULL, operation TEXT NOT NULL, person TEXT, grp TEXT);
CREATE TABLE permission (id TEXT NOT NULL, space TEXT NOT NULL, operation TEXT NOT NULL, subject_kind TEXT NOT NULL, subject TEXT);
CREATE TABLE person (id TEXT PRIMARY KEY, username TEXT, lower_name TEXT, display TEXT, email TEXT, active INTEGER,
                     directory TEXT, account TEXT) WITHOUT ROWID;
CREATE TABLE grp (name TEXT PRIMARY KEY, directory TEXT) WITHOUT ROWID;
CREATE TABLE member (grp TEXT, person TEXT, PRIMARY KEY (grp, person)) WITHOUT ROWID;
CREATE TABLE subgroup (grp TEXT, child TEXT, PRIMARY KEY (grp, child)) WITHOUT ROWID;
CREATE TABLE person_ref (space TEXT, person TEXT, PRIMARY KEY (space, person)) WITHOUT ROWID;
-- Earlier versions of live content, and every version of live attachments whose bytes are there.
CREATE TABLE revision (owner TEXT NOT NULL, number INTEGER NOT NULL, editor TEXT, edited TEXT, message TEXT,
                       format TEXT NOT NULL, data BLOB, PRIMARY KEY (owner, number));
CREATE TABLE file_version (owner TEXT NOT NULL, number INTEGER NOT NULL, comment TEXT, editor TEXT, edited TEXT, path TEXT,
                           file_size INTEGER, crc INTEGER, start INTEGER, packed INTEGER, method INTEGER, mtime_ns INTEGER,
                           PRIMARY KEY (owner, number)) WITHOUT ROWID;
CREATE TABLE property (owner TEXT, key TEXT, value TEXT NOT NULL, PRIMARY KEY (owner, key)) WITHOUT ROWID;
CREATE TABLE watch (kind TEXT, owner TEXT, person TEXT, PRIMARY KEY (kind, owner, person)) WITHOUT ROWID;
CREATE TABLE left_behind (space TEXT, kind TEXT, count INTEGER NOT NULL, PRIMARY KEY (space, kind)) WITHOUT ROWID;
