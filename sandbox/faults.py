"""Faults on demand: rules that change the answer to a request, before or after it took effect. Seeded and repeatable."""

import asyncio
import random
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Literal, get_args

from sandbox.wire import Document

Action = Literal["status", "close", "delay", "hold", "slow", "do"]
When = Literal["before", "after", "mid-body"]

_FIELDS: dict[str, type | tuple[type, ...]] = {
    "id": str,
    "method": str,
    "route": str,
    "contains": str,
    "account": str,
    "nth": int,
    "count": int,
    "probability": (int, float),
    "seed": int,
    "action": str,
    "when": str,
    "status": int,
    "retry_after": (int, float),
    "seconds": (int, float),
    "bytes_per_second": (int, float),
    "what": str,
    "space": str,
    "message": str,
}

#: What ``do`` can bring about. Some ask for more: a key of a space.
EVENTS = ("delete-space", "storage-full", "storage-free", "expire-tokens", "restore-tokens")


class BadRule(ValueError):
    """The rule cannot be read; the text says why."""


@dataclass(slots=True)
class Rule:
    """One fault.

    ``method`` and ``route`` (a template, ``*`` allowed) choose requests, ``contains`` a piece of text in path, query or
    body. The ``nth`` such request is the first that may fail, ``count`` of them fail (None: all from then on), each with
    ``probability``. ``message``: what an answer with a status says, but for 429, 502, 503 and 504. ``seconds``: length of a delay, or the longest hold (None: until released). ``what``: an event that
    comes over the site just before the request is handled, to the account of the rule or to everyone.
    """

    id: str
    method: str = "*"
    route: str = "*"
    contains: str | None = None
    account: str | None = None
    nth: int = 1
    count: int | None = 1
    probability: float = 1.0
    seed: int = 0
    action: Action = "status"
    when: When = "before"
    status: int = 503
    retry_after: float | None = None
    seconds: float | None = None
    bytes_per_second: float | None = None
    what: str | None = None
    space: str | None = None
    message: str = "fault"
    matched: int = 0
    fired: int = 0
    holding: int = 0
    released: asyncio.Event = field(default_factory=asyncio.Event)
    _random: random.Random = field(default_factory=random.Random)

    def document(self) -> Document:
        return {
            "id": self.id,
            "method": self.method,
            "route": self.route,
            "contains": self.contains,
            "account": self.account,
            "nth": self.nth,
            "count": self.count,
            "probability": self.probability,
            "seed": self.seed,
            "action": self.action,
            "when": self.when,
            "status": self.status,
            "retry_after": self.retry_after,
            "seconds": self.seconds,
            "bytes_per_second": self.bytes_per_second,
            "what": self.what,
            "space": self.space,
            "message": self.message,
            "matched": self.matched,
            "fired": self.fired,
            "holding": self.holding,
        }

    def fits(self, method: str, route: str, account: str, text: bytes) -> bool:
        return (
            self.method in ("*", method)
            and (self.route in ("*", route) or fnmatchcase(route, self.route.replace("[", "[[]")))
            and (self.account is None or self.account == account)
            and (self.contains is None or self.contains.encode() in text)
        )

    def fires(self) -> bool:
        """Count one fitting request and say whether it fails."""
        self.matched += 1
        if self.matched < self.nth or (self.count is not None and self.fired >= self.count):
            return False
        if self.probability < 1.0 and self._random.random() >= self.probability:
            return False
        self.fired += 1
        return True


def read_rule(document: Document, number: int) -> Rule:
    """A rule from its JSON form. Raises ``BadRule``."""
    for name, value in document.items():
        if name not in _FIELDS:
            raise BadRule(f"unknown field {name!r}; known are {', '.join(sorted(_FIELDS))}")
        if value is not None and not isinstance(value, _FIELDS[name]):
            raise BadRule(f"field {name!r} has the wrong type")
    rule = Rule(**{"id": f"fault-{number}", **document})
    if rule.action not in get_args(Action):
        raise BadRule(f"action must be one of {', '.join(get_args(Action))}")
    if rule.when not in ("before", "after", "mid-body"):
        raise BadRule("when must be before, after or mid-body")
    if rule.action == "status" and rule.when == "mid-body":
        raise BadRule("a status cannot come mid-body")
    if rule.action == "delay" and rule.seconds is None:
        raise BadRule("a delay needs seconds")
    if rule.action == "slow" and not (rule.bytes_per_second and rule.bytes_per_second > 0):
        raise BadRule("a slow answer needs bytes_per_second")
    if rule.action == "do" and rule.what not in EVENTS:
        raise BadRule(f"what must be one of {', '.join(EVENTS)}")
    if rule.what == "delete-space" and not rule.space:
        raise BadRule("delete-space needs the key of a space")
    rule._random = random.Random(rule.seed)
    return rule


class Faults:
    """The rules of one site, asked in the order in which they were given; the first that fires decides."""

    def __init__(self) -> None:
        self.rules: dict[str, Rule] = {}
        self._number = 0

    def add(self, document: Document) -> Rule:
        self._number += 1
        rule = read_rule(document, self._number)
        if rule.id in self.rules:
            raise BadRule(f"a rule named {rule.id!r} is already there")
        self.rules[rule.id] = rule
        return rule

    def pick(self, method: str, route: str, account: str, text: bytes) -> Rule | None:
        for rule in self.rules.values():
            if rule.fits(method, route, account, text) and rule.fires():
                return rule
        return None

    def release(self, id_: str) -> bool:
        """Let the answers go that this rule holds, and hold no more. False: no such rule."""
        rule = self.rules.get(id_)
        if rule is None:
            return False
        rule.released.set()
        return True

    def clear(self) -> None:
        for rule in self.rules.values():
            rule.released.set()
        self.rules.clear()
