"""Pages that not everybody may see, made or changed in a space that is open already: closed before anything is in them.

In a space of its own a plan restricts pages before the space is opened. Into one that an earlier plan made, a page that is hidden
at the source, by itself or by a page above it, is created for the migrator alone and restricted at once; and before anything is
written to a page, or hung on it, its own restrictions and those of the pages above it are set as the source has them now.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

from services.executor.job import ChangedOnSite, Job
from services.executor.phases import restricting
from services.executor.phases.above import Above
from shared.confluence.model import Content
from shared.confluence.site import NotOnSite
from shared.confluence.source import NotInSource
from shared.events.catalog.work import Kind


class Shades:
    """Of one chunk. Does nothing where the space is not an earlier plan's. Raises ChangedOnSite where somebody opened on the site
    what the source hides from today: then nothing more may come there."""

    def __init__(self, job: Job) -> None:
        self._job, self._above = job, Above(job)
        self._drawn: set[str] = set()  # ids of the source

    async def private(self, content: Content, place: str | None) -> bool:
        """Whether it has to be created below ``place`` for the migrator alone. What is above it is closed by then."""
        if not await self._job.into_earlier():
            return False
        await self._draw_above(content)
        return restricting.hides(content) or bool(await self._above.hiding(content, place))

    async def draw(self, content: Content, target: str, *, made_now: bool = False) -> None:
        """Restricts it, and what is above it, as at the source. ``made_now``: nobody can have changed it on the site."""
        if content.id in self._drawn or not await self._job.into_earlier():
            return
        await self._draw_above(content)
        await self._draw(content, target, made_now)

    async def over(self, id: str) -> None:
        """Does so for the page, blog post or file of the source with this id, on which something is to hang."""
        if id in self._drawn or not await self._job.into_earlier():
            return
        found = await self._job.content_target(id)
        if found is None:
            return
        if found[0] is not Kind.ATTACHMENT:
            await self.draw(await self._job.source.content(id), found[1])
        elif (container := (await self._job.source.attachment(id)).container) is not None:
            await self.over(container)
            self._drawn.add(id)

    @asynccontextmanager
    async def moving(self, content: Content, target: str, parent: str | None) -> AsyncIterator[None]:
        """While a page and all below it on the site moves below ``parent`` there (None: to the top), it is hidden by what hides it
        at the one place or the other. What else would lose what hides it is closed first, if the plan places it anew as well."""
        if not await self._job.into_earlier():
            yield
            return
        await self._draw_above(content)
        stood, stands = await self._above.hiding(content, target), await self._above.hiding(content, parent)
        both = [*stands, *(page for page in stood if page.id not in {other.id for other in stands})]
        await self._restrict(content, target, both)
        await self._close_below(target, await self._above.on_site(parent))
        yield
        if len(both) > len(stands):
            await self._restrict(content, target, stands, ours=True)
        self._drawn.add(content.id)

    async def _close_below(self, top: str, new: list[str]) -> None:
        """``new``: the pages of the site that will be above ``top``."""
        leaving = [page for page in (await self._above.on_site(top))[1:] if page not in new]
        if not [page for page in leaving if "read" in await self._job.site.restrictions(page)]:
            return
        waiting = [(top, [top, *new])]
        while waiting:
            page, path = waiting.pop()
            async for child in self._job.site.children(page):
                await self._close_if_seen(child.id, path)
                waiting.append((child.id, [child.id, *path]))

    async def _close_if_seen(self, target: str, path: list[str]) -> None:
        """``path``: the pages of the site that will be above it."""
        id = await self._job.source_page(target)
        if id is None:
            raise ChangedOnSite  # somebody wrote it where not everybody sees it
        try:
            content = await self._job.source.content(id)
        except NotInSource as gone:
            raise ChangedOnSite from gone
        hiding = await self._above.restricted(content)
        if [page for page in hiding if await self._job.target(Kind.PAGE, page.id) not in path]:
            if not await self._job.takes_page(id):
                raise ChangedOnSite
            await restricting.close(self._job, target)
        elif restricting.hides(content):
            await self.draw(content, target)

    async def _draw_above(self, content: Content) -> None:
        """From the top down, each once."""
        for page in await self._above.at_source(content):
            if page.id in self._drawn:
                continue
            if (target := await self._job.target(Kind.PAGE, page.id)) is not None:
                with suppress(NotOnSite):  # then it is above nothing there
                    await self._draw(page, target)
            self._drawn.add(page.id)

    async def _draw(self, content: Content, target: str, made_now: bool = False) -> None:
        above = await self._above.hiding(content, target)
        if content.restrictions or above or not made_now:
            await self._restrict(content, target, above, ours=made_now)
        self._drawn.add(content.id)

    async def _restrict(self, content: Content, target: str, above: Sequence[Content], *, ours: bool = False) -> None:
        lent = await self._above.restricted(content)
        if not content.restrictions and not lent:
            return
        try:
            now = await restricting.bring(self._job, content, target, above, lent, ours=ours)
        except restricting.Refused:  # it is closed, and the phase of restrictions tells of it
            return
        if now is None and (restricting.hides(content) or above):
            raise ChangedOnSite
