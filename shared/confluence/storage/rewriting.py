"""Rewriting references by position: what is not a rewritten reference stays as it is, byte for byte."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from shared.confluence.storage.occurrences import AttributePlace, ElementPlace, Link, Occurrence, TextPlace, find
from shared.confluence.storage.references import (
    Account,
    AttachmentRef,
    BlogRef,
    ContentId,
    ContentIdRef,
    Filename,
    FormerUser,
    Keep,
    PageRef,
    Reference,
    Rewritten,
    ShortcutRef,
    SpaceKey,
    SpaceRef,
    Target,
    Title,
    Url,
    UrlRef,
    UserRef,
)
from shared.confluence.storage.scanner import (
    Attribute,
    Token,
    cdata_text,
    escape_attribute,
    escape_text,
    tokens,
    unescape,
)

FORMER_USER = "Former user"
_USER_ATTRIBUTES = ("ri:account-id", "ri:userkey", "ri:username")


@dataclass(frozen=True, slots=True)
class Edit:
    """Put ``text`` in place of what stands from ``start`` to ``end``."""

    start: int
    end: int
    text: str


def references(body: str, bases: Sequence[str] = ()) -> list[Reference]:
    """What a body refers to, in order, repeated as often as it stands there.

    ``bases``: base URLs of the source (also older ones): addresses below them are references, as are host-relative ones.
    """
    return [occurrence.reference for occurrence in find(body, bases)]


def rewrite(body: str, replacements: Mapping[Reference, Target], bases: Sequence[str] = ()) -> Rewritten:
    """Put each reference's target in its place.

    A target that equals what is there changes nothing. References without a target, or with one that cannot stand in
    their place (an account for a page), stay and are told as unresolved. Never raises on malformed bodies.
    """
    edits: list[Edit] = []
    changed = 0
    unresolved: dict[Reference, None] = {}
    for occurrence in find(body, bases):
        target = replacements.get(occurrence.reference)
        wanted = None if target is None else edits_for(body, occurrence, target)
        if wanted is None:
            unresolved[occurrence.reference] = None
        elif wanted:
            edits += wanted
            changed += 1
    return Rewritten(apply(body, edits), changed, tuple(unresolved))


def apply(body: str, edits: Iterable[Edit]) -> str:
    """Carry out edits. One that lies within another (a mention in the words of a link that goes) falls away."""
    pieces: list[str] = []
    at = 0
    # At one place insertions come first: a deletion that begins there must not swallow them.
    for edit in sorted(edits, key=lambda edit: (edit.start, edit.end > edit.start, -edit.end)):
        if edit.start < at:
            continue
        pieces += (body[at : edit.start], edit.text)
        at = edit.end
    return "".join((*pieces, body[at:]))


def edits_for(body: str, occurrence: Occurrence, target: Target) -> list[Edit] | None:
    """The edits that put a target in an occurrence's place. Empty: nothing to do. None: the target does not fit."""
    if isinstance(target, Keep) or _same(occurrence.reference, target):
        return []
    match occurrence.place:
        case AttributePlace(attribute=attribute):
            return [_value(attribute, target.url)] if isinstance(target, Url) else None
        case TextPlace(start=start, end=end):
            text = _as_text(occurrence.reference, target)
            return None if text is None else [Edit(start, end, escape_text(text))]
        case ElementPlace() as place:
            return _element(body, occurrence.reference, place, target)


def _same(reference: Reference, target: Target) -> bool:
    match reference, target:
        case UserRef(account_id=str(have)), Account(account_id=want):
            return have == want
        case PageRef() as have_page, Title() as want_title:
            return (have_page.space_key, have_page.title) == (want_title.space_key, want_title.title)
        case BlogRef() as have_blog, Title() as want_title:
            same_day = want_title.day is None or want_title.day == have_blog.day
            return same_day and (have_blog.space_key, have_blog.title) == (want_title.space_key, want_title.title)
        case ContentIdRef(id=have), ContentId(id=want):
            return have == want
        case SpaceRef(key=have), SpaceKey(key=want):
            return have == want
        case AttachmentRef(filename=have), Filename(name=want):
            return have == want
        case UrlRef(url=have), Url(url=want):
            return have == want
    return False


def _as_text(reference: Reference, target: Target) -> str | None:
    match reference, target:
        case UserRef(), Account(account_id=account_id):
            return account_id
        case UserRef(), FormerUser() as former:
            return former_user(former)
        case PageRef(), Title(space_key=key, title=title):
            return title if key is None else f"{key}:{title}"
        case ContentIdRef(), ContentId(id=content_id):
            return content_id
        case SpaceRef(), SpaceKey(key=key):
            return key
        case UrlRef(), Url(url=url):
            return url
    return None


def former_user(former: FormerUser) -> str:
    """The words that stand for somebody without an account."""
    return f"{FORMER_USER} ({former.display_name})" if former.display_name else FORMER_USER


def _element(body: str, reference: Reference, place: ElementPlace, target: Target) -> list[Edit] | None:
    match reference, target:
        case UserRef(), Account(account_id=account_id):
            return _attributes(place.tag, {"ri:account-id": account_id}, drop=_USER_ATTRIBUTES)
        case UserRef(), FormerUser() as former:
            link = place.link
            start, end = (link.tag.start, link.end) if link is not None and link.end else (place.start, place.end)
            return [Edit(start, end, escape_text(former_user(former)))]
        case PageRef(), Title(space_key=key, title=title):
            wanted = {"ri:space-key": key, "ri:content-title": title}
            return _attributes(place.tag, wanted, drop=("ri:version-at-save",))
        case BlogRef(), Title(space_key=key, title=title, day=day):
            wanted = {"ri:space-key": key, "ri:content-title": title}
            if day is not None:
                wanted["ri:posting-day"] = day
            return _attributes(place.tag, wanted, drop=("ri:version-at-save",))
        case ContentIdRef(), ContentId(id=content_id):
            return _attributes(place.tag, {"ri:content-id": content_id}, drop=("ri:version-at-save",))
        case ContentIdRef(), Title(space_key=key, title=title):
            space = "" if key is None else f'ri:space-key="{escape_attribute(key)}" '
            page = f'<ri:page {space}ri:content-title="{escape_attribute(title)}" />'
            return [Edit(place.start, place.end, page)]
        case PageRef() | BlogRef(), ContentId(id=content_id):
            entity = f'<ri:content-entity ri:content-id="{escape_attribute(content_id)}" />'
            return [Edit(place.start, place.end, entity)]
        case SpaceRef(), SpaceKey(key=key):
            return _attributes(place.tag, {"ri:space-key": key})
        case AttachmentRef(), Filename(name=name):
            return _attributes(place.tag, {"ri:filename": name}, drop=("ri:version-at-save",))
        case ((PageRef() | BlogRef() | ContentIdRef() | AttachmentRef() | SpaceRef() | ShortcutRef()), Url(url=url)):
            if place.inner:
                return None  # a file's owner cannot be an address
            if place.link is not None and place.link.end is not None:
                return _plain_link(body, reference, place.link, place.link.end, url)
            return [Edit(place.start, place.end, f'<ri:url ri:value="{escape_attribute(url)}" />')]
    return None


def _attributes(tag: Token, wanted: Mapping[str, str | None], drop: Sequence[str] = ()) -> list[Edit]:
    """Edits that give a tag these attributes (None: no such attribute) and take the dropped ones away.

    A new attribute takes the place of a dropped one if there is one, else it stands right behind the tag's name.
    """
    edits: list[Edit] = []
    present = {attribute.name: attribute for attribute in reversed(tag.attributes)}
    dropped = [attribute for name, attribute in present.items() if name in drop and wanted.get(name) is None]
    replaceable = [attribute for attribute in dropped if attribute.name != "ri:version-at-save"]
    for name, value in wanted.items():
        attribute = present.get(name)
        if value is None:
            if attribute is not None and attribute not in dropped:
                dropped.append(attribute)
        elif attribute is not None:
            if attribute.value != value:
                edits.append(_value(attribute, value))
        elif replaceable:
            replaced = replaceable.pop()
            dropped.remove(replaced)
            edits.append(Edit(replaced.name_start, _end(replaced), f'{name}="{escape_attribute(value)}"'))
        else:
            behind = tag.start + 1 + len(tag.name)
            edits.append(Edit(behind, behind, f' {name}="{escape_attribute(value)}"'))
    edits += [Edit(_blank_before(tag, attribute), _end(attribute), "") for attribute in dropped]
    return edits


def _blank_before(tag: Token, attribute: Attribute) -> int:
    """Where the blanks before an attribute begin: at the end of the attribute, or of the name, before it."""
    ends = [tag.start + 1 + len(tag.name)]
    ends += [_end(other) for other in tag.attributes if other.name_start < attribute.name_start]
    return max(ends)


def _value(attribute: Attribute, value: str) -> Edit:
    if attribute.quote:
        return Edit(attribute.start, attribute.end, escape_attribute(value, attribute.quote))
    return Edit(attribute.name_start, attribute.end, f'{attribute.name}="{escape_attribute(value)}"')


def _end(attribute: Attribute) -> int:
    return attribute.end + len(attribute.quote)


def _plain_link(body: str, reference: Reference, link: Link, end: int, url: str) -> list[Edit]:
    """Turn an ``ac:link`` into an ``a``: its words stay, its aim becomes the address."""
    anchor = link.tag.value("ac:anchor")
    if anchor and "#" not in url:
        url = f"{url}#{anchor}"
    opening = f'<a href="{escape_attribute(url)}">'
    words = link.body
    if words is not None and words.name == "ac:link-body":
        # Two edits around the words, so that references within them are still rewritten.
        return [Edit(link.tag.start, words.end, opening), Edit(link.body_end, end, "</a>")]
    text = _label(reference, url) if words is None else _words(body[words.end : link.body_end])
    return [Edit(link.tag.start, end, f"{opening}{escape_text(text)}</a>")]


def _words(inner: str) -> str:
    return "".join(
        cdata_text(inner, token) if token.kind == "cdata" else unescape(inner[token.start : token.end])
        for token in tokens(inner)
        if token.kind in ("cdata", "text")
    )


def _label(reference: Reference, url: str) -> str:
    match reference:
        case PageRef(title=title) | BlogRef(title=title):
            return title
        case AttachmentRef(filename=filename):
            return filename
        case SpaceRef(key=key):
            return key
        case ShortcutRef(key=key, parameter=parameter):
            return f"{parameter}@{key}" if parameter else key
    return url
