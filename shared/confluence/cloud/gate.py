"""What stands between the client and the site: permission to write, concurrency, and news of throttling and latency."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol


class Gate(Protocol):
    """The executor's governor of one site. Every request passes it."""

    def check_write(self) -> None:
        """Raise ``WritesForbidden`` if the worker may not write any more.

        Called immediately before every write is sent, after the wait for a slot, and before every chunk of an upload.
        """

    def claim(self) -> str | None:
        """Under which right the request is sent, ids only: so that who looks at the site's side can tell what it belongs to."""

    def slot(self) -> AbstractAsyncContextManager[None]:
        """Wait for a place among the requests under way, and hold it."""

    def throttled(self, retry_after: float | None) -> None:
        """The site said 429 (or 503 with Retry-After). ``retry_after`` in seconds, None if it does not say."""

    def observe(self, operation: str, seconds: float, status: int | None) -> None:
        """One request ended. ``status`` is None where no answer was received."""


class OpenGate:
    """A gate that lets everything through: for checks, the command line and tests."""

    def check_write(self) -> None:
        return

    def claim(self) -> str | None:
        return None

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        yield

    def throttled(self, retry_after: float | None) -> None:
        return

    def observe(self, operation: str, seconds: float, status: int | None) -> None:
        return
