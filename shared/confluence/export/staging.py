"""Writes the objects of an export into staging tables, as they come, be it from entities.xml or from the tables of a CSV export.

Which properties of which classes are read is the table ``WANTED``; whatever is not in it is passed over unread. Names differ by
release: 3.4 to 4.x name people by user name (``creatorName``), later ones by key (``creator``); attachments had their own
columns before 5.7 and are content since.
"""

import html
import sqlite3
import zlib
from collections.abc import Callable

from shared.confluence.export.archive import StoredFile
from shared.confluence.export.objects import Record, Wanted
from shared.confluence.export.text import clean

_AUTHORS = "creator creatorName lastModifier lastModifierName creationDate lastModificationDate"
_LIFE = f"version contentStatus originalVersion originalVersionId {_AUTHORS}"
_OWNED = "bodyContents contentProperties labellings contentPermissionSets comments attachments"
_CONTENT = f"title space parent position versionComment {_LIFE} {_OWNED}"
#: The app under whose name Confluence keeps the JSON properties of content.
_PROPERTY_STORE = "confluence-content-property-storage"

WANTED = Wanted(
    {
        kind: frozenset(names.split())
        for kind, names in {
            "Space": "name key homePage description spaceType spaceStatus creator creatorName creationDate permissions",
            "SpaceDescription": f"space {_LIFE} bodyContents",
            "Page": _CONTENT,
            "BlogPost": _CONTENT,
            "Comment": f"owner containerContent content parent {_LIFE} bodyContents contentProperties",
            "Attachment": "fileName title contentType fileSize comment versionComment attachmentVersion content containerContent "
            f"contentProperties labellings {_LIFE}",
            "CustomContentEntityObject": "pluginModuleKey title content containerContent space version contentStatus "
            "originalVersion originalVersionId bodyContents",
            "Draft": "spaceKey draftSpaceKey",
            "Notification": "page content space receiver userName type",
            "LikeEntity": "content",
            "PageTemplate": "space",
            "User2ContentRelationEntity": "targetContent relationName",
            "BodyContent": "body bodyType content",
            "ContentProperty": "name stringValue longValue content",
            "Label": "name namespace",
            "Labelling": "label content labelableId labelableType",
            "ContentPermissionSet": "type owningContent contentPermissions",
            "ContentPermission": "type owningSet userSubject userName groupName",
            "SpacePermission": "type space group userSubject userName allUsersSubject active",
            "ConfluenceUserImpl": "name email atlassianAccountId",
            "InternalUser": "name active displayName firstName lastName emailAddress directory",
            "DefaultHibernateUser": "name fullName email",
            "InternalGroup": "name directory",
            "DefaultHibernateGroup": "name localMembers",
            "HibernateMembership": "parentGroup userMember groupMember",
            "DirectoryImpl": "name",
        }.items()
    }
)

# Seen in real exports, known to hold nothing that is migrated or to be secret.
PASSED_OVER = frozenset(
    [
        "AliasedKey",
        "ApplicationImpl",
        "BucketPropertySetItem",
        "ConfluenceBandanaRecord",
        "ConfluenceRememberMeToken",
        "ContentRelation",
        "Content2ContentRelationEntity",
        "DirectoryMapping",
        "ExtendedMediaAttachment",
        "GlobalDescription",
        "InternalGroupAttribute",
        "InternalUserAttribute",
        "InternalUserCredentialRecord",
        "OutgoingLink",
        "PersonalInformation",
        "ReferralLink",
        "SchedulerClusteredJob",
        "SchedulerRunDetails",
        "TrackbackLink",
        "UserLoginInfo",
        "UserInfo",
        "VCard",
    ]
)

_PROPERTIES = frozenset(
    ("inline-comment", "inline-marker-ref", "inline-original-selection", "status", "MEDIA_TYPE", "FILESIZE")
)
_FALSE = frozenset(("false", "f", "0"))
_COMPRESSION = 3
_BATCH = 1000
PLAIN, WIKI, STORAGE = 1, 0, 2

Row = tuple[str | int | bytes | None, ...]


def key_alias(key: str) -> str:
    """How staging writes a person named by user key."""
    return "k:" + key


def name_alias(name: str) -> str:
    """How staging writes a person named by user name. Names differ in case between an export's own tables."""
    return "n:" + name.strip().lower()


class Staging:
    """Takes records; ``flush`` before reading what was written."""

    def __init__(self, db: sqlite3.Connection, wiki_by_default: bool) -> None:
        self._db = db
        self._wiki_by_default = wiki_by_default
        self._rows: dict[str, list[Row]] = {}
        self._pending = 0
        self._offered = 0
        self._taken = 0
        self.cleaned = 0
        self.records = 0
        self.has_account_ids = False
        self._handlers: dict[str, Callable[[Record], None]] = {
            "Space": self._space,
            "SpaceDescription": self._description,
            "Page": self._content,
            "BlogPost": self._content,
            "Comment": self._comment,
            "Attachment": self._attachment,
            "CustomContentEntityObject": self._custom,
            "Draft": self._draft,
            "Notification": self._notification,
            "LikeEntity": self._like,
            "PageTemplate": self._template,
            "User2ContentRelationEntity": self._relation,
            "BodyContent": self._body,
            "ContentProperty": self._property,
            "Label": self._label,
            "Labelling": self._labelling,
            "ContentPermissionSet": self._permission_set,
            "ContentPermission": self._content_permission,
            "SpacePermission": self._space_permission,
            "ConfluenceUserImpl": self._user,
            "InternalUser": self._directory_user,
            "DefaultHibernateUser": self._directory_user,
            "InternalGroup": self._group,
            "DefaultHibernateGroup": self._group,
            "HibernateMembership": self._membership,
            "DirectoryImpl": self._directory,
        }

    @property
    def duplicates(self) -> int:
        """Objects that came a second time under their id; the first counts."""
        return self._offered - self._taken

    def take(self, record: Record) -> None:
        self.records += 1
        self._handlers[record.kind](record)
        if self._pending >= _BATCH:
            self.flush()

    def flush(self) -> None:
        for table, rows in self._rows.items():
            marks = ", ".join("?" * len(rows[0]))
            columns = _COLUMNS[table]
            cursor = self._db.executemany(f"INSERT OR IGNORE INTO stage.{table} ({columns}) VALUES ({marks})", rows)
            if table not in _MAY_REPEAT:
                self._offered += len(rows)
                self._taken += cursor.rowcount
        self._rows.clear()
        self._pending = 0

    def _add(self, table: str, *row: str | int | bytes | None) -> None:
        self._rows.setdefault(table, []).append(row)
        self._pending += 1 + (len(row[3]) // 4096 if table == "body" and isinstance(row[3], bytes) else 0)

    def _links(self, record: Record) -> None:
        for name, ids in record.collections.items():
            for child in ids:
                self._add("link", name, child, record.id)

    def _person(self, record: Record, reference: str, name: str) -> str | None:
        if (key := record.ref(reference)) is not None:
            return key_alias(key)
        if (text := record.text(name)) is not None:
            alias = name_alias(text)
            self._add("named", alias, text)
            return alias
        return None

    def _life(self, record: Record) -> tuple[int | None, str, str | None]:
        """Version, status, and the id of the live entity this one is history of."""
        version = record.number("attachmentVersion", "version")
        status = (record.text("contentStatus") or "current").lower()
        return version, status, record.ref("originalVersion") or record.text("originalVersion", "originalVersionId")

    def _authors(self, record: Record) -> tuple[str | None, str | None, str | None, str | None]:
        """Creator, created, modifier, modified."""
        return (
            self._person(record, "creator", "creatorName"),
            record.text("creationDate"),
            self._person(record, "lastModifier", "lastModifierName"),
            record.text("lastModificationDate"),
        )

    def _space(self, record: Record) -> None:
        self._add(
            "space",
            record.id,
            record.text("key"),
            record.text("name"),
            (record.text("spaceType") or "").lower(),
            (record.text("spaceStatus") or "").lower(),
            record.ref("homePage"),
            record.ref("description"),
            self._person(record, "creator", "creatorName"),
            record.text("creationDate"),
        )
        self._links(record)

    def _description(self, record: Record) -> None:
        self._add("elsewhere", record.id)
        if self._life(record)[2] is None:
            self._add("description", record.id, record.ref("space"))
        self._links(record)

    def _content(self, record: Record) -> None:
        version, status, original = self._life(record)
        creator, created, modifier, modified = self._authors(record)
        self._add(
            "content",
            record.id,
            "page" if record.kind == "Page" else "blogpost",
            record.ref("space"),
            record.text("title"),
            version,
            status,
            original,
            record.ref("parent"),
            record.number("position"),
            creator,
            created,
            modifier,
            modified,
            record.text("versionComment"),
        )
        self._links(record)

    def _comment(self, record: Record) -> None:
        version, status, original = self._life(record)
        creator, created, modifier, modified = self._authors(record)
        container = record.ref("containerContent", "owner", "content")
        row = (
            record.id,
            container,
            record.ref("parent"),
            version,
            status,
            original,
            creator,
            created,
            modifier,
            modified,
        )
        self._add("comment", *row)
        self._links(record)

    def _attachment(self, record: Record) -> None:
        version, status, original = self._life(record)
        creator, created, modifier, modified = self._authors(record)
        self._add(
            "attachment",
            record.id,
            record.ref("containerContent", "content"),
            record.text("fileName", "title"),
            record.text("contentType"),
            record.number("fileSize"),
            version,
            status,
            original,
            record.text("comment", "versionComment"),
            creator,
            created,
            modifier,
            modified,
        )
        self._links(record)

    def _custom(self, record: Record) -> None:
        """Content of apps. One of them is Confluence's own store of content properties: the key is the title."""
        self._add("elsewhere", record.id)
        _, status, original = self._life(record)
        if status == "current" and original is None:
            container, module = record.ref("containerContent", "content"), record.text("pluginModuleKey") or ""
            if _PROPERTY_STORE in module:
                self._add("custom", record.id, container, record.text("title"))
            else:
                self._add("left", "app_content", container, record.ref("space"))
        self._links(record)

    def _draft(self, record: Record) -> None:
        self._add("elsewhere", record.id)
        self._add("left", "draft", None, None)

    def _notification(self, record: Record) -> None:
        person = self._person(record, "receiver", "userName")
        place, space = record.ref("content", "page"), record.ref("space")
        # One that names a type watches the blog of a space only; Cloud has no such watch.
        if person is not None and (place is not None or record.text("type") is None):
            self._add("watch", place, space if place is None else None, person)

    def _like(self, record: Record) -> None:
        self._add("left", "like", record.ref("content"), None)

    def _template(self, record: Record) -> None:
        self._add("elsewhere", record.id)
        if (space := record.ref("space")) is not None:
            self._add("left", "template", None, space)

    def _relation(self, record: Record) -> None:
        if (record.text("relationName") or "").lower().startswith("favo"):
            self._add("left", "favourite", record.ref("targetContent"), None)

    def _body(self, record: Record) -> None:
        kind = record.number("bodyType")
        if kind is None:  # releases before 4.0 have wiki markup only and no such property
            kind = WIKI if self._wiki_by_default else STORAGE
        text = record.values.get("body") or ""
        if kind == PLAIN:
            text = html.escape(text, quote=False)
        elif kind != WIKI and "&#" in text:  # raw characters were taken out with the file's
            text, removed = clean(text)
            self.cleaned += removed
        data = text.encode()
        self._add("body", record.id, record.ref("content"), kind, zlib.compress(data, _COMPRESSION), len(data))

    def _property(self, record: Record) -> None:
        name = record.text("name")
        if name in _PROPERTIES:
            # A whole number may stand with a fraction: longValue 2048, stringValue "2048.0" have both been seen.
            self._add("property", record.id, record.ref("content"), name, record.text("stringValue", "longValue"))

    def _label(self, record: Record) -> None:
        self._add("label", record.id, record.text("name"), (record.text("namespace") or "global").lower())

    def _labelling(self, record: Record) -> None:
        content = record.ref("content")
        if content is None and (record.text("labelableType") or "CONTENT").upper() == "CONTENT":
            content = record.text("labelableId")
        self._add("labelling", record.id, record.ref("label"), content)

    def _permission_set(self, record: Record) -> None:
        self._add("permission_set", record.id, record.text("type"), record.ref("owningContent"))
        self._links(record)

    def _content_permission(self, record: Record) -> None:
        self._add(
            "content_permission",
            record.id,
            record.text("type"),
            record.ref("owningSet"),
            self._person(record, "userSubject", "userName"),
            record.text("groupName"),
        )

    def _space_permission(self, record: Record) -> None:
        if (record.text("active") or "true").lower() in _FALSE:
            return
        self._add(
            "space_permission",
            record.id,
            record.text("type"),
            record.ref("space"),
            self._person(record, "userSubject", "userName"),
            record.text("group"),
            record.text("allUsersSubject"),
        )

    def _user(self, record: Record) -> None:
        account = record.text("atlassianAccountId")
        self.has_account_ids = self.has_account_ids or account is not None
        self._add("user", record.id, record.text("name"), record.text("email"), account)

    def _directory_user(self, record: Record) -> None:
        name = record.text("name")
        if name is None:
            return
        parts = (record.text("firstName"), record.text("lastName"))
        active = record.text("active")
        self._add(
            "directory_user",
            record.id,
            name,
            name.lower(),
            record.text("displayName", "fullName") or " ".join(part for part in parts if part) or None,
            record.text("emailAddress", "email"),
            None if active is None else int(active.lower() in ("true", "t", "1")),
            record.ref("directory"),
        )

    def _group(self, record: Record) -> None:
        if (name := record.text("name")) is None:
            return
        self._add("grp", record.id, name, record.ref("directory"))
        for user in record.collections.get("localMembers", ()):
            self._add("membership", record.id, user, None)

    def _membership(self, record: Record) -> None:
        self._add("membership", record.ref("parentGroup"), record.ref("userMember"), record.ref("groupMember"))

    def _directory(self, record: Record) -> None:
        self._add("directory", record.id, record.text("name"))

    def file(self, file: StoredFile) -> bool:
        """Whether the file's place is that of an attachment's version."""
        parts = file.path.split("/")
        if len(parts) != 4 or parts[0] != "attachments" or not parts[3].isascii() or not parts[3].isdigit():
            return False
        self._add(
            "file",
            parts[1],
            parts[2],
            int(parts[3]) if len(parts[3]) < 10 else 0,
            file.path,
            file.size,
            file.crc,
            file.offset,
            file.packed,
            file.method,
            file.mtime_ns,
        )
        if self._pending >= _BATCH:
            self.flush()
        return True


_MAY_REPEAT = frozenset({"named", "link", "membership", "elsewhere", "file", "left", "watch"})
_COLUMNS = {
    "space": "id, key, name, type, status, homepage, description, creator, created",
    "description": "id, space",
    "content": "id, kind, space, title, version, status, original, parent, position, creator, created, modifier, modified, message",
    "comment": "id, container, parent, version, status, original, creator, created, modifier, modified",
    "attachment": "id, container, filename, media_type, size, version, status, original, comment, creator, created, modifier, "
    "modified",
    "custom": "id, content, key",
    "left": "kind, content, space",
    "watch": "content, space, person",
    "elsewhere": "id",
    "body": "id, content, type, data, size",
    "property": "id, content, name, value",
    "label": "id, name, namespace",
    "labelling": "id, label, content",
    "permission_set": "id, type, content",
    "content_permission": "id, type, owning_set, person, grp",
    "space_permission": "id, type, space, person, grp, all_users",
    "user": "id, name, email, account",
    "directory_user": "id, name, lower_name, display, email, active, directory",
    "grp": "id, name, directory",
    "membership": "grp, user, child",
    "directory": "id, name",
    "link": "name, child, owner",
    "file": "container, attachment, version, path, size, crc, start, packed, method, mtime_ns",
    "named": "alias, name",
}
