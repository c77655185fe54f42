"""The image and ``compose.yaml``, with a real Docker engine."""

import json
import os
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.client import ENDED, Client
from cli.embedded.nats import free_port
from cli.tryout import ACCEPTED, SERVER_TOKEN, SITE_CREDENTIAL

pytestmark = [pytest.mark.docker, pytest.mark.slow, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]


class Stack:
    def __init__(self, port: int) -> None:
        self.port = port
        project = os.environ.get("CLOUDWARD_TEST_RUN") or f"cloudward-test-{os.getpid()}"
        self.environment = {**os.environ, "CLOUDWARD_PORT": str(port), "COMPOSE_PROJECT_NAME": project}

    def compose(self, *words: str, check: bool = True, timeout: float = 600) -> str:
        done = subprocess.run(
            ["docker", "compose", "--profile", "sandbox", *words],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert not check or done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return done.stdout

    def services(self) -> list[dict[str, str]]:
        return [json.loads(line) for line in self.compose("ps", "--all", "--format", "json").splitlines()]

    def up(self) -> None:
        try:
            self.compose("up", "--detach", "--wait", "--wait-timeout", "240", "--no-build")
        except AssertionError:
            print(self.compose("ps", "--all", check=False), self.compose("logs", "--tail", "30", check=False))
            raise

    def client(self) -> Client:
        """The API from outside, with the token that the stack made."""
        token = self.compose("exec", "-T", "dashboard", "cat", "/secrets/api-token").strip()
        return Client(f"http://127.0.0.1:{self.port}", token, patience=30)


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    stack = Stack(free_port())
    stack.compose("down", "--volumes", "--remove-orphans")
    try:
        stack.compose("build", "secrets", timeout=800)
        stack.up()
        yield stack
    finally:
        stack.compose("down", "--volumes", "--remove-orphans", check=False)


def test_every_service_gets_healthy_and_two_executors_run(stack: Stack) -> None:
    states = {(s["Service"], s["Name"]): (s["State"], s.get("Health", "")) for s in stack.services()}
    healthy = sorted(
        service for (service, _), (state, health) in states.items() if (state, health) == ("running", "healthy")
    )
    assert healthy == ["analyzer", "dashboard", "executor", "executor", "planner", "postgres", "sandbox"]


def test_the_dashboard_answers_with_the_token_and_only_with_it(stack: Stack) -> None:
    token = stack.compose("exec", "-T", "dashboard", "cat", "/secrets/api-token").strip()
    url = f"http://127.0.0.1:{stack.port}/api/v1/plans"
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.status == 200
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(url, timeout=10)


def test_the_services_run_without_root_and_see_no_secret_of_another(stack: Stack) -> None:
    for service in ("planner", "analyzer", "executor", "dashboard"):
        assert stack.compose("exec", "-T", service, "id", "-u").strip() == "10001"
    assert stack.compose("exec", "-T", "planner", "ls", "/secrets").split() == ["database", "nats"]


def test_the_upgrade_runs_twice_without_harm(stack: Stack) -> None:
    assert "schema: up to date" in stack.compose("run", "--rm", "-T", "migrate")


def test_the_image_has_no_installer_and_no_embedded_servers(stack: Stack) -> None:
    found = stack.compose("run", "--rm", "-T", "--no-deps", "migrate", "ls", "/opt/cloudward/bin").split()
    assert "cloudward" in found
    assert not {"pip", "pip3", "nats-server", "hatchling"} & set(found)


def ended(client: Client, plan: str) -> dict[str, Any]:
    deadline = time.monotonic() + 180
    while client.get(f"/plans/{plan}")["status"] not in ENDED:
        assert time.monotonic() < deadline, client.get(f"/plans/{plan}")
        time.sleep(0.5)
    return dict(client.get(f"/plans/{plan}/report"))


def log_ends_at(client: Client) -> int:
    position = 0
    while events := client.get("/events", after=position)["events"]:
        position = events[-1]["position"]
    return position


def test_a_wiki_moves_through_the_stack_and_taking_the_stack_down_and_up_again_loses_nothing(stack: Stack) -> None:
    with stack.client() as client:
        source = client.post(
            "/sources", {"name": "south", "location": "http://sandbox:8093", "credential": {"token": SERVER_TOKEN}}
        )["id"]
        analysis = client.analyzed(client.post(f"/sources/{source}/analyses")["id"])
        assert analysis["state"] == "completed", analysis
        client.post(f"/sources/{source}/address-repairs", {"duplicates": "merge", "others": "generate"})
        site = client.post(
            "/sites",
            {
                "name": "cloud",
                "url": "http://sandbox:8091",
                "kind": "sandbox",
                "sandbox": True,
                "credential": SITE_CREDENTIAL,
            },
        )["id"]
        whole = {"users": "all", "groups": True, "spaces": "all", "accepted": [reason.value for reason in ACCEPTED]}
        plan = client.post("/plans", {"name": "south", "source": source, "site": site, **whole})["id"]
        client.post(f"/plans/{plan}/run", {})
        report = ended(client, plan)
        assert report["status"] == "FINISHED", report
        assert report["conserved"]
        position = log_ends_at(client)
        assert position > 100

    stack.compose("down", "--timeout", "30")
    stack.up()

    with stack.client() as client:
        assert dict(client.get(f"/plans/{plan}/report")) == report
        assert client.get(f"/plans/{plan}")["status"] == "FINISHED"
        assert log_ends_at(client) >= position
    verified = stack.compose("run", "--rm", "-T", "migrate", "cloudward", "audit", "verify", "--json")
    assert json.loads(verified.splitlines()[-1])["ok"] is True
