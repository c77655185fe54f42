"""Who could read what, and when: what watched accounts gained and lost with each request that changed anything."""

from dataclasses import asdict, dataclass

from sandbox.cloud.state import Account, Site
from sandbox.wire import Document

ANYBODY = "anonymous"

Seen = dict[int, tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Turn:
    """From the entry ``sequence`` of the journal on the account could (``gained``) or could no longer (``lost``) read a space,
    page or blog post. Its files and comments are read with it. 0: from the start."""

    sequence: int
    time: float
    account: str
    verb: str
    kind: str
    id: str
    identity: str


class AccessLog:
    """Looks at the whole site each time, for each account: for tests with small sites, which name whom they watch."""

    def __init__(self, site: Site, emails: list[str]) -> None:
        self._site = site
        self._seen: dict[str, Seen] = {email: {} for email in emails}
        self.turns: list[Turn] = []

    def look(self, sequence: int, at: float) -> None:
        """After a request with an effect."""
        for email, before in self._seen.items():
            now = self._readable(email)
            for verb, one, other in (("lost", before, now), ("gained", now, before)):
                self.turns += [
                    Turn(sequence, at, email, verb, kind, str(id), identity)
                    for id, (kind, identity) in one.items()
                    if id not in other
                ]
            self._seen[email] = now

    def _readable(self, email: str) -> Seen:
        site = self._site
        account: Account | None = None
        if email != ANYBODY:
            account = site.by_email.get(email.lower())
            if account is None or not account.active:
                return {}
        found: Seen = {
            space.id: ("space", f"space {space.key}")
            for space in site.spaces.values()
            if site.sees_space(account, space)
        }
        for content in site.content.values():
            if content.space in found and content.status != "trashed" and site.sees(account, content):
                found[content.id] = (content.kind, site.identity(content))
        return found

    def document(self, account: str | None, identity: str | None) -> Document:
        return {
            "turns": [
                asdict(turn)
                for turn in self.turns
                if account in (None, turn.account) and identity in (None, turn.identity)
            ]
        }
