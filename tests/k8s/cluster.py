"""A Kubernetes that is there: the one that kubectl talks to by KUBECONFIG or by its current context."""

import base64
import contextlib
import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

Manifest = dict[str, Any]


class ClusterError(Exception):
    """kubectl failed, or something did not come about in time."""


class Cluster:
    """One namespace of it. Everything goes through kubectl, as a person would."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace

    def kubectl(self, *words: str, given: str | None = None, timeout: float = 120, check: bool = True) -> str:
        done = subprocess.run(
            ["kubectl", "--namespace", self.namespace, *words],
            input=given,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if check and done.returncode:
            raise ClusterError(f"kubectl {' '.join(words)}: {done.stderr.strip()[-2000:]}")
        return done.stdout

    def there(self) -> bool:
        """Whether a cluster answers."""
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            return "ok" in self.kubectl("get", "--raw", "/readyz", check=False, timeout=20)
        return False

    # -- manifests -----------------------------------------------------------------------------------------------

    def render(self, folder: Path) -> list[Manifest]:
        return [m for m in yaml.safe_load_all(self.kubectl("kustomize", str(folder))) if m]

    def fitting(self, manifests: Sequence[Manifest]) -> list[Manifest]:
        """The manifests in this namespace, and for a server that is older than they are under the API version it has."""
        served: dict[str, set[str]] = {}
        versions = self.kubectl("api-versions").split()

        def kinds(version: str) -> set[str]:
            if version not in served:
                path = f"/apis/{version}" if "/" in version else f"/api/{version}"
                resources = json.loads(self.kubectl("get", "--raw", path))["resources"]
                served[version] = {resource["kind"] for resource in resources}
            return served[version]

        found = []
        for manifest in manifests:
            group, _, _ = manifest["apiVersion"].rpartition("/")
            candidates = [manifest["apiVersion"], *(v for v in versions if v.rpartition("/")[0] == group)]
            version = next((v for v in candidates if v in versions and manifest["kind"] in kinds(v)), None)
            if version is None:
                raise ClusterError(f"this cluster has no {manifest['kind']} of {group or 'core'}")
            metadata = {**manifest["metadata"]}
            if manifest["kind"] == "Namespace":
                metadata["name"] = self.namespace
            else:
                metadata["namespace"] = self.namespace
            found.append({**manifest, "apiVersion": version, "metadata": metadata})
        return found

    def apply(self, manifests: Sequence[Manifest]) -> None:
        listed = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(manifests)})
        # A server that does not know a newer field yet passes it over.
        self.kubectl("apply", "--validate=false", "-f", "-", given=listed, timeout=180)

    # -- what is there -------------------------------------------------------------------------------------------

    def get(self, *words: str) -> Any:
        return json.loads(self.kubectl("get", *words, "-o", "json"))

    def pods(self, component: str | None = None) -> list[Manifest]:
        """Pods that are there and not ending, of one component or all."""
        label = (
            "app.kubernetes.io/part-of=cloudward" if component is None else f"app.kubernetes.io/component={component}"
        )
        return [p for p in self.get("pods", "-l", label)["items"] if not p["metadata"].get("deletionTimestamp")]

    def ready(self, component: str) -> int:
        """How many of its pods are ready."""
        return sum(
            any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", ()))
            for pod in self.pods(component)
        )

    def secret(self, name: str, key: str) -> str:
        return base64.b64decode(self.get("secret", name)["data"][key]).decode()

    def await_(self, what: str, timeout: float, *words: str) -> None:
        """``kubectl wait`` or ``rollout status``; with what is wrong there when it takes longer."""
        try:
            self.kubectl(*words, f"--timeout={timeout:.0f}s", timeout=timeout + 15)
        except (ClusterError, subprocess.TimeoutExpired) as error:
            shown = self.kubectl("get", "pods", "-o", "wide", check=False)
            events = self.kubectl("get", "events", "--sort-by=.lastTimestamp", check=False)
            raise ClusterError(
                f"{what} took longer than {timeout:.0f} s ({error})\n{shown}\n{events[-3000:]}"
            ) from error

    def exec(self, target: str, *words: str, given: str | None = None, check: bool = True) -> str:
        """A command in the first container of ``deploy/NAME`` or of a pod."""
        inputs = ["-i"] if given is not None else []
        return self.kubectl("exec", *inputs, target, "--", *words, given=given, check=check, timeout=120)

    def kill(self, pod: str) -> None:
        """Without any grace."""
        self.kubectl("delete", "pod", pod, "--grace-period=0", "--force", "--wait=false")

    def job(self, name: str, manifest: Manifest, timeout: float = 120) -> str:
        """Runs a Job to its end and returns what it printed."""
        self.kubectl("delete", "job", name, "--ignore-not-found")
        self.apply(self.fitting([manifest]))
        self.await_(f"the Job {name}", timeout, "wait", "--for=condition=complete", f"job/{name}")
        return self.kubectl("logs", f"job/{name}")

    @contextlib.contextmanager
    def forward(self, target: str, port: int) -> Iterator[int]:
        """A port of this machine that leads to the target's, for as long as the context lasts, whichever pod dies meanwhile."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            local = int(probe.getsockname()[1])
        words = ["kubectl", "--namespace", self.namespace, "port-forward", target, f"{local}:{port}"]
        over = threading.Event()
        running: list[subprocess.Popen[bytes]] = []

        def keep() -> None:
            while not over.is_set():
                running[:] = [subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)]
                running[0].wait()
                over.wait(0.5)

        def watch() -> None:
            # A forward to a pod that is gone stays, and leads nowhere.
            silent = 0
            while not over.wait(1):
                silent = 0 if _answers(local) else silent + 1
                if silent >= 3 and running:
                    running[0].kill()
                    silent = 0

        threads = [threading.Thread(target=each, daemon=True) for each in (keep, watch)]
        for thread in threads:
            thread.start()
        try:
            yield local
        finally:
            over.set()
            for process in running:
                process.kill()
            for thread in threads:
                thread.join(timeout=10)


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=3) as connection:
            connection.settimeout(5)
            connection.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
            return bool(connection.recv(1))
    except OSError:
        return False


def wait_until(what: str, holds: Any, timeout: float, pause: float = 1.0) -> None:
    """Raises ClusterError with ``what`` if it does not come about."""
    deadline = time.monotonic() + timeout
    while not holds():
        if time.monotonic() > deadline:
            raise ClusterError(f"not within {timeout:.0f} s: {what}")
        time.sleep(pause)


def load(image: str) -> None:
    """Gives the image to the cluster's nodes by the command in CLOUDWARD_K8S_LOAD (``kind load docker-image``), where nodes do
    not share the engine's images."""
    command = os.environ.get("CLOUDWARD_K8S_LOAD")
    if command:
        subprocess.run([*command.split(), image], check=True, timeout=300)
