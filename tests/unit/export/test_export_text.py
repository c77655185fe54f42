"""The reader's text and tree, against generated noise."""

import tempfile
from pathlib import Path

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from shared.confluence.export import open_export, take_in
from shared.confluence.export.text import Cleaner, allowed, clean, clean_stream, inner_cdata
from tests.unit.export.build import Export, Ref, body, cdata, document, page, thing

MARKUP = st.lists(
    st.sampled_from(
        ["&#28;", "&#x1c;", "&#10;", "<![CDATA[", "]]>", "]", "]]", "<", "&", "#", "&#", ";", ">", "x", "\x02"]
    )
).map("".join)
NOISE = st.text(alphabet=st.sampled_from([*"a<>&]#;x28 \n", "\x00", "\x02", "\x1c", "\ufffe", "\uffff", "é", "😀"]))
# What Confluence cannot tell apart itself: "]] >" in a text is read as the end mark it stands for.
TEXT = (
    st.lists(
        st.sampled_from(
            ["]]>", "<![CDATA[", "]]", ">", "&amp;", "&", "<p>", "</p>", "é", "\u2028", "😀", "x", " y", "\n"]
        )
    )
    .map("".join)
    .map(lambda text: text.replace("]] >", "]]>"))
)


def without_forbidden(text: str) -> str:
    return "".join(character for character in text if allowed(ord(character)))


@given(st.one_of(NOISE, MARKUP), st.lists(st.integers(1, 7), max_size=40))
def test_cleaning_does_not_depend_on_where_the_stream_is_cut(text: str, cuts: list[int]) -> None:
    raw, chunks, at = text.encode(), [], 0
    for cut in cuts:
        chunks.append(raw[at : at + cut])
        at += cut
    chunks.append(raw[at:])
    assert b"".join(clean_stream(chunks, Cleaner())).decode() == clean(text)[0]


@example(["<![CDATA[", "]]>", "&#28;", "<![CDATA["])
@given(st.lists(st.sampled_from(["&#28;", "&#x1c;", "&#10;", "&#65;", "&#xFFFF;", "<![CDATA[", "]]>", "&amp;", "t"])))
def test_references_to_forbidden_characters_go_outside_cdata_only(parts: list[str]) -> None:
    expected, inside = [], False
    for part in parts:
        if not inside and part in ("&#28;", "&#x1c;", "&#xFFFF;"):
            continue
        if part == "<![CDATA[":
            inside = True
        elif part == "]]>":
            inside = False
        expected.append(part)
    assert clean("".join(parts))[0] == "".join(expected)


@given(TEXT)
def test_inner_cdata_makes_the_round_trip(text: str) -> None:
    written = cdata(text).removeprefix("<![CDATA[").removesuffix("]]>")
    assert "]]>" not in written
    assert inner_cdata(written) == text


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(TEXT, NOISE), min_size=1, max_size=8))
async def test_bodies_and_titles_make_the_round_trip_through_a_whole_export(texts: list[tuple[str, str]]) -> None:
    things = []
    for number, (text, title) in enumerate(texts, 10):
        things += [page(str(number), title=title + "!"), body(f"1{number}", str(number), text)]
    export = Export(document(thing("Space", "1", name="Docs", key="DOCS"), *things))
    with tempfile.TemporaryDirectory() as folder:
        source = open_export(Path(folder) / "s", await take_in(export.folder(Path(folder) / "x"), Path(folder) / "s"))
        for number, (text, title) in enumerate(texts, 10):
            content = await source.content(str(number))
            assert content.body == text
            assert content.title == without_forbidden(title + "!").replace("]] >", "]]>").strip()
        await source.close()


@st.composite
def trees(draw: st.DrawFn) -> list[tuple[str, str | None, str, str | None]]:
    """(id, parent, status, history of) of pages: parents may be missing, later in the file, not live, or in a circle."""
    ids = [str(id) for id in range(10, 10 + draw(st.integers(1, 14)))]
    some = st.sampled_from([*ids, "404"])
    return [
        (
            id,
            draw(st.one_of(st.none(), some)),
            draw(st.sampled_from(["current"] * 5 + ["draft", "deleted", "archived"])),
            draw(st.sampled_from([None] * 6 + ["10", "404"])),
        )
        for id in draw(st.permutations(ids))
    ]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(trees())
async def test_a_tree_of_any_shape_lists_the_live_pages_once_each_below_its_parent(
    tree: list[tuple[str, str | None, str, str | None]],
) -> None:
    things = []
    for id, parent, status, original in tree:
        more = {"originalVersion": Ref("Page", original)} if original else {}
        things.append(page(id, parent, contentStatus=status, **more))
    live = {id: parent for id, parent, status, original in tree if status == "current" and original is None}
    export = Export(document(thing("Space", "1", name="Docs", key="DOCS"), *things))
    with tempfile.TemporaryDirectory() as folder:
        source = open_export(Path(folder) / "s", await take_in(export.folder(Path(folder) / "x"), Path(folder) / "s"))
        items = [item async for item in source.items("1")]
        await source.close()
    assert sorted(item.id for item in items) == sorted(live)
    depth: dict[str, int] = {}
    for item in items:
        if item.parent is None:
            assert item.depth == 0
            assert item.dangling == (live[item.id] is not None)
        else:
            assert item.parent == live[item.id]
            assert item.depth == depth[item.parent] + 1
        depth[item.id] = item.depth
    for item in items:
        if item.dangling and live[item.id] in live:  # only a circle is a reason to let go of a live parent
            seen, at = set(), live[item.id]
            while at is not None and at in live and at not in seen and at != item.id:
                seen.add(at)
                at = live[at]
            assert at == item.id
