"""Servers and databases for tests: Postgres 17 and NATS in containers where Docker answers, embedded ones elsewhere."""

import os
import shutil
import warnings
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.privacy import SCAN, report
from tests.scratch import folder
from tests.servers import Choice, Database, NatsServer, PostgresServer, choose, start_nats, start_postgres

USED: set[str] = set()
# What a machine may be short of for good. Any other skip fails a run that says CLOUDWARD_TEST_SKIPS=refuse.
FORGIVEN = ("the kernel ends orphans on Linux only", "only root changes the account", "no nginx on this machine")


@pytest.fixture(scope="session", autouse=True)
def nothing_private(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Looks for planted names, addresses, tokens and passwords where none may be (``tests.privacy``), in all that the run leaves
    behind. What is found is told at its end, and fails one that says CLOUDWARD_TEST_PRIVATE=refuse."""
    others = tmp_path_factory.mktemp("found")  # of processes that tests start (``tests.watched``)
    os.environ["CLOUDWARD_TEST_FOUND"] = str(others)
    with SCAN.watching():
        yield
    for file in others.glob("*.json"):
        SCAN.add(file.read_text())
    if SCAN.found and os.environ.get("CLOUDWARD_TEST_PRIVATE") == "refuse":
        pytest.fail(report(SCAN.found), pytrace=False)
    if SCAN.found:
        warnings.warn(f"names where none may be:\n{report(SCAN.found)}", stacklevel=1)


@pytest.fixture(scope="session")
def servers() -> Choice:
    return choose()


@pytest.fixture(scope="session")
def reference() -> Path:
    """The folder of reference data beside the checkout; a test that needs it is skipped where it is not."""
    repository = Path(__file__).parent.parent
    folder = Path(os.environ.get("CLOUDWARD_REFERENCE") or repository.parent / "shared")
    if not (folder / "exports").is_dir():
        pytest.skip(f"no reference data in {folder.name}; set CLOUDWARD_REFERENCE to it")
    return folder


@pytest.fixture(scope="session")
def scratch() -> Iterator[Path]:
    """A folder for this run with a short path (sockets) that is removed afterwards."""
    made = folder("cwt-")
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def postgres(servers: Choice, scratch: Path) -> AsyncIterator[PostgresServer]:
    """A Postgres with the roles of the services. Tests that stop it must start it again."""
    server = await start_postgres(servers, scratch / "pg")
    USED.add(f"Postgres: {server.what}")
    yield server
    await server.stop()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def nats(servers: Choice, scratch: Path) -> AsyncIterator[NatsServer]:
    """A NATS server with JetStream and the users of the services. Tests that stop it must start it again."""
    server = await start_nats(servers, scratch / "nats")
    USED.add(f"NATS: {server.what}")
    yield server
    await server.stop()


@pytest_asyncio.fixture(loop_scope="session")
async def database(postgres: PostgresServer) -> AsyncIterator[Database]:
    """A database of its own with the schema of this release and nothing in it."""
    database = await postgres.fresh_database()
    yield database
    await SCAN.database(os.environ.get("PYTEST_CURRENT_TEST", "").partition(" ")[0], database.admin_dsn)
    await postgres.drop_database(database)


def pytest_report_header() -> str:
    return f"servers for tests: {choose().text}"


def refused_skips(config: pytest.Config) -> list[str]:
    """Tests that were skipped in a run that refuses it, each with its reason."""
    if os.environ.get("CLOUDWARD_TEST_SKIPS") != "refuse":
        return []
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter.stats.get("skipped", []) if reporter else []
    told = [(report.nodeid, report.longrepr[-1] if report.longrepr else "") for report in skipped]
    return [f"{node}: {reason}" for node, reason in told if not any(words in reason for words in FORGIVEN)]


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    worker = getattr(session.config, "workeroutput", None)
    if worker is not None:
        worker["servers used"] = sorted(USED)
    if refused_skips(session.config) and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for line in refused_skips(terminalreporter.config):
        terminalreporter.write_line(f"skipped, and that is refused: {line}", red=True)
    if USED:
        terminalreporter.write_line(f"servers used: {'; '.join(sorted(USED))}")


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """What one of several workers (``-n 2``) used."""
    USED.update(getattr(node, "workeroutput", {}).get("servers used", ()))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if config.pluginmanager.has_plugin("xdist"):
            # Tests that share one Cloudward run one after the other on one of several workers; files stay together.
            shared = "world" in getattr(item, "fixturenames", ())
            item.add_marker(pytest.mark.xdist_group("e2e" if shared else item.nodeid.partition("::")[0]))
        if item.get_closest_marker("docker") and not choose().docker:
            item.add_marker(pytest.mark.skip(reason="no Docker engine answers"))
