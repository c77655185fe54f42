"""People of the site who read all of it again and again while it is filled, and what they were ever shown."""

import asyncio
import contextlib
import json
import random
import time
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from sandbox.sample.pocket import HUSH
from tests.chaos.scene import STRANGER, VIEWER, Site
from tests.e2e.world import Move, World

_LISTS = (
    "/wiki/api/v2/spaces?limit=250",
    "/wiki/api/v2/pages?limit=250&body-format=storage",
    "/wiki/api/v2/blogposts?limit=250&body-format=storage",
    "/wiki/rest/api/space?limit=100",
)
_DIRECT = {
    "page": (
        "/wiki/api/v2/pages/{id}?body-format=storage",
        "/wiki/api/v2/pages/{id}/footer-comments?body-format=storage",
        "/wiki/api/v2/pages/{id}/attachments",
        "/wiki/api/v2/pages/{id}/children",
        "/wiki/rest/api/content/{id}/child/attachment",
    ),
    "blogpost": ("/wiki/api/v2/blogposts/{id}?body-format=storage",),
    "comment": ("/wiki/api/v2/footer-comments/{id}?body-format=storage",),
    "attachment": ("/wiki/api/v2/attachments/{id}",),
    "space": ("/wiki/api/v2/spaces/{id}", "/wiki/api/v2/spaces/{id}/pages?limit=250&body-format=storage"),
}


@dataclass
class Watcher:
    """One person. ``spaces``: key → when (seconds since 1970) the first answer that shows the space was there."""

    name: str
    who: tuple[str, str] | None
    spaces: dict[str, float] = field(default_factory=dict)
    leaks: list[str] = field(default_factory=list)
    answers: int = 0


class Watch:
    """Three people on one site: one with rights in a space, one without any, and nobody in particular."""

    def __init__(self, site: Site, chance: random.Random, pause: float = 1.0) -> None:
        self._site, self._chance, self._pause = site, chance, pause
        self.people = [Watcher("viewer", VIEWER), Watcher("stranger", STRANGER), Watcher("anonymous", None)]
        self._known: list[tuple[str, str]] = []
        self._read = 0

    async def run(self) -> None:
        await asyncio.gather(*(self._run(person) for person in self.people), self._learn())

    async def over(self, world: World, move: Move, timeout: float = 120) -> dict[str, Any]:
        """Watches a plan from its beginning to its end; its report."""
        watching = asyncio.create_task(self.run())
        try:
            await world.run(move)
            return await world.ended(move, timeout)
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

    async def _run(self, person: Watcher) -> None:
        while True:
            await self.look(person)
            await asyncio.sleep(self._chance.uniform(0.5, 1.5) * self._pause)

    async def _learn(self) -> None:
        """Ids of what is made, as somebody who guesses them: what no list shows is asked for by its id."""
        while True:
            with contextlib.suppress(aiohttp.ClientError, TimeoutError, ValueError):
                for entry in await self._site.journal(self._read):
                    self._read = entry["sequence"]
                    for effect in entry["effects"]:
                        if effect["verb"] == "created" and effect["kind"] in _DIRECT:
                            self._known.append((effect["kind"], effect["id"]))
            await asyncio.sleep(0.5)

    async def look(self, person: Watcher, everything: bool = False) -> None:
        paths = list(_LISTS)
        guessed = self._known if everything else self._chance.sample(self._known, min(3, len(self._known)))
        for kind, id in guessed:
            paths += [
                path.format(id=id) for path in (_DIRECT[kind] if everything else [self._chance.choice(_DIRECT[kind])])
            ]
        for path in paths:
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                status, body = await self._site.ask(person.who, "GET", path)
                self._seen(person, path, status, body)

    def _seen(self, person: Watcher, path: str, status: int, body: bytes) -> None:
        at = time.time()
        person.answers += 1
        if status != 200:
            return
        if HUSH.encode() in body.lower():
            person.leaks.append(f"{person.name} was shown what is restricted by {path.partition('?')[0]}")
        if path.startswith(("/wiki/api/v2/spaces?", "/wiki/rest/api/space?")):
            with contextlib.suppress(ValueError, KeyError):
                for space in json.loads(body)["results"]:
                    person.spaces.setdefault(space["key"], at)

    async def exposures(self, *, opened: bool = False) -> list[str]:
        """What anybody was shown and should not have been, in sentences. Call when the plan has ended. ``opened``: an earlier
        plan has opened the spaces."""
        for person in self.people:
            await self.look(person, everything=True)
        found = [leak for person in self.people for leak in person.leaks]
        if opened:
            return found
        entries = await self._site.journal()
        first: dict[str, dict[str, float]] = {}  # space → restricted page → when it was first restricted
        for entry in entries:
            for effect in entry["effects"]:
                if effect["kind"] == "restriction" and effect["verb"] in ("created", "updated"):
                    space = effect["identity"].partition(" ")[2].partition(" ")[2].partition(" ")[2].partition("/")[0]
                    first.setdefault(space, {}).setdefault(effect["id"], entry["time"])
        for person in self.people:
            for key, at in person.spaces.items():
                late = [id for id, when in first.get(key, {}).items() if when > at]
                if late:
                    found.append(f"{person.name} was shown space {key} before {len(late)} of its restrictions were set")
        return found
