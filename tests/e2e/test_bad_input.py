"""What cannot be used is said (what, why, what next), and leaves nothing half-done: no plan runs for ever on it."""

import asyncio
import json
import zipfile
from pathlib import Path
from typing import Any

import httpx
import pytest

from cli.client import ClientError
from cli.tryout import SERVER_TOKEN, SITE_CREDENTIAL
from tests.e2e.world import ACCEPTED, Move, World
from tests.unit.export.build import sample
from tests.unit.export.tables import sample as tables

pytestmark = pytest.mark.slow


async def refusal(world: World, method: str, path: str, body: dict[str, Any] | None = None) -> ClientError:
    with pytest.raises(ClientError) as caught:
        await world.call(method, path, *([body] if body is not None else []))
    assert caught.value.detail
    assert caught.value.way_on
    return caught.value


async def analyzed(world: World, location: str, credential: dict[str, str] | None = None) -> dict[str, Any]:
    body: dict[str, Any] = {"name": f"bad input {location} {len(credential or '')}", "location": location}
    if credential is not None:
        body["credential"] = credential
    source = (await world.call("post", "/sources", body))["id"]
    found = await world.analyze(source)
    if found["state"] == "failed":
        # Nothing can be planned on it.
        site, *_ = await world.site()
        plan = {"name": f"plan of {source}", "source": source, "site": site}
        assert (await refusal(world, "post", "/plans", plan)).code == "not_analyzed"
    return found


async def site_with(world: World, site: str, credential: dict[str, str], *, sandbox: bool = True) -> str:
    """The same site, registered once more with another credential."""
    url = (await world.call("get", f"/sites/{site}"))["url"]
    body = {"name": f"again {site} {sandbox} {credential}", "url": url, "sandbox": sandbox, "credential": credential}
    return str((await world.call("post", "/sites", body))["id"])


async def plan_of(world: World, source: str, **more: Any) -> tuple[Move, dict[str, Any]]:
    """A plan and what it was made of; ``site`` may be given."""
    site_name = url = ""
    if "site" not in more:
        more["site"], site_name, url = await world.site()
    name = f"plan {await world.look('SELECT position FROM log.log_head')}"
    accepted = [reason.value for reason in ACCEPTED]
    body = {"name": name, "source": source, "accepted": accepted, **more}
    plan = (await world.call("post", "/plans", body))["id"]
    return Move(name, plan, source, more["site"], site_name, url), body


async def space_ids(world: World, source: str) -> dict[str, str]:
    analysis = (await world.call("get", f"/sources/{source}"))["analysis"]["id"]
    return {space["key"]: space["id"] for space in (await world.call("get", f"/analyses/{analysis}"))["spaces"]}


# -- sources -----------------------------------------------------------------------------------------------------------


def damage(folder: Path, what: str) -> Path:
    path = folder / f"{what.replace(' ', '-')}.zip"
    whole = sample("dc").zip(folder / "whole.zip").read_bytes()
    text = str(sample("dc").entities)
    match what:
        case "text":
            path.write_text("a letter\n" * 30)
        case "cut zip":
            path.write_bytes(whole[: len(whole) // 2])
        case "folder":
            path.mkdir()
        case "cut csv":
            csv = tables()
            csv.raw["content.csv.gz"] = csv.parts()["content.csv.gz"][:-40]
            csv.zip(path)
        case "csv without restrictions":
            csv = tables()
            del csv.tables["content_perm_set"]
            csv.zip(path)
        case _:
            inside = {"cut": text[: len(text) // 2], "no xml": "a < b < c", "empty": "", "other": None}[what]
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("readme.txt", "hello")
                if inside is not None:
                    archive.writestr("entities.xml", inside)
    return path


@pytest.mark.parametrize(
    ("what", "code"),
    [
        ("text", "not_an_export"),
        ("other", "not_an_export"),
        ("folder", "not_an_export"),
        ("no xml", "not_an_export"),
        ("empty", "export_damaged"),
        ("cut", "export_damaged"),
        ("cut zip", "export_damaged"),
        ("cut csv", "export_damaged"),
        ("csv without restrictions", "export_damaged"),
    ],
)
async def test_what_is_no_whole_export_is_refused_with_a_way_on_and_leaves_nothing_half_taken_in(
    world: World, tmp_path: Path, what: str, code: str
) -> None:
    store = world.house.data / "exports"
    before = sorted(path.name for path in store.glob("[!.]*"))
    found = await analyzed(world, str(damage(tmp_path, what)))
    assert (found["state"], found["code"]) == ("failed", code)
    assert found["numbers"] is None
    assert found["sentence"].count(".") >= 2  # what it is, and what to do
    assert sorted(path.name for path in store.glob("[!.]*")) == before
    assert [path.name for path in store.glob(".*")] in ([], [".lock"])


async def test_a_path_that_is_not_there_is_refused_when_the_source_is_registered(world: World, tmp_path: Path) -> None:
    error = await refusal(world, "post", "/sources", {"name": "gone", "location": str(tmp_path / "gone.zip")})
    assert error.code == "export_missing"
    assert "gone" not in [source["name"] for source in await world.call("get", "/sources")]


@pytest.mark.parametrize("credential", [{"token": "wrong"}, {"username": "admin", "password": "wrong"}, None])
async def test_a_server_that_takes_the_credential_for_anonymous_is_not_read_as_if_it_were_empty(
    world: World, credential: dict[str, str] | None
) -> None:
    found = await analyzed(world, world.servers["south"], credential)
    assert (found["state"], found["code"]) == ("failed", "source_unauthorized")
    assert "credential" in found["sentence"]


@pytest.mark.parametrize("address", ["http://127.0.0.1:9", "https://confluence.invalid"])
async def test_a_server_that_cannot_be_reached_is_told_within_seconds(world: World, address: str) -> None:
    async with asyncio.timeout(30):
        found = await analyzed(world, address, {"token": "any"})
    assert (found["state"], found["code"]) == ("failed", "source_unreachable")


async def test_a_source_whose_credential_ends_after_the_analysis_fails_the_plan_and_moves_nothing(
    world: World, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text(SERVER_TOKEN)
    body = {"name": "by file", "location": world.servers["south"], "credential": {"reference": f"file:{token}"}}
    source = (await world.call("post", "/sources", body))["id"]
    assert (await world.analyze(source))["state"] == "completed"
    await world.repair(source)
    token.write_text("expired")
    move, _ = await plan_of(world, source)
    await world.run(move)
    await fails_for_its_credential(world, move)
    assert '"spaces": []' in await world.canonical(move)


# -- sites -------------------------------------------------------------------------------------------------------------


async def fails_for_its_credential(world: World, move: Move) -> None:
    report = await world.ended(move, timeout=40)
    assert report["status"] == "FAILED"
    assert report["conserved"]
    assert not any(counts["migrated"] for counts in report["kinds"].values())
    plan = await world.call("get", f"/plans/{move.plan}")
    spaces = [task for task in plan["tasks"] if task["kind"] == "space"]
    assert spaces
    assert {(task["state"], task["reason"]) for task in spaces} == {("failed", "credential_refused")}


@pytest.mark.parametrize(
    "credential",
    [
        {"email": SITE_CREDENTIAL["email"], "token": "wrong"},
        {"reference": "env:CLOUDWARD_TEST_NOT_SET"},
        {"reference": "file:/nonexistent/token"},
    ],
)
async def test_a_site_credential_that_is_wrong_or_cannot_be_read_fails_the_plan_soon_and_says_so(
    world: World, south: str, credential: dict[str, str]
) -> None:
    site, site_name, _ = await world.site()
    move, _ = await plan_of(world, south, site=await site_with(world, site, credential))
    await world.run(move)
    await fails_for_its_credential(world, move)
    assert not [e for e in await world.journal(site_name) if e["effects"]]


async def test_an_account_without_rights_on_the_site_fails_with_the_reason_of_each_entity(
    world: World, south: str
) -> None:
    site, *_ = await world.site()
    reader = await site_with(world, site, {"email": "reader@example.com", "token": "reader-token"})
    move, _ = await plan_of(world, south, site=reader)
    await world.run(move)
    report = await world.ended(move)
    assert report["status"] == "FAILED"
    assert report["conserved"]
    failed = {(entry["kind"], entry["reason"]) for entry in report["reasons"] if entry["outcome"] == "failed"}
    assert ("space", "site_forbids") in failed


@pytest.mark.statement(78, 79, 80)
async def test_nothing_is_written_to_a_site_that_is_no_sandbox_before_someone_has_consented(
    world: World, south: str
) -> None:
    site, site_name, _ = await world.site()
    real = await site_with(world, site, SITE_CREDENTIAL, sandbox=False)
    pot = (await space_ids(world, south))["POT"]
    move, body = await plan_of(world, south, site=real, spaces=[pot], users="none", groups=False)
    assert (await refusal(world, "post", f"/plans/{move.plan}/run", {})).code == "consent_required"
    assert await world.status(move) == "READY"
    assert not [e for e in await world.journal(site_name) if e["effects"]]
    await world.call("post", f"/plans/{move.plan}/run", {"consent": True})
    assert (await world.ended(move))["kinds"]["space"]["migrated"] == 1
    # Who consented once for this source and site is not asked again.
    again = (await world.call("post", "/plans", {**body, "name": f"{body['name']} again"}))["id"]
    await world.call("post", f"/plans/{again}/run", {})


@pytest.mark.statement(81, 82)
async def test_people_with_unusable_addresses_or_untrusted_domains_keep_a_plan_from_running_until_someone_decides(
    world: World,
) -> None:
    source = await world.source("south")
    assert (await world.analyze(source))["state"] == "completed"
    move, _ = await plan_of(world, source)
    error = await refusal(world, "post", f"/plans/{move.plan}/run", {})
    assert error.code == "email_errors_unresolved"
    assert {finding["address"] for finding in error.findings} == {"invalid", "duplicate", "unknown"}
    assert await world.status(move) == "READY"
    await world.call("post", f"/sources/{source}/address-repairs", {"duplicates": "merge", "others": "generate"})
    error = await refusal(world, "post", f"/plans/{move.plan}/run", {})
    assert error.code == "check_domains", "an account made for a stranger's address would be theirs"
    assert "cloudward source domains" in error.way_on
    checks = {check["check"]: check for check in await world.call("get", f"/plans/{move.plan}/checks")}
    found = [finding["domain"] for finding in checks["domains"]["findings"]]
    assert (checks["domains"]["result"], checks["domains"]["count"]) == ("error", len(found)) and len(found) > 1
    await world.call("post", f"/sources/{source}/domains", {"every": True, "untrusted": found[:1]})
    assert (await refusal(world, "post", f"/plans/{move.plan}/run", {})).code == "check_domains"
    await world.call("post", f"/sources/{source}/domains", {"trusted": found[:1]})
    await world.run(move)
    await world.stop(move)
    await world.ended(move)


# -- plans -------------------------------------------------------------------------------------------------------------


@pytest.mark.statement(41)
async def test_a_plan_holds_users_or_spaces(world: World, south: str) -> None:
    site, *_ = await world.site()
    body = {"name": "nothing", "source": south, "site": site, "users": "none", "groups": False, "spaces": []}
    assert (await refusal(world, "post", "/plans", body)).code == "empty_plan"
    assert "nothing" not in [plan["name"] for plan in await world.call("get", "/plans")]


async def test_an_unknown_space_or_reason_is_refused(world: World, south: str) -> None:
    site, *_ = await world.site()
    body = {"name": "unknown", "source": south, "site": site}
    assert (await refusal(world, "post", "/plans", {**body, "spaces": ["999"]})).code == "space_unknown"
    assert (await refusal(world, "post", "/plans", {**body, "accepted": ["whatever"]})).code == "invalid_request"


@pytest.mark.parametrize("users", ["none", "related"])
async def test_people_whom_a_space_names_come_along_and_those_of_a_plan_without_users_get_no_access(
    world: World, south: str, users: str
) -> None:
    pot = (await space_ids(world, south))["POT"]
    move, _ = await plan_of(world, south, users=users, groups=False, spaces=[pot])
    await world.run(move)
    report = await world.ended(move)
    assert report["conserved"]
    assert report["kinds"]["user"]["migrated"] > 0
    assert report["kinds"]["space"]["migrated"] == 1
    assert report["kinds"]["page"]["selected"] == report["kinds"]["page"]["migrated"] > 0
    site = json.loads(await world.canonical(move))
    assert [space["key"] for space in site["spaces"]] == ["POT"]
    moved = [account for account in site["accounts"] if account["email"] not in STAFF]
    assert moved
    assert {account["confluence"] for account in moved} == {users != "none"}
    members = {member for group in site["groups"] if users == "none" for member in group["members"]}
    assert members <= STAFF


STAFF = {"migrator@example.com", "reader@example.com"}  # the accounts that every sandbox site has


def caller(world: World) -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {world.house.token}"}
    return httpx.AsyncClient(base_url=world.house.dashboard_url, headers=headers, trust_env=False, timeout=30)


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
async def test_a_saved_plan_cannot_be_changed_or_deleted(world: World, south: str, method: str) -> None:
    move, _ = await plan_of(world, south)
    before = await world.call("get", f"/plans/{move.plan}")
    async with caller(world) as http:
        answer = await http.request(method, f"/api/v1/plans/{move.plan}", json={"name": "other"})
    assert answer.status_code == 405
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "plan_immutable"
    assert answer.json()["way_on"]
    assert await world.call("get", f"/plans/{move.plan}") == before


async def test_a_command_repeated_with_its_key_has_one_effect_and_one_answer_also_after_a_restart(
    world: World, south: str
) -> None:
    site, *_ = await world.site()
    body = {"name": "said twice", "source": south, "site": site}

    async def say(key: str) -> dict[str, Any]:
        async with caller(world) as http:
            answer = await http.post("/api/v1/plans", json=body, headers={"Idempotency-Key": key})
        assert answer.status_code in (201, 409), answer.text
        return dict(answer.json())

    first = await say("one")
    assert await say("one") == first
    await world.house.hold("dashboard")
    await world.house.hold("planner")
    world.house.release("planner")
    world.house.release("dashboard")
    await world.house.wait_ready(30)
    assert await say("one") == first
    assert (await say("two"))["code"] == "name_taken"
    # The same key for something else is another command.
    async with caller(world) as http:
        ran = await http.post(f"/api/v1/plans/{first['id']}/run", headers={"Idempotency-Key": "one"})
        assert (ran.status_code, (await world.call("get", f"/plans/{first['id']}"))["status"]) == (202, "RUNNING")
        assert (await http.post(f"/api/v1/plans/{first['id']}/stop")).status_code == 202
    assert [p["name"] for p in await world.call("get", "/plans")].count("said twice") == 1


# -- stop and pause ----------------------------------------------------------------------------------------------------


async def test_a_plan_whose_site_is_away_stops_at_once_when_told_to(world: World, south: str) -> None:
    move, _ = await plan_of(world, south)
    await world.fault(move, method="*", route="*", count=None, action="status", status=503)
    await world.run(move)
    async with asyncio.timeout(20):
        while not await world.look(
            "SELECT count(*) FROM work.lease l JOIN work.chunk k USING (chunk) WHERE k.plan = $1", move.plan
        ):
            await asyncio.sleep(0.1)
    await asyncio.sleep(1)
    await world.stop(move)
    report = await world.ended(move, timeout=20)
    assert report["status"] == "STOPPED"
    assert report["conserved"]
    await nothing_under_way(world, move)


async def test_a_paused_plan_begins_nothing_new_and_goes_on_to_its_end_when_resumed(world: World, south: str) -> None:
    move, _ = await plan_of(world, south)
    await world.run(move)
    await world.call("post", f"/plans/{move.plan}/pause", {})
    paused = await world.look("SELECT position FROM log.log_head")
    await asyncio.sleep(3)
    plan = await world.call("get", f"/plans/{move.plan}")
    assert (plan["status"], plan["paused"]) == ("RUNNING", True)
    begun = await world.look(
        "SELECT count(*) FROM log.events WHERE type = 'ChunkClaimed' AND position > $1"
        " AND convert_from(body, 'UTF8') LIKE '%' || $2::text || '%'",
        paused,
        move.plan,
    )
    assert begun == 0
    assert (await refusal(world, "post", f"/plans/{move.plan}/pause", {})).code == "not_running"
    await world.call("post", f"/plans/{move.plan}/resume", {})
    report = await world.ended(move)
    assert report["status"] == "FINISHED"
    assert report["conserved"]


async def nothing_under_way(world: World, move: Move) -> None:
    plan = await world.call("get", f"/plans/{move.plan}")
    assert [task["state"] for task in plan["tasks"] if task["state"] in ("running", "failing", "waiting")] == []
    assert await world.look("SELECT count(*) FROM work.chunk WHERE plan = $1 AND state = 'claimed'", move.plan) == 0
