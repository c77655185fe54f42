"""Small exports of our own making, in the dialects that releases write."""

import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from xml.sax.saxutils import escape

Dialect = Literal["old", "mid", "dc", "cloud"]
DIALECTS: tuple[Dialect, ...] = ("old", "mid", "dc", "cloud")

DESCRIPTORS: dict[Dialect, str] = {
    "old": "#Mon Oct 14 16:05:52 CEST 2013\nexportType=all\nbuildNumber=3391\nbackupAttachments=true\n",
    "mid": "exportType=space\nspaceKey=DOCS\nbuildNumber=6442\ncreatedByBuildNumber=6442\ncreatedByVersionNumber=5.9.14\n",
    "dc": "exportType=space\nspaceKey=DOCS\nsource=server\nbuildNumber=9012\ncreatedByBuildNumber=9012\n"
    "createdByVersionNumber=8.5.6\ntimezoneId=Europe/Berlin\n",
    "cloud": "exportType=space\nspaceKey=DOCS\nsource=cloud\nbuildNumber=6452\ncreatedByBuildNumber=6452\n"
    "createdByVersionNumber=1000.0.0-abcdef\ntimezoneId=UTC\n",
}


@dataclass(frozen=True)
class Ref:
    """A reference to another object."""

    kind: str
    id: str
    key: str = "id"


@dataclass(frozen=True)
class Many:
    """A collection of references."""

    kind: str
    ids: tuple[str, ...]


@dataclass(frozen=True)
class Raw:
    """XML as it stands."""

    xml: str


Value = str | int | Ref | Many | Raw | None


def cdata(text: str) -> str:
    """As Confluence writes text."""
    return f"<![CDATA[{text.replace(']]>', ']] >')}]]>"


def thing(kind: str, id: str | None, id_name: str = "id", **properties: Value) -> str:
    """One object."""
    parts = [f'<object class="{kind}" package="com.atlassian.confluence.any">']
    if id is not None:
        parts.append(f'<id name="{id_name}">{cdata(id) if id_name == "key" else id}</id>')
    for name, value in properties.items():
        match value:
            case Ref():
                inner = cdata(value.id) if value.key == "key" else value.id
                parts.append(
                    f'<property name="{name}" class="{value.kind}" package="x"><id name="{value.key}">{inner}</id></property>'
                )
            case Many():
                elements = "".join(
                    f'<element class="{value.kind}" package="x"><id name="id">{child}</id></element>'
                    for child in value.ids
                )
                parts.append(f'<collection name="{name}" class="java.util.Collection">{elements}</collection>')
            case Raw():
                parts.append(f'<property name="{name}">{value.xml}</property>')
            case None:
                parts.append(f'<property name="{name}"/>')
            case int():
                parts.append(f'<property name="{name}">{value}</property>')
            case str():
                parts.append(f'<property name="{name}">{cdata(value)}</property>')
    return "\n".join([*parts, "</object>"])


def document(*things: str) -> str:
    """A whole entities.xml."""
    body = "\n".join(things)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<hibernate-generic datetime="2024-05-06 07:08:09">\n{body}\n</hibernate-generic>'


@dataclass
class Export:
    """An export to be written as a zip or as a folder."""

    entities: str | bytes
    descriptor: str | None = None
    files: dict[str, bytes] = field(default_factory=dict)

    def _parts(self) -> dict[str, bytes]:
        entities = self.entities.encode("utf-8", "surrogatepass") if isinstance(self.entities, str) else self.entities
        parts = {"entities.xml": entities, **self.files}
        if self.descriptor is not None:
            parts["exportDescriptor.properties"] = self.descriptor.encode()
        return parts

    def zip(self, path: Path, prefix: str = "", stored: bool = False) -> Path:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED) as archive:
            for name, content in self._parts().items():
                archive.writestr(prefix + name, content)
        return path

    def folder(self, path: Path) -> Path:
        for name, content in self._parts().items():
            target = path / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        return path


def simple(*things: str, files: dict[str, bytes] | None = None) -> Export:
    """An export with space 1 (key DOCS) and these objects."""
    return Export(document(thing("Space", "1", name="Docs", key="DOCS"), *things), None, files or {})


def page(id: str, parent: str | None = None, space: str = "1", title: str | None = None, **more: Value) -> str:
    """A page as most releases write it."""
    properties: dict[str, Value] = {"title": title or f"Page {id}", "space": Ref("Space", space), "version": 1, **more}
    if parent is not None:
        properties["parent"] = Ref("Page", parent)
    return thing("Page", id, **properties)


def body(id: str, content: str, text: str, kind: int = 2, owner: str = "Page") -> str:
    """The body of a page, comment or description."""
    return thing("BodyContent", id, body=text, content=Ref(owner, content), bodyType=kind)


def sample(dialect: Dialect) -> Export:
    """One space, told in four dialects: a home page with a child, an old version and a draft of it, a blog post, a comment
    with a reply and one on the file, a file in two versions, labels, a restriction, permissions, two people, a group."""
    old, mid, dc = dialect == "old", dialect == "mid", dialect == "dc"
    alice, bob = "8a00000000000000000000000000000a", "8a00000000000000000000000000000b"

    def by(who: str) -> dict[str, Value]:
        when: dict[str, Value] = {
            "creationDate": Raw("2020-01-31 23:30:00.000"),
            "lastModificationDate": Raw("2020-02-01 08:00:00"),
        }
        if old:
            return {"creatorName": who, "lastModifierName": who, **when}
        person = Ref("ConfluenceUserImpl", alice if who == "alice" else bob, "key")
        return {"creator": person, "lastModifier": person, **when}

    def subject(who: str) -> dict[str, Value]:
        if old:
            return {"userName": who}
        return {"userSubject": Ref("ConfluenceUserImpl", alice if who == "alice" else bob, "key")}

    def holder(kind: str, id: str) -> dict[str, Value]:
        return {("owner" if kind == "Page" else "content") if old else "containerContent": Ref(kind, id)}

    # Nothing but null where other releases write an empty property.
    nothing: dict[str, Value] = {} if dc else {"originalVersionId": None, "position": None}
    things = [
        thing(
            "Space",
            "1",
            name="Docs & more",
            key="DOCS",
            description=Ref("SpaceDescription", "2"),
            homePage=Ref("Page", "10"),
            spaceType=Raw("global"),
            **by("alice"),
        ),
        thing("SpaceDescription", "2", space=Ref("Space", "1"), contentStatus="current"),
        body("3", "2", "All about it", 0, "SpaceDescription"),
        page(
            "10",
            title="Home",
            contentStatus="current",
            bodyContents=Many("BodyContent", ("110",)),
            **nothing,
            **by("alice"),
        ),
        page(
            "11", "10", title="Child", contentStatus="current", **{**nothing, "position": 3, "version": 7}, **by("bob")
        ),
        thing(
            "Page",
            "12",
            title="Child",
            version=6,
            contentStatus="current",
            originalVersion=Ref("Page", "11"),
            **by("bob"),
        ),
        page("13", "10", title="Child", contentStatus="draft", **by("bob")),
        page("14", "10", title="Gone", contentStatus="deleted", **by("bob")),
        body("110", "10", "<p>Home</p>"),
        body(
            "111",
            "11",
            f"<p><ac:link><ri:user {'ri:username' if old else 'ri:userkey'}='{'bob' if old else bob}'/></ac:link></p>",
        ),
        body("112", "12", "<p>old</p>"),
        thing(
            "BlogPost", "20", title="News", space=Ref("Space", "1"), version=1, contentStatus="current", **by("alice")
        ),
        body("120", "20", "<p>News</p>", owner="BlogPost"),
        thing("Comment", "30", **holder("Page", "10"), version=1, contentStatus="current", **by("bob")),
        thing(
            "Comment",
            "31",
            **holder("Page", "10"),
            parent=Ref("Comment", "30"),
            version=1,
            contentStatus="current",
            **by("alice"),
        ),
        thing("Comment", "32", **holder("Page", "14"), version=1, contentStatus="current", **by("alice")),
        body("130", "30", "<p>First</p>", owner="Comment"),
        body("131", "31", "<p>Second</p>", owner="Comment"),
        thing("Label", "50", name="howto", namespace="global"),
        thing("Label", "51", name="favourite", namespace="my"),
        thing("Labelling", "52", label=Ref("Label", "50"), content=Ref("Page", "11")),
        thing("Labelling", "53", label=Ref("Label", "51"), content=Ref("Page", "11")),
        thing("ContentPermissionSet", "60", type="View", owningContent=Ref("Page", "11")),
        thing("ContentPermission", "61", type="View", owningSet=Ref("ContentPermissionSet", "60"), **subject("alice")),
        thing("ContentPermission", "62", type="View", owningSet=Ref("ContentPermissionSet", "60"), groupName="Writers"),
        thing("SpacePermission", "70", type="VIEWSPACE", space=Ref("Space", "1"), group="writers", userSubject=None),
        thing("SpacePermission", "71", type="EDITSPACE", space=Ref("Space", "1"), **subject("bob")),
        thing("SpacePermission", "72", type="COMMENT", space=Ref("Space", "1")),
        thing("SpacePermission", "73", type="USECONFLUENCE", group="writers"),
    ]
    if old:
        things += [
            thing(
                "Attachment",
                "40",
                fileName="plan.txt",
                contentType="text/plain",
                fileSize=11,
                attachmentVersion=2,
                **holder("BlogPost", "20"),
                **by("alice"),
            ),
            thing(
                "Attachment",
                "41",
                fileName="plan.txt",
                attachmentVersion=1,
                originalVersion=Ref("Attachment", "40"),
                **holder("BlogPost", "20"),
                **by("alice"),
            ),
        ]
    else:
        things += [
            thing(
                "Attachment",
                "40",
                title="plan.txt",
                version=2,
                contentStatus="current",
                **holder("BlogPost", "20"),
                **by("alice"),
            ),
            thing(
                "Attachment",
                "41",
                title="plan.txt",
                version=1,
                contentStatus="current",
                originalVersionId=Raw("40"),
                **holder("BlogPost", "20"),
                **by("alice"),
            ),
            thing(
                "ContentProperty", "42", name="MEDIA_TYPE", stringValue="text/plain", content=Ref("Attachment", "40")
            ),
            thing("ContentProperty", "43", name="FILESIZE", longValue=11, content=Ref("Attachment", "40")),
        ]
    if not old:
        email = {"email": "alice@example.org"} if dc else {}
        account = {"atlassianAccountId": "557058:alice"} if dialect == "cloud" else {}
        things += [
            thing("ConfluenceUserImpl", alice, "key", name="Alice", lowerName="alice", **email, **account),
            thing("ConfluenceUserImpl", bob, "key", name="bob", lowerName="bob"),
        ]
    if old or mid:
        things += [
            thing(
                "InternalUser",
                "80",
                name="alice",
                active=Raw("true"),
                displayName="Alice A.",
                emailAddress="alice@example.org",
                directory=Ref("DirectoryImpl", "90"),
            ),
            thing(
                "InternalUser",
                "81",
                name="BOB",
                active=Raw("false"),
                firstName="Bob",
                lastName="B.",
                emailAddress="bob@example.org",
            ),
            thing("InternalGroup", "82", name="Writers", directory=Ref("DirectoryImpl", "90")),
            thing("InternalGroup", "83", name="Editors"),
            thing(
                "HibernateMembership",
                "84",
                parentGroup=Ref("InternalGroup", "82"),
                userMember=Ref("InternalUser", "80"),
            ),
            thing(
                "HibernateMembership",
                "85",
                parentGroup=Ref("InternalGroup", "82"),
                groupMember=Ref("InternalGroup", "83"),
            ),
            thing(
                "HibernateMembership",
                "86",
                parentGroup=Ref("InternalGroup", "83"),
                userMember=Ref("InternalUser", "81"),
            ),
            thing(
                "HibernateMembership",
                "87",
                parentGroup=Ref("InternalGroup", "83"),
                groupMember=Ref("InternalGroup", "82"),
            ),
            thing("DirectoryImpl", "90", name="Company directory"),
        ]
    files = {"attachments/20/40/1": b"first plan", "attachments/20/40/2": b"second plan"}
    return Export(document(*things), DESCRIPTORS[dialect], files)


def escaped(text: str) -> Raw:
    """Text without CDATA."""
    return Raw(escape(text))
