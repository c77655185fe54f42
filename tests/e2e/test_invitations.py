"""Invitations after a run: only when asked for, each person once, whatever happens to the request."""

import csv
import io
import itertools
import json
from collections import Counter
from typing import Any

import httpx
import pytest

from shared.events.reasons import Reason
from tests.chaos.scene import MIGRATOR
from tests.e2e.test_following import on_site, ran
from tests.e2e.test_verbs import cloudward, told
from tests.e2e.world import Move, World

pytestmark = pytest.mark.slow

ORGANIZATION = {"org_id": "sandbox-org", "org_key": "sandbox-org-key", "directory_id": "sandbox-directory"}
INVITE = {"method": "POST", "contains": "/users/invite"}
_numbers = itertools.count(1)


async def moved(world: World, source: str, *, organization: bool = True) -> Move:
    """A plan that has run; by the organization's key, so that its accounts are made without any mail."""
    move = await world.plan(source)
    if organization:
        await give_key(world, move)
    await ran(world, move)
    return move


async def give_key(world: World, move: Move) -> None:
    file = world.house.data / f"organization-{move.site}.json"
    file.write_text(json.dumps({**ORGANIZATION, "org_url": move.url}))
    file.chmod(0o600)
    await world.call("post", f"/sites/{move.site}/credential", {"organization": {"reference": f"file:{file}"}})


async def invited(world: World, move: Move, *, reminder: bool = False) -> Move:
    name = f"invitation {next(_numbers)}"
    body = {"name": name, "reminder": reminder}
    plan = (await world.call("post", f"/plans/{move.plan}/invitations", body))["id"]
    return Move(name, plan, move.source, move.site, move.site_name, move.url)


async def mails(world: World, move: Move) -> Counter[str]:
    """How many invitations each address got."""
    found = (await world._sandbox.get(f"/sites/{move.site_name}/mails")).json()["mails"]
    return Counter(mail["to"] for mail in found if mail["kind"] == "invitation")


async def listed(world: World, move: Move) -> dict[str, Any]:
    return dict(await world.call("get", f"/plans/{move.plan}/invitations", limit=1000))


@pytest.mark.statement(109)
async def test_nobody_is_invited_until_somebody_asks_and_then_each_once_and_again_only_as_a_reminder(
    world: World, south: str
) -> None:
    move = await moved(world, south)
    assert await mails(world, move) == Counter()
    before = await told(world, "plan", "invite", move.name, "--dry-run")
    assert before["to_invite"] > 1 and (before["to_remind"], before["total"]) == (0, 0)
    asked = await cloudward(world, "plan", "invite", move.name, "--json")
    assert asked.exit_code == 1 and "Nobody was invited" in asked.stderr and await mails(world, move) == Counter()
    with pytest.raises(Exception, match="invited before"):
        await invited(world, move, reminder=True)

    assert (await cloudward(world, "plan", "invite", move.name, "--yes", "--watch")).exit_code == 0
    first = await mails(world, move)
    assert len(first) == before["to_invite"] and set(first.values()) == {1}
    after = await listed(world, move)
    assert (after["to_invite"], after["to_remind"]) == (0, len(first))
    assert {(row["email"], row["state"]) for row in after["people"]} == {(to, "invited") for to in first}
    assert all(row["at"] and row["account_id"] for row in after["people"])
    refused = await world.rows(
        "SELECT coalesce(repaired_email, email) AS email FROM people.person WHERE source = $1"
        " AND (active IS FALSE OR repair IN ('former', 'generated') OR address <> 'usable' AND repair IS NULL)",
        move.source,
    )
    assert refused and not set(first) & {row["email"] for row in refused}
    with pytest.raises(Exception, match="nobody"):
        await invited(world, move)

    report = await ran(world, await invited(world, move, reminder=True))
    assert report["kinds"]["invitation"]["migrated"] == len(first)
    assert await mails(world, move) == Counter(dict.fromkeys(first, 2))
    out = await cloudward(world, "plan", "invitations", move.name, "--out", "-")
    rows = list(csv.DictReader(io.StringIO(out.stdout)))
    assert sorted(row["reminder"] for row in rows) == ["False"] * len(first) + ["True"] * len(first)
    assert "invited" in (await cloudward(world, "plan", "invitations", move.name)).stdout


async def test_whoever_may_have_been_invited_when_an_executor_died_is_told_as_not_known_and_gets_no_second_mail(
    world: World, south: str
) -> None:
    move = await moved(world, south)
    fault = await world.fault(move, **INVITE, action="hold", when="after", nth=2)
    invitation = await invited(world, move)
    await world.run(invitation)
    await world.held(move, fault)
    for name in ("executor-1", "executor-2"):
        world.house.kill(name)
    await world.release(move, fault)
    report = await world.ended(invitation)
    assert (report["status"], report["conserved"]) == ("FAILED", True), report
    assert [(r["kind"], r["reason"]) for r in report["reasons"]] == [("invitation", Reason.INVITATION_UNKNOWN)]
    sent = await mails(world, move)
    states = Counter(row["state"] for row in (await listed(world, move))["people"])
    assert states == Counter(invited=len(sent) - 1, unknown=1)
    assert set(sent.values()) == {1}
    assert (await listed(world, move))["to_invite"] == 0


async def test_of_a_stopped_invitation_whose_executor_died_only_those_are_invited_later_who_were_not_begun(
    world: World, south: str
) -> None:
    move = await moved(world, south)
    everybody = (await listed(world, move))["to_invite"]
    fault = await world.fault(move, **INVITE, action="hold", when="after", nth=2)
    invitation = await invited(world, move)
    await world.run(invitation)
    await world.held(move, fault)
    await world.stop(invitation)
    for name in ("executor-1", "executor-2"):
        world.house.kill(name)
    await world.release(move, fault)
    report = await world.ended(invitation)
    assert (report["status"], report["conserved"]) == ("STOPPED", True), report
    states = Counter(row["state"] for row in (await listed(world, move))["people"])
    assert (states["unknown"], states.total()) == (1, everybody)
    assert (await listed(world, move))["to_invite"] == states["not_invited"] > 0
    await ran(world, await invited(world, move))
    assert await mails(world, move) == Counter(dict.fromkeys(await mails(world, move), 1))
    assert len(await mails(world, move)) == everybody


async def test_a_lost_answer_is_not_known_and_a_refused_request_is_repeated(world: World, south: str) -> None:
    move = await moved(world, south)
    await world.fault(move, **INVITE, action="close", when="after", nth=1)
    await world.fault(move, **INVITE, action="status", status=429, retry_after=1, nth=2)
    invitation = await invited(world, move)
    await world.run(invitation)
    assert (await world.ended(invitation))["status"] == "FAILED"
    people = (await listed(world, move))["people"]
    assert Counter(row["state"] for row in people) == Counter(invited=len(people) - 1, unknown=1)
    assert set((await mails(world, move)).values()) == {1}


async def test_whose_access_was_taken_away_since_is_left_out_and_gets_it_not_back(world: World, south: str) -> None:
    move = await moved(world, south)
    account = await world.look(
        "SELECT a.account_id FROM people.invitable_v1($1, false, NULL) i JOIN people.account a ON a.person = i.person"
        " AND a.site = $2 LIMIT 1",
        move.plan,
        move.site,
    )
    for group in (await on_site(move, MIGRATOR, "GET", "/wiki/rest/api/group", params={"accessType": "user"}))[
        "results"
    ]:
        of = {"groupId": group["id"], "accountId": account}
        async with httpx.AsyncClient(base_url=move.url, auth=MIGRATOR, trust_env=False) as client:
            await client.delete("/wiki/rest/api/group/userByGroupId", params=of)
    report = await ran(world, await invited(world, move))
    assert [(r["outcome"], r["reason"]) for r in report["reasons"]] == [("skipped", Reason.ACCESS_ENDED)]
    (left,) = [row for row in (await listed(world, move))["people"] if row["account_id"] == account]
    assert (left["state"], left["reason"]) == ("not_invited", Reason.ACCESS_ENDED)
    assert left["email"] not in await mails(world, move)


async def test_without_the_organizations_key_nobody_is_invited_and_with_it_the_same_people_are(
    world: World, south: str
) -> None:
    move = await moved(world, south, organization=False)
    invitation = await invited(world, move)
    await world.run(invitation)
    report = await world.ended(invitation)
    assert report["status"] == "FAILED"
    assert {r["reason"] for r in report["reasons"]} == {Reason.NO_ORGANIZATION}
    assert await mails(world, move) == Counter()
    await give_key(world, move)
    report = await ran(world, await invited(world, move))
    assert report["kinds"]["invitation"]["migrated"] == len(await mails(world, move)) > 0


async def test_a_plan_that_has_not_ended_or_only_invited_or_was_a_dry_run_invites_nobody(
    world: World, south: str
) -> None:
    ready = await world.plan(south)
    with pytest.raises(Exception, match="READY"):
        await invited(world, ready)
    move = await moved(world, south)
    dry = (await world.call("post", f"/plans/{move.plan}/copy", {"name": f"{move.name} dry", "dry_run": True}))["id"]
    invitation = await invited(world, move)
    for plan, why in ((invitation.plan, "only invited"), (dry, "dry run")):
        with pytest.raises(Exception, match=why):
            await world.call("post", f"/plans/{plan}/invitations", {"name": f"no {plan}"})
    for verb in ("undo", "delta", "copy"):
        with pytest.raises(Exception, match="invite"):
            await world.call("post", f"/plans/{invitation.plan}/{verb}", {"name": f"no {verb} {plan}"})
