"""A person with a browser, for logins at the sandbox's authorization server."""

import re
from urllib.parse import parse_qsl, urlsplit

import httpx

MIGRATOR = "migrator@example.com"


async def allow(
    address: str, site: str, email: str = MIGRATOR, decision: str = "accept", *, follow: bool = True
) -> httpx.Response:
    """Opens the address of a login, picks account and site (by its URL), decides, and follows the way back if told to."""
    async with httpx.AsyncClient(timeout=30, trust_env=False, follow_redirects=follow) as browser:
        asked = await browser.get(address)
        found = re.search(rf'<option value="([0-9a-f-]+)">[^<]*\({re.escape(site)}\)', asked.text)
        assert found, asked.text
        fields = dict(parse_qsl(urlsplit(address).query))
        where = address.partition("?")[0]
        return await browser.post(where, data={**fields, "email": email, "site": found[1], "decision": decision})
