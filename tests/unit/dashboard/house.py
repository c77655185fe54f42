"""The parts of a dashboard under test: owners of decisions that only note what they are asked."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import Any, cast

import httpx
from fastapi import FastAPI

from services.dashboard.app import create_app
from services.dashboard.domain.problems import ProblemError
from services.dashboard.handlers.context import Parts
from shared.events.commands import Command, JudgeChecks, Problem, Reply
from shared.events.projections.base import Pool
from tests.store.test_projections import PLAN, SITE, SOURCE, Log

TOKEN = "test-token-of-32-characters-0000"
KEY = bytes(range(32))


@dataclass
class Owners:
    """Answers commands as their owners would; one with a known id gets its first answer again. What only asks is not noted."""

    asked: list[Command] = field(default_factory=list)
    answers: dict[str, Reply] = field(default_factory=dict)
    refusal: Problem | None = None
    checks: list[dict[str, Any]] = field(default_factory=list)

    async def send(self, command: Command) -> Reply:
        if self.refusal is not None:
            raise ProblemError.of(self.refusal)
        if isinstance(command, JudgeChecks):
            return Reply(id=command.command_id, result={"checks": self.checks})
        if command.command_id not in self.answers:
            self.asked.append(command)
            self.answers[command.command_id] = Reply(id=command.command_id, result={"position": 0})
        return self.answers[command.command_id]


@dataclass
class House:
    client: httpx.AsyncClient
    owners: Owners
    log: Log
    pool: Pool
    parts: Parts

    async def catch_up(self) -> None:
        for runner in self.parts.runners:
            await runner.catch_up()


@cache
def _app() -> FastAPI:
    return create_app(cast(Parts, None))


def application(parts: Parts) -> FastAPI:
    """The application with these parts. Building it takes a second: it is built once, and has its parts exchanged."""
    app = _app()
    app.state.parts = parts
    return app


async def named(house: House, connection: object) -> None:
    """What the owners of people.* write beside their events."""
    execute = connection.execute  # type: ignore[attr-defined]
    await execute(
        "INSERT INTO people.source (id, name, kind, location) VALUES ($1, 'Wiki', 'xml', '/exports/wiki.zip')", SOURCE
    )
    await execute("INSERT INTO people.site (id, name, url) VALUES ($1, 'Example', 'http://127.0.0.1:8999')", SITE)
    await execute("INSERT INTO people.plan (id, name) VALUES ($1, 'First move')", PLAN)
    await execute(
        "INSERT INTO people.space (source, space, key, name) VALUES ($1, '1', 'ENG', 'Engineering'), ($1, '2', 'OPS', 'Operations')",
        SOURCE,
    )
