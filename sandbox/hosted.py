"""An instance that is an ASGI application of its own, behind the same front as the others."""

import asyncio
import re
from typing import Any
from urllib.parse import unquote

from sandbox.faults import Rule
from sandbox.wire import Answer, Document, Request, answer

_NUMBER = re.compile(r"/[0-9]+(?=/|$)")


class Hosted:
    """Runs the application on a request read whole and collects its answer.

    The application says in ``scope["state"]["journal_entry"]`` who asked (``user``) and whether for a change (``write``). It
    may leave a function that gives its body in pieces in ``scope["state"]["pieces"]`` and give the length, but no body.
    """

    upload_limit = 104_857_600

    def __init__(self, app: Any) -> None:
        self.app = app

    def resolve(self, request: Request) -> None:
        request.route = _NUMBER.sub("/{id}", request.path)
        request.account = "basic" if "authorization" in request.headers else "anonymous"

    async def handle(self, request: Request) -> Answer:
        state: dict[str, Any] = {"hosted": True}
        host, _, port = request.headers.get("host", "127.0.0.1").partition(":")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": request.method,
            "scheme": request.origin.partition(":")[0],
            "path": unquote(request.path),
            "raw_path": request.path.encode("latin-1"),
            "query_string": request.raw_query.encode("latin-1"),
            "root_path": "",
            "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in request.headers.items()],
            "server": (host, int(port or 80)),
            "client": ("127.0.0.1", 0),
            "state": state,
        }
        reply = Answer(500, content_type="")
        chunks: list[bytes] = []

        asked = False

        async def receive() -> Document:
            nonlocal asked
            if asked:
                # A streaming answer waits here for its reader to go away: told the request again, it would ask for ever.
                await asyncio.Event().wait()
            asked = True
            return {"type": "http.request", "body": request.body, "more_body": False}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                reply.status = message["status"]
                for name, value in message.get("headers", []):
                    if name == b"content-type":
                        reply.content_type = value.decode("latin-1")
                    elif name == b"content-length":
                        reply.length = int(value) if request.method == "HEAD" or "pieces" in state else None
                    else:
                        reply.headers.append((name.decode("latin-1"), value.decode("latin-1")))
            else:
                chunks.append(message.get("body", b""))

        await self.app(scope, receive, send)
        reply.body, reply.pieces = b"".join(chunks), state.get("pieces")
        entry = state.get("journal_entry") or {}
        request.account = entry.get("user") or "anonymous"
        if entry.get("write"):
            request.did("asked", "write", "", request.path)
        return reply

    def befall(self, rule: Rule, request: Request | None) -> None:
        """A server of this sandbox has none of these events."""
        del rule, request

    def too_large(self, request: Request, limit: int) -> Answer:
        del request
        text = f"Request too large. Requests for this resource can be at most {limit} bytes"
        return answer({"statusCode": 413, "message": text}, 413)
