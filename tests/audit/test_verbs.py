"""The verbs of ``cloudward audit`` and ``people`` on a data folder, as a person runs them, and the sealer as a process."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from typer.testing import CliRunner

from cli.embedded.postgres import EmbeddedPostgres
from cli.local import database
from cli.main import app
from shared.events import schema
from shared.events.audit.note import SigningKey
from shared.events.audit.service import SealerSettings, main
from shared.ops.process import Stop
from tests.audit.sealed import SealedLog, verified
from tests.store.commands import command, plan

runner = CliRunner()
PERSON = "c" * 32


@pytest.fixture(scope="module")
def data(scratch: Path) -> Path:
    """A data folder whose database runs, with a few events and a person."""
    folder = scratch / "verbs"

    async def fill(server: EmbeddedPostgres) -> None:
        await server.start()
        roles = (schema.MIGRATE, *schema.SERVICES)
        await schema.upgrade(server.admin_dsn, {role: server.password(role) for role in roles})
        from shared.events.database import prepare
        from shared.events.store import EventStore

        async with (
            asyncpg.create_pool(server.dsn("cw_planner"), min_size=1, init=prepare) as pool,
            EventStore(pool) as store,
        ):
            for _ in range(5):
                await store.append(command(plan(), count=2))
        admin = await asyncpg.connect(server.admin_dsn)
        await admin.execute(
            "INSERT INTO people.person (key, source, id, username, email, address)"
            " VALUES ($1, $2, '7', 'ann', 'ann@example.com', 'usable')",
            PERSON,
            "d" * 32,
        )
        await admin.execute("INSERT INTO people.account VALUES ($1, $2, '5b10')", "e" * 32, PERSON)
        await admin.execute("INSERT INTO people.standing VALUES ($1, $2, 'enabled_absent_chosen')", "e" * 32, PERSON)
        await admin.execute("INSERT INTO people.user_map VALUES ($1, $2, '5b10')", "e" * 32, PERSON)
        await admin.execute("INSERT INTO people.membership VALUES ($1, $2, $1)", "e" * 32, PERSON)
        await admin.execute(
            "INSERT INTO people.restriction_holder SELECT $1, '1', '2', id, 'Page' FROM people.person WHERE key = $2",
            "e" * 32,
            PERSON,
        )
        await admin.execute("INSERT INTO people.upload (id, text) VALUES ($1, 'ann@example.com')", "e" * 32)
        await admin.execute("INSERT INTO people.letter (id, command) VALUES ($1, '{}')", "e" * 32)
        await admin.execute("INSERT INTO people.related VALUES ($1, '1', $2)", "d" * 32, PERSON)
        await admin.execute(
            """INSERT INTO people.check_finding VALUES ($1, 'addresses', 1, '{"who": "Ann@Example.com"}')""", "e" * 32
        )
        await admin.execute(
            "INSERT INTO people.login (id, digest, redirect, state, name, email) VALUES ($1, '', '', 'open', 'A', 'ann@example.com')",
            "e" * 32,
        )
        await admin.execute("INSERT INTO people.actor VALUES ($1, 'person', 'Ann at work')", ACTOR)
        await admin.execute("INSERT INTO people.identity VALUES ('https://id.example.com', 'ann', $1)", ACTOR)
        await admin.close()
        await server.stop()

    folder.mkdir()
    asyncio.run(fill(EmbeddedPostgres(folder, fast=True)))
    return folder


def run(data: Path, *words: str, code: int = 0) -> Any:
    done = runner.invoke(app, [*words, "--data", str(data)], catch_exceptions=True)
    assert done.exit_code == code, (done.output, done.exception)
    return done.stdout


def test_from_a_key_to_what_an_auditor_says(data: Path, tmp_path: Path) -> None:
    run_key = runner.invoke(app, ["audit", "key", "new", str(data / "secrets" / "seal-key")])
    assert run_key.exit_code == 0, run_key.output
    assert (data / "secrets" / "seal-key").stat().st_mode & 0o77 == 0
    sealed = json.loads(run(data, "audit", "seal", "--json"))
    assert (sealed["size"], sealed["signed"]) == (10, True)
    assert json.loads(run(data, "audit", "seal", "--json"))["signed"] is False
    key = run(data, "audit", "key", "show").strip()
    kept = data / "checkpoints" / "0000000000000010.checkpoint"

    answer = json.loads(run(data, "audit", "verify", "--json", "--public-key", key))
    assert (answer["ok"], answer["checked"], answer["sealed"], answer["checkpoints"]) == (True, 11, 10, 2)

    file = tmp_path / "log.ndjson.gz"
    told = json.loads(run(data, "audit", "export", str(file), "--with-verifier", "--json"))
    assert (told["events"], told["size"]) == (12, 10)
    done = subprocess.run(
        [sys.executable, "-I", tmp_path / "verify_log.py", file, "--key", key, "--checkpoint", kept],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0 and done.stdout.startswith("OK"), done.stdout + done.stderr
    part = tmp_path / "part.ndjson"
    run(data, "audit", "export", str(part), "--from", "3", "--to", "5")
    assert verified(part, "--key", key)["events"] == 3
    assert run(data, "audit", "export", str(part), "--from", "2020-01-01", "--to", "2020-01-02", code=1) == ""

    proof = tmp_path / "4.tlog-proof"
    run(data, "audit", "prove", "4", "--out", str(proof))
    assert verified(proof, "--key", key)["position"] == 4
    assert json.loads(run(data, "audit", "seal", "--json"))["size"] > 10
    run(data, "audit", "prove", "--since", str(kept), "--out", str(proof))
    assert verified(proof, "--key", key)["ok"]

    assert "database role" in run(data, "audit", "trail", sealed_by(data))
    trail = json.loads(run(data, "audit", "trail", "1" * 32, "--json"))["events"]
    assert len(trail) == 10 and {each["type"] for each in trail} == {"PlanStarted"}


def sealed_by(data: Path) -> str:
    """The id of the log: the story of what the sealer did."""
    return str(json.loads(run(data, "audit", "verify", "--json"))["log_id"])


ABOUT_PEOPLE = ("person", "account", "standing", "user_map", "membership", "restriction_holder", "related", "check_finding",
                "login", "upload", "letter")  # fmt: skip
ACTOR = "f" * 32


async def about_people(data: Path) -> dict[str, int]:
    """Rows of every table that names somebody."""
    async with database(data, "cw_migrate", become="cw_owner") as pool:
        return {name: await pool.fetchval(f"SELECT count(*) FROM people.{name}") for name in ABOUT_PEOPLE}


async def named_actors(data: Path) -> list[str]:
    """Names of people who logged in, and who an identity provider says they are."""
    async with database(data, "cw_migrate", become="cw_owner") as pool:
        rows = await pool.fetch(
            "SELECT name FROM people.actor WHERE kind = 'person' AND name <> '(erased)'"
            " UNION ALL SELECT subject FROM people.identity"
        )
        return [row["name"] for row in rows]


def test_a_person_is_erased_beside_the_log_and_the_log_still_verifies(data: Path) -> None:
    assert "would be erased" in run(data, "people", "erase", "Ann@Example.com")
    assert json.loads(run(data, "people", "erase", "ann@example.com", "--yes", "--json"))["erased"] == [PERSON]
    run(data, "people", "erase", "ann@example.com", "--yes", code=1)
    assert asyncio.run(about_people(data)) == dict.fromkeys(ABOUT_PEOPLE, 0)
    assert json.loads(run(data, "people", "erase", "ann at work", "--yes", "--json"))["erased"] == [ACTOR]
    assert asyncio.run(named_actors(data)) == []
    answer = json.loads(run(data, "audit", "verify", "--json"))
    assert answer["ok"], answer
    trail = json.loads(run(data, "audit", "trail", answer["log_id"], "--json"))["events"]
    assert {"LogSealed", "LogVerified", "LogExported", "PersonErased"} <= {each["type"] for each in trail}


async def test_the_sealer_as_a_process_seals_what_comes_and_says_when_it_refuses(
    sealed: SealedLog, tmp_path: Path
) -> None:
    key = tmp_path / "key.pem"
    key.write_text(SigningKey.new().pem)
    settings = SealerSettings(
        database_url=sealed.log.dsn("cw_sealer"),
        seal_keys=str(key),
        checkpoints=tmp_path / "outside",
        seal_every=0.1,
        ops_port=0,
        run_file=tmp_path / "run.json",
    )
    stop = Stop()
    running = asyncio.create_task(main(settings, stop))
    await sealed.append(5)
    async with asyncio.timeout(30):
        while (sealed.folder.sizes() or [0])[-1] < 5:
            await asyncio.sleep(0.05)
    admin = await sealed.log.connect()
    await admin.execute(  # the head first, as an append locks it: the sealer is at work
        "BEGIN; SELECT FROM log.log_head FOR UPDATE; ALTER TABLE log.events DISABLE TRIGGER ALL;"
        " DELETE FROM log.events WHERE position > 2; UPDATE log.log_head"
        " SET position = 2, link = (SELECT link FROM log.events WHERE position = 2); COMMIT"
    )
    port = json.loads((tmp_path / "run.json").read_text())["ops_port"]
    async with httpx.AsyncClient(trust_env=False) as http, asyncio.timeout(30):
        while (await http.get(f"http://127.0.0.1:{port}/readyz")).json()["checks"].get("log", {}).get(
            "state"
        ) != "degraded":
            await asyncio.sleep(0.1)
        assert "cloudward_audit_verify_failed 1.0" in (await http.get(f"http://127.0.0.1:{port}/metrics")).text
    stop.set()
    await running
