"""A plan as a YAML file: read with the line of everything in it, so that every mistake is told at once and where it is.

Only plain YAML is taken: mappings, lists and scalars, without tags, anchors or keys that are there twice. ``true`` and
``false`` are the only booleans, so a space with the key NO stays one.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from shared.events.catalog.plan import MoveOptions
from shared.events.commands import SpaceFilter
from shared.events.reasons import Reason

MOST = 1_000_000  # characters
Path = tuple[str | int, ...]

# Keys of spaces and ids of pages may look like numbers.
Text = Annotated[str, BeforeValidator(lambda value: str(value) if type(value) is int else value)]


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid")


class FileSpace(Part):
    """One space, where more is said about it than its key."""

    key: Text = Field(min_length=1, description="Key of the space at the source.")
    move: Literal["all", "attachments", "rights"] = Field(
        default="all",
        description="All data, only attachments (ahead of the rest), or only permissions and restrictions.",
    )
    pages: list[Annotated[Text, Field(pattern=r"^[0-9]{1,20}$")]] = Field(
        default_factory=list, description="Ids of pages: only these and what is below them."
    )
    new_key: Text | None = Field(
        default=None, pattern=r"^[A-Za-z0-9]{1,255}$", description="Key on the site, where it is to be another one."
    )


class FileFilter(Part):
    """Which spaces are meant by `all`. Letters' case never counts; `*` and `?` stand for any letters, any letter."""

    type: Literal["global", "personal"] | None = None
    status: Literal["current", "archived"] | None = None
    search: Text | None = Field(default=None, min_length=1, max_length=200, description="Part of key or name.")
    keys: list[Text] = Field(default_factory=list, description="Patterns of keys to take.")
    exclude: list[Text] = Field(default_factory=list, description="Patterns of keys to leave out.")


class PlanFile(Part):
    """A plan: what moves from a source to a site."""

    plan: Text = Field(min_length=1, max_length=200, description="Name of the plan; no other plan may have it.")
    source: Text = Field(min_length=1, description="Name or id of an analyzed source.")
    site: Text = Field(min_length=1, description="Name or id of a site.")
    stage: Literal["test", "production"] = "test"
    users: Literal["all", "related", "none"] = Field(
        default="all", description="Everybody, those whom the spaces name, or nobody."
    )
    groups: bool = Field(default=True, description="Whether groups and their members move.")
    spaces: Literal["all", "none"] | list[Text | FileSpace] = Field(
        default="all", description="all, none, or a list of keys."
    )
    filter: FileFilter | None = Field(default=None, description="Narrows `spaces: all`.")
    on_key_conflict: Literal["fail", "skip"] = Field(
        default="fail", description="What becomes of a space whose key is taken on the site."
    )
    addresses: Literal["source", "plan"] = Field(
        default="source", description="Whose e-mail errors forbid the run: everybody's, or those of the plan's people."
    )
    map: Text | None = Field(default=None, pattern=r"^[0-9a-f]{32}$", description="Id of a map of groups and users.")
    access_group: Text | None = Field(
        default=None, min_length=1, max_length=255, description="The site's group that gives access, if it has several."
    )
    options: MoveOptions = Field(default=MoveOptions(), description="How content moves, where there is a choice.")
    accept: list[Reason] = Field(default_factory=list, description="Reasons for a skip that are fine.")


SCHEMA_ID = "urn:cloudward:plan-file:1"


def schema() -> dict[str, Any]:
    """The JSON schema of a plan file."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": SCHEMA_ID, **PlanFile.model_json_schema()}


@dataclass(frozen=True, slots=True, order=True)
class Mistake:
    """``line`` and ``column`` count from 1; ``where``: the path in the file, such as ``spaces[2].move``."""

    line: int
    column: int
    where: str
    problem: str
    remedy: str


@dataclass(slots=True)
class Read:
    """A file as read: ``file`` where its shape is right; ``places`` says where each part of it stands."""

    file: PlanFile | None = None
    raw: dict[str, Any] = field(default_factory=dict)
    places: dict[Path, tuple[int, int]] = field(default_factory=dict)
    mistakes: list[Mistake] = field(default_factory=list)

    def mistake(self, path: Path, problem: str, remedy: str) -> None:
        at = path
        while at and at not in self.places:
            at = at[:-1]
        self.mistakes.append(Mistake(*self.places.get(at, (1, 1)), where(path), problem, remedy))


def where(path: Path) -> str:
    """
    >>> where(("spaces", 2, "move"))
    'spaces[2].move'
    """
    return "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in path).lstrip(".")


def read(text: str) -> Read:
    """The file's content, or everything that is wrong with its shape."""
    found = Read()
    if len(text) > MOST:
        found.mistake((), "The file is too long.", f"A plan file has at most {MOST:,} characters.")
        return found
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        remedy = "Look at indentation, colons and quotes in this line and the one above; then the rest can be checked."
        found.mistakes.append(Mistake(line, column, "", f"This is no YAML: {error.problem}.", remedy))
        return found
    except (yaml.YAMLError, RecursionError) as error:
        found.mistake((), f"This is no YAML: {type(error).__name__}.", "Write it as plain text in UTF-8.")
        return found
    if not isinstance(node, yaml.MappingNode):
        found.mistake((), "A plan file is a list of “name: value” lines.", "Begin with: plan: NAME")
        return found
    for token in yaml.scan(text, Loader=yaml.SafeLoader):
        if isinstance(token, yaml.AnchorToken | yaml.AliasToken | yaml.TagToken):
            mark = token.start_mark
            sign = {yaml.AnchorToken: "&", yaml.AliasToken: "*", yaml.TagToken: "!"}[type(token)]
            problem = f"Words that begin with {sign} have a meaning of their own in YAML, which plan files do not use."
            found.mistakes.append(Mistake(mark.line + 1, mark.column + 1, "", problem, "Put the word in quotes."))
    if not found.mistakes:
        found.raw = _value(node, (), found)
        _shape(found)
    return found


def _value(node: yaml.Node, path: Path, found: Read) -> Any:
    found.places[path] = (node.start_mark.line + 1, node.start_mark.column + 1)
    if isinstance(node, yaml.MappingNode):
        made: dict[str, Any] = {}
        for name, value in node.value:
            key = str(name.value) if isinstance(name, yaml.ScalarNode) else "?"
            if key in made:
                at = (name.start_mark.line + 1, name.start_mark.column + 1)
                problem = f"“{key}” is there twice."
                found.mistakes.append(Mistake(*at, where((*path, key)), problem, "Keep one of the two lines."))
                continue
            made[key] = _value(value, (*path, key), found)
            found.places[*path, key] = (name.start_mark.line + 1, name.start_mark.column + 1)
        return made
    if isinstance(node, yaml.SequenceNode):
        return [_value(each, (*path, n), found) for n, each in enumerate(node.value)]
    return _scalar(node)


def _scalar(node: yaml.Node) -> str | int | bool | None:
    text = str(node.value)
    if getattr(node, "style", None) is not None:  # quoted
        return text
    if text in ("true", "false"):
        return text == "true"
    if text in ("", "~", "null"):
        return None
    return int(text) if re.fullmatch(r"[1-9][0-9]{0,18}|0", text) else text


def _shape(found: Read) -> None:
    try:
        found.file = PlanFile.model_validate(found.raw)
    except ValidationError as error:
        told: set[Path] = set()
        for each in error.errors():
            # Of a choice of shapes the names of the shapes are no part of the place.
            path = tuple(p for p in each["loc"] if not (isinstance(p, str) and not _is_name(p)))
            if _other_shape(found.raw, path, each["loc"]) or path in told:
                continue
            told.add(path)
            found.mistake(path, *_explain(each["type"], path, each.get("ctx") or {}, each["input"]))
        return
    if found.file.filter is not None and found.file.spaces != "all":
        found.mistake(("filter",), "A filter narrows “spaces: all”, and the spaces are named here.", "Take one out.")


_NAMES = frozenset(PlanFile.model_fields) | frozenset(FileSpace.model_fields) | frozenset(FileFilter.model_fields)


def _is_name(part: str) -> bool:
    return part not in ("str", "FileSpace") and not part.startswith(("list[", "literal[", "function-"))


def _other_shape(raw: Mapping[str, Any], path: Path, loc: Path) -> bool:
    """Whether the error is about a shape that the value does not try to have: a list is not told that it is no word."""
    if path[:1] != ("spaces",):
        return False
    spaces, shape = raw.get("spaces"), loc[1] if len(loc) > 1 else ""
    if isinstance(spaces, list) == str(shape).startswith("literal["):
        return not (isinstance(shape, str) and shape.startswith("literal[") and not isinstance(spaces, list | str))
    if isinstance(spaces, list) and len(loc) > 3 and isinstance(loc[2], int) and loc[2] < len(spaces):
        return isinstance(spaces[loc[2]], dict) != (loc[3] == "FileSpace")
    return False


def _explain(kind: str, path: Path, context: Mapping[str, Any], given: Any) -> tuple[str, str]:
    """What is wrong and what to write instead, by kind of error."""
    name = str(path[-1]) if path else ""
    below: dict[str | int, type[BaseModel]] = {"spaces": FileSpace, "filter": FileFilter, "options": MoveOptions}
    fields = below.get(path[0], PlanFile) if len(path) > 1 else PlanFile
    known = list(fields.model_fields)
    meaning = fields.model_fields[name].description if name in fields.model_fields else None
    match kind:
        case "extra_forbidden":
            near = get_close_matches(name, known, 1, 0.6)
            hint = f"Did you mean “{near[0]}”? " if near else ""
            return f"“{name}” is not known here.", f"{hint}Known: {', '.join(known)}."
        case "missing":
            return f"“{name}” is missing.", f"Add a line “{name}: …”. {meaning or ''}".strip()
        case "literal_error" | "enum":
            return f"“{given}” is not possible here.", f"Write {context.get('expected', 'one of the listed words')}."
        case "bool_parsing" | "bool_type":
            return f"“{given}” is neither true nor false.", "Write true or false."
        case "int_parsing" | "int_type" | "greater_than_equal":
            return f"“{given}” is no number that is possible here.", "Write a whole number, 0 or more."
        case "list_type":
            return "Here goes a list.", "Write each entry on a line of its own, after a dash."
        case "string_type":
            return "Here goes a word or text.", (meaning or "Write one value behind the colon.")
        case "string_pattern_mismatch" if name == "new_key":
            return f"“{given}” cannot be the key of a space.", "Use letters A to Z and digits only."
        case "string_pattern_mismatch":
            return f"“{given}” is no id of a page.", "Take the number from the page's address (pageId=…)."
        case "string_too_short":
            return f"“{name}” is empty.", (meaning or "Write a value behind the colon.")
        case "string_too_long":
            return f"“{name}” is too long.", f"Use at most {context.get('max_length')} characters."
        case "model_type" | "dict_type":
            return "Here go “name: value” lines.", f"Known: {', '.join(known)}."
    return "This is not possible here.", (meaning or "See the schema of plan files in the documentation.")


def space_filter(given: FileFilter | None) -> SpaceFilter | None:
    return None if given is None else SpaceFilter(**given.model_dump())


def unknown(what: str, name: str, known: Iterable[str]) -> tuple[str, str]:
    """Words for a name that names nothing."""
    names = sorted(known)
    near = get_close_matches(name, names, 1, 0.5)
    hint = f"Did you mean “{near[0]}”? " if near else ""
    listed = ", ".join(names[:10]) + (" …" if len(names) > 10 else "")
    return f"There is no {what} “{name}”.", f"{hint}Known: {listed or 'none yet'}."


if __name__ == "__main__":
    import json
    import sys

    json.dump(schema(), sys.stdout, indent=2)
    sys.stdout.write("\n")
