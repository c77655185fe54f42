"""What a caller of the API can rely on."""

from __future__ import annotations

import json

import httpx
import pytest

from shared.events.catalog.plan import PlanSaved
from shared.events.commands import Problem, RegisterSource, RunPlan, SavePlan, SchedulePlan
from shared.ops.vault import VaultError, open_secret
from tests.servers import Database
from tests.store.test_projections import ANALYSIS, PLAN, SITE, SOURCE, history
from tests.unit.dashboard.house import KEY, House


def problem(answer: httpx.Response, status: int, code: str) -> dict[str, object]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document: dict[str, object] = answer.json()
    assert document["code"] == code and document["status"] == status and document["detail"] and document["way_on"]
    return document


async def test_nothing_is_told_or_done_without_the_token(house: House) -> None:
    for header in ({"Authorization": ""}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic dGVzdA=="}):
        problem(await house.client.get("/api/v1/plans", headers=header), 401, "unauthorized")
        problem(await house.client.post("/api/v1/plans", json={}, headers=header), 401, "unauthorized")
    assert house.owners.asked == []


async def test_another_host_name_gets_nothing(house: House) -> None:
    answer = await house.client.get("/api/v1/plans", headers={"Host": "attacker.example"})
    assert answer.status_code == 400


async def test_a_source_is_an_export_or_a_server_by_its_location(house: House) -> None:
    for location, kind in (("/exports/wiki.zip", "xml"), ("https://wiki.example.com", "rest")):
        answer = await house.client.post("/api/v1/sources", json={"name": location, "location": location})
        assert answer.status_code == 201, answer.text
        command = house.owners.asked[-1]
        assert isinstance(command, RegisterSource) and (command.kind, command.secret) == (kind, None)


async def test_the_same_idempotency_key_is_the_same_command(house: House) -> None:
    body = {"name": "Wiki", "location": "/exports/wiki.zip"}
    first, second = [
        (await house.client.post("/api/v1/sources", json=body, headers={"Idempotency-Key": "once"})).json()
        for _ in range(2)
    ]
    assert first == second and len(house.owners.asked) == 1
    other = (await house.client.post("/api/v1/sources", json=body, headers={"Idempotency-Key": "twice"})).json()
    assert other["id"] != first["id"]


async def test_a_credential_is_sealed_and_opens_only_under_its_own_id(house: House, database: object) -> None:
    credential = {"username": "migrator", "password": "s3cret-value"}
    body = {"name": "Wiki", "location": "https://wiki.example.com", "credential": credential}
    assert (await house.client.post("/api/v1/sources", json=body)).status_code == 201
    command = house.owners.asked[-1]
    assert isinstance(command, RegisterSource) and command.secret is not None
    connection = await database.connect()  # type: ignore[attr-defined]
    row = await connection.fetchrow("SELECT * FROM vault.secret")
    assert b"s3cret-value" not in row["ciphertext"]
    assert await open_secret(connection, KEY, command.secret) == credential
    await connection.execute("UPDATE vault.secret SET id = $1", "f" * 32)
    with pytest.raises(VaultError):
        await open_secret(connection, KEY, "f" * 32)
    await connection.close()


async def test_a_credential_by_reference_is_not_read_by_the_dashboard(house: House, database: object) -> None:
    body = {"name": "Wiki", "location": "https://wiki.example.com", "credential": {"reference": "env:WIKI_TOKEN"}}
    assert (await house.client.post("/api/v1/sources", json=body)).status_code == 201
    connection = await database.connect()  # type: ignore[attr-defined]
    assert await connection.fetchval("SELECT reference FROM vault.secret") == "env:WIKI_TOKEN"
    await connection.close()


async def test_an_invalid_request_names_the_field_and_repeats_no_value(house: House) -> None:
    credential = {"username": "migrator", "password": "s3cret-value", "token": "both"}
    body = {"name": "", "location": "x", "credential": credential}
    document = problem(await house.client.post("/api/v1/sources", json=body), 422, "invalid_request")
    assert "body.name" in str(document) and "s3cret" not in json.dumps(document)


async def test_a_refusal_reaches_the_caller_with_its_reason_and_its_way_on(told: House) -> None:
    told.owners.refusal = Problem(code="consent_required", status=409, detail="Nobody has agreed.", way_on="Agree.")
    document = problem(await told.client.post(f"/api/v1/plans/{PLAN}/run"), 409, "consent_required")
    assert (document["detail"], document["way_on"]) == ("Nobody has agreed.", "Agree.")


async def test_a_plan_cannot_be_edited_or_deleted(told: House) -> None:
    for method in ("PUT", "PATCH", "DELETE"):
        document = problem(await told.client.request(method, f"/api/v1/plans/{PLAN}"), 405, "plan_immutable")
        assert "Copy it instead" in str(document["way_on"])
    assert told.owners.asked == []


async def test_commands_about_a_plan_go_to_its_planner(told: House) -> None:
    body = {"name": "Second", "source": SOURCE, "site": SITE, "accepted": ["file_missing"]}
    assert (await told.client.post("/api/v1/plans", json=body)).status_code == 201
    saved = told.owners.asked[-1]
    assert isinstance(saved, SavePlan) and (saved.spaces, saved.accepted) == ("all", ["file_missing"])
    assert (await told.client.post(f"/api/v1/plans/{PLAN}/run", json={"consent": True})).status_code == 202
    run = told.owners.asked[-1]
    assert isinstance(run, RunPlan) and run.consent
    for verb in ("stop", "pause", "resume", "archive", "retry-stuck"):
        assert (await told.client.post(f"/api/v1/plans/{PLAN}/{verb}")).status_code == 202
        assert (
            f"cmd.planner.{verb.partition('-')[0]}_{'stuck' if '-' in verb else 'plan'}"
            == told.owners.asked[-1].SUBJECT
        )
    problem(await told.client.post(f"/api/v1/plans/{'0' * 32}/stop"), 404, "not_found")


async def test_sources_sites_and_analyses_show_their_numbers(told: House) -> None:
    (source,) = (await told.client.get("/api/v1/sources")).json()
    assert (source["name"], source["kind"], source["repair"]["merged"]) == ("Wiki", "xml", 1)
    assert source["analysis"]["numbers"]["pages"] == 4
    assert (await told.client.get(f"/api/v1/sources/{SOURCE}")).json() == source
    (site,) = (await told.client.get("/api/v1/sites")).json()
    assert (site["name"], site["sandbox"]) == ("Example", True)
    analysis = (await told.client.get(f"/api/v1/analyses/{ANALYSIS}")).json()
    assert [(space["key"], space["pages"]) for space in analysis["spaces"]] == [("ENG", 3), ("OPS", 1)]
    problem(await told.client.get(f"/api/v1/analyses/{'0' * 32}"), 404, "not_found")


async def test_a_plan_shows_tasks_numbers_causes_and_links(told: House) -> None:
    plan = (await told.client.get(f"/api/v1/plans/{PLAN}")).json()
    assert (plan["name"], plan["status"], plan["percent"], plan["conserved"]) == ("First move", "FAILED", 100, True)
    assert plan["line"] == "1 of 2 spaces migrated; 1 failed. All accounted for."
    assert plan["kinds"]["page"] == {"selected": 4, "migrated": 3, "skipped": 1, "failed": 0}
    tasks = {task["key"] or task["kind"]: task for task in plan["tasks"]}
    assert list(tasks) == ["users", "ENG", "OPS"]
    assert tasks["ENG"]["link"] == "http://127.0.0.1:8999/wiki/spaces/ENG" and tasks["OPS"]["link"] is None
    assert (tasks["OPS"]["state"], tasks["OPS"]["reason"]) == ("failed", "space_key_conflict")
    causes = {(r["kind"], r["outcome"], r["reason"]): (r["count"], r["accepted"]) for r in plan["reasons"]}
    assert causes == {
        ("attachment", "skipped", "file_missing"): (1, True),
        ("page", "migrated", "title_clash"): (1, False),
        ("page", "skipped", "space_failed"): (1, False),
        ("space", "failed", "space_key_conflict"): (1, False),
    }
    (summary,) = (await told.client.get("/api/v1/plans")).json()
    assert summary["line"] == plan["line"]


async def test_the_report_has_every_kind_every_reason_and_the_proof(told: House) -> None:
    report = (await told.client.get(f"/api/v1/plans/{PLAN}/report")).json()
    first = ["source", "plan", "status", "kinds", "conserved", "differences", "tasks"]
    assert list(report)[:7] == first and "reasons" in report
    assert {"left_behind", "references", "verification"} <= set(report)
    assert {"page", "blogpost", "comment", "attachment", "user", "group", "space"} <= set(report["kinds"])
    assert report["reasons"][0].keys() == {"kind", "id", "outcome", "reason"}
    assert ("space", "2", "failed", "space_key_conflict") in {tuple(r.values()) for r in report["reasons"]}


async def test_events_are_paged_after_a_position_and_by_plan(told: House) -> None:
    page = (await told.client.get("/api/v1/events", params={"limit": 5})).json()
    assert [event["position"] for event in page["events"]] == [1, 2, 3, 4, 5] and page["next"] == 5
    rest = (await told.client.get("/api/v1/events", params={"after": page["next"], "limit": 1000})).json()
    assert len(rest["events"]) == len(history()) - 5 and rest["next"] == rest["head"] == len(history())
    mine = (await told.client.get("/api/v1/events", params={"plan": PLAN, "limit": 1000})).json()
    assert {event["type"] for event in mine["events"]} >= {"PlanSaved", "TaskStarted", "ChunkEnded", "PlanFailed"}
    assert not any(event["type"].startswith(("Source", "Site", "Analysis")) for event in mine["events"])


async def test_a_read_after_a_command_waits_until_it_is_shown(house: House) -> None:
    import asyncio

    ending = asyncio.Event()
    running = [asyncio.create_task(runner.run(ending)) for runner in house.parts.runners]
    await house.log.append(history())
    plan = (await house.client.get(f"/api/v1/plans/{PLAN}", params={"after": len(history())})).json()
    assert plan["status"] == "FAILED"
    ending.set()
    await asyncio.gather(*running)


async def test_a_read_model_that_stands_still_is_told(house: House) -> None:
    await house.log.append(history()[:3])
    await house.catch_up()
    overview = (await house.client.get("/api/v1/overview")).json()
    assert overview["head"] == 3
    assert {p["name"]: p["position"] for p in overview["projections"]} == {"connections": 3, "plans": 3}


async def test_the_openapi_document_describes_every_path_and_the_token(house: House) -> None:
    document = (await house.client.get("/api/v1/openapi.json")).json()
    assert document["components"]["securitySchemes"] == {"bearer": {"type": "http", "scheme": "bearer"}}
    operations = [(path, verb, op) for path, verbs in document["paths"].items() for verb, op in verbs.items()]
    assert len(operations) >= 22
    for path, verb, operation in operations:
        assert path.startswith("/api/v1/"), path
        assert operation.get("summary"), (path, verb)
        if verb == "post" and not path.endswith(("/check", "/logins")):  # they record nothing
            assert any(p["name"].lower() == "idempotency-key" for p in operation["parameters"]), path


async def test_a_long_list_of_plans_is_read_page_by_page_and_the_next_page_is_named(told: House) -> None:
    first = next(event for event in history() if isinstance(event, PlanSaved))
    await told.log.append([first.model_copy(update={"plan": f"{n:032x}", "predecessor": None}) for n in range(4)])
    await told.catch_up()
    pages = await _pages(told, "/api/v1/plans?limit=2")
    assert [len(page) for page in pages] == [2, 2, 1] and len({id for page in pages for id in page}) == 5
    assert pages[-1] == [PLAN], "the oldest comes last"


async def _pages(house: House, path: str) -> list[list[str]]:
    """The ids of each page, by the links from one to the next."""
    pages = []
    while path:
        answer = await house.client.get(path)
        assert answer.status_code == 200, answer.text
        pages.append([each["id"] for each in answer.json()])
        path = answer.links.get("next", {}).get("url", "")
    return pages


async def test_long_lists_of_what_is_set_up_are_read_page_by_page_too(told: House, database: Database) -> None:
    admin = await database.connect()
    for n in range(7):
        id, name = f"{n:032x}", f"of many {n}"
        await admin.execute(
            "INSERT INTO people.source (id, name, kind, location) VALUES ($1, $2, 'rest', '')", id, name
        )
        await admin.execute("INSERT INTO read.source (source, kind, registered_at) VALUES ($1, 'rest', now())", id)
        await admin.execute("INSERT INTO people.site (id, name, url) VALUES ($1, $2, $1)", id, name)
        await admin.execute(
            "INSERT INTO read.site (site, credential, sandbox, registered_at) VALUES ($1, 'token', false, now())", id
        )
        await admin.execute(
            "INSERT INTO people.webhook (id, name, url, events, since) VALUES ($1, $2, '', '{}', 0)", id, name
        )
    for n in range(5):
        await told.client.post("/api/v1/tokens", json={"name": f"machine {n}", "role": "viewer"})
    await admin.close()
    for what in ("sources", "sites", "webhooks", "tokens"):
        (whole,) = await _pages(told, f"/api/v1/{what}")
        pages = await _pages(told, f"/api/v1/{what}?limit=2")
        assert [id for page in pages for id in page] == whole, what
        assert len(whole) > 4 and all(len(page) <= 2 for page in pages)


@pytest.mark.parametrize("when", ["0516-05-11T18:51:53.2Z", "1969-12-31T23:59:59Z", "2025-01-01T00:00:00+14:00"])
async def test_a_time_that_is_long_past_is_left_to_the_planner_to_refuse(told: House, when: str) -> None:
    answer = await told.client.post(f"/api/v1/plans/{PLAN}/schedule", json={"start_at": when})
    assert answer.status_code == 202, answer.text
    asked = told.owners.asked[-1]
    assert isinstance(asked, SchedulePlan) and asked.start_at >= 0


async def test_a_plan_has_its_digest_before_the_planner_has_read_its_own_event(told: House) -> None:
    """The planner's tables are empty here."""
    saved = next(event for event in history() if isinstance(event, PlanSaved))
    assert (await told.client.get(f"/api/v1/plans/{PLAN}")).json()["digest"] == saved.digest != ""
