"""An export is taken in once, whole or not at all, and secrets are never looked at."""

import asyncio
import fcntl
import os
import shutil
import signal
import sqlite3
import sys
import threading
from pathlib import Path

import pytest

from shared.confluence.export import ExportNotTaken, Progress, open_export, take_in
from shared.confluence.source import FileMissing, SourceError
from tests.unit.export.build import Export, Raw, Ref, body, document, page, sample, simple, thing


def large(pages: int = 3000) -> Export:
    return simple(
        *(
            page(str(n), title=f"Page {n}") + "\n" + body(f"9{n:06}", str(n), "<p>text</p>" * 50)
            for n in range(10, pages)
        )
    )


def left(store: Path) -> list[str]:
    return sorted(path.name for path in store.iterdir() if path.name != ".lock")


async def test_the_same_export_is_taken_in_once(tmp_path: Path) -> None:
    location, store = sample("dc").zip(tmp_path / "a.zip"), tmp_path / "store"
    name = await take_in(location, store)
    index = store / name / "index.sqlite"
    before = index.stat().st_mtime_ns
    shutil.copy(location, tmp_path / "copy.zip")
    assert await take_in(tmp_path / "copy.zip", store) == name
    assert index.stat().st_mtime_ns == before
    assert left(store) == [name]


async def test_a_folder_is_known_by_its_content_not_by_its_name_or_times(tmp_path: Path) -> None:
    first, second = sample("dc").folder(tmp_path / "a"), sample("dc").folder(tmp_path / "b")
    os.utime(second / "entities.xml", (1, 1))
    store = tmp_path / "store"
    name = await take_in(first, store)
    assert await take_in(second, store) == name
    (second / "attachments" / "20" / "40" / "2").write_bytes(b"another one")
    assert await take_in(second, store) != name


@pytest.mark.parametrize("form", ["zip", "zip in a folder", "stored zip", "folder", "folder in a folder"])
async def test_every_form_of_an_export_reads_the_same(form: str, tmp_path: Path) -> None:
    export = sample("mid")
    match form:
        case "zip":
            location = export.zip(tmp_path / "x.zip")
        case "zip in a folder":
            location = export.zip(tmp_path / "x.zip", prefix="Confluence-export-1/")
        case "stored zip":
            location = export.zip(tmp_path / "x.zip", stored=True)
        case "folder":
            location = export.folder(tmp_path / "x")
        case _:
            export.folder(tmp_path / "x" / "package1")
            location = tmp_path / "x"
    store = tmp_path / "store"
    name = await take_in(location, store)
    # The store stands on its own.
    shutil.rmtree(location) if location.is_dir() else location.unlink()
    source = open_export(store, name)
    assert len([item async for item in source.items("1")]) == 6
    async with source.open_attachment("40") as chunks:
        assert b"".join([chunk async for chunk in chunks]) == b"second plan"


async def test_a_large_attachment_comes_in_bounded_chunks(tmp_path: Path) -> None:
    content = os.urandom(100_000) * 35
    export = simple(
        page("10"),
        thing("Attachment", "40", title="a.bin", version=1, containerContent=Ref("Page", "10")),
        files={"attachments/10/40/1": content},
    )
    for location in (export.zip(tmp_path / "x.zip"), export.folder(tmp_path / "x")):
        source = open_export(tmp_path / "store", await take_in(location, tmp_path / "store"))
        async with source.open_attachment("40") as chunks:
            parts = [chunk async for chunk in chunks]
        assert b"".join(parts) == content
        assert max(map(len, parts)) <= 1 << 20
        async with source.open_attachment("40") as chunks:
            assert await anext(aiter(chunks)) == parts[0], "a reader may leave early"


async def test_a_damaged_attachment_is_not_passed_off_as_whole(tmp_path: Path) -> None:
    export = simple(
        page("10"),
        thing("Attachment", "40", title="a.bin", version=1, containerContent=Ref("Page", "10")),
        files={"attachments/10/40/1": b"content of the file"},
    )
    location = export.zip(tmp_path / "x.zip", stored=True)
    location.write_bytes(location.read_bytes().replace(b"content of the file", b"content of the fire"))
    source = open_export(tmp_path / "store", await take_in(location, tmp_path / "store"))
    with pytest.raises(FileMissing, match="damaged"):
        async with source.open_attachment("40") as chunks:
            _ = [chunk async for chunk in chunks]


async def test_a_missing_file_is_told_on_entering(tmp_path: Path) -> None:
    export = simple(page("10"), thing("Attachment", "40", title="a", version=1, containerContent=Ref("Page", "10")))
    source = open_export(tmp_path / "store", await take_in(export.zip(tmp_path / "x.zip"), tmp_path / "store"))
    with pytest.raises(FileMissing, match="does not hold it"):
        async with source.open_attachment("40"):
            raise AssertionError("entered")


async def test_an_archive_that_somebody_writes_into_is_noticed(tmp_path: Path) -> None:
    location, store = sample("mid").zip(tmp_path / "x.zip"), tmp_path / "store"
    source = open_export(store, await take_in(location, store))
    with (next(store.glob("*/archive.zip"))).open("ab") as file:
        file.write(b"more")
    with pytest.raises(SourceError, match="changed after it was taken in"):
        async with source.open_attachment("40"):
            raise AssertionError("entered")


async def test_progress_rises_to_the_end_while_the_loop_stays_alive(tmp_path: Path) -> None:
    steps: list[Progress] = []
    threads: set[int] = set()

    def seen(step: Progress) -> None:
        steps.append(step)
        threads.add(threading.get_ident())

    beats = 0

    async def beat() -> None:
        nonlocal beats
        while True:
            await asyncio.sleep(0.005)
            beats += 1

    heart = asyncio.ensure_future(beat())
    await take_in(large().folder(tmp_path / "x"), tmp_path / "store", seen)
    await asyncio.sleep(0)
    heart.cancel()
    assert threads == {threading.get_ident()}
    assert beats >= 3
    for stage in ("hashing", "reading", "resolving", "keeping"):
        of_stage = [step for step in steps if step.stage == stage]
        assert of_stage[-1].done == of_stage[-1].total
        assert [step.done for step in of_stage] == sorted(step.done for step in of_stage)


async def test_two_at_once_agree(tmp_path: Path) -> None:
    location, store = large(500).zip(tmp_path / "x.zip"), tmp_path / "store"
    names = await asyncio.gather(take_in(location, store), take_in(location, store), take_in(location, store))
    assert len(set(names)) == 1
    assert left(store) == [names[0]]


async def test_a_cancelled_intake_leaves_nothing(tmp_path: Path) -> None:
    location, store = large().folder(tmp_path / "x"), tmp_path / "store"
    begun = asyncio.Event()

    def seen(step: Progress) -> None:
        if step.stage == "reading":
            begun.set()

    work = asyncio.ensure_future(take_in(location, store, seen))
    await begun.wait()
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert left(store) == [] or (len(left(store)) == 1 and not left(store)[0].startswith("."))


async def test_a_killed_intake_leaves_no_half_state_and_the_next_one_cleans_up(tmp_path: Path) -> None:
    location, store = large().folder(tmp_path / "x"), tmp_path / "store"
    script = (
        "import asyncio, os, signal, sys\n"
        "from pathlib import Path\n"
        "from shared.confluence.export import intake\n"
        "intake._sync = lambda folder: os.kill(os.getpid(), signal.SIGKILL)\n"
        "asyncio.run(intake.take_in(Path(sys.argv[1]), Path(sys.argv[2])))\n"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", script, str(location), str(store))
    assert await process.wait() == -signal.SIGKILL
    (working,) = left(store)
    assert working.startswith(".taking-")
    assert len([item async for item in open_export(store, await take_in(location, store)).items("1")]) == 2990
    assert not (store / working).exists()


async def test_the_folder_of_an_intake_under_way_is_left_alone(tmp_path: Path) -> None:
    store = tmp_path / "store"
    (store / ".taking-other").mkdir(parents=True)
    with (store / ".taking-other" / ".owner").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        await take_in(sample("dc").zip(tmp_path / "x.zip"), store)
        assert (store / ".taking-other").is_dir()


async def test_an_index_of_another_format_is_refused_and_taken_in_anew(tmp_path: Path) -> None:
    location, store = sample("dc").zip(tmp_path / "x.zip"), tmp_path / "store"
    name = await take_in(location, store)
    with sqlite3.connect(store / name / "index.sqlite") as db:
        db.execute("UPDATE meta SET value = '0' WHERE key = 'format'")
    with pytest.raises(ExportNotTaken, match="another release"):
        open_export(store, name)
    assert await take_in(location, store) == name
    assert len([item async for item in open_export(store, name).items("1")]) == 6


async def test_no_secret_of_an_export_reaches_the_index(tmp_path: Path) -> None:
    planted = "PLANTED-hunter2"
    component = f'<component name="credential"><property name="credential">{planted}-1</property></component>'
    user = thing(
        "InternalUser", "80", name="alice", active=Raw("true"), password=f"{planted}-2", credential=f"{planted}-3"
    )
    export = Export(
        document(
            thing("Space", "1", name="Docs", key="DOCS"),
            page("10"),
            user.replace("</object>", component + "</object>"),
            thing("DefaultHibernateUser", "81", name="bob", password=f"{planted}-4"),
            thing("ConfluenceBandanaRecord", "82", context="_GLOBAL", key="ldap", value=f"{planted}-5"),
            thing("ConfluenceRememberMeToken", "83", username="alice", token=f"{planted}-6"),
            thing("AliasedKey", "84", alias="x", key=f"{planted}-7"),
            thing("InternalUserCredentialRecord", "85", passwordHash=f"{planted}-8"),
            thing("InternalUserAttribute", "86", name="reset", value=f"{planted}-9"),
            thing("DirectoryImpl", "87", name="LDAP", description=f"{planted}-10").replace(
                "</object>",
                f'<collection name="attributes"><element type="string">{planted}-11</element></collection></object>',
            ),
            thing("ApplicationImpl", "88", name="crowd", component=f"{planted}-12"),
            thing("BucketPropertySetItem", None, stringVal=f"{planted}-13"),
            thing("ContentProperty", "89", name="api-token", stringValue=f"{planted}-14", content=Ref("Page", "10")),
            thing("SomethingNew", "90", secret=f"{planted}-15"),
        ),
        f"exportType=all\nbuildNumber=3391\nsomePassword={planted}-16\n",
    )
    store = tmp_path / "store"
    for location in (export.folder(tmp_path / "x"), export.zip(tmp_path / "x.zip")):
        name = await take_in(location, store)
        for file in (store / name).rglob("*"):
            if file.is_file() and file.name != "archive.zip":
                assert planted.encode() not in file.read_bytes(), file.name
        source = open_export(store, name)
        assert {person.id async for person in source.people()} == {"alice", "bob"}
        await source.close()
