"""Accounts and groups as a dry run sees them."""

import contextlib
from collections.abc import AsyncIterator

from services.executor.dry.objects import SlotTaken
from services.executor.dry.overlay import (
    Overlay,
    folded,
)
from shared.confluence.site import (
    Account,
    NameTaken,
    SiteGroup,
)


class People(Overlay):
    """Part of ``DrySite``."""

    async def find_account(self, email: str) -> Account | None:
        made = await self._made.in_slot("account", folded(email))
        return Account(made.id, None, email) if made is not None else await self._real.find_account(email)

    async def create_account(self, email: str) -> Account:
        self._gate.check_write()
        id = f"dry:{await self._made.new_id()}"
        try:
            await self._made.put("account", id, {}, slot=folded(email))
        except SlotTaken:
            found = await self.find_account(email)
            if found is not None:
                return found
        return Account(id, None, email)

    async def access_groups(self) -> list[SiteGroup]:
        return await self._real.access_groups()

    async def groups_of(self, account_id: str) -> list[SiteGroup]:
        joined = [SiteGroup(str(each.state["group"]), "") for each in await self._made.held("membership", account_id)]
        return joined if account_id.startswith("dry:") else [*await self._real.groups_of(account_id), *joined]

    async def find_group(self, name: str) -> SiteGroup | None:
        made = await self._made.in_slot("group", folded(name))
        return SiteGroup(made.id, name) if made is not None else await self._real.find_group(name)

    async def create_group(self, name: str) -> SiteGroup:
        self._gate.check_write()
        id = await self._made.new_id()
        try:
            await self._made.put("group", id, {}, slot=folded(name))
        except SlotTaken as error:
            raise NameTaken("create group: a group of this name exists", 400) from error
        return SiteGroup(id, name)

    async def add_to_group(self, group_id: str, account_id: str) -> None:
        self._gate.check_write()
        with contextlib.suppress(SlotTaken):  # a member already
            await self._made.put("membership", f"{group_id} {account_id}", {"group": group_id}, holder=account_id)

    async def remove_from_group(self, group_id: str, account_id: str) -> None:
        self._gate.check_write()
        await self._made.remove("membership", f"{group_id} {account_id}")

    async def delete_group(self, group_id: str) -> None:
        self._gate.check_write()
        await self._made.remove("group", group_id)

    async def group_members(self, group_id: str) -> AsyncIterator[Account]:
        async for member in self._real.group_members(group_id):
            yield member
