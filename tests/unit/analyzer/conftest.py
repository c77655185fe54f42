"""An analyzer in this process over a real database, and wikis of the sandbox to read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from itertools import count
from typing import Any

import httpx
import pytest

from sandbox.app import Instance, Sandbox
from services.analyzer.analysis import Analysis, Sources
from services.analyzer.handlers import COMMANDS, Handlers
from services.analyzer.tables import TABLE_COMMANDS, Tables
from services.dashboard.adapters.access import Access
from services.dashboard.adapters.logins import Logins
from services.dashboard.adapters.reads import Reads
from services.dashboard.adapters.secrets import Secrets
from services.dashboard.domain.inputs import CredentialIn
from services.dashboard.domain.problems import ProblemError
from services.dashboard.handlers.context import Parts
from shared.events.claims import Claims
from shared.events.commands import Analyze, Command, RegisterSource, Reply
from shared.events.contract import Actor
from shared.events.database import open_pool
from shared.events.projections.registry import READ_PROJECTIONS
from shared.events.projections.runner import Runner
from shared.events.projections.work import WorkProjection
from shared.events.store import EventStore
from shared.events.types import new_id
from tests.servers import Database
from tests.unit.dashboard.house import application

ACTOR = Actor(kind="service", key=new_id())
KEY = bytes(range(32))
_names = count()
GENERATED = {"spaces": 7, "pages": 40, "users": 30, "attachments": 10, "comments": 20}


class Killed(BaseException):
    """The process dies here: nothing after this is done, no lease given back."""


class Mortal:
    """A pool that dies at its n-th call."""

    def __init__(self, pool: Any, after: int | None) -> None:
        self._pool, self._left = pool, after

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._pool, name)
        if name not in ("fetch", "fetchrow", "fetchval", "execute", "executemany"):
            return found

        async def call(*arguments: Any, **options: Any) -> Any:
            if self._left is not None:
                self._left -= 1
                if self._left < 0:
                    raise Killed
            return await found(*arguments, **options)

        return call


class Bureau:
    """What an analyzer does: commands, and chunks one after the other, as the dispatcher would offer them."""

    def __init__(self, database: Database, stack: AsyncExitStack, sandbox: Sandbox) -> None:
        self.database, self._stack, self.sandbox = database, stack, sandbox
        self.settings = database.settings("analyzer", analysis_spaces=2)

    async def open(self, folder: Any) -> None:
        key = folder / "key"
        key.write_text(KEY.hex())
        update = {"secret_key_file": key, "data": folder, "export_roots": "/"}
        self.settings = self.settings.model_copy(update=update)
        self.pools: dict[str, Any] = {}
        for role in ("analyzer", "planner", "dashboard"):
            self.pools[role] = await open_pool(self.database.settings(role), application="tests")
            self._stack.push_async_callback(self.pools[role].close)
        self.pool = self.pools["analyzer"]
        self.stores = {
            role: await self._stack.enter_async_context(EventStore(pool)) for role, pool in self.pools.items()
        }
        self.store = self.stores["analyzer"]
        self.handlers = Handlers(self.store, self.pool, self.settings)
        self.claims = Claims(self.store, self.pool, self.settings, ACTOR.key)
        self.sources = Sources(self.pool, self.settings)
        self._stack.push_async_callback(self.sources.close)
        self.admin = await self.database.connect()
        self._stack.push_async_callback(self.admin.close)

    def command(self, kind_: type[Command], **fields: Any) -> Any:
        id = new_id()
        return kind_(command_id=id, actor=ACTOR, correlation=id, **fields)

    async def send(self, command: Command) -> Reply:
        owner: Any = self.handlers if type(command) in COMMANDS else Tables(self.store, self.pool)
        reply: Reply = await getattr(owner, (COMMANDS | TABLE_COMMANDS)[type(command)])(command)
        await self.catch_up()
        return reply

    async def wiki(self, version: str = "9.2.1", **options: Any) -> str:
        """A server of the sandbox, registered as a source."""
        name = f"wiki{next(_names)}"
        given = {"version": version, "generate": GENERATED} | options
        if "sample" in options or "model" in options:
            given.pop("generate")
        await self.sandbox.add(Instance(name, "server", 0, given))
        secret = await Secrets(self.pools["dashboard"], KEY).store(CredentialIn(token="sandbox-pat"), new_id())
        return await self.register("rest", self.sandbox.url(name), secret)

    async def register(self, kind: str, location: str, secret: str | None = None) -> str:
        name = f"source {next(_names)}"
        reply = await self.send(self.command(RegisterSource, name=name, kind=kind, location=location, secret=secret))
        assert reply.id, reply.problem
        return reply.id

    async def begin(self, source: str) -> str:
        reply = await self.send(self.command(Analyze, source=source))
        assert reply.id
        return reply.id

    async def analyze(self, source: str, kill_after: int | None = None) -> str:
        """To its end. ``kill_after``: the worker dies at that call of the database, in its first attempt."""
        analysis = await self.begin(source)
        await self.work(analysis, kill_after)
        return analysis

    async def work(self, analysis: str, kill_after: int | None = None) -> int:
        """Takes chunks until none is left; how many deaths there were."""
        deaths = 0
        while True:
            await self.catch_up()
            chunk = await self.admin.fetchval(
                "SELECT chunk FROM work.chunk WHERE task = $1 AND state <> 'ended' ORDER BY first_ordinal LIMIT 1",
                analysis,
            )
            if chunk is None:
                return deaths
            claim = await self.claims.take(chunk)
            assert claim is not None, "a chunk that cannot be claimed"
            pool: Any = Mortal(self.pool, kill_after)
            try:
                async with claim:
                    await Analysis(self.store, pool, self.settings, ACTOR, claim, self.sources).run()
            except Killed:
                deaths, kill_after = deaths + 1, None
                await self.admin.execute("UPDATE work.lease SET expires_at = 'epoch'")  # time passes

    async def catch_up(self) -> None:
        await Runner(self.pools["planner"], self.stores["planner"], WorkProjection()).catch_up()
        for projection in READ_PROJECTIONS:
            await Runner(self.pools["dashboard"], self.stores["dashboard"], projection).catch_up()

    async def events(self, analysis: str) -> list[Any]:
        return [row.event for row in await self.store.read_stream(f"analysis-{analysis}")]


@pytest.fixture
async def api(bureau: Bureau) -> AsyncIterator[httpx.AsyncClient]:
    """The dashboard's API over the same database; its commands go to this analyzer."""

    class Owners:
        async def send(self, command: Command) -> Reply:
            reply = await bureau.send(command)
            if reply.problem is not None:
                raise ProblemError.of(reply.problem)
            return reply

    pool = bureau.pools["dashboard"]
    runners = tuple(Runner(pool, bureau.stores["dashboard"], projection) for projection in READ_PROJECTIONS)
    owners: Any = Owners()
    access = Access(pool, bureau.stores["dashboard"], "t" * 32)
    await access.introduce()
    store = bureau.stores["dashboard"]
    parts = Parts(
        Reads(pool), Secrets(pool, KEY), owners, store, runners, access, asyncio.Event(), Logins(pool, KEY, None, 5.0)
    )
    transport = httpx.ASGITransport(application(parts))
    headers = {"Authorization": f"Bearer {'t' * 32}"}
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1/api/v1", headers=headers) as client:
        yield client


@pytest.fixture(scope="session")
async def wikis() -> AsyncIterator[Sandbox]:
    async with Sandbox([]) as running:
        yield running


@pytest.fixture
async def bureau(database: Database, wikis: Sandbox, tmp_path: Any) -> AsyncIterator[Bureau]:
    async with AsyncExitStack() as stack:
        bureau = Bureau(database, stack, wikis)
        await bureau.open(tmp_path)
        yield bureau
