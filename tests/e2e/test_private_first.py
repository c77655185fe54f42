"""Nothing is ever more visible on the site than it was at the source, at no moment of a run."""

import asyncio
import contextlib
from typing import Any

import httpx
import pytest

from tests.e2e.world import World

pytestmark = pytest.mark.slow

# Doreen may view Southmere Garden of Wiki South, and belongs to none of the groups that its restricted pages are for.
VIEWER = ("doreen.loam@example.com", "viewer-token")
# Cy may view Little Quay and Pocket Isle of Wiki Pocket.
SAILOR = ("cy.dunlin@example.org", "viewer-token")
STRANGER = ("reader@example.com", "reader-token")
RESTRICTED = {"Quarantine", "Keys"}


class Watcher:
    """Reads the whole site again and again as one person, and keeps what it was ever shown."""

    def __init__(self, url: str, who: tuple[str, str] | None) -> None:
        self._http = httpx.AsyncClient(base_url=url, auth=who, timeout=10, trust_env=False)
        self.spaces: dict[str, int] = {}  # key → round in which it was first shown
        self.titles: set[str] = set()
        self.rounds = 0

    async def run(self) -> None:
        while True:
            await self.look()
            await asyncio.sleep(0.02)

    async def look(self) -> None:
        self.rounds += 1
        for space in await self._list("/wiki/api/v2/spaces"):
            self.spaces.setdefault(space["key"], self.rounds)
        for kind in ("pages", "blogposts"):
            self.titles |= {found["title"] for found in await self._list(f"/wiki/api/v2/{kind}")}

    async def _list(self, path: str) -> list[dict[str, Any]]:
        with contextlib.suppress(httpx.HTTPError, ValueError):
            answer = await self._http.get(path, params={"limit": 250})
            return list(answer.json().get("results", [])) if answer.status_code == 200 else []
        return []


async def test_nobody_sees_a_restricted_page_or_a_space_before_it_is_opened(world: World, south: str) -> None:
    move = await world.plan(south, tokens=dict([VIEWER]))
    viewer, stranger, anonymous = (Watcher(move.url, who) for who in (VIEWER, STRANGER, None))
    opened_before_ready: list[str] = []

    async def guard() -> None:
        """A space that anybody is shown must have its restrictions set: its opening is planned."""
        while True:
            for key in {*viewer.spaces, *stranger.spaces, *anonymous.spaces}:
                planned = await world.look(
                    "SELECT count(*) FROM work.chunk k JOIN work.task t USING (task) JOIN people.space s ON s.space = t.space"
                    " WHERE t.plan = $1 AND s.source = $2 AND s.key = $3 AND k.phase = 'opening'",
                    move.plan,
                    south,
                    key,
                )
                if not planned:
                    opened_before_ready.append(key)
            await asyncio.sleep(0.02)

    watching = [asyncio.create_task(w.run()) for w in (viewer, stranger, anonymous)]
    watching.append(asyncio.create_task(guard()))
    await world.run(move)
    report = await world.ended(move)
    await viewer.look()
    for task in watching:
        task.cancel()
    await asyncio.gather(*watching, return_exceptions=True)
    assert report["status"] == "FINISHED"
    assert opened_before_ready == []
    for who in (viewer, stranger, anonymous):
        assert who.rounds > 20
        assert not RESTRICTED & who.titles
    # The control: the viewer is shown what she may see, in the end.
    assert "GARDEN" in viewer.spaces
    assert len(viewer.titles) > 20
    # Southmere Garden is open to anybody at the source, and no other space is.
    assert stranger.spaces.keys() <= {"GARDEN"}
    assert anonymous.spaces.keys() <= {"GARDEN"}
