"""The image and ``compose.yaml``, with a real Docker engine."""

import json
import os
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.embedded.nats import free_port

pytestmark = [pytest.mark.docker, pytest.mark.slow, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]


class Stack:
    def __init__(self, port: int) -> None:
        self.port = port
        self.environment = {**os.environ, "CLOUDWARD_PORT": str(port), "COMPOSE_PROJECT_NAME": "cloudward-test"}

    def compose(self, *words: str, check: bool = True, timeout: float = 600) -> str:
        done = subprocess.run(
            ["docker", "compose", *words],
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


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    stack = Stack(free_port())
    stack.compose("down", "--volumes", "--remove-orphans")
    try:
        stack.compose("build", "secrets", timeout=800)
        try:
            stack.compose("up", "--detach", "--wait", "--wait-timeout", "240", "--no-build")
        except AssertionError:
            print(stack.compose("ps", "--all", check=False), stack.compose("logs", "--tail", "30", check=False))
            raise
        yield stack
    finally:
        stack.compose("down", "--volumes", "--remove-orphans", check=False)


def test_every_service_gets_healthy_and_two_executors_run(stack: Stack) -> None:
    states = {(s["Service"], s["Name"]): (s["State"], s.get("Health", "")) for s in stack.services()}
    healthy = sorted(
        service for (service, _), (state, health) in states.items() if (state, health) == ("running", "healthy")
    )
    assert healthy == ["analyzer", "dashboard", "executor", "executor", "planner", "postgres"]


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
