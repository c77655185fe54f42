"""What is wrong with an export is said in words, and nothing half-taken stays behind."""

import zipfile
from pathlib import Path

import pytest

from shared.confluence.export import (
    ExportDamaged,
    ExportNotTaken,
    ExportUnreadable,
    NoExport,
    detect,
    is_export,
    open_export,
    take_in,
)
from shared.confluence.export.archive import reading
from shared.confluence.source import SourceUnsupported
from tests.unit.export.build import Export, body, document, page, sample, simple, thing


async def refused(location: Path, tmp_path: Path) -> SourceUnsupported:
    store = tmp_path / "store"
    with pytest.raises(SourceUnsupported) as caught:
        await take_in(location, store)
    left = [path.name for path in store.iterdir() if path.name != ".lock"] if store.exists() else []
    assert left == [], "nothing half-taken is left"
    return caught.value


async def test_a_path_with_nothing_there(tmp_path: Path) -> None:
    assert "nothing at" in str(await refused(tmp_path / "none.zip", tmp_path))


async def test_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "export.zip").write_bytes(b"")
    assert "empty (0 bytes)" in str(await refused(tmp_path / "export.zip", tmp_path))


async def test_a_file_that_is_no_zip(tmp_path: Path) -> None:
    (tmp_path / "letter.pdf").write_bytes(b"%PDF-1.7 and so on")
    error = await refused(tmp_path / "letter.pdf", tmp_path)
    assert isinstance(error, NoExport)
    assert "not a zip" in str(error)


async def test_a_zip_without_entities(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        archive.writestr("index.html", "<html/>")
    error = await refused(tmp_path / "photos.zip", tmp_path)
    assert "entities.xml" in str(error)
    assert "HTML and PDF" in str(error)


async def test_a_folder_without_entities(tmp_path: Path) -> None:
    (tmp_path / "folder" / "deep" / "deeper").mkdir(parents=True)
    (tmp_path / "folder" / "deep" / "deeper" / "entities.xml").write_text("too deep")
    assert "entities.xml" in str(await refused(tmp_path / "folder", tmp_path))


async def test_a_folder_with_two_exports(tmp_path: Path) -> None:
    for name in ("one", "two"):
        simple().folder(tmp_path / "both" / name)
    assert "one, two" in str(await refused(tmp_path / "both", tmp_path))


async def test_entities_alone(tmp_path: Path) -> None:
    simple().folder(tmp_path / "export")
    assert "folder that holds it" in str(await refused(tmp_path / "export" / "entities.xml", tmp_path))


async def test_a_zip_cut_off(tmp_path: Path) -> None:
    location = sample("mid").zip(tmp_path / "export.zip")
    location.write_bytes(location.read_bytes()[:-100])
    error = await refused(location, tmp_path)
    assert isinstance(error, ExportDamaged)
    assert "incomplete" in str(error)


async def test_a_zip_with_a_changed_byte(tmp_path: Path) -> None:
    location = sample("mid").zip(tmp_path / "export.zip")
    content = bytearray(location.read_bytes())
    content[200] ^= 0xFF
    location.write_bytes(content)
    assert isinstance(await refused(location, tmp_path), ExportDamaged)


async def test_an_encrypted_zip(tmp_path: Path) -> None:
    location = sample("mid").zip(tmp_path / "export.zip")
    content = location.read_bytes()
    # The bit that says "encrypted", in the local header and in the directory.
    content = content.replace(b"PK\x03\x04\x14\x00\x00\x00", b"PK\x03\x04\x14\x00\x01\x00")
    content = content.replace(b"PK\x01\x02\x14\x03\x14\x00\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01\x00")
    location.write_bytes(content)
    assert "password" in str(await refused(location, tmp_path))


async def test_xml_broken_in_the_middle_names_its_line(tmp_path: Path) -> None:
    text = document(thing("Space", "1", name="Docs", key="DOCS"), page("10"), "<object class='Page'><id>11</object>")
    line = text[: text.index("<id>11</object>")].count("\n") + 1
    error = await refused(Export(text).zip(tmp_path / "export.zip"), tmp_path)
    assert isinstance(error, ExportDamaged)
    assert f"line {line}" in str(error)
    assert "Nothing of it was taken in" in str(error)


async def test_xml_cut_off_at_any_place(tmp_path: Path) -> None:
    whole = sample("dc").entities
    assert isinstance(whole, str)
    for part in range(1, 20):
        cut = Export(whole[: len(whole) * part // 20])
        location = cut.folder(tmp_path / f"cut{part}")
        assert isinstance(await refused(location, tmp_path), ExportDamaged)


async def test_xml_that_is_something_else(tmp_path: Path) -> None:
    error = await refused(
        Export("<?xml version='1.0'?><!-- a --><html><body/></html>").folder(tmp_path / "x"), tmp_path
    )
    assert "<hibernate-generic>" in str(error)


async def test_an_export_with_nothing_in_it(tmp_path: Path) -> None:
    assert "nothing in it" in str(await refused(Export(document()).folder(tmp_path / "x"), tmp_path))


async def test_an_empty_entities_file(tmp_path: Path) -> None:
    assert isinstance(await refused(Export("").folder(tmp_path / "x"), tmp_path), ExportDamaged)
    assert isinstance(await refused(Export("").zip(tmp_path / "x.zip"), tmp_path), ExportDamaged)


async def test_another_encoding(tmp_path: Path) -> None:
    assert "UTF-8" in str(await refused(Export(document(page("1")).encode("utf-16")).folder(tmp_path / "x"), tmp_path))


def test_detection_looks_only_from_outside(tmp_path: Path) -> None:
    assert detect(simple().zip(tmp_path / "a.zip")) == "xml"
    assert detect(simple().folder(tmp_path / "a")) == "xml"
    assert not is_export(tmp_path / "none")
    with pytest.raises(SourceUnsupported):
        detect(tmp_path / "none")


def test_what_the_operating_system_refuses_is_no_damage() -> None:
    with pytest.raises(ExportUnreadable, match=r"Permission denied.*may read it"), reading("a.zip"):
        raise PermissionError(13, "Permission denied")


async def test_a_document_type_is_refused_before_anything_is_expanded(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("planted")
    text = (
        "<?xml version='1.0'?>\n<!-- first -->\n"
        f"<!DOCTYPE x [<!ENTITY a SYSTEM 'file://{tmp_path}/secret.txt'><!ENTITY b 'bb'><!ENTITY c '&b;&b;'>]>\n"
        "<hibernate-generic><object class='Space'><id>1</id><property name='name' x='&c;'>&a;</property></object>"
        "</hibernate-generic>"
    )
    error = await refused(Export(text).folder(tmp_path / "x"), tmp_path)
    assert "document type" in str(error)
    assert "planted" not in str(error)


async def test_entities_that_nobody_declared_are_an_error_not_a_guess(tmp_path: Path) -> None:
    text = "<hibernate-generic><object class='Space'><id>1</id><property name='name'>&a;</property></object></hibernate-generic>"
    assert isinstance(await refused(Export(text).folder(tmp_path / "x"), tmp_path), ExportDamaged)


async def test_names_in_a_zip_never_become_paths(tmp_path: Path) -> None:
    export = simple(
        page("10"),
        thing("Attachment", "40", title="../../up.txt", version=1, containerContent=None),
        files={"../../outside.txt": b"x", "attachments/../../../outside.txt": b"x", "/etc/outside.txt": b"x"},
    )
    location = export.zip(tmp_path / "in" / "export.zip") if (tmp_path / "in").mkdir() is None else tmp_path
    name = await take_in(location, tmp_path / "in" / "store")
    assert not list(tmp_path.rglob("outside.txt"))
    assert sorted(path.name for path in (tmp_path / "in" / "store" / name).iterdir()) == ["archive.zip", "index.sqlite"]


async def test_a_zip_that_would_grow_without_measure_is_not_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.confluence.export.archive._SUSPICIOUS_SIZE", 1_000_000)
    bomb = Export(document(page("10"), " " * 5_000_000)).zip(tmp_path / "bomb.zip")
    assert "grows from" in str(await refused(bomb, tmp_path))


async def test_a_link_out_of_a_folder_is_not_followed(tmp_path: Path) -> None:
    export = simple(page("10"), thing("Attachment", "40", title="a.txt", version=1, containerContent=None))
    folder = export.folder(tmp_path / "x")
    (tmp_path / "secret.txt").write_text("planted")
    (folder / "attachments" / "10" / "40").mkdir(parents=True)
    (folder / "attachments" / "10" / "40" / "1").symlink_to(tmp_path / "secret.txt")
    source = open_export(tmp_path / "store", await take_in(folder, tmp_path / "store"))
    assert {note.code: note.count for note in await source.notes()}["file_unusable"] == 1
    assert not any(path.is_symlink() for path in (tmp_path / "store").rglob("*"))


def test_what_was_never_taken_in_cannot_be_opened(tmp_path: Path) -> None:
    for name in ("0" * 64, "../somewhere"):
        with pytest.raises(ExportNotTaken, match="Take it in again"):
            open_export(tmp_path, name)


async def test_a_plain_body_is_escaped_and_wiki_markup_is_told(tmp_path: Path) -> None:
    export = simple(
        page("10"), body("110", "10", "h1. Title\n[~bob]", 0), page("11"), body("111", "11", "1 < 2 & 3", 1)
    )
    source = open_export(tmp_path / "s", await take_in(export.folder(tmp_path / "x"), tmp_path / "s"))
    wiki, plain = await source.content("10"), await source.content("11")
    assert (wiki.format, wiki.body) == ("wiki", "h1. Title\n[~bob]")
    assert (plain.format, plain.body) == ("storage", "1 &lt; 2 &amp; 3")
