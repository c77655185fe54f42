"""What a plan takes along: which spaces a filter lets through, what of them, and under which keys. Pure."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from shared.confluence.spacekey import site_key
from shared.events.commands import Scope, SpaceFilter

_KEY = re.compile(r"[A-Za-z0-9]{1,255}")
_CONTENT_ID = re.compile(r"[0-9]{1,20}")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A space of the source's last analysis. ``key`` and ``name`` are texts beside the log."""

    space: str
    key: str
    name: str
    type: str
    status: str


@dataclass(frozen=True, slots=True)
class Mistake:
    """Something in a selection that cannot be: ``space`` is the id it is about, where it is about one. Names nothing else:
    it ends in a problem document, which clients log."""

    code: str
    detail: str
    way_on: str
    space: str | None = None


def shown_id(space: str | None) -> str | None:
    """The id as a refusal may name it: what was sent in the place of one is not repeated.

    >>> shown_id("98305"), shown_id("Personnel")
    ('98305', None)
    """
    return space if space is not None and _CONTENT_ID.fullmatch(space) else None


def passes(space: Candidate, wanted: SpaceFilter) -> bool:
    """Whether the filter lets the space through.

    >>> eng = Candidate("1", "ENG", "Engineering", "global", "current")
    >>> passes(eng, SpaceFilter(search="gineer")), passes(eng, SpaceFilter(exclude=("e*",)))
    (True, False)
    """
    key = space.key.lower()
    return (
        wanted.type in (None, space.type)
        and wanted.status in (None, space.status)
        and (wanted.search is None or wanted.search.lower() in f"{key}\n{space.name.lower()}")
        and (not wanted.keys or any(fnmatchcase(key, pattern.lower()) for pattern in wanted.keys))
        and not any(fnmatchcase(key, pattern.lower()) for pattern in wanted.exclude)
    )


def key_mistakes(chosen: Sequence[Candidate], new_keys: Mapping[str, str]) -> list[Mistake]:
    """What is wrong with the keys that the chosen spaces would get: not a key, or one for two spaces."""
    known = {s.space for s in chosen}
    found = [
        Mistake("space_not_chosen", "A new key is given for a space that is not in the plan.", "Take it out.", space)
        for space in new_keys
        if space not in known
    ]
    found += [
        Mistake(
            "key_invalid",
            "The new key of a space cannot be a key on the site.",
            "Use letters A to Z and digits only, at most 255.",
            space,
        )
        for space, key in new_keys.items()
        if space in known and not _KEY.fullmatch(key)
    ]
    taken: dict[str, str] = {}
    for space in chosen:
        key = new_keys.get(space.space) or site_key(space.key)
        if taken.setdefault(key.lower(), space.key) != space.key:
            detail = "Two of the chosen spaces would both get the same key on the site."
            found.append(Mistake("key_twice", detail, "Give one of them another new key.", space.space))
    return found


def scope_mistakes(chosen: Iterable[Candidate], scopes: Iterable[Scope]) -> list[Mistake]:
    """What is wrong with what is said about single spaces."""
    known, seen = {s.space for s in chosen}, set[str]()
    found = []
    for scope in scopes:
        if scope.space not in known:
            found.append(
                Mistake(
                    "space_not_chosen",
                    "Something is said about a space that is not in the plan.",
                    "Choose it, or take this out.",
                    scope.space,
                )
            )
        elif scope.space in seen:
            found.append(Mistake("scope_twice", "What moves of a space is said twice.", "Say it once.", scope.space))
        elif scope.roots and scope.what != "all":
            found.append(
                Mistake(
                    "roots_without_pages",
                    "Of a space no pages move, so page trees cannot be chosen.",
                    "Move all of the trees, or leave them out.",
                    scope.space,
                )
            )
        elif not all(_CONTENT_ID.fullmatch(root) for root in scope.roots):
            found.append(
                Mistake(
                    "root_invalid",
                    "A root of a page tree is no id of a page.",
                    "Take the number from the page's address (pageId=…) or its page information.",
                    scope.space,
                )
            )
        seen.add(scope.space)
    return found
