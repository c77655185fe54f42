"""The sample content holds what a migration stumbles over, the same from the same seed."""

import pytest

from sandbox.sample import PLANTED_SPACE_KEY, SAMPLE_VERSIONS, generate, sample
from sandbox.sample.model import Instance, tiny


def whole(held: Instance) -> list[object]:
    return [(repr(c), held.body(c) if c.kind != "attachment" else held.file(c)) for c in held.contents.values()] + [
        repr(held.users),
        repr(held.groups),
        repr(held.spaces),
    ]


def test_the_same_seed_gives_the_same_content_byte_for_byte() -> None:
    assert whole(sample(7, "north")) == whole(sample(7, "north"))
    assert whole(sample(7, "north")) != whole(sample(8, "north"))


def test_the_two_instances_hold_about_120_pages_and_one_planted_key() -> None:
    north, south = sample(7, "north"), sample(7, "south")
    pages = [c for i in (north, south) for c in i.contents.values() if c.kind == "page" and i.live(c)]
    assert 110 <= len(pages) <= 130
    assert PLANTED_SPACE_KEY in north.spaces
    assert PLANTED_SPACE_KEY not in south.spaces
    assert set(SAMPLE_VERSIONS) == {"north", "south"}


@pytest.mark.parametrize("name", ["north", "south"])
def test_every_address_is_of_a_domain_reserved_for_examples_and_trouble_is_planted(name: str) -> None:
    held = sample(7, "north" if name == "north" else "south")
    addresses = [u.email for u in held.users.values() if u.email]
    assert all(a.lower().split("@")[-1].split(")")[-1].startswith("example.") for a in addresses if "@" in a)
    lowered = [a.lower() for a in addresses]
    assert len(set(lowered)) < len(lowered), "two people with one address"
    assert any(not u.email for u in held.users.values()), "someone without an address"
    assert any(not u.active for u in held.users.values()), "someone disabled"
    assert any(g.groups for g in held.groups.values()), "a group in a group"
    assert "site-admins" in held.groups
    text = "".join(held.body(c) for c in held.contents.values() if c.kind == "page")
    for part in ("ri:userkey=", "ri:username=", "ri:space-key=", "/x/", "ac:inline-comment-marker", "ri:attachment"):
        assert part in text
    for macro in ("toc", "children", "info", "code", "jira"):
        assert f'ac:name="{macro}"' in text
    kinds = {c.kind for c in held.contents.values()}
    assert kinds == {"page", "blogpost", "comment", "attachment"}
    assert any(c.restrictions for c in held.contents.values())
    assert any(c.kind == "comment" and c.parent for c in held.contents.values())
    assert any(c.status == "trashed" for c in held.contents.values())


def test_titles_are_unique_in_their_space_and_files_have_the_size_they_say() -> None:
    for held in (sample(7, "north"), sample(7, "south"), generate(5, spaces=5, pages=900, attachments=30)):
        titles = [(c.space, c.title.lower()) for c in held.contents.values() if c.kind == "page" and held.live(c)]
        assert len(titles) == len(set(titles))
        for c in held.contents.values():
            assert len(c.title) <= 255
            if c.kind == "attachment":
                assert len(held.file(c)) == c.size


def test_tiny_links_are_made_as_confluence_makes_them() -> None:
    assert tiny(137986520) == "2IE5C"
