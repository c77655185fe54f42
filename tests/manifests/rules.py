"""What this project wants of its manifests. Each rule yields a sentence for whatever breaks it."""

import re
from collections.abc import Callable, Iterator
from importlib.metadata import version

from cli.embedded.deployment import SERVICES, manifests, write_secrets
from shared.events.audit.service import SealerSettings
from shared.ops.settings import Settings
from tests.manifests.rendered import COMPONENT, Manifest, Rendered, Workload, selects

Rule = Callable[[Rendered], Iterator[str]]

# What the image answers on: everything else that is sent there goes nowhere.
PORTS = {"http": 8080, "ops": 9090}
_SPARE = 15  # seconds between what a process is given and what its pod is given


def restricted(rendered: Rendered) -> Iterator[str]:
    """Every field that the restricted pod security standard asks for, and a root file system that is read-only."""
    for load in rendered.workloads:
        security = load.spec.get("securityContext", {})
        wanted = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
        if any(security.get(key) != value for key, value in wanted.items()) or not security.get("runAsUser"):
            yield f"{load.name}: its pods are not restricted"
        if any(load.spec.get(key) for key in ("hostNetwork", "hostPID", "hostIPC")):
            yield f"{load.name}: uses what is the node's"
        allowed = {"configMap", "secret", "emptyDir", "persistentVolumeClaim"}
        for volume in load.spec.get("volumes", ()):
            if not set(volume) - {"name"} <= allowed:
                yield f"{load.name}: volume {volume['name']} is of a kind that is not allowed"
        for container in load.containers():
            inside = container.get("securityContext", {})
            if (
                inside.get("allowPrivilegeEscalation") is not False
                or inside.get("readOnlyRootFilesystem") is not True
                or inside.get("capabilities") != {"drop": ["ALL"]}
                or any("hostPort" in port for port in container.get("ports", ()))
            ):
                yield f"{load.name}/{container['name']}: is not confined"


def accounts(rendered: Rendered) -> Iterator[str]:
    """Each workload has an account of its own, which may do nothing and whose token nobody gets."""
    known = {each["metadata"]["name"]: each for each in rendered.of("ServiceAccount")}
    used = [load.spec.get("serviceAccountName") for load in rendered.workloads]
    for load in rendered.workloads:
        account = known.get(str(load.spec.get("serviceAccountName")))
        if account is None or used.count(account["metadata"]["name"]) != 1:
            yield f"{load.name}: has no account of its own"
        elif account.get("automountServiceAccountToken") is not False:
            yield f"{load.name}: its account hands out its token"
        if load.spec.get("automountServiceAccountToken") is not False:
            yield f"{load.name}: mounts a token"
    for each in rendered.of("Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding"):
        yield f"{each['kind']} {each['metadata']['name']}: nothing here needs rights in the cluster"


def probes(rendered: Rendered) -> Iterator[str]:
    """Three probes with ports by name; whether it lives is another question than whether it is ready."""
    for load in rendered.workloads:
        if not load.stays:
            continue
        for container in load.spec["containers"]:
            found = {kind: container.get(f"{kind}Probe") for kind in ("startup", "liveness", "readiness")}
            if not all(found.values()):
                yield f"{load.name}: lacks a probe"
                continue
            if found["liveness"] == found["readiness"]:
                yield f"{load.name}: an outage elsewhere would restart it"
            names = {port["name"] for port in container.get("ports", ())}
            for probe in found.values():
                http = probe.get("httpGet") or probe.get("tcpSocket")
                if http and (http["port"] not in names or "host" in http):
                    yield f"{load.name}: a probe asks a port that is not named"
            if load.component in SERVICES:
                paths = {kind: probe.get("httpGet", {}).get("path") for kind, probe in found.items()}
                if paths != {"startup": "/livez", "liveness": "/livez", "readiness": "/readyz"}:
                    yield f"{load.name}: asks for {paths}"
                # Red within ten seconds: what the process knows after two, Kubernetes must ask for.
                readiness = found["readiness"]
                if readiness["periodSeconds"] * readiness["failureThreshold"] > 5:
                    yield f"{load.name}: is seen to be red too late"


def resources(rendered: Rendered) -> Iterator[str]:
    for load in rendered.workloads:
        for container in load.containers():
            found = container.get("resources", {})
            if set(found.get("requests", ())) != {"cpu", "memory", "ephemeral-storage"}:
                yield f"{load.name}/{container['name']}: does not say what it needs"
            if set(found.get("limits", ())) != {"memory", "ephemeral-storage"}:
                yield f"{load.name}/{container['name']}: is limited in something else than memory and scratch space"


def endings(rendered: Rendered) -> Iterator[str]:
    """A pod lives longer than the grace its process gives itself."""
    for load in rendered.workloads:
        if load.component not in SERVICES or not load.stays:
            continue
        (container,) = load.spec["containers"]
        given = {each["name"]: each.get("value") for each in container["env"]}.get("CLOUDWARD_GRACE")
        if given is None or load.spec["terminationGracePeriodSeconds"] < float(given) + _SPARE:
            yield f"{load.name}: is cut off before it has ended by itself"


def spread(rendered: Rendered) -> Iterator[str]:
    """Several of a kind stand on several nodes, and no drain takes more than one."""
    budgets = rendered.of("PodDisruptionBudget")
    for load in rendered.workloads:
        if not load.stays or load.replicas < 2:
            continue
        if not any(selects(budget["spec"]["selector"], load.labels) for budget in budgets):
            yield f"{load.name}: has no disruption budget"
        keys = {each["topologyKey"] for each in load.spec.get("topologySpreadConstraints", ())}
        if keys != {"kubernetes.io/hostname", "topology.kubernetes.io/zone"}:
            yield f"{load.name}: may stand on one node"
    for budget in budgets:
        if not budget["spec"].get("maxUnavailable"):
            yield f"budget {budget['metadata']['name']}: blocks every drain"


def references(rendered: Rendered) -> Iterator[str]:
    """Whatever is mounted or read is there: in the overlay, or among the secrets that the command line makes."""
    maps = {each["metadata"]["name"] for each in rendered.of("ConfigMap")}
    claims = {each["metadata"]["name"] for each in rendered.of("PersistentVolumeClaim")}
    secrets = secret_keys()
    for load in rendered.workloads:
        templates = {each["metadata"]["name"] for each in load.manifest["spec"].get("volumeClaimTemplates", ())}
        volumes = {each["name"]: each for each in load.spec.get("volumes", ())}
        for volume in volumes.values():
            if "configMap" in volume and volume["configMap"]["name"] not in maps:
                yield f"{load.name}: there is no ConfigMap {volume['configMap']['name']}"
            if "secret" in volume and volume["secret"]["secretName"] not in secrets:
                yield f"{load.name}: nobody makes the Secret {volume['secret']['secretName']}"
            claim = volume.get("persistentVolumeClaim", {}).get("claimName")
            if claim and claim not in claims:
                yield f"{load.name}: there is no claim {claim}"
        for container in load.containers():
            yield from _container_references(rendered, load, container, volumes, templates, maps)


def _container_references(
    rendered: Rendered,
    load: Workload,
    container: Manifest,
    volumes: dict[str, Manifest],
    templates: set[str],
    maps: set[str],
) -> Iterator[str]:
    mounted = {each["mountPath"]: each["name"] for each in container.get("volumeMounts", ())}
    for name in mounted.values():
        if name not in volumes and name not in templates:
            yield f"{load.name}/{container['name']}: mounts {name}, which is not there"
    values = {each["name"]: str(each.get("value", "")) for each in container.get("env", ())}
    for each in container.get("envFrom", ()):
        if each["configMapRef"]["name"] not in maps:
            yield f"{load.name}/{container['name']}: there is no ConfigMap {each['configMapRef']['name']}"
            continue
        shared = next(m for m in rendered.of("ConfigMap") if m["metadata"]["name"] == each["configMapRef"]["name"])
        values = {**shared["data"], **values}
    for name, value in values.items():
        for path in re.findall(r"/secrets/([a-z.-]+)", value):
            secret = volumes[mounted["/secrets"]]["secret"]["secretName"]
            # The sealer has no business with NATS, so the settings that all have name a file that it does not get.
            if path not in secret_keys()[secret] and not (load.component == "sealer" and "NATS" in name):
                yield f"{load.name}: {name} names {path}, which is not in {secret}"


def secret_keys() -> dict[str, set[str]]:
    """The Secrets that ``cloudward db secrets --kubernetes`` makes, with their keys."""
    if not _KEYS:
        import tempfile
        from pathlib import Path

        with tempfile.TemporaryDirectory() as folder:
            write_secrets(Path(folder), 10001)
            for manifest in manifests(Path(folder), "cloudward"):
                _KEYS[manifest["metadata"]["name"]] = set(manifest["data"])
    return _KEYS


_KEYS: dict[str, set[str]] = {}


def settings(rendered: Rendered) -> Iterator[str]:
    """Every setting exists; no secret stands in the open."""
    known = {f"CLOUDWARD_{name.upper()}" for name in (*Settings.model_fields, *SealerSettings.model_fields)}
    places = [(m["metadata"]["name"], m["data"]) for m in rendered.of("ConfigMap")]
    for load in rendered.workloads:
        for container in load.containers():
            found = {each["name"]: each.get("value", "") for each in container.get("env", ())}
            places.append((f"{load.name}/{container['name']}", found))
    for place, values in places:
        for name, value in values.items():
            if name.startswith("CLOUDWARD_") and name not in known:
                yield f"{place}: there is no setting {name}"
            if re.search(r"PASSWORD|TOKEN|KEY|SECRET", name) and not str(value).startswith("/"):
                yield f"{place}: {name} is not a file"
            if "://" in str(value) and re.search(r"://[^/]*:[^/]*@", str(value)):
                yield f"{place}: {name} has a password in its address"
    for each in rendered.of("Secret"):
        yield f"Secret {each['metadata']['name']}: secrets do not belong into manifests"


def release(rendered: Rendered) -> Iterator[str]:
    """The Job's name and the image carry the release; no selector does, as it could never change."""
    number = version("cloudward")
    names = [load.name for load in rendered.workloads if load.kind == "Job"]
    if names != [f"migrate-{number.replace('.', '-')}"]:
        yield f"Jobs {names}: the release is {number}"
    for load in rendered.workloads:
        for container in load.containers():
            image, _, tag = container["image"].rpartition(":")
            if image.endswith("cloudward") and tag != number:
                yield f"{load.name}: its image is {container['image']}, the release is {number}"
            if not tag or tag == "latest":
                yield f"{load.name}: {container['image']} may be anything"
        if load.stays:
            wanted = {"app.kubernetes.io/name": "cloudward", COMPONENT: load.component}
            if load.manifest["spec"]["selector"] != {"matchLabels": wanted}:
                yield f"{load.name}: selects its pods by something else"


def selectors(rendered: Rendered) -> Iterator[str]:
    """Each Service and budget finds pods, and the ports that it names."""
    for service in rendered.of("Service"):
        name = service["metadata"]["name"]
        found = [w for w in rendered.workloads if selects({"matchLabels": service["spec"]["selector"]}, w.labels)]
        if len(found) != 1:
            yield f"Service {name}: finds {len(found)} workloads"
            continue
        named = {port["name"] for container in found[0].spec["containers"] for port in container.get("ports", ())}
        for port in service["spec"]["ports"]:
            if port.get("targetPort") not in named:
                yield f"Service {name}: its pods have no port {port.get('targetPort')}"
    for budget in rendered.of("PodDisruptionBudget"):
        if not any(selects(budget["spec"]["selector"], load.labels) for load in rendered.workloads):
            yield f"budget {budget['metadata']['name']}: finds no pod"


RULES: tuple[Rule, ...] = (
    restricted,
    accounts,
    probes,
    resources,
    endings,
    spread,
    references,
    settings,
    release,
    selectors,
)
