"""From staging to index: who a name is, what is live, where it hangs, what was odd.

Live is: status "current" (absent counts as current) and not the history of anything. Status alone does not tell: history rows
say "current" as well. A live page whose parent is missing, not live, in another space or in a circle becomes a root and says so;
comments and attachments are live when they are and everything they hang on is.
"""

import json
import mimetypes
import re
import sqlite3
import zlib
from collections.abc import Callable
from html import unescape

from shared.confluence.export.notes import NOTES
from shared.confluence.export.objects import whole
from shared.confluence.export.staging import PLAIN, STORAGE, WIKI, key_alias, name_alias

_EXAMPLES = 5
_BATCH = 500
_GENERIC_TYPE = "application/octet-stream"
_TYPES = mimetypes.MimeTypes()  # the built-in table: the same answer on every machine
_MENTION = re.compile(r"""ri:(userkey|username|account-id)\s*=\s*(?:"([^"]*)"|'([^']*)')""")
_WIKI_MENTION = re.compile(r"\[(?:[^\]|\n]*\|)?~([^\]|\n]+)\]")
_TAG = re.compile(r"<[^>]*>")


class Notes:
    """What was odd, by code, with some ids."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def add(self, code: str, count: int, examples: tuple[str, ...] | list[str] = ()) -> None:
        if code not in NOTES:
            raise ValueError(f"{code} is not in the list of notes")
        if count:
            self._db.execute(
                "INSERT INTO note VALUES (?, ?, ?) ON CONFLICT (code) DO UPDATE SET count = count + excluded.count",
                (code, count, json.dumps(list(examples)[:_EXAMPLES])),
            )

    def query(self, code: str, select: str) -> None:
        """Notes the rows of a SELECT whose first column is an id."""
        count = self._db.execute(f"SELECT count(*) FROM ({select})").fetchone()[0]
        if count:
            rows = self._db.execute(f"SELECT * FROM ({select}) LIMIT {_EXAMPLES}")
            self.add(code, count, [str(row[0]) for row in rows])


class Resolver:
    """Fills the index from staging. ``check`` is called between steps and may raise to stop."""

    def __init__(self, db: sqlite3.Connection, descriptor_key: str | None, check: Callable[[], None]) -> None:
        self._db = db
        self._descriptor_key = descriptor_key
        self._check = check
        self.notes = Notes(db)

    def run(self) -> None:
        for step in (
            self._ownership,
            self._people,
            self._groups,
            self._spaces,
            self._live_content,
            self._live_attachments,
            self._live_comments,
            self._files,
            self._bodies,
            self._labels,
            self._restrictions,
            self._permissions,
            self._space_rows,
            self._history,
            self._properties,
            self._watches,
            self._left,
            self._mentions,
            self._odd,
        ):
            self._check()
            step()

    def _one(self, sql: str, *parameters: str | int | None) -> int | str | None:
        row = self._db.execute(sql, parameters).fetchone()
        value: int | str | None = row[0] if row else None
        return value

    def _script(self, statements: str) -> None:
        """``executescript`` would commit first."""
        for statement in statements.split(";"):
            self._db.execute(statement)

    def _ownership(self) -> None:
        """Where an object does not say what it belongs to, the collections of its owner do."""
        self._script("CREATE INDEX stage.link_child ON link (name, child);")
        for table, column, collection in (
            ("body", "content", "bodyContents"),
            ("property", "content", "contentProperties"),
            ("labelling", "content", "labellings"),
            ("permission_set", "content", "contentPermissionSets"),
            ("content_permission", "owning_set", "contentPermissions"),
            ("comment", "container", "comments"),
            ("attachment", "container", "attachments"),
            ("space_permission", "space", "permissions"),
        ):
            self._db.execute(
                f"UPDATE stage.{table} SET {column} = (SELECT min(owner) FROM stage.link WHERE name = ? AND child = {table}.id) "
                f"WHERE {column} IS NULL",
                (collection,),
            )
        self._script(
            """
            CREATE INDEX stage.body_content ON body (content);
            CREATE INDEX stage.property_content ON property (content, name);
            CREATE INDEX stage.content_parent ON content (parent);
            CREATE INDEX stage.comment_parent ON comment (parent);
            CREATE INDEX stage.comment_container ON comment (container);
            CREATE INDEX stage.directory_user_name ON directory_user (lower_name);
            """
        )

    # People and groups

    def _people(self) -> None:
        db = self._db
        # Several directories may hold one name: an active account before a disabled one, then the older row.
        best = (
            "SELECT {} FROM stage.directory_user d WHERE d.lower_name = lower(trim(coalesce(u.name, ''))) "
            "ORDER BY d.active = 0, length(d.id), d.id LIMIT 1"
        )
        db.create_function("lower", 1, lambda text: text.lower() if isinstance(text, str) else text, deterministic=True)
        db.execute(
            f"""INSERT INTO person SELECT u.id, u.name, lower(trim(u.name)), ({best.format("d.display")}),
                       coalesce(({best.format("d.email")}), u.email), ({best.format("d.active")}),
                       (SELECT name FROM stage.directory WHERE id = ({best.format("d.directory")})), u.account
                FROM stage.user u"""
        )
        db.execute("CREATE INDEX person_name ON person (lower_name)")
        db.execute("CREATE INDEX person_account ON person (account)")
        # Accounts without a key (before 5.2, or never signed in): the name is the id. One name in two cases is one account.
        db.execute(
            """INSERT OR IGNORE INTO person
               SELECT name, name, key, display, email, active, (SELECT f.name FROM stage.directory f WHERE f.id = directory), NULL
               FROM (SELECT *, trim(lower_name) AS key, row_number() OVER (
                         PARTITION BY trim(lower_name) ORDER BY active = 0, length(id), id) AS rank
                     FROM stage.directory_user)
               WHERE rank = 1 AND key NOT IN (SELECT lower_name FROM person WHERE lower_name IS NOT NULL)"""
        )
        # Names that stand only at content: old releases export no accounts with a space.
        db.execute(
            """INSERT OR IGNORE INTO person SELECT name, name, lower(trim(name)), NULL, NULL, NULL, NULL, NULL
               FROM stage.named
               WHERE substr(alias, 3) NOT IN (SELECT lower_name FROM person WHERE lower_name IS NOT NULL)"""
        )
        db.execute("INSERT OR IGNORE INTO stage.alias SELECT 'k:' || id, id FROM person")
        db.execute(
            """INSERT OR IGNORE INTO stage.alias SELECT 'n:' || lower_name, id FROM person
               WHERE lower_name IS NOT NULL ORDER BY active = 0, length(id) DESC, id"""
        )
        # CSV exports name people by key in one row and by account in another.
        for kind in ("a", "k"):
            db.execute(
                "INSERT OR IGNORE INTO stage.alias SELECT ? || ':' || account, id FROM person WHERE account IS NOT NULL",
                (kind,),
            )

    def _groups(self) -> None:
        db = self._db
        db.execute("CREATE TABLE stage.group_name (lower_name TEXT PRIMARY KEY, name TEXT) WITHOUT ROWID")
        db.execute(
            "INSERT OR IGNORE INTO stage.group_name SELECT lower(name), name FROM stage.grp ORDER BY length(id), id"
        )
        for table in ("space_permission", "content_permission"):
            db.execute(
                f"INSERT OR IGNORE INTO stage.group_name SELECT lower(grp), grp FROM stage.{table} "
                "WHERE grp IS NOT NULL ORDER BY grp"
            )
        db.execute(
            """INSERT INTO grp SELECT n.name, (SELECT d.name FROM stage.grp g JOIN stage.directory d ON d.id = g.directory
                                               WHERE lower(g.name) = n.lower_name ORDER BY length(g.id), g.id LIMIT 1)
               FROM stage.group_name n"""
        )
        db.execute(
            """INSERT OR IGNORE INTO member SELECT n.name, a.person
               FROM stage.membership m JOIN stage.grp g ON g.id = m.grp JOIN stage.group_name n ON n.lower_name = lower(g.name)
               JOIN stage.directory_user u ON u.id = m.user JOIN stage.alias a ON a.alias = 'n:' || u.lower_name"""
        )
        db.execute(
            """INSERT OR IGNORE INTO subgroup SELECT n.name, c.name
               FROM stage.membership m JOIN stage.grp g ON g.id = m.grp JOIN stage.group_name n ON n.lower_name = lower(g.name)
               JOIN stage.grp h ON h.id = m.child JOIN stage.group_name c ON c.lower_name = lower(h.name)"""
        )

    # What is live

    def _spaces(self) -> None:
        """Content may name a space that the export does not describe; such a space is there all the same."""
        db = self._db
        missing = [
            row[0]
            for row in db.execute(
                """SELECT DISTINCT space FROM stage.content WHERE space IS NOT NULL AND original IS NULL AND status = 'current'
                   AND space NOT IN (SELECT id FROM stage.space) ORDER BY length(space), space"""
            )
        ]
        self.notes.add("space_missing", len(missing), missing)
        taken = {row[0] for row in db.execute("SELECT lower(key) FROM stage.space WHERE key IS NOT NULL")}
        for space in missing:
            key = f"SPACE{space}"
            if len(missing) == 1 and self._descriptor_key and self._descriptor_key.lower() not in taken:
                key = self._descriptor_key
            db.execute(
                "INSERT INTO stage.space (id, key, name, type, status) VALUES (?, ?, ?, '', '')", (space, key, key)
            )
        db.execute("UPDATE stage.space SET key = 'SPACE' || id WHERE key IS NULL")
        # Where content does not name its space, its parent's is it, or the only one there is.
        while db.execute(
            """UPDATE stage.content AS c SET space = (SELECT p.space FROM stage.content p WHERE p.id = c.parent)
               WHERE space IS NULL AND original IS NULL AND status = 'current'
               AND EXISTS (SELECT 1 FROM stage.content p WHERE p.id = c.parent AND p.space IS NOT NULL)"""
        ).rowcount:
            self._check()
        only = self._one("SELECT CASE count(*) WHEN 1 THEN min(id) END FROM stage.space")
        db.execute(
            """UPDATE stage.content SET space = ? WHERE space IS NULL AND original IS NULL AND status = 'current'""",
            (only,),
        )
        self.notes.query(
            "content_without_space",
            "SELECT id FROM stage.content WHERE space IS NULL AND original IS NULL AND status = 'current'",
        )

    def _live_content(self) -> None:
        db = self._db
        db.execute(
            "UPDATE stage.content SET live = (original IS NULL AND status = 'current' AND space IS NOT NULL), "
            "parent = CASE kind WHEN 'page' THEN parent END"
        )
        db.execute(
            """UPDATE stage.content AS c SET parent = NULL, dangling = 1 WHERE live AND parent IS NOT NULL AND NOT EXISTS (
                   SELECT 1 FROM stage.content p WHERE p.id = c.parent AND p.live AND p.kind = 'page' AND p.space = c.space)"""
        )
        self._depths("content")
        db.execute(
            """INSERT INTO content (id, kind, space, title, lower_title, version, parent, position, depth, dangling, creator,
                                    created, modifier, modified, message)
               SELECT c.id, c.kind, c.space, coalesce(c.title, ''), lower(coalesce(c.title, '')), coalesce(c.version, 1),
                      c.parent, c.position, c.depth, c.dangling, coalesce(a.person, substr(c.creator, 3)), c.created,
                      coalesce(m.person, substr(c.modifier, 3)), c.modified, c.message
               FROM stage.content c LEFT JOIN stage.alias a ON a.alias = c.creator LEFT JOIN stage.alias m ON m.alias = c.modifier
               WHERE c.live
               ORDER BY c.space, c.kind DESC, c.depth, c.parent, c.position IS NULL, c.position, lower(c.title), length(c.id), c.id"""
        )
        self._script(
            "CREATE INDEX content_space ON content (space); CREATE INDEX content_title ON content (lower_title, space);"
        )

    def _depths(self, table: str) -> None:
        """Depth from the roots down; what is then without one is in a circle or below one, and the smallest id of each circle
        becomes a root. Recursive queries follow the index of parents: a level at a time would be quadratic in a long chain."""
        db = self._db
        self._script(f"CREATE INDEX stage.{table}_depth ON {table} (depth) WHERE live")
        self._descend(table, "t.parent IS NULL")
        circles = []
        while (start := self._one(f"SELECT id FROM stage.{table} WHERE live AND depth IS NULL LIMIT 1")) is not None:
            self._check()
            seen: dict[str, None] = {}
            at = str(start)
            while at not in seen:
                seen[at] = None
                at = str(self._one(f"SELECT parent FROM stage.{table} WHERE id = ?", at))
            order = list(seen)
            root = min(order[order.index(at) :], key=lambda id: (len(id), id))
            db.execute(f"UPDATE stage.{table} SET parent = NULL, dangling = 1 WHERE id = ?", (root,))
            self._descend(table, "t.id = ?", root)
            circles.append(root)
        self.notes.add("parent_circle", len(circles), circles)

    def _descend(self, table: str, roots: str, *parameters: str) -> None:
        db = self._db
        db.execute("CREATE TABLE IF NOT EXISTS stage.level (id TEXT PRIMARY KEY, depth INTEGER) WITHOUT ROWID")
        db.execute("DELETE FROM stage.level")
        db.execute(
            f"""INSERT INTO stage.level WITH RECURSIVE down(id, depth) AS (
                    SELECT t.id, 0 FROM stage.{table} t WHERE t.live AND {roots}
                    UNION ALL SELECT c.id, d.depth + 1 FROM down d CROSS JOIN stage.{table} c ON c.parent = d.id WHERE c.live)
                SELECT id, depth FROM down""",
            parameters,
        )
        db.execute(
            f"""UPDATE stage.{table} SET depth = l.depth FROM stage.level l WHERE l.id = {table}.id""",
        )

    def _live_attachments(self) -> None:
        db = self._db
        db.execute(
            """UPDATE stage.attachment AS a SET live = 1, space = (SELECT space FROM stage.content WHERE id = a.container)
               WHERE original IS NULL AND status = 'current'
               AND EXISTS (SELECT 1 FROM stage.content c WHERE c.id = a.container AND c.live)"""
        )
        db.create_function("media_type", 1, _media_type, deterministic=True)
        db.create_function("whole", 1, whole, deterministic=True)
        db.execute(
            """INSERT INTO attachment (id, space, container, filename, media_type, size, version, comment, creator, created,
                                       modifier, modified, path, file_size, crc, start, packed, method, mtime_ns)
               SELECT t.id, t.space, t.container, coalesce(t.filename, 'attachment-' || t.id),
                      coalesce(t.media_type, (SELECT value FROM stage.property p WHERE p.content = t.id AND p.name = 'MEDIA_TYPE'),
                               media_type(t.filename)),
                      coalesce(f.size, t.size,
                               whole((SELECT value FROM stage.property p WHERE p.content = t.id AND p.name = 'FILESIZE'))),
                      coalesce(t.version, f.version, 1), t.comment, coalesce(a.person, substr(t.creator, 3)), t.created,
                      coalesce(m.person, substr(t.modifier, 3)), t.modified, f.path, f.size, f.crc, f.start, f.packed, f.method, f.mtime_ns
               FROM stage.attachment t
               LEFT JOIN stage.file f ON f.container = t.container AND f.attachment = t.id AND f.version = coalesce(t.version,
                   (SELECT max(g.version) FROM stage.file g WHERE g.container = t.container AND g.attachment = t.id))
               LEFT JOIN stage.alias a ON a.alias = t.creator LEFT JOIN stage.alias m ON m.alias = t.modifier
               WHERE t.live ORDER BY t.space, t.container, lower(t.filename), length(t.id), t.id"""
        )
        db.execute("CREATE INDEX attachment_space ON attachment (space)")

    def _live_comments(self) -> None:
        db = self._db
        # A reply without a container hangs where the comment it answers hangs.
        while db.execute(
            """UPDATE stage.comment AS c SET container = (SELECT p.container FROM stage.comment p WHERE p.id = c.parent)
               WHERE container IS NULL
               AND EXISTS (SELECT 1 FROM stage.comment p WHERE p.id = c.parent AND p.container IS NOT NULL)"""
        ).rowcount:
            self._check()
        db.execute(
            """UPDATE stage.comment AS c
               SET space = coalesce((SELECT space FROM stage.content WHERE id = c.container AND live),
                                    (SELECT space FROM stage.attachment WHERE id = c.container AND live))
               WHERE original IS NULL AND status = 'current'"""
        )
        db.execute("UPDATE stage.comment SET live = 1 WHERE space IS NOT NULL")
        db.execute(
            """UPDATE stage.comment AS c SET parent = NULL, dangling = 1 WHERE live AND parent IS NOT NULL AND NOT EXISTS (
                   SELECT 1 FROM stage.comment p WHERE p.id = c.parent AND p.live AND p.container = c.container)"""
        )
        self._depths("comment")

        def prop(name: str) -> str:
            return f"(SELECT value FROM stage.property p WHERE p.content = c.id AND p.name = '{name}')"

        db.execute(
            f"""INSERT INTO comment (id, space, container, parent, version, depth, dangling, creator, created, modifier,
                                     modified, location, resolved, selection, marker)
                SELECT c.id, c.space, c.container, c.parent, coalesce(c.version, 1), c.depth, c.dangling,
                       coalesce(a.person, substr(c.creator, 3)), c.created, coalesce(m.person, substr(c.modifier, 3)),
                       c.modified, CASE WHEN lower({prop("inline-comment")}) = 'true' THEN 'inline' ELSE 'footer' END,
                       coalesce(lower({prop("status")}) = 'resolved', 0), {prop("inline-original-selection")},
                       {prop("inline-marker-ref")}
                FROM stage.comment c
                LEFT JOIN stage.alias a ON a.alias = c.creator LEFT JOIN stage.alias m ON m.alias = c.modifier
                WHERE c.live ORDER BY c.space, c.depth, c.container, c.created, length(c.id), c.id"""
        )
        db.execute("CREATE INDEX comment_space ON comment (space)")

    def _files(self) -> None:
        self.notes.query("file_missing", "SELECT id FROM attachment WHERE path IS NULL ORDER BY n")

    # What hangs on it

    def _bodies(self) -> None:
        db = self._db
        live = "SELECT id FROM content UNION ALL SELECT id FROM comment"
        self.notes.query(
            "body_twice",
            f"SELECT content FROM stage.body WHERE content IN ({live}) GROUP BY content HAVING count(*) > 1 ORDER BY content",
        )
        formats = f"CASE type WHEN {WIKI} THEN 'wiki' ELSE 'storage' END"
        # Storage format before anything else, then what holds most.
        db.execute(
            f"""INSERT OR IGNORE INTO body SELECT content, {formats}, data FROM stage.body WHERE content IN ({live})
                ORDER BY type = {STORAGE} DESC, type = {WIKI} DESC, size DESC, length(id) DESC, id DESC"""
        )
        self.notes.query("body_missing", "SELECT id FROM content WHERE id NOT IN (SELECT owner FROM body) ORDER BY n")
        self.notes.query(
            "body_of_other_type",
            f"SELECT content FROM stage.body WHERE content IN ({live}) AND type NOT IN ({PLAIN}, {WIKI}, {STORAGE})",
        )

    def _labels(self) -> None:
        db = self._db
        db.execute(
            """INSERT OR IGNORE INTO label SELECT g.content, b.name FROM stage.labelling g JOIN stage.label b ON b.id = g.label
               WHERE b.namespace = 'global' AND b.name IS NOT NULL
               AND (g.content IN (SELECT id FROM content) OR g.content IN (SELECT id FROM attachment))"""
        )
        # Those of a space hang on its description. "team" is what a space's categories are called.
        db.execute(
            """INSERT OR IGNORE INTO label SELECT 'space ' || d.space, b.name
               FROM stage.labelling g JOIN stage.label b ON b.id = g.label JOIN stage.description d ON d.id = g.content
               WHERE b.namespace IN ('global', 'team') AND b.name IS NOT NULL AND d.space IS NOT NULL"""
        )
        for table in ("content", "attachment"):
            db.execute(
                f"""UPDATE {table} SET labels = (SELECT count(*) FROM label WHERE owner = {table}.id)
                    WHERE id IN (SELECT owner FROM label)"""
            )

    def _restrictions(self) -> None:
        db = self._db
        operation = "CASE lower(coalesce({0}.type, {1}.type)) WHEN 'view' THEN 'read' WHEN 'edit' THEN 'update' END"
        db.execute(
            f"""INSERT INTO restriction SELECT DISTINCT s.content, {operation.format("p", "s")},
                       CASE WHEN p.grp IS NULL THEN coalesce(a.person, substr(p.person, 3)) END, n.name
                FROM stage.content_permission p JOIN stage.permission_set s ON s.id = p.owning_set
                JOIN content c ON c.id = s.content
                LEFT JOIN stage.alias a ON a.alias = p.person LEFT JOIN stage.group_name n ON n.lower_name = lower(p.grp)
                WHERE {operation.format("p", "s")} IS NOT NULL AND (p.grp IS NOT NULL OR p.person IS NOT NULL)
                ORDER BY s.content, 2, 3, 4"""
        )
        # A set whose holders are lost still restricts: without it the page would become more visible than it was.
        lost = f"""SELECT s.id, s.content, {operation.format("s", "s")} AS operation
                   FROM stage.permission_set s JOIN content c ON c.id = s.content
                   WHERE {operation.format("s", "s")} IS NOT NULL AND NOT EXISTS (SELECT 1 FROM restriction r
                       WHERE r.owner = s.content AND r.operation = {operation.format("s", "s")})"""
        self.notes.query("restriction_without_holder", lost)
        db.execute(f"INSERT INTO restriction SELECT content, operation, 'lost-' || id, NULL FROM ({lost})")
        db.execute("CREATE INDEX restriction_owner ON restriction (owner)")
        db.execute(
            """UPDATE content SET restrictions = (SELECT count(*) FROM restriction WHERE owner = content.id)
               WHERE id IN (SELECT owner FROM restriction)"""
        )

    def _permissions(self) -> None:
        db = self._db
        db.execute(
            """INSERT INTO permission SELECT p.id, p.space, p.type,
                      CASE WHEN p.grp IS NOT NULL THEN 'group' WHEN p.person IS NOT NULL THEN 'person'
                           WHEN p.all_users IS NULL THEN 'anonymous'
                           WHEN lower(p.all_users) LIKE '%anonymous%' THEN 'anonymous' ELSE 'logged_in' END,
                      CASE WHEN p.grp IS NOT NULL THEN n.name WHEN p.person IS NOT NULL
                           THEN coalesce(a.person, substr(p.person, 3)) END
               FROM stage.space_permission p
               LEFT JOIN stage.alias a ON a.alias = p.person LEFT JOIN stage.group_name n ON n.lower_name = lower(p.grp)
               WHERE p.space IS NOT NULL AND p.type IS NOT NULL ORDER BY p.space, length(p.id), p.id"""
        )
        db.execute("CREATE INDEX permission_space ON permission (space)")

    def _space_rows(self) -> None:
        db = self._db
        self.notes.query(
            "homepage_missing",
            """SELECT s.id FROM stage.space s WHERE s.homepage IS NOT NULL AND NOT EXISTS (
                   SELECT 1 FROM content c WHERE c.id = s.homepage AND c.space = s.id AND c.kind = 'page') ORDER BY s.id""",
        )
        cursor = db.execute(
            """SELECT s.id, s.key, s.name, s.type, s.status,
                      (SELECT c.id FROM content c WHERE c.id = s.homepage AND c.space = s.id AND c.kind = 'page'),
                      (SELECT b.data FROM stage.body b WHERE b.content = coalesce(s.description,
                          (SELECT max(d.id) FROM stage.description d WHERE d.space = s.id)) ORDER BY b.size DESC LIMIT 1),
                      coalesce(a.person, substr(s.creator, 3)), s.created
               FROM stage.space s LEFT JOIN stage.alias a ON a.alias = s.creator ORDER BY lower(s.key), s.id"""
        )
        while rows := cursor.fetchmany(_BATCH):
            db.executemany(
                "INSERT INTO space VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (
                        id,
                        key,
                        key.lower(),
                        name or key,
                        "personal" if type == "personal" or key.startswith("~") else "global",
                        "archived" if status == "archived" else "current",
                        homepage,
                        _plain(data),
                        creator,
                        created,
                    )
                    for id, key, name, type, status, homepage, data, creator, created in rows
                ],
            )

    # What else is known of it

    def _history(self) -> None:
        """Earlier versions that are there: of content its old rows with their bodies, of attachments their files."""
        db = self._db
        db.execute("CREATE INDEX stage.content_original ON content (original) WHERE original IS NOT NULL")
        db.execute("CREATE INDEX stage.attachment_original ON attachment (original) WHERE original IS NOT NULL")
        db.execute(
            f"""INSERT OR IGNORE INTO revision
                SELECT c.id, h.version, coalesce(m.person, substr(h.modifier, 3)), h.modified, h.message,
                       CASE b.type WHEN {WIKI} THEN 'wiki' ELSE 'storage' END, b.data
                FROM content c JOIN stage.content h ON h.original = c.id AND h.status = 'current' AND h.version < c.version
                LEFT JOIN stage.body b ON b.content = h.id LEFT JOIN stage.alias m ON m.alias = h.modifier
                ORDER BY c.n, h.version, length(h.id) DESC, h.id DESC, b.type = {STORAGE} DESC, b.size DESC"""
        )
        db.execute(
            """UPDATE content SET history = (SELECT count(*) FROM revision WHERE owner = content.id)
               WHERE id IN (SELECT owner FROM revision)"""
        )
        db.execute(
            """INSERT OR IGNORE INTO file_version
               SELECT a.id, f.version, coalesce(h.comment, CASE WHEN f.version = a.version THEN a.comment END),
                      CASE WHEN f.version = a.version THEN a.modifier ELSE coalesce(m.person, substr(h.modifier, 3)) END,
                      CASE WHEN f.version = a.version THEN a.modified ELSE h.modified END,
                      f.path, f.size, f.crc, f.start, f.packed, f.method, f.mtime_ns
               FROM attachment a JOIN stage.file f ON f.container = a.container AND f.attachment = a.id AND f.version <= a.version
               LEFT JOIN stage.attachment h ON h.original = a.id AND h.version = f.version
               LEFT JOIN stage.alias m ON m.alias = h.modifier ORDER BY a.n, f.version, length(h.id) DESC, h.id DESC"""
        )

    def _properties(self) -> None:
        """What is no JSON is no property that could be written."""
        db = self._db
        cursor = db.execute(
            """SELECT p.content, p.key, b.data, b.type FROM stage.custom p JOIN content c ON c.id = p.content
               JOIN stage.body b ON b.content = p.id WHERE p.key IS NOT NULL ORDER BY p.content, p.key, length(p.id), p.id"""
        )
        while rows := cursor.fetchmany(_BATCH):
            values = [(content, key, _json(data, kind)) for content, key, data, kind in rows]
            db.executemany("INSERT OR IGNORE INTO property VALUES (?, ?, ?)", [v for v in values if v[2] is not None])
        db.execute(
            """UPDATE content SET properties = (SELECT count(*) FROM property WHERE owner = content.id)
               WHERE id IN (SELECT owner FROM property)"""
        )

    def _watches(self) -> None:
        db = self._db
        db.execute(
            """INSERT OR IGNORE INTO watch SELECT CASE WHEN w.content IS NULL THEN 'space' ELSE 'content' END,
                      coalesce(w.content, w.space), coalesce(a.person, substr(w.person, 3))
               FROM stage.watch w LEFT JOIN stage.alias a ON a.alias = w.person
               WHERE w.content IN (SELECT id FROM content)
                  OR (w.content IS NULL AND w.space IN (SELECT id FROM stage.space))"""
        )
        db.execute(
            """UPDATE content SET watchers = (SELECT count(*) FROM watch WHERE kind = 'content' AND owner = content.id)
               WHERE id IN (SELECT owner FROM watch WHERE kind = 'content')"""
        )

    def _left(self) -> None:
        """What no API of the cloud takes, by the space it belongs to; what names none counts where there is one space only."""
        db = self._db
        only = self._one("SELECT CASE count(*) WHEN 1 THEN min(id) END FROM stage.space")
        places = (
            "SELECT id, space FROM stage.content UNION ALL SELECT id, space FROM stage.comment "
            "UNION ALL SELECT id, space FROM stage.attachment"
        )
        db.execute(
            """INSERT INTO stage.left
               SELECT CASE status WHEN 'draft' THEN 'draft' WHEN 'archived' THEN 'archived' ELSE 'trash' END, NULL, space
               FROM stage.content WHERE original IS NULL AND status IN ('draft', 'archived', 'deleted', 'trashed')"""
        )
        db.execute(
            """INSERT INTO stage.left SELECT 'personal_label', g.content, NULL
               FROM stage.labelling g JOIN stage.label b ON b.id = g.label WHERE b.namespace IN ('my', 'personal')"""
        )
        db.execute(
            f"""INSERT OR IGNORE INTO left_behind
                SELECT coalesce(l.space, p.space, ?) AS place, l.kind, count(*) FROM stage.left l LEFT JOIN ({places}) p
                ON p.id = l.content WHERE place IS NOT NULL GROUP BY 1, 2""",
            (only,),
        )

    def _mentions(self) -> None:
        """Who live content names. Only people the export knows: a key or name that leads to nobody is no person."""
        db = self._db
        for table in ("content", "comment", "attachment"):
            for column in ("creator", "modifier"):
                db.execute(
                    f"INSERT OR IGNORE INTO person_ref SELECT DISTINCT t.space, p.id FROM {table} t JOIN person p "
                    f"ON p.id = t.{column}"
                )
        db.execute(
            """INSERT OR IGNORE INTO person_ref SELECT DISTINCT c.space, p.id
               FROM restriction r JOIN content c ON c.id = r.owner JOIN person p ON p.id = r.person"""
        )
        db.execute(
            """INSERT OR IGNORE INTO person_ref SELECT DISTINCT s.space, p.id FROM permission s JOIN person p ON p.id = s.subject
               WHERE s.subject_kind = 'person'"""
        )
        db.execute(
            """INSERT OR IGNORE INTO person_ref SELECT DISTINCT coalesce(c.space, w.owner), p.id
               FROM watch w LEFT JOIN content c ON w.kind = 'content' AND c.id = w.owner JOIN person p ON p.id = w.person"""
        )
        unknown: dict[str, None] = {}
        for table in ("content", "comment"):
            cursor = db.execute(f"SELECT t.space, b.format, b.data FROM body b JOIN {table} t ON t.id = b.owner")
            while rows := cursor.fetchmany(_BATCH):
                self._check()
                for space, format, data in rows:
                    for alias in _mentioned(zlib.decompress(data).decode(), format):
                        person = self._one("SELECT person FROM stage.alias WHERE alias = ?", alias) or (
                            # Account ids stand for user keys where an export was put together by other tools.
                            self._one("SELECT person FROM stage.alias WHERE alias = ?", key_alias(alias[2:]))
                            if alias.startswith("a:")
                            else None
                        )
                        if person is not None:
                            db.execute("INSERT OR IGNORE INTO person_ref VALUES (?, ?)", (space, person))
                        elif len(unknown) < 10_000:
                            unknown[alias[2:]] = None
        self.notes.add("mention_of_unknown_person", len(unknown))

    def _odd(self) -> None:
        notes = self.notes
        notes.query("dangling_parent", "SELECT id FROM content WHERE dangling ORDER BY n")
        notes.query("dangling_reply", "SELECT id FROM comment WHERE dangling ORDER BY n")
        notes.query("title_missing", "SELECT id FROM content WHERE title = '' ORDER BY n")
        notes.query(
            "title_twice",
            """SELECT min(id) FROM content WHERE title <> ''
               GROUP BY space, kind, lower_title, CASE kind WHEN 'blogpost' THEN substr(created, 1, 10) END HAVING count(*) > 1""",
        )
        notes.query("space_key_twice", "SELECT max(id) FROM space GROUP BY lower_key HAVING count(*) > 1")
        known = (
            "SELECT id FROM stage.content UNION ALL SELECT id FROM stage.comment UNION ALL SELECT id FROM stage.attachment "
            "UNION ALL SELECT id FROM stage.elsewhere"
        )
        for code, table in (("attachment_without_container", "attachment"), ("comment_without_container", "comment")):
            notes.query(
                code,
                f"""SELECT id FROM stage.{table} WHERE original IS NULL AND status = 'current'
                    AND (container IS NULL OR container NOT IN ({known})) ORDER BY id""",
            )
        notes.query(
            "attachment_elsewhere",
            """SELECT id FROM stage.attachment WHERE original IS NULL AND status = 'current' AND live IS NULL
               AND (container IN (SELECT id FROM stage.elsewhere) OR container IN (SELECT id FROM stage.comment)) ORDER BY id""",
        )
        notes.query(
            "body_without_owner", f"SELECT id FROM stage.body WHERE content IS NULL OR content NOT IN ({known})"
        )
        unknown = self._one(
            """SELECT count(DISTINCT creator) FROM (SELECT creator FROM content UNION SELECT creator FROM comment
               UNION SELECT creator FROM attachment) WHERE creator IS NOT NULL AND creator NOT IN (SELECT id FROM person)"""
        )
        notes.add("author_unknown", int(unknown or 0))  # no examples: these would be people


def _mentioned(text: str, format: str) -> set[str]:
    if format == "wiki":
        return {name_alias(match) for match in _WIKI_MENTION.findall(text)}
    found = set()
    for kind, double, single in _MENTION.findall(text):
        value = unescape(double or single).strip()
        if value:
            found.add({"userkey": key_alias, "username": name_alias, "account-id": "a:".__add__}[kind](value))
    return found


def _json(data: bytes | None, kind: int) -> str | None:
    """Of a body; a plain one was escaped when it was taken in."""
    if not data:
        return None
    text = zlib.decompress(data).decode()
    try:
        return json.dumps(json.loads(unescape(text) if kind == PLAIN else text))
    except ValueError:
        return None


def _media_type(filename: str | None) -> str:
    return (_TYPES.guess_type(filename)[0] if filename else None) or _GENERIC_TYPE


def _plain(data: bytes | None) -> str:
    return unescape(_TAG.sub(" ", zlib.decompress(data).decode())).strip() if data else ""
