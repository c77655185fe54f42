"""Deploys the overlay `sandbox` into a real cluster and migrates twice: undisturbed, and while its parts are killed.

    python -m tests.k8s [--keep]

Needs kubectl and a cluster by KUBECONFIG or the current context, and Docker for the image. Works in a namespace of its own,
which it removes. Ends with one line of JSON. Exit code 1: a promise was broken.
"""

import argparse
import difflib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cli.client import Client, ClientError
from cli.embedded.deployment import manifests, write_secrets
from tests.deployed.trial import ASK, Trial
from tests.k8s.cluster import Cluster, ClusterError, Manifest, load, wait_until

ROOT = Path(__file__).parents[2]
OVERLAY = ROOT / "deploy" / "k8s" / "overlays" / "sandbox"
NAMESPACE = "cloudward-e2e"
IMAGE = "cloudward:0.1.0"
SERVICES = ("planner", "analyzer", "executor", "dashboard")
CALM, DISTURBED = "site-calm", "site-disturbed"
# Leases short enough that a dead executor's work is taken over within seconds.
QUICK = {"CLOUDWARD_LEASE": "6", "CLOUDWARD_REQUEST_TIMEOUT": "3", "CLOUDWARD_REOFFER": "8", "CLOUDWARD_SWEEP": "2"}
SLOW = 0.8  # seconds for each answer of the site while it is disturbed
STRIDE = 12  # requests that the site gets between two disturbances


@dataclass
class Course:
    """What came of it."""

    cluster: Cluster
    trial: Trial
    killed: int = 0
    finished: int = 0
    diverged: int = 0
    wrong: list[str] = field(default_factory=list)
    plan: str = ""

    def say(self, text: str) -> None:
        print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)

    def goes_on(self) -> None:
        self.trial.goes_on(self.plan, DISTURBED, STRIDE)

    def kill(self, component: str) -> None:
        """One of its pods, without grace, while it is at work; another takes over."""
        self.goes_on()
        pod = self.cluster.pods(component)[0]["metadata"]["name"]
        self.cluster.kill(pod)
        self.killed += 1
        self.say(f"killed {pod}")


def deploy(cluster: Cluster) -> None:
    """Image, namespace, secrets, everything else; returns when all are ready."""
    subprocess.run(["docker", "build", "--quiet", "--tag", IMAGE, str(ROOT)], check=True, stdout=subprocess.DEVNULL)
    load(IMAGE)
    remove(cluster)
    cluster.kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", timeout=400)
    rendered = cluster.fitting([_quicker(manifest) for manifest in cluster.render(OVERLAY)])
    cluster.apply([manifest for manifest in rendered if manifest["kind"] == "Namespace"])
    with tempfile.TemporaryDirectory() as folder:
        write_secrets(Path(folder), 10001, NAMESPACE)
        cluster.apply(list(manifests(Path(folder), NAMESPACE)))
    cluster.apply([manifest for manifest in rendered if manifest["kind"] != "Namespace"])
    job = next(m["metadata"]["name"] for m in rendered if m["kind"] == "Job")
    cluster.await_("the migration of the schema", 180, "wait", "--for=condition=complete", f"job/{job}")
    for name in (*SERVICES, "sandbox"):
        cluster.await_(f"the roll-out of {name}", 120, "rollout", "status", f"deployment/{name}")


def remove(cluster: Cluster) -> None:
    """Begins to remove what an earlier run left. Nothing of it is waited for: a database that is gone first would be."""
    cluster.kubectl("delete", "pods,deployments,statefulsets,jobs,cronjobs", "--all", "--wait=false", check=False)
    cluster.kubectl("delete", "pods", "--all", "--grace-period=0", "--force", "--wait=false", check=False)
    cluster.kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", "--wait=false", check=False)


def _quicker(manifest: Manifest) -> Manifest:
    if manifest["kind"] == "ConfigMap" and manifest["metadata"]["name"].startswith("settings"):
        return {**manifest, "data": {**manifest["data"], **QUICK}}
    return manifest


# -- what must hold besides -------------------------------------------------------------------------------------------

_REACH = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 3); print('reached')"
REACHED = (("executor", "postgres", 5432), ("planner", "nats", 4222), ("executor", "sandbox", 8091))
REFUSED = (
    ("executor", "nats", 8222),
    ("executor", "dashboard", 8080),
    ("executor", "planner-ops", 9090),
    ("planner", "sandbox", 8091),
    ("sandbox", "postgres", 5432),
    ("sandbox", "nats", 4222),
)


def policies(course: Course) -> None:
    """Who reaches whom, tried from inside."""
    for wanted, table in ((True, REACHED), (False, REFUSED)):
        for source, host, port in table:
            words = ("python3", "-c", _REACH, host, str(port))
            reached = "reached" in course.cluster.exec(f"deploy/{source}", *words, check=False)
            if reached != wanted:
                course.wrong.append(f"{source} {'reaches' if reached else 'does not reach'} {host}:{port}")
    course.say(f"network policies: {len(REACHED)} ways open, {len(REFUSED)} closed")


def confinement(course: Course) -> None:
    """Nobody is root, writes beside the volumes, or holds a token of the cluster's API."""
    for service in SERVICES:
        target = f"deploy/{service}"
        if course.cluster.exec(target, "id", "-u").strip() != "10001":
            course.wrong.append(f"{service} runs as another user")
        for path in ("/opt/cloudward/x", "/etc/x"):
            if "wrote" in course.cluster.exec(target, "sh", "-c", f"touch {path} && echo wrote", check=False):
                course.wrong.append(f"{service} can write {path}")
        if course.cluster.exec(target, "sh", "-c", "ls /var/run/secrets/kubernetes.io || true", check=False).strip():
            course.wrong.append(f"{service} has a token of the cluster's API")


def restarts(course: Course) -> None:
    """Pods that were killed were replaced by new ones, so no container may ever have been started twice."""
    for pod in course.cluster.pods():
        for state in pod["status"].get("containerStatuses", ()):
            if state["restartCount"]:
                name = pod["metadata"]["name"]
                course.wrong.append(f"{name}: {state['name']} was started {state['restartCount'] + 1} times")
                print(course.cluster.kubectl("logs", name, "--previous", "--tail=20", check=False))


def sealed(course: Course) -> None:
    """The sealer's CronJob, run now, signs the log; then the same pod verifies it."""
    template = course.cluster.get("cronjob", "sealer")["spec"]["jobTemplate"]["spec"]
    for name, command in (("seal-now", ["cloudward", "audit", "seal", "--json"]), ("verify-now", _VERIFY)):
        spec: dict[str, Any] = json.loads(json.dumps(template))
        spec["template"]["spec"]["containers"][0]["command"] = command
        job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": spec}
        told = json.loads(course.cluster.job(name, job).splitlines()[-1])
        if not told.get("signed" if name == "seal-now" else "ok"):
            course.wrong.append(f"{name}: {told}")
        course.say(f"{name}: {told}")


_VERIFY = ["cloudward", "audit", "verify", "--json"]


# -- disturbances -----------------------------------------------------------------------------------------------------


def roll(course: Course) -> None:
    """Every Deployment is restarted pod by pod, as a new release would be."""
    course.goes_on()
    course.cluster.kubectl("rollout", "restart", *(f"deployment/{name}" for name in SERVICES))
    for name in SERVICES:
        course.cluster.await_(f"the restart of {name}", 180, "rollout", "status", f"deployment/{name}")
    course.say("restarted every Deployment pod by pod")


def drain(course: Course) -> None:
    """The node of an executor is drained. Where it is the only one, no pod finds another place: the budget then keeps one."""
    course.goes_on()
    node = course.cluster.pods("executor")[0]["spec"]["nodeName"]
    words = ["drain", node, "--ignore-daemonsets", "--pod-selector=app.kubernetes.io/component in (executor, planner)"]
    try:
        course.cluster.kubectl(*words, "--timeout=20s", check=False, timeout=60)
        for component in ("executor", "planner"):
            if not course.cluster.ready(component):
                course.wrong.append(f"draining {node} left no {component}, whatever its budget says")
    finally:
        course.cluster.kubectl("uncordon", node)
    for component in ("executor", "planner"):
        course.cluster.await_(f"{component} after the drain", 120, "rollout", "status", f"deployment/{component}")
    course.say(f"drained {node}")


def disturb(course: Course) -> None:
    acts: list[Callable[[], None]] = [
        *(lambda component=component: course.kill(component) for component in ("executor", "planner", "postgres")),
        lambda: course.kill("nats"),
        lambda: course.kill("dashboard"),
        lambda: course.kill("analyzer"),
        lambda: course.kill("executor"),
        lambda: roll(course),
        lambda: drain(course),
    ]
    for act in acts:
        act()
    course.goes_on()


def go(course: Course) -> None:
    policies(course)
    confinement(course)
    source = course.trial.source("south", "http://sandbox:8093")
    documents = []
    for name in (CALM, DISTURBED):
        url = course.trial.site(name)
        plan = course.trial.plan(source, name, url)
        if name == DISTURBED:
            course.plan = plan
            course.trial.pace(name, SLOW)
        course.trial.run(plan)
        started = time.monotonic()
        if name == DISTURBED:
            disturb(course)
            course.trial.pace(name, None)
        report = course.trial.ended(plan)
        course.say(
            f"{name}: {report['status']} in {time.monotonic() - started:.0f} s, {course.trial.requests(name)} requests"
        )
        course.finished += report["status"] == "FINISHED"
        if not report["conserved"]:
            course.wrong.append(f"{name}: the sums do not agree")
        if twice := course.trial.twice(name):
            course.wrong.append(f"{name}: made twice: {twice[:3]}")
        documents.append(course.trial.canonical(name, url))
    if documents[0] != documents[1]:
        course.diverged += 1
        one, other = (each.splitlines() for each in documents)
        lines = difflib.unified_diff(one, other, CALM, DISTURBED, lineterm="", n=2)
        print("\n".join(list(lines)[:60]))
    sealed(course)
    restarts(course)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--keep", action="store_true", help="leave the namespace there afterwards")
    options = parser.parse_args()
    cluster = Cluster(NAMESPACE)
    if not cluster.there():
        print("No cluster answers: start one, and set KUBECONFIG or the current context of kubectl.", file=sys.stderr)
        return 2
    started = time.monotonic()
    course: Course | None = None
    try:
        deploy(cluster)
        print(f"deployed in {time.monotonic() - started:.0f} s", flush=True)
        with (
            cluster.forward("service/dashboard", 8080) as port,
            Client(
                f"http://127.0.0.1:{port}", cluster.secret("cloudward-dashboard", "api-token"), patience=90
            ) as client,
        ):
            wait_until("the dashboard answers", lambda: client.get("/plans") is not None, 60)
            course = Course(cluster, Trial(client, lambda given: cluster.exec("deploy/sandbox", *ASK, given=given)))
            go(course)
    except (ClusterError, AssertionError, ClientError) as error:
        print(error, file=sys.stderr)
        if course is not None:
            course.wrong.append(str(error).splitlines()[0])
        else:
            return 1
    finally:
        if not options.keep:
            remove(cluster)
    for sentence in course.wrong:
        print(f"WRONG: {sentence}")
    print(json.dumps({"finished": course.finished, "diverged": course.diverged, "pods_killed": course.killed}))
    return int(course.finished != 2 or course.diverged > 0 or bool(course.wrong))


if __name__ == "__main__":
    sys.exit(main())
