"""The reader against real exports, each an odd one in its own way."""

from datetime import date
from pathlib import Path

import pytest

from shared.confluence.export import ExportSource, open_export, take_in
from tests.exports.independent import KINDS, exports, live, reference

pytestmark = pytest.mark.skipif(reference() is None, reason="no reference material beside the checkout")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


async def opened(name: str, store: Path) -> ExportSource:
    folder = reference()
    assert folder is not None
    return open_export(store, await take_in(folder / "exports" / name, store))


@pytest.mark.parametrize("export", exports(), ids=lambda path: path.name)
async def test_every_export_is_read_to_exactly_what_an_independent_count_calls_live(export: Path, store: Path) -> None:
    source = open_export(store, await take_in(export, store))
    found: dict[str, list[str]] = {kind: [] for kind in KINDS}
    async for space in source.spaces():
        pages = set()
        async for item in source.items(space.id):
            if item.has_file:
                found[item.kind].append(item.id)
            if item.kind == "page":
                pages.add(item.id)
                assert item.parent is None or item.parent in pages, "a parent comes before its children"
                assert (item.depth == 0) == (item.parent is None)
    expected = live(export)
    assert {kind: set(ids) for kind, ids in found.items()} == expected
    assert all(len(ids) == len(set(ids)) for ids in found.values()), "nothing is listed twice"
    await source.close()


@pytest.mark.parametrize("export", exports(), ids=lambda path: path.name)
async def test_everything_listed_can_be_read_whole(export: Path, store: Path) -> None:
    source = open_export(store, await take_in(export, store))
    assert (await source.info()).instance == export.name
    async for space in source.spaces():
        assert await source.space_by_key(space.key.upper()) == space
        async for item in source.items(space.id):
            if item.kind == "attachment":
                file = await source.attachment(item.id)
                assert file.filename
                if item.has_file:
                    async with source.open_attachment(item.id) as chunks:
                        assert sum([len(chunk) async for chunk in chunks]) == item.size
            elif item.kind == "comment":
                assert (await source.comment(item.id)).container == item.container
            else:
                content = await source.content(item.id)
                assert len(content.labels) == item.labels
                assert len(content.restrictions) == item.restrictions
        known = {person.id async for person in source.people()}
        assert {id async for id in source.related_people(space.id)} <= known
    async for group in source.groups():
        async for member in source.members(group.name):
            assert await source.person(member) is not None
    await source.close()


async def test_a_site_export_of_4_3_has_its_people_groups_and_spaces(store: Path) -> None:
    source = await opened("4.3.2.xml.zip", store)
    assert [space.key async for space in source.spaces()] == ["PRIV", "SPACE1", "SPACE2"]
    people = {person.username: person async for person in source.people()}
    assert set(people) == {"admin", "user1", "user2"}
    assert all(person.email and person.active and person.id == name for name, person in people.items())
    assert people["admin"].directory == "Confluence Internal Directory"
    groups = {group.name: [id async for id in source.members(group.name)] async for group in source.groups()}
    assert groups["confluence-users"] == ["admin", "user1", "user2"]
    assert groups["confluence-administrators"] == ["admin"]


async def test_a_data_center_space_export_without_files_lists_its_attachments_as_missing(store: Path) -> None:
    source = await opened("confluence8.5.6", store)
    items = [item async for item in source.items("131074")]
    files = [item for item in items if item.kind == "attachment"]
    assert len(files) == 11
    assert not any(item.has_file for item in files)
    on_a_file = [item for item in items if item.kind == "comment" and item.container in {file.id for file in files}]
    assert len(on_a_file) == 1, "a comment on an attachment is listed"
    notes = {note.code: note.count for note in await source.notes()}
    assert notes["file_missing"] == 11


async def test_inline_comments_keep_selection_marker_and_resolution(store: Path) -> None:
    source = await opened("inlinecomments", store)
    comment = await source.comment("918257668")
    assert (comment.location, comment.resolved, comment.selection) == ("inline", True, "Line 7")
    assert comment.marker is not None
    reply = await source.comment("918355969")
    assert (reply.parent, reply.location, reply.marker) == ("918257668", "inline", None)
    footer = await source.comment("918519813")
    assert (footer.location, footer.resolved) == ("footer", False)


async def test_a_blog_post_is_found_by_its_title_and_day(store: Path) -> None:
    source = await opened("blogs", store)
    id = await source.find_content("spacea", "BLOG POST", date(2023, 9, 27))
    assert id is not None
    post = await source.content(id)
    assert (post.kind, post.posting_day) == ("blogpost", date(2023, 9, 27))
    assert await source.find_content("spacea", "blog post", date(2023, 9, 28)) is None
    assert await source.find_content("spacea", "blog post") is None, "without a day it is pages that are looked for"


async def test_inner_cdata_is_put_back(store: Path) -> None:
    source = await opened("fixcdata", store)
    assert (await source.content("10")).body == "wrong <![CDATA[cdata]]>"


async def test_an_attachment_uploaded_again_under_its_name_stays_two_files(store: Path) -> None:
    source = await opened("attachhist", store)
    space = await source.space_by_key("attachhist")
    assert space is not None
    ids = {item.id async for item in source.items(space.id) if item.kind == "attachment"}
    assert ids == {"948043783", "948830209"}
    assert (await source.attachment("948830209")).version == 3
    assert (await source.info()).product == "cloud"


async def test_view_restrictions_are_read_with_their_holders(store: Path) -> None:
    source = await opened("viewpropag", store)
    restrictions = (await source.content("678724433")).restrictions
    assert {entry.operation for entry in restrictions} == {"read", "update"}
    assert all((entry.person is None) != (entry.group is None) for entry in restrictions)


async def test_an_archived_space_is_listed_as_such(store: Path) -> None:
    source = await opened("archived", store)
    assert [(space.key, space.status) async for space in source.spaces()] == [
        ("ArchivedSpace", "archived"),
        ("TestSpace", "current"),
    ]


async def test_mentions_by_name_and_by_key_lead_to_the_same_person(store: Path) -> None:
    source = await opened("users", store)
    assert {id async for id in source.related_people("100")} == {"ff80808156e241950156e468e9510003", "C.ra ppy/User. /"}
    person = await source.person_by_name("USERNAME")
    assert person is not None
    assert (person.id, person.display_name, person.email) == (
        "ff80808156e241950156e468e9510003",
        "User Name",
        "user@example.org",
    )


async def test_a_personal_space_is_known_by_its_type(store: Path) -> None:
    source = await opened("misc.xml.zip", store)
    (space,) = [space async for space in source.spaces()]
    assert (space.key, space.type, space.description) == ("~clemens", "personal", "space description")
