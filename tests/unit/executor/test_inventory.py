"""The inventory names everything the source holds, once: it is what `selected` means."""

from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import asyncpg

from services.executor.phases import inventory
from shared.confluence.export import open_export, take_in
from shared.confluence.model import Item
from shared.events.catalog.chunk import InventoryResult
from shared.events.catalog.plan import MoveOptions, SpaceScope
from shared.events.catalog.work import Kind
from shared.events.database import open_pool
from shared.events.types import new_id
from tests.servers import Database
from tests.unit.export.build import Ref, page, sample, simple, thing


class FakeClaim:
    def __init__(self) -> None:
        self.work, self.epoch = SimpleNamespace(task=new_id()), 1
        self.progress: dict[str, Any] = {}
        self.result: InventoryResult | None = None

    async def end(self, entities: Any, *, inventory: InventoryResult) -> None:
        self.result = inventory


async def taken(
    database: Database, export: Path, store: Path, space: str = "1", **options: Any
) -> tuple[set[tuple[str, str]], Any]:
    """Kind and id of every row of a space's inventory, and the counts that the event names."""
    source = open_export(store, await take_in(export, store))
    rows, result = await listed(database, source, space, **options)
    found = {(row["kind"], row["id"]) for row in rows}
    assert len(found) == len(rows)
    return found, {count.kind: count.count for count in result.counts}


async def listed(
    database: Database, source: Any, space: str = "1", **options: Any
) -> tuple[list[asyncpg.Record], InventoryResult]:
    """The rows of a space's inventory in their order, and what the event says of them."""
    claim = FakeClaim()
    pool = await open_pool(database.settings("executor"), application="tests")
    try:
        saved = SimpleNamespace(options=MoveOptions(**options), follow=None)
        scope = SpaceScope(space=space)
        ids = {"site_id": new_id(), "source_id": new_id()}
        job: Any = SimpleNamespace(
            claim=claim, pool=pool, source=source, space_id=space, saved=saved, scope=scope, **ids
        )
        await inventory.take(job, "space")
        rows = await pool.fetch(
            "SELECT * FROM work.inventory WHERE task = $1 AND epoch = 1 ORDER BY ordinal", claim.work.task
        )
    finally:
        await pool.close()
        await source.close()
    assert claim.result is not None
    return rows, claim.result


async def test_everything_in_a_space_is_in_its_inventory(database: Database, tmp_path: Path) -> None:
    found, counts = await taken(database, sample("dc").zip(tmp_path / "x.zip"), tmp_path / "store")
    assert found == {
        ("space", "1"),
        *(("page", id) for id in ("10", "11")),
        ("blogpost", "20"),
        *(("comment", id) for id in ("30", "31")),
        ("attachment", "40"),
        *(("body", id) for id in ("10", "11", "20")),
        ("label", "11"),
        ("restriction", "11"),
        *(("owner", id) for id in ("10", "11")),
        *(("provenance", id) for id in ("10", "11", "20", "30", "31", "40")),
        *(("permission", id) for id in ("70", "71", "72")),
    }
    assert counts == {
        kind: sum(name == kind.value for name, _ in found) for kind in Kind if any(n == kind.value for n, _ in found)
    }


async def test_pages_of_every_depth_and_beyond_a_batch_are_in_the_inventory(database: Database, tmp_path: Path) -> None:
    chain = [page(str(n), str(n - 1) if n > 1000 else None) for n in range(1000, 1040)]
    wide = [page(str(n), "1000") for n in range(2000, 3200)]
    remarks = [
        thing("Comment", str(n), containerContent=Ref("Page", str(n - 2000)), version=1) for n in range(4000, 4300)
    ]
    found, counts = await taken(database, simple(*chain, *wide, *remarks).zip(tmp_path / "x.zip"), tmp_path / "store")
    ids = {*map(str, range(1000, 1040)), *map(str, range(2000, 3200))}
    assert {id for kind, id in found if kind == "page"} == ids == {id for kind, id in found if kind == "body"}
    assert {id for kind, id in found if kind == "comment"} == set(map(str, range(4000, 4300)))
    assert (counts[Kind.PAGE], counts[Kind.BODY], counts[Kind.COMMENT]) == (1240, 1240, 300)


async def test_comments_that_a_source_lists_as_they_came_stand_page_by_page_each_in_its_order(
    database: Database,
) -> None:
    on = {"30": "11", "31": "10", "32": "11", "33": "10", "34": "40", "35": "10"}

    class Wiki(SimpleNamespace):
        async def items(self, space: str) -> AsyncIterator[Item]:
            for id in ("10", "11"):
                yield Item("page", id, 1)
            yield Item("comment", "30", 1, container="11")
            yield Item("attachment", "40", 1, container="10")
            for id in ("31", "32", "33", "34"):
                yield Item("comment", id, 1, container=on[id])
            yield Item("comment", "35", 2, container="10", parent="31", depth=1, dangling=True)

        async def space(self, space: str) -> Any:
            return SimpleNamespace(labels=(), homepage_id="10")

        async def permissions(self, space: str) -> AsyncIterator[Any]:
            for nothing in ():
                yield nothing

        async def watchers(self, kind: str, id: str) -> list[str]:
            return []

        async def left_behind(self, space: str) -> dict[str, int]:
            return {}

        async def close(self) -> None: ...

    rows, _ = await listed(database, Wiki())
    comments = [row for row in rows if row["kind"] == "comment"]
    assert [row["id"] for row in comments] == ["30", "32", "31", "33", "35", "34"]
    assert {row["id"]: row["container"] for row in comments} == on
    last = comments[4]
    assert (last["version"], last["parent"], last["depth"], last["dangling"]) == (2, "31", 1, True)
