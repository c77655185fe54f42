"""How long the dashboard takes for a page with 10,000 spaces and 1,000 plans in the read model: ``python -m tests.bench.pages``.

Times are the server's: from the request to the last byte of the answer, in the process, without a network. The last line is one
JSON object; the exit code is 1 if the median of a first page is over 100 ms.
"""

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx

from tests.servers import Choice, Database, start_postgres
from tests.store.test_projections import ANALYSIS, PLAN, SITE, SOURCE
from tests.unit.dashboard.conftest import opened
from tests.unit.dashboard.house import House

LIMIT = 100.0  # ms, at the median
_FILL = (
    "INSERT INTO read.source (source, kind, registered_at) VALUES ('{source}', 'rest', now())",
    "INSERT INTO people.source (id, name, kind, location) VALUES ('{source}', 'Wiki', 'rest', 'https://wiki.example.com')",
    "INSERT INTO read.site (site, credential, sandbox, registered_at) VALUES ('{site}', 'sandbox', true, now())",
    "INSERT INTO people.site (id, name, url) VALUES ('{site}', 'Example', 'https://example.atlassian.net')",
    "INSERT INTO read.analysis (analysis, source, chunk, position, state, started_at, ended_at, users, groups, spaces, pages,"
    " blogposts, comments, attachments, attachment_bytes, missing_files, addresses_invalid, addresses_duplicate, addresses_unknown)"
    " VALUES ('{analysis}', '{source}', '{analysis}', 1, 'completed', now(), now(), 5000, 100, {spaces}, {spaces} * 50, {spaces},"
    " {spaces} * 20, {spaces} * 10, 1000000, 0, 0, 0, 0)",
    "INSERT INTO people.space (source, space, key, name) SELECT '{source}', n::text, 'KEY' || n, 'Space number ' || n"
    " FROM generate_series(1, {spaces}) n",
    "INSERT INTO read.analysis_space (analysis, space, type, status, pages, blogposts, comments, attachments, attachment_bytes,"
    " missing_files) SELECT '{analysis}', n::text, 'global', 'current', 50, 1, 20, 10, 100, 0 FROM generate_series(1, {spaces}) n",
    # One plan with every space, which runs; the others have ten spaces each, in every status.
    "INSERT INTO read.plan (plan, source, site, analysis, stage, users, groups, spaces_selected, accepted, status, version, position,"
    " saved_at, started_at, ended_at, conserved, spaces_migrated) SELECT CASE n WHEN 0 THEN '{plan}' ELSE md5('plan' || n) END,"
    " '{source}', '{site}', '{analysis}', 'production', 'all', true, CASE n WHEN 0 THEN {spaces} ELSE 10 END, '{{}}',"
    " CASE n WHEN 0 THEN 'RUNNING' ELSE (ARRAY['READY', 'RUNNING', 'STOPPED', 'FINISHED', 'FAILED'])[1 + n % 5] END, 1, n + 1,"
    " now() - n * interval '1 hour', CASE WHEN n % 5 > 0 OR n = 0 THEN now() - n * interval '1 hour' END,"
    " CASE WHEN n % 5 > 1 THEN now() - n * interval '50 minutes' END, CASE WHEN n % 5 > 1 THEN true END, 5"
    " FROM generate_series(0, {plans} - 1) n",
    "INSERT INTO people.plan (id, name) SELECT plan, 'Plan ' || plan FROM read.plan",
    "INSERT INTO read.plan_space (plan, space) SELECT p.plan, n::text FROM read.plan p,"
    " generate_series(1, p.spaces_selected) n",
    "INSERT INTO read.task (task, plan, kind, space, state, started_at, ended_at, position) SELECT md5(p.plan || n), p.plan, 'space',"
    " n::text, (ARRAY['migrated', 'running', 'failed', 'migrated'])[1 + n % 4], now(), now(), 1"
    " FROM read.plan p, generate_series(1, p.spaces_selected / 2) n WHERE p.status <> 'READY'",
    "INSERT INTO read.task_kind (task, kind, selected, migrated, skipped) SELECT task, k, 50, 40, 1 FROM read.task,"
    " unnest(ARRAY['space', 'page', 'blogpost', 'body', 'attachment', 'comment', 'owner', 'label']) k",
    "INSERT INTO read.plan_kind SELECT t.plan, k.kind, sum(k.selected), sum(k.migrated), sum(k.skipped), sum(k.failed)"
    " FROM read.task t JOIN read.task_kind k USING (task) GROUP BY 1, 2",
    "UPDATE read.task SET selected = 400, done = 328, weight = 82,"
    " ended_at = CASE WHEN state IN ('migrated', 'failed') THEN ended_at END",
    "UPDATE read.plan SET weight = spaces_selected * 82, weight_done = spaces_selected * 40, waiting_spaces = spaces_selected / 2,"
    " waiting_pages = spaces_selected * 25, waiting_entities = spaces_selected * 40",
    "INSERT INTO read.cause SELECT plan, 'page', 'skipped', r, 20000, '{{1,2,3}}', '{{1,2,3,4,5,6}}' FROM read.plan,"
    " unnest(ARRAY['file_missing', 'title_clash', 'plan_stopped']) r WHERE status <> 'READY'",
    "INSERT INTO read.reason (task, kind, id, outcome, reason, position) SELECT task, 'page', n::text, 'skipped', 'file_missing', n"
    " FROM (SELECT task FROM read.task LIMIT 4000) t, generate_series(1, 5) n",
    "INSERT INTO read.chunk (chunk, task, phase, depth, entities, state) SELECT md5(task || n), task, 'page', 0, 100,"
    " CASE WHEN n > 1 THEN 'ended' WHEN t.number <= 8 THEN 'claimed' ELSE 'planned' END"
    " FROM (SELECT task, row_number() OVER () AS number FROM read.task) t, generate_series(1, 6) n",
    "ANALYZE",
)
PAGES = {
    "overview": "/",
    "plans": "/plans",
    "plan": f"/plans/{PLAN}",
    "spaces of a plan": f"/plans/{PLAN}/spaces?sort=-pages&page=40",
    "source": f"/sources/{SOURCE}",
    "spaces of a source": f"/sources/{SOURCE}/spaces?q=77",
    "events": "/events",
}
FIRST = ("overview", "plans", "plan", "source", "spaces of a source")


async def fill(database: Database, spaces: int, plans: int) -> None:
    connection = await database.connect()
    names = {"source": SOURCE, "site": SITE, "analysis": ANALYSIS, "plan": PLAN, "spaces": spaces, "plans": plans}
    for statement in _FILL:
        await connection.execute(statement.format(**names))
    await connection.close()


async def timed(house: House, rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each page, a round of all of them after the other."""
    link = (await house.client.post("/api/v1/sign-in-links", json={})).json()["path"]
    await house.client.get(link)
    times: dict[str, list[float]] = {name: [] for name in PAGES}
    for n in range(rounds + 1):
        for name, path in PAGES.items():
            began = time.perf_counter()
            answer: httpx.Response = await house.client.get(path)
            assert answer.status_code == 200, (path, answer.text)
            if n:  # the first round compiles templates and prepares statements
                times[name].append((time.perf_counter() - began) * 1000)
    return times


async def measure(folder: Path, spaces: int, plans: int, rounds: int) -> dict[str, Any]:
    server = await start_postgres(Choice(containers=False, docker=False, reason="a bench"), folder)
    try:
        database = await server.fresh_database()
        await fill(database, spaces, plans)
        async with opened(database) as house:
            times = await timed(house, rounds)
    finally:
        await server.stop()
    medians = {name: round(statistics.median(found), 1) for name, found in times.items()}
    return {
        "bench": "pages",
        "spaces": spaces,
        "plans": plans,
        "rounds": rounds,
        "ms_median": medians,
        "ms_p95": {name: round(sorted(found)[int(len(found) * 0.95)], 1) for name, found in times.items()},
        "slowest_first_page_ms": max(medians[name] for name in FIRST),
        "limit_ms": LIMIT,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spaces", type=int, default=10_000)
    parser.add_argument("--plans", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=30)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cwb-", dir="/tmp") as folder:
        result = asyncio.run(measure(Path(folder) / "pg", given.spaces, given.plans, given.rounds))
    sys.stdout.write(json.dumps(result) + "\n")
    sys.exit(int(result["slowest_first_page_ms"] > LIMIT))


if __name__ == "__main__":
    main()
