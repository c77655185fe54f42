"""What /readyz says of each fault, on real servers: which check, within ten seconds, and that it ends with the repair."""

import asyncio
import html
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import httpx
import pytest

from tests.delivery.conftest import House

pytestmark = [pytest.mark.slow]

WORKERS = ("planner", "planner-2", "analyzer", "executor-1", "executor-2")
# Seconds: what is promised, and what a busy machine is allowed besides (`make readiness` allows nothing).
WITHIN, GRACE = 10.0, float(os.environ.get("CLOUDWARD_TEST_GRACE", "5"))


async def readiness(house: House, service: str) -> tuple[int, dict[str, Any]]:
    """Status of /readyz, and the checks by name; status 0 where nothing answers."""
    port = house.house.services[service].told().get("ops_port")
    try:
        async with httpx.AsyncClient(timeout=2, trust_env=False) as http:
            answer = await http.get(f"http://127.0.0.1:{port}/readyz")
            return answer.status_code, answer.json()["checks"]
    except httpx.HTTPError:
        return 0, {}


async def until(
    house: House, service: str, good: Callable[[int, dict[str, Any]], bool], within: float
) -> dict[str, Any]:
    deadline = time.monotonic() + within
    while True:
        status, checks = await readiness(house, service)
        if good(status, checks):
            return checks
        assert time.monotonic() < deadline, f"{service}: {status} {checks}"
        await asyncio.sleep(0.1)


async def red(house: House, check: str, *services: str) -> None:
    """Waits until each of the services says 503 and names the check."""

    def good(status: int, checks: dict[str, Any]) -> bool:
        return status == 503 and bool(checks[check]["state"] == "failed")

    await asyncio.gather(*(until(house, service, good, WITHIN + GRACE) for service in services))


async def green(house: House, *services: str) -> None:
    for service in services:
        await until(house, service, lambda status, _: status == 200, 40)


PAGES = ("/", "/plans", "/plans/new", "/sources", "/sources/new", "/sites", "/sign-in")


@asynccontextmanager
async def signed_in(house: House) -> AsyncIterator[httpx.AsyncClient]:
    """A browser's session, begun while all is well."""
    way_in = await house.call("post", "/sign-in-links", {"role": "admin"})
    async with httpx.AsyncClient(
        base_url=house.house.dashboard_url, trust_env=False, timeout=10, follow_redirects=True
    ) as http:
        assert (await http.get(way_in["path"])).status_code == 200
        yield http


async def degraded(house: House, check: str, http: httpx.AsyncClient) -> None:
    """The dashboard says so in /readyz, is ready all the same, and serves every page with its state said."""
    checks = await until(
        house, "dashboard", lambda status, c: status == 200 and c[check]["state"] == "degraded", WITHIN + GRACE
    )
    sentence = checks[check]["detail"]
    for page in PAGES:
        answer = await http.get(page)
        assert answer.status_code == 200, f"{page}: {answer.status_code}"
        assert sentence[1:20] in html.unescape(answer.text), f"{page} does not say: {sentence}"


@asynccontextmanager
async def paused_planners(house: House) -> AsyncIterator[None]:
    """Nobody is there to mend."""
    pids = [house.house.pid(name) for name in ("planner", "planner-2")]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


async def delete_durable(house: House, name: str) -> None:
    client = await house.nats()
    await client.jetstream().delete_consumer("WORK", name)
    await client.close()


async def delete_stream(house: House, name: str) -> None:
    client = await house.nats()
    await client.jetstream().delete_stream(name)
    await client.close()


async def there(house: House, stream: str, durable: str | None) -> None:
    """Waits until it is back, by itself."""
    client = await house.nats()
    try:
        async with asyncio.timeout(20):
            while True:
                try:
                    js = client.jetstream(timeout=2)
                    await (js.consumer_info(stream, durable) if durable else js.stream_info(stream))
                    return
                except Exception:
                    await asyncio.sleep(0.2)
    finally:
        await client.close()


@pytest.mark.parametrize(
    ("fault", "name", "stream", "durable", "reds"),
    [
        (delete_durable, "executor", "WORK", "executor", ("executor-1", "executor-2")),
        (delete_durable, "analyzer", "WORK", "analyzer", ("analyzer",)),
        (delete_stream, "WORK", "WORK", None, ("executor-1", "executor-2", "analyzer")),
    ],
)
async def test_who_needs_a_deleted_durable_or_stream_turns_red_until_it_is_back_by_itself(
    house: House,
    fault: Callable[[House, str], Awaitable[None]],
    name: str,
    stream: str,
    durable: str | None,
    reds: tuple[str, ...],
) -> None:
    await house.house.wait_ready(60)
    async with paused_planners(house):
        await fault(house, name)
        await red(house, "hints", *reds)
        assert (await readiness(house, "dashboard"))[0] == 200
    await there(house, stream, durable)
    await green(house, *WORKERS)


@pytest.mark.parametrize(
    ("fault", "name"), [(delete_durable, "executor"), (delete_stream, "EVENTS"), (delete_stream, "WORK")]
)
async def test_the_planner_names_what_is_missing_on_nats_while_it_is(
    house: House, fault: Callable[[House, str], Awaitable[None]], name: str
) -> None:
    """Both planners would mend it within a second or two: what is asked is that they saw it."""
    await house.house.wait_ready(60)
    seen = asyncio.create_task(red(house, "topology", "planner"))
    again = 0
    while not seen.done() and again < 6:  # the leader may mend before the first look
        await fault(house, name)
        again += 1
        await asyncio.wait({seen}, timeout=2.5)
        await there(house, "EVENTS" if name == "EVENTS" else "WORK", None)
    await seen
    await green(house, *WORKERS)


async def test_a_read_only_database_turns_who_writes_red_and_the_dashboard_degraded(house: House) -> None:
    await house.house.wait_ready(60)
    admin = await asyncpg.connect(house.house.postgres.admin_dsn)
    try:
        async with signed_in(house) as http:
            await admin.execute("ALTER SYSTEM SET default_transaction_read_only = on")
            await admin.execute("SELECT pg_reload_conf()")
            await red(house, "database", *WORKERS)
            await degraded(house, "database", http)
    finally:
        await admin.execute("SET default_transaction_read_only = off")
        await admin.execute("ALTER SYSTEM RESET default_transaction_read_only")
        await admin.execute("SELECT pg_reload_conf()")
        await admin.close()
    await green(house, *WORKERS, "dashboard")


async def test_without_nats_all_but_the_dashboard_turn_red(house: House) -> None:
    await house.house.wait_ready(60)
    async with signed_in(house) as http:
        house.house.nats.pause()
        try:
            await red(house, "nats", *WORKERS)
            await degraded(house, "nats", http)
        finally:
            house.house.nats.resume()
    await green(house, *WORKERS, "dashboard")


@pytest.mark.parametrize(("table", "name"), [("work.checkpoint", "work"), ("read.checkpoint", "plans")])
async def test_a_projection_that_stands_still_turns_the_planner_red_and_the_dashboard_degraded(
    house: House, source: str, table: str, name: str
) -> None:
    await house.house.wait_ready(60)
    holder = await asyncpg.connect(house.house.postgres.admin_dsn)
    transaction = holder.transaction()
    await transaction.start()
    await holder.execute(f"SELECT * FROM {table} WHERE name = $1 FOR UPDATE", name)
    try:
        await house.call("post", f"/sources/{source}/analyses")  # so that there is something to read
        if table == "work.checkpoint":
            await red(house, "projection work", "planner")
            assert (await readiness(house, "dashboard"))[0] == 200
        else:
            async with signed_in(house) as http:
                await degraded(house, f"projection {name}", http)
    finally:
        await transaction.rollback()
        await holder.close()
    await green(house, *WORKERS, "dashboard")


async def test_only_without_its_database_the_dashboard_turns_red(house: House) -> None:
    await house.house.wait_ready(60)
    house.house.postgres.pause()
    try:
        await red(house, "database", *WORKERS, "dashboard")
    finally:
        house.house.postgres.resume()
    await green(house, *WORKERS, "dashboard")
