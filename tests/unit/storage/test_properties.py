"""What must hold for any text at all."""

import string

from hypothesis import example, given, settings
from hypothesis import strategies as st

from shared.confluence.storage import (
    Account,
    FormerUser,
    Keep,
    PageRef,
    SpaceKey,
    SpaceRef,
    Target,
    Title,
    Url,
    UrlRef,
    UserRef,
    macros,
    modern_macros,
    plain_text,
    references,
    rewrite,
    tiny,
    unwrap_inline_markers,
)
from shared.confluence.storage.occurrences import ElementPlace, find
from shared.confluence.storage.rewriting import edits_for
from shared.confluence.storage.scanner import escape_attribute, escape_text, tokens, unescape

steady = settings(deadline=None, derandomize=True, database=None)
BASES = ("https://old.example.org/confluence",)

FRAGMENTS = [
    "<", ">", "/>", "</", "&", "&amp;", "&nbsp;", "&#x;", '"', "'", "=", "<!--", "-->", "<![CDATA[", "]]>", "<?", "?>",
    "<p>", "</p>", "<br>", "<ac:link>", '<ac:link ac:anchor="a">', "</ac:link>", "<ac:link-body>", "</ac:link-body>",
    '<ri:user ri:userkey="k1" />', '<ri:user ri:username="bob"/>', "<ri:user/>", "<ri:user ri:userkey=k2/>",
    '<ri:page ri:content-title="T" ri:version-at-save="3"/>', '<ri:page ri:space-key="K" ri:content-title="T">',
    "<ri:page ri:content-title/>", "</ri:page>", '<ri:attachment ri:filename="f">', "</ri:attachment>",
    '<ri:space ri:space-key="K"/>', '<ri:content-entity ri:content-id="12"/>', '<ri:shortcut ri:key="J" />',
    '<ac:structured-macro ac:name="include">', '<ac:macro ac:name="children">', "</ac:structured-macro>", "</ac:macro>",
    '<ac:parameter ac:name="">', '<ac:parameter ac:name="spaces">', "</ac:parameter>", "K, L", "T",
    '<a href="/x/abc">', '<a href="https://old.example.org/confluence/display/K/T+1#h">', "</a>",
    "<ac:plain-text-link-body>", "</ac:plain-text-link-body>", '<ac:inline-comment-marker ac:ref="r">',
    "</ac:inline-comment-marker>", '<ac:macro ac:name="blog-posts">',
]  # fmt: skip

bodies = st.lists(st.one_of(st.sampled_from(FRAGMENTS), st.text(max_size=4)), max_size=30).map("".join)
texts = st.text(alphabet=st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff"), min_size=1)


def target_of(reference: object) -> Target:
    match reference:
        case UserRef(key="k1"):
            return FormerUser("Ann <A>")
        case UserRef():
            return Account("712020:x")
        case PageRef():
            return Title("NEW", "a \"new\" & 'better' <title>")
        case SpaceRef():
            return SpaceKey("NEW")
    return Url("https://new.example.net/?a=1&b='\"<>")


@steady
@given(bodies)
def test_nothing_makes_the_rewriter_raise(body: str) -> None:
    found = references(body, BASES)
    rewrite(body, {reference: target_of(reference) for reference in found}, BASES)
    modern_macros(body)
    unwrap_inline_markers(body)
    macros(body)
    plain_text(body)


@steady
@given(bodies)
def test_the_pieces_cover_the_body_without_gap_or_overlap(body: str) -> None:
    at = 0
    for token in tokens(body):
        assert token.start == at
        assert token.end > token.start
        at = token.end
    assert at == len(body)


@steady
@given(bodies)
def test_no_replacement_changes_nothing(body: str) -> None:
    assert rewrite(body, {}, BASES).text == body
    assert rewrite(body, {reference: Keep() for reference in references(body, BASES)}, BASES).text == body


@steady
@given(bodies)
def test_a_target_that_is_there_already_changes_nothing(body: str) -> None:
    same: dict[object, Target] = {}
    for reference in references(body, BASES):
        match reference:
            case PageRef(space_key=key, title=title):
                same[reference] = Title(key, title)
            case SpaceRef(key=key):
                same[reference] = SpaceKey(key)
            case UrlRef(url=url):
                same[reference] = Url(url)
    assert rewrite(body, same, BASES).text == body  # type: ignore[arg-type]


@steady
@given(bodies)
def test_only_the_places_of_references_are_edited(body: str) -> None:
    for occurrence in find(body, BASES):
        place = occurrence.place
        start, end = place.start, len(body)
        if isinstance(place, ElementPlace):
            end = place.end
            if place.link is not None and place.link.end is not None:
                start, end = place.link.tag.start, place.link.end
        for edit in edits_for(body, occurrence, target_of(occurrence.reference)) or ():
            assert min(start, edit.start) <= edit.start <= edit.end <= max(end, edit.end)
            if isinstance(place, ElementPlace):
                assert start <= edit.start and edit.end <= end


@steady
@given(texts, texts, st.sampled_from(['"', "'"]))
def test_a_page_link_of_any_title_becomes_any_other(old: str, new: str, quote: str) -> None:
    body = f"<p><ri:page ri:content-title={quote}{escape_attribute(old, quote)}{quote} ri:version-at-save='2'/></p>"
    assert references(body) == [PageRef(None, old)]
    rewritten = rewrite(body, {PageRef(None, old): Title("K", new)})
    assert references(rewritten.text) == [PageRef("K", new)]
    assert rewritten.text.startswith("<p><ri:page ") and rewritten.text.endswith("/></p>")
    assert "version-at-save" not in rewritten.text


@steady
@given(st.text())
def test_escaped_text_is_read_back_but_for_what_xml_cannot_hold(text: str) -> None:
    kept = unescape(escape_text(text))
    assert unescape(escape_attribute(text)) == kept
    assert [letter for letter in text if letter in kept] == list(kept) or len(kept) <= len(text)
    assert not any(letter in escape_attribute(text) for letter in '<>"\n\t')


@steady
@given(st.integers(min_value=1, max_value=2**63 - 1))
@example(2**32 - 1)
@example(2**32)
@example(2**36)
def test_tiny_codes_are_read_back(content_id: int) -> None:
    code = tiny.encode(content_id)
    assert tiny.decode(code) == content_id
    assert set(code) <= set(string.ascii_letters + string.digits + "-_")


@steady
@given(st.text(max_size=14))
def test_any_text_is_a_tiny_code_or_none(code: str) -> None:
    number = tiny.decode(code)
    assert number is None or 0 < number < 2**63
