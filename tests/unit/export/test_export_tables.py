"""A CSV export of Confluence Cloud is read like any other, and what is wrong with one is said in words."""

import gzip
import re
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.confluence.export import (
    ExportDamaged,
    ExportKindUnsupported,
    ExportSource,
    NoExport,
    detect,
    is_export,
    open_export,
    take_in,
)
from shared.confluence.model import Item, Permission, Restriction
from tests.unit.export.build import sample as xml_sample
from tests.unit.export.tables import ALICE, BOB, CONTENT, Tables, content, sample
from tests.unit.export.test_export_damage import refused


async def opened(export: Tables, tmp_path: Path) -> ExportSource:
    location = export.zip(tmp_path / "export.zip")
    return open_export(tmp_path / "store", await take_in(location, tmp_path / "store"))


async def noted(source: ExportSource) -> dict[str, tuple[int, tuple[str, ...]]]:
    return {note.code: (note.count, note.examples) for note in await source.notes()}


async def test_only_what_is_live_is_listed(tmp_path: Path) -> None:
    source = await opened(sample(), tmp_path)
    assert {item.id: item async for item in source.items("1")} == {
        "10": Item("page", "10", 1, homepage=True, properties=1),
        "11": Item("page", "11", 7, parent="10", depth=1, position=3, labels=1, restrictions=2, history=1),
        "20": Item("blogpost", "20", 1),
        "30": Item("comment", "30", 1, container="10"),
        "31": Item("comment", "31", 1, parent="30", container="10", depth=1),
        "40": Item("attachment", "40", 2, container="20", size=11, has_file=True),
    }
    assert await source.left_behind("1") == {"personal_label": 1, "template": 1, "trash": 1}
    info = await source.info()
    assert (info.product, info.version) == ("cloud", "1000.0.0-abcdef")
    assert (await noted(source)).keys() == {"cloud_only_content"}


async def test_everything_that_hangs_on_it_is_there(tmp_path: Path) -> None:
    source = await opened(sample(), tmp_path)
    space = await source.space("1")
    assert (space.key, space.name, space.homepage_id, space.description) == (
        "DOCS",
        "Docs & more",
        "10",
        "All about it",
    )
    home, child = await source.content("10"), await source.content("11")
    assert home.body == '<p>"Home", so\nto\r\nspeak</p>'
    assert (child.creator, child.modifier, child.labels) == (ALICE, BOB, ("howto",))
    assert child.created_at == datetime(2020, 1, 31, 23, 30, 0, 100000, tzinfo=UTC)
    assert set(child.restrictions) == {Restriction("read", ALICE, None), Restriction("read", None, "Writers")}
    (earlier,) = [v async for v in source.versions("11", 3)]
    assert (earlier.number, earlier.body, earlier.message) == (6, "<p>old</p>", "A word")
    assert await source.properties("10") == [("colour", {"value": "blue"})]
    first = await source.comment("30")
    assert (first.body, first.location, first.marker, first.selection) == (
        "<p>First</p>",
        "inline",
        "m-1",
        "so to speak",
    )
    assert (await source.attachment("40")).media_type == "text/plain"
    assert [v.number for v in await source.file_versions("40")] == [1, 2]
    async with source.open_attachment("40") as chunks:
        assert b"".join([chunk async for chunk in chunks]) == b"second plan"
    assert [p async for p in source.permissions("1")] == [
        Permission("70", "VIEWSPACE", "group", "Writers"),
        Permission("71", "EDITSPACE", "person", BOB),
        Permission("72", "COMMENT", "anonymous", None),
        # A group without a name is a group all the same, never everybody.
        Permission("74", "EDITBLOG", "group", "0c99"),
    ]
    people = {person.id: person async for person in source.people()}
    assert {p: (person.username, person.email, person.account_id) for p, person in people.items()} == {
        ALICE: ("Alice", None, "557058:alice"),
        BOB: ("bob", None, None),
    }


@pytest.mark.parametrize(
    "form", ["zip", "zip in a folder", "folder", "folder in a folder", "data", "entities", "packed", "bare"]
)
async def test_every_form_of_it_reads_the_same(form: str, tmp_path: Path) -> None:
    export, place = sample(), tmp_path / "x"
    match form:
        case "data" | "entities":
            export.inner = f"{form}/"
        case "packed":
            export.packed = True
            assert export.descriptor is not None
            export.raw["exportDescriptor.properties.gz"] = gzip.compress(export.descriptor.encode())
            export.descriptor = None
        case "bare":
            export.descriptor = None
    if form.startswith("folder") or form == "data":
        export.folder(place / "one" if form == "folder in a folder" else place)
    else:
        export.zip(place, "Confluence-export/" if form == "zip in a folder" else "")
    assert detect(place) == "csv"
    assert is_export(place)
    source = open_export(tmp_path / "store", await take_in(place, tmp_path / "store"))
    assert len([item async for item in source.items("1")]) == 6
    async with source.open_attachment("40") as chunks:
        assert b"".join([chunk async for chunk in chunks]) == b"second plan"


async def test_a_folder_with_another_row_is_another_export(tmp_path: Path) -> None:
    name = await take_in(sample().folder(tmp_path / "a"), tmp_path / "store")
    other = sample()
    other.tables["content"].append(content(16, "PAGE", title="One more", spaceid="1"))
    assert await take_in(other.folder(tmp_path / "b"), tmp_path / "store") != name
    assert await take_in(sample().folder(tmp_path / "c"), tmp_path / "store") == name


TEXT = st.text(st.characters(codec="utf-8"), max_size=60).filter(lambda text: "\x00" not in text)
FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=8), st.booleans(), st.randoms(use_true_random=False))
async def test_any_text_comes_out_as_it_was_but_for_characters_that_xml_forbids(
    tmp_path: Path, pages: list[tuple[str, str]], packed: bool, order: Random
) -> None:
    export = sample()
    export.packed = packed
    for n, (title, text) in enumerate(pages, 100):
        export.tables["content"].append(content(n, "PAGE", title=title, spaceid="1"))
        export.tables["bodycontent"].append([f"9{n}", f"<p>{text}</p>", str(n), "2"])
    for rows in export.tables.values():  # neither rows nor columns are in an order that matters
        head, *rest = rows
        columns = list(range(len(head)))
        order.shuffle(columns)
        order.shuffle(rest)
        rows[:] = [[row[c] for c in columns] for row in [head, *rest]]
    source = await opened(export, tmp_path)
    for n, (title, text) in enumerate(pages, 100):
        found = await source.content(str(n))
        assert found.title == FORBIDDEN.sub("", title).strip()
        wanted = FORBIDDEN.sub("", text)
        assert found.body == f"<p>{wanted}</p>" or "&#" in wanted
    await source.close()


async def test_control_characters_are_taken_out_and_counted(tmp_path: Path) -> None:
    export = sample()
    export.tables["content"].append(content(16, "PAGE", title="Be\x1ccause \x00of it", spaceid="1"))
    source = await opened(export, tmp_path)
    assert (await source.content("16")).title == "Because of it"
    assert (await noted(source))["characters_removed"][0] == 2


async def test_a_parent_that_is_missing_leaves_a_page_at_the_top_and_says_so(tmp_path: Path) -> None:
    export = sample()
    export.tables["content"] += [
        content(16, "PAGE", title="Lost", spaceid="1", parentid="999"),
        content(17, "PAGE", title="In a folder", spaceid="1", parentid="15"),
    ]
    source = await opened(export, tmp_path)
    assert {i.id for i in [i async for i in source.items("1")] if i.dangling and i.parent is None} == {"16", "17"}
    notes = await noted(source)
    assert notes["dangling_parent"] == (2, ("17", "16"))
    assert notes["cloud_only_content"] == (1, ("folder",))


async def test_a_row_cut_off_names_its_line(tmp_path: Path) -> None:
    export = sample()
    whole = export.parts()["content.csv.gz"]
    for cut in (whole[: whole.index(b"Gone") + 2], whole[: whole.rindex(b"CUSTOM")]):
        error = await refused(
            Tables({**export.tables}, raw={"content.csv.gz": cut}).folder(tmp_path / f"x{len(cut)}"), tmp_path
        )
        assert isinstance(error, ExportDamaged)
        line = cut.count(b"\n") + 1
        assert f"line {line}" in str(error)
        assert "Nothing of it was taken in" in str(error) and "download it again" in str(error)


async def test_a_text_cut_off_in_the_middle_is_damage(tmp_path: Path) -> None:
    whole = sample().parts()["bodycontent.csv.gz"]
    cut = whole[: whole.index(b"speak")]
    error = await refused(Tables(sample().tables, raw={"bodycontent.csv.gz": cut}).zip(tmp_path / "x.zip"), tmp_path)
    assert isinstance(error, ExportDamaged)
    assert "stops being CSV" in str(error)


async def test_a_packed_table_cut_off_or_broken_is_damage(tmp_path: Path) -> None:
    packed = gzip.compress(sample().parts()["content.csv.gz"])
    broken = packed[:40] + bytes([packed[40] ^ 0xFF]) + packed[41:]
    for n, data in enumerate((packed[:-20], broken, packed[:-6] + b"\0\0\0\0\0\0", packed[:2])):
        export = Tables(sample().tables, raw={"content.csv.gz": data})
        assert isinstance(await refused(export.folder(tmp_path / f"x{n}"), tmp_path), ExportDamaged)


@pytest.mark.parametrize("name", ["spaces", "content", "bodycontent", "content_perm_set", "content_perm"])
async def test_a_table_without_which_something_would_be_lost_or_seen_must_be_there(name: str, tmp_path: Path) -> None:
    export = sample()
    del export.tables[name]
    error = await refused(export.zip(tmp_path / "x.zip"), tmp_path)
    assert isinstance(error, ExportDamaged)
    assert f"no {name}.csv" in str(error) and "download it again" in str(error)


@pytest.mark.parametrize(
    ("table", "column"),
    [("content", "content_status"), ("content", "prevver"), ("content_perm_set", "content_id"), ("spacepermissions", "permusername"),
     ("label", "namespace"), ("bodycontent", "contentid"), ("spaces", "spaceid")],
)  # fmt: skip
async def test_a_column_without_which_rows_would_be_read_wrongly_must_be_there(
    table: str, column: str, tmp_path: Path
) -> None:
    export = sample()
    at = export.tables[table][0].index(column)
    export.tables[table] = [row[:at] + row[at + 1 :] for row in export.tables[table]]
    error = await refused(export.zip(tmp_path / "x.zip"), tmp_path)
    assert isinstance(error, NoExport)
    assert f"{table}.csv has no column {column}" in str(error)


async def test_other_columns_and_tables_may_be_missing_and_it_is_said(tmp_path: Path) -> None:
    export = sample()
    del export.tables["contentproperties"], export.tables["pagetemplates"]
    export.tables["content"] = [row[:-1] for row in export.tables["content"]]
    source = await opened(export, tmp_path)
    notes = await noted(source)
    assert notes["table_missing"] == (2, ("contentproperties", "pagetemplates"))
    assert "content.parentcommentid" in notes["column_missing"][1]
    assert CONTENT[-1] == "parentcommentid"


async def test_tables_that_are_not_known_are_never_opened_and_secrets_are_not_kept(tmp_path: Path) -> None:
    export = sample()
    export.raw = {
        f"{name}.csv.gz": b"\xff\xfe planted-secret"
        for name in ("bandana", "os_propertyentry", "AO_950DC3_TC_SUBCALS", "links", "some_new_table")
    }
    source = await opened(export, tmp_path)
    assert (await noted(source))["table_unknown"] == (1, ("some_new_table",))
    assert not any(b"planted-secret" in path.read_bytes() for path in (tmp_path / "store").rglob("*.sqlite"))


async def test_likes_watches_and_roles_are_counted_and_their_columns_not_guessed(tmp_path: Path) -> None:
    export = sample()
    export.tables["likes"] = [["id", "x"], ["1", "2"], ["3", "4"]]
    export.tables["notifications"] = [["id", "x"], ["1", "2"]]
    export.tables["spaceroles"] = [["id"]]
    source = await opened(export, tmp_path)
    assert (await noted(source))["table_unread"] == (3, ("likes", "notifications"))


async def test_what_the_export_counts_otherwise_is_said(tmp_path: Path) -> None:
    export = sample()
    export.tables["space_export_counts"] = [
        ["entityName", "exportCount"],
        ["content", "99"],
        ["label", "2"],
        ["other", "5"],
    ]
    assert (await noted(await opened(export, tmp_path)))["rows_counted_otherwise"] == (1, ("content",))


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
async def test_another_encoding_is_refused(encoding: str, tmp_path: Path) -> None:
    export = sample()
    export.tables["spaces"][1][1] = "Übersicht"
    text = export.parts()["spaces.csv.gz"].decode()
    error = await refused(
        Tables(export.tables, raw={"spaces.csv.gz": text.encode(encoding)}).zip(tmp_path / "x.zip"), tmp_path
    )
    assert isinstance(error, NoExport)
    assert "not in UTF-8" in str(error)


async def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    export = sample()
    export.raw["spaces.csv.gz"] = b"\xef\xbb\xbf" + export.parts()["spaces.csv.gz"]
    assert (await (await opened(export, tmp_path)).space("1")).key == "DOCS"


async def test_semicolons_of_a_spreadsheet_are_no_columns(tmp_path: Path) -> None:
    export = sample()
    export.raw["spaces.csv.gz"] = export.parts()["spaces.csv.gz"].replace(b",", b";")
    assert "saved it again" in str(await refused(export.zip(tmp_path / "x.zip"), tmp_path))


async def test_texts_packed_as_in_the_backup_of_a_site_are_declined(tmp_path: Path) -> None:
    export = sample()
    export.tables["bodycontent"][2][1] = "KLUv/QBYAAA="
    error = await refused(export.zip(tmp_path / "x.zip"), tmp_path)
    assert isinstance(error, ExportKindUnsupported)
    assert "one by one" in str(error)


async def test_a_table_twice_two_exports_and_no_rows_are_refused(tmp_path: Path) -> None:
    export = sample()
    export.raw["content.csv"] = b"contentid\n"
    assert "twice" in str(await refused(export.zip(tmp_path / "twice.zip"), tmp_path))
    sample().folder(tmp_path / "both" / "one")
    xml_sample("cloud").folder(tmp_path / "both" / "two")
    assert "one, two" in str(await refused(tmp_path / "both", tmp_path))
    empty = Tables({name: rows[:1] for name, rows in sample().tables.items()})
    assert "nothing in it" in str(await refused(empty.zip(tmp_path / "empty.zip"), tmp_path))


async def test_a_table_that_would_grow_without_measure_is_not_read_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.confluence.export.tables._SUSPICIOUS_SIZE", 1_000_000)
    export = sample()
    export.raw["content.csv.gz"] = gzip.compress(export.parts()["content.csv.gz"] + b"\n" * 5_000_000)
    assert "grow to more than" in str(await refused(export.folder(tmp_path / "x"), tmp_path))


async def test_a_quote_that_is_never_closed_does_not_take_all_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.confluence.export.tables._LONGEST", 200_000)
    export = sample()
    export.raw["bodycontent.csv.gz"] = export.parts()["bodycontent.csv.gz"] + b'146,"' + b"x" * 300_000
    assert "longer than any text" in str(await refused(export.folder(tmp_path / "x"), tmp_path))
