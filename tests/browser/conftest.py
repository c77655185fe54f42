"""A real browser before a dashboard with a plan's whole history. The browser is brought along where there is none."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
import uvicorn
from playwright.async_api import Browser, BrowserContext, Page, async_playwright

from services.dashboard.app import create_app
from shared.events.catalog import plan, task
from shared.events.catalog.work import Phase, TaskKind
from tests.servers import Database, PostgresServer
from tests.store.test_projections import PLAN, claimed, counts, ended, finished, history, id_of, phase
from tests.unit.dashboard.conftest import house, opened, told, told_of
from tests.unit.dashboard.house import TOKEN, House

__all__ = ["house", "told"]

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
RUNNING = id_of("running")
SHOTS = Path(os.environ.get("CLOUDWARD_SCREENSHOTS") or "build/screenshots")


def found() -> str | None:
    return next((path for name in NAMES if (path := shutil.which(name))), None)


def find_browser() -> str | None:
    """A Chromium that is there, else Debian's package where we may install it, else Playwright's own download."""
    if found() is None and os.geteuid() == 0 and shutil.which("apt-get"):
        for words in (["update", "-qq"], ["install", "-y", "-qq", "chromium"]):
            subprocess.run(["apt-get", *words], capture_output=True, check=False, timeout=240)
    if found() is None:
        subprocess.run(
            [sys.executable, "-m", "playwright", "install", "chromium"], capture_output=True, check=False, timeout=240
        )
    return found()


@pytest.fixture(scope="session")
async def chromium() -> AsyncIterator[Browser]:
    path = await asyncio.to_thread(find_browser)
    async with async_playwright() as playwright:
        try:
            browser = await playwright.chromium.launch(executable_path=path, args=FLAGS)
        except Exception as error:
            pytest.skip(f"no browser can be had here ({type(error).__name__})")
        yield browser
        await browser.close()


@dataclass
class Site:
    """A dashboard that a browser reaches. ``problems``: what the pages' own consoles complained about."""

    url: str
    house: House
    browser: Browser
    problems: list[str]

    async def link(self, role: str = "admin") -> str:
        async with httpx.AsyncClient(trust_env=False, headers={"Authorization": f"Bearer {TOKEN}"}) as client:
            answer = await client.post(f"{self.url}/api/v1/sign-in-links", json={"role": role})
            return f"{self.url}{answer.json()['path']}"

    async def open(
        self, *, width: int = 1440, scheme: str = "light", javascript: bool = True
    ) -> tuple[BrowserContext, Page]:
        """A logged-in page of a browser of its own. Everything its console reports as an error is noted."""
        context = await self.browser.new_context(
            viewport={"width": width, "height": 900},
            color_scheme="dark" if scheme == "dark" else "light",
            java_script_enabled=javascript,
        )
        page = await context.new_page()
        page.on("console", lambda message: self.problems.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        await page.goto(await self.link())
        return context, page


@asynccontextmanager
async def served(house: House, chromium: Browser) -> AsyncIterator[Site]:
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(create_app(house.parts), log_level="error", lifespan="off", access_log=False)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    runners = [asyncio.create_task(runner.run(house.parts.ending)) for runner in house.parts.runners]
    yield Site(f"http://127.0.0.1:{listener.getsockname()[1]}", house, chromium, [])
    house.parts.ending.set()
    server.should_exit = True
    await asyncio.gather(serving, *runners)


@pytest.fixture
async def site(told: House, chromium: Browser) -> AsyncIterator[Site]:
    """A dashboard of a test's own, for tests that change something."""
    async with served(told, chromium) as site:
        yield site


async def running(house: House, database: Database) -> None:
    """Besides: a plan under way, with a space in work, and half an hour of pace for both plans."""
    saved = next(event for event in history() if isinstance(event, plan.PlanSaved))
    space, chunk_id, of = id_of("space-r"), id_of("chunk-r"), {"task": id_of("space-r"), "plan": RUNNING}
    done = [ended("page", str(900 + n)) for n in range(30)]
    await house.log.append(
        [
            saved.model_copy(update={"plan": RUNNING, "predecessor": None}),
            plan.PlanStarted(plan=RUNNING, consent="given"),
            task.TaskStarted(kind=TaskKind.SPACE, space="1", target=id_of("tr"), marker=id_of("r"), **of),
            task.InventoryTaken(chunk=chunk_id, epoch=1, counts=counts(space=1, page=90), digest="1" * 64, **of),
            phase(space, Phase.PAGE, "chunk-q", "chunk-r", count=100).model_copy(update={"plan": RUNNING}),
            claimed("chunk-q", space).model_copy(update={"plan": RUNNING}),
            finished("chunk-q", *done),
            claimed("chunk-r", space).model_copy(update={"plan": RUNNING}),
        ]
    )
    await house.catch_up()
    connection = await database.connect()
    await connection.execute("INSERT INTO people.plan (id, name) VALUES ($1, 'Wiki EU production')", RUNNING)
    await connection.execute(
        "INSERT INTO read.pace SELECT p, date_trunc('minute', now()) - n * interval '1 minute', 'page', 600 + (n * 37) % 300, 9000000"
        " FROM unnest($1::text[]) p, generate_series(1, 40) n WHERE n <> 13",
        [RUNNING, PLAN],
    )
    await connection.close()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def seen(postgres: PostgresServer, chromium: Browser) -> AsyncIterator[Site]:
    """A dashboard that tests share which only look."""
    database = await postgres.fresh_database()
    async with opened(database) as house:
        await told_of(house, database)
        await running(house, database)
        async with served(house, chromium) as site:
            yield site
    await postgres.drop_database(database)
