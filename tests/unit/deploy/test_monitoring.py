"""Alerts and panels ask for metrics that are there, by labels they have; every alert says what to do."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from prometheus_client.metrics import MetricWrapperBase

import shared.ops.metrics

ROOT = Path(__file__).parents[3]
MONITORING = ROOT / "deploy" / "k8s" / "monitoring"
ALERTS = [
    rule
    for group in yaml.safe_load((MONITORING / "alerts.yaml").read_text())["spec"]["groups"]
    for rule in group["rules"]
]
PANELS = [
    (panel["title"], target["expr"])
    for panel in json.loads((MONITORING / "dashboard.json").read_text())["panels"]
    for target in panel.get("targets", ())
]
# Of others that run in a cluster: kube-state-metrics, the kubelet, cert-manager, CloudNativePG.
FOREIGN = {
    "kube_cronjob_status_last_successful_time",
    "kube_job_failed",
    "kube_horizontalpodautoscaler_status_current_replicas",
    "kube_horizontalpodautoscaler_spec_max_replicas",
    "kubelet_volume_stats_available_bytes",
    "kubelet_volume_stats_capacity_bytes",
    "certmanager_certificate_expiration_timestamp_seconds",
    "cnpg_pg_stat_archiver_last_failed_time",
    "cnpg_pg_stat_archiver_last_archived_time",
    "process_resident_memory_bytes",
}
# Prometheus and its operator add these to whatever is scraped.
ADDED = {"pod", "namespace", "job", "instance", "le"}


def exported() -> dict[str, set[str]]:
    """Every series of this project with the labels it has."""
    found: dict[str, set[str]] = {}
    for metric in vars(shared.ops.metrics).values():
        if isinstance(metric, MetricWrapperBase):
            (family,) = metric.describe()
            suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}.get(family.type, ("",))
            for suffix in suffixes:
                found[family.name + suffix] = set(metric._labelnames)
    assert len(found) > 40
    return found


def series(expression: str) -> Iterator[tuple[str, set[str]]]:
    """The names in a PromQL expression, with the labels they are chosen by."""
    without_strings = re.sub(r'"[^"]*"', '""', expression)
    for name, chosen in re.findall(r"\b([a-z][a-z0-9]*_[a-z0-9_]+)\b(?:\{([^}]*)\})?", without_strings):
        if name not in ("histogram_quantile", "predict_linear"):
            yield name, set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", chosen))


@pytest.mark.parametrize(("where", "expression"), [(a["alert"], a["expr"]) for a in ALERTS] + PANELS)
def test_it_asks_for_metrics_that_are_there(where: str, expression: str) -> None:
    known = exported()
    grouped = set(re.findall(r"\w+", " ".join(re.findall(r"(?:by|on) \(([^)]*)\)", expression))))
    found = list(series(expression))
    # Names that stand behind `by` and `on` are labels.
    names = [(name, labels) for name, labels in found if name not in grouped]
    assert names
    for name, labels in names:
        if name in FOREIGN:
            continue
        assert name in known, f"{where}: there is no metric {name}"
        assert labels <= known[name] | ADDED, f"{where}: {name} has no label {labels - known[name]}"


def test_every_alert_has_a_heading_in_the_operations_page_that_says_what_to_do() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    headings = re.findall(r"^### (\w+)$", page.partition("\n## Alerts\n")[2], re.MULTILINE)
    assert headings == [alert["alert"] for alert in ALERTS]
    for alert in ALERTS:
        assert alert["annotations"]["runbook"] == f"docs/operations.md#{alert['alert'].lower()}"
        text = page.partition(f"### {alert['alert']}\n")[2].partition("\n#")[0].strip()
        assert len(text) > 40, alert["alert"]
