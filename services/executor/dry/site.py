"""The site as a dry run sees it: what is there, and what the run would have made.

It holds a client of the real site and calls its reads only. Whatever would be a write is kept in ``people.dry_object`` and is
found again by later steps, also by those of other executors. What only a write could tell (a key in the trash, a hidden
account, a seat that is not there, a limit of the site's plan) a dry run cannot know.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import asyncpg

from services.executor.dry.besides import Besides
from services.executor.dry.contents import Contents
from services.executor.dry.objects import Objects, SlotTaken
from services.executor.dry.overlay import check_labels, now, space_of, state_of
from services.executor.dry.people import People
from shared.confluence.cloud import CloudSite, RoleAssignment, SiteRole
from shared.confluence.cloud.gate import Gate
from shared.confluence.cloud.spaces import RoleMode
from shared.confluence.site import (
    Account,
    KeyTaken,
    NotOnSite,
    SiteSpace,
)


class DrySite(Contents, Besides, People):
    """See ``CloudSite`` for what each method means. ``ledger``: the dry run's; ``me``: the account of the credential."""

    def __init__(self, real: CloudSite, pool: asyncpg.Pool, ledger: str, me: Account, gate: Gate) -> None:
        super().__init__(real, Objects(pool, ledger), me, gate)
        self.url = real.url

    async def aclose(self) -> None:
        await self._real.aclose()

    async def role_mode(self) -> RoleMode:
        return await self._real.role_mode()

    async def create_private_space(self, key: str, name: str, description: str) -> SiteSpace:
        self._gate.check_write()
        if await self._real.find_space(key) is not None:
            raise KeyTaken("create space: a space of this key exists", 400)
        id, homepage = await self._made.new_id(), await self._made.new_id()
        space = SiteSpace(id, key, name, homepage, description, self._me.account_id, now())
        try:
            await self._made.put("space", id, state_of(space), slot=key.casefold())
        except SlotTaken as error:
            raise KeyTaken("create space: a space of this key exists", 400) from error
        await self._put(self._new("page", homepage, id, name, parent=None), body="")
        return space

    async def find_space(self, key: str) -> SiteSpace | None:
        made = await self._made.in_slot("space", key.casefold())
        if made is not None:
            return None if made.gone else space_of(made)
        return await self._real.find_space(key)

    async def delete_space(self, key: str) -> str | None:
        self._gate.check_write()
        found = await self.find_space(key)
        if found is not None and not await self._made.remove("space", found.id):
            await self._made.put("space", found.id, {"gone": True}, slot=key.casefold())
        return None

    async def long_task_finished(self, task_id: str) -> bool:
        return await self._real.long_task_finished(task_id)

    async def update_space(
        self, key: str, name: str | None = None, description: str | None = None, homepage_id: str | None = None
    ) -> None:
        self._gate.check_write()
        found = await self.find_space(key)
        if found is None:
            raise NotOnSite("update space: there is none of this key", 404)
        space = replace(
            found,
            name=found.name if name is None else name,
            description=found.description if description is None else description,
            homepage_id=homepage_id or found.homepage_id,
        )
        await self._made.put("space", space.id, state_of(space), slot=key.casefold())

    async def space_roles(self, space_id: str) -> AsyncIterator[SiteRole]:
        async for role in self._real.space_roles(space_id):
            yield role

    async def assign_roles(self, space_id: str, assignments: Sequence[RoleAssignment]) -> None:
        self._gate.check_write()

    async def add_space_permission(
        self, space_key: str, subject_type: str, identifier: str, operation_key: str, target: str
    ) -> None:
        self._gate.check_write()

    async def add_space_labels(self, space_key: str, names: Sequence[str]) -> None:
        self._gate.check_write()
        check_labels(names)

    async def watch_space(self, space_key: str, account_id: str) -> None:
        self._gate.check_write()
