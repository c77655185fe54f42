"""A chunk that kills its executor every time costs one entity, not its space and not the plan."""

import asyncio

import pytest

from tests.e2e.world import Move, World

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), pytest.mark.chaos]

EXECUTORS = ("executor-1", "executor-2")

# A page that nothing hangs on but its own body and labels.
_LEAF = """
SELECT i.id, i.task FROM work.inventory i JOIN work.task t ON t.task = i.task AND t.inventory_epoch = i.epoch
JOIN work.plan p USING (plan)
WHERE p.source = $1 AND i.kind = 'page' AND NOT i.homepage AND NOT EXISTS (
  SELECT FROM work.inventory c WHERE c.task = i.task AND c.epoch = i.epoch AND i.id IN (c.parent, c.container))
ORDER BY i.id LIMIT 1
"""


async def _hold_reads_of(house: World, page: str) -> str:
    """The source keeps every answer about this page; the fault's id."""
    rule = {"method": "GET", "contains": f"/rest/api/content/{page}?", "count": None, "action": "hold"}
    answer = await house._sandbox.post("/sites/south/faults", json=rule)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["faults"][0]["id"])


async def _holding(house: World, fault: str) -> bool:
    rules = (await house._sandbox.get("/sites/south/faults")).json()["faults"]
    return any(rule["id"] == fault and rule["holding"] for rule in rules)


async def _kill_whoever_reads(house: World, fault: str, move: Move) -> int:
    """Until the plan has ended; how often it was done."""
    kills = 0
    while await house.status(move) == "RUNNING":
        if await _holding(house, fault):
            await asyncio.sleep(0.8)  # what else these executors have under way may end meanwhile
            for name in EXECUTORS:
                house.house.kill(name)
            kills += 1
        await asyncio.sleep(0.05)
    return kills


async def test_a_chunk_that_kills_its_executor_every_time_ends_with_that_one_entity_failed(
    house: World, source: str, undisturbed: str
) -> None:
    (leaf,) = await house.rows(_LEAF, source)
    fault = await _hold_reads_of(house, leaf["id"])
    move = await house.plan(source)
    try:
        await house.run(move)
        async with asyncio.timeout(240):
            kills = await _kill_whoever_reads(house, fault, move)
    finally:
        await house._sandbox.post(f"/sites/south/faults/{fault}/release")
        await house._sandbox.delete("/sites/south/faults")
    report = await house.ended(move)
    assert report["status"] == "FAILED", report
    assert report["conserved"]
    failed = await house.rows(
        "SELECT o.kind, o.id, o.reason, o.task FROM work.outcome o JOIN work.task t USING (task)"
        " WHERE t.plan = $1 AND o.outcome = 'failed'",
        move.plan,
    )
    assert [(f["kind"], f["id"], f["reason"]) for f in failed] == [("page", leaf["id"], "crashed_executor")]
    endings = await house.rows("SELECT task, ending ->> 'type' AS type FROM work.task WHERE plan = $1", move.plan)
    assert {e["type"] for e in endings if e["task"] != failed[0]["task"]} == {"TaskEnded", "SpaceMigrated"}
    assert {e["type"] for e in endings if e["task"] == failed[0]["task"]} == {"SpaceFailed"}
    claims = await house.look(
        "SELECT count(*) FROM log.events c JOIN work.outcome o ON c.stream = 'chunk-' || o.chunk"
        " WHERE c.type = 'ChunkClaimed' AND o.task = $1 AND o.kind = 'page' AND o.outcome = 'failed'",
        failed[0]["task"],
    )
    assert claims >= 6  # five that came to nothing, and the one that gave the page up and went on with the rest
    assert kills >= 4  # on a busy machine one may have been a lease that ran out
    assert await house.twice(move) == []
