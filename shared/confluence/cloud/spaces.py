"""Spaces of the site and who may do what in them."""

from collections.abc import AsyncIterator, Sequence
from typing import Literal
from urllib.parse import quote

from shared.confluence.cloud import parsing
from shared.confluence.cloud.parsing import RoleAssignment, SitePermission, SiteRole
from shared.confluence.cloud.transport import Transport
from shared.confluence.site import KeyTaken, NotOnSite, OutcomeUnknown, SiteError, SiteRefused, SiteSpace

PAGE = 250  # the most a v2 list gives at once
GONE = 410  # what a v1 operation answers where only its v2 twin is left

RoleMode = Literal["classic", "transition", "roles"]
_ROLE_MODES: dict[str, RoleMode] = {"PRE_ROLES": "classic", "ROLES_TRANSITION": "transition", "ROLES": "roles"}


class Spaces:
    """Part of ``CloudSite``."""

    _site: Transport

    async def role_mode(self) -> RoleMode:
        """How the site holds space permissions: one by one ("classic"), as roles, or on the way between. v2."""
        try:
            answer = await self._site.read("space role mode", "/wiki/api/v2/space-role-mode")
        except NotOnSite:
            return "classic"  # sites older than the question
        mode = parsing.fields(answer).get("mode")
        return _ROLE_MODES.get(str(mode), "classic")

    async def create_private_space(self, key: str, name: str, description: str) -> SiteSpace:
        """Create a space only its creator sees (v1; the one call that makes it private from the first moment).

        ``description``: plain text, set by the same call. Raises ``KeyTaken`` also where the space is in the trash or
        not visible. The site creates a homepage with it; ``homepage_id`` is None if it could not be read back.
        """
        answer = await self._site.write(
            "create space",
            "POST",
            "/wiki/rest/api/space/_private",
            {"key": key, "name": name, "description": {"plain": {"value": description, "representation": "plain"}}},
            taken=KeyTaken,
        )
        created = parsing.fields(answer)
        if "id" not in created or "key" not in created:
            raise OutcomeUnknown("create space: the answer names no space")
        try:
            # The answer leaves out the homepage, the creator or the time, by version of the site.
            return await self.space(str(created["id"]))
        except SiteError:
            return parsing.space(created)

    async def space(self, space_id: str) -> SiteSpace:
        """One space with its plain description (v2)."""
        answer = await self._site.read("read space", f"/wiki/api/v2/spaces/{space_id}", {"description-format": "plain"})
        return parsing.space(answer)

    async def find_space(self, key: str) -> SiteSpace | None:
        """The visible space of this key, whatever the case of its letters. Trashed and hidden ones are not found.

        The list (v2) may not know a space that has just been made, and knows the key in one spelling only. The space's
        own address (v1) is asked then; where v1 is gone, the list decides.
        """
        wanted = key.casefold()
        async for data in self._site.each(
            "find space", "/wiki/api/v2/spaces", {"keys": key, "description-format": "plain", "limit": PAGE}
        ):
            if str(data.get("key", "")).casefold() == wanted:
                return parsing.space(data)
        try:
            found = parsing.fields(await self._site.read("find space", f"/wiki/rest/api/space/{quote(key, safe='~')}"))
            return await self.space(str(found["id"])) if found.get("id") else None
        except NotOnSite:
            return None
        except SiteRefused as error:
            if error.status == GONE:
                return None
            raise

    async def spaces(self) -> AsyncIterator[SiteSpace]:
        """Every space the account sees, by id (v2)."""
        async for data in self._site.each(
            "list spaces", "/wiki/api/v2/spaces", {"description-format": "plain", "limit": PAGE}
        ):
            yield parsing.space(data)

    async def update_space(
        self, key: str, name: str | None = None, description: str | None = None, homepage_id: str | None = None
    ) -> None:
        """Set what is not None (v1)."""
        body: dict[str, object] = {}
        if name is not None:
            body["name"] = name
        if description is not None:
            body["description"] = {"plain": {"value": description, "representation": "plain"}}
        if homepage_id is not None:
            body["homepage"] = {"id": homepage_id}
        await self._site.write("update space", "PUT", f"/wiki/rest/api/space/{quote(key, safe='~')}", body)

    async def delete_space(self, key: str) -> str | None:
        """Start to delete a space for good (v1). The site goes on by itself; the answer is its long task's id."""
        answer = await self._site.write("delete space", "DELETE", f"/wiki/rest/api/space/{quote(key, safe='~')}")
        return parsing.text(parsing.fields(answer).get("id"))

    async def long_task_finished(self, task_id: str) -> bool:
        """Whether a long task has ended. Raises ``SiteRefused`` if it ended without success (v1)."""
        answer = parsing.fields(await self._site.read("long task", f"/wiki/rest/api/longtask/{task_id}"))
        finished = bool(answer.get("finished", int(answer.get("percentageComplete", 0)) >= 100))
        if finished and answer.get("successful") is False:
            raise SiteRefused("long task: the site ended it without success")
        return finished

    async def add_space_permission(
        self,
        space_key: str,
        subject_type: Literal["user", "group"],
        identifier: str,
        operation_key: str,
        target: str,
    ) -> None:
        """Grant one permission on a classic site (v1). Granted already is done.

        ``identifier``: account id, group id, or "anonymous" as a user. "read" on "space" has to be the first of a
        subject. Sites that use roles only refuse it.
        """
        try:
            await self._site.write(
                "add space permission",
                "POST",
                f"/wiki/rest/api/space/{quote(space_key, safe='~')}/permission",
                {
                    "subject": {"type": subject_type, "identifier": identifier},
                    "operation": {"key": operation_key, "target": target},
                },
                taken=_AlreadyGranted,
            )
        except _AlreadyGranted:
            return

    async def space_permissions(self, space_id: str) -> AsyncIterator[SitePermission]:
        """What is granted in a space (v2)."""
        async for data in self._site.each(
            "list space permissions", f"/wiki/api/v2/spaces/{space_id}/permissions", {"limit": PAGE}
        ):
            yield parsing.permission(data)

    async def space_roles(self, space_id: str) -> AsyncIterator[SiteRole]:
        """The roles that can be given in a space, on sites that use roles (v2)."""
        async for data in self._site.each(
            "list space roles", "/wiki/api/v2/space-roles", {"space-id": space_id, "limit": PAGE}
        ):
            yield parsing.role(data)

    async def role_assignments(self, space_id: str) -> AsyncIterator[RoleAssignment]:
        """Who has which role in a space (v2)."""
        async for data in self._site.each(
            "list role assignments", f"/wiki/api/v2/spaces/{space_id}/role-assignments", {"limit": PAGE}
        ):
            yield parsing.assignment(data)

    async def assign_roles(self, space_id: str, assignments: Sequence[RoleAssignment]) -> None:
        """Give, change or take roles, all or none (v2). Principals that are not named keep theirs."""
        await self._site.write(
            "assign roles",
            "POST",
            f"/wiki/api/v2/spaces/{space_id}/role-assignments",
            [
                {
                    "principal": {"principalType": given.principal_type, "principalId": given.principal},
                    **({} if given.role_id is None else {"roleId": given.role_id}),
                }
                for given in assignments
            ],
        )

    async def add_space_labels(self, space_key: str, names: Sequence[str]) -> None:
        """Add categories to a space, which are labels with the prefix "team" (v1)."""
        await self._site.write(
            "add space labels",
            "POST",
            f"/wiki/rest/api/space/{quote(space_key, safe='~')}/label",
            [{"prefix": "team", "name": name} for name in names],
        )

    async def watch_space(self, space_key: str, account_id: str) -> None:
        """Make someone watch a space; needs a Confluence administrator (v1)."""
        await self._site.write(
            "watch space",
            "POST",
            f"/wiki/rest/api/user/watch/space/{space_key}",
            params={"accountId": account_id},
            headers={"X-Atlassian-Token": "no-check"},
        )


class _AlreadyGranted(SiteRefused):
    pass
