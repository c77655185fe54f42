"""Violence against processes and servers, each fault with what it really hit.

A fault has hit a run where, at its moment, the process held something of that run unfinished: an executor a claimed chunk,
the planner or the dashboard events it had not taken in, a server a chunk that somebody was working on.
"""

import asyncio
import contextlib
import json
import os
import random
import shutil
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from tests.e2e.world import World, stopped

EXECUTORS = ("executor-1", "executor-2")


@dataclass(frozen=True)
class Fault:
    """``plans``: those whose work was under way in what it hit."""

    text: str
    plans: frozenset[str]


Act = Callable[["Violence"], Awaitable[Fault | None]]


class Violence:
    """``plans``: of the runs now under way. ``lease``: seconds after which the work of the dead is anybody's."""

    def __init__(self, world: World, chance: random.Random, lease: float, long: bool) -> None:
        self.world, self.chance, self.lease, self.long = world, chance, lease, long
        self.plans: list[str] = []
        self._acting = asyncio.Lock()
        self.executors = asyncio.Lock()  # held while executors are stopped and looked at
        self.faults: list[Fault] = []

    # -- looks ---------------------------------------------------------------------------------------------------

    async def rows(self, query: str, *arguments: object) -> list[asyncpg.Record]:
        """Looks into the database, whatever has just become of it and of our connections."""
        async with asyncio.timeout(90):
            while True:
                # A connection that a server lost under it may also find itself in no state that it knows.
                with contextlib.suppress(
                    OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, TimeoutError
                ):
                    return await asyncio.wait_for(self.world.rows(query, *arguments), 10)
                await asyncio.sleep(0.2)

    async def open_claims(self, workers: list[str] | None = None) -> dict[str, tuple[str, int, str]]:
        """Chunk → (plan, epoch, worker) of the claims that nothing has ended yet."""
        found = await self.rows(
            "SELECT k.chunk, k.plan, c.body FROM log.events c JOIN work.chunk k ON c.stream = 'chunk-' || k.chunk"
            " WHERE c.type = 'ChunkClaimed' AND k.plan = ANY($1) AND NOT EXISTS (SELECT FROM log.events e"
            " WHERE e.stream = c.stream AND e.version > c.version AND e.type <> 'EntityEnded')",
            self.plans,
        )
        claims = {}
        for row in found:
            data = json.loads(row["body"])
            data = data.get("data", data)
            if workers is None or data["worker"] in workers:
                claims[row["chunk"]] = (row["plan"], data["epoch"], data["worker"])
        return claims

    async def behind(self, checkpoint: str) -> set[str]:
        """The plans of which the log holds something that this reader has not taken in."""
        rows = await self.rows(
            f"SELECT DISTINCT convert_from(body, 'UTF8')::jsonb ->> 'correlation' AS plan FROM log.events"
            f" WHERE position > coalesce(({checkpoint}), 0)"
        )
        return {row["plan"] for row in rows} & set(self.plans)

    def worker(self, executor: str) -> str | None:
        """The name under which the process now running claims."""
        pid = self.world.house.pid(executor)
        log = self.world.house.services[executor].log
        named = None
        ours = False
        with contextlib.suppress(OSError):
            for line in log.read_text(errors="replace").splitlines():
                if '"starting"' in line:
                    ours = json.loads(line).get("pid") == pid
                elif ours and '"working"' in line:
                    named = str(json.loads(line)["worker"])
        return named if ours else None

    # -- acts ----------------------------------------------------------------------------------------------------

    async def strike(self, act: Act) -> bool:
        """Does one act; false where it found nothing under way."""
        async with self._acting:
            try:
                async with asyncio.timeout(100):
                    fault = await act(self)
            except TimeoutError:
                fault = None
            if fault is not None:
                self.faults.append(fault)
            return fault is not None

    @contextmanager
    def _still(self, pids: list[int]) -> Iterator[None]:
        try:
            yield
        finally:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    async def caught(
        self, services: list[str], look: Callable[[], Awaitable[set[str]]], patience: float = 6.0
    ) -> tuple[list[int], set[str]] | None:
        """Stops the services at a moment at which the look shows work of theirs under way. The caller ends or wakes them."""
        end = time.monotonic() + patience
        while time.monotonic() < end:
            await asyncio.sleep(self.chance.uniform(0.0, 0.2))
            pids = [self.world.house.pid(service) for service in services]
            if not all(pids):
                continue
            found = None
            try:
                if all([await stopped(pid) for pid in pids]):
                    for _ in range(5):
                        if plans := await look():
                            found = pids, plans
                            return found
                        await asyncio.sleep(0.03)
            finally:
                if (
                    found is None
                ):  # also those that stand still while another had just ended, or where this was called off
                    _signal(pids, signal.SIGCONT)
        return None

    async def claimed_by(self, executors: list[str]) -> set[str]:
        workers = [name for name in map(self.worker, executors) if name]
        return {plan for plan, _, _ in (await self.open_claims(workers)).values()}


def _signal(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def kill_executors(*names: str) -> Act:
    async def act(v: Violence) -> Fault | None:
        async with v.executors:
            found = await v.caught(list(names), lambda: v.claimed_by(list(names)))
            if found is None:
                return None
            _signal(found[0], signal.SIGKILL)
        return Fault(f"{' and '.join(names)} killed", frozenset(found[1]))

    return act


def pause_executor(name: str) -> Act:
    """Beyond its lease: it wakes when others have taken over what it had."""

    async def act(v: Violence) -> Fault | None:
        async with v.executors:
            found = await v.caught([name], lambda: v.claimed_by([name]))
        if found is None:
            return None
        with v._still(found[0]):
            await asyncio.sleep(v.lease + v.chance.uniform(1.0, 3.0))
        return Fault(f"{name} paused beyond its lease", frozenset(found[1]))

    return act


async def kill_planner(v: Violence) -> Fault | None:
    found = await v.caught(["planner"], lambda: v.behind("SELECT position FROM work.checkpoint WHERE name = 'work'"))
    if found is None:
        return None
    _signal(found[0], signal.SIGKILL)
    return Fault("planner killed", frozenset(found[1]))


async def pause_planner(v: Violence) -> Fault | None:
    found = await v.caught(["planner"], lambda: v.behind("SELECT position FROM work.checkpoint WHERE name = 'work'"))
    if found is None:
        return None
    seconds = v.chance.uniform(1, 4) if not v.long else v.chance.choice((2.0, 12.0))
    with v._still(found[0]):
        await asyncio.sleep(seconds)
    return Fault(f"planner paused for {seconds:.1f} s", frozenset(found[1]))


async def kill_dashboard(v: Violence) -> Fault | None:
    found = await v.caught(["dashboard"], lambda: v.behind("SELECT min(position) FROM read.checkpoint"))
    if found is None:
        return None
    _signal(found[0], signal.SIGKILL)
    return Fault("dashboard killed", frozenset(found[1]))


async def kill_sealer(v: Violence) -> Fault | None:
    # Its work belongs to no plan; what counts is that the log verifies with what it leaves.
    return Fault("sealer killed", frozenset()) if v.world.house.kill("sealer") else None


async def kill_analyzer(v: Violence) -> Fault | None:
    return Fault("analyzer killed", frozenset()) if v.world.house.kill("analyzer") else None


async def _worked_on(v: Violence, patience: float = 6.0) -> frozenset[str]:
    end = time.monotonic() + patience
    while time.monotonic() < end:
        if found := frozenset(plan for plan, _, _ in (await v.open_claims()).values()):
            return found
        await asyncio.sleep(v.chance.uniform(0.0, 0.1))
    return frozenset()


def _server(text: str, violence: Callable[[Violence], Awaitable[None]]) -> Act:
    async def act(v: Violence) -> Fault | None:
        if not await _worked_on(v):
            return None
        await asyncio.sleep(v.chance.uniform(0.0, 0.1))
        at = time.time()
        await violence(v)
        # What was claimed at the moment itself is told by the log afterwards.
        rows = await v.rows(
            "SELECT DISTINCT k.plan FROM log.events c JOIN work.chunk k ON c.stream = 'chunk-' || k.chunk"
            " WHERE c.type = 'ChunkClaimed' AND k.plan = ANY($1) AND c.recorded_at < to_timestamp($2) AND NOT EXISTS"
            " (SELECT FROM log.events e WHERE e.stream = c.stream AND e.version > c.version AND e.type <> 'EntityEnded'"
            "  AND e.recorded_at <= to_timestamp($2))",
            v.plans,
            at,
        )
        return Fault(text, frozenset(row["plan"] for row in rows))

    return act


async def _kill_postgres(v: Violence) -> None:
    await v.world.house.postgres.kill()


async def _pause_postgres(v: Violence) -> None:
    v.world.house.postgres.pause()
    try:
        await asyncio.sleep(60 if v.long and v.chance.random() < 0.5 else v.lease + v.chance.uniform(0.5, 2.0))
    finally:
        v.world.house.postgres.resume()


async def _kill_nats(v: Violence) -> None:
    await v.world.house.nats.kill()


async def _pause_nats(v: Violence) -> None:
    v.world.house.nats.pause()
    try:
        await asyncio.sleep(v.chance.uniform(1.0, 5.0))
    finally:
        v.world.house.nats.resume()


async def _lose_jetstream(v: Violence) -> None:
    await v.world.house.nats.kill()
    shutil.rmtree(Path(v.world.house.nats.store), ignore_errors=True)


ACTS: dict[str, Act] = {
    "kill executor 1": kill_executors("executor-1"),
    "kill executor 2": kill_executors("executor-2"),
    "kill both executors": kill_executors(*EXECUTORS),
    "pause executor 1": pause_executor("executor-1"),
    "pause executor 2": pause_executor("executor-2"),
    "kill planner": kill_planner,
    "pause planner": pause_planner,
    "kill dashboard": kill_dashboard,
    "kill postgres": _server("Postgres killed", _kill_postgres),
    "pause postgres": _server("Postgres paused beyond every lease", _pause_postgres),
    "kill nats": _server("NATS killed", _kill_nats),
    "pause nats": _server("NATS paused", _pause_nats),
    "lose jetstream": _server("JetStream's data deleted", _lose_jetstream),
    "kill sealer": kill_sealer,
    "kill analyzer": kill_analyzer,
}
