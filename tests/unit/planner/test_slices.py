"""A phase is cut into chunks that hold every row of the inventory once, and what belongs together in one."""

from __future__ import annotations

import random
from itertools import groupby

import pytest

from services.planner import slices
from services.planner.domain.tasks import PlanSlice, Task
from shared.events.catalog.work import Kind, Phase, TaskKind
from shared.events.database import open_pool
from shared.events.types import new_id
from tests.servers import Database

SIZE = 5


def task_of(phase: Phase) -> Task:
    return Task(new_id(), new_id(), TaskKind.SPACE, "1", 0, None, 1, phase, 0, 0, True, -1, 0, 0, None, False, False)


async def cut(pool: object, task: Task, phase: Phase) -> list[tuple[int, int, int]]:
    """First, last and number of each chunk, slice by slice."""
    found: list[tuple[int, int, int]] = []
    for n in range(100):
        after = found[-1][1] if found else -1
        chunks, last = await slices.cut(pool, task, PlanSlice(phase, 0, n, after), SIZE)
        found += [(chunk.first, chunk.last, chunk.count) for chunk in chunks]
        if last:
            return found
    raise AssertionError("a phase without an end")


@pytest.mark.parametrize("seed", range(12))
async def test_every_row_is_in_one_chunk_and_the_comments_of_one_page_are_in_the_same(
    database: Database, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    chance = random.Random(seed)
    most = chance.choice((20, 1000))
    monkeypatch.setattr(slices, "_MOST_TOGETHER", most)
    monkeypatch.setattr(slices, "CHUNKS_IN_SLICE", chance.choice((1, 3, 7, 500)))
    # Sets of comments as they come: some pages have more than a chunk holds, and one comes twice, with others between.
    sets = [(chance.randrange(9), chance.choice((1, 1, 2, 3, 6, 13, 30))) for _ in range(25)]
    containers = [str(container) for container, n in sets for _ in range(n)]
    ordinals = sorted(chance.sample(range(5 * len(containers)), len(containers)))
    admin = await database.connect()
    for phase, kind in ((Phase.COMMENT, Kind.COMMENT), (Phase.ATTACHMENT, Kind.ATTACHMENT)):
        task = task_of(phase)
        await admin.executemany(
            "INSERT INTO work.inventory (task, epoch, ordinal, kind, id, container, depth) VALUES ($1, 1, $2, $3, $4, $5, 0)",
            [(task.task, o, kind.value, str(o), c) for o, c in zip(ordinals, containers, strict=True)],
        )
        pool = await open_pool(database.settings("planner"), application="planner")
        found = await cut(pool, task, phase)
        await pool.close()
        inside = [[o for o in ordinals if first <= o <= last] for first, last, _ in found]
        assert [o for chunk in inside for o in chunk] == ordinals
        assert [len(chunk) for chunk in inside] == [n for _, _, n in found]
        if phase is Phase.ATTACHMENT:
            assert all(n == SIZE for _, _, n in found[:-1])
            continue
        assert all(n < SIZE + most for _, _, n in found)
        begins = {chunk[0] for chunk in inside}
        at = dict(zip(ordinals, containers, strict=True))
        for _, run in groupby(ordinals, at.__getitem__):
            together = list(run)
            if slices.CHUNKS_IN_SLICE > 6 and most == 1000:
                assert not begins & set(together[1:]), "a chunk begins among the comments of one page"
    await admin.close()
