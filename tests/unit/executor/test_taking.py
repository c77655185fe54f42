"""Matching is one to one: what was made or found on the site stands for one entity, whoever looks at the same moment."""

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import asyncpg
import pytest_asyncio

from services.executor.job import Job, Row
from shared.events.catalog.work import Kind
from shared.events.database import open_pool
from tests.servers import Database

ONE, OTHER = Row(Kind.COMMENT, "1"), Row(Kind.COMMENT, "2")


@pytest_asyncio.fixture
async def pool(database: Database) -> AsyncIterator[asyncpg.Pool]:
    pool = await open_pool(database.settings("executor"), application="executor")
    yield pool
    await pool.close()


def worker(pool: asyncpg.Pool, source: str = "source") -> Any:
    """What of a job ``take`` looks at."""
    return SimpleNamespace(
        pool=pool,
        site_id="site",
        source_id=source,
        claim=SimpleNamespace(work=SimpleNamespace(task="task")),
        begun=lambda _: None,
    )


async def test_of_many_workers_that_find_one_object_at_once_exactly_one_has_it(pool: asyncpg.Pool) -> None:
    rows = [Row(Kind.COMMENT, str(n)) for n in range(20)]
    for target in map(str, range(20)):
        had = await asyncio.gather(*(Job.take(worker(pool), row, target) for row in rows))
        assert had.count(True) == 1


async def test_what_stands_for_an_entity_is_found_again_by_its_next_attempt_and_by_no_other(pool: asyncpg.Pool) -> None:
    assert await Job.take(worker(pool), ONE, "target")
    assert await Job.take(worker(pool), ONE, "target")
    assert not await Job.take(worker(pool), OTHER, "target")
    assert not await Job.take(worker(pool, "another source"), ONE, "target")


async def test_what_is_recorded_as_something_elses_is_not_taken(database: Database, pool: asyncpg.Pool) -> None:
    admin = await database.connect()
    await admin.execute(
        "INSERT INTO work.id_map VALUES ('site', 'source', 'comment', '1', 'target', 'an earlier task')"
    )
    await admin.close()
    assert not await Job.take(worker(pool), OTHER, "target")
    assert await Job.take(worker(pool), ONE, "target")
