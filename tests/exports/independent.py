"""A second opinion on what is live in an export, that shares no code with the reader.

The whole file in memory, plain ElementTree, one pass of questions over a dictionary. The rules are those of the export format:
live is "current" (or no status) and no history of something else; a comment or an attachment lives where what it hangs on lives;
an attachment counts when the file of its current version is in the export.

    python -m tests.exports.independent ../shared/exports/nested
"""

import os
import re
import sys
import zipfile
from pathlib import Path
from xml.etree import ElementTree

KINDS = ("page", "blogpost", "comment", "attachment")
_KIND_OF_CLASS = {"Page": "page", "BlogPost": "blogpost", "Comment": "comment", "Attachment": "attachment"}


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
    things: dict[str, tuple[str, dict[str, str]]] = {}
    for thing in ElementTree.fromstring(text).findall("object"):
        kind = _KIND_OF_CLASS.get(thing.get("class", ""))
        if kind is not None and thing.findtext("id"):
            things.setdefault((thing.findtext("id") or "").strip(), (kind, _facts(thing)))

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
        holder = next((facts[name] for name in ("containerContent", "owner", "content") if name in facts), None)
        if holder is None and kind == "comment" and "parent" in facts:
            return lives(facts["parent"], (*path, id))
        if holder is None or holder not in things:
            return False
        allowed = ("page", "blogpost", "attachment") if kind == "comment" else ("page", "blogpost")
        return things[holder][0] in allowed and lives(holder, (*path, id))

    found: dict[str, set[str]] = {kind: set() for kind in KINDS}
    for id, (kind, facts) in things.items():
        if not lives(id):
            continue
        if kind == "attachment":
            holder = facts.get("containerContent") or facts.get("content")
            version = facts.get("attachmentVersion") or facts.get("version") or "1"
            if f"attachments/{holder}/{id}/{version}" not in files:
                continue
        found[kind].add(id)
    return found


def _facts(thing: ElementTree.Element) -> dict[str, str]:
    facts = {}
    for part in thing.findall("property"):
        inner = part.find("id")
        value = (inner.text if inner is not None else part.text) or ""
        if value.strip():
            facts[part.get("name", "")] = value.strip()
    return facts


def _contents(export: Path) -> tuple[str, set[str]]:
    """The text of entities.xml without what XML forbids, and the paths of all files beside it."""
    if export.is_dir():
        (entities,) = sorted(export.glob("entities.xml")) or sorted(export.glob("*/entities.xml"))
        raw = entities.read_bytes()
        files = {path.relative_to(entities.parent).as_posix() for path in entities.parent.rglob("*") if path.is_file()}
    else:
        with zipfile.ZipFile(export) as archive:
            (name,) = [name for name in archive.namelist() if name.split("/")[-1] == "entities.xml"]
            raw = archive.read(name)
            files = {member.removeprefix(name.removesuffix("entities.xml")) for member in archive.namelist()}
    text = raw.decode("utf-8", "replace")
    return re.sub("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]", "", text), files


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        print(argument, {kind: len(ids) for kind, ids in live(Path(argument)).items()})
