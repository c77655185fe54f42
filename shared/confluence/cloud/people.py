"""Accounts and groups. Confluence's API cannot look accounts up by address; Jira's on the same site, or the
organization's, can."""

from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from urllib.parse import quote

from shared.confluence.cloud import parsing
from shared.confluence.cloud.transport import Transport
from shared.confluence.site import (
    Account,
    AccountHidden,
    NameTaken,
    NotOnSite,
    OutcomeUnknown,
    SiteForbids,
    SiteGroup,
    SiteRefused,
    SiteUnauthorized,
)

GROUPS_AT_ONCE = 200
USERS_AT_ONCE = 200
MATCHES_LOOKED_AT = 50


class People:
    """Part of ``CloudSite``."""

    _site: Transport
    _organization: Transport | None
    _org_id: str | None
    _directory_id: str | None

    async def whoami(self) -> Account:
        """The account of the credential (v1). A bad token may be answered as anonymous: also ``SiteUnauthorized``."""
        answer = parsing.fields(await self._site.read("who am I", "/wiki/rest/api/user/current"))
        if answer.get("type") != "known" or not answer.get("accountId"):
            raise SiteUnauthorized("the site takes the caller for anonymous: the credential is not valid", 200)
        return parsing.account(answer)

    async def find_account(self, email: str) -> Account | None:
        """The active account with exactly this address, letters' case aside. Not found where the address is hidden.

        Asks the organization if one is configured, which sees hidden addresses of managed accounts; else Jira, whose
        search is by prefix over name and address.
        """
        wanted = email.strip().casefold()
        if self._organization is not None and self._directory_id is not None:
            return await self._find_in_organization(wanted)
        found = await self._site.read(
            "find account", "/rest/api/3/user/search", {"query": email.strip(), "maxResults": MATCHES_LOOKED_AT}
        )
        for data in found if isinstance(found, list) else ():
            if str(data.get("emailAddress", "")).casefold() == wanted:
                return parsing.account(data)
        return None

    async def _find_in_organization(self, wanted: str) -> Account | None:
        assert self._organization is not None
        answer = parsing.fields(
            await self._organization.read(
                "find account",
                f"/admin/v2/orgs/{self._org_id}/directories/{self._directory_id}/users",
                {"emails": wanted},
            )
        )
        for data in answer.get("data", ()):
            if str(data.get("email", "")).casefold() == wanted:
                named = {"displayName": data.get("name"), **data}
                return parsing.account(named)
        return None

    @property
    def mails_new_people(self) -> bool:
        """Whether creating an account sends a mail to somebody without an Atlassian account: only Jira's way does."""
        return self._organization is None or self._directory_id is None

    async def create_account(self, email: str) -> Account:
        """Create an account without product access, or find the one that exists.

        By an invitation of the organization without notification, where an organization key is configured; else by Jira
        (needs Administer Jira), which mails people who have no Atlassian account yet. Raises ``AccountHidden`` where Jira
        knows an account with this address and does not show it.
        """
        if not self.mails_new_people:
            await self.invite([email])
            found = await self._find_in_organization(email.strip().casefold())
            if found is None:
                raise SiteRefused("create account: the organization did not take this address")
            return found
        answer = parsing.fields(
            await self._site.write(
                "create account",
                "POST",
                "/rest/api/3/user",
                {"emailAddress": email.strip(), "products": []},
                taken=AccountHidden,
            )
        )
        if not answer.get("accountId"):
            raise OutcomeUnknown("create account: the answer names no account")
        return parsing.account(answer)

    async def invite(
        self,
        emails: Sequence[str],
        *,
        resource: str | None = None,
        role: str = "basic",
        group_ids: Sequence[str] = (),
        message: str | None = None,
    ) -> bool:
        """Invite through the organization, and join groups. ``resource``: the site's ARI, if access is to be given.

        Without mail, unless there is a ``message``, which the mail holds. False: some addresses were refused (206). Raises
        ``SiteRefused`` where no organization is configured.
        """
        if self._organization is None:
            raise SiteRefused("invite: no organization is configured for this site")
        answer = await self._organization.write(
            "invite",
            "POST",
            f"/admin/v2/orgs/{self._org_id}/users/invite",
            {
                "emails": [email.strip() for email in emails],
                "permissionRules": [{"resource": resource, "role": role}] if resource else [],
                "additionalGroups": list(group_ids),
                "sendNotification": message is not None,
                **({"notificationText": message} if message is not None else {}),
            },
        )
        return not (isinstance(answer, dict) and answer.get("errors"))

    # Groups

    async def group_list(self) -> AsyncIterator[SiteGroup]:
        """All groups, by name (v1)."""
        async for data in self._site.each("list groups", "/wiki/rest/api/group", {"limit": GROUPS_AT_ONCE}):
            yield parsing.group(data)

    async def access_groups(self) -> list[SiteGroup]:
        """The groups whose members may use Confluence: joining one takes a licence (v1)."""
        return [
            parsing.group(data)
            async for data in self._site.each(
                "list access groups", "/wiki/rest/api/group", {"accessType": "user", "limit": GROUPS_AT_ONCE}
            )
        ]

    async def administering_groups(self) -> list[SiteGroup]:
        """The groups whose members administer Confluence or the site (v1)."""
        return [
            parsing.group(data)
            for kind in ("admin", "site-admin")
            async for data in self._site.each(
                "list administering groups", "/wiki/rest/api/group", {"accessType": kind, "limit": GROUPS_AT_ONCE}
            )
        ]

    async def jira_groups(self) -> dict[str, list[str]] | None:
        """The groups whose members may use a product of Jira: group id to the products' names. None: the credential may not
        ask, or the site has no Jira. Needs Administer Jira."""
        try:
            roles = await self._site.read("list application roles", "/rest/api/3/applicationrole")
        except (NotOnSite, SiteForbids, SiteRefused, SiteUnauthorized):
            return None
        found: dict[str, list[str]] = {}
        for role in roles if isinstance(roles, list) else ():
            for group in parsing.fields(role).get("groupDetails") or ():
                found.setdefault(str(parsing.fields(group).get("groupId")), []).append(str(role.get("name", "")))
        return found

    async def groups_of(self, account_id: str) -> list[SiteGroup]:
        """The groups an account is in (v1)."""
        return [
            parsing.group(data)
            async for data in self._site.each(
                "list groups of account",
                "/wiki/rest/api/user/memberof",
                {"accountId": account_id, "limit": GROUPS_AT_ONCE},
            )
        ]

    async def find_group(self, name: str) -> SiteGroup | None:
        """The group of exactly this name (v1)."""
        try:
            answer = await self._site.read("find group", "/wiki/rest/api/group/by-name", {"name": name})
        except NotOnSite:
            return None
        return parsing.group(answer)

    async def create_group(self, name: str) -> SiteGroup:
        """Create a group; needs a site administrator (v1). Raises ``NameTaken``."""
        answer = parsing.fields(
            await self._site.write("create group", "POST", "/wiki/rest/api/group", {"name": name}, taken=NameTaken)
        )
        if not answer.get("id"):
            raise OutcomeUnknown("create group: the answer names no group")
        return parsing.group(answer)

    async def add_to_group(self, group_id: str, account_id: str) -> None:
        """Add a member (v1). A member already is done. Groups synchronized from outside refuse it."""
        try:
            await self._site.write(
                "add to group",
                "POST",
                "/wiki/rest/api/group/userByGroupId",
                {"accountId": account_id},
                params={"groupId": group_id},
                taken=_AlreadyMember,
            )
        except _AlreadyMember:
            return

    async def remove_from_group(self, group_id: str, account_id: str) -> None:
        """Take a member out (v1). Who is not in it, and a group that is not there, is done."""
        with suppress(NotOnSite):
            await self._site.write(
                "remove from group",
                "DELETE",
                "/wiki/rest/api/group/userByGroupId",
                params={"groupId": group_id, "accountId": account_id},
            )

    async def delete_group(self, group_id: str) -> None:
        """Delete a group for good; needs a site administrator (v1). Raises ``NotOnSite``."""
        await self._site.write("delete group", "DELETE", "/wiki/rest/api/group/by-id", params={"id": group_id})

    async def group_members(self, group_id: str) -> AsyncIterator[Account]:
        """The members of a group, suspended ones left out. An unknown group has none: the site does not tell (v1)."""
        async for data in self._site.each(
            "list members",
            f"/wiki/rest/api/group/{quote(group_id, safe='')}/membersByGroupId",
            {"limit": USERS_AT_ONCE},
        ):
            if data.get("accountId"):
                yield parsing.account(data)


class _AlreadyMember(SiteRefused):
    pass
