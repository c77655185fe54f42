"""Tables that people fill in: what each line decides, or why the file is refused as a whole. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from services.analyzer.domain.addresses import judge
from shared.events.reasons import GENERIC_GROUPS
from shared.ops.tables import BadTable, Line

ADDRESS_COLUMNS = ("UserKey", "UserName", "ErrorType", "OldEmail", "NewEmail", "Tombstone", "AccountType")
DOMAIN_COLUMNS = ("domain", "trusted")
GROUP_COLUMNS = ("Group", "Target")
USER_COLUMNS = ("User", "AccountId")

Repair = Literal["merged", "former", "corrected"]
_YES, _NO = frozenset({"true", "yes", "1", "x"}), frozenset({"", "false", "no", "0"})


@dataclass(frozen=True, slots=True)
class Known:
    """A person as the source has them. ``effective``: the address they will have on the site, None for a Former user."""

    key: str
    email: str | None
    address: str
    effective: str | None


@dataclass(frozen=True, slots=True)
class Correction:
    key: str
    repair: Repair
    email: str | None


def corrections(lines: Sequence[Line], people: Mapping[str, Known]) -> list[Correction]:
    """What the file decides. ``people``: everybody of the source, by the source's id. Raises BadTable.

    A line without NewEmail and Tombstone decides nothing. The same address as before merges, if it is a duplicate.
    """
    found: dict[str, Correction] = {}
    lines_of: dict[str, int] = {}
    for line in lines:
        cells = line.cells
        person = people.get(cells["UserKey"])
        if person is None:
            raise BadTable(line.number, "the source has no user with this UserKey")
        if person.key in lines_of:
            raise BadTable(line.number, f"this user stands in line {lines_of[person.key]} already")
        lines_of[person.key] = line.number
        if cells["OldEmail"].casefold() != (person.email or "").casefold():
            raise BadTable(line.number, "OldEmail is not the address that the source has; write the file anew")
        former, new = _flag(line, "Tombstone"), cells["NewEmail"]
        if former and new:
            raise BadTable(line.number, "a Tombstone (Former user) has no NewEmail; leave one of them empty")
        if former:
            found[person.key] = Correction(person.key, "former", None)
        elif new:
            if judge(new) != "usable":
                raise BadTable(line.number, "NewEmail is no valid e-mail address")
            same = new.casefold() == (person.email or "").casefold()
            if same and person.address == "usable":
                continue
            found[person.key] = Correction(person.key, "merged" if same else "corrected", new.lower() if same else new)
    _no_new_duplicates(found, lines_of, people)
    return list(found.values())


def _no_new_duplicates(found: Mapping[str, Correction], lines: Mapping[str, int], people: Mapping[str, Known]) -> None:
    """Accounts are merged only of people who share an address at the source, never by a slip of the pen."""
    taken: dict[str, str] = {
        person.effective.casefold(): person.key
        for person in people.values()
        if person.effective is not None and person.key not in found
    }
    for key, correction in found.items():
        if correction.repair != "corrected" or correction.email is None:
            continue
        other = taken.setdefault(correction.email.casefold(), key)
        if other != key:
            raise BadTable(lines[key], "somebody else has NewEmail already, and two people cannot have one account")
    merged = {c.email.casefold() for c in found.values() if c.repair == "merged" and c.email}
    for key, correction in found.items():
        if correction.repair == "corrected" and correction.email and correction.email.casefold() in merged:
            raise BadTable(lines[key], "NewEmail is the address of people who are merged")


def _flag(line: Line, column: str) -> bool:
    text = line.cells[column].casefold()
    if text in _YES:
        return True
    if text in _NO:
        return False
    raise BadTable(line.number, f"{column} is true or false")


def domains(lines: Sequence[Line], known: frozenset[str]) -> dict[str, bool]:
    """Domain to whether it is trusted. Raises BadTable."""
    found: dict[str, bool] = {}
    for line in lines:
        domain = line.cells["domain"].casefold()
        if domain not in known:
            raise BadTable(line.number, "nobody of the source has an address of this domain")
        if domain in found:
            raise BadTable(line.number, "this domain stands there twice")
        found[domain] = _flag(line, "trusted")
    return found


def group_map(lines: Sequence[Line], groups: Mapping[str, str]) -> dict[str, str | None]:
    """Key of a group to its name on the site, None to drop it. ``groups``: name at the source to key. Raises BadTable."""
    found: dict[str, str | None] = {}
    by_name = {name.casefold(): key for name, key in groups.items()}
    for line in lines:
        name, target = line.cells["Group"], line.cells["Target"]
        for generic in (name, target):
            if generic.lower() in GENERIC_GROUPS:
                raise BadTable(line.number, "this is a generic group, which never moves and never merges")
        key = groups.get(name) or by_name.get(name.casefold())
        if key is None:
            raise BadTable(line.number, "the source has no group of this name")
        if key in found:
            raise BadTable(line.number, "this group stands there twice")
        if len(target) > 255:
            raise BadTable(line.number, "a group's name has at most 255 characters")
        found[key] = target or None
    return found


def user_map(lines: Sequence[Line], people: Mapping[str, str]) -> dict[str, str]:
    """Key of a person to an account id. ``people``: ids and lower-case user names of the source to key. Raises BadTable."""
    found: dict[str, str] = {}
    for line in lines:
        user, account = line.cells["User"], line.cells["AccountId"]
        key = people.get(user) or people.get(user.lower())
        if key is None:
            raise BadTable(line.number, "the source has no such user")
        if key in found:
            raise BadTable(line.number, "this user stands there twice")
        if not account or len(account) > 128 or any(c.isspace() or c in "/?#" for c in account):
            raise BadTable(line.number, "AccountId is no account id")
        found[key] = account
    return found
