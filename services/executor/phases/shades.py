"""Pages that not everybody may see, made or changed in a space that is open already: closed before anything is in them.

In a space of its own a plan restricts pages before the space is opened. Where an earlier plan has opened it, a page that is
view-restricted at the source is created for the migrator alone and restricted at once; and before anything is written to a
page, or hung on it, its own restrictions and those of the pages above it are set as the source has them now.
"""

from contextlib import suppress

from services.executor.job import Job
from services.executor.phases import restricting
from shared.confluence.model import Content
from shared.events.catalog.work import Kind


class Shades:
    """Of one chunk. Does nothing where the space is not an earlier plan's."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._drawn: set[str] = set()  # ids of the source

    async def private(self, content: Content) -> bool:
        """Whether it has to be created for the migrator alone. What is above it is closed by then."""
        if not await self._open():
            return False
        await self._above(content)
        return any(restriction.operation == "read" for restriction in content.restrictions)

    async def draw(self, content: Content, target: str, *, made_now: bool = False) -> None:
        """Restricts it, and what is above it, as at the source. ``made_now``: nobody can have changed it on the site."""
        if not await self._open():
            return
        await self._above(content)
        if content.restrictions and content.id not in self._drawn:
            await self._restrict(content, target, made_now)
        self._drawn.add(content.id)

    async def over(self, id: str) -> None:
        """Does so for the page, blog post or file of the source with this id, on which something is to hang."""
        if id in self._drawn or not await self._open():
            return
        found = await self._job.content_target(id)
        if found is None:
            return
        if found[0] is not Kind.ATTACHMENT:
            await self.draw(await self._job.source.content(id), found[1])
        elif (container := (await self._job.source.attachment(id)).container) is not None:
            await self.over(container)
            self._drawn.add(id)

    async def _above(self, content: Content) -> None:
        """From the top down, each once."""
        path: list[Content] = []
        parent = content.parent
        while parent is not None and parent not in self._drawn and len(path) < 1000:
            above = await self._job.source.content(parent)
            path.append(above)
            parent = above.parent
        for above in reversed(path):
            self._drawn.add(above.id)
            target = await self._job.target(Kind(above.kind), above.id)
            if target is not None and above.restrictions:
                await self._restrict(above, target, False)

    async def _restrict(self, content: Content, target: str, ours: bool) -> None:
        with suppress(restricting.Refused):  # it is closed, and the phase of restrictions tells of it
            await restricting.bring(self._job, content, target, ours=ours)

    async def _open(self) -> bool:
        return self._job.saved.follow is not None and await self._job.into_earlier()
