"""Claims about the links: they are what the documentation defines, and any change shows at its place."""

from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import pytest
from asyncpg import Record

from shared.events.record import leaf, link, origin, record
from shared.events.store import EventStore, Guard
from shared.events.types import new_id
from shared.events.verify import verify_links
from tests.store.commands import command, plan
from tests.store.logs import Log

EVENTS = 7


# A second implementation, from docs/audit.md alone. It shares no line with the product's.
def links_by_the_book(log_id: str, rows: list[Record]) -> Iterator[bytes]:
    previous = sha256(f"cloudward log {log_id}".encode("ascii")).digest()
    for row in rows:
        stamp = row["recorded_at"]
        microseconds = int(stamp.timestamp()) * 1_000_000 + stamp.microsecond
        line = (
            f"cw1 {row['position']} {microseconds} {str(row['event_id']).replace('-', '')}"
            f" {row['stream']} {row['version']} {row['type']}\n"
        )
        digest = sha256()
        digest.update(bytes([0]))
        digest.update(line.encode("utf-8"))
        digest.update(row["body"])
        chained = sha256(bytes([2]))
        chained.update(previous)
        chained.update(digest.digest())
        previous = chained.digest()
        yield previous


async def fill(store: EventStore) -> None:
    first = plan()
    await store.append(command(first, count=2))
    await store.append(command(plan(), count=3, guards=(Guard(first, 1),)))
    await store.append(command(first, 1))
    await store.append(command(plan()))


async def test_a_second_implementation_computes_the_same_links_from_the_definition(log: Log, store: EventStore) -> None:
    await fill(store)
    admin = await log.connect()
    rows = await admin.fetch("SELECT * FROM log.events ORDER BY position")
    head = await store.head()
    computed = list(links_by_the_book(head.log_id, rows))
    assert computed == [row["link"] for row in rows]
    assert (head.position, head.link) == (EVENTS, computed[-1])


def test_the_record_of_an_event_never_changes() -> None:
    """Golden: as computed on the day the definition was frozen, by sha256sum and by hand."""
    from shared.events.contract import Recorded

    log_id, id_ = "0123456789abcdef" * 2, "fedcba9876543210" * 2
    event = Recorded(1, id_, "plan-" + "a" * 32, 0, "PlanStarted", '{"text":"ü"}'.encode(), 1_795_403_736_994_894, b"")
    expected = f"cw1 1 1795403736994894 {id_} plan-{'a' * 32} 0 PlanStarted\n".encode() + b'{"text":"\xc3\xbc"}'
    assert record(event) == expected
    assert origin(log_id).hex() == "142c49ea2453c98fd57c04ce23427a6cd5fa7aa8664fb75156253ab2e1db8070"
    assert (
        link(origin(log_id), leaf(record(event))).hex()
        == "fb21c79f49c68c2f60e6a961f7437b165fce7cc5abcf56680ab147331ecde2ce"
    )


async def test_an_untouched_log_verifies_for_every_role_that_may_read_it(log: Log, store: EventStore) -> None:
    empty = await verify_links(await log.pool("cw_dashboard"))
    assert (empty.ok, empty.checked) == (True, 0)
    await fill(store)
    for role in ("cw_planner", "cw_dashboard", "cw_sealer"):
        verdict = await verify_links(await log.pool(role))
        assert (verdict.ok, verdict.checked, verdict.position) == (True, EVENTS, None)
        assert verdict.link == (await store.head()).link


CHANGES = {
    "position": "position + 1000",
    "event_id": f"'{new_id()}'",
    "stream": "'plan-' || repeat('0', 32)",
    "version": "version + 1000",
    "type": "'PlanPaused'",
    "body": "set_byte(body, octet_length(body) / 2, get_byte(body, octet_length(body) / 2) # 1)",
    "recorded_at": "recorded_at + interval '1 microsecond'",
    "link": "set_byte(link, 31, get_byte(link, 31) # 1)",
}


async def test_the_changes_below_cover_every_column(log: Log) -> None:
    columns = await (await log.connect()).fetch(
        "SELECT column_name FROM information_schema.columns WHERE table_schema = 'log' AND table_name = 'events'"
    )
    assert {c[0] for c in columns} == set(CHANGES)


@pytest.mark.parametrize("column", CHANGES)
async def test_a_change_to_any_column_of_any_row_breaks_the_link_check_at_exactly_that_position(
    log: Log, store: EventStore, column: str
) -> None:
    await fill(store)
    for position in range(1, EVENTS + 1):
        verdict = await tampered(log, f"UPDATE log.events SET {column} = {CHANGES[column]} WHERE position = {position}")
        assert (verdict.ok, verdict.position, verdict.checked) == (False, position, position - 1)
        assert verdict.problem == ("missing" if column == "position" else "link")
        assert str(position) in verdict.message
    assert (await verify_links(await log.pool())).ok


async def test_a_removed_event_shows_at_its_position(log: Log, store: EventStore) -> None:
    await fill(store)
    for position in range(1, EVENTS + 1):
        verdict = await tampered(log, f"DELETE FROM log.events WHERE position = {position}")
        assert (verdict.position, verdict.problem) == (position, "missing")


async def test_two_events_that_changed_places_show_at_the_first_of_them(log: Log, store: EventStore) -> None:
    await fill(store)
    verdict = await tampered(
        log,
        "UPDATE log.events SET position = 107 - position WHERE position IN (3, 4)",
        "UPDATE log.events SET position = position - 100 WHERE position IN (103, 104)",
    )
    assert verdict.position == 3


async def test_a_changed_end_of_the_log_shows(log: Log, store: EventStore) -> None:
    await fill(store)
    cut = await tampered(log, f"DELETE FROM log.events WHERE position = {EVENTS}")
    assert (cut.position, cut.problem) == (EVENTS, "missing")
    hidden = await tampered(
        log, "UPDATE log.log_head SET position = 6, link = (SELECT link FROM log.events WHERE position = 6)"
    )
    assert (hidden.position, hidden.problem) == (EVENTS, "head")
    other = await tampered(log, "UPDATE log.log_head SET link = sha256(link)")
    assert (other.position, other.problem) == (EVENTS, "head")
    renamed = await tampered(log, "UPDATE log.log_head SET log_id = gen_random_uuid()")
    assert (renamed.position, renamed.problem) == (1, "link")
    gone = await tampered(log, "DELETE FROM log.log_head")
    assert gone.problem == "head"
    before = await tampered(
        log,
        "INSERT INTO log.events SELECT 0, gen_random_uuid(), stream, 99, type, body, recorded_at, link FROM log.events LIMIT 1",
    )
    assert (before.position, before.problem) == (0, "head")


async def test_a_log_of_many_pages_is_checked_whole(log: Log, store: EventStore) -> None:
    for _ in range(5):
        await store.append(command(plan(), count=500))
    assert (await verify_links(await log.pool())).checked == 2500
    verdict = await tampered(log, "UPDATE log.events SET body = '{}' WHERE position = 2001")
    assert (verdict.position, verdict.checked) == (2001, 2000)


async def tampered(log: Log, *statements: str) -> Any:
    """The verdict over a log that a superuser changed with the triggers off; the change is undone afterwards."""
    admin = await log.database.connect()
    try:
        await admin.execute(
            "BEGIN; ALTER TABLE log.events DISABLE TRIGGER ALL; ALTER TABLE log.log_head DISABLE TRIGGER ALL"
        )
        for statement in statements:
            assert await admin.execute(statement) not in ("UPDATE 0", "DELETE 0")
        return await verify_links(admin)
    finally:
        await admin.close()
