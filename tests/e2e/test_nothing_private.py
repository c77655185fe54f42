"""Whatever happens, no name, address, title, key or secret gets into an event, a NATS message or a log line."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from cli.tryout import SERVER_TOKEN, SITE_CREDENTIAL
from sandbox.sample import sample
from tests.e2e.world import World

pytestmark = pytest.mark.slow

SEED = 7  # what the sandbox's samples are made from
# What else would tell of someone: account ids of the site, and any address of a person.
ACCOUNT_ID = re.compile(r"\b712020:[0-9a-f-]{8,}")
EMAIL = re.compile(r"\b[\w.+-]+@[\w-]+\.[a-z]{2,}\b", re.IGNORECASE)
# Words that a title has in common with everybody's language.
COMMON = {"Keys", "Tools", "Method", "Calendar", "Overview", "Partners", "Visitors", "Inventory"}


def texts() -> set[str]:
    """Everything in the samples that people wrote, names included."""
    found: set[str] = set()
    for name in ("north", "south"):
        instance = sample(SEED, name)
        for user in instance.users.values():
            found |= {user.key, user.username, user.display_name, user.email or ""}
        found |= set(instance.groups)
        for space in instance.spaces.values():
            found |= {space.key, space.name, space.description}
        for content in instance.contents.values():
            found |= {content.title, *(label for _, label in content.labels)}
    return {text for text in found if len(text) > 3} - COMMON


def secrets(house: Path) -> set[str]:
    kept = {file.read_text().strip() for file in (house / "secrets").iterdir()}
    return kept | {(house / "api-token").read_text().strip(), SERVER_TOKEN, SITE_CREDENTIAL["token"], "wrong-token"}


def places(world: World, events: list[str]) -> Iterator[tuple[str, str]]:
    """Where to look: the events, JetStream's files (its messages lie there as they are), and the logs of all but the
    sandbox, which is no part of a deployment."""
    yield from (("event", body) for body in events)
    data = world.house.data
    for file in [*(data / "nats").rglob("*"), *(data / "logs").glob("*.log")]:
        if file.is_file() and file.name != "sandbox.log":
            yield str(file.relative_to(data)), file.read_bytes().decode(errors="replace")


async def test_no_text_of_the_source_and_no_secret_is_in_any_event_message_or_log(world: World, south: str) -> None:
    await eventful_life(world, south)
    rows = await world.rows("SELECT convert_from(body, 'UTF8') || ' ' || stream AS body FROM log.events")
    everything = list(places(world, [row["body"] for row in rows]))
    # What is to be looked at is there: messages as they are, and what the troubles made the services say.
    assert any(place.startswith("nats") and '"entities"' in text for place, text in everything)
    assert any("executor" in place and '"entity failed"' in text for place, text in everything)
    assert any("executor" in place and '"trying again"' in text for place, text in everything)
    sought = texts() | secrets(world.house.data) | {"secretive plan", "Private Source", "Hidden Site"}
    assert len(sought) > 200
    words = "|".join(re.escape(text) for text in sorted(sought, key=len, reverse=True))
    pattern = re.compile(rf"(?<![\w-])(?:{words})(?![\w-])")
    found = {
        (place, match.group())
        for place, text in everything
        for kind in (pattern, ACCOUNT_ID, EMAIL)
        for match in kind.finditer(text)
    }
    assert found == set()


async def eventful_life(world: World, source: str) -> None:
    """Two moves with trouble on both sides, credentials that are refused, and requests that make no sense."""
    wrong = {"name": "Private Source", "location": world.servers["north"], "credential": {"token": "wrong-token"}}
    await world.analyze((await world.call("post", "/sources", wrong))["id"])
    north = await world.move("north", spaces=[{"key": "OPS", "name": "Here before"}])
    south = await world.plan(source)
    trouble = [
        {"method": "POST", "route": "/wiki/api/v2/pages", "nth": 3, "status": 400},
        {"method": "POST", "route": "/wiki/api/v2/pages", "nth": 6, "status": 500, "when": "after"},
        {"method": "POST", "route": "/wiki/api/v2/footer-comments", "nth": 1, "status": 403},
        {"method": "POST", "route": "/rest/api/3/user", "nth": 2, "status": 404},
        {"method": "POST", "route": "/wiki/rest/api/content/{id}/child/attachment", "nth": 1, "status": 413},
        {"method": "GET", "route": "/wiki/api/v2/*", "nth": 5, "count": 2, "status": 503},
    ]
    for rule in trouble:
        await world.fault(north, count=rule.pop("count", 1), action="status", **rule)
    await world.fault(south, method="GET", route="*", nth=10, count=3, action="close")
    await world.run(north)
    await world.run(south)
    assert (await world.ended(north))["conserved"]
    assert (await world.ended(south))["conserved"]
    site = {
        "name": "Hidden Site",
        "url": south.url,
        "sandbox": True,
        "credential": {**SITE_CREDENTIAL, "token": "wrong-token"},
    }
    hidden = (await world.call("post", "/sites", site))["id"]
    body = {"name": "secretive plan", "source": south.source, "site": hidden}
    plan = (await world.call("post", "/plans", body))["id"]
    await world.call("post", f"/plans/{plan}/run", {})
    headers = {"Authorization": f"Bearer {world.house.token}"}
    async with httpx.AsyncClient(base_url=world.house.dashboard_url, headers=headers, trust_env=False) as http:
        for path in ("/", "/plans/Mira%20Halden", "/api/v1/plans/mira.halden", "/api/v1/events?after=Mira"):
            await http.get(path)
        await http.post(
            "/api/v1/sites", content=b'{"name": "Mira Halden"', headers={"content-type": "application/json"}
        )
        await http.post("/api/v1/sources", json={"name": "Mira Halden", "credential": {"token": "wrong-token"}})
    for service in ("executor-1", "planner", "analyzer", "dashboard"):
        os.kill(world.house.pid(service), 15)
    await world.house.wait_ready(30)
