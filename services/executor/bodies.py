"""What a body's references become on the site: people, pages, spaces, addresses. The text is changed nowhere else."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from html import escape
from typing import Any, Literal
from urllib.parse import quote

from services.executor.job import Job
from shared.confluence import storage
from shared.confluence.model import Comment, Content, Revision
from shared.confluence.source import NotInSource
from shared.events.catalog.work import Kind, ReferenceCount
from shared.events.reasons import Reason

Names = Literal["page", "blogpost", "content", "attachment", "space", "user", "shortcut", "url"]
Why = Literal["not_in_source", "not_moved", "no_account", "no_counterpart", "moved_without"]

_NAMES: dict[type[storage.Reference], Names] = {
    storage.UserRef: "user",
    storage.PageRef: "page",
    storage.BlogRef: "blogpost",
    storage.ContentIdRef: "content",
    storage.AttachmentRef: "attachment",
    storage.SpaceRef: "space",
    storage.ShortcutRef: "shortcut",
    storage.UrlRef: "url",
}
MOST_WAITS = 500  # of one body: an event is no place for more


@dataclass(frozen=True, slots=True)
class Resolved:
    """What a reference becomes. ``why``: it is not what it was; ``waits``: the content of the source it waits for."""

    target: storage.Target | None
    why: Why | None = None
    waits: str | None = None


@dataclass(frozen=True, slots=True)
class Body:
    """``pending``: something it names is not on the site yet. ``rewritten``: so many references were changed.

    ``references``: those that were not resolved, by what they name and why. ``waits``: what it waits for, by the source's id.
    """

    text: str
    pending: bool = False
    rewritten: int = 0
    references: tuple[ReferenceCount, ...] = ()
    waits: tuple[str, ...] = ()

    @property
    def told(self) -> dict[str, Any]:
        """As an entity's outcome tells it."""
        return {"rewritten": self.rewritten, "references": self.references or None, "waits": self.waits or None}


@dataclass(slots=True)
class _Tally:
    replacements: dict[storage.Reference, storage.Target] = field(default_factory=dict)
    counts: Counter[tuple[Names, Why]] = field(default_factory=Counter)
    waits: dict[str, None] = field(default_factory=dict)


class Bodies:
    """Rewrites the bodies of one chunk; remembers what it resolved."""

    def __init__(self, job: Job, bases: Sequence[str], key: str) -> None:
        self._job, self._bases, self._key = job, tuple(bases), key
        self._people: dict[str, Resolved] = {}
        self._spaces: dict[str, str] = {}
        self._renamed_files: bool | None = None
        self._files: dict[str, dict[str, str]] = {}  # by the id on the site of what they hang on
        self._content: str | None = None  # whose body is at hand, by the source's id

    @classmethod
    async def of(cls, job: Job) -> "Bodies":
        return cls(job, job.bases, await job.source_key())

    async def rewrite(self, content: Content | Comment | Revision, markers: bool = False) -> Body:
        """The body for the site. Wiki markup is left to the site, which converts it.

        ``markers``: those of inline comments stay, to find their places by. On the site they would dangle: the text in
        them stays, the marker goes.
        """
        if not isinstance(content, Revision):
            self._content = content.container if isinstance(content, Comment) else content.id
        if content.format == "wiki":
            return Body(content.body + await self._line(content))
        body = storage.modern_macros(content.body).text
        if not markers:
            body = storage.unwrap_inline_markers(body).text
        done = await self._rewritten(body, None)
        line = await self._line(content)
        return Body(done.text + line, bool(done.waits), done.rewritten, done.references, done.waits) if line else done

    async def follow(self, body: str, waited: Collection[str]) -> Body:
        """A body as it stands on the site, with the references to what it waited for put right."""
        return await self._rewritten(body, frozenset(waited))

    async def _rewritten(self, body: str, only: frozenset[str] | None) -> Body:
        tally, occurrences = _Tally(), Counter(storage.references(body, self._bases))
        for reference, times in occurrences.items():
            resolved = await self._resolve(reference)
            if only is not None and await self._waited_for(reference) not in only:
                continue
            if resolved.target is not None:
                tally.replacements[reference] = resolved.target
            if resolved.why is not None:
                tally.counts[_NAMES[type(reference)], resolved.why] += times
            if resolved.waits is not None and len(tally.waits) < MOST_WAITS:
                tally.waits[resolved.waits] = None
        rewritten = storage.rewrite(body, tally.replacements, self._bases)
        if only is None:
            for reference in rewritten.unresolved:
                if reference in tally.replacements:  # a target that does not fit its place
                    tally.counts[_NAMES[type(reference)], "no_counterpart"] += occurrences[reference]
        references = tuple(ReferenceCount(kind=k, why=w, count=n) for (k, w), n in sorted(tally.counts.items()))
        return Body(rewritten.text, bool(tally.waits), rewritten.changed, references, tuple(tally.waits))

    # -- one reference -------------------------------------------------------------------------------------------

    async def _resolve(self, r: storage.Reference) -> Resolved:
        match r:
            case storage.UserRef():
                return await self._person(r)
            case storage.PageRef():
                return await self._titled(r.space_key, r.title, None)
            case storage.BlogRef():
                return await self._titled(r.space_key, r.title, r)
            case storage.SpaceRef():
                return await self._space(r.key)
            case storage.ContentIdRef():
                found = await self._job.content_target(r.id)
                return Resolved(storage.ContentId(found[1])) if found else await self._absent(r.id)
            case storage.UrlRef():
                return await self._url(r)
            case storage.AttachmentRef():
                return await self._file(r)
            case storage.ShortcutRef():
                return Resolved(storage.Keep(), "no_counterpart")
            case _:
                return Resolved(storage.Keep())

    async def _absent(self, id: str) -> Resolved:
        """Something by an id that is not on the site: it waits if the source has it."""
        if await self._exists(id):
            return Resolved(None, "not_moved", id)
        return Resolved(storage.Keep(), "not_in_source")

    async def _waited_for(self, r: storage.Reference) -> str | None:
        """The id at the source of what a reference names."""
        match r:
            case storage.ContentIdRef():
                return r.id
            case storage.PageRef():
                return await self._job.source.find_content(r.space_key or self._key, r.title)
            case storage.BlogRef():
                return await self._job.source.find_content(r.space_key or self._key, r.title, _day(r.day))
            case storage.UrlRef():
                return r.content_id or await self._named_by(r)
        return None

    async def _named_by(self, r: storage.UrlRef) -> str | None:
        if r.kind in ("page_title", "blog") and r.space_key and r.title:
            return await self._job.source.find_content(r.space_key, r.title, _day(r.day))
        return None

    async def _person(self, r: storage.UserRef) -> Resolved:
        name = r.key or r.account_id or r.username or ""
        if name not in self._people:
            id = await self._person_id(r.username) if r.username is not None else name
            account = await self._job.account(id) if id else None
            if account:
                self._people[name] = Resolved(storage.Account(account))
            else:
                former = storage.FormerUser(await self._job.former_name(id))
                self._people[name] = Resolved(former, "no_account")
        return self._people[name]

    async def _person_id(self, username: str) -> str:
        person = await self._job.source.person_by_name(username)
        return person.id if person else username

    async def _space(self, key: str) -> Resolved:
        new_key = await self._job.key_on_site(key)
        target = storage.SpaceKey(new_key) if new_key != key else storage.Keep()
        space = await self._job.source.space_by_key(key)
        if space is None:
            return Resolved(storage.Keep(), "not_in_source")
        return Resolved(target, await self._unless_moved(space.id))

    async def _unless_moved(self, space: str) -> Why | None:
        return None if await self._job.target(Kind.SPACE, space) is not None else "not_moved"

    async def _titled(self, key: str | None, title: str, blog: storage.BlogRef | None) -> Resolved:
        """A link by title stays one, unless the space has another key there or the page another title."""
        new_key = await self._job.key_on_site(key) if key else None
        kept: storage.Target = storage.Title(new_key, title) if new_key != key else storage.Keep()
        id = await self._job.source.find_content(key or self._key, title, _day(blog.day) if blog else None)
        if id is None:
            return Resolved(kept, "not_in_source")
        found = await self._job.content_target(id)
        if found is None:
            return Resolved(kept, "not_moved", id)
        if await self._renamed(id):
            there = await self._job.site.content("blogpost" if found[0] is Kind.BLOGPOST else "page", found[1])
            return Resolved(storage.Title(new_key, there.title))
        return Resolved(kept)

    async def _file(self, r: storage.AttachmentRef) -> Resolved:
        """A file goes by its name."""
        if not await self._any_renamed():
            return Resolved(storage.Keep())
        holder = await self._waited_for(r.page) if r.page is not None else self._content
        container = await self._job.content_target(holder) if holder is not None else None
        if holder is None or container is None:
            return Resolved(storage.Keep())
        name = await self._name_there(holder, *container, r.filename)
        return Resolved(storage.Keep() if name == r.filename else storage.Filename(name))

    async def _name_there(self, holder: str, kind: Kind, container: str, name: str) -> str:
        """The name on the site of a file of this name: another one where it was taken there."""
        if kind is Kind.ATTACHMENT or not await self._any_renamed():
            return name
        if container not in self._files:
            self._files[container] = await self._names(holder, kind, container)
        return self._files[container].get(name, name)

    async def _any_renamed(self) -> bool:
        """Whether any file of the source got another name on the site; asked once for a chunk."""
        if self._renamed_files is None:
            self._renamed_files = bool(
                await self._job.pool.fetchval(
                    "SELECT true FROM work.outcome o JOIN work.task t ON t.task = o.task JOIN work.plan p ON p.plan = t.plan"
                    " WHERE p.ledger = ANY($1) AND p.source = $2 AND o.kind = 'attachment' AND o.reason = 'title_clash' LIMIT 1",
                    self._job.ledgers,
                    self._job.source_id,
                )
            )
        return self._renamed_files

    async def _names(self, holder: str, kind: Kind, container: str) -> dict[str, str]:
        """Old name to new of the files on a page that were renamed, unless another of the old name stands beside them."""
        rows = await self._job.pool.fetch(
            "SELECT DISTINCT o.id, o.target, o.reason FROM work.outcome o JOIN work.task t ON t.task = o.task"
            " JOIN work.plan p ON p.plan = t.plan JOIN work.inventory i ON i.task = o.task AND i.epoch = t.inventory_epoch"
            " AND i.kind = o.kind AND i.id = o.id WHERE p.ledger = ANY($1) AND p.source = $2 AND o.kind = 'attachment'"
            " AND o.outcome = 'migrated' AND i.container = $3",
            self._job.ledgers,
            self._job.source_id,
            holder,
        )
        if not any(row["reason"] == Reason.TITLE_CLASH for row in rows):
            return {}
        place: Literal["page", "blogpost"] = "blogpost" if kind is Kind.BLOGPOST else "page"
        there = {file.id: file.filename async for file in self._job.site.attachments(place, container)}
        found: dict[str, str] = {}
        kept: set[str] = set()
        for row in rows:
            name = (await self._job.source.attachment(row["id"])).filename
            if row["reason"] == Reason.TITLE_CLASH and row["target"] in there:
                found[name] = there[row["target"]]
            else:
                kept.add(name)
        return {old: new for old, new in found.items() if old not in kept}

    async def _renamed(self, id: str) -> bool:
        return bool(
            await self._job.pool.fetchval(
                "SELECT true FROM work.outcome o JOIN work.task t ON t.task = o.task JOIN work.plan p ON p.plan = t.plan"
                " WHERE p.ledger = ANY($1) AND p.source = $2 AND o.kind IN ('page', 'blogpost') AND o.id = $3"
                " AND o.reason = 'title_clash' LIMIT 1",
                self._job.ledgers,
                self._job.source_id,
                id,
            )
        )

    async def _url(self, r: storage.UrlRef) -> Resolved:
        """An address at the source becomes the address of the same thing on the site, the anchor kept."""
        base = f"{self._job.site.url}/wiki"
        anchor = f"#{r.anchor}" if r.anchor else ""
        if r.kind == "space" and r.space_key:
            space = await self._job.source.space_by_key(r.space_key)
            if space is None:
                return Resolved(storage.Keep(), "not_in_source")
            there = storage.Url(f"{base}/spaces/{quote(await self._job.key_on_site(r.space_key))}{anchor}")
            return Resolved(there, await self._unless_moved(space.id))
        if r.kind == "user" and r.username:
            account = await self._job.account(await self._person_id(r.username))
            if account is None:
                return Resolved(storage.Keep(), "no_account")
            return Resolved(storage.Url(f"{base}/people/{quote(account, safe=':')}"))
        id = r.content_id or await self._named_by(r)
        if id is None:
            titled = r.kind in ("page_title", "blog", "tiny")
            return Resolved(storage.Keep(), "not_in_source" if titled else "no_counterpart")
        found = await self._job.content_target(id)
        if found is None:
            return await self._absent(id)
        kind, target = found
        if r.kind == "attachment" and r.filename:
            name = quote(await self._name_there(id, kind, target, r.filename))
            return Resolved(storage.Url(f"{base}/download/attachments/{target}/{name}"))
        space_key = quote(await self._job.key_on_site(r.space_key or await self._space_of(id)))
        place = "blog" if kind is Kind.BLOGPOST else "pages"
        return Resolved(storage.Url(f"{base}/spaces/{space_key}/{place}/{target}{anchor}"))

    async def _exists(self, id: str) -> bool:
        try:
            await self._job.source.content(id)
        except NotInSource:
            return False
        return True

    async def _space_of(self, id: str) -> str:
        space = (await self._job.source.content(id)).space_id
        if space not in self._spaces:
            self._spaces[space] = (await self._job.source.space(space)).key
        return self._spaces[space]

    # -- where it comes from -------------------------------------------------------------------------------------

    async def _line(self, content: Content | Comment | Revision) -> str:
        """The line on the page that tells who made and changed it, if the plan wants one."""
        if not isinstance(content, Content) or self._job.saved.options.provenance != "line":
            return ""
        wiki = content.format == "wiki"
        told = [
            f"{word} {await self._written_name(person, wiki)}{_on(when)}"
            for word, person, when in (
                ("Made by", content.creator, content.created_at),
                ("last changed by", content.modifier, content.modified_at),
            )
            if person or when
        ]
        if not told:
            return ""
        text = "; ".join(told) + "."
        return f"\n\n{text}" if wiki else f"<p><em>{text}</em></p>"

    async def _written_name(self, id: str | None, wiki: bool) -> str:
        account = await self._job.account(id) if id else None
        if account and not wiki:
            return f'<ac:link><ri:user ri:account-id="{escape(account)}" /></ac:link>'
        name = storage.former_user(storage.FormerUser(await self._job.former_name(id)))
        return name if wiki else escape(name, quote=False)


def _on(when: datetime | None) -> str:
    return f" on {when:%Y-%m-%d}" if when else ""


def _day(text: str | None) -> date | None:
    """The day of "2012/01/30"."""
    try:
        return date(*(int(part) for part in text.split("/"))) if text else None
    except (ValueError, TypeError):
        return None
