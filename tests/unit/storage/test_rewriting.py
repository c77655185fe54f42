"""What each construct of a body becomes."""

import time

import pytest

from shared.confluence.storage import (
    Account,
    AttachmentRef,
    BlogRef,
    ContentId,
    ContentIdRef,
    Filename,
    FormerUser,
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
    tiny,
    unwrap_inline_markers,
)

KEY = "ff80808153b2a1a40153b2a3e3a30001"
PAGE = PageRef("K", "T")
MENTION = f'a <ac:link><ri:user ri:userkey="{KEY}"/></ac:link> b'
LINK = (
    '<ac:link ac:anchor="top"><ri:page ri:space-key="K" ri:content-title="T" ri:version-at-save="3" />'
    "<ac:plain-text-link-body><![CDATA[go & see]]></ac:plain-text-link-body></ac:link>"
)


@pytest.mark.parametrize(
    ("body", "reference", "target", "expected"),
    [
        (MENTION, UserRef(key=KEY), Account("1:2"), 'a <ac:link><ri:user ri:account-id="1:2"/></ac:link> b'),
        (MENTION, UserRef(key=KEY), FormerUser(), "a Former user b"),
        (MENTION, UserRef(key=KEY), FormerUser("Ann <A>"), "a Former user (Ann &lt;A&gt;) b"),
        (
            '<ri:user ri:username="bob" ri:userkey="k"/>',
            UserRef(key="k"),
            Account("1"),
            '<ri:user ri:account-id="1"/>',
        ),
        (
            '<ac:parameter ac:name="user"><ri:user ri:username="bob" /></ac:parameter>',
            UserRef(username="bob"),
            FormerUser(),
            '<ac:parameter ac:name="user">Former user</ac:parameter>',
        ),
        (
            LINK,
            PAGE,
            Title("K2", 'T "2"'),
            '<ac:link ac:anchor="top"><ri:page ri:space-key="K2" ri:content-title="T &quot;2&quot;" />'
            "<ac:plain-text-link-body><![CDATA[go & see]]></ac:plain-text-link-body></ac:link>",
        ),
        (
            "<ri:page ri:space-key='K' ri:content-title='T'/>",
            PAGE,
            Title(None, "It's"),
            "<ri:page ri:content-title='It&#39;s'/>",
        ),
        (
            '<ri:page ri:version-at-save="1" ri:content-title="T"/>',
            PageRef(None, "T"),
            Title("K", "T"),
            '<ri:page ri:space-key="K" ri:content-title="T"/>',
        ),
        (LINK, PAGE, Url("https://n/x?a&b"), '<a href="https://n/x?a&amp;b#top">go &amp; see</a>'),
        (
            '<ac:link><ri:page ri:content-title="T"/></ac:link>',
            PageRef(None, "T"),
            Url("u"),
            '<a href="u">T</a>',
        ),
        (
            '<ac:image><ri:page ri:content-title="T"/></ac:image>',
            PageRef(None, "T"),
            ContentId("7"),
            '<ac:image><ri:content-entity ri:content-id="7" /></ac:image>',
        ),
        (
            '<ri:blog-post ri:space-key="K" ri:content-title="T" ri:posting-day="2012/01/30" />',
            BlogRef("K", "T", "2012/01/30"),
            Title("K2", "T2", "2012/01/29"),
            '<ri:blog-post ri:space-key="K2" ri:content-title="T2" ri:posting-day="2012/01/29" />',
        ),
        (
            '<ri:content-entity ri:content-id="1" ri:version-at-save="2" />',
            ContentIdRef("1"),
            ContentId("2"),
            '<ri:content-entity ri:content-id="2" />',
        ),
        (
            '<ri:content-entity ri:content-id="1"></ri:content-entity>',
            ContentIdRef("1"),
            Title("K", "T"),
            '<ri:page ri:space-key="K" ri:content-title="T" />',
        ),
        (
            '<ac:image><ri:attachment ri:filename="a b.png"/></ac:image>',
            AttachmentRef("a b.png"),
            Filename("c.png"),
            '<ac:image><ri:attachment ri:filename="c.png"/></ac:image>',
        ),
        ('<ri:space ri:space-key="K"/>', SpaceRef("K"), SpaceKey("K2"), '<ri:space ri:space-key="K2"/>'),
        (
            '<ac:link><ri:shortcut ri:key="jira" ri:parameter="A-1"/></ac:link>',
            ShortcutRef("jira", "A-1"),
            Url("https://j/A-1"),
            '<a href="https://j/A-1">A-1@jira</a>',
        ),
        (
            '<ac:link><ri:shortcut ri:key="j"/><ac:link-body>the <b>issue</b></ac:link-body></ac:link>',
            ShortcutRef("j", ""),
            Url("u"),
            '<a href="u">the <b>issue</b></a>',
        ),
    ],
)
def test_a_reference_becomes_its_target(body: str, reference: Reference, target: Target, expected: str) -> None:
    assert reference in references(body)
    result = rewrite(body, {reference: target})
    assert result.text == expected
    assert result.changed == 1


def test_a_target_that_cannot_stand_there_leaves_the_reference_unresolved() -> None:
    result = rewrite(MENTION, {UserRef(key=KEY): Title("K", "T")})
    assert (result.text, result.changed, result.unresolved) == (MENTION, 0, (UserRef(key=KEY),))


def test_references_come_in_order_and_unresolved_ones_once() -> None:
    body = '<ri:page ri:content-title="B"/><ri:page ri:content-title="A"/><ri:page ri:content-title="B"/>'
    assert references(body) == [PageRef(None, "B"), PageRef(None, "A"), PageRef(None, "B")]
    assert rewrite(body, {}).unresolved == (PageRef(None, "B"), PageRef(None, "A"))


def test_the_file_of_another_page_names_that_page_and_both_are_references() -> None:
    body = '<ri:attachment ri:filename="f"><ri:page ri:space-key="K" ri:content-title="T"/></ri:attachment>'
    assert references(body) == [AttachmentRef("f", PAGE), PAGE]
    assert 'ri:content-title="T2"' in rewrite(body, {PAGE: Title("K", "T2")}).text


def test_references_within_the_words_of_a_link_are_rewritten_when_the_link_becomes_an_address() -> None:
    image = '<ac:image><ri:attachment ri:filename="f"><ri:page ri:content-title="O"/></ri:attachment></ac:image>'
    body = f'<ac:link><ri:page ri:content-title="T"/><ac:link-body>{image}</ac:link-body></ac:link>'
    result = rewrite(body, {PageRef(None, "T"): Url("u"), PageRef(None, "O"): Title("K", "O")})
    expected = image.replace("<ri:page ", '<ri:page ri:space-key="K" ')
    assert result.text == f'<a href="u">{expected}</a>'


def test_cdata_and_comments_hold_no_references() -> None:
    inner = '<ri:user ri:userkey="k"/><a href="/display/K/T">x</a>'
    assert references(f"<![CDATA[{inner}]]><!-- {inner} -->") == []


def test_parameters_that_hold_references_as_text_are_rewritten_piece_by_piece() -> None:
    body = (
        '<ac:structured-macro ac:name="blog-posts"><ac:parameter ac:name="spaces"> OPS , @self,HR&amp;D</ac:parameter>'
        f'<ac:parameter ac:name="author">bob,{KEY}</ac:parameter></ac:structured-macro>'
        '<ac:macro ac:name="include"><ac:default-parameter>OPS:Start here</ac:default-parameter></ac:macro>'
        '<ac:structured-macro ac:name="info"><ac:parameter ac:name="title">OPS</ac:parameter></ac:structured-macro>'
    )
    assert references(body) == [
        SpaceRef("OPS"),
        SpaceRef("HR&D"),
        UserRef(username="bob"),
        UserRef(key=KEY),
        PageRef("OPS", "Start here"),
    ]
    result = rewrite(
        body,
        {
            SpaceRef("OPS"): SpaceKey("OPS2"),
            UserRef(username="bob"): Account("1"),
            PageRef("OPS", "Start here"): Title("OPS2", "Start & stop"),
        },
    )
    expected = (
        body.replace("> OPS ,", "> OPS2 ,").replace("bob", "1").replace("OPS:Start here", "OPS2:Start &amp; stop")
    )
    assert result.text == expected


def test_queries_name_spaces_content_and_people() -> None:
    query = (
        "space = &quot;OPS&quot; and Space in (HR, 'currentSpace()', currentSpace()) and ancestor=&quot;12&quot; "
        f"and creator != currentUser() and mention = '{KEY}' and space.title ~ 'OPS' and title = 'space = X'"
    )
    body = (
        '<ac:structured-macro ac:name="contentbylabel"><ac:parameter ac:name="cql">'
        f"{query}</ac:parameter></ac:structured-macro>"
    )
    assert references(body) == [SpaceRef("OPS"), SpaceRef("HR"), ContentIdRef("12"), UserRef(key=KEY)]
    result = rewrite(
        body,
        {
            SpaceRef("OPS"): SpaceKey("OPS2"),
            SpaceRef("HR"): SpaceKey("HR2"),
            ContentIdRef("12"): ContentId("34"),
            UserRef(key=KEY): Account("1:2"),
        },
    )
    expected = body.replace("&quot;OPS&quot;", "&quot;OPS2&quot;").replace("(HR,", "(HR2,")
    assert result.text == expected.replace("&quot;12&quot;", "&quot;34&quot;").replace(KEY, "1:2")


BASE = "https://wiki.example.org/confluence"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/display/K/A+Page%3F#A-Heading", ("page_title", "K", "A Page?", None, None, "A-Heading", None)),
        ("/display/~ann.b", ("space", "~ann.b", None, None, None, None, None)),
        ("/display/K/2012/1/30/News+1", ("blog", "K", "News 1", None, None, None, "2012/01/30")),
        ("/pages/viewpage.action?pageId=123&x=1#c", ("page_id", None, None, "123", None, "c", None)),
        ("/pages/viewpage.action?spaceKey=K&title=A+B", ("page_title", "K", "A B", None, None, None, None)),
        ("/spaces/K/pages/123/A+B", ("page_id", "K", "A B", "123", None, None, None)),
        ("/spaces/K/pages/123", ("page_id", "K", None, "123", None, None, None)),
        ("/spaces/K/overview", ("space", "K", None, None, None, None, None)),
        ("/spaces/viewspace.action?key=K", ("space", "K", None, None, None, None, None)),
        ("/x/2IE5C", ("tiny", None, None, "137986520", None, None, None)),
        ("/download/attachments/12/a%20b.png?version=2", ("attachment", None, None, "12", "a b.png", None, None)),
        ("/label/K/how-to", ("label", "K", "how-to", None, None, None, None)),
        ("/admin/console.action", ("other", None, None, None, None, None, None)),
    ],
)
def test_addresses_within_the_source_are_read(path: str, expected: tuple[object, ...]) -> None:
    for url in (BASE + path, f"http://wiki.example.org/confluence{path}", f"/confluence{path}"):
        body = f'<a href="{url.replace("&", "&amp;")}">x</a>'
        found = references(body, [BASE])
        assert len(found) == 1
        ref = found[0]
        assert isinstance(ref, UrlRef)
        fields = (ref.kind, ref.space_key, ref.title, ref.content_id, ref.filename, ref.anchor, ref.day)
        assert fields == expected
        result = rewrite(body, {ref: Url("https://n/?a&b")}, [BASE])
        assert result.text == '<a href="https://n/?a&amp;b">x</a>'


def test_addresses_of_other_places_are_no_references() -> None:
    for url in (
        "https://elsewhere.example.org/confluence/display/K/T",
        "https://wiki.example.org/other/display/K/T",
        "https://wiki.example.org/confluenceX/display/K/T",
        "#heading",
        "mailto:a@example.org",
        "page.html",
        "http://[broken",
        "https://wiki.example.org:8443/confluence/x/abc",
    ):
        assert references(f'<a href="{url}">x</a>', [BASE]) == []


def test_an_address_in_a_user_profile_names_the_user() -> None:
    (ref,) = references(f'<a href="{BASE}/display/K/T">x</a><a href="/people/~bob">y</a>', [])
    assert isinstance(ref, UrlRef) and (ref.kind, ref.username) == ("user", "bob")


def test_three_real_tiny_links_are_decoded() -> None:
    assert tiny.encode(137986520) == "2IE5C"
    assert tiny.decode("2IE5C") == 137986520
    assert tiny.decode("not/a/code") is None


def test_macros_of_old_become_structured_ones_and_nothing_else_changes() -> None:
    body = (
        '<p>x</p><ac:macro ac:name="include" ><ac:default-parameter>P</ac:default-parameter></ac:macro>'
        '<ac:macro ac:name="toc"/><![CDATA[<ac:macro ac:name="no">]]>'
    )
    result = modern_macros(body)
    assert result.text == (
        '<p>x</p><ac:structured-macro ac:name="include" ><ac:parameter ac:name="">P</ac:parameter></ac:structured-macro>'
        '<ac:structured-macro ac:name="toc"/><![CDATA[<ac:macro ac:name="no">]]>'
    )
    assert result.changed == 2
    assert macros(result.text) == {"include": 1, "toc": 1}


def test_the_markers_of_inline_comments_go_and_their_words_stay() -> None:
    body = 'a<ac:inline-comment-marker ac:ref="1">b<b>c</b></ac:inline-comment-marker>d'
    assert unwrap_inline_markers(body).text == "ab<b>c</b>d"


def test_the_plain_text_is_what_a_reader_reads() -> None:
    body = (
        "<h1>Caf&eacute;\u00a0</h1><p>a<b>b</b>\n c</p><ul><li>x</li><li>y</li></ul>"
        '<ac:structured-macro ac:name="code"><ac:parameter ac:name="language">java</ac:parameter>'
        "<ac:plain-text-body><![CDATA[if (a < b)]]></ac:plain-text-body></ac:structured-macro>"
        "<ac:task><ac:task-id>3</ac:task-id><ac:task-status>complete</ac:task-status>"
        "<ac:task-body>done &amp; dusted</ac:task-body></ac:task>"
    )
    assert plain_text(body) == "Café ab c x y if (a < b) done & dusted"


@pytest.mark.parametrize(
    "piece", ["<", '<a "', "<a '\"", "<ac:link>", "</p>", '<p a="', "<![CDATA[", "&amp", "<ri:page x"]
)
def test_hostile_bodies_cost_linear_time(piece: str) -> None:
    body = piece * (150_000 // len(piece))
    began = time.process_time()
    rewrite(body, {})
    plain_text(body)
    assert time.process_time() - began < 5
