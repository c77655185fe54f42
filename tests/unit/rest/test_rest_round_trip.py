"""What the reader gives is what the instance holds, for every version, and nothing is written."""

import hashlib
import re
from collections import Counter

import pytest

from sandbox.sample.model import Content as Held
from sandbox.sample.model import Instance
from shared.confluence.model import Item
from shared.confluence.rest import RestSource
from shared.confluence.source import FileMissing
from tests.unit.sandbox_server.serving import instance, serving

VERSIONS = ("5.10.8", "6.13.2", "7.4.1", "7.19.0", "8.3.2", "8.5.6", "9.0.1", "9.2.1", "10.0.3")
#: For the longest test: one version of each kind of answer.
WHOLE = [
    (version, sample) for version in ("5.10.8", "7.19.0", "8.5.6", "9.2.1", "10.0.3") for sample in ("north", "south")
]
CASES = [(version, sample) for version in VERSIONS for sample in ("north", "south")]


def live(held: Instance, space: str) -> dict[str, Held]:
    return {str(c.id): c for c in held.contents.values() if c.space == space and held.live(c)}


def expected_item(held: Instance, c: Held, homepage: int | None, *, watched: bool) -> Item:
    above = held.ancestors(c)
    return Item(
        kind=c.kind,
        id=str(c.id),
        version=c.version,
        parent=str(c.parent) if c.parent else None,
        container=str(c.container) if c.container else None,
        depth=len(above),
        position=c.position,
        size=c.size if c.kind == "attachment" else None,
        labels=sum(1 for prefix, _ in c.labels if prefix == "global"),
        restrictions=len(c.restrictions),
        properties=len(c.properties),
        watchers=len(c.watchers) if watched else 0,
        history=c.version - 1 if c.kind in {"page", "blogpost"} else 0,
        homepage=c.id == homepage,
        resolved=c.inline is not None and c.inline.status == "resolved",
    )


@pytest.mark.parametrize(("version", "sample"), CASES)
async def test_the_inventory_holds_every_live_entity_once_as_the_instance_has_it(version: str, sample: str) -> None:
    app = instance(version, sample)
    held: Instance = app.state.instance
    watched = version.startswith("10.")  # before, nothing tells who watches
    async with serving(app) as url:
        source = reader(url, version)
        spaces = [s async for s in source.spaces()]
        assert [s.key for s in spaces] == sorted(held.spaces)
        for space in spaces:
            model = held.spaces[space.key]
            assert (space.id, space.name, space.type, space.status) == (
                str(model.id),
                model.name,
                model.type,
                model.status,
            )
            assert (space.homepage_id, space.description) == (str(model.homepage), model.description)
            items = [i async for i in source.items(space.id)]
            assert Counter(i.id for i in items).most_common(1)[0][1] == 1
            wanted = {
                id: expected_item(held, c, model.homepage, watched=watched) for id, c in live(held, space.key).items()
            }
            assert {i.id: i for i in items} == wanted
        await source.close()
    assert not [e for e in app.state.journal if e["write"]]


@pytest.mark.parametrize(("version", "sample"), WHOLE)
async def test_every_entity_reads_back_whole(version: str, sample: str) -> None:
    app = instance(version, sample)
    held: Instance = app.state.instance
    async with serving(app) as url:
        source = reader(url, version)
        for model in held.spaces.values():
            for id, c in live(held, model.key).items():
                if c.kind == "comment":
                    comment = await source.comment(id)
                    top = c
                    while top.parent:
                        top = held.contents[top.parent]
                    assert (comment.container, comment.parent) == (
                        str(c.container),
                        str(c.parent) if c.parent else None,
                    )
                    assert (comment.body, comment.creator, comment.created_at) == (
                        held.body(c, url),
                        c.creator,
                        c.created,
                    )
                    assert comment.location == ("inline" if top.inline else "footer")
                    if c.inline:
                        assert (comment.marker, comment.selection) == (c.inline.marker, c.inline.selection)
                        assert comment.resolved == (c.inline.status == "resolved")
                elif c.kind == "attachment":
                    file = await source.attachment(id)
                    assert (file.filename, file.media_type, file.size) == (c.title, c.media_type, c.size)
                    assert (file.container, file.version, file.comment) == (
                        str(c.container),
                        c.version,
                        c.comment or None,
                    )
                    if c.missing_file:
                        with pytest.raises(FileMissing):
                            async with source.open_attachment(id):
                                pass
                    else:
                        digest = hashlib.sha256()
                        async with source.open_attachment(id) as pieces:
                            async for piece in pieces:
                                assert len(piece) <= 1 << 20
                                digest.update(piece)
                        assert digest.digest() == hashlib.sha256(held.file(c)).digest()
                else:
                    content = await source.content(id)
                    assert (content.kind, content.space_id, content.title) == (c.kind, str(model.id), c.title)
                    assert (content.body, content.format, content.version) == (held.body(c, url), "storage", c.version)
                    assert (content.creator, content.modifier) == (c.creator, c.modifier)
                    assert (content.created_at, content.modified_at) == (c.created, c.modified)
                    assert content.parent == (str(c.parent) if c.parent else None)
                    assert content.labels == tuple(n for p, n in c.labels if p == "global")
                    want = {(r.operation, r.user, r.group) for r in c.restrictions}
                    assert {(r.operation, r.person, r.group) for r in content.restrictions} == want
                    day = c.created.astimezone(held.timezone).date() if c.kind == "blogpost" else None
                    assert content.posting_day == day
                    assert await source.find_content(model.key.lower(), c.title, day) == id
        await source.close()
    assert not [e for e in app.state.journal if e["write"]]


@pytest.mark.parametrize(("version", "sample"), CASES)
async def test_people_groups_permissions_and_mentions_are_those_of_the_instance(version: str, sample: str) -> None:
    app = instance(version, sample)
    held: Instance = app.state.instance
    number = tuple(int(x) for x in version.split(".")[:2])
    async with serving(app) as url:
        source = reader(url, version)
        people = {p.id: p async for p in source.people()}
        assert set(people) == set(held.users)
        for key, user in held.users.items():
            person = people[key]
            active = user.active if number >= (7, 0) else None  # no call of the older ones tells
            assert (person.username, person.display_name, person.active) == (user.username, user.display_name, active)
            assert person.email == ((user.email or None) if number < (9, 0) else None)
            assert await source.person(key) == person
            assert await source.person_by_name(user.username.upper()) == person
        assert await source.person("8a80" + "0" * 28) is None
        assert await source.person_by_name("nobody at all") is None
        assert {g.name async for g in source.groups()} == set(held.groups)
        for name, group in held.groups.items():
            ids = [m async for m in source.members(name)]
            assert len(ids) == len(set(ids))
            assert set(ids) == (held.members(name) if number >= (10, 0) else set(group.users))
        for space in held.spaces.values():
            got = Counter([(p.operation, p.subject_kind, p.subject) async for p in source.permissions(str(space.id))])
            want = Counter(
                (p.type, "group" if p.group else "person" if p.user else "anonymous", p.group or p.user)
                for p in space.permissions
            )
            assert got == (want if number < (9, 0) or number >= (9, 1) else Counter())
            named = [p async for p in source.related_people(str(space.id))]
            assert len(named) == len(set(named))
            assert set(named) == named_in(held, space.key, permissions=bool(got))
        codes = {n.code for n in await source.notes()}
        assert ("emails_not_readable" in codes) == (number >= (9, 0))
        assert ("permissions_not_readable" in codes) == ((9, 0) <= number < (9, 1))
        assert ("nested_groups_not_readable" in codes) == (number < (10, 0))
        await source.close()
    assert not [e for e in app.state.journal if e["write"]]


def named_in(held: Instance, space: str, *, permissions: bool) -> set[str]:
    """Counted here in another way than the reader does."""
    names: set[str] = set()
    for c in live(held, space).values():
        names |= {c.creator, c.modifier} | {r.user for r in c.restrictions if r.user}
        text = re.sub(r"(?s)<!\[CDATA\[.*?]]>", "", held.body(c)) if c.kind != "attachment" else ""
        names |= set(re.findall(r'ri:userkey="([0-9a-f]{32})"', text))
        for name in re.findall(r'ri:username="([^"]+)"', text):
            user = held.user_by_name(name)
            assert user
            names.add(user.key)
    if permissions:
        names |= {p.user for p in held.spaces[space].permissions if p.user}
    return names


def reader(url: str, version: str) -> RestSource:
    """Tokens exist from 7.9 on."""
    if tuple(int(x) for x in version.split(".")[:2]) >= (7, 9):
        return RestSource(url, token="sandbox-pat", username=None, password=None)
    return RestSource(url, token=None, username="admin", password="admin")
