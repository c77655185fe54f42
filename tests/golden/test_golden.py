"""Logs of every release load and fold in this one, for ever; and no event changes its contract without an upcaster."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from shared.events import catalog
from shared.events.audit import verify_log
from shared.events.contract import _UPCASTERS, event_types
from shared.events.database import open_pool
from shared.events.projections.registry import READ_PROJECTIONS
from shared.events.projections.runner import Runner
from shared.events.projections.work import WorkProjection
from shared.events.store import EventStore
from shared.events.verify import verify_links
from tests.golden import story
from tests.servers import Database

LOGS = sorted(story.FOLDER.glob("*.ndjson"))


def test_there_is_a_golden_log_of_this_release_with_every_kind_of_event() -> None:
    types = {name for name, type_ in event_types().items() if type_.__module__.startswith(catalog.__name__ + ".")}
    held = {row.type for file in LOGS for row in story.read(file)}
    assert types <= held, (
        f"tell of {sorted(types - held)} in tests/golden/story.py; run python -m tests.golden.story --again"
    )
    assert story.FOLDER / f"{story.RELEASE}.ndjson" in LOGS


@pytest.mark.parametrize("file", LOGS, ids=lambda file: file.stem)
def test_a_golden_log_is_as_it_was_signed(file: Path) -> None:
    keys = [verify_log.read_key(str(story.KEY.public(story.LOG)))]
    with file.open("rb") as lines:
        found = verify_log.verify_export(lines, keys)
    assert found["events"] == found["sealed"] > 50


@pytest.mark.parametrize("file", LOGS, ids=lambda file: file.stem)
def test_every_event_of_a_golden_log_still_has_its_meaning(file: Path) -> None:
    expected = json.loads(file.with_suffix(".plans.json").read_text())
    assert story.folded(file) == expected
    assert [plan["status"] for plan in expected] == ["FAILED", "STOPPED", "FINISHED", "RUNNING"]


@pytest.mark.parametrize("file", LOGS, ids=lambda file: file.stem)
async def test_every_projection_folds_a_golden_log_to_its_end(file: Path, database: Database) -> None:
    rows = story.read(file)
    admin = await database.connect()
    await admin.execute("ALTER TABLE log.log_head DISABLE TRIGGER ALL")
    await admin.executemany(
        "INSERT INTO log.events (position, event_id, stream, version, type, body, recorded_at, link) VALUES"
        " ($1, $2, $3, $4, $5, $6, 'epoch'::timestamptz + $7::bigint * interval '1 microsecond', $8)",
        [(r.position, r.event_id, r.stream, r.version, r.type, r.body, r.recorded_at, r.link) for r in rows],
    )
    last = rows[-1]
    await admin.execute(
        "UPDATE log.log_head SET log_id = $1, position = $2, link = $3", story.LOG, last.position, last.link
    )
    assert (await verify_links(admin)).ok
    for role, projections in (("dashboard", READ_PROJECTIONS), ("planner", (WorkProjection(),))):
        pool = await open_pool(database.settings(role), application="test")
        async with EventStore(pool) as store:
            for projection in projections:
                state = await Runner(pool, store, projection).catch_up()
                assert (state.position, state.sentence) == (last.position, None)
        await pool.close()
    assert await admin.fetchval("SELECT count(*) FROM work.poison") == 0
    statuses = await admin.fetch("SELECT status, archived FROM read.plan ORDER BY saved_at")
    assert [tuple(each) for each in statuses] == [
        ("FAILED", False),
        ("STOPPED", True),
        ("FINISHED", False),
        ("RUNNING", False),
    ]
    await admin.close()


# -- schemas ----------------------------------------------------------------------------------------------------------


def narrowed(old: Any, new: Any, old_root: Any, new_root: Any, place: str = "") -> list[str]:
    """Where data that satisfied the old JSON schema may fail the new one, or lose something."""
    old, new = _resolved(old, old_root), _resolved(new, new_root)
    if "enum" in old or "const" in old:
        gone = set(map(str, _values(old))) - set(map(str, _values(new)))
        return [f"{place}: {', '.join(sorted(gone))} no longer allowed"] if gone else []
    if "anyOf" in old:
        options = new.get("anyOf", [new])
        lost = [each for each in old["anyOf"] if all(narrowed(each, o, old_root, new_root) for o in options)]
        return [f"{place}: {len(lost)} of its kinds no longer allowed"] if lost else []
    if "anyOf" in new:
        fits = any(not narrowed(old, each, old_root, new_root) for each in new["anyOf"])
        return [] if fits else [f"{place}: another kind of value"]
    found = []
    for word in ("type", "pattern", "minimum", "exclusiveMaximum", "maximum", "minItems", "maxItems"):
        if old.get(word) != new.get(word) and (word in new or word == "type"):
            found.append(f"{place}: {word} {old.get(word)} became {new.get(word)}")
    for name, value in old.get("properties", {}).items():
        if name not in new.get("properties", {}):
            found.append(f"{place}.{name}: gone")
        else:
            found += narrowed(value, new["properties"][name], old_root, new_root, f"{place}.{name}")
    found += [f"{place}.{name}: now required" for name in set(new.get("required", ())) - set(old.get("required", ()))]
    for part in ("items",):
        if part in old:
            found += narrowed(old[part], new.get(part, {}), old_root, new_root, f"{place}[]")
    return found


def _resolved(value: Any, root: Any) -> Any:
    while isinstance(value, dict) and "$ref" in value:
        value = root["$defs"][value["$ref"].rpartition("/")[2]]
    return value


def _values(value: Any) -> list[Any]:
    return list(value.get("enum", [value["const"]] if "const" in value else []))


def broken(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What is wrong with the events of now, given those of before."""
    found = []
    for name, old in before.items():
        new = now.get(name)
        if new is None:
            found.append(f"{name} is gone, but logs hold it")
        elif new["schema"] == old["schema"]:
            found += [
                f"{name}{change}: raise its SCHEMA and write an upcaster"
                for change in narrowed(old["data"], new["data"], old["data"], new["data"])
            ]
        else:
            missing = [n for n in range(old["schema"], new["schema"]) if (name, n) not in _UPCASTERS]
            found += [f"{name} has no upcaster from schema {n}" for n in missing]
    return found


def test_no_event_changed_its_schema_without_an_upcaster() -> None:
    committed = json.loads(story.SCHEMAS.read_text())
    now = story.schemas()
    assert broken(committed, now) == []
    new = sorted(now.keys() - committed.keys())
    assert not new, f"{new} are new: run python -m tests.golden.story --again and commit what it writes"


def test_every_way_to_break_old_events_is_noticed() -> None:
    now = story.schemas()

    def changed(type_: str, change: Any) -> list[str]:
        other = json.loads(json.dumps(now))
        change(other[type_]["data"])
        return broken(now, other)

    def widen(data: Any) -> None:
        data["properties"]["more"] = {"type": "integer"}

    def remove(data: Any) -> None:
        del data["properties"]["digest"]

    def require(data: Any) -> None:
        data["required"].append("predecessor")

    def retype(data: Any) -> None:
        data["properties"]["groups"] = {"type": "integer"}

    def lose(data: Any) -> None:
        data["properties"]["stage"]["enum"].remove("test")

    def deep(data: Any) -> None:
        data["$defs"]["Reason"]["enum"].remove("file_missing")

    assert changed("PlanSaved", widen) == []
    for change in (remove, require, retype, lose, deep):
        assert len(changed("PlanSaved", change)) == 1, change.__name__
    without = {name: value for name, value in now.items() if name != "PlanSaved"}
    assert broken(now, without) == ["PlanSaved is gone, but logs hold it"]
    raised = {**now, "PlanSaved": {**now["PlanSaved"], "schema": 2}}
    assert broken(now, raised) == ["PlanSaved has no upcaster from schema 1"]
