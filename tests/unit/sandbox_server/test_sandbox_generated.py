"""Generated content is a function of seed and id: the same twice, whole however it is looked at, and as odd as life."""

import hashlib
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any
from unicodedata import bidirectional

import httpx
import httpx_aiohttp
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.cloud import storage
from sandbox.sample import Generated, generate
from sandbox.sample.model import Kind
from tests.unit.sandbox_server.serving import instance, serving

KINDS: tuple[Kind, ...] = ("page", "blogpost", "attachment", "comment")
SIZES = st.fixed_dictionaries(
    {
        "spaces": st.integers(1, 9),
        "pages": st.integers(1, 220),
        "users": st.integers(1, 40),
        "attachments": st.integers(0, 90),
        "comments": st.integers(0, 90),
    }
)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**31), SIZES)
def test_every_way_to_look_at_an_instance_shows_the_same_things(seed: int, size: dict[str, Any]) -> None:
    held = generate(seed, **size)
    rows = {c.id: c for c in held.contents.values()}
    assert list(rows) == sorted(rows)
    assert len(rows) == len(held.contents)
    counts = Counter(c.kind for c in rows.values())
    assert (counts["attachment"], counts["comment"]) == (size["attachments"], size["comments"])
    live = [c for c in rows.values() if c.kind == "page" and c.status == "current"]
    assert len(live) == max(size["pages"], size["spaces"])
    assert len({(c.space, c.title.lower()) for c in live}) == len(live)
    for kind in KINDS:
        listed = [c.id for c in held.listed(kind)]
        assert listed == [id for id, c in rows.items() if c.kind == kind]
        for after in listed[::13]:
            assert [c.id for c in held.listed(kind, None, after)] == [id for id in listed if id > after]
        for key in held.spaces:
            own = list(held.listed(kind, key))
            assert [c.id for c in own] == [id for id in listed if rows[id].space == key]
            current = [c.id for c in own if c.status == "current"]
            assert [c.id for c in held.current(kind, key, 2)] == current[2:]
    children: dict[int, int] = {}
    for c in rows.values():
        assert 0 < len(c.title) <= 255
        assert c.modified >= c.created
        assert [r.number for r in c.revisions] == list(range(1, c.version + 1))
        for below in (*held.children(c.id, "page"), *held.children(c.id, "comment")):
            assert below.id not in children
            children[below.id] = c.id
        hanging = [x.id for k in ("attachment", "comment") for x in held.hanging(c.id, k)]
        assert sorted(hanging) == [id for id, x in rows.items() if x.container == c.id]
        if c.kind in {"page", "blogpost"}:
            assert c.id in {found.id for found in held.titled(c.kind, c.space, c.title.lower())}
            names = [x.title for x in held.hanging(c.id, "attachment")]
            assert len(names) == len(set(names))
    for c in rows.values():
        if c.status == "current" and c.parent is not None:
            assert children[c.id] == c.parent
            assert rows[c.parent].space == c.space
            if c.kind == "comment":
                assert (rows[c.parent].container, rows[c.parent].kind) == (c.container, "comment")


def digest(held: Generated) -> str:
    """Of everything that the instance holds, bodies and files too."""
    found = hashlib.sha256()
    for part in (held.users, held.groups, held.spaces):
        found.update(repr(part).encode())
    for c in held.contents.values():
        found.update(repr(c).encode())
        found.update(held.file(c) if c.kind == "attachment" else held.body(c).encode())
    return found.hexdigest()


def test_the_same_seed_gives_the_same_instance_byte_for_byte_and_another_seed_another() -> None:
    size: dict[str, Any] = {"spaces": 6, "pages": 150, "users": 30, "attachments": 40, "comments": 60}
    assert digest(generate(7, **size)) == digest(generate(7, **size))
    assert digest(generate(7, **size)) != digest(generate(8, **size))


def test_rows_do_not_depend_on_the_order_in_which_they_are_asked_for() -> None:
    forwards, backwards = (generate(7, spaces=3, pages=90, users=9, attachments=50, comments=70) for _ in range(2))
    ids = list(forwards.contents)
    want = {
        id: (repr(forwards.contents[id]), forwards.body(forwards.contents[id]))
        for id in ids
        if forwards.contents[id].kind != "attachment"
    }
    got = {
        id: (repr(backwards.contents[id]), backwards.body(backwards.contents[id])) for id in reversed(ids) if id in want
    }
    assert got == want


def test_a_million_pages_are_there_at_once_and_only_what_was_asked_for_is_in_memory() -> None:
    held = generate(7, spaces=2000, pages=1_000_000, users=5000, attachments=1_000_000, comments=500_000)
    assert len(held.contents) > 2_500_000
    largest = next(key for key in held.spaces if any(held.current("page", key, 50_000)))
    far = next(held.current("page", largest, 50_000))
    assert held.contents[far.id] == far
    assert held.ancestors(far)[0].id == held.spaces[largest].homepage
    assert len(held._cache) <= 4096


def test_generated_content_is_as_odd_as_life() -> None:
    held = generate(7, spaces=20, pages=2500, users=120, attachments=1500, comments=1500)
    rows = list(held.contents.values())
    pages = [c for c in rows if c.kind == "page"]
    titles = [c.title for c in pages]
    assert any(len(t) == 255 for t in titles)
    assert any(bidirectional(t[0]) in {"R", "AL"} for t in titles)
    assert any(ord(ch) > 0x1F000 for t in titles for ch in t)
    assert any(any(ch in t for ch in '&<>"%+#|') for t in titles)
    depths = Counter(len(held.ancestors(c)) for c in pages)
    assert max(depths) >= 8
    assert max(len(held.children(c.id, "page")) for c in pages) >= 12
    assert {s.type for s in held.spaces.values()} == {"global", "personal"}
    assert {s.status for s in held.spaces.values()} == {"current", "archived"}
    sizes = sorted(Counter(c.space for c in pages).values())
    assert sizes[-1] > 10 * sizes[0]
    assert {c.status for c in pages} == {"current", "trashed", "draft"}
    assert max(c.version for c in pages) > 10
    assert Counter(c.title for c in rows if c.kind == "attachment").most_common(1)[0][1] > 50
    inline = [c.inline for c in rows if c.inline]
    assert {i.status for i in inline} == {"open", "resolved", "reopened", "dangling"}
    assert any(c.kind == "comment" and held.contents[c.container or 0].kind == "attachment" for c in rows)
    assert any(c.properties for c in rows)
    assert any(c.watchers for c in rows)
    named = {c.creator for c in rows} | {r.user for c in rows for r in c.restrictions if r.user}
    assert named - set(held.users), "departed, only their keys left"
    assert any(not u.active for u in held.users.values())
    addresses = Counter(u.email.lower() for u in held.users.values() if u.email)
    assert addresses.most_common(1)[0][1] == 2
    assert any(a.count("@") != 1 for a in addresses)
    assert any(not u.email for u in held.users.values())
    assert any(g.groups for g in held.groups.values())
    assert any(not g.users for g in held.groups.values())
    assert len({u.directory for u in held.users.values()}) == 2
    text = [held.body(c) for c in pages[:600]]
    for part in (
        "ri:userkey=",
        "ri:username=",
        "ri:space-key=",
        "/x/",
        "ac:inline-comment-marker",
        "ri:attachment",
        "<![CDATA[",
    ):
        assert any(part in t for t in text), part
    lengths = sorted(len(t) for t in text)
    assert lengths[-1] > 20 * lengths[len(lengths) // 2]


async def crawl(client: httpx.AsyncClient, keys: list[str]) -> AsyncIterator[bytes]:
    """Whole answers, as they came."""
    expand = "body.storage,version,history,space,ancestors,metadata.labels,children.attachment,restrictions.read.restrictions.user"
    for path in (
        "/rest/api/user/list?limit=500",
        "/rest/api/group?limit=500",
        "/rest/api/space?expand=homepage,description.plain&limit=500",
    ):
        yield (await client.get(path)).content
    for key in keys:
        for kind in ("page", "blogpost", "comment"):
            following: str | None = f"/rest/api/content/scan?spaceKey={key}&type={kind}&expand={expand}&limit=50"
            while following:
                answer = await client.get(following)
                yield answer.content
                following = answer.json()["_links"].get("next")


async def test_two_instances_of_one_seed_answer_the_same_byte_for_byte() -> None:
    seen = []
    for _ in range(2):
        size = {"spaces": 4, "pages": 110, "users": 25, "attachments": 60, "comments": 60}
        app = instance("8.5.6", generate=size, base_url="http://wiki.example.com")
        headers = {"Authorization": "Bearer sandbox-pat"}
        found = hashlib.sha256()
        async with (
            serving(app) as url,
            httpx.AsyncClient(base_url=url, headers=headers, transport=httpx_aiohttp.AiohttpTransport()) as client,
        ):
            async for answer in crawl(client, list(app.state.instance.spaces)):
                found.update(answer.replace(url.encode(), b"URL"))
        seen.append(found.hexdigest())
    assert seen[0] == seen[1]


def test_every_body_is_storage_format_that_a_site_takes() -> None:
    """What is stored is well-formed, also where code holds what ends a CDATA section."""
    held = generate(7, spaces=4, pages=400, users=20, attachments=60, comments=200)
    bodies = [held.body(c, "http://wiki") for c in held.contents.values() if c.kind != "attachment"]
    for body in bodies:
        storage.check(body)
    assert any("]]]]><![CDATA[>" in body for body in bodies)
