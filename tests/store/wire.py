"""A wire between client and server that a test can cut, and on which it can hold answers back."""

import asyncio
import contextlib
from typing import Self
from urllib.parse import parse_qs, urlsplit


class Wire:
    """Listens on a local port and passes bytes on to the server of a DSN."""

    def __init__(self, dsn: str) -> None:
        parts = urlsplit(dsn)
        self._socket = parse_qs(parts.query).get("host", [None])[0]
        self._host, self._port = parts.hostname, parts.port or 5432
        self._user, self._path = parts.netloc.rpartition("@")[0], parts.path
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.holding = False  # answers of the server are thrown away
        self.sent_while_holding = asyncio.Event()
        self.port = 0

    @property
    def dsn(self) -> str:
        return f"postgresql://{self._user}@127.0.0.1:{self.port}{self._path}?sslmode=disable"

    async def __aenter__(self) -> Self:
        await self.mend()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.cut()

    async def mend(self) -> None:
        self.holding = False
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        """Closes every connection and refuses new ones."""
        if self._server is not None:
            self._server.close()
        self.drop()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def drop(self) -> None:
        """Closes every connection; new ones are let through."""
        for writer in list(self._writers):
            writer.transport.abort()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._socket is not None:
            inner = await asyncio.open_unix_connection(f"{self._socket}/.s.PGSQL.{self._port}")
        else:
            inner = await asyncio.open_connection(self._host, self._port)
        self._writers |= {writer, inner[1]}
        for task in (
            asyncio.create_task(self._pass(reader, inner[1], answers=False)),
            asyncio.create_task(self._pass(inner[0], writer, answers=True)),
        ):
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pass(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, *, answers: bool) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65536):
                if self.holding and answers:
                    self.sent_while_holding.set()  # the server has answered: what was asked is done
                    continue
                target.write(data)
                await target.drain()
        target.close()
        self._writers.discard(target)
