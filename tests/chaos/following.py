"""Plans that go on from others under the same violence: what changed at the source arrives, then all of it is undone.

A source of its own is moved to several sites without trouble. People work at it: they write, move, add, and restrict what
anybody could see before. One site is brought up to date without trouble; the others, while people read all of them, under
kills and faults, and must end the same. Then both plans of each are undone, under kills and faults again, the later one first.
"""

import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tests.chaos.campaign import Round, Run, Stage, Undisturbed
from tests.chaos.scene import Held, Site
from tests.chaos.stops import follow, not_as_before
from tests.chaos.watchers import Watch
from tests.e2e.world import Move

# What must not be seen holds the word: also what was open to anybody until it was restricted and filled with it.
EDITS: tuple[dict[str, Any], ...] = (
    {"do": "write", "space": "ISLE", "title": "Landing", "body": "<p>Rebuilt in oak.</p>"},
    {"do": "write", "space": "QUAY", "title": "Ropes", "new_title": "Ropes and knots"},
    {"do": "add", "space": "ISLE", "title": "Buoy", "parent": "North Shore", "body": "<p>Red.</p>"},
    {"do": "move", "space": "ISLE", "title": "Lamp", "parent": "South Shore", "position": 0},
    {"do": "comment", "space": "ISLE", "title": "Lamp", "body": "<p>Moved.</p>"},
    {"do": "resolve", "space": "ISLE", "title": "North Shore"},
    {"do": "attach", "space": "ISLE", "title": "Lamp", "file": "oil.csv", "size": 640},
    {"do": "attach", "space": "ISLE", "title": "South Shore", "file": "new.txt", "size": 50},
    {"do": "label", "space": "ISLE", "title": "Landing", "labels": ["north", "oak"]},
    {"do": "label", "space": "ISLE", "title": "Lamp", "file": "lamp.png", "labels": ["picture", "north"]},
    # New below what is restricted, and new and restricted itself.
    {"do": "add", "space": "ISLE", "title": "Hushmere Nook", "parent": "Hushmere Vault", "body": "<p>hushmere</p>"},
    {"do": "add", "space": "ISLE", "title": "Hushmere Chest", "parent": "Landing", "body": "<p>hushmere</p>"},
    {"do": "restrict", "space": "ISLE", "title": "Hushmere Chest", "groups": ["keepers"]},
    {"do": "attach", "space": "ISLE", "title": "Hushmere Chest", "file": "hushmere.txt", "size": 70},
    {"do": "comment", "space": "ISLE", "title": "Hushmere Chest", "body": "<p>The hushmere lock sticks.</p>"},
    # Restricted since, with a text of which not everybody shall know.
    {"do": "restrict", "space": "QUAY", "title": "Ledger", "groups": ["keepers"]},
    {"do": "write", "space": "QUAY", "title": "Ledger", "body": "<p>In the red since hushmere.</p>"},
    # Restricted since; its text is as it was, and what hangs on it is new.
    {"do": "restrict", "space": "MOLE", "title": "Stones", "groups": ["keepers"]},
    {"do": "attach", "space": "MOLE", "title": "Stones", "file": "hushmere-stones.txt", "size": 90},
    {"do": "comment", "space": "MOLE", "title": "Stones", "body": "<p>Look for hushmere below.</p>"},
    {"do": "label", "space": "MOLE", "title": "Stones", "labels": ["hushmere"]},
    # Moved below what is restricted, and filled there.
    {"do": "move", "space": "ISLE", "title": "Slipway", "parent": "Hushmere Vault"},
    {"do": "write", "space": "ISLE", "title": "Slipway", "body": "<p>Down to hushmere.</p>"},
)

_PAGE, _RIGHTS = "/wiki/api/v2/pages", "/wiki/rest/api/content/{id}/restriction"
# Requests of a delta and of an undo over which the executors are killed.
BROUGHT = (
    Held("page", "new and restricted", "POST", _PAGE, '"Hushmere Chest"'),
    Held("page", "new", "POST", _PAGE, '"Buoy"'),
    Held("text", "of a page that is there", "PUT", f"{_PAGE}/{{id}}", "in oak"),
    Held("text", "of a page just restricted", "PUT", f"{_PAGE}/{{id}}", "In the red"),
    Held("restriction", "the first", "PUT", _RIGHTS, ""),
    Held("restriction", "a later one", "PUT", _RIGHTS, "", 3),
    Held("attachment", "a new version", "POST", "/wiki/rest/api/content/{id}/child/attachment/{id}/data", "oil.csv"),
    Held("attachment", "new", "POST", "/wiki/rest/api/content/{id}/child/attachment", "new.txt"),
    Held("comment", "new", "POST", "/wiki/api/v2/footer-comments", "Moved."),
    Held("place", "of a page", "PUT", "/wiki/rest/api/content/{id}/move/*", ""),
)
TAKEN_BACK = (
    Held("removal", "of the first page", "DELETE", f"{_PAGE}/{{id}}", ""),
    Held("removal", "of a later page", "DELETE", f"{_PAGE}/{{id}}", "", 4),
    Held("removal", "of a blog post", "DELETE", "/wiki/api/v2/blogposts/{id}", ""),
    Held("removal", "of a space", "DELETE", "/wiki/rest/api/space/{key}", ""),
    Held("removal", "of a group", "DELETE", "/wiki/rest/api/group/*", ""),
)
STRIKES = 2

_numbers = itertools.count(1)


@dataclass
class Place:
    """A site and the plans that were run onto it, the last one last."""

    site: Site
    before: dict[str, Any]
    plans: list[Move]

    @classmethod
    async def of(cls, stage: Stage, source: str) -> "Place":
        move, site, _, before = await stage.onto("bare", source)
        return cls(site, before, [move])


async def prepare(stage: Stage, times: int) -> tuple[str, list[Place]]:
    """Moves a source to so many sites, then lets people work at it. The source's name in the sandbox, and the sites."""
    source = f"tide-{next(_numbers)}"
    await stage.world.server(source, {"version": "7.19.0", "sample": "pocket"})
    await stage.know(source)
    places = [await Place.of(stage, source) for _ in range(times)]
    for place in places:
        await stage.world.run(place.plans[0])
    for place in places:
        report = await stage.world.ended(place.plans[0])
        assert report["status"] == "FINISHED", report
    async with stage.http.post(f"{stage.world.admin}/sites/{source}/edits", json=list(EDITS)) as answer:
        assert answer.status == 204, await answer.text()
    return source, places


async def delta(stage: Stage, place: Place) -> Undisturbed:
    """Brings one site up to date without trouble."""
    place.plans.append(await follow(stage.world, place.plans[-1], "delta"))
    await stage.world.run(place.plans[-1])
    report = await stage.world.ended(place.plans[-1])
    assert report["status"] == "FINISHED" and report["conserved"], report
    return await stage.left(place.plans[-1], place.site, report)


async def go_on(
    stage: Stage,
    chance: random.Random,
    hold: Callable[[Sequence[Held], int], list[Held]],
    strike: Callable[[], list[str]],
    times: int,
) -> list[Run]:
    """A delta and two undos on so many sites. ``hold``: deals a card for each of them; ``strike``: acts for all of them."""
    source, (example, *places) = await prepare(stage, times + 1)
    expected = await delta(stage, example)
    done: list[Run] = []
    # What is followed: the move, then the delta, then the move again.
    for how, which, held, wanted in (
        ("delta", 0, BROUGHT, expected),
        ("undo", 1, TAKEN_BACK, None),
        ("undo", 0, TAKEN_BACK, None),
    ):
        runs: list[Run] = []
        for place, card in zip(places, hold(held, times), strict=True):
            seed = chance.randrange(10**6)
            move = await follow(stage.world, place.plans[which], how)
            await place.site.admin("DELETE", "/faults")
            watch = Watch(place.site, random.Random(seed))
            run = Run(len(done) + len(runs) + 1, seed, how, move, place.site, [card], watch, place.before, wanted)
            run.earlier, run.enough = [plan.plan for plan in place.plans], 1  # they are soon over
            runs.append(run)
        done += await Round(stage, runs, chance.randrange(10**6), strike(), long=False, source=source).perform()
        for place, run in zip(places, runs, strict=True):
            place.plans.append(run.move)
    for place, run in zip(places, done[-len(places) :], strict=True):
        run.verdict.diverged += not_as_before(place.before, await place.site.admin("GET", "/canonical"))
    return done
