"""Who may do what: roles, what each is permitted, and who is calling. Pure.

A route names what it needs (``handlers.context.Needs``); an application with a route that names nothing does not start.
"""

import hashlib
import hmac
from collections import OrderedDict, deque
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from uuid import UUID, uuid5

from shared.events.contract import Actor

_KEYS = UUID("5a3f6b0e-6f0b-4c57-9d52-31a5c1d86f50")  # namespace of Idempotency-Key values and of our own actors
TOKEN_ACTOR = Actor(kind="token", key=uuid5(_KEYS, "the token of CLOUDWARD_TOKEN_FILE").hex, authentication="token")
LINK_ACTOR = Actor(kind="person", key=uuid5(_KEYS, "whoever opens a one-time link").hex, authentication="one_time_link")


class Role(StrEnum):
    """From what one may only look at to everything. An auditor sees and proves all, and changes nothing."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    AUDITOR = "auditor"
    ADMIN = "admin"


class Permission(StrEnum):
    READ = "read"  # plans, sources, sites, the event log
    OPERATE = "operate"  # add sources and sites, repair, save, run, stop
    AUDIT = "audit"  # take copies of the log, have it verified
    ADMINISTER = "administer"  # tokens, webhooks


PERMITTED: Mapping[Role, frozenset[Permission]] = {
    Role.VIEWER: frozenset({Permission.READ}),
    Role.OPERATOR: frozenset({Permission.READ, Permission.OPERATE}),
    Role.AUDITOR: frozenset({Permission.READ, Permission.AUDIT}),
    Role.ADMIN: frozenset(Permission),
}
# The most that somebody's groups give, where several do.
RANK = (Role.VIEWER, Role.AUDITOR, Role.OPERATOR, Role.ADMIN)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who makes a request. ``form_key``: what this session's forms carry; None for a token, which sends none."""

    actor: Actor
    role: Role
    form_key: str | None = None

    def may(self, permission: Permission) -> bool:
        return permission in PERMITTED[self.role]


# Set by the route's ``Needs`` for the time of the request.
CALLER: ContextVar[Caller] = ContextVar("caller")


def roles_with(permission: Permission) -> str:
    """ "operator or admin", for the sentence of a refusal."""
    return " or ".join(role.value for role in Role if permission in PERMITTED[role])


def digest(secret: str) -> bytes:
    """What is stored of a token, link or session. They are random with 256 bits: a slow hash adds nothing."""
    return hashlib.sha256(secret.encode()).digest()


def form_key(session: str) -> str:
    """What forms of this session carry: known to its pages, and not to a page elsewhere that only has the cookie sent."""
    return hmac.new(session.encode(), b"cloudward form", hashlib.sha256).hexdigest()


def same(one: str | None, other: str | None) -> bool:
    return one is not None and other is not None and hmac.compare_digest(one.encode(), other.encode())


def command_id(idempotency_key: str) -> str:
    """The command that a caller's Idempotency-Key names: the same key always names the same command."""
    return uuid5(_KEYS, idempotency_key).hex


def mapped_role(groups: list[str], mapping: Mapping[str, Role]) -> Role | None:
    """The highest role that one of these groups gives; "*" stands for everybody. None: no role, no entry."""
    found = {mapping[group] for group in (*groups, "*") if group in mapping}
    return max(found, key=RANK.index, default=None)


def read_mapping(text: str) -> dict[str, Role]:
    """Of ``group=role`` pairs, separated by commas. Raises ValueError with a sentence."""
    found: dict[str, Role] = {}
    for pair in filter(None, (each.strip() for each in text.split(","))):
        group, sign, role = (part.strip() for part in pair.rpartition("="))
        if not sign or not group or role not in set(Role):
            raise ValueError(f"“{pair}” is not group=role with a role of {', '.join(Role)}.")
        found[group] = Role(role)
    return found


def local_path(given: str | None) -> str:
    """Where to go after the login: a path of ours, or the start page. Never another site."""
    if given and given.startswith("/") and not given.startswith(("//", "/\\")) and given.isprintable():
        return given
    return "/"


class Attempts:
    """Counts failed logins by address: at most ``most`` in ``window`` seconds. Of at most 10,000 addresses."""

    def __init__(self, most: int = 10, window: float = 60.0) -> None:
        self._most, self._window = most, window
        self._failed: OrderedDict[str, deque[float]] = OrderedDict()

    def wait(self, address: str, now: float) -> float:
        """Seconds until this address may try again; 0 now."""
        times = self._failed.get(address)
        if not times or len(times) < self._most:
            return 0.0
        return max(0.0, times[0] + self._window - now)

    def failed(self, address: str, now: float) -> bool:
        """Notes a failure. True for the first of this address within the window."""
        times = self._failed.setdefault(address, deque(maxlen=self._most))
        self._failed.move_to_end(address)
        first = not times or times[-1] + self._window < now
        times.append(now)
        if len(self._failed) > 10_000:
            self._failed.popitem(last=False)
        return first


def read_token(file: Path) -> str:
    """The deployment's own token, for its first administrator. Raises OSError and ValueError."""
    token = file.read_text(encoding="utf-8").strip()
    if len(token) < 16:
        raise ValueError("The API token is too short: at least 16 characters.")
    return token
