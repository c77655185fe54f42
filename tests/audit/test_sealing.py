"""Claims about checkpoints, exports and proofs of a log that nobody touched, and about what the sealer refuses."""

import asyncio
import json
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from shared.events.audit.export import NothingToExport, Selection
from shared.events.audit.folder import CheckpointFolder
from shared.events.audit.kept import KeptTree
from shared.events.audit.note import BadNote, SigningKey, opened
from shared.events.audit.proofs import NoProof, prove_consistency, prove_event
from shared.events.audit.seal import Sealer, SealRefused, note_seal, rebuild_subtrees
from shared.events.audit.tree import Frontier
from shared.events.record import leaf, record
from tests.audit.sealed import SealedLog, verified
from tests.store.commands import command, plan


async def test_an_empty_log_has_nothing_to_seal(sealed: SealedLog) -> None:
    found = await Sealer(sealed.pool, [sealed.key], sealed.folder).seal()
    assert (found.checkpoint, found.signed) == (None, False)


async def test_a_checkpoint_is_the_root_over_the_records_and_is_kept_in_both_places(sealed: SealedLog) -> None:
    await sealed.append(7)
    checkpoint = await sealed.seal()
    frontier = Frontier()
    for row in await sealed.store.read_log(0):
        frontier.add(leaf(record(row)))
    assert (checkpoint.origin, checkpoint.size, checkpoint.root) == (sealed.log_id, 7, frontier.root)
    note = await sealed.pool.fetchval("SELECT note FROM log.checkpoint WHERE size = 7")
    assert note == sealed.folder.note(7)
    assert opened(note, [sealed.public]) == checkpoint


async def test_a_log_at_rest_gets_no_more_checkpoints_though_each_is_an_event(sealed: SealedLog) -> None:
    await sealed.append(3)
    sealer_store = await sealed.log.store("cw_sealer")
    await note_seal(sealed.pool, sealer_store, await sealed.seal())
    assert (await sealed.store.head()).position == 4
    assert (await sealed.seal()).size == 3
    await sealed.append(1)
    checkpoint = await sealed.seal()
    assert checkpoint.size == 5
    await note_seal(sealed.pool, sealer_store, checkpoint)
    await note_seal(sealed.pool, sealer_store, checkpoint)  # told again after a crash
    assert [row.type for row in await sealed.store.read_log(0) if row.category == "audit"] == ["LogSealed"] * 2
    assert (await sealed.check()).ok


async def test_the_tree_goes_on_from_its_right_edge_and_reads_each_event_once(sealed: SealedLog) -> None:
    for _ in range(3):
        await sealed.store.append(command(plan(), count=300))
        await sealed.seal()
    assert await KeptTree(sealed.pool).root(900) == (await sealed.seal()).root
    assert await sealed.pool.fetch("SELECT level, number FROM log.subtree ORDER BY 1, 2") == [
        (8, 0),
        (8, 1),
        (8, 2),
        (9, 0),
    ]
    # Events under the last checkpoint are not read again: these are gone, and the sealer goes on. Finding that is the
    # check's work.
    admin = await sealed.log.connect()
    await admin.execute("ALTER TABLE log.events DISABLE TRIGGER ALL; DELETE FROM log.events WHERE position < 900")
    await sealed.append(1)
    assert (await sealed.seal()).size == 901
    assert (await sealed.check()).problem == "missing"


async def test_two_keys_sign_while_one_takes_over_and_either_is_enough_to_believe(sealed: SealedLog) -> None:
    await sealed.append(2)
    await sealed.seal()
    other = SigningKey.new()
    await sealed.append(2)
    both = await Sealer(sealed.pool, [sealed.key, other], sealed.folder).seal()
    await sealed.append(2)
    alone = await Sealer(sealed.pool, [other], sealed.folder).seal()
    assert both.checkpoint is not None and alone.checkpoint is not None
    note = sealed.folder.note(4)
    assert opened(note, [sealed.public]) == opened(note, [other.public(sealed.log_id)]) == both.checkpoint
    with pytest.raises(BadNote, match="No key that is trusted"):
        opened(sealed.folder.note(6), [sealed.public])
    file = await sealed.export()
    assert sealed.verify(file, "--key", str(other.public(sealed.log_id)))["sealed"] == 6
    assert sealed.verify(file)["problem"] == "key_unknown"
    assert (await sealed.check(trusted=[sealed.public, other.public(sealed.log_id)])).ok


async def test_a_crash_between_folder_and_database_is_made_good_by_the_next_seal(sealed: SealedLog) -> None:
    await sealed.append(5)
    await sealed.seal()
    admin = await sealed.log.connect()
    await admin.execute("ALTER TABLE log.checkpoint DISABLE TRIGGER ALL; DELETE FROM log.checkpoint")
    assert (await sealed.seal()).size == 5
    assert await sealed.pool.fetchval("SELECT note FROM log.checkpoint") == sealed.folder.note(5)
    other = CheckpointFolder(sealed.path / "new")
    await Sealer(sealed.pool, [sealed.key], other).seal()
    assert other.note(5) == sealed.folder.note(5)


async def test_the_sealer_signs_nothing_that_contradicts_what_it_signed(sealed: SealedLog) -> None:
    await sealed.append(6)
    await sealed.seal()
    sealer = Sealer(sealed.pool, [sealed.key], sealed.folder)
    admin = await sealed.log.connect()
    await admin.execute("ALTER TABLE log.events DISABLE TRIGGER ALL; ALTER TABLE log.checkpoint DISABLE TRIGGER ALL")
    await admin.execute("UPDATE log.checkpoint SET root = sha256(root), frontier = sha256(root) || sha256(note::bytea)")
    with pytest.raises(SealRefused, match="not the one that was signed"):
        await sealer.seal()
    await admin.execute("DELETE FROM log.checkpoint; UPDATE log.events SET link = sha256(link) WHERE position = 3")
    with pytest.raises(SealRefused, match="position 3 is not the one"):
        await sealer.seal()
    await admin.execute("DELETE FROM log.events WHERE position = 3")
    with pytest.raises(SealRefused, match="no event at position 3"):
        await sealer.seal()
    await admin.execute(
        "DELETE FROM log.events WHERE position > 2; ALTER TABLE log.log_head DISABLE TRIGGER ALL;"
        " UPDATE log.log_head SET position = 2, link = (SELECT link FROM log.events WHERE position = 2)"
    )
    with pytest.raises(SealRefused, match="cut off, or an old backup"):
        await sealer.seal()
    await sealed.append(8)
    with pytest.raises(SealRefused, match="rewritten"):
        await sealer.seal()
    assert sealed.folder.sizes() == [6]


async def test_a_folder_of_another_log_is_refused(sealed: SealedLog) -> None:
    sealed.folder.introduce([SigningKey.new().public("0" * 32)])
    await sealed.append(1)
    with pytest.raises(SealRefused, match="another log"):
        await sealed.seal()


async def test_the_sealer_may_write_checkpoints_and_neither_change_nor_remove_them(sealed: SealedLog) -> None:
    await sealed.append(1)
    await sealed.seal()
    for statement in ("UPDATE log.checkpoint SET size = 2", "DELETE FROM log.checkpoint", "TRUNCATE log.checkpoint"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await sealed.pool.execute(statement)
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="append-only"):
            await (await sealed.log.connect()).execute(statement)


async def test_an_export_of_all_is_verified_with_nothing_but_the_public_key(sealed: SealedLog) -> None:
    await sealed.append(5)
    await sealed.seal()
    await sealed.append(4)
    await sealed.seal()
    await sealed.append(2)
    file = await sealed.export()
    answer = sealed.verify(file, "--checkpoint", sealed.kept(5))
    assert (answer["ok"], answer["events"], answer["sealed"], answer["log"]) == (True, 11, 9, sealed.log_id)
    assert "last 2 are under no checkpoint" in answer["message"]
    assert verified(file, "--unsigned")["signatures"] == "not checked"


async def test_every_line_of_an_export_is_a_cloudevent_with_the_body_as_it_is_stored(sealed: SealedLog) -> None:
    await sealed.append(3)
    await sealed.seal()
    lines = (await sealed.export()).read_bytes().splitlines()
    rows = {str(row.position): row for row in await sealed.store.read_log(0)}
    events = 0
    for line in lines:
        value = json.loads(line)
        assert {"specversion", "id", "source", "type"} <= value.keys()
        assert all(name.isalnum() and name == name.lower() for name in value)
        if "position" in value:
            events += 1
            assert line.endswith(b',"data":' + rows[value["position"]].body + b"}")
            assert value["subject"] == rows[value["position"]].stream
    assert events == 3
    assert len({(json.loads(line)["source"], json.loads(line)["id"]) for line in lines}) == len(lines)


async def test_any_range_of_positions_is_verified_against_the_same_root(sealed: SealedLog) -> None:
    await sealed.append(37)
    await sealed.seal()
    for first, last in ((1, 1), (1, 36), (5, 9), (16, 32), (17, 37), (37, 37), (2, None)):
        file = await sealed.export(selection=Selection("range", first=first, last=last))
        answer = sealed.verify(file)
        assert (answer["ok"], answer["first"], answer["last"]) == (True, first, last or 37), answer
        assert answer["sealed"] == 37
        broken = file.read_bytes().replace(b'"given"', b'"taken"', 1)
        file.write_bytes(broken)
        assert sealed.verify(file)["problem"] == "changed"
    with pytest.raises(NothingToExport, match="newest is of 37"):
        await sealed.export(selection=Selection("range", first=38))


async def test_the_events_of_one_plan_are_verified_against_the_root_of_the_whole_log(sealed: SealedLog) -> None:
    await sealed.append(300, streams=40)
    stream = plan()
    await sealed.store.append(command(stream))
    await sealed.append(300, streams=40)
    await sealed.store.append(command(stream, 0, count=2))
    await sealed.append(23)
    await sealed.seal()
    file = await sealed.export(selection=Selection("plan", stream.partition("-")[2]))
    answer = sealed.verify(file)
    assert (answer["ok"], answer["events"], answer["first"], answer["last"]) == (True, 3, 301, 603)
    assert len(file.read_bytes().splitlines()) < 12
    with pytest.raises(NothingToExport):
        await sealed.export(selection=Selection("plan", "0" * 32))


async def test_every_event_has_a_proof_in_one_file(sealed: SealedLog, tmp_path: Path) -> None:
    await sealed.append(11)
    await sealed.seal()
    for position in range(1, 12):
        file = tmp_path / "event.tlog-proof"
        file.write_text((await prove_event(sealed.pool, position)).text)
        answer = sealed.verify(file)
        assert (answer["ok"], answer["position"]) == (True, position)
        row = (await sealed.store.read_log(position - 1, 1))[0]
        assert answer["body"].encode() == row.body
    text = file.read_text().replace("index 10", "index 9")
    file.write_text(text)
    assert sealed.verify(file)["ok"] is False
    with pytest.raises(NoProof, match="no checkpoint yet"):
        await prove_event(sealed.pool, 12)


async def test_the_log_is_proven_to_go_on_from_every_earlier_checkpoint(sealed: SealedLog, tmp_path: Path) -> None:
    sizes = []
    for count in (1, 3, 4, 7, 17):
        await sealed.append(count)
        sizes.append((await sealed.seal()).size)
    file = tmp_path / "log.consistency-proof"
    for old in sizes:
        for new in (size for size in sizes if size >= old):
            proof = await prove_consistency(sealed.pool, sealed.folder.note(old), sealed.folder.note(new))
            file.write_text(proof.text)
            answer = sealed.verify(file)
            assert (answer["ok"], answer["sealed"]) == (True, new), answer
    with pytest.raises(NoProof, match="earlier checkpoint"):
        await prove_consistency(sealed.pool, sealed.folder.note(8), sealed.folder.note(4))


async def test_damaged_kept_hashes_are_named_by_the_check_and_made_anew(sealed: SealedLog) -> None:
    await sealed.store.append(command(plan(), count=600))
    await sealed.seal()
    admin = await sealed.log.connect()
    await admin.execute("UPDATE log.subtree SET hash = sha256(hash) WHERE (level, number) = (8, 1)")
    found = await sealed.check()
    assert (found.problem, found.position) == ("tree", 257)
    with pytest.raises(NoProof):
        await prove_event(sealed.pool, 3)
    await rebuild_subtrees(sealed.pool, 600)
    assert (await sealed.check()).ok
    assert (await prove_event(sealed.pool, 3)).checkpoint.size == 600


async def test_two_sealers_at_once_make_one_checkpoint(sealed: SealedLog) -> None:
    await sealed.append(20)

    async def attempt() -> Any:
        return await Sealer(sealed.pool, [sealed.key], sealed.folder).seal()

    results = await asyncio.gather(*(attempt() for _ in range(3)), return_exceptions=True)
    assert sum(1 for each in results if not isinstance(each, BaseException) and each.signed) == 1
    assert sealed.folder.sizes() == [20]
