"""Every request in order, so that a test can show that a source was never written to, and faults before any answer."""

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

READING = {"GET", "HEAD", "OPTIONS"}
#: JSON-RPC methods that change something; all others are questions.
RPC_WRITES = ("store", "add", "remove", "create", "delete", "set", "update", "move", "deactivate", "restore", "import")

#: Answers instead of the instance, or lets the request pass (None). May wait.
Fault = Callable[[Request], Awaitable[Response | None]]


def writes(method: str, path: str) -> bool:
    """Whether a request asks for a change, whatever became of it."""
    if method in READING:
        return False
    if "/rpc/json-rpc/" in path:
        return path.rsplit("/", 1)[-1].lower().startswith(RPC_WRITES)
    return True


class Journal:
    """Middleware. An entry: ``n, method, path, query, write, user, status``; status 0: no answer was sent."""

    def __init__(self, app: ASGIApp, entries: list[dict[str, Any]]) -> None:
        self.app = app
        self.entries = entries

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        entry: dict[str, Any] = {
            "n": len(self.entries) + 1,
            "method": scope["method"],
            "path": scope["path"],
            "query": scope["query_string"].decode("latin-1"),
            "write": writes(scope["method"], scope["path"]),
            "user": None,
            "status": 0,
        }
        self.entries.append(entry)
        scope.setdefault("state", {})["journal_entry"] = entry

        async def noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                entry["status"] = message["status"]
            await send(message)

        fault: Fault | None = getattr(scope["app"].state, "fault", None) if "app" in scope else None
        answer = await fault(Request(scope, receive)) if fault else None
        await (answer or self.app)(scope, receive, noted)
