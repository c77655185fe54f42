"""Malformed exports are survived, each oddity is counted, nothing live is lost."""

from pathlib import Path

from shared.confluence.export import ExportSource, open_export, take_in
from shared.confluence.model import Item, Restriction
from tests.unit.export.build import Export, Many, Raw, Ref, body, document, page, simple, thing


async def opened(export: Export, tmp_path: Path) -> ExportSource:
    location = export.folder(tmp_path / "export")
    return open_export(tmp_path / "store", await take_in(location, tmp_path / "store"))


async def listed(source: ExportSource, space: str = "1") -> dict[str, Item]:
    items = [item async for item in source.items(space)]
    assert len({item.id for item in items}) == len(items)
    return {item.id: item for item in items}


async def noted(source: ExportSource) -> dict[str, int]:
    return {note.code: note.count for note in await source.notes()}


async def test_pages_in_a_circle_are_all_listed_once(tmp_path: Path) -> None:
    source = await opened(
        simple(page("1", "3"), page("2", "1"), page("3", "2"), page("4", "3"), page("5", "5")), tmp_path
    )
    items = await listed(source)
    assert set(items) == {"1", "2", "3", "4", "5"}
    assert [(items[id].parent, items[id].depth) for id in "12345"] == [
        (None, 0),
        ("1", 1),
        ("2", 2),
        ("3", 3),
        (None, 0),
    ]
    assert items["1"].dangling
    assert items["5"].dangling
    assert (await noted(source))["parent_circle"] == 2


async def test_a_page_whose_parent_is_gone_becomes_a_root(tmp_path: Path) -> None:
    source = await opened(
        simple(
            thing("Space", "2", name="Other", key="OTHER"),
            page("10", "99"),
            page("11", "12"),
            page("12", contentStatus="deleted"),
            page("13", "14"),
            page("14", space="2"),
            page("15", "13"),
        ),
        tmp_path,
    )
    items = await listed(source)
    assert {id: (item.parent, item.depth, item.dangling) for id, item in items.items()} == {
        "10": (None, 0, True),
        "11": (None, 0, True),
        "13": (None, 0, True),
        "15": ("13", 1, False),
    }
    assert (await noted(source))["dangling_parent"] == 3


async def test_siblings_come_by_position_then_by_title(tmp_path: Path) -> None:
    source = await opened(
        simple(
            page("1", title="Zebra", position=1),
            page("2", title="apple"),
            page("3", title="Bear"),
            page("4", title="Aardvark", position=2),
        ),
        tmp_path,
    )
    assert list(await listed(source)) == ["1", "4", "2", "3"]


async def test_a_space_that_is_not_described_is_there_all_the_same(tmp_path: Path) -> None:
    export = Export(document(page("10", space="7")), "exportType=space\nspaceKey=LOST\n")
    source = await opened(export, tmp_path)
    space = await source.space_by_key("lost")
    assert space is not None
    assert set(await listed(source, space.id)) == {"10"}
    assert (await noted(source))["space_missing"] == 1


async def test_the_chain_of_what_a_comment_hangs_on_must_be_live(tmp_path: Path) -> None:
    on_page = {"containerContent": Ref("Page", "10"), "version": 1}
    source = await opened(
        simple(
            page("10"),
            page("11", contentStatus="deleted"),
            thing("Attachment", "40", title="a.txt", version=1, containerContent=Ref("Page", "10")),
            thing("Attachment", "41", title="b.txt", version=1, containerContent=Ref("Page", "11")),
            thing("Attachment", "42", title="c.txt", version=1, containerContent=Ref("SpaceDescription", "2")),
            thing("Attachment", "43", title="d.txt", version=1, containerContent=Ref("Page", "404")),
            thing("SpaceDescription", "2", space=Ref("Space", "1")),
            thing("Comment", "30", **on_page),
            thing("Comment", "31", **on_page, parent=Ref("Comment", "39")),
            thing("Comment", "32", parent=Ref("Comment", "30"), version=1),
            thing("Comment", "33", containerContent=Ref("Attachment", "40"), version=1),
            thing("Comment", "34", containerContent=Ref("Attachment", "41"), version=1),
            thing("Comment", "35", containerContent=Ref("ContentEntityObject", "10"), version=1),
            thing("Comment", "36", **on_page, originalVersion=Ref("Comment", "30")),
            thing("Comment", "37", **on_page, contentStatus="deleted"),
            thing("Comment", "38", containerContent=Ref("Page", "404"), version=1),
        ),
        tmp_path,
    )
    items = await listed(source)
    assert set(items) == {"10", "40", "30", "31", "32", "33", "35"}
    assert (items["31"].parent, items["31"].dangling) == (None, True)
    assert (items["32"].container, items["32"].parent, items["32"].depth) == ("10", "30", 1)
    assert items["33"].container == "40"
    notes = await noted(source)
    assert notes["attachment_elsewhere"] == 1
    assert notes["attachment_without_container"] == 1
    assert notes["comment_without_container"] == 1
    assert notes["dangling_reply"] == 1
    assert notes["file_missing"] == 1


async def test_what_only_a_collection_joins_is_joined(tmp_path: Path) -> None:
    source = await opened(
        simple(
            page(
                "10",
                bodyContents=Many("BodyContent", ("110",)),
                contentPermissionSets=Many("ContentPermissionSet", ("60",)),
            ),
            thing("BodyContent", "110", body="<p>text</p>"),
            thing("ContentPermissionSet", "60", type="Edit", contentPermissions=Many("ContentPermission", ("61",))),
            thing("ContentPermission", "61", type="Edit", groupName="writers"),
        ),
        tmp_path,
    )
    content = await source.content("10")
    assert content.body == "<p>text</p>"
    assert content.restrictions == (Restriction("update", group="writers"),)


async def test_a_restriction_whose_holder_is_lost_still_restricts(tmp_path: Path) -> None:
    source = await opened(
        simple(page("10"), thing("ContentPermissionSet", "60", type="View", owningContent=Ref("Page", "10"))), tmp_path
    )
    (restriction,) = (await source.content("10")).restrictions
    assert restriction.operation == "read"
    assert restriction.person is not None
    assert await source.person(restriction.person) is None
    assert (await noted(source))["restriction_without_holder"] == 1


async def test_unknown_classes_duplicates_and_things_without_id_are_counted(tmp_path: Path) -> None:
    source = await opened(
        simple(
            page("10", title="First"),
            page("10", title="Second"),
            thing("Page", None, title="No id"),
            thing("Hologram", "1", name="x"),
            thing("Notification", "2"),
            page("11", title=" "),
            page("12", title="FIRST"),
        ),
        tmp_path,
    )
    assert (await source.content("10")).title == "First"
    assert await source.find_content("DOCS", "first") == "10"
    notes = await noted(source)
    assert (notes["object_twice"], notes["object_without_id"], notes["class_unknown"]) == (1, 1, 1)
    assert (notes["title_missing"], notes["title_twice"]) == (1, 1)


async def test_forbidden_characters_are_taken_out_and_counted(tmp_path: Path) -> None:
    text = "<p>a\x02b\x0bc\ufffe&#28;d &amp;#28; <![CDATA[x &#28; y]]></p>"
    export = simple(page("10", title=Raw("One\x08 &#28;&#x1F;two&#10;")), body("110", "10", text))
    source = await opened(export, tmp_path)
    content = await source.content("10")
    assert content.title == "One two"
    # What a reference means in storage format is nobody's to change inside a code block.
    assert content.body == "<p>abcd &amp;#28; <![CDATA[x &#28; y]]></p>"
    assert (await noted(source))["characters_removed"] == 7


async def test_a_file_of_another_version_is_not_the_current_file(tmp_path: Path) -> None:
    source = await opened(
        simple(
            page("10"),
            thing("Attachment", "40", title="a.txt", version=2, containerContent=Ref("Page", "10")),
            thing("Attachment", "41", title="b.txt", containerContent=Ref("Page", "10")),
            files={"attachments/10/40/1": b"old", "attachments/10/41/3": b"latest", "attachments/odd.txt": b"?"},
        ),
        tmp_path,
    )
    items = await listed(source)
    assert (items["40"].has_file, items["41"].has_file, items["41"].version) == (False, True, 3)
    notes = await noted(source)
    assert (notes["file_missing"], notes["file_in_odd_place"]) == (1, 1)


async def test_one_account_in_two_directories_is_one_person_and_the_active_one_counts(tmp_path: Path) -> None:
    source = await opened(
        simple(
            thing("InternalUser", "1", name="Eve", active=Raw("false"), emailAddress="old@example.org"),
            thing("InternalUser", "2", name="eve", active=Raw("true"), emailAddress="new@example.org"),
        ),
        tmp_path,
    )
    people = [person async for person in source.people()]
    assert [(person.username, person.email, person.active) for person in people] == [("eve", "new@example.org", True)]


async def test_mentions_in_live_text_name_people_and_mentions_in_history_do_not(tmp_path: Path) -> None:
    def user(key: str, name: str) -> str:
        return thing("ConfluenceUserImpl", key, "key", name=name, lowerName=name, atlassianAccountId=f"557058:{name}")

    source = await opened(
        simple(
            *(user(key, key) for key in ("ann", "ben", "cat", "dan", "eve", "fay")),
            page("10"),
            page("11", originalVersion=Ref("Page", "10")),
            body(
                "110",
                "10",
                '<ri:user ri:userkey="ann"/><ri:user ri:username=\'BEN\' /><ri:user ri:account-id="557058:cat"/>',
            ),
            body("111", "11", '<ri:user ri:userkey="dan"/>'),
            thing("Comment", "30", version=1, containerContent=Ref("Page", "10")),
            body("130", "30", '<ri:user ri:userkey="eve"/><ri:user ri:userkey="nobody"/>', owner="Comment"),
        ),
        tmp_path,
    )
    assert [id async for id in source.related_people("1")] == ["ann", "ben", "cat", "eve"]
    assert (await noted(source))["mention_of_unknown_person"] == 1


async def test_an_export_of_3_4_has_users_groups_and_wiki_markup(tmp_path: Path) -> None:
    export = Export(
        document(
            thing("Space", "1", name="Docs", key="DOCS", creatorName="ann"),
            thing(
                "Page",
                "10",
                title="Home",
                space=Ref("Space", "1"),
                version=1,
                creatorName="ann",
                lastModifierName="gone",
            ),
            thing("BodyContent", "110", body="h1. Home {code}x{code} [~ben]", content=Ref("Page", "10")),
            thing(
                "DefaultHibernateUser", "1", name="ann", password="secret", email="ann@example.org", fullName="Ann A."
            ),
            thing(
                "DefaultHibernateUser", "2", name="ben", password="secret", email="ben@example.org", fullName="Ben B."
            ),
            thing(
                "DefaultHibernateGroup",
                "3",
                name="confluence-users",
                localMembers=Many("DefaultHibernateUser", ("1", "2")),
            ),
        ),
        "exportType=all\nbuildNumber=2037\n",
    )
    source = await opened(export, tmp_path)
    assert (await source.content("10")).format == "wiki"
    assert {person.id: person.display_name async for person in source.people()} == {
        "ann": "Ann A.",
        "ben": "Ben B.",
        "gone": None,
    }
    assert [id async for id in source.members("confluence-users")] == ["ann", "ben"]
    assert [id async for id in source.related_people("1")] == ["ann", "ben", "gone"]


async def test_content_that_names_no_space_is_where_its_parent_is(tmp_path: Path) -> None:
    source = await opened(
        simple(
            thing("Space", "2", name="Other", key="OTHER"),
            page("10", space="2"),
            thing("Page", "11", title="Child", version=1, parent=Ref("Page", "10")),
            thing("Page", "12", title="Grandchild", version=1, parent=Ref("Page", "11")),
            thing("Page", "13", title="Lost", version=1),
        ),
        tmp_path,
    )
    assert set(await listed(source, "2")) == {"10", "11", "12"}
    assert (await noted(source))["content_without_space"] == 1


async def test_numbers_beyond_all_bounds_count_as_not_told(tmp_path: Path) -> None:
    source = await opened(
        simple(
            page("10", position=Raw("99999999999999999999999")),
            page("11", position=Raw("-1")),
            page("12", position=Raw("2.0")),
            page("13", position=Raw("nan")),
        ),
        tmp_path,
    )
    items = await listed(source)
    assert [items[id].position for id in ("10", "11", "12", "13")] == [None, None, 2, None]


async def test_a_nested_group_is_flattened_over_a_circle_of_groups(tmp_path: Path) -> None:
    source = await opened(
        simple(
            *(thing("InternalUser", str(n), name=f"user{n}") for n in range(3)),
            *(thing("InternalGroup", f"1{n}", name=f"group{n}") for n in range(3)),
            *(
                thing(
                    "HibernateMembership",
                    f"2{n}",
                    parentGroup=Ref("InternalGroup", f"1{n}"),
                    userMember=Ref("InternalUser", str(n)),
                )
                for n in range(3)
            ),
            *(
                thing(
                    "HibernateMembership",
                    f"3{n}",
                    parentGroup=Ref("InternalGroup", f"1{n}"),
                    groupMember=Ref("InternalGroup", f"1{(n + 1) % 3}"),
                )
                for n in range(3)
            ),
        ),
        tmp_path,
    )
    for n in range(3):
        assert [id async for id in source.members(f"group{n}")] == ["user0", "user1", "user2"]


async def test_several_iterations_may_run_at_once(tmp_path: Path) -> None:
    source = await opened(simple(*(page(str(n)) for n in range(1, 1200))), tmp_path)
    iterations = [source.items("1"), source.items("1")]
    for _ in range(1199):
        first, second = [await anext(iteration) for iteration in iterations]
        assert first == second


async def test_a_chain_of_thousands_of_pages_is_followed_to_its_end(tmp_path: Path) -> None:
    source = await opened(simple(*(page(str(n), str(n - 1) if n > 1 else None) for n in range(1, 4001))), tmp_path)
    assert max([item.depth async for item in source.items("1")]) == 3999


async def test_archived_pages_of_a_space_that_is_not_are_counted_with_what_stays_behind(tmp_path: Path) -> None:
    source = await opened(
        simple(
            page("10"), page("11", "10", contentStatus="archived"), page("12", "11"), page("13", contentStatus="draft")
        ),
        tmp_path,
    )
    assert (await listed(source)).keys() == {"10", "12"}
    assert await source.left_behind("1") == {"archived": 1, "draft": 1}


async def test_a_content_property_keeps_every_character_of_its_value(tmp_path: Path) -> None:
    value = '{"u": "https://example.com/?a=1&b=<2>", "said": "&amp; is no &"}'
    stored = thing(
        "CustomContentEntityObject",
        "50",
        title="links",
        pluginModuleKey="com.atlassian.confluence.plugins.confluence-content-property-storage:content-property",
        containerContent=Ref("Page", "10"),
        contentStatus="current",
    )
    source = await opened(simple(page("10"), stored, body("51", "50", value, 1, "CustomContentEntityObject")), tmp_path)
    assert await source.properties("10") == [
        ("links", {"u": "https://example.com/?a=1&b=<2>", "said": "&amp; is no &"})
    ]
