"""Whatever a superuser of the database does to the log is found, where it is, by the online check or by an auditor with
files; what nobody can find is known, and is what the documentation says."""

from pathlib import Path

import pytest

from shared.events.audit.export import Selection
from shared.events.audit.proofs import NoProof, prove_event
from tests.audit.sealed import SealedLog
from tests.audit.tamper import KINDS, UNDETECTABLE, Kind, act_out, judged, prepare
from tests.store.logs import Log


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
async def test_tampering_is_found_by_both_at_its_place_or_is_known_to_be_undetectable(
    log: Log, tmp_path: Path, kind: Kind
) -> None:
    sealed = await prepare(log, tmp_path)
    online, offline = await act_out(sealed, kind)
    assert not judged(kind, online, offline), judged(kind, online, offline)
    assert (kind.online is None and kind.offline is None) == (kind.name in UNDETECTABLE)
    assert (await sealed.check()).ok


def test_the_documentation_names_what_cannot_be_found() -> None:
    text = (Path(__file__).parents[2] / "docs" / "audit.md").read_text()
    assert set(UNDETECTABLE) == {"truncate behind the last checkpoint", "rewrite behind the last checkpoint"}
    assert "Truncation and rewriting behind the last checkpoint" in " ".join(text.split())


async def test_a_byte_of_every_column_is_changed_in_turn(log: Log) -> None:
    rows = await (await log.connect()).fetch(
        "SELECT attname FROM pg_attribute WHERE attrelid = 'log.events'::regclass AND attnum > 0 AND NOT attisdropped"
    )
    assert {f"a byte of {row['attname']}" for row in rows} <= {kind.name for kind in KINDS}


async def test_an_earlier_export_names_the_very_event_that_was_rewritten(sealed: SealedLog) -> None:
    await sealed.append(30)
    await sealed.seal()
    before = await sealed.export(name="before.ndjson")
    admin = await sealed.log.connect()
    await admin.execute("ALTER TABLE log.events DISABLE TRIGGER ALL; ALTER TABLE log.log_head DISABLE TRIGGER ALL")
    from tests.audit.tamper import Scene

    await admin.execute("UPDATE log.events SET recorded_at = recorded_at + interval '1 us' WHERE position = 23")
    await Scene(sealed, admin).relink(23)
    after = await sealed.export(name="after.ndjson")
    assert sealed.verify(after)["upto"] == 30
    answer = sealed.verify(after, "--earlier", before)
    assert (answer["problem"], answer["position"]) == ("changed", 23)


async def test_a_tampered_file_is_told_from_a_tampered_log_by_its_line(sealed: SealedLog) -> None:
    await sealed.append(12)
    await sealed.seal()
    lines = (await sealed.export()).read_bytes().splitlines(keepends=True)
    cases = {
        "changed": [*lines[:5], lines[5].replace(b'"given"', b'"taken"'), *lines[6:]],
        "removed": [*lines[:5], *lines[6:]],
        "inserted": [*lines[:6], lines[5], *lines[6:]],
        "reordered": [*lines[:5], lines[6], lines[5], *lines[7:]],
        "cut_off": lines[:-1],
    }
    file = sealed.path / "tampered.ndjson"
    for problem, forged in cases.items():
        file.write_bytes(b"".join(forged))
        answer = sealed.verify(file)
        place = {"cut_off": 13}.get(problem, 5)
        assert (answer["problem"], answer["position"]) == (problem, place), answer
    for line in (b"", b"{}\n", b"\xff\xfe\n", lines[4][:-20] + b"\n"):
        file.write_bytes(b"".join([*lines[:5], line or b"\n", *lines[6:]]))
        assert sealed.verify(file)["position"] == 5


async def test_nothing_is_proven_about_a_log_that_was_changed(sealed: SealedLog) -> None:
    await sealed.append(12)
    await sealed.seal()
    admin = await sealed.log.connect()
    await admin.execute(
        "ALTER TABLE log.events DISABLE TRIGGER ALL; UPDATE log.events SET version = 77 WHERE position = 5"
    )
    for position in (4, 5):
        with pytest.raises(NoProof, match="audit verify"):
            await prove_event(sealed.pool, position)
    answer = sealed.verify(await sealed.export(selection=Selection("range", first=7)))
    assert answer["problem"] == "changed"
