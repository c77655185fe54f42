"""The rewriter on bodies that real instances wrote."""

from random import Random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lxml import etree

from shared.confluence.storage import (
    Account,
    AttachmentRef,
    BlogRef,
    ContentId,
    ContentIdRef,
    FormerUser,
    Keep,
    PageRef,
    Reference,
    ShortcutRef,
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
    unwrap_inline_markers,
)
from shared.confluence.storage.occurrences import find
from shared.confluence.storage.rewriting import edits_for
from shared.confluence.storage.scanner import tokens
from tests.unit.storage.reference_bodies import real_bodies

BASES = ("https://my.wiki.invalid/wiki",)


def moved(reference: Reference) -> Target:
    match reference:
        case UserRef():
            return Account("712020:0")
        case PageRef(space_key=key, title=title):
            return Title(None if key is None else f"{key}2", f'{title} <moved> & "renamed"')
        case BlogRef(title=title, day=day):
            return Title("BLOG2", f"{title}'s", day)
        case ContentIdRef():
            return ContentId("999")
        case SpaceRef(key=key):
            return SpaceKey(f"{key}2")
        case UrlRef() | ShortcutRef():
            return Url("https://new.example.net/wiki/x?a=1&b=<2>")
        case AttachmentRef():
            return Keep()


def test_the_pieces_of_every_body_cover_it_without_gap_or_overlap() -> None:
    for body in real_bodies():
        assert "".join(body[token.start : token.end] for token in tokens(body)) == body


def test_without_replacements_every_body_stays_byte_for_byte() -> None:
    for body in real_bodies():
        result = rewrite(body, {}, BASES)
        assert result.text == body
        assert result.changed == 0
        assert set(result.unresolved) == set(references(body, BASES))


@settings(max_examples=300, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(min_value=0), st.randoms(use_true_random=False), st.floats(0, 1))
def test_whatever_is_replaced_the_rest_stays_byte_for_byte(which: int, chance: Random, share: float) -> None:
    bodies = real_bodies()
    body = bodies[which % len(bodies)]
    chosen = {r: moved(r) for r in dict.fromkeys(references(body, BASES)) if chance.random() < share}
    edits = sorted(
        {
            (edit.start, edit.end, edit.text)
            for occurrence in find(body, BASES)
            if occurrence.reference in chosen
            for edit in edits_for(body, occurrence, chosen[occurrence.reference]) or ()
        }
    )
    text, at, there = rewrite(body, chosen, BASES).text, 0, 0
    for start, end, put in edits:
        assert start >= at, "no place is edited twice"
        kept = body[at:start]
        assert text[there : there + len(kept)] == kept
        there += len(kept)
        assert text[there : there + len(put)] == put
        at, there = end, there + len(put)
    assert text[there:] == body[at:]


def test_the_bodies_hold_references_of_many_kinds() -> None:
    found = {type(reference) for body in real_bodies() for reference in references(body, BASES)}
    assert {UserRef, PageRef, BlogRef, AttachmentRef, SpaceRef, ContentIdRef, UrlRef} <= found


def test_every_reference_becomes_its_target_and_the_text_around_stays() -> None:
    for body in real_bodies():
        before = references(body, BASES)
        targets = {reference: moved(reference) for reference in before}
        result = rewrite(body, targets, BASES)
        assert result.unresolved == ()
        after = references(result.text, (*BASES, "https://new.example.net/wiki"))
        assert len(after) == len(before)
        for old, new in zip(before, after, strict=True):
            match targets[old], new:
                case Account(account_id=account_id), UserRef():
                    assert account_id in (
                        new.account_id,
                        new.username,
                    )  # a text that names somebody does not say by what
                case Title() as title, (PageRef() | BlogRef()):
                    assert (new.space_key, new.title) == (title.space_key, title.title)
                case ContentId(id=content_id), ContentIdRef():
                    assert new.id == content_id
                case SpaceKey(key=key), SpaceRef():
                    assert new.key == key
                case Url(url=url), UrlRef():
                    assert new.url == url
                case Keep(), AttachmentRef():
                    assert isinstance(old, AttachmentRef) and new.filename == old.filename
                case other:
                    raise AssertionError(other)
        assert plain_text(result.text) == plain_text(body)


def test_well_formed_bodies_stay_well_formed() -> None:
    checked = 0
    for body in real_bodies():
        if not well_formed(body):
            continue
        checked += 1
        targets = {reference: moved(reference) for reference in references(body, BASES)}
        assert well_formed(rewrite(body, targets, BASES).text)
        for reference in targets:
            targets[reference] = FormerUser("A & <B>") if isinstance(reference, UserRef) else Url("https://n/?a&<b>")
        assert well_formed(rewrite(body, targets, BASES).text)
        assert well_formed(modern_macros(body).text)
        assert well_formed(unwrap_inline_markers(body).text)
    assert checked > 100


def well_formed(body: str) -> bool:
    root = f'<!DOCTYPE r [{_ENTITIES}]><r xmlns:ac="a" xmlns:ri="b" xmlns:at="c">{body}</r>'
    try:
        etree.fromstring(root, etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=True))
    except etree.XMLSyntaxError:
        return False
    return True


_ENTITIES = "".join(f'<!ENTITY {name} "x">' for name in ("nbsp", "rsquo", "lsquo", "ldquo", "rdquo", "ndash", "mdash"))


def test_the_census_counts_every_macro_element() -> None:
    for body in real_bodies():
        if "<![CDATA[" not in body:
            assert macros(body).total() == body.count("<ac:structured-macro") + body.count("<ac:macro ")
