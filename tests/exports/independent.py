"""A second opinion on what is live in an export, that shares no code with the reader.

The whole file in memory, plain ElementTree, one pass of questions over a dictionary. The rules are those of the export format:
live is "current" (or no status) and no history of something else; a comment or an attachment lives where what it hangs on lives;
an attachment counts when the file of its current version is in the export.

    python -m tests.exports.independent ../shared/exports/nested
"""

import hashlib
import os
import re
import sys
import zipfile
from collections import Counter
from dataclasses import dataclass, field
from html import unescape
from pathlib import Path
from xml.etree import ElementTree

KINDS = ("page", "blogpost", "comment", "attachment")
_KIND_OF_CLASS = {"Page": "page", "BlogPost": "blogpost", "Comment": "comment", "Attachment": "attachment"}
Facts = dict[str, str]


@dataclass
class LiveSpace:
    """What is live in a space. ``files``: name and SHA-256. ``restricted``: titles only some may see. ``viewers``: who may
    see the space: ``user <key>``, ``group <name>``, ``logged in``, ``anonymous``. ``homepage``: it names a live one."""

    name: str = ""
    homepage: bool = False
    titles: dict[str, Counter[str]] = field(default_factory=lambda: {"page": Counter(), "blogpost": Counter()})
    comments: int = 0
    files: Counter[tuple[str, str]] = field(default_factory=Counter)
    restricted: set[str] = field(default_factory=set)
    viewers: set[str] = field(default_factory=set)


def reference() -> Path | None:
    """The folder of reference material beside the checkout, None where there is none."""
    named = os.environ.get("CLOUDWARD_REFERENCE")
    folder = Path(named) if named else Path(__file__).parents[3] / "shared"
    return folder if (folder / "exports").is_dir() else None


def exports() -> list[Path]:
    """All real exports, zips and folders, by name."""
    folder = reference()
    if folder is None:
        return []
    return sorted(path for path in (folder / "exports").iterdir() if path.is_dir() or path.suffix == ".zip")


def live(export: Path) -> dict[str, set[str]]:
    """Ids of what is live, by kind; of attachments those whose file is there."""
    text, files = _contents(export)
    return _live(_things(ElementTree.fromstring(text)), set(files))


def live_spaces(export: Path) -> dict[str, LiveSpace]:
    """The same by key of space, as a reader of the site could see it. Content without a space is under an empty key."""
    text, files = _contents(export)
    root = ElementTree.fromstring(text)
    things = _things(root)
    living = _live(things, set(files))
    keys: dict[str, str] = {}
    found: dict[str, LiveSpace] = {}
    for thing in root.findall("object[@class='Space']"):
        facts = _facts(thing)
        keys[(thing.findtext("id") or "").strip()] = facts["key"]
        found[facts["key"]] = LiveSpace(facts.get("name", ""), facts.get("homePage") in living["page"])

    def space_of(id: str) -> LiveSpace:
        kind, facts = things[id]
        if kind in ("page", "blogpost"):
            return found.setdefault(keys.get(facts.get("space", ""), ""), LiveSpace())
        holder = _holder(facts)
        return space_of(holder if holder is not None else facts["parent"])

    for kind, ids in living.items():
        for id in ids:
            facts, space = things[id][1], space_of(id)
            if kind in space.titles:
                space.titles[kind][facts.get("title", "")] += 1
            elif kind == "comment":
                space.comments += 1
            else:
                content = _read(export, files[_file(id, facts)])
                space.files[facts.get("title") or facts["fileName"], hashlib.sha256(content).hexdigest()] += 1
    for thing in root.findall("object[@class='ContentPermissionSet']"):
        facts = _facts(thing)
        holds = thing.find("collection[@name='contentPermissions']/element") is not None
        if facts.get("type") == "View" and holds and things.get(facts.get("owningContent", ""), ("",))[0] in KINDS:
            owner = facts["owningContent"]
            space_of(owner).restricted.add(things[owner][1].get("title", ""))
    for thing in root.findall("object[@class='SpacePermission']"):
        facts = _facts(thing)
        if facts.get("type") == "VIEWSPACE" and facts.get("space", "") in keys:
            found[keys[facts["space"]]].viewers.add(_subject(facts))
    return found


def dead_links(export: Path) -> Counter[tuple[str, str]]:
    """Of each live page, blog post and comment, and of each kind of thing that links name, how many name one that is not live in
    the export: a page by its title, a space by its key, content by its id."""
    root = ElementTree.fromstring(_contents(export)[0])
    things = _things(root)
    living = _live(things, set())
    everything = living["page"] | living["blogpost"] | living["comment"]
    keys = {(t.findtext("id") or "").strip(): _facts(t).get("key", "") for t in root.findall("object[@class='Space']")}

    def space_of(id: str) -> str:
        _, facts = things[id]
        while "space" not in facts:
            _, facts = things[_holder(facts) or facts["parent"]]
        return keys.get(facts["space"], "")

    titles = {(space_of(id).lower(), things[id][1].get("title", "").lower()) for id in living["page"]}
    spaces = {key.lower() for key in keys.values()}
    dead: Counter[tuple[str, str]] = Counter()
    for thing in root.findall("object[@class='BodyContent']"):
        facts = _facts(thing)
        id = facts.get("content", "")
        if id not in everything or facts.get("bodyType") == "0":
            continue
        for names, link in re.findall(r"<ri:(page|space|content-entity)\b([^>]*)>", facts.get("body", "")):
            named = {name: unescape(value) for name, value in re.findall(r'ri:([a-z-]+)="([^"]*)"', link)}
            if names == "page" and "content-title" in named:
                key = named.get("space-key") or space_of(id)
                dead[id, "page"] += (key.lower(), named["content-title"].lower()) not in titles
            elif names == "space":
                dead[id, "space"] += named["space-key"].lower() not in spaces
            elif names == "content-entity":
                dead[id, "content"] += named["content-id"] not in everything
    return +dead


def _subject(facts: Facts) -> str:
    if "group" in facts:
        return f"group {facts['group']}"
    user = facts.get("userSubject") or facts.get("userName")
    if user is not None:
        return f"user {user}"
    return "logged in" if "allUsersSubject" in facts else "anonymous"


def _things(root: ElementTree.Element) -> dict[str, tuple[str, Facts]]:
    things: dict[str, tuple[str, Facts]] = {}
    for thing in root.findall("object"):
        kind = _KIND_OF_CLASS.get(thing.get("class", ""))
        if kind is not None and thing.findtext("id"):
            things.setdefault((thing.findtext("id") or "").strip(), (kind, _facts(thing)))
    return things


def _holder(facts: Facts) -> str | None:
    return next((facts[name] for name in ("containerContent", "owner", "content") if name in facts), None)


def _file(id: str, facts: Facts) -> str:
    holder = facts.get("containerContent") or facts.get("content")
    return f"attachments/{holder}/{id}/{facts.get('attachmentVersion') or facts.get('version') or '1'}"


def _live(things: dict[str, tuple[str, Facts]], files: set[str]) -> dict[str, set[str]]:
    def lives(id: str, path: tuple[str, ...] = ()) -> bool:
        if id not in things or id in path:
            return False
        kind, facts = things[id]
        if facts.get("contentStatus", "current") != "current":
            return False
        if facts.get("originalVersion") or facts.get("originalVersionId"):
            return False
        if kind in ("page", "blogpost"):
            return True
        holder = _holder(facts)
        if holder is None and kind == "comment" and "parent" in facts:
            return lives(facts["parent"], (*path, id))
        if holder is None or holder not in things:
            return False
        allowed = ("page", "blogpost", "attachment") if kind == "comment" else ("page", "blogpost")
        return things[holder][0] in allowed and lives(holder, (*path, id))

    found: dict[str, set[str]] = {kind: set() for kind in KINDS}
    for id, (kind, facts) in things.items():
        if lives(id) and (kind != "attachment" or _file(id, facts) in files):
            found[kind].add(id)
    return found


def _facts(thing: ElementTree.Element) -> Facts:
    facts = {}
    for part in thing.findall("property"):
        inner = part.find("id")
        value = (inner.text if inner is not None else part.text) or ""
        if value.strip():
            facts[part.get("name", "")] = value.strip()
    return facts


def _contents(export: Path) -> tuple[str, dict[str, str]]:
    """The text of entities.xml without what XML forbids; of the files beside it, where each lies by where it belongs."""
    if export.is_dir():
        (entities,) = sorted(export.glob("entities.xml")) or sorted(export.glob("*/entities.xml"))
        raw, base = entities.read_bytes(), entities.parent
        files = {path.relative_to(base).as_posix(): str(path) for path in base.rglob("*") if path.is_file()}
    else:
        with zipfile.ZipFile(export) as archive:
            (name,) = [name for name in archive.namelist() if name.split("/")[-1] == "entities.xml"]
            raw = archive.read(name)
            files = {member.removeprefix(name.removesuffix("entities.xml")): member for member in archive.namelist()}
    text = raw.decode("utf-8", "replace")
    return re.sub("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]", "", text), files


def _read(export: Path, place: str) -> bytes:
    if export.is_dir():
        return Path(place).read_bytes()
    with zipfile.ZipFile(export) as archive:
        return archive.read(place)


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        print(argument, {kind: len(ids) for kind, ids in live(Path(argument)).items()})
