"""The image and ``compose.yaml``, with a real Docker engine: the life of one deployment, from one release to the next.

The tests go through it in order: it starts as the release before, is upgraded while it migrates, then its containers are killed
while it migrates again, then it goes down and comes up. Every migration has to leave the same on its site.
"""

import json
import os
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from cli.client import Client
from cli.embedded.nats import free_port
from tests.deployed.stack import Stack, build, release_before
from tests.deployed.trial import Trial
from tests.privacy import SCAN

pytestmark = [pytest.mark.docker, pytest.mark.slow, pytest.mark.timeout(900)]

OLD, NEW = "cloudward:before", "cloudward:test"
SLOW = 0.6  # seconds for each answer of a site while something happens to the deployment


@dataclass
class Life:
    """``documents``: what each migration left on its site."""

    stack: Stack
    source: str = ""
    documents: dict[str, str] = field(default_factory=dict)
    reports: dict[str, dict[str, Any]] = field(default_factory=dict)
    plans: dict[str, str] = field(default_factory=dict)

    def migrate(self, trial: Trial, name: str, meanwhile: Callable[[str], None] | None = None) -> None:
        """All of the source to a new site. ``meanwhile`` gets the plan while it runs, on a site that is slow for as long."""
        url = trial.site(name)
        plan = self.plans[name] = trial.plan(self.source, name, url)
        if meanwhile:
            trial.pace(name, SLOW)
        trial.run(plan)
        if meanwhile:
            meanwhile(plan)
            trial.goes_on(plan, name)
            trial.pace(name, None)
        report = self.reports[name] = trial.ended(plan)
        assert report["status"] == "FINISHED", report
        assert report["conserved"]
        assert trial.twice(name) == []
        self.documents[name] = trial.canonical(name, url)


@pytest.fixture(scope="module")
def life() -> Iterator[Life]:
    project = os.environ.get("CLOUDWARD_TEST_RUN") or f"cloudward-test-{os.getpid()}"
    stack = Stack(free_port(), project, OLD)
    stack.compose("down", "--volumes", "--remove-orphans")
    try:
        build(NEW)
        build(OLD, release_before())
        stack.up()
        life = Life(stack)
        with stack.client() as client:
            life.source = stack.trial(client).source("south", "http://sandbox:8093")
        yield life
        left_behind(stack)
    finally:
        stack.compose("down", "--volumes", "--remove-orphans", check=False)


def left_behind(stack: Stack) -> None:
    """Has the log and what the services wrote looked at for names, like what tests start themselves. The sandbox is no part of a
    deployment."""
    services = {service["Service"] for service in stack.containers()} - {"sandbox"}
    SCAN.look("logs", "containers", stack.compose("logs", "--no-color", *services).encode())
    bodies = "SELECT convert_from(body, 'UTF8') FROM log.events"
    told = stack.compose(
        "exec", "-T", "postgres", "psql", "-qtAX", "-U", "postgres", "-d", "cloudward", "-c", bodies
    ).encode()
    assert told
    SCAN.look("events", "containers", told)


@pytest.fixture
def stack(life: Life) -> Stack:
    return life.stack


@pytest.fixture
def client(stack: Stack) -> Iterator[Client]:
    with stack.client() as client:
        yield client


def image_of(container: str) -> str:
    words = ["docker", "inspect", "--format", "{{.Config.Image}}", container]
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()


def test_the_release_before_is_replaced_service_by_service_while_it_migrates(life: Life, client: Client) -> None:
    stack, trial = life.stack, life.stack.trial(client)

    def upgrade(plan: str) -> None:
        stack.image = NEW
        stack.compose("run", "--rm", "-T", "--no-deps", "secrets")
        stack.compose("run", "--rm", "-T", "--no-deps", "migrate")
        for service in ("planner", "executor", "analyzer", "dashboard", "sealer"):
            trial.goes_on(plan, "site-upgraded")
            stack.up(service)

    life.migrate(trial, "site-upgraded", upgrade)
    images = {c["Service"]: image_of(c["Name"]) for c in stack.containers() if c["State"] == "running"}
    ours = {service for service, image in images.items() if image == NEW}
    assert ours == {"planner", "executor", "analyzer", "dashboard", "sealer"}
    life.migrate(trial, "site-undisturbed")
    assert life.documents["site-upgraded"] == life.documents["site-undisturbed"]


def test_every_service_is_healthy_and_two_executors_run(stack: Stack) -> None:
    states = {(c["Service"], c["Name"]): (c["State"], c.get("Health", "")) for c in stack.containers()}
    healthy = sorted(service for (service, _), state in states.items() if state == ("running", "healthy"))
    assert healthy == ["analyzer", "dashboard", "executor", "executor", "planner", "postgres", "sandbox", "sealer"]


def test_the_dashboard_answers_with_the_token_and_only_with_it(stack: Stack) -> None:
    token = stack.compose("exec", "-T", "dashboard", "cat", "/secrets/api-token").strip()
    url = f"http://127.0.0.1:{stack.port}/api/v1/plans"
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.status == 200
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(url, timeout=10)


def test_the_services_run_without_root_and_see_no_secret_of_another(stack: Stack) -> None:
    seen = {
        "planner": {"ca.crt", "database", "nats"},
        "analyzer": {"ca.crt", "database", "nats", "vault-key"},
        "executor": {"ca.crt", "database", "nats", "vault-key"},
        "dashboard": {"ca.crt", "database", "nats", "vault-key", "api-token"},
        "sealer": {"ca.crt", "database", "seal-key"},
    }
    for service, secrets in seen.items():
        told = stack.compose("exec", "-T", service, "sh", "-c", "id -u; ls /secrets; touch /opt/x 2>&1 || true").split(
            "\n"
        )
        assert told[0] == "10001"
        assert set(told[1:-2]) == secrets
        assert "Read-only file system" in told[-2]


def test_postgres_and_nats_take_nobody_without_tls(stack: Stack) -> None:
    ask = 'PGPASSWORD="$(cat /secrets/password)" PGSSLMODE=disable psql -h 127.0.0.1 -U postgres -d cloudward -c "select 1" 2>&1'
    assert "no encryption" in stack.compose("exec", "-T", "postgres", "sh", "-c", ask, check=False)
    using = "select count(*) filter (where not ssl), count(*) from pg_stat_ssl join pg_stat_activity using (pid) where client_addr is not null"
    told = stack.compose("exec", "-T", "postgres", "psql", "-qtAX", "-U", "postgres", "-d", "cloudward", "-c", using)
    without, all_of_them = (int(number) for number in told.strip().split("|"))
    assert without == 0
    assert all_of_them > 5


def test_the_image_has_no_installer_and_no_embedded_servers(stack: Stack) -> None:
    found = stack.compose("run", "--rm", "-T", "--no-deps", "migrate", "ls", "/opt/cloudward/bin").split()
    assert "cloudward" in found
    assert not {"pip", "pip3", "nats-server", "hatchling"} & set(found)


def test_killing_each_container_in_turn_while_it_migrates_does_no_harm(life: Life, client: Client) -> None:
    stack, trial = life.stack, life.stack.trial(client)
    killed = []

    def kill(plan: str) -> None:
        # Not the stand-in, whose memory is what has to be judged.
        for container in [c for c in stack.containers() if c["State"] == "running" and c["Service"] != "sandbox"]:
            trial.goes_on(plan, "site-killed")
            subprocess.run(["docker", "kill", container["Name"]], check=True, capture_output=True)
            killed.append(container["Service"])
            time.sleep(1)
            # Whoever is killed by hand stays dead until somebody says otherwise.
            subprocess.run(["docker", "start", container["Name"]], check=True, capture_output=True)

    life.migrate(trial, "site-killed", kill)
    assert sorted(killed) == ["analyzer", "dashboard", "executor", "executor", "nats", "planner", "postgres", "sealer"]
    assert life.documents["site-killed"] == life.documents["site-undisturbed"]


def test_the_upgrade_runs_twice_without_harm(stack: Stack) -> None:
    assert "schema: up to date" in stack.compose("run", "--rm", "-T", "migrate")


def test_taking_the_stack_down_and_up_again_loses_nothing(life: Life, client: Client) -> None:
    stack, trial = life.stack, life.stack.trial(client)
    position = trial.log_ends_at()
    assert position > 300
    stack.compose("down", "--timeout", "30")
    stack.up()
    with stack.client() as again:
        for name, plan in life.plans.items():
            assert dict(again.get(f"/plans/{plan}/report")) == life.reports[name]
            assert again.get(f"/plans/{plan}")["status"] == "FINISHED"
        assert stack.trial(again).log_ends_at() >= position
    words = ["cloudward", "audit", "verify", "--json"]
    verified = json.loads(stack.compose("exec", "-T", "sealer", *words).splitlines()[-1])
    assert verified["ok"] is True
    assert verified["checked"] >= position
