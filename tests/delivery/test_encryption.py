"""TLS to NATS and Postgres, as a deployment in containers has it: with the certificates that ``db secrets`` makes."""

import asyncio
import json
import signal
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from cli.embedded.child import Child
from cli.embedded.deployment import manifests, write_secrets
from cli.embedded.nats import free_port, server
from shared.ops import bus
from shared.ops.bus import NatsUnavailable
from shared.ops.settings import Settings

CONFIGURATION = Path(__file__).parents[2] / "deploy" / "k8s" / "single" / "nats.conf"


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("secrets")
    write_secrets(folder, 10001)
    return folder


@asynccontextmanager
async def nats(secrets: Path, folder: Path, *, encrypted: bool = True) -> AsyncIterator[int]:
    """The server with the configuration that is deployed, on ports and in folders of this test."""
    port = free_port()
    text = CONFIGURATION.read_text()
    changes = {
        "0.0.0.0:4222": f"127.0.0.1:{port}",
        "0.0.0.0:8222": f"127.0.0.1:{free_port()}",
        '"/data"': json.dumps(str(folder / "js")),
        '"/secrets/': f'"{secrets}/nats/',
        "../../secrets/accounts.conf": "accounts.conf",
    }
    for old, new in changes.items():
        assert old in text, f"{CONFIGURATION.name} no longer says {old}"
        text = text.replace(old, new)
    if not encrypted:
        before, _, rest = text.partition("tls {")
        text = before + rest.partition("}")[2]
    (folder / "nats.conf").write_text(text)
    (folder / "accounts.conf").write_text((secrets / "nats" / "accounts.conf").read_text())
    child = Child.start("nats", [server(), "-c", folder / "nats.conf"], log=folder / "nats.log", env={})
    try:
        for _ in range(200):
            if "Server is ready" in (folder / "nats.log").read_text():
                break
            assert child.running, child.tail(5)
            await asyncio.sleep(0.05)
        yield port
    finally:
        await child.end(signal.SIGKILL, 2)


def settings(secrets: Path, port: int, authority: Path | None) -> Settings:
    return Settings(
        nats_url=f"nats://localhost:{port}",
        nats_user="planner",
        nats_password_file=secrets / "planner" / "nats",
        nats_ca_file=authority,
    )


async def test_both_kinds_of_connection_go_through_tls(secrets: Path, tmp_path: Path) -> None:
    async with nats(secrets, tmp_path) as port:
        own = settings(secrets, port, secrets / "planner" / "ca.crt")
        client = await bus.connect(own, "test", patience=5)
        assert (await client.jetstream().account_info()).streams == 0
        await client.close()
        broker = bus.broker(own, "planner")
        await broker.connect()
        assert await broker.ping(5)
        await broker.stop()


async def test_a_server_with_a_certificate_of_another_is_refused(secrets: Path, tmp_path: Path) -> None:
    write_secrets(tmp_path / "others", 10001)
    async with nats(secrets, tmp_path) as port:
        with pytest.raises(NatsUnavailable, match="certificate verify failed"):
            await bus.connect(settings(secrets, port, tmp_path / "others" / "planner" / "ca.crt"), "test", patience=1)


async def test_a_client_that_expects_tls_says_nothing_to_a_server_without(secrets: Path, tmp_path: Path) -> None:
    async with nats(secrets, tmp_path, encrypted=False) as port:
        plain = await bus.connect(settings(secrets, port, None), "test", patience=5)
        await plain.close()
        with pytest.raises(NatsUnavailable):
            await bus.connect(settings(secrets, port, secrets / "planner" / "ca.crt"), "test", patience=1)


async def test_a_server_with_tls_takes_nobody_without(secrets: Path, tmp_path: Path) -> None:
    async with nats(secrets, tmp_path) as port:
        with pytest.raises((NatsUnavailable, ssl.SSLError)):
            await bus.connect(settings(secrets, port, None), "test", patience=1)


def test_secrets_for_kubernetes_are_those_of_the_folders_and_each_reader_has_its_own(secrets: Path) -> None:
    made = {manifest["metadata"]["name"]: set(manifest["data"]) for manifest in manifests(secrets, "cloudward")}
    assert made["cloudward-planner"] == {"ca.crt", "database", "nats"}
    assert made["cloudward-sealer"] == {"ca.crt", "database", "seal-key"}
    assert made["cloudward-postgres"] == {"ca.crt", "tls.crt", "tls.key", "password"}
    assert made["cloudward-roles"] == {
        f"cw_{n}" for n in ("migrate", "planner", "analyzer", "executor", "dashboard", "sealer")
    }
    holders = {name for name, keys in made.items() if "vault-key" in keys}
    assert holders == {"cloudward-analyzer", "cloudward-executor", "cloudward-dashboard"}


def test_made_again_secrets_stay_as_they_are(secrets: Path) -> None:
    before = {path: path.read_bytes() for path in secrets.rglob("*") if path.is_file()}
    write_secrets(secrets, 10001)
    assert {path: path.read_bytes() for path in secrets.rglob("*") if path.is_file()} == before
