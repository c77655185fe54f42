"""One space, told as four generations of Confluence tell it, comes out the same."""

from datetime import date
from pathlib import Path

import pytest

from shared.confluence.export import ExportSource, open_export, take_in
from shared.confluence.model import Item, Permission, Restriction
from shared.confluence.source import NotInSource
from tests.exports.independent import live
from tests.unit.export.build import DIALECTS, Dialect, sample

ALICE, BOB = "8a00000000000000000000000000000a", "8a00000000000000000000000000000b"


def people_of(dialect: Dialect) -> tuple[str, str]:
    return ("alice", "BOB") if dialect == "old" else (ALICE, BOB)


def writers(dialect: Dialect) -> str:
    """A group's name: as its directory spells it, else as the first permission does."""
    return "Writers" if dialect in ("old", "mid") else "writers"


async def opened(dialect: Dialect, tmp_path: Path) -> ExportSource:
    location = sample(dialect).zip(tmp_path / "export.zip")
    return open_export(tmp_path / "store", await take_in(location, tmp_path / "store"))


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_only_what_is_live_is_listed(dialect: Dialect, tmp_path: Path) -> None:
    source = await opened(dialect, tmp_path)
    items = {item.id: item async for item in source.items("1")}
    assert items == {
        "10": Item("page", "10", 1, homepage=True),
        "11": Item("page", "11", 7, parent="10", depth=1, position=3, labels=1, restrictions=2, history=1),
        "20": Item("blogpost", "20", 1),
        "30": Item("comment", "30", 1, container="10"),
        "31": Item("comment", "31", 1, parent="30", container="10", depth=1),
        "40": Item("attachment", "40", 2, container="20", size=11),
    }
    for id in ("12", "13", "14"):
        with pytest.raises(NotInSource):
            await source.content(id)


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_page_is_whole(dialect: Dialect, tmp_path: Path) -> None:
    source = await opened(dialect, tmp_path)
    alice, bob = people_of(dialect)
    child = await source.content("11")
    assert (child.title, child.version, child.parent, child.space_id) == ("Child", 7, "10", "1")
    assert (child.creator, child.modifier, child.labels, child.format) == (bob, bob, ("howto",), "storage")
    assert "ri:user" in child.body
    assert set(child.restrictions) == {Restriction("read", person=alice), Restriction("read", group=writers(dialect))}


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_blog_post_keeps_the_day_of_the_source(dialect: Dialect, tmp_path: Path) -> None:
    source = await opened(dialect, tmp_path)
    post = await source.content("20")
    assert post.posting_day == date(2020, 1, 31)
    assert post.created_at is not None
    assert post.created_at.utcoffset() is not None
    assert await source.find_content("docs", "news", date(2020, 1, 31)) == "20"


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_the_bytes_of_the_current_version_are_read(dialect: Dialect, tmp_path: Path) -> None:
    source = await opened(dialect, tmp_path)
    async with source.open_attachment("40") as chunks:
        assert b"".join([chunk async for chunk in chunks]) == b"second plan"
    file = await source.attachment("40")
    assert (file.filename, file.media_type, file.size, file.version) == ("plan.txt", "text/plain", 11, 2)


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_people_and_their_groups(dialect: Dialect, tmp_path: Path) -> None:
    source = await opened(dialect, tmp_path)
    alice, bob = people_of(dialect)
    assert {person.id async for person in source.people()} == {alice, bob}
    assert {id async for id in source.related_people("1")} == {alice, bob}
    found = await source.person_by_name("ALICE")
    assert found is not None
    assert found.id == alice
    assert found.email == (None if dialect == "cloud" else "alice@example.org")
    assert found.account_id == ("557058:alice" if dialect == "cloud" else None)
    groups = {group.name: [id async for id in source.members(group.name)] async for group in source.groups()}
    if dialect in ("old", "mid"):
        assert found.directory == "Company directory"
        assert {name: set(ids) for name, ids in groups.items()} == {"Writers": {alice, bob}, "Editors": {alice, bob}}
        disabled = await source.person(bob)
        assert disabled is not None
        assert (disabled.active, disabled.display_name) == (False, "Bob B.")
    else:
        assert list(groups.values()) == [[]], "a group known only from a permission has no members"


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_permissions_of_the_space_name_their_subject(dialect: Dialect, tmp_path: Path) -> None:
    source = await opened(dialect, tmp_path)
    group = writers(dialect)
    assert [permission async for permission in source.permissions("1")] == [
        Permission("70", "VIEWSPACE", "group", group),
        Permission("71", "EDITSPACE", "person", people_of(dialect)[1]),
        Permission("72", "COMMENT", "anonymous", None),
    ]


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_the_space_and_the_source_say_who_they_are(dialect: Dialect, tmp_path: Path) -> None:
    source = await opened(dialect, tmp_path)
    space = await source.space_by_key("docs")
    assert space is not None
    assert (space.name, space.type, space.status, space.homepage_id) == ("Docs & more", "global", "current", "10")
    assert space.description == "All about it"
    info = await source.info()
    assert info.product == ("cloud" if dialect == "cloud" else "server")
    assert info.version == {"old": None, "mid": "5.9.14", "dc": "8.5.6", "cloud": "1000.0.0-abcdef"}[dialect]
    assert info.build == {"old": 3391, "mid": 6442, "dc": 9012, "cloud": 6452}[dialect]
    assert info.instance == "export.zip"
    notes = {note.code for note in await source.notes()}
    assert notes == (set() if dialect in ("dc", "cloud") else {"time_zone_unknown"})


async def test_times_are_in_the_time_zone_of_the_source(tmp_path: Path) -> None:
    source = await opened("dc", tmp_path)
    created = (await source.content("20")).created_at
    assert created is not None
    assert created.isoformat() == "2020-01-31T23:30:00+01:00"


async def test_unknown_ids_are_told_apart_from_trouble(tmp_path: Path) -> None:
    source = await opened("dc", tmp_path)
    assert await source.person("nobody") is None
    assert await source.person_by_name("nobody") is None
    assert await source.space_by_key("NONE") is None
    assert await source.find_content("DOCS", "No such title") is None
    for call in (source.space("9"), source.content("9"), source.comment("9"), source.attachment("9")):
        with pytest.raises(NotInSource):
            await call
    with pytest.raises(NotInSource):
        _ = [item async for item in source.items("9")]
    with pytest.raises(NotInSource):
        _ = [id async for id in source.members("none")]


async def test_a_source_can_be_closed_twice(tmp_path: Path) -> None:
    source = await opened("dc", tmp_path)
    await source.close()
    await source.close()


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_independent_count_used_to_judge_the_reader_sees_the_same(dialect: Dialect, tmp_path: Path) -> None:
    expected = {"page": {"10", "11"}, "blogpost": {"20"}, "comment": {"30", "31"}, "attachment": {"40"}}
    assert live(sample(dialect).zip(tmp_path / "x.zip", prefix="nested/")) == expected
    assert live(sample(dialect).folder(tmp_path / "x")) == expected
