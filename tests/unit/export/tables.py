"""A small CSV export of our own making: a space with a home page, its child with an older version and a draft, and what hangs on them."""

import csv
import gzip
import io
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

ALICE, BOB = "8a00000000000000000000000000000a", "8a00000000000000000000000000000b"
DESCRIPTOR = (
    "#Mon May 06 07:08:09 UTC 2024\nexportFormat=csv\nexportType=space\nspaceKey=DOCS\nsource=cloud\ntimezoneId=UTC\n"
    "createdByVersionNumber=1000.0.0-abcdef\n"
)
CONTENT = [
    "contentid",
    "contenttype",
    "title",
    "version",
    "creator",
    "creationdate",
    "lastmodifier",
    "lastmoddate",
    "versioncomment",
    "prevver",
    "content_status",
    "pageid",
    "spaceid",
    "child_position",
    "parentid",
    "pluginkey",
    "parentcommentid",
]

Rows = list[list[str]]


def content(id: int, kind: str, **told: str) -> list[str]:
    """A row of the table of content: live, the first version, by Alice."""
    row = {
        "contentid": str(id),
        "contenttype": kind,
        "version": "1",
        "creator": ALICE,
        "creationdate": "2020-01-31 23:30:00.1",
        "lastmodifier": ALICE,
        "lastmoddate": "2020-02-01 08:00:00",
        "content_status": "current",
        **told,
    }
    return [row.get(name, "") for name in CONTENT]


@dataclass
class Tables:
    """An export to be written as a zip or as a folder."""

    tables: dict[str, Rows]
    descriptor: str | None = DESCRIPTOR
    files: dict[str, bytes] = field(default_factory=dict)
    raw: dict[str, bytes] = field(default_factory=dict)
    packed: bool = False
    inner: str = ""

    def parts(self) -> dict[str, bytes]:
        parts = dict(self.files)
        for name, rows in self.tables.items():
            text = io.StringIO(newline="")
            csv.writer(text).writerows(rows)
            data = text.getvalue().encode("utf-8", "surrogatepass")
            parts[f"{self.inner}{name}.csv.gz"] = gzip.compress(data, mtime=0) if self.packed else data
        if self.descriptor is not None:
            parts["exportDescriptor.properties"] = self.descriptor.encode()
        return {**parts, **self.raw}

    def zip(self, path: Path, prefix: str = "") -> Path:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in self.parts().items():
                archive.writestr(prefix + name, data)
        return path

    def folder(self, path: Path) -> Path:
        for name, data in self.parts().items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(data)
        return path


def sample() -> Tables:
    """What ``tests.unit.export.build.sample`` tells as XML, told as tables."""
    return Tables(
        {
            "user_mapping": [
                ["user_key", "username", "lower_username", "aaid"],
                [ALICE, "Alice", "alice", "557058:alice"],
                [BOB, "bob", "bob", ""],
            ],
            "spaces": [
                [
                    "spaceid",
                    "spacename",
                    "spacekey",
                    "spacedescid",
                    "homepage",
                    "creator",
                    "creationdate",
                    "spacetype",
                    "spacestatus",
                ],
                ["1", "Docs & more", "DOCS", "2", "10", ALICE, "2020-01-31 23:30:00", "global", "CURRENT"],
            ],
            "content": [
                CONTENT,
                content(2, "SPACEDESCRIPTION", spaceid="1"),
                content(10, "PAGE", title="Home", spaceid="1"),
                # Named by account where others are named by key.
                content(
                    11,
                    "PAGE",
                    title="Child",
                    version="7",
                    spaceid="1",
                    parentid="10",
                    child_position="3",
                    creator="557058:alice",
                    lastmodifier=BOB,
                ),
                content(
                    12, "PAGE", title="Child", version="6", prevver="11", lastmodifier=BOB, versioncomment="A word"
                ),
                content(13, "PAGE", title="Child", content_status="draft", spaceid="1", prevver="11"),
                content(14, "PAGE", title="Gone", content_status="deleted", spaceid="1", parentid="10"),
                content(15, "FOLDER", title="Folder", spaceid="1"),
                content(20, "BLOGPOST", title="News", spaceid="1"),
                content(30, "COMMENT", pageid="10", creator=BOB),
                content(31, "COMMENT", pageid="10", parentcommentid="30"),
                content(32, "COMMENT", pageid="14"),
                content(33, "COMMENT", pageid="10", prevver="30"),
                content(40, "ATTACHMENT", title="plan.txt", version="2", pageid="20", spaceid="1"),
                content(41, "ATTACHMENT", title="plan.txt", pageid="20", prevver="40"),
                content(
                    45,
                    "CUSTOM",
                    title="colour",
                    pageid="10",
                    pluginkey="com.atlassian.confluence.plugins.confluence-content-property-storage:content-property",
                ),
            ],
            "bodycontent": [
                ["bodycontentid", "body", "contentid", "bodytypeid"],
                ["3", "All about it", "2", "0"],
                ["110", '<p>"Home", so\nto\r\nspeak</p>', "10", "2"],
                ["111", f'<p><ac:link><ri:user ri:userkey="{BOB}"/></ac:link></p>', "11", "2"],
                ["112", "<p>old</p>", "12", "2"],
                ["120", "<p>News</p>", "20", "2"],
                ["130", "<p>First</p>", "30", "2"],
                ["131", "<p>Second</p>", "31", "2"],
                ["145", '{"value": "blue"}', "45", "1"],
            ],
            "contentproperties": [
                ["propertyid", "propertyname", "stringval", "longval", "dateval", "contentid"],
                ["42", "MEDIA_TYPE", "text/plain", "", "", "40"],
                ["43", "FILESIZE", "", "11", "", "40"],
                ["46", "inline-comment", "true", "", "", "30"],
                ["47", "inline-marker-ref", "m-1", "", "", "30"],
                ["48", "inline-original-selection", "so to speak", "", "", "30"],
            ],
            "label": [["labelid", "name", "namespace"], ["50", "howto", "global"], ["51", "favourite", "my"]],
            "content_label": [
                ["id", "labelid", "contentid", "labelableid", "labelabletype"],
                ["52", "50", "", "11", "CONTENT"],
                ["53", "51", "11", "11", "CONTENT"],
            ],
            "content_perm_set": [["id", "cont_perm_type", "content_id"], ["60", "View", "11"]],
            "content_perm": [
                ["id", "cp_type", "username", "groupname", "external_group_id", "cps_id"],
                ["61", "View", ALICE, "", "", "60"],
                ["62", "View", "", "Writers", "0b57", "60"],
            ],
            "spacepermissions": [
                [
                    "permid",
                    "spaceid",
                    "permtype",
                    "permgroupname",
                    "externalgroupid",
                    "permusername",
                    "permalluserssubject",
                    "active",
                ],
                ["70", "1", "VIEWSPACE", "Writers", "0b57", "", "", "t"],
                ["71", "1", "EDITSPACE", "", "", BOB, "", "t"],
                ["72", "1", "COMMENT", "", "", "", "", "t"],
                ["73", "1", "REMOVEPAGE", "", "", "", "", "f"],
                ["74", "1", "EDITBLOG", "", "0c99", "", "", "t"],
            ],
            "pagetemplates": [["templateid", "spaceid", "prevver"], ["90", "1", ""], ["91", "1", "90"]],
        },
        files={"attachments/20/40/1": b"first plan", "attachments/20/40/2": b"second plan"},
    )
