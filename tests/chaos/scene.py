"""What a run moves and onto what: the small wiki onto a bare site, or onto one where others already live and interfere."""

import asyncio
import base64
import json
import random
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from cli.tryout import SITE_CREDENTIAL
from tests.e2e.world import Move, World

# May view Little Quay and what anybody may, but is in none of the groups that restricted pages are for.
VIEWER = ("cy.dunlin@example.org", "viewer-token")
STRANGER = ("reader@example.com", "reader-token")
LOCAL = ("local@example.com", "local-token")
MIGRATOR = (SITE_CREDENTIAL["email"], SITE_CREDENTIAL["token"])

BARE: dict[str, Any] = {"tokens": dict([VIEWER])}
SETTLED: dict[str, Any] = {
    "tokens": dict([VIEWER, LOCAL]),
    "users": [
        {"email": "local@example.com", "name": "Local"},
        {"email": "bo.plover@example.org", "name": "Bo, long here"},
    ],
    "groups": [
        {"name": "ferry", "members": ["local@example.com"]},
        {"name": "locals", "members": ["local@example.com"]},
    ],
    "spaces": [
        {"key": "LOCAL", "name": "Ours", "pages": ["Lamp", "Rules"]},
        {"key": "MOLE", "name": "Our own mole", "pages": ["Stones"]},
    ],
}
VARIANTS = {"bare": BARE, "settled": SETTLED}
# On the settled site the key of Old Mole is taken: that space, and so the plan, has to fail.
ENDS = {"bare": "FINISHED", "settled": "FAILED"}


@dataclass(frozen=True)
class Held:
    """A create whose answer the site holds back until the executor is dead. ``nth``: of the requests that fit."""

    kind: str
    what: str
    method: str
    route: str
    contains: str
    nth: int = 1


_PAGE, _POST = "/wiki/api/v2/pages", "/wiki/api/v2/blogposts"
_FILE, _COMMENT = "/wiki/rest/api/content/{id}/child/attachment", "/wiki/api/v2/footer-comments"
_INLINE = "/wiki/api/v2/inline-comments"
# First and later ones of their chunk, and both of what there is twice.
HELD = (
    Held("space", "Little Quay", "POST", "/wiki/rest/api/space/_private", '"QUAY"'),
    Held("space", "Pocket Isle", "POST", "/wiki/rest/api/space/_private", '"ISLE"'),
    Held("page", "North Shore, first", "POST", _PAGE, '"North Shore"'),
    Held("page", "South Shore, later", "POST", _PAGE, '"South Shore"'),
    Held("page", "Landing, later, its name may be taken", "POST", _PAGE, '"Landing'),
    Held("page", "Hushmere Vault", "POST", _PAGE, '"Hushmere Vault"'),
    Held("blogpost", "Tides, first", "POST", _POST, '"Tides"'),
    Held("blogpost", "Tides of another day", "POST", _POST, '"Tides"', 2),
    Held("blogpost", "A seal, its name may be taken", "POST", _POST, '"A seal'),
    Held("attachment", "lamp.png, first", "POST", _FILE, "lamp.png"),
    Held("attachment", "oil.csv, later, its name may be taken", "POST", _FILE, "oil"),
    Held("attachment", "lamp.png of another page", "POST", _FILE, "lamp.png", 2),
    Held("comment", "the first of two equal ones", "POST", _COMMENT, "Lit."),
    Held("comment", "the second of two equal ones", "POST", _COMMENT, "Lit.", 2),
    Held("comment", "a reply", "POST", _COMMENT, "Thanks."),
    Held("comment", "its equal", "POST", _COMMENT, "Thanks.", 2),
    Held("comment", "on a piece of text", "POST", _INLINE, "Which one?"),
    Held("group", "the first", "POST", "/wiki/rest/api/group", ""),
    Held("account", "the first", "POST", "/rest/api/3/user", ""),
    Held("account", "a later one", "POST", "/rest/api/3/user", "", 3),
)


class Site:
    """Requests to a stand-in site as one of its people, and to the sandbox's administration about it."""

    def __init__(self, http: aiohttp.ClientSession, world: World, move: Move) -> None:
        self._http, self.move = http, move
        self._admin = f"{world.admin}/sites/{move.site_name}"

    async def ask(self, who: tuple[str, str] | None, method: str, path: str, **more: Any) -> tuple[int, bytes]:
        headers = {**more.pop("headers", {})}
        if who is not None:
            headers["Authorization"] = "Basic " + base64.b64encode(":".join(who).encode()).decode()
        async with self._http.request(method, self.move.url + path, headers=headers, **more) as answer:
            return answer.status, await answer.read()

    async def did(self, who: tuple[str, str], method: str, path: str, **more: Any) -> dict[str, Any]:
        status, body = await self.ask(who, method, path, **more)
        assert status < 300, f"{method} {path}: {status} {body[:300]!r}"
        return dict(json.loads(body)) if body else {}

    async def admin(self, method: str, path: str, **more: Any) -> Any:
        async with self._http.request(method, self._admin + path, **more) as answer:
            return json.loads(body) if (body := await answer.read()) else None

    async def fault(self, **rule: Any) -> str:
        found = await self.admin("POST", "/faults", json=rule)
        return str(found["faults"][0]["id"])

    async def rules(self) -> dict[str, dict[str, Any]]:
        return {rule["id"]: rule for rule in (await self.admin("GET", "/faults"))["faults"]}

    async def holds(self, fault: str) -> bool:
        return bool((await self.rules()).get(fault, {}).get("holding"))

    async def release(self, fault: str) -> None:
        await self.admin("POST", f"/faults/{fault}/release")

    async def journal(self, after: int = 0) -> list[dict[str, Any]]:
        return list((await self.admin("GET", f"/journal?after={after}&limit=200000"))["entries"])


@dataclass
class Interference:
    """On a settled site somebody puts, just before the executor does, what has the same name as what moves."""

    site: Site
    _rules: list[str] = field(default_factory=list)

    async def prepare(self) -> None:
        self._rules = [
            await self.site.fault(
                method="POST", route="/wiki/rest/api/space/_private", contains='"ISLE"', action="hold", when="after"
            ),
            await self.site.fault(method="POST", route=_PAGE, contains='"Lamp"', action="hold", when="after"),
        ]

    async def run(self) -> None:
        for fault, plant in zip(self._rules, (self._in_the_space, self._on_the_page), strict=True):
            while not (await self.site.rules())[fault]["fired"]:
                await asyncio.sleep(0.03)
            await plant()
            await self.site.release(fault)

    @staticmethod
    def in_time(journal: list[dict[str, Any]]) -> bool:
        """Whether the others on the site were there before the executor each time: else the run proves nothing."""
        first: dict[tuple[bool, str], int] = {}
        for entry in journal:
            for effect in entry["effects"]:
                if effect["verb"] == "created":
                    thing = f"{effect['kind']} {effect['identity']}"
                    first.setdefault((entry["account"] == LOCAL[0], thing), entry["sequence"])
        names = [thing for by_local, thing in first if by_local]
        return len(names) >= 5 and all(
            first[True, name] < first.get((False, name), 1 << 60) for name in names if not name.startswith("permission")
        )

    async def _in_the_space(self) -> None:
        local = await self.site.did(LOCAL, "GET", "/wiki/rest/api/user/current")
        for key, target in (("read", "space"), ("create", "page"), ("create", "blogpost")):
            await self._permit(str(local["accountId"]), key, target)
        for key, target in (("create", "attachment"), ("create", "comment")):
            await self._permit(str(local["accountId"]), key, target)
        space = await self.site.did(MIGRATOR, "GET", "/wiki/rest/api/space/ISLE")
        body = {"representation": "storage", "value": "<p>Put here by somebody else.</p>"}
        page = {"spaceId": str(space["id"]), "status": "current", "title": "Landing", "body": body}
        await self.site.did(LOCAL, "POST", _PAGE, params={"root-level": "true"}, json=page)
        post = {"spaceId": str(space["id"]), "status": "current", "title": "A seal", "body": body}
        await self.site.did(LOCAL, "POST", _POST, json={**post, "createdAt": "2022-06-02T09:30:00.000Z"})

    async def _permit(self, account: str, key: str, target: str) -> None:
        await self.site.did(
            MIGRATOR,
            "POST",
            "/wiki/rest/api/space/ISLE/permission",
            json={"subject": {"type": "user", "identifier": account}, "operation": {"key": key, "target": target}},
        )

    async def _on_the_page(self) -> None:
        found = await self.site.did(LOCAL, "GET", f"{_PAGE}?title=Lamp")
        spaces = await self.site.did(MIGRATOR, "GET", "/wiki/rest/api/space/ISLE")
        page = next(p["id"] for p in found["results"] if p["spaceId"] == str(spaces["id"]))
        form = aiohttp.FormData()
        form.add_field("file", b"lamp oil of ours\n", filename="oil.csv", content_type="text/csv")
        await self.site.did(
            LOCAL,
            "POST",
            f"/wiki/rest/api/content/{page}/child/attachment",
            data=form,
            headers={"X-Atlassian-Token": "no-check"},
        )
        body = {"representation": "storage", "value": "<p>Lit.</p>"}
        await self.site.did(LOCAL, "POST", _COMMENT, json={"pageId": page, "body": body})


ROUTES = ("*", "*", "/wiki/api/v2/*", "/wiki/rest/api/*", _PAGE, _COMMENT, "/rest/api/3/user", "*/child/attachment")


def site_faults(chance: random.Random) -> list[dict[str, Any]]:
    """Rules for the site: answers that fail before or after the effect, connections cut, slowness, throttling."""
    rules: list[dict[str, Any]] = []
    for _ in range(chance.randint(2, 4)):
        rule: dict[str, Any] = {
            "method": chance.choice(("POST", "POST", "PUT", "*")),
            "route": chance.choice(ROUTES),
            "account": MIGRATOR[0],
            "nth": chance.randint(1, 12),
            "count": chance.randint(1, 3),
        }
        what = chance.choice(("status", "close", "mid-body", "delay", "throttle"))
        if what == "throttle":
            rule |= {"action": "status", "when": "before", "status": 429, "retry_after": chance.choice((0.2, 0.5, 1.0))}
        elif what == "status":
            rule |= {"action": "status", "when": chance.choice(("before", "after"))}
            rule |= {"status": chance.choice((500, 502, 503, 504))}
        elif what == "delay":
            rule |= {
                "action": "delay",
                "when": chance.choice(("before", "after")),
                "seconds": chance.choice((0.3, 2.5)),
            }
        else:
            rule |= {
                "action": "close",
                "when": "mid-body" if what == "mid-body" else chance.choice(("before", "after")),
            }
        rules.append(rule)
    return rules


def source_faults(chance: random.Random) -> list[dict[str, Any]]:
    """Rules for the source, which all runs of a world read."""
    return [
        {"route": "*", "count": 4, "probability": 0.02, "seed": chance.randrange(10**6), **answer}
        for answer in (
            {"action": "status", "status": 503},
            {"action": "status", "status": 429, "retry_after": 0.2},
            {"action": "close", "when": "after"},
        )
    ]
