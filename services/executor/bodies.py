"""What a body's references become on the site: people, pages, spaces, addresses. The text is changed nowhere else."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from urllib.parse import quote

from services.executor.job import Job
from shared.confluence import storage
from shared.confluence.model import Comment, Content
from shared.confluence.source import NotInSource
from shared.events.catalog.work import Kind


@dataclass(frozen=True, slots=True)
class Body:
    """``pending``: a reference waits for content that is not on the site yet. ``unresolved``: so many are left as they are."""

    text: str
    pending: bool
    unresolved: int


class Bodies:
    """Rewrites the bodies of one chunk; remembers what it resolved. ``final``: nothing more will come in this plan."""

    def __init__(self, job: Job, bases: Sequence[str], key: str) -> None:
        self._job, self._bases, self._key = job, tuple(bases), key
        self._people: dict[str, storage.Target] = {}
        self._spaces: dict[str, str] = {}

    @classmethod
    async def of(cls, job: Job, final: bool = False) -> "Bodies":
        return cls(job, job.bases, await job.source_key())

    async def rewrite(self, content: Content | Comment) -> Body:
        """The body for the site. Wiki markup is left to the site, which converts it."""
        if content.format == "wiki":
            return Body(content.body, False, 0)
        # A marker whose inline comment cannot follow would dangle: the text in it stays, the marker goes.
        body = storage.unwrap_inline_markers(storage.modern_macros(content.body).text).text
        replacements: dict[storage.Reference, storage.Target] = {}
        pending = False
        for reference in dict.fromkeys(storage.references(body, self._bases)):
            target = await self._resolve(reference)
            if target is not None:
                replacements[reference] = target
            elif _by_id(reference):
                pending = True
        rewritten = storage.rewrite(body, replacements, self._bases)
        return Body(rewritten.text, pending, len(rewritten.unresolved))

    async def _resolve(self, r: storage.Reference) -> storage.Target | None:
        match r:
            case storage.UserRef():
                return await self._person(r)
            case storage.PageRef():
                return await self._titled(r.space_key, r.title, None)
            case storage.BlogRef():
                return await self._titled(r.space_key, r.title, r)
            case storage.SpaceRef():
                new_key = await self._job.key_on_site(r.key)
                return storage.SpaceKey(new_key) if new_key != r.key else storage.Keep()
            case storage.ContentIdRef():
                found = await self._job.content_target(r.id)
                return storage.ContentId(found[1]) if found else None
            case storage.UrlRef():
                return await self._url(r)
            case _:
                return storage.Keep()

    async def _person(self, r: storage.UserRef) -> storage.Target:
        name = r.key or r.account_id or r.username or ""
        if name not in self._people:
            id = r.key or r.account_id
            if id is None and r.username is not None:
                person = await self._job.source.person_by_name(r.username)
                id = person.id if person else r.username
            account = await self._job.account(id) if id else None
            self._people[name] = storage.Account(account) if account else storage.FormerUser(None)
        return self._people[name]

    async def _titled(self, key: str | None, title: str, blog: storage.BlogRef | None) -> storage.Target:
        """A link by title stays one, unless the space has another key there or the page another title."""
        new_key = await self._job.key_on_site(key) if key else None
        id = await self._job.source.find_content(key or self._key, title, _day(blog.day) if blog else None)
        if id is not None and await self._renamed(id):
            found = await self._job.content_target(id)
            if found is not None:
                kind = "blogpost" if found[0] is Kind.BLOGPOST else "page"
                there = await self._job.site.content("blogpost" if kind == "blogpost" else "page", found[1])
                return storage.Title(new_key, there.title)
        return storage.Title(new_key, title) if new_key != key else storage.Keep()

    async def _renamed(self, id: str) -> bool:
        return bool(
            await self._job.pool.fetchval(
                "SELECT true FROM work.outcome o JOIN work.task t ON t.task = o.task JOIN work.plan p ON p.plan = t.plan"
                " WHERE p.site = $1 AND p.source = $2 AND o.kind IN ('page', 'blogpost') AND o.id = $3"
                " AND o.reason = 'title_clash' LIMIT 1",
                self._job.site_id,
                self._job.source_id,
                id,
            )
        )

    async def _url(self, r: storage.UrlRef) -> storage.Target | None:
        """An address at the source becomes the address of the same thing on the site, the anchor kept."""
        base = f"{self._job.site.url}/wiki"
        anchor = f"#{r.anchor}" if r.anchor else ""
        id = r.content_id
        if r.kind in ("page_title", "blog") and r.space_key and r.title:
            id = await self._job.source.find_content(r.space_key, r.title, _day(r.day))
            if id is None:
                return storage.Keep()
        if r.kind == "space" and r.space_key:
            return storage.Url(f"{base}/spaces/{quote(await self._job.key_on_site(r.space_key))}{anchor}")
        if id is None:
            return storage.Keep()
        found = await self._job.content_target(id)
        if found is None:
            return None if await self._exists(id) else storage.Keep()
        kind, target = found
        if r.kind == "attachment" and r.filename:
            return storage.Url(f"{base}/download/attachments/{target}/{quote(r.filename)}")
        space = quote(await self._job.key_on_site(r.space_key or await self._space_of(id)))
        place = "blog" if kind is Kind.BLOGPOST else "pages"
        return storage.Url(f"{base}/spaces/{space}/{place}/{target}{anchor}")

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


def _day(text: str | None) -> date | None:
    """The day of "2012/01/30"."""
    try:
        return date(*(int(part) for part in text.split("/"))) if text else None
    except (ValueError, TypeError):
        return None


def _by_id(reference: storage.Reference) -> bool:
    """Whether the reference can only be resolved once its target is on the site."""
    return isinstance(reference, storage.ContentIdRef | storage.UrlRef)
