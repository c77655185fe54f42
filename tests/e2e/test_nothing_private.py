"""Whatever happens, no name, address, title, key or secret gets into an event, a NATS message, a log line, a metric, a trace or
a problem document; and the same search finds each of them where it belongs.

What every other test leaves behind is looked at too (``tests.privacy``); here everything happens that could let a name out.
"""

import asyncio
import os
from collections import defaultdict
from pathlib import Path
from typing import Any

import httpx
import pytest

from cli.embedded.nats import free_port
from cli.tryout import SERVER_TOKEN, SITE_CREDENTIAL
from sandbox.sample import sample
from tests.e2e.login import allow
from tests.e2e.world import Move, World
from tests.privacy import CANARY, SCAN, Collector, Scan, report

pytestmark = pytest.mark.slow

SEED = 7  # what the sandbox's samples are made from
# A wiki in which everything has the canary in its name, and one file is missing; its address and its errors have it too.
AVIARY: dict[str, Any] = {
    "version": "8.5.6",
    "seed": 13,
    "context": f"/{CANARY}",
    "generate": {"spaces": 3, "pages": 24, "users": 14, "attachments": 16, "comments": 8, "canary": CANARY},
}
BROKEN = {"version": "8.5.6", "faults": [{"route": "*", "count": None, "status": 400, "message": f"{CANARY} fell"}]}
# Words that a title has in common with everybody's language; and a user name with the path of the organization's API.
COMMON = {"admin", "Keys", "Tools", "Method", "Calendar", "Overview", "Partners", "Visitors", "Inventory"}

#: Where what was planted belongs: table and column, by what it is. Names of files, and what a server or site says of an error,
#: pass through and are kept nowhere.
BELONGS = {
    "space key": ("people.space", "key"),
    "space key of the plan": ("people.plan_key", "key"),
    "space key on the site": ("people.target", "lower_key"),
    "space name": ("people.space", "name"),
    "title": ("people.macro_use", "title"),
    "plan name": ("people.plan", "name"),
    "source name": ("people.source", "name"),
    "site name": ("people.site", "name"),
    "URL": ("people.source", "location"),
    "group name": ("people.source_group", "name"),
    "user name": ("people.person", "username"),
    "display name": ("people.person", "display_name"),
    "address": ("people.person", "email"),
    "actor": ("people.actor", "name"),
    "OAuth profile: name": ("people.login", "name"),
    "OAuth profile: address": ("people.login", "email"),
    "webhook name": ("people.webhook", "name"),
    "webhook URL": ("people.webhook", "url"),
}


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
    kept = {file.read_text().strip() for file in (house / "secrets").iterdir() if not file.name.endswith("seal-key")}
    return kept | {(house / "api-token").read_text().strip(), SERVER_TOKEN, SITE_CREDENTIAL["token"], "wrong-token"}


async def test_no_text_of_the_source_and_no_secret_is_anywhere_but_in_the_tables_of_names(
    world: World, south: str, collector: Collector
) -> None:
    scan = Scan()
    scan.seek(texts() | secrets(world.house.data))
    before, problems_before = set(SCAN.found), SCAN.looked.get("problems", 0)
    plans = await eventful_life(world, south)
    await asyncio.sleep(2.5)  # spans are sent every two seconds
    await scan.house(world.house)
    scan.folder(world.house.data)
    scan.look("traces", "collector", bytes(collector.kept))
    everything = scan.found | (SCAN.found - before)
    assert not everything, report(everything)
    # What is to be looked at is there: something that surely stands in each kind of place is found in it.
    assert await places_of(world, plans, collector) == {"events", "nats", "logs", "metrics", "traces"}
    assert SCAN.looked["problems"] - problems_before > 2000
    for told in ('"trying again"', '"entity failed"'):
        assert any(told in text for text in logs(world, "executor-")), told


async def test_the_same_search_finds_what_was_planted_in_the_tables_where_it_belongs(world: World, south: str) -> None:
    """Runs behind the other one, whose names it looks for."""
    columns = await world.rows(
        "SELECT n.nspname || '.' || c.relname AS place, a.attname AS column FROM pg_class c"
        " JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0"
        " WHERE c.relkind = 'r' AND n.nspname IN ('log', 'work', 'read', 'people', 'vault', 'meta') AND NOT a.attisdropped"
    )
    found: dict[str, set[str]] = defaultdict(set)
    for row in columns:
        place, column = row["place"], row["column"]
        scan = Scan()
        for each in await world.rows(f'SELECT "{column}"::text AS text FROM {place} WHERE "{column}" IS NOT NULL'):
            scan.look("table", place, each["text"].encode())
        if any(CANARY in what.lower() for _, what in scan.found):
            found[place].add(column)
    missing = {what: place for what, place in BELONGS.items() if place[1] not in found[place[0]]}
    assert missing == {}
    # … and in no other schema; tokens have names beside their digests, for people to tell them apart.
    assert {place for place in found if not place.startswith("people.")} <= {"vault.token"}


async def eventful_life(world: World, source: str) -> list[Move]:
    """Moves with trouble on both sides, credentials that are refused, and requests that make no sense."""
    wrong = {"name": f"{CANARY} private", "location": world.servers["north"], "credential": {"token": "wrong-token"}}
    await world.analyze((await world.call("post", "/sources", wrong))["id"])
    await world.server("broken", BROKEN)
    await world.analyze(await world.source("broken"))
    await world.server("aviary", AVIARY)
    world.servers["aviary"] += f"/{CANARY}"
    async with httpx.AsyncClient(trust_env=False) as http:
        assert CANARY in (await http.get(f"{world.servers['broken']}/rest/api/space")).text
    aviary = await world.source("aviary")
    assert (await world.analyze(aviary))["state"] == "completed"
    await world.repair(aviary)
    await world.call("post", "/tokens", {"name": f"{CANARY} of the night", "role": "viewer", "days": 1})
    taken = await world.look("SELECT key FROM people.space WHERE source = $1 ORDER BY space LIMIT 1", aviary)
    birds = await world.plan(aviary, spaces=[{"key": taken, "name": "Here before"}], users=[profile()])
    rung = await bell(world)
    await login(world, birds)
    south = await world.plan(source)
    renamed = await renamed_plan(world, birds)
    trouble = [
        {"method": "POST", "route": "/wiki/api/v2/pages", "nth": 3, "status": 400, "message": f"{CANARY}: no"},
        {"method": "POST", "route": "/wiki/api/v2/pages", "nth": 6, "status": 500, "when": "after"},
        {"method": "POST", "route": "/wiki/api/v2/footer-comments", "nth": 1, "status": 403},
        {"method": "POST", "route": "/rest/api/3/user", "nth": 2, "status": 404, "message": f"{CANARY}: nobody"},
        {"method": "POST", "route": "/wiki/rest/api/content/{id}/child/attachment", "nth": 1, "status": 413},
        {"method": "GET", "route": "/wiki/api/v2/*", "nth": 5, "count": 2, "status": 503},
    ]
    for rule in trouble:
        await world.fault(birds, count=rule.pop("count", 1), action="status", **rule)
    await world.fault(south, method="GET", route="*", nth=10, count=3, action="close")
    for move in (birds, south, renamed):
        await world.run(move)
    for move in (birds, south, renamed):
        assert (await world.ended(move))["conserved"]
    await nonsense(world, birds)
    async with asyncio.timeout(30):
        while await world.look("SELECT count(*) FROM hook.delivery WHERE webhook = $1 AND attempts > 0", rung) < 6:
            await asyncio.sleep(0.2)
    for service in ("executor-1", "planner", "analyzer", "dashboard"):
        os.kill(world.house.pid(service), 15)
    await world.house.wait_ready(90)
    return [birds, south, renamed]


def profile() -> dict[str, object]:
    """An account of the site whose profile has the canary."""
    return {"email": f"{CANARY}.profile@example.com", "name": f"{CANARY} profile", "access": ["confluence"]}


async def login(world: World, move: Move) -> None:
    """Somebody whose profile has the canary logs in; and a login that is denied."""
    for decision in ("accept", "deny"):
        begun = await world.call("post", "/logins")
        await allow(begun["url"], move.url, str(profile()["email"]), decision)
        told = await world.call("get", f"/logins/{begun['id']}")
        assert (told["state"], CANARY in (told["name"] or "")) == (
            ("open", True) if decision == "accept" else ("denied", False)
        )


async def bell(world: World) -> str:
    """A webhook with the canary in its name and address, where nobody answers."""
    body = {"name": f"{CANARY} bell", "url": f"http://127.0.0.1:{free_port()}/{CANARY}"}
    return str((await world.call("post", "/webhooks", body))["id"])


async def renamed_plan(world: World, like: Move) -> Move:
    """Of one space, under a new key."""
    site, site_name, url = await world.site()
    space = await world.look(
        "SELECT space FROM people.space WHERE source = $1 ORDER BY space DESC LIMIT 1", like.source
    )
    body = {"name": f"{CANARY} renamed", "source": like.source, "site": site, "spaces": [space]}
    plan = await world.call("post", "/plans", {**body, "new_keys": {space: f"{CANARY.upper()}NEW"}})
    return Move(body["name"], plan["id"], like.source, site, site_name, url)


async def nonsense(world: World, move: Move) -> None:
    """Requests with names in them that are refused, of every kind there is."""
    site = {"name": f"{CANARY} hidden", "url": move.url, "sandbox": True}
    hidden = (await world.call("post", "/sites", {**site, "credential": {**SITE_CREDENTIAL, "token": "wrong-token"}}))[
        "id"
    ]
    body = {"name": f"{CANARY} secretive", "source": move.source, "site": hidden}
    plan = (await world.call("post", "/plans", body))["id"]
    await world.call("post", f"/plans/{plan}/run", {})
    headers = {"Authorization": f"Bearer {world.house.token}"}
    bird = f"{CANARY}@example.com"
    refused = [
        ("GET", f"/plans/{CANARY}", None),
        ("GET", f"/sources/{CANARY}", None),
        ("GET", f"/{CANARY}", None),
        ("GET", f"/events?after={bird}", None),
        ("GET", f"/plans/{move.plan}/past?at={CANARY}", None),
        ("POST", "/plans", body),  # its name is taken
        ("POST", "/plans", {**body, "name": bird, "spaces": [CANARY]}),
        ("POST", "/plans", {**body, "name": bird, "accepted": [bird]}),
        ("POST", "/plans", {**body, "name": bird, "new_keys": {CANARY: bird}}),
        ("POST", "/plans", {**body, "name": bird, "scopes": [{"space": CANARY, "roots": [bird]}]}),
        ("POST", "/sources", {"name": f"{CANARY} private", "location": "http://x", "credential": {"token": "wrong-token"}}),
        ("POST", "/sources", {"name": bird, "location": f"/nowhere/{CANARY}.zip"}),
        ("POST", "/sites", {**site, "credential": SITE_CREDENTIAL}),
        ("POST", "/sites", {**site, "name": bird, "url": f"https://{CANARY}.atlassian.net", "credential": SITE_CREDENTIAL}),
        ("POST", "/tokens", {"name": f"{CANARY} of the night", "role": "viewer", "days": 1}),
        ("POST", "/webhooks", {"name": f"{CANARY} bell", "url": f"http://127.0.0.1:1/{CANARY}"}),  # its name is taken
        ("POST", "/webhooks", {"name": bird, "url": f"http://10.0.0.1/{CANARY}"}),
        ("GET", f"/logins/{CANARY}", None),
        ("POST", "/sites", {**site, "kind": "oauth", "login": CANARY, "credential": None}),
        ("POST", f"/plans/{move.plan}/run", {CANARY: bird}),
        ("POST", f"/sources/{move.source}/domains", {"trusted": [f"{CANARY}.org"]}),
        ("POST", f"/sources/{move.source}/maps", {"groups": f"Group,Target\n{CANARY},{bird}\n"}),
        ("POST", f"/sources/{move.source}/maps", {"users": f"User,AccountId\n{CANARY},{bird}\n"}),
    ]  # fmt: skip
    files = [
        ("plan-file", f"plan: {CANARY} renamed\nsource: {bird}\nsite: {CANARY}\nspaces: [{CANARY}]\n{CANARY}: 1\n"),
        ("plan-file", f"plan: {CANARY}: {bird}"),
        (f"sources/{move.source}/addresses", f"UserKey,UserName,ErrorType,OldEmail,NewEmail,Tombstone,AccountType\n{bird},{CANARY},,{bird},x,,\n"),
        (f"sources/{move.source}/domains.csv", f"domain,trusted\n{CANARY}.org,true\n"),
    ]  # fmt: skip
    statuses = []
    async with httpx.AsyncClient(
        base_url=f"{world.house.dashboard_url}/api/v1", headers=headers, trust_env=False, timeout=30
    ) as http:
        for method, path, json in refused:
            statuses.append((method, path, (await http.request(method, path, json=json)).status_code))
        for path, text in files:
            sent = await http.post(f"/{path}", content=text, headers={"content-type": "text/csv"})
            statuses.append(("POST", path, sent.status_code))
        broken = await http.post(
            "/sites", content=b'{"name": "zaunkoenig"', headers={"content-type": "application/json"}
        )
        statuses.append(("POST", "broken", broken.status_code))
        anonymous = await http.get(f"/plans/{CANARY}", headers={"Authorization": f"Bearer {CANARY}"})
        statuses.append(("GET", "anonymous", anonymous.status_code))
    assert [each for each in statuses if each[2] < 400 or each[2] >= 500] == []


def logs(world: World, service: str) -> list[str]:
    return [file.read_text() for file in (world.house.data / "logs").glob(f"{service}*.log")]


async def places_of(world: World, plans: list[Move], collector: Collector) -> set[str]:
    """The kinds of places in which what is surely there is found: ids of plans, names of commands, of metrics, of log lines."""
    scan = Scan()
    scan.seek([move.plan for move in plans])
    scan.seek(["cloudward_build_info", "command answered", "cmd.planner.save_plan"])
    for row in await world.rows("SELECT body FROM log.events"):
        scan.look("events", "log", row["body"])
    await scan.house(world.house)
    scan.folder(world.house.data)
    scan.look("traces", "collector", bytes(collector.kept))
    return {place.partition(":")[0] for place, _ in scan.found}
