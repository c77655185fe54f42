"""What stands above a page, at the source and on the site: a page is hidden by every view-restricted page above it."""

from dataclasses import replace

from services.executor.job import Job
from services.executor.phases import restricting
from shared.confluence.model import Content
from shared.events.catalog.work import Kind

_DEEPEST = 1000  # pages above one another; a circle ends here


class Above:
    """Of one chunk: it remembers what it read at the source, without the bodies."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._read: dict[str, Content] = {}

    async def at_source(self, content: Content) -> list[Content]:
        """From the top down."""
        path: list[Content] = []
        parent = content.parent
        while parent is not None and len(path) < _DEEPEST:
            if parent not in self._read:
                self._read[parent] = replace(await self._job.source.content(parent), body="")
            path.append(self._read[parent])
            parent = path[-1].parent
        return path[::-1]

    async def on_site(self, page: str | None) -> list[str]:
        """The page itself and those above it, from the bottom up. None: the top of the space, where nothing is above."""
        path: list[str] = []
        while page is not None and len(path) < _DEEPEST:
            path.append(page)
            page = (await self._job.site.content("page", page)).parent
        return path

    async def restricted(self, content: Content) -> list[Content]:
        """The view-restricted pages above it at the source: one of them may have lent it its own restriction."""
        return [page for page in await self.at_source(content) if restricting.hides(page)]

    async def hiding(self, content: Content, place: str | None) -> list[Content]:
        """Those of them that are not above ``place`` on the site, nor that itself: there it has to be hidden by itself."""
        found = await self.restricted(content)
        if not found:
            return []
        there = set(await self.on_site(place))
        return [page for page in found if await self._job.target(Kind.PAGE, page.id) not in there]
