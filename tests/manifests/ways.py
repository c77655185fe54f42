"""Who may reach whom, computed from the network policies."""

from collections.abc import Iterator
from dataclasses import dataclass

from tests.manifests.rendered import COMPONENT, Manifest, Rendered, selects

Way = tuple[str, str, int]  # from, to, port; 0 is any port

_SERVICES = ("planner", "analyzer", "executor", "dashboard")
_COMMON: set[Way] = {
    *((source, "postgres", 5432) for source in (*_SERVICES, "sealer", "migrate")),
    *((source, "nats", 4222) for source in (*_SERVICES, "migrate")),
    *(("namespace monitoring", target, 9090) for target in _SERVICES),
    ("namespace ingress-nginx", "dashboard", 8080),
    *((source, "outside", 443) for source in ("analyzer", "executor", "dashboard")),
}
WANTED: dict[str, set[Way]] = {
    "sandbox": {*_COMMON, ("analyzer", "sandbox", 0), ("executor", "sandbox", 0)},
    "production": {
        *_COMMON,
        ("nats", "nats", 6222),
        ("namespace keda", "nats", 8222),
        ("postgres", "postgres", 5432),
        ("postgres", "postgres", 8000),
        ("namespace cnpg-system", "postgres", 5432),
        ("namespace cnpg-system", "postgres", 8000),
        ("namespace monitoring", "postgres", 9187),
        # The operator's instances ask the cluster's API, at addresses that only the cluster knows.
        ("postgres", "anywhere", 443),
        ("postgres", "anywhere", 6443),
    },
}
_NAMESPACE = "kubernetes.io/metadata.name"
# Of an address that is not public nothing may be reached by what is meant for the outside.
PRIVATE = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16", "127.0.0.0/8")


@dataclass(frozen=True)
class _End:
    """One end of a way as a policy describes it."""

    peer: str
    ports: frozenset[int]


def ways(rendered: Rendered) -> set[Way]:
    """All ways that are open. DNS, which is open to all, is left out."""
    labels = {load.component: load.labels for load in rendered.workloads}
    # An operator makes its pods from something that is no workload here.
    for cluster in rendered.of("Cluster"):
        labels["postgres"] = cluster["spec"]["inheritedMetadata"]["labels"]
    leaving = {source: set(_ends(rendered, labels, source, "egress", "to")) for source in labels}
    entering = {target: set(_ends(rendered, labels, target, "ingress", "from")) for target in labels}
    found: set[Way] = set()
    for source, ends in leaving.items():
        for end in ends:
            if end.peer not in labels:
                found |= {(source, end.peer, port) for port in end.ports}
                continue
            for other in entering[end.peer]:
                if other.peer == source:
                    found |= {(source, end.peer, port) for port in _common(end.ports, other.ports)}
    for target, ends in entering.items():
        found |= {(end.peer, target, port) for end in ends if end.peer not in labels for port in end.ports}
    return found


def _common(one: frozenset[int], other: frozenset[int]) -> frozenset[int]:
    if 0 in one:
        return other
    return one if 0 in other else one & other


def _ends(
    rendered: Rendered, labels: dict[str, dict[str, str]], component: str, direction: str, key: str
) -> Iterator[_End]:
    for policy in rendered.of("NetworkPolicy"):
        if not selects(policy["spec"]["podSelector"], labels[component]):
            continue
        for rule in policy["spec"].get(direction) or ():
            ports = frozenset(each["port"] for each in rule.get("ports") or ()) or frozenset({0})
            if key not in rule:
                yield _End("anywhere", ports)
            for peer in rule.get(key) or ():
                for name in _peers(peer, labels):
                    yield _End(name, ports)


def _peers(peer: Manifest, labels: dict[str, dict[str, str]]) -> Iterator[str]:
    if "ipBlock" in peer:
        missing = set(PRIVATE) - set(peer["ipBlock"].get("except", ()))
        if ":" not in peer["ipBlock"]["cidr"]:
            assert not missing, f"{missing} are not outside"
        yield "outside"
    elif "namespaceSelector" in peer:
        name = peer["namespaceSelector"]["matchLabels"][_NAMESPACE]
        if name != "kube-system":
            yield f"namespace {name}"
    else:
        assert peer["podSelector"], "a peer that is everybody"
        assert COMPONENT in str(peer["podSelector"])
        yield from (each for each, its in labels.items() if selects(peer["podSelector"], its))


def differences(rendered: Rendered) -> Iterator[str]:
    """Ways that are open and should not be, or the reverse; and a namespace in which not everything is closed first."""
    found, wanted = ways(rendered), WANTED[rendered.overlay]
    yield from (f"open: {source} to {target}:{port}" for source, target, port in sorted(found - wanted))
    yield from (f"closed: {source} to {target}:{port}" for source, target, port in sorted(wanted - found))
    first = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    if not any(policy["spec"] == first for policy in rendered.of("NetworkPolicy")):
        yield "nothing closes everything first"
