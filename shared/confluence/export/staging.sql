-- What entities.xml or the tables of a CSV export say, row by row, before anything is judged. Lives only while an export is taken in.
-- People stand as "k:<user key>" or "n:<user name in lower case>", see resolve.py.
CREATE TABLE stage.space (id TEXT PRIMARY KEY, key TEXT, name TEXT, type TEXT, status TEXT, homepage TEXT,
                          description TEXT, creator TEXT, created TEXT) WITHOUT ROWID;
CREATE TABLE stage.description (id TEXT PRIMARY KEY, space TEXT) WITHOUT ROWID;
CREATE TABLE stage.content (id TEXT PRIMARY KEY, kind TEXT, space TEXT, title TEXT, version INTEGER, status TEXT, original TEXT,
                            parent TEXT, position INTEGER, creator TEXT, created TEXT, modifier TEXT, modified TEXT,
                            message TEXT, live INTEGER, depth INTEGER, dangling INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;
CREATE TABLE stage.comment (id TEXT PRIMARY KEY, container TEXT, parent TEXT, version INTEGER, status TEXT, original TEXT,
                            creator TEXT, created TEXT, modifier TEXT, modified TEXT,
                            live INTEGER, space TEXT, depth INTEGER, dangling INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;
CREATE TABLE stage.attachment (id TEXT PRIMARY KEY, container TEXT, filename TEXT, media_type TEXT, size INTEGER,
                               version INTEGER, status TEXT, original TEXT, comment TEXT, creator TEXT, created TEXT,
                               modifier TEXT, modified TEXT, live INTEGER, space TEXT) WITHOUT ROWID;
CREATE TABLE stage.custom (id TEXT PRIMARY KEY, content TEXT, key TEXT) WITHOUT ROWID;
CREATE TABLE stage.left (kind TEXT, content TEXT, space TEXT);
CREATE TABLE stage.watch (content TEXT, space TEXT, person TEXT);
CREATE TABLE stage.elsewhere (id TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE stage.body (id TEXT PRIMARY KEY, content TEXT, type INTEGER, data BLOB, size INTEGER);
CREATE TABLE stage.property (id TEXT PRIMARY KEY, content TEXT, name TEXT, value TEXT) WITHOUT ROWID;
CREATE TABLE stage.label (id TEXT PRIMARY KEY, name TEXT, namespace TEXT) WITHOUT ROWID;
CREATE TABLE stage.labelling (id TEXT PRIMARY KEY, label TEXT, content TEXT) WITHOUT ROWID;
CREATE TABLE stage.permission_set (id TEXT PRIMARY KEY, type TEXT, content TEXT) WITHOUT ROWID;
CREATE TABLE stage.content_permission (id TEXT PRIMARY KEY, type TEXT, owning_set TEXT, person TEXT, grp TEXT) WITHOUT ROWID;
CREATE TABLE stage.space_permission (id TEXT PRIMARY KEY, type TEXT, space TEXT, person TEXT, grp TEXT,
                                     all_users TEXT) WITHOUT ROWID;
CREATE TABLE stage.user (id TEXT PRIMARY KEY, name TEXT, email TEXT, account TEXT) WITHOUT ROWID;
CREATE TABLE stage.directory_user (id TEXT PRIMARY KEY, name TEXT, lower_name TEXT, display TEXT, email TEXT, active INTEGER,
                                   directory TEXT) WITHOUT ROWID;
CREATE TABLE stage.grp (id TEXT PRIMARY KEY, name TEXT, directory TEXT) WITHOUT ROWID;
CREATE TABLE stage.membership (grp TEXT, user TEXT, child TEXT);
CREATE TABLE stage.directory (id TEXT PRIMARY KEY, name TEXT) WITHOUT ROWID;
CREATE TABLE stage.link (name TEXT, child TEXT, owner TEXT, PRIMARY KEY (name, child, owner)) WITHOUT ROWID;
CREATE TABLE stage.file (container TEXT, attachment TEXT, version INTEGER, path TEXT, size INTEGER, crc INTEGER, start INTEGER,
                         packed INTEGER, method INTEGER, mtime_ns INTEGER, PRIMARY KEY (container, attachment, version)) WITHOUT ROWID;
CREATE TABLE stage.alias (alias TEXT PRIMARY KEY, person TEXT) WITHOUT ROWID;
CREATE TABLE stage.named (alias TEXT PRIMARY KEY, name TEXT) WITHOUT ROWID;
