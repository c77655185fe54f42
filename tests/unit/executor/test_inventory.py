"""The inventory names everything the source holds, once: it is what `selected` means."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from services.executor.phases import inventory
from shared.confluence.export import open_export, take_in
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
        rows = await pool.fetch("SELECT kind, id FROM work.inventory WHERE task = $1 AND epoch = 1", claim.work.task)
    finally:
        await pool.close()
        await source.close()
    assert claim.result is not None
    found = {(row["kind"], row["id"]) for row in rows}
    assert len(found) == len(rows)
    return found, {count.kind: count.count for count in claim.result.counts}


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
