"""The client of a Confluence Cloud site."""

from types import TracebackType
from typing import Self

from shared.confluence.cloud.attachments import Attachments
from shared.confluence.cloud.content import Contents
from shared.confluence.cloud.gate import Gate
from shared.confluence.cloud.people import People
from shared.confluence.cloud.rights import Rights
from shared.confluence.cloud.spaces import Spaces
from shared.confluence.cloud.transport import Credential, Gateway, Transport

ORGANIZATION_URL = "https://api.atlassian.com"


class CloudSite(Spaces, Contents, Attachments, Rights, People):
    """A Confluence Cloud: API v2 where it exists, v1 where it must, Jira's user API for accounts.

    ``url``: the root without ``/wiki``, e.g. https://example.atlassian.net. ``timeout``: seconds one request may take
    in all (uploads: plus time for their bytes). Errors: ``shared.confluence.site``. A write is sent once, and only if
    the gate allows it at that moment; ``id``: ours, for metrics; ``gateway``: the way of a login; after ``OutcomeUnknown`` (or a cancellation) look before repeating. Reads are
    repeated a few times. Lists are async iterators that hold one page of results.
    """

    def __init__(
        self,
        url: str,
        *,
        email: str | None,
        token: str | None,
        timeout: float = 10.0,
        gate: Gate | None = None,
        org_id: str | None = None,
        org_key: str | None = None,
        directory_id: str | None = None,
        org_url: str = ORGANIZATION_URL,
        id: str = "",
        gateway: Gateway | None = None,
    ) -> None:
        self.url = url.rstrip("/")
        self._site = Transport(self.url, Credential(email, token), timeout=timeout, gate=gate, id=id, gateway=gateway)
        self._org_id = org_id
        self._directory_id = directory_id
        self._organization = (
            Transport(org_url, Credential(token=org_key), timeout=timeout, gate=gate, id=id)
            if org_id and org_key
            else None
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._site.aclose()
        if self._organization is not None:
            await self._organization.aclose()
