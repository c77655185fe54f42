"""An overlay as kubectl renders it, and what is asked of it."""

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "k8s"
OVERLAYS = tuple(sorted(path.parent.name for path in FOLDER.glob("overlays/*/kustomization.yaml")))
COMPONENT = "app.kubernetes.io/component"

Manifest = dict[str, Any]


@dataclass(frozen=True)
class Workload:
    """Something that makes pods."""

    kind: str
    name: str
    replicas: int
    labels: dict[str, str]
    spec: Manifest  # of its pods
    manifest: Manifest

    @property
    def component(self) -> str:
        return self.labels[COMPONENT]

    @property
    def stays(self) -> bool:
        return self.kind in ("Deployment", "StatefulSet")

    def containers(self) -> Iterator[Manifest]:
        yield from self.spec.get("initContainers", ())
        yield from self.spec["containers"]


class Rendered:
    """The objects of one overlay."""

    def __init__(self, overlay: str) -> None:
        self.overlay = overlay
        words = ["kubectl", "kustomize", str(FOLDER / "overlays" / overlay)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        self.text = done.stdout
        self.objects: list[Manifest] = [m for m in yaml.safe_load_all(done.stdout) if m]

    def of(self, *kinds: str) -> list[Manifest]:
        return [each for each in self.objects if each["kind"] in kinds]

    @cached_property
    def workloads(self) -> list[Workload]:
        found = []
        for each in self.of("Deployment", "StatefulSet", "Job", "CronJob"):
            spec = each["spec"]["jobTemplate"]["spec"] if each["kind"] == "CronJob" else each["spec"]
            template = spec["template"]
            # Without a number of its own it is scaled by something else, to two at least.
            replicas = spec.get("replicas", 2) if each["kind"] in ("Deployment", "StatefulSet") else 1
            found.append(
                Workload(
                    each["kind"],
                    each["metadata"]["name"],
                    replicas,
                    template["metadata"]["labels"],
                    template["spec"],
                    each,
                )
            )
        return found


def selects(selector: Manifest, labels: dict[str, str]) -> bool:
    """Whether a label selector takes these labels."""
    if any(labels.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    for each in selector.get("matchExpressions") or ():
        assert each["operator"] == "In", "only In is used here"
        if labels.get(each["key"]) not in each["values"]:
            return False
    return True
