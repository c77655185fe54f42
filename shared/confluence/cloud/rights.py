"""What the credential may do on the site, asked without changing anything."""

from shared.confluence.cloud import parsing
from shared.confluence.cloud.needs import Right
from shared.confluence.cloud.transport import Transport
from shared.confluence.site import NotOnSite, SiteForbids, SiteRefused, SiteUnauthorized


class Rights:
    """Part of ``CloudSite``."""

    _site: Transport
    _organization: Transport | None
    _directory_id: str | None

    async def rights(self) -> frozenset[Right]:
        """Of those that operations need (see ``needs``), the ones this credential has. Raises as reads do."""
        found: set[Right] = {"api_token"} if self._site.is_token else set()
        me = parsing.fields(
            await self._site.read("what may I do", "/wiki/rest/api/user/current", {"expand": "operations"})
        )
        operations = {
            o.get("operation")
            for o in me.get("operations") or ()
            if isinstance(o, dict) and o.get("targetType") == "application"
        }
        if "use" in operations or not operations:
            found.add("confluence")
        if "administer" in operations:
            found.add("site_admin")
        jira = await self.jira_permissions()
        if jira.get("USER_PICKER"):
            found.add("user_search")
        if jira.get("ADMINISTER") and self._site.is_token:  # no app may create accounts there
            found.add("jira_admin")
        if self._organization is not None and self._directory_id is not None:
            found.add("organization")
        return frozenset(found)

    async def jira_permissions(self) -> dict[str, bool]:
        """The global permissions ADMINISTER and USER_PICKER of the account in Jira; empty where the site has no Jira."""
        try:
            answer = await self._site.read(
                "my permissions", "/rest/api/3/mypermissions", {"permissions": "ADMINISTER,USER_PICKER"}
            )
        except (NotOnSite, SiteForbids, SiteRefused, SiteUnauthorized):
            return {}
        told = parsing.fields(answer).get("permissions") or {}
        return {name: bool(parsing.fields(value).get("havePermission")) for name, value in told.items()}
