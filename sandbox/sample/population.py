"""The people of a generated instance: users with their troubles, groups in groups, spaces and who may do what in them."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random

from sandbox.sample.build import KEEPER, MEMBER
from sandbox.sample.model import Group, Instance, Restriction, Space, SpacePermission, User, user_key
from sandbox.sample.texts import FIRST, KINDS, LAST, NOUNS

_LDAP = "Company Directory"
_INTERNAL = "Confluence Internal Directory"
#: Authors that no directory has any more: their keys stay at what they wrote.
_GONE = 6
_STEMS = ["ENG", "OPS", "HR", "DOC", "LAB", "QA", "MKT", "FIN", "IT", "WEB", "DATA", "TEAM"]


@dataclass
class Population:
    """Who acts in the instance. Keys are picked so that few people write most."""

    instance: Instance
    keys: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    teams: list[str] = field(default_factory=list)
    canary: str = ""

    def author(self, r: Random) -> str:
        if r.random() < 0.01:
            return self.gone[int(r.random() * len(self.gone))]
        return self.keys[int(len(self.keys) * r.random() ** 2)]

    def username(self, r: Random) -> str | None:
        """As old mentions have it: of someone still there, in any case."""
        user = self.instance.users.get(self.author(r))
        return None if user is None else user.username.upper() if r.random() < 0.2 else user.username

    def restrictions(self, r: Random, author: str) -> tuple[Restriction, ...]:
        if r.random() < 0.4:
            return (Restriction("update", user=author),)
        found = [Restriction("read", user=author)]
        if r.random() < 0.6:
            found.append(Restriction("read", group=self.teams[int(r.random() * len(self.teams))]))
        if r.random() < 0.3:
            found.append(Restriction("update", user=author))
        if r.random() < 0.2 and author != self.gone[0]:
            found.append(Restriction("read", user=self.gone[0]))
        return tuple(found)

    def space(self, r: Random, number: int, id: int) -> Space:
        """The ``number``-th space; every seventh is personal, every ninth archived, every fifth open to everybody."""
        instance = self.instance
        by = self.keys[(number * 3) % len(self.keys)]
        owner = instance.users[by]
        personal = number % 7 == 5 and f"~{owner.username}" not in instance.spaces
        key = (
            f"~{owner.username}" if personal else f"{self.canary.upper()}{_STEMS[r.randrange(len(_STEMS))]}{number + 1}"
        )
        name = (
            owner.display_name
            if personal
            else planted(self.canary, f"{NOUNS[r.randrange(len(NOUNS))]} {KINDS[r.randrange(len(KINDS))]} {number + 1}")
        )
        team = self.teams[number % len(self.teams)]
        keepers: list[tuple[str | None, str | None]] = [(None, "confluence-administrators"), (by, None)]
        members: list[tuple[str | None, str | None]] = (
            [(None, team)] if number % 3 == 1 else [(None, "confluence-users")]
        )
        if number % 4 == 2:
            members.append((self.gone[1], None))
        if personal:
            members = []
        permissions = [SpacePermission(t, user, group) for user, group in keepers for t in KEEPER]
        permissions += [SpacePermission(t, user, group) for user, group in members for t in MEMBER]
        if number % 5 == 0 and not personal:
            permissions.append(SpacePermission("VIEWSPACE"))
        created = datetime(2014, 1, 6, 9, 0, tzinfo=instance.timezone) + timedelta(hours=number)
        space = Space(
            id,
            key,
            name,
            "personal" if personal else "global",
            "archived" if number % 9 == 8 else "current",
            "" if number % 4 == 3 else f"Generated space {number + 1} & its “pages”.",
            by,
            created,
            permissions=permissions,
            labels=["generated"] if number % 2 else [],
            watchers=tuple(sorted({self.author(r) for _ in range(number % 3)})),
        )
        instance.spaces[key] = space
        return space


def planted(canary: str, text: str, joint: str = " ") -> str:
    """The text with the canary before it, where there is one and room for it."""
    return f"{canary}{joint}{text}" if canary and len(canary) + len(joint) + len(text) <= 255 else text


def populate(instance: Instance, r: Random, users: int, canary: str = "") -> Population:
    """Adds ``users`` users and their groups. One in seventeen is disabled, one in twenty-three has an address that is missing,
    malformed or someone else's, one in five comes from a directory outside."""

    def add(username: str, display: str, email: str | None, *, active: bool = True, directory: str = _INTERNAL) -> str:
        key = user_key(instance.seed, "generated", username)
        instance.add_user(User(key, username, display, email, active, directory))
        return key

    people = Population(instance, canary=canary)
    admin = add("admin", "Generated Admin", "admin@example.com")
    people.keys.append(admin)
    for n in range(1, users):
        first, last = FIRST[r.randrange(len(FIRST))], LAST[r.randrange(len(LAST))]
        email: str | None
        username = (
            f"user{n}"
            if n % 6
            else (f"{first}.{last}{n}".replace(" ", "").replace("'", "") if n % 12 else f"u{n}@corp")
        )
        username, email = planted(canary, username, "."), f"{canary}user{n}@example.com"
        if n % 23 == 5:
            email = (None, "", f"user{n}.example.com", f"user{n}@@example.com", f"USER{max(n - 4, 1)}@Example.com")[
                (n // 23) % 5
            ]
        directory = _LDAP if n % 5 == 4 else _INTERNAL
        people.keys.append(
            add(username, planted(canary, f"{first} {last}"), email, active=n % 17 != 16, directory=directory)
        )
    people.gone = [user_key(instance.seed, "generated", f"gone {n}") for n in range(_GONE)]
    _groups(instance, people, admin)
    return people


def _groups(instance: Instance, people: Population, admin: str) -> None:
    """The generic ones with everybody in them, teams (some from the outside directory), groups in groups in a circle, an empty one."""
    users = list(instance.users.values())

    def add(name: str, keys: list[str], groups: tuple[str, ...] = (), directory: str = _INTERNAL) -> None:
        instance.groups[name] = Group(name, keys, list(groups), directory)

    everyone = [u.key for u in users if u.active]
    add("confluence-users", everyone)
    add("confluence-administrators", [admin])
    add("site-admins", [admin])
    add("jira-software-users", everyone[: len(everyone) // 2])
    add("users", everyone[:3])
    size = max(3, len(users) // 12)
    for n in range(max(2, min(len(users) // 8, 200))):
        name = planted(people.canary, f"team-{n}" if n % 4 else f"Team {NOUNS[n % len(NOUNS)]} {n}", "-")
        start = n * size % len(users)
        outside = n % 5 == 4
        inside = [u.key for u in (users + users)[start : start + size] if not outside or u.directory == _LDAP]
        add(name, inside, directory=_LDAP if outside else _INTERNAL)
        people.teams.append(name)
    teams = people.teams
    for n in range(0, len(teams) - 1, 3):
        instance.groups[teams[n]].groups.append(teams[n + 1])
    if len(teams) > 3:  # a circle: 3 holds 4, 4 holds 3
        instance.groups[teams[-1]].groups.append(teams[-2])
        instance.groups[teams[-2]].groups.append(teams[-1])
    add("nobody any more", [])
