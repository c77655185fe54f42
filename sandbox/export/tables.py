"""The rows of a CSV export of Confluence Cloud, made of the same objects as the XML of one.

Tables, their columns and how values stand in them are those of real exports. Of likes, watches and roles no description tells the
columns, so there are none.
"""

import csv
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from tempfile import SpooledTemporaryFile
from typing import IO, cast

from sandbox.export.elements import Dialect, Enum, Ids, Raw, Ref, Value

_IN_MEMORY = 1 << 20
_CONTENT = {
    "Page": "PAGE",
    "BlogPost": "BLOGPOST",
    "Comment": "COMMENT",
    "Attachment": "ATTACHMENT",
    "SpaceDescription": "SPACEDESCRIPTION",
    "CustomContentEntityObject": "CUSTOM",
}
_TABLES = {
    "Space": "spaces",
    "BodyContent": "bodycontent",
    "ContentProperty": "contentproperties",
    "Label": "label",
    "Labelling": "content_label",
    "ContentPermissionSet": "content_perm_set",
    "ContentPermission": "content_perm",
    "SpacePermission": "spacepermissions",
    "ConfluenceUserImpl": "user_mapping",
}
#: Columns of each table; after a sign of equality the property that stands in it.
_COLUMNS = {
    "content": "contentid=id hibernateversion=hibernateVersion contenttype=class title=title lowertitle=lowerTitle version=version "
    "creator=creator creationdate=creationDate lastmodifier=lastModifier lastmoddate=lastModificationDate "
    "versioncomment=versionComment prevver=originalVersion content_status=contentStatus pageid=containerContent spaceid=space "
    "child_position=position parentid=page_parent messageid pluginkey=pluginModuleKey pluginver parentccid draftpageid "
    "draftspacekey drafttype draftpageversion parentcommentid=comment_parent username navigationtype",
    "bodycontent": "bodycontentid=id body=body contentid=content bodytypeid=bodyType",
    "spaces": "spaceid=id spacename=name spacekey=key spacedescid=description homepage=homePage creator=creator "
    "creationdate=creationDate lastmodifier=lastModifier lastmoddate=lastModificationDate spacetype=spaceType "
    "spacestatus=spaceStatus lowerspacekey=lowerKey",
    "user_mapping": "user_key=id username=name lower_username=lowerName aaid=atlassianAccountId",
    "contentproperties": "propertyid=id propertyname=name stringval=stringValue longval=longValue dateval=dateValue contentid=content",
    "label": "labelid=id name=name owner namespace=namespace creationdate lastmoddate",
    "content_label": "id=id labelid=label contentid=content pagetemplateid owner creationdate=creationDate lastmoddate "
    "labelableid=labelableId labelabletype=labelableType",
    "content_perm_set": "id=id cont_perm_type=type content_id=owningContent creationdate lastmoddate",
    "content_perm": "id=id cp_type=type username=userSubject groupname=groupName external_group_id cps_id=owningSet creator "
    "creationdate lastmodifier lastmoddate",
    "spacepermissions": "permid=id spaceid=space permtype=type permgroupname=group externalgroupid permusername=userSubject "
    "permalluserssubject=allUsersSubject creator creationdate=creationDate lastmodifier lastmoddate=lastModificationDate "
    "active=active",
    # There with a head alone.
    "pagetemplates": "templateid hibernateversion templatename templatedesc content spaceid prevver version creator creationdate "
    "lastmodifier lastmoddate bodytypeid",
}


@dataclass(frozen=True, slots=True)
class Tables(Dialect):
    """Takes each object as a row. Of text there is nothing: ``element`` gives the empty string."""

    stack: ExitStack = field(default_factory=ExitStack)
    files: dict[str, IO[str]] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def modern(self) -> bool:
        return True

    def open(self) -> None:
        for name, columns in _COLUMNS.items():
            self.files[name] = self._file()
            self.counts[name] = 0
            csv.writer(self.files[name]).writerow(column.partition("=")[0] for column in columns.split())

    def _file(self) -> IO[str]:
        """Gone with the stack."""
        file = SpooledTemporaryFile(_IN_MEMORY, "w+", encoding="utf-8", newline="")  # noqa: SIM115
        return cast(IO[str], self.stack.enter_context(file))

    def element(self, kind: str, id: int | str, **properties: Value) -> str:
        table = "content" if kind in _CONTENT else _TABLES.get(kind)
        if table is None:
            return ""
        told: dict[str, str] = {name: _value(value) for name, value in properties.items()}
        told.update({"id": str(id), "class": _CONTENT.get(kind, "")})
        told["comment_parent" if kind == "Comment" else "page_parent"] = told.get("parent", "")
        if kind == "ConfluenceUserImpl":
            told["atlassianAccountId"] = f"557058:{id}"
        if kind == "SpacePermission":
            told["active"] = "true"
        names = [column.partition("=")[2] for column in _COLUMNS[table].split()]
        csv.writer(self.files[table]).writerow(told.get(name, "") if name else "" for name in names)
        self.counts[table] += 1
        return ""

    def written(self) -> Iterator[tuple[str, IO[str]]]:
        """Each table's file, from its beginning, and at last the one that counts the others' rows."""
        counts = self._file()
        csv.writer(counts).writerows([("entityName", "exportCount"), *sorted(self.counts.items())])
        for name, file in [*self.files.items(), ("space_export_counts", counts)]:
            file.seek(0)
            yield name, file


def _value(value: Value) -> str:
    match value:
        case None | Ids() | Raw():
            return ""
        case Ref(_, id):
            return str(id)
        case Enum(_, _, text):
            return text
        case bool():
            return str(value).lower()
        case datetime():
            return f"{value.strftime('%Y-%m-%d %H:%M:%S')}.{value.microsecond // 1000:03d}"
        case _:
            return str(value)
