"""Writes an instance, or some spaces of it, as an export: a zip with ``entities.xml`` or tables, the descriptor, and the files.

One document with all that hangs on it is in memory at a time. The same instance gives the same bytes.
"""

import zipfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import count
from json import dumps
from typing import IO

from sandbox.export.elements import Dialect, Enum, Ids, Raw, Ref
from sandbox.export.tables import Tables
from sandbox.sample.model import Content, Instance, Kind, Revision, Space
from sandbox.versions import Version

_CLASSES = {"page": "Page", "blogpost": "BlogPost", "comment": "Comment", "attachment": "Attachment"}
_STATUSES = {"current": "current", "trashed": "deleted", "draft": "draft"}
#: Ids of objects that REST does not show begin here, well above those of content.
_HIDDEN = 1 << 41
_WHEN = (2025, 1, 6, 3, 30, 0)
_CREDENTIAL = (
    '<component name="credential"><property name="credential"><![CDATA[{PKCS5S2}not-a-real-hash-of-anybody]]></property>'
    "</component>"
)
_JSON_PROPERTIES = "com.atlassian.confluence.plugins.confluence-content-property-storage:content-property"


@dataclass(frozen=True, slots=True)
class Progress:
    """``done`` of ``total`` entities; the total is that of the instance, so of some spaces fewer may come."""

    done: int
    total: int


def write_export(
    instance: Instance,
    version: Version,
    file: IO[bytes],
    *,
    spaces: Iterable[str] | None = None,
    attachments: bool = True,
    base_url: str = "http://confluence.example.com",
) -> Iterator[Progress]:
    """Writes while it is iterated. ``spaces``: keys of the spaces of a space export; None: a site export, with people, groups
    and directories. ``attachments``: whether their bytes are in it."""
    keys = sorted(instance.spaces) if spaces is None else [k for k in sorted(instance.spaces) if k in set(spaces)]
    writer = _Writer(instance, Dialect(version), base_url, site=spaces is None)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr(
            _member("exportDescriptor.properties"),
            _descriptor(instance, version, None if spaces is None else keys, attachments),
        )
        done, total = 0, max(len(instance.contents), 1)
        with archive.open(_member("entities.xml"), "w", force_zip64=True) as out:
            out.write(b'<?xml version="1.0" encoding="UTF-8"?>\n<hibernate-generic datetime="2025-01-06 03:30:00">\n')
            for entities, text in writer.everything(keys):
                out.write(text.encode())
                done += entities
                yield Progress(done, total)
            out.write(b"</hibernate-generic>\n")
        for _ in _files(archive, instance, keys if attachments else []):
            yield Progress(done, total)


def write_csv_export(
    instance: Instance,
    file: IO[bytes],
    *,
    space: str,
    attachments: bool = True,
    base_url: str = "http://confluence.example.com",
) -> Iterator[Progress]:
    """Writes one space as Confluence Cloud exports it in CSV form, while it is iterated."""
    done, total = 0, max(len(instance.contents), 1)
    with ExitStack() as stack, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr(_member("exportDescriptor.properties"), _csv_descriptor(instance, space, attachments))
        tables = Tables(Version("10.0.3"), stack)
        tables.open()
        for entities, _ in _Writer(instance, tables, base_url, site=False).everything([space]):
            done += entities
            yield Progress(done, total)
        for name, rows in tables.written():
            # Their names say that they are packed, and they are not.
            with archive.open(_member(f"{name}.csv.gz"), "w", force_zip64=True) as out:
                while text := rows.read(1 << 18):
                    out.write(text.encode())
        for _ in _files(archive, instance, [space] if attachments else []):
            yield Progress(done, total)


def _files(archive: zipfile.ZipFile, instance: Instance, keys: list[str]) -> Iterator[None]:
    for key in keys:
        for attached in instance.listed("attachment", key):
            if not attached.missing_file:
                for revision in attached.revisions:
                    path = f"attachments/{attached.container}/{attached.id}/{revision.number}"
                    archive.writestr(_member(path), instance.file(attached, revision.number))
            yield


def _member(name: str) -> zipfile.ZipInfo:
    """Always of the same time, so that the same content makes the same file."""
    info = zipfile.ZipInfo(name, _WHEN)
    info.compress_type = zipfile.ZIP_DEFLATED
    return info


def _descriptor(instance: Instance, version: Version, keys: list[str] | None, attachments: bool) -> str:
    lines = [
        f"exportType={'all' if keys is None else 'space'}",
        *([f"spaceKey={keys[0]}"] if keys else []),
        f"buildNumber={version.build}",
        f"createdByBuildNumber={version.build}",
        f"createdByVersionNumber={version.text}",
        f"backupAttachments={str(attachments).lower()}",
        "defaultUsersGroup=confluence-users",
    ]
    if version.has("export-origin"):
        lines += ["source=server", _zone(instance)]
    return "".join(f"{line}\n" for line in ["#Mon Jan 06 03:30:00 2025", *lines])


def _csv_descriptor(instance: Instance, key: str, attachments: bool) -> str:
    lines = ["exportFormat=csv", "exportType=space", "source=cloud", f"spaceKey={key}", _zone(instance)]
    lines += ["createdByVersionNumber=1000.0.0-0123456789ab", f"backupAttachments={str(attachments).lower()}"]
    return "".join(f"{line}\n" for line in ["#Mon Jan 06 03:30:00 2025", *lines])


def _zone(instance: Instance) -> str:
    hours = int(instance.offset / timedelta(hours=1))
    # The sign of these names is that of POSIX: hours to be added to get UTC.
    return f"timezoneId={f'Etc/GMT{-hours:+d}' if hours else 'UTC'}"


class _Writer:
    """Each method gives the XML of something, with all that it needs; ids that are not the instance's own are counted."""

    def __init__(self, instance: Instance, dialect: Dialect, base_url: str, *, site: bool) -> None:
        self.instance, self.dialect, self.base_url, self.site = instance, dialect, base_url, site
        self.ids = count(_HIDDEN)
        self.labels: dict[tuple[str, str], int] = {}
        self.zone = instance.timezone

    def everything(self, keys: list[str]) -> Iterator[tuple[int, str]]:
        """XML in pieces, each with how many entities of the instance it holds."""
        for person in self.instance.users.values():
            yield (
                0,
                self.dialect.element(
                    "ConfluenceUserImpl",
                    person.key,
                    name=person.username,
                    lowerName=person.username.lower(),
                    # Exports of a space by 8.0 and later carry addresses; those of a site have them with the directory's rows.
                    **({"email": person.email} if self.dialect.modern and not self.site and person.email else {}),
                ),
            )
        if self.site:
            yield from ((0, text) for text in self._directories())
        kinds: tuple[Kind, ...] = ("page", "blogpost")
        for key in keys:
            yield 0, self._space(self.instance.spaces[key])
            for kind in kinds:
                for content in self.instance.listed(kind, key):
                    files = self.instance.hanging(content.id, "attachment")
                    comments = [c for owner in (content, *files) for c in self.instance.hanging(owner.id, "comment")]
                    yield 1 + len(files) + len(comments), self._document(content, files, comments)

    # --- people ---------------------------------------------------------------------------------------------------------

    def _directories(self) -> Iterator[str]:
        element = self.dialect.element
        ids = self.ids
        users = self.instance.users.values()
        names = sorted({u.directory for u in users} | {g.directory for g in self.instance.groups.values()})
        directories = {name: next(ids) for name in names}
        for name, id in directories.items():
            internal = "Internal" in name
            kind = Enum("DirectoryType", "com.atlassian.crowd.embedded.api", "INTERNAL" if internal else "CONNECTOR")
            yield element("DirectoryImpl", id, name=name, lowerName=name.lower(), active=True, type=kind)
        accounts: dict[str, int] = {}
        for user in users:
            accounts[user.key] = id = next(ids)
            first, _, last = user.display_name.partition(" ")
            yield element(
                "InternalUser",
                id,
                name=user.username,
                lowerName=user.username.lower(),
                active=user.active,
                firstName=first,
                lastName=last,
                displayName=user.display_name,
                lowerDisplayName=user.display_name.lower(),
                emailAddress=user.email,
                lowerEmailAddress=user.email.lower() if user.email else None,
                directory=Ref("DirectoryImpl", directories[user.directory]),
                component=Raw(_CREDENTIAL),
            )
        groups = {name: next(ids) for name in self.instance.groups}
        for name, id in groups.items():
            group = self.instance.groups[name]
            kind = Enum("GroupType", "com.atlassian.crowd.model.group", "GROUP")
            directory = Ref("DirectoryImpl", directories[group.directory])
            yield element(
                "InternalGroup",
                id,
                name=name,
                lowerName=name.lower(),
                active=True,
                local=False,
                type=kind,
                directory=directory,
            )
        for name, id in groups.items():
            group, parent = self.instance.groups[name], Ref("InternalGroup", id)
            for key in group.users:
                yield element(
                    "HibernateMembership", next(ids), parentGroup=parent, userMember=Ref("InternalUser", accounts[key])
                )
            for inner in group.groups:
                yield element(
                    "HibernateMembership",
                    next(ids),
                    parentGroup=parent,
                    groupMember=Ref("InternalGroup", groups[inner]),
                )
        for kind_of_right in ("USECONFLUENCE", "CREATESPACE"):
            yield element("SpacePermission", next(ids), type=kind_of_right, group="confluence-users", space=None)

    # --- spaces ---------------------------------------------------------------------------------------------------------

    def _person(self, key: str | None) -> Ref | None:
        return None if key is None else Ref("ConfluenceUserImpl", key)

    def _space(self, space: Space) -> str:
        element, ids = self.dialect.element, self.ids
        created = space.created.astimezone(self.zone)
        by = {"creator": self._person(space.creator), "lastModifier": self._person(space.creator)}
        description, body = next(ids), next(ids)
        permissions = [next(ids) for _ in space.permissions]
        status = Enum("SpaceStatus", "com.atlassian.confluence.spaces", space.status.upper())
        labellings, labelled = self._labellings(
            Ref("SpaceDescription", description), [("team", n) for n in space.labels], created
        )
        parts = [
            element(
                "Space",
                space.id,
                name=space.name,
                key=space.key,
                lowerKey=space.key.lower(),
                creationDate=created,
                lastModificationDate=created,
                spaceType=space.type,
                spaceStatus=status,
                description=Ref("SpaceDescription", description),
                homePage=Ref("Page", space.homepage) if space.homepage else None,
                permissions=Ids("SpacePermission", permissions),
                **by,
            ),
            element(
                "SpaceDescription",
                description,
                hibernateVersion=1,
                title=None,
                version=1,
                contentStatus="current",
                creationDate=created,
                lastModificationDate=created,
                versionComment="",
                space=Ref("Space", space.id),
                bodyContents=Ids("BodyContent", [body]),
                labellings=Ids("Labelling", labellings),
                **by,
            ),
            element(
                "BodyContent", body, body=space.description, content=Ref("SpaceDescription", description), bodyType=0
            ),
            labelled,
        ]
        for id, held in zip(permissions, space.permissions, strict=True):
            parts.append(
                element(
                    "SpacePermission",
                    id,
                    type=held.type,
                    group=held.group,
                    allUsersSubject=None,
                    creationDate=created,
                    lastModificationDate=created,
                    space=Ref("Space", space.id),
                    userSubject=self._person(held.user),
                )
            )
        parts += [
            element(
                "Notification",
                next(ids),
                creationDate=created,
                digest=False,
                network=False,
                space=Ref("Space", space.id),
                receiver=self._person(key),
            )
            for key in space.watchers
        ]
        return "".join(parts)

    # --- content --------------------------------------------------------------------------------------------------------

    def _document(self, c: Content, files: list[Content], comments: list[Content]) -> str:
        """A page or blog post with its history, and with its files and comments and theirs."""
        ids, kind = self.ids, _CLASSES[c.kind]
        me = Ref(kind, c.id)
        body = next(ids)
        sets = {o: (next(ids), [next(ids) for r in c.restrictions if r.operation == o]) for o in ("read", "update")}
        sets = {o: held for o, held in sets.items() if held[1]}
        labellings, labelled = self._labellings(me, c.labels, c.modified)
        history = {r.number: next(ids) for r in c.revisions[:-1]}
        properties = [next(ids)] if c.kind == "page" else []
        below = self.instance.children(c.id, "page") if c.kind == "page" and not self.dialect.modern else []
        ancestors = [a.id for a in self.instance.ancestors(c)] if c.kind == "page" and not self.dialect.modern else []
        tree = {
            "position": c.position,
            "parent": Ref("Page", c.parent) if c.parent else None,
            "children": Ids("Page", [b.id for b in below if b.status == "current"]),
            "ancestors": Ids("Page", ancestors, "java.util.List"),
        }
        parts = [
            self._content(
                c,
                kind,
                c.id,
                c.revisions[-1],
                space=Ref("Space", self.instance.spaces[c.space].id),
                bodyContents=Ids("BodyContent", [body]),
                comments=Ids("Comment", [x.id for x in comments if x.container == c.id]),
                attachments=Ids("Attachment", [f.id for f in files]),
                labellings=Ids("Labelling", labellings),
                contentPermissionSets=Ids("ContentPermissionSet", [s for s, _ in sets.values()]),
                historicalVersions=Ids(kind, list(history.values())),
                contentProperties=Ids("ContentProperty", properties),
                **(tree if c.kind == "page" else {}),
            ),
            self._body(body, me, self.instance.body(c, self.base_url)),
            labelled,
            *(self._number_property(id, me, "macro-count.toc", 1) for id in properties),
        ]
        for revision in c.revisions[:-1]:
            old, old_body = history[revision.number], next(ids)
            parts.append(self._content(c, kind, old, revision, bodyContents=Ids("BodyContent", [old_body])))
            parts.append(self._body(old_body, Ref(kind, old), self.instance.body(c, self.base_url, revision.number)))
        parts += [self._restrictions(c, me, operation, *held) for operation, held in sets.items()]
        parts += [self._json_property(c, me, key, value) for key, value in c.properties]
        parts += [self._watch(me, c, key) for key in c.watchers]
        parts += [self._attachment(f, me) for f in files]
        parts += [
            self._comment(x, me if x.container == c.id else Ref("Attachment", x.container or 0), comments)
            for x in comments
        ]
        return "".join(parts)

    def _content(self, c: Content, kind: str, id: int, revision: Revision, **more: Ids | Ref | int | None) -> str:
        """A version of something. History rows say current as well, and name the live one."""
        live = id == c.id
        original: dict[str, Ref | int | None] = (
            {"originalVersion": None} if live else {"originalVersion": Ref(kind, c.id)}
        )
        if not self.dialect.modern:
            original = {"originalVersionId": None if live else c.id}
        titled = kind != "Comment" or not self.dialect.modern
        return self.dialect.element(
            kind,
            id,
            hibernateVersion=revision.number,
            **({"title": c.title, "lowerTitle": c.title.lower()} if titled else {}),
            version=revision.number,
            creationDate=c.created.astimezone(self.zone),
            lastModificationDate=revision.when.astimezone(self.zone),
            # Of a file it is the comment that it was uploaded with.
            versionComment=c.comment if kind == "Attachment" and live else revision.message,
            contentStatus=_STATUSES[c.status] if live else "current",
            creator=self._person(c.creator),
            lastModifier=self._person(revision.by),
            **original,
            **more,
        )

    def _body(self, id: int, of: Ref, text: str) -> str:
        return self.dialect.element("BodyContent", id, body=text, content=of, bodyType=2)

    def _labellings(self, of: Ref, labels: Iterable[tuple[str, str]], when: datetime) -> tuple[list[int], str]:
        used, parts = [], []
        for label in labels:
            if label not in self.labels:
                self.labels[label] = next(self.ids)
                parts.append(self.dialect.element("Label", self.labels[label], name=label[1], namespace=label[0]))
            used.append(next(self.ids))
            parts.append(
                self.dialect.element(
                    "Labelling",
                    used[-1],
                    label=Ref("Label", self.labels[label]),
                    content=of,
                    labelableId=int(of.id),
                    labelableType="CONTENT",
                    creationDate=when.astimezone(self.zone),
                )
            )
        return used, "".join(parts)

    def _restrictions(self, c: Content, me: Ref, operation: str, id: int, holders: list[int]) -> str:
        type = "View" if operation == "read" else "Edit"
        parts = [
            self.dialect.element(
                "ContentPermissionSet",
                id,
                type=type,
                owningContent=me,
                contentPermissions=Ids("ContentPermission", holders),
            )
        ]
        for holder, held in zip(holders, (r for r in c.restrictions if r.operation == operation), strict=True):
            parts.append(
                self.dialect.element(
                    "ContentPermission",
                    holder,
                    type=type,
                    userSubject=self._person(held.user),
                    groupName=held.group,
                    owningSet=Ref("ContentPermissionSet", id),
                )
            )
        return "".join(parts)

    def _text_property(self, id: int, of: Ref, name: str, text: str) -> str:
        owner = self.dialect.owner(of.kind, int(of.id))
        return self.dialect.element(
            "ContentProperty", id, name=name, stringValue=text, longValue=None, dateValue=None, content=owner
        )

    def _number_property(self, id: int, of: Ref, name: str, number: int) -> str:
        owner = self.dialect.owner(of.kind, int(of.id))
        return self.dialect.element(
            "ContentProperty", id, name=name, stringValue=None, longValue=number, dateValue=None, content=owner
        )

    def _json_property(self, c: Content, me: Ref, key: str, value: object) -> str:
        id, body = next(self.ids), next(self.ids)
        return self.dialect.element(
            "CustomContentEntityObject",
            id,
            title=key,
            lowerTitle=key.lower(),
            version=1,
            contentStatus="current",
            creator=self._person(c.creator),
            creationDate=c.created.astimezone(self.zone),
            pluginModuleKey=_JSON_PROPERTIES,
            containerContent=me,
            bodyContents=Ids("BodyContent", [body]),
        ) + self.dialect.element(
            "BodyContent", body, body=dumps(value), content=Ref("CustomContentEntityObject", id), bodyType=1
        )

    def _watch(self, me: Ref, c: Content, key: str) -> str:
        type = Enum(
            "ContentTypeEnum", "com.atlassian.confluence.search.service", "page" if c.kind == "page" else "blogpost"
        )
        receiver = self._person(key)
        when = c.created.astimezone(self.zone)
        return self.dialect.element(
            "Notification",
            next(self.ids),
            creationDate=when,
            digest=False,
            network=False,
            type=type,
            content=me,
            receiver=receiver,
        )

    def _attachment(self, f: Content, container: Ref) -> str:
        ids, me = self.ids, Ref("Attachment", f.id)
        told = [next(ids) for _ in range(3)]
        labellings, labelled = self._labellings(me, f.labels, f.modified)
        place = {"containerContent": container, "space": Ref("Space", self.instance.spaces[f.space].id)}
        collections = {"contentProperties": Ids("ContentProperty", told), "labellings": Ids("Labelling", labellings)}
        parts = [self._content(f, "Attachment", f.id, f.revisions[-1], **place, **collections), labelled]
        parts.append(self._text_property(told[0], me, "MEDIA_TYPE", f.media_type))
        parts.append(self._number_property(told[1], me, "FILESIZE", f.size))
        parts.append(self._text_property(told[2], me, "MINOR_EDIT", "true"))
        parts += [self._content(f, "Attachment", next(ids), r, **place) for r in f.revisions[:-1]]
        return "".join(parts)

    def _comment(self, c: Content, container: Ref, comments: list[Content]) -> str:
        ids, me = self.ids, Ref("Comment", c.id)
        body = next(ids)
        top = c
        while top.parent is not None:
            top = self.instance.contents[top.parent]
        told: list[tuple[str, str]] = []
        if top.inline:
            told.append(("inline-comment", "true"))
        if c.inline:
            told += [("inline-marker-ref", c.inline.marker), ("inline-original-selection", c.inline.selection)]
            if c.inline.status != "open":
                told += [("status", c.inline.status), ("status-lastmodifier", c.creator)]
        properties = [next(ids) for _ in told]
        below = [x.id for x in comments if x.parent == c.id]
        history = {r.number: next(ids) for r in c.revisions[:-1]}
        parts = [
            self._content(
                c,
                "Comment",
                c.id,
                c.revisions[-1],
                containerContent=container,
                parent=Ref("Comment", c.parent) if c.parent else None,
                children=Ids("Comment", below),
                bodyContents=Ids("BodyContent", [body]),
                contentProperties=Ids("ContentProperty", properties),
            ),
            self._body(body, me, self.instance.body(c, self.base_url)),
        ]
        parts += [self._text_property(id, me, name, text) for id, (name, text) in zip(properties, told, strict=True)]
        parts += [self._content(c, "Comment", history[r.number], r) for r in c.revisions[:-1]]
        return "".join(parts)
