"""One pass over a space, folded into numbers and findings. Pure: fed with what the source says, asked at the end.

Memory grows with the space's pages, by a few dozen bytes each (digests of titles, children per parent); texts are let go.
"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b

from shared.confluence.model import Content, Item, Named, Space, Surveyed
from shared.confluence.storage import macros
from shared.events.catalog.analysis import Guardrail, GuardrailCount, SpaceNumbers
from shared.events.catalog.work import LeftCount

# From how much on a guardrail points something out. Bytes, children of one page, depth (0 at the top), holders of a page.
LIMITS: dict[Guardrail, int] = {
    Guardrail.BODY_NEAR_LIMIT: 4 * 1024 * 1024,  # Cloud refuses bodies over 5 MB
    Guardrail.ATTACHMENT_OVER_LIMIT: 100 * 1024 * 1024 + 1,  # the least upload limit of a site
    Guardrail.TREE_DEEP: 10,
    Guardrail.TREE_WIDE: 200,
    Guardrail.RESTRICTIONS_MANY: 50,
}
_WIKI_MACRO = re.compile(r"(?<!\\)\{([a-z][a-z0-9-]*)(?::[^{}\n]*)?\}")


@dataclass(frozen=True, slots=True)
class Finding:
    """``content``: id of the page, blog post or attachment; ``number``: what the guardrail counts."""

    guardrail: Guardrail
    content: str
    title: str | None
    number: int


@dataclass(frozen=True, slots=True)
class MacroUse:
    macro: str
    content: str
    title: str
    uses: int


@dataclass(frozen=True, slots=True)
class Holder:
    """A person who holds a restriction of a page."""

    content: str
    title: str
    person: str


@dataclass(slots=True)
class SpaceSurvey:
    """``see`` everything once, then take ``numbers``. ``findings``, ``uses`` and ``holders`` may be taken (and cleared) at any time
    between; those that need the whole space come with ``finish``."""

    space: Space
    findings: list[Finding] = field(default_factory=list)
    uses: list[MacroUse] = field(default_factory=list)
    holders: list[Holder] = field(default_factory=list)
    named: set[str] = field(default_factory=set)
    _counts: Counter[str] = field(default_factory=Counter)
    _guardrails: Counter[Guardrail] = field(default_factory=Counter)
    _titles: dict[bytes, int] = field(default_factory=dict)
    _children: Counter[str] = field(default_factory=Counter)
    _last_edit: int | None = None

    def see(self, found: Surveyed) -> None:
        match found:
            case Item():
                self._item(found)
            case Content():
                self._content(found)
            case Named():
                self.named.add(found.person)

    def _item(self, item: Item) -> None:
        self._counts[item.kind] += 1
        if item.kind == "attachment":
            self._counts["bytes"] += item.size or 0
            self._counts["missing"] += not item.has_file
            if not item.has_file:
                self._find(Guardrail.FILE_MISSING, item.id, None, item.size or 0)
            self._limit(Guardrail.ATTACHMENT_OVER_LIMIT, item.id, None, item.size or 0)
        elif item.kind == "page":
            self._limit(Guardrail.TREE_DEEP, item.id, None, item.depth)
            if item.parent is not None:
                self._children[item.parent] += 1
            self._counts["restricted"] += item.restrictions > 0
        elif item.kind == "blogpost":
            self._counts["restricted"] += item.restrictions > 0

    def _content(self, content: Content) -> None:
        size = len(content.body.encode("utf-8", "surrogatepass"))
        self._counts["body_bytes"] += size
        self._limit(Guardrail.BODY_NEAR_LIMIT, content.id, content.title, size)
        self._limit(Guardrail.RESTRICTIONS_MANY, content.id, content.title, len(content.restrictions))
        if content.modified_at is not None:
            moment = int(content.modified_at.timestamp() * 1_000_000)
            self._last_edit = max(moment, self._last_edit or 0)
        for name, uses in _macros(content).items():
            self._counts["macros"] += uses
            self.uses.append(MacroUse(name or "(no name)", content.id, content.title, uses))
        for person in {r.person for r in content.restrictions if r.person is not None}:
            self.holders.append(Holder(content.id, content.title, person))
        key = title_key(content)
        if (before := self._titles.setdefault(key, 0)) > 0:
            self._find(Guardrail.TITLE_CLASH, content.id, content.title, before + 1)
        self._titles[key] += 1

    def finish(self, left: Mapping[str, int]) -> SpaceNumbers:
        """The space's numbers; the findings about its tree come now. ``left``: what no plan moves, by kind."""
        for parent, children in sorted(self._children.items()):
            self._limit(Guardrail.TREE_WIDE, parent, None, children)
        counts = self._counts
        return SpaceNumbers(
            space=self.space.id,
            type=self.space.type,
            status=self.space.status,
            pages=counts["page"],
            blogposts=counts["blogpost"],
            comments=counts["comment"],
            attachments=counts["attachment"],
            attachment_bytes=counts["bytes"],
            missing_files=counts["missing"],
            homepage=self.space.homepage_id,
            last_edit=self._last_edit,
            body_bytes=counts["body_bytes"],
            macros=counts["macros"],
            restricted=counts["restricted"],
            guardrails=tuple(GuardrailCount(guardrail=g, count=n) for g, n in sorted(self._guardrails.items())),
            left=tuple(LeftCount.model_validate({"kind": kind, "count": n}) for kind, n in sorted(left.items())),
        )

    def _limit(self, guardrail: Guardrail, content: str, title: str | None, number: int) -> None:
        if number >= LIMITS[guardrail]:
            self._find(guardrail, content, title, number)

    def _find(self, guardrail: Guardrail, content: str, title: str | None, number: int) -> None:
        self._guardrails[guardrail] += 1
        self.findings.append(Finding(guardrail, content, title, number))


def title_key(content: Content) -> bytes:
    """What two contents of a space that cannot both have their title on Cloud have in common.

    Titles are compared without case and surplus blanks; blog posts clash within a day only.
    """
    day = content.posting_day.isoformat() if content.posting_day else ""
    text = f"{content.kind}\n{day}\n{' '.join(content.title.split()).casefold()}"
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()


def _macros(content: Content) -> Counter[str]:
    if content.format == "storage":
        return macros(content.body)
    return Counter(name for name in _WIKI_MACRO.findall(content.body))
