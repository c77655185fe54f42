"""From the JSON of Server and Data Center REST to the model. Pure functions; what is not told becomes None."""

import html
import re
from collections.abc import Iterator
from datetime import date, datetime
from typing import Any, Literal

from shared.confluence.model import (
    Attachment,
    Comment,
    Content,
    FileVersion,
    Item,
    Person,
    Restriction,
    Revision,
    Space,
)

Json = dict[str, Any]

#: (targetType, operationKey) of REST (9.1 and later) to the name of the permission in exports and JSON-RPC.
PERMISSIONS: dict[tuple[str, str], str] = {
    ("space", "read"): "VIEWSPACE",
    ("space", "delete_own"): "REMOVEOWNCONTENT",
    ("page", "create"): "EDITSPACE",
    ("page", "delete"): "REMOVEPAGE",
    ("blogpost", "create"): "EDITBLOG",
    ("blogpost", "delete"): "REMOVEBLOG",
    ("attachment", "create"): "CREATEATTACHMENT",
    ("attachment", "delete"): "REMOVEATTACHMENT",
    ("comment", "create"): "COMMENT",
    ("comment", "delete"): "REMOVECOMMENT",
    ("space", "restrict"): "SETPAGEPERMISSIONS",
    ("space", "export"): "EXPORTSPACE",
    ("space", "administer"): "SETSPACEPERMISSIONS",
    ("space", "delete_mail"): "REMOVEMAIL",
}

RESTRICTIONS = ",".join(f"restrictions.{o}.restrictions.{s}" for o in ("read", "update") for s in ("user", "group"))

_CDATA = re.compile(r"<!\[CDATA\[.*?\]\]>", re.DOTALL)
_MENTION = re.compile(r"<ri:user\b[^>]*?\bri:(userkey|username)\s*=\s*(?:\"([^\"]*)\"|'([^']*)')")
_DAY = re.compile(r"/(\d{4})/(\d{2})/(\d{2})/")


def moment(text: object) -> datetime | None:
    """ISO 8601 with an offset; None if it is not that."""
    try:
        parsed = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return parsed if parsed.tzinfo else None


def person_id(row: Json | None) -> str | None:
    """Key of a user (or the name, where there are no keys); None for anonymous."""
    if not row or row.get("type") == "anonymous":
        return None
    return row.get("userKey") or row.get("username") or None


def person(row: Json, email: str | None = None) -> Person | None:
    id = person_id(row)
    if id is None or row.get("type") == "unknown":
        return None
    status = row.get("status")
    details = (row.get("details") or {}).get("personal") or {}
    return Person(
        id=id,
        username=row.get("username"),
        display_name=row.get("displayName"),
        email=email or details.get("email") or None,
        active=None if status is None else status == "current",
    )


def space(row: Json, status: Literal["current", "archived"]) -> Space:
    """``status``: which list it was in, for versions that do not say it in the row."""
    told = row.get("status") or status
    homepage = row.get("homepage") or {}
    expandable = str((row.get("_expandable") or {}).get("homepage") or "")
    home = homepage.get("id") or (expandable.rsplit("/", 1)[-1] if "/content/" in expandable else None)
    plain = (row.get("description") or {}).get("plain") or {}
    return Space(
        id=str(row["id"]),
        key=row["key"],
        name=row.get("name") or row["key"],
        type="personal" if row.get("type") == "personal" else "global",
        status="archived" if str(told).lower() == "archived" else "current",
        homepage_id=str(home) if home else None,
        description=plain.get("value") or "",
        creator=person_id(row.get("creator")),
        created_at=moment(row.get("creationDate")),
        labels=space_labels(row),
    )


def space_labels(row: Json) -> tuple[str, ...]:
    """Categories, which are labels with the prefix "team", and global ones."""
    results = ((row.get("metadata") or {}).get("labels") or {}).get("results") or ()
    return tuple(sorted({x["name"] for x in results if x.get("prefix") in ("team", "global")}))


def global_labels(row: Json) -> tuple[str, ...]:
    results = ((row.get("metadata") or {}).get("labels") or {}).get("results") or ()
    return tuple(x["name"] for x in results if x.get("prefix") == "global")


def restrictions(row: Json) -> tuple[Restriction, ...]:
    """Of a content with ``restrictions`` expanded, or of the answer of restriction/byOperation."""
    told = row.get("restrictions") or {}
    found: list[Restriction] = []
    operations: tuple[Literal["read", "update"], ...] = ("read", "update")
    for operation in operations:
        holders = (told.get(operation) or {}).get("restrictions") or {}
        for user in (holders.get("user") or {}).get("results") or ():
            id = person_id(user)
            if id:
                found.append(Restriction(operation, person=id))
        for group in (holders.get("group") or {}).get("results") or ():
            found.append(Restriction(operation, group=group["name"]))
    return tuple(found)


def number(row: Json) -> int:
    return int((row.get("version") or {}).get("number") or 1)


def position(row: Json) -> int | None:
    """``extensions.position`` is a number or the word "none"; from 9.0 also ``position``, -1 for none."""
    told = (row.get("extensions") or {}).get("position", row.get("position"))
    return told if isinstance(told, int) and told >= 0 else None


def parent_page(row: Json) -> str | None:
    ancestors = row.get("ancestors") or ()
    return str(ancestors[-1]["id"]) if ancestors else None


def parent_comment(row: Json) -> tuple[str | None, int]:
    """The comment that is answered, and how many answers deep."""
    above = [a for a in row.get("ancestors") or () if a.get("type") == "comment"]
    return (str(above[-1]["id"]) if above else None), len(above)


def posting_day(row: Json) -> date | None:
    """Of a blog post: as its own address has it, else the day it was made, by the server's clock."""
    found = _DAY.search(str((row.get("_links") or {}).get("webui") or ""))
    if found:
        try:
            return date(*(int(x) for x in found.groups()))
        except ValueError:
            pass
    made = moment((row.get("history") or {}).get("createdDate"))
    return made.date() if made else None


def content(row: Json, restricted: tuple[Restriction, ...] | None = None) -> Content:
    kind: Literal["page", "blogpost"] = "blogpost" if row["type"] == "blogpost" else "page"
    history, version = row.get("history") or {}, row.get("version") or {}
    return Content(
        id=str(row["id"]),
        kind=kind,
        space_id=str((row.get("space") or {}).get("id")),
        title=row["title"],
        body=((row.get("body") or {}).get("storage") or {}).get("value") or "",
        format="storage",
        version=number(row),
        creator=person_id(history.get("createdBy")),
        created_at=moment(history.get("createdDate")),
        modifier=person_id(version.get("by")),
        modified_at=moment(version.get("when")),
        parent=parent_page(row) if kind == "page" else None,
        posting_day=posting_day(row) if kind == "blogpost" else None,
        labels=global_labels(row),
        restrictions=restrictions(row) if restricted is None else restricted,
        message=version.get("message") or None,
    )


def revision(row: Json) -> Revision:
    """A version that was asked for by its number, with its body."""
    version = row.get("version") or {}
    return Revision(
        number=number(row),
        body=((row.get("body") or {}).get("storage") or {}).get("value") or "",
        format="storage",
        editor=person_id(version.get("by")),
        edited_at=moment(version.get("when")),
        message=version.get("message") or None,
    )


def file_version(row: Json) -> FileVersion:
    version, extensions = row.get("version") or {}, row.get("extensions") or {}
    size = extensions.get("fileSize")
    return FileVersion(
        number=number(row),
        size=int(size) if size is not None else None,
        comment=extensions.get("comment") or version.get("message") or None,
        editor=person_id(version.get("by")),
        edited_at=moment(version.get("when")),
    )


def comment(row: Json) -> Comment:
    history, extensions = row.get("history") or {}, row.get("extensions") or {}
    inline = extensions.get("inlineProperties") or {}
    return Comment(
        id=str(row["id"]),
        container=str((row.get("container") or {}).get("id")),
        parent=parent_comment(row)[0],
        body=((row.get("body") or {}).get("storage") or {}).get("value") or "",
        format="storage",
        version=number(row),
        creator=person_id(history.get("createdBy")),
        created_at=moment(history.get("createdDate")),
        location="footer" if extensions.get("location", "footer") == "footer" else "inline",
        resolved=resolved(row),
        selection=inline.get("originalSelection") or None,
        marker=inline.get("markerRef") or None,
        modifier=person_id((row.get("version") or {}).get("by")),
        modified_at=moment((row.get("version") or {}).get("when")),
    )


def attachment(row: Json) -> Attachment:
    history, extensions = row.get("history") or {}, row.get("extensions") or {}
    size = extensions.get("fileSize")
    return Attachment(
        id=str(row["id"]),
        container=str((row.get("container") or {}).get("id")),
        filename=row["title"],
        media_type=extensions.get("mediaType")
        or (row.get("metadata") or {}).get("mediaType")
        or "application/octet-stream",
        size=int(size) if size is not None else None,
        version=number(row),
        comment=extensions.get("comment") or None,
        creator=person_id(history.get("createdBy")),
        created_at=moment(history.get("createdDate")),
        labels=global_labels(row),
        modifier=person_id((row.get("version") or {}).get("by")),
        modified_at=moment((row.get("version") or {}).get("when")),
    )


def page_item(row: Json, homepage_id: str | None, properties: int = 0, watchers: int = 0) -> Item:
    """Of a page or blog post."""
    page = row["type"] == "page"
    return Item(
        kind="page" if page else "blogpost",
        id=str(row["id"]),
        version=number(row),
        parent=parent_page(row) if page else None,
        depth=len(row.get("ancestors") or ()) if page else 0,
        position=position(row) if page else None,
        labels=len(global_labels(row)),
        restrictions=len(restrictions(row)),
        properties=properties,
        watchers=watchers,
        history=number(row) - 1,
        homepage=page and str(row["id"]) == homepage_id,
    )


def comment_item(row: Json, container: str) -> Item:
    parent, depth = parent_comment(row)
    id, version = str(row["id"]), number(row)
    return Item("comment", id, version, parent=parent, container=container, depth=depth, resolved=resolved(row))


def resolved(row: Json) -> bool:
    return ((row.get("extensions") or {}).get("resolution") or {}).get("status") == "resolved"


def attachment_item(row: Json, container: str) -> Item:
    size = (row.get("extensions") or {}).get("fileSize")
    return Item(
        kind="attachment",
        id=str(row["id"]),
        version=number(row),
        container=container,
        size=int(size) if size is not None else None,
        labels=len(global_labels(row)),
    )


def mentions(body: str) -> Iterator[tuple[str, str]]:
    """("userkey" | "username", value) of each mention in storage format; not those in code samples."""
    for found in _MENTION.finditer(_CDATA.sub("", body)):
        yield found[1], html.unescape(found[2] or found[3] or "")


def author_rows(row: Json) -> list[Json]:
    """Who made it and who last changed it, as it says."""
    told = ((row.get("history") or {}).get("createdBy"), (row.get("version") or {}).get("by"))
    return [person for person in told if person is not None and person_id(person)]


def authors(row: Json) -> list[str]:
    """Ids of who made it and who last changed it."""
    return [str(person_id(person)) for person in author_rows(row)]
