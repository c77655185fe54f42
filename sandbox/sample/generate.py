"""Instances of any size from a seed: content is a function of seed and id, made when it is asked for and not kept.

In memory are users, groups and spaces, and the last few thousand rows. Every page, blog post, trashed page or draft is a
*document* with a number; documents of a space follow each other, and so do the ids: a document's id, then those of its
attachments, then those of its comments, then a gap to the next document.
"""

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import accumulate, islice
from random import Random
from re import findall
from uuid import UUID

from sandbox.sample.model import Content, Inline, Instance, Kind, Revision
from sandbox.sample.population import Population, planted, populate
from sandbox.sample.texts import FILES, TYPES, Sentences, Weave, title_of

_BASE = 98_304 + 65_536
_START = datetime(2014, 3, 3, 7, 30)  # noqa: DTZ001 - the instance's offset is put on it
_SPAN = timedelta(days=11 * 365)
#: Rows remembered, some 60 MB: those of the pages just listed, whose bodies, children and ancestors are asked for next. With few
#: a page costs the more the deeper it lies.
_REMEMBERED = 65_536

#: Pages of a space come in chapters: trees of at most so many pages, each in one of these shapes (parent of each by number).
_CHAPTER = 24
_SHAPES: tuple[tuple[int, ...], ...] = (
    (0, *(k - 1 if k % 8 != 1 else 0 for k in range(1, _CHAPTER))),  # three long chains
    (0,) * _CHAPTER,  # a flat one
    (0, *((k - 1) // 2 for k in range(1, _CHAPTER))),
    (0, *((k - 1) // 4 for k in range(1, _CHAPTER))),
    (0, *(k - 1 if k % 2 == 0 else max(0, k - 6) for k in range(1, _CHAPTER))),
)
_BELOW = tuple(
    tuple(tuple(k for k in range(1, _CHAPTER) if shape[k] == top) for top in range(_CHAPTER)) for shape in _SHAPES
)
#: So many chapters hang on the homepage, the later ones four by four on earlier ones, at one of these pages of it.
_TOP, _FAN = 12, 4
_HOOKS = (0, 0, 1, 2, 3)

#: How attachments and comments spread over documents: a pattern that repeats, few with many.
_PERIOD = 101
_WEIGHTS = tuple(1000 // (1 + (n * 37) % _PERIOD) for n in range(_PERIOD))
_UP_TO = (0, *accumulate(_WEIGHTS))


def _share(number: int, total: int, documents: int) -> int:
    """How many of ``total`` things hang on the documents before this one."""

    def weight(n: int) -> int:
        return n // _PERIOD * _UP_TO[-1] + _UP_TO[n % _PERIOD]

    return total * weight(number) // weight(documents)


@dataclass(frozen=True, slots=True)
class _Extent:
    """The documents of one space: pages (its homepage first), blog posts, trashed pages, drafts."""

    key: str
    start: int
    pages: int
    posts: int
    trashed: int
    drafts: int

    @property
    def end(self) -> int:
        return self.start + self.pages + self.posts + self.trashed + self.drafts

    def spread(self, kind: Kind) -> list[range]:
        """Numbers of the documents of a kind, in order."""
        after = self.start + self.pages
        if kind == "page":
            return [range(self.start, after), range(after + self.posts, self.end)]
        return [range(after, after + self.posts)]


class _Contents(Mapping[int, Content]):
    def __init__(self, instance: "Generated") -> None:
        self._instance = instance

    def __getitem__(self, id: int) -> Content:
        found = self._instance.made(id)
        if found is None:
            raise KeyError(id)
        return found

    def __iter__(self) -> Iterator[int]:
        return self._instance.ids()

    def __len__(self) -> int:
        return self._instance.size


class Generated(Instance):
    """See ``generate``."""

    def __init__(
        self, seed: int, *, spaces: int, pages: int, users: int, attachments: int, comments: int, canary: str = ""
    ) -> None:
        super().__init__(f"Generated {seed}", seed, timedelta(hours=(seed * 5) % 14 - 5))
        self._canary = canary
        self._salt = Random(f"content:{seed}").getrandbits(48) << 40
        self._sentences = Sentences(seed)
        self._people: Population = populate(self, Random(f"people:{seed}"), max(users, 1), canary)
        r = Random(f"spaces:{seed}")
        self._extents: list[_Extent] = []
        for number, size in enumerate(_sizes(r, max(spaces, 1), pages)):
            start = self._extents[-1].end if self._extents else 0
            space = self._people.space(r, number, _BASE - 65_536 + number)
            extent = _Extent(space.key, start, size, size // 16 + number % 2, size // 50, size // 90)
            space.homepage = _BASE  # until the width of an id's block is known
            self._extents.append(extent)
        self._starts = [e.start for e in self._extents]
        self._by_key = {e.key: e for e in self._extents}
        self._documents = self._extents[-1].end
        self._attachments, self._comments = attachments, comments
        widest = [
            max(
                _share(n + 1, total, self._documents) - _share(n, total, self._documents)
                for n in range(min(self._documents, 4 * _PERIOD))
            )
            for total in (attachments, comments)
        ]
        self._width = 1 << (1 + sum(widest) + 2).bit_length()
        self.size = self._documents + attachments + comments
        for extent in self._extents:
            self.spaces[extent.key].homepage = self._id(extent.start)
        self._cache: dict[int, Content] = {}

    # --- ids ------------------------------------------------------------------------------------------------------------

    def _id(self, document: int) -> int:
        return _BASE + document * self._width

    def _hanging_on(self, document: int) -> tuple[int, int]:
        """How many attachments and comments a document has."""
        attachments, comments = (
            _share(document + 1, total, self._documents) - _share(document, total, self._documents)
            for total in (self._attachments, self._comments)
        )
        return attachments, comments

    def ids(self) -> Iterator[int]:
        for document in range(self._documents):
            first = self._id(document)
            yield from range(first, first + 1 + sum(self._hanging_on(document)))

    @property
    def contents(self) -> Mapping[int, Content]:
        return _Contents(self)

    def made(self, id: int) -> Content | None:
        """The content with this id, None where there is none."""
        found = self._cache.get(id)
        if found is not None:
            return found
        document, slot = divmod(id - _BASE, self._width)
        if not 0 <= document < self._documents:
            return None
        if slot == 0:
            found = self._document(document)
        else:
            attachments, comments = self._hanging_on(document)
            if slot <= attachments:
                found = self._attachment(document, slot - 1)
            elif slot <= attachments + comments:
                found = self._comment(document, slot - 1 - attachments, attachments)
            else:
                return None
        if len(self._cache) >= _REMEMBERED:
            self._cache.pop(next(iter(self._cache)))
        self._cache[id] = found
        return found

    def _random(self, id: int, purpose: int = 0) -> Random:
        return Random(self._salt + id * 4 + purpose)

    # --- rows -----------------------------------------------------------------------------------------------------------

    def _extent(self, document: int) -> _Extent:
        return self._extents[bisect_right(self._starts, document) - 1]

    def _moment(self, share: float) -> datetime:
        """A time at this share of the instance's life, to the second, in its zone."""
        return (_START + timedelta(seconds=int(_SPAN.total_seconds() * share))).replace(tzinfo=self.timezone)

    def _revisions(self, r: Random, by: str, created: datetime) -> list[Revision]:
        """Three in five have one version, few have dozens."""
        revisions = [Revision(1, by, created)]
        at = created
        for number in range(2, 1 + (1 if r.random() < 0.6 else min(int(1 + r.paretovariate(0.9)), 40))):
            at += timedelta(minutes=1 + int(r.random() * 9000), milliseconds=r.randrange(1000))
            message = ("", "", "", "Wording", "After the review", "v{n} — «fixed» & tidied")[int(r.random() * 6)]
            revisions.append(Revision(number, self._people.author(r), at, message))
        return revisions

    def _document(self, document: int) -> Content:
        extent = self._extent(document)
        local = document - extent.start
        id = self._id(document)
        r = self._random(id)
        kind: Kind = "page"
        created = self._moment((document + r.random()) / self._documents)
        parent: int | None = None
        status = "current"
        number = local
        if local >= extent.pages:
            number = local - extent.pages
            if number < extent.posts:
                kind = "blogpost"
                created = self._moment((number + r.random()) / extent.posts)
            else:
                number -= extent.posts
                status = "trashed" if number < extent.trashed else "draft"
                number = 1 + number % max(1, extent.pages - 1)  # titles of the dead are those of the living
                parent = extent.start
        elif local:
            parent = extent.start + _parent(local)
        by = self._people.author(r)
        title = self.spaces[extent.key].name + " Home" if not local else self._title(extent, kind, number)
        row = Content(id, kind, extent.key, title, by, created, self._revisions(r, by, created), body=None)
        row.status = "trashed" if status == "trashed" else "draft" if status == "draft" else "current"
        if kind == "page":
            row.parent = None if parent is None else self._id(parent)
            row.position = local if local and r.random() < 0.85 else None
        if r.random() < 0.2:
            names = {
                planted(self._canary, f"topic-{int(r.random() ** 2 * 60)}", "-") for _ in range(1 + int(r.random() * 3))
            }
            row.labels = tuple(("global", n) for n in sorted(names))
            if r.random() < 0.1:
                row.labels += (("my", "favourite"),)
        if local and r.random() < 0.03:
            row.restrictions = self._people.restrictions(r, by)
        if r.random() < 0.06:
            row.properties = (
                (
                    f"plan-data-{r.randrange(5)}",
                    {"edition": r.randrange(9), "tags": ["a", "ü", None], "deep": {"x": 1.5}},
                ),
            )
        if r.random() < 0.1:
            row.watchers = tuple(sorted({self._people.author(r) for _ in range(1 + int(r.random() * 4))}))
        return row

    def _title(self, extent: _Extent, kind: Kind, number: int) -> str:
        title = title_of(Random(self._salt + extent.start * 8 + number * 2 + (kind == "blogpost")), number)
        return planted(self._canary, title)

    def _attachment(self, document: int, number: int) -> Content:
        id = self._id(document) + 1 + number
        r = self._random(id)
        on = self.contents[self._id(document)]
        name = self._file_name(document, number)
        by = self._people.author(r)
        created = on.created + timedelta(minutes=1 + number, milliseconds=r.randrange(1000))
        row = Content(id, "attachment", on.space, name, by, created, [])
        row.revisions = self._revisions(r, by, created)[:6]
        row.container = on.id
        row.media_type = TYPES.get(name.rpartition(".")[2], TYPES["bin"])
        row.size = max(min(int(700 * r.paretovariate(0.7)), 3_000_000), 120)
        row.comment = "" if r.random() < 0.8 else "Uploaded again & renamed"
        row.revisions[-1].message = row.comment  # what is said of a file is said of its version
        row.missing_file = r.random() < 0.004
        if r.random() < 0.05:
            row.labels = (("global", "archive"),)
        return row

    def _file_name(self, document: int, number: int) -> str:
        times, which = divmod(document * 7 + number, len(FILES))
        name = planted(self._canary, FILES[which], "-")
        times = number // len(FILES)
        if not times:
            return name
        stem, dot, ending = name.rpartition(".")
        return f"{stem or name}-{times}{dot}{ending if stem else ''}"

    def _is_reply(self, document: int, number: int, attachments: int) -> bool:
        return number > 0 and self._random(self._id(document) + 1 + attachments + number, 1).random() < 0.35

    def _comment(self, document: int, number: int, attachments: int) -> Content:
        first = self._id(document) + 1 + attachments
        id = first + number
        r = self._random(id)
        on = self.contents[self._id(document)]
        top = number
        while self._is_reply(document, top, attachments):
            top -= 1
        by = self._people.author(r)
        created = on.created + timedelta(minutes=30 + 11 * number, milliseconds=r.randrange(1000))
        row = Content(id, "comment", on.space, f"Re: {on.title}"[:255], by, created, [Revision(1, by, created)])
        if r.random() < 0.1:
            row.revisions.append(Revision(2, by, created + timedelta(minutes=3)))
        row.container, row.inline = self._place(document, first + top, attachments)
        if top != number:
            row.parent = id - 1
        row.body = self._sentences.paragraph(r).replace("<p>", f"<p>{self._canary} " if self._canary else "<p>", 1)
        if r.random() < 0.1:
            row.body = f'<p><ac:link><ri:user ri:userkey="{self._people.author(r)}" /></ac:link></p>{row.body}'
        if row.parent is not None:
            row.inline = None
        return row

    def _place(self, document: int, top: int, attachments: int) -> tuple[int, Inline | None]:
        """Where a thread hangs, and the inline data of its first comment."""
        r = self._random(top, 2)
        page = self._id(document)
        if attachments and r.random() < 0.06:
            return page + 1 + r.randrange(attachments), None
        if r.random() >= 0.3:
            return page, None
        chance = r.random()
        status = "open" if chance < 0.5 else "resolved" if chance < 0.8 else "reopened" if chance < 0.9 else "dangling"
        marker = str(UUID(int=r.getrandbits(128), version=4))
        return page, Inline(marker, f"words about {r.randrange(900)} & more", status)

    def written(self, content: Content) -> str:
        document = (content.id - _BASE) // self._width
        r = self._random(content.id, 3)

        def other(r: Random) -> Content:
            """A page or post: mostly one nearby, sometimes of another space."""
            near = document + r.randrange(-9, 10) if r.random() < 0.7 else r.randrange(self._documents)
            found = self.contents[self._id(min(max(near, 0), self._documents - 1))]
            return found if found.status == "current" else content

        attachments, comments = self._hanging_on(document)
        people = self._people
        weave = Weave(
            content.space,
            content.title,
            people.author,
            people.username,
            other,
            lambda: [self._file_name(document, n) for n in range(attachments)],
        )
        text = self._sentences.body(r, weave)
        for number in range(comments):
            inline = self.contents[content.id + 1 + attachments + number].inline
            if inline and inline.status != "dangling":
                said = inline.selection.replace("&", "&amp;")
                text += f'<p>Some <ac:inline-comment-marker ac:ref="{inline.marker}">{said}</ac:inline-comment-marker> here.</p>'
        return text

    # --- lists ----------------------------------------------------------------------------------------------------------

    def _extents_of(self, space: str | None) -> list[_Extent]:
        return self._extents if space is None else [self._by_key[space]]

    def listed(self, kind: Kind, space: str | None = None, after: int = 0) -> Iterator[Content]:
        passed = (after - _BASE) // self._width  # the document with or before the last id seen
        for extent in self._extents_of(space):
            if kind in {"page", "blogpost"}:
                for numbers in extent.spread(kind):
                    for document in range(max(numbers.start, passed + 1), numbers.stop):
                        yield self.contents[self._id(document)]
                continue
            for document in range(max(extent.start, passed), extent.end):
                for id in self._slots(document, kind):
                    if id > after:
                        yield self.contents[id]

    def _slots(self, document: int, kind: Kind) -> range:
        attachments, comments = self._hanging_on(document)
        first = self._id(document) + 1
        return (
            range(first, first + attachments)
            if kind == "attachment"
            else range(first + attachments, first + attachments + comments)
        )

    def current(self, kind: Kind, space: str | None, start: int) -> Iterator[Content]:
        if kind not in {"page", "blogpost"}:
            yield from islice((c for c in self.listed(kind, space) if c.status == "current"), start, None)
            return
        for extent in self._extents_of(space):
            numbers = extent.spread(kind)[0]
            for document in numbers[start:]:
                yield self.contents[self._id(document)]
            start = max(0, start - len(numbers))

    def titled(self, kind: Kind, space: str, title: str) -> Iterator[Content]:
        """Found by the number in the title, since no index of titles is kept."""
        extent = self._by_key[space]
        after = extent.start + extent.pages
        numbers = {0, *(int(n) for n in findall("[0-9]+", title) if len(n) < 12)}
        found: set[int] = set()
        for n in numbers:
            if kind == "blogpost":
                found |= {after + n} if n < extent.posts else set()
            else:
                found |= {extent.start + n} if n < extent.pages else set()
                dead = extent.trashed + extent.drafts
                found |= {after + extent.posts + t for t in range(dead) if 1 + t % max(1, extent.pages - 1) == n}
        rows = (self.contents[self._id(d)] for d in sorted(found))
        return (c for c in rows if c.title.lower() == title.lower())

    def children(self, id: int, kind: Kind) -> list[Content]:
        document, slot = divmod(id - _BASE, self._width)
        if slot:
            following = self.made(id + 1) if kind == "comment" else None
            return [following] if following is not None and following.parent == id else []
        extent = self._extent(document)
        if kind != "page" or document - extent.start >= extent.pages:
            return []
        found = [self.contents[self._id(extent.start + n)] for n in _children(document - extent.start, extent.pages)]
        return sorted(found, key=lambda c: (c.position is None, c.position or 0, c.title.lower(), c.id))

    def hanging(self, id: int, kind: Kind) -> list[Content]:
        document, slot = divmod(id - _BASE, self._width)
        if kind == "attachment" and slot:
            return []
        rows = [self.contents[n] for n in self._slots(document, kind)]
        return [c for c in rows if c.container == id]


def _parent(local: int) -> int:
    """Number in its space of the page above, for any but the homepage."""
    chapter, k = divmod(local - 1, _CHAPTER)
    if k:
        return 1 + chapter * _CHAPTER + _SHAPES[chapter % len(_SHAPES)][k]
    if chapter < _TOP:
        return 0
    above = (chapter - _TOP) // _FAN
    return 1 + above * _CHAPTER + _HOOKS[chapter % len(_HOOKS)]


def _children(local: int, pages: int) -> list[int]:
    """Numbers in their space of the pages directly below."""
    if local == 0:
        found = [1 + chapter * _CHAPTER for chapter in range(_TOP)]
    else:
        chapter, k = divmod(local - 1, _CHAPTER)
        found = [1 + chapter * _CHAPTER + n for n in _BELOW[chapter % len(_SHAPES)][k]]
        below = range(_TOP + chapter * _FAN, _TOP + (chapter + 1) * _FAN)
        found += [1 + c * _CHAPTER for c in below if _HOOKS[c % len(_HOOKS)] == k]
    return [n for n in found if n < pages]


def _sizes(r: Random, spaces: int, pages: int) -> list[int]:
    """Pages of each space, at least its homepage: a few large spaces hold most."""
    weights = [1 / (n + 1) for n in range(spaces)]
    r.shuffle(weights)
    left = max(pages - spaces, 0)
    bounds = [round(left * a / sum(weights)) for a in accumulate(weights)]
    return [1 + b - a for a, b in zip((0, *bounds), bounds, strict=False)]


def generate(
    seed: int,
    *,
    spaces: int = 10,
    pages: int = 1000,
    users: int = 50,
    attachments: int = 0,
    comments: int = 0,
    canary: str = "",
) -> Generated:
    """An instance with that many things in all (at least a page in each space), and some blog posts, trashed pages and
    drafts besides. The same arguments give the same instance, byte for byte.

    ``canary``: a word of small letters that is planted in every key, name, title, file name, label, address and comment:
    wherever it turns up later, something of the instance got there."""
    return Generated(
        seed, spaces=spaces, pages=pages, users=users, attachments=attachments, comments=comments, canary=canary
    )
