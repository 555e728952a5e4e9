"""Who reaches whom under the chart's NetworkPolicies, evaluated as Kubernetes does for every pair of pods."""

import ipaddress
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from chart_manifests import VARIATIONS

Manifest = dict[str, Any]
Render = Callable[..., list[Manifest]]

HERE = "finpool"
RAY_PORTS = (6379, 8000, 8265, 10001, 30000, 52365)
ALL_PORTS = (53, 443, 5432, 8001, 8002, *RAY_PORTS)


@dataclass(frozen=True)
class Endpoint:
    """A pod in a namespace, or with `ip` alone something outside the cluster."""

    name: str
    namespace: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    ip: str = ""


def matches(selector: Manifest, labels: dict[str, str]) -> bool:
    for expression in selector.get("matchExpressions", []):
        assert expression["operator"] == "In"
        if labels.get(expression["key"]) not in expression["values"]:
            return False
    wanted: dict[str, str] = selector.get("matchLabels", {})
    return wanted.items() <= labels.items()


def is_peer(peer: Manifest, other: Endpoint) -> bool:
    if "ipBlock" in peer:
        network = ipaddress.ip_network(peer["ipBlock"]["cidr"])
        return bool(other.ip) and ipaddress.ip_address(other.ip) in network
    if other.ip:
        return False
    namespace = {"kubernetes.io/metadata.name": other.namespace}
    same = matches(peer["namespaceSelector"], namespace) if "namespaceSelector" in peer else other.namespace == HERE
    return same and matches(peer.get("podSelector", {}), other.labels)


def permits(policies: list[Manifest], pod: Endpoint, other: Endpoint, port: int, direction: str) -> bool:
    """Tell whether `pod`'s own policies let it exchange with `other` in the direction (Ingress or Egress)."""
    rules, side = direction.lower(), "from" if direction == "Ingress" else "to"
    applying = [
        policy["spec"]
        for policy in policies
        if pod.namespace == HERE
        and direction in policy["spec"]["policyTypes"]
        and matches(policy["spec"]["podSelector"], pod.labels)
    ]
    return not applying or any(
        (side not in rule or any(is_peer(peer, other) for peer in rule[side]))
        and ("ports" not in rule or port in [entry["port"] for entry in rule["ports"]])
        for spec in applying
        for rule in spec.get(rules, [])
    )


def reaches(policies: list[Manifest], source: Endpoint, target: Endpoint, port: int) -> bool:
    return permits(policies, source, target, port, "Egress") and permits(policies, target, source, port, "Ingress")


def network_policies(manifests: list[Manifest]) -> list[Manifest]:
    return [manifest for manifest in manifests if manifest["kind"] == "NetworkPolicy"]


def templates(manifest: Manifest) -> Iterator[Manifest]:
    if manifest["kind"] in {"Deployment", "StatefulSet", "Job"}:
        yield manifest["spec"]["template"]
    elif manifest["kind"] == "Pod":
        yield manifest
    elif manifest["kind"] == "RayService":
        cluster = manifest["spec"]["rayClusterConfig"]
        yield from (group["template"] for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]))


def pods(manifests: list[Manifest]) -> dict[str, Endpoint]:
    """Return every pod of the release by its component."""
    labels = [template["metadata"]["labels"] for manifest in manifests for template in templates(manifest)]
    component = "app.kubernetes.io/component"
    return {found[component]: Endpoint(found[component], HERE, found) for found in labels}


KUBERAY = Endpoint("kuberay", "kuberay-system", {"app.kubernetes.io/name": "kuberay-operator"})
DNS = Endpoint("dns", "kube-system", {"k8s-app": "kube-dns"})
DATABASE = Endpoint("database", ip="10.0.64.10")
STRANGERS = [
    Endpoint("a pod with no labels", HERE),
    Endpoint("a pod that claims to be KubeRay", HERE, {"app.kubernetes.io/name": "kuberay-operator"}),
    Endpoint("a pod elsewhere that claims to be inference", "bank", {
        "app.kubernetes.io/name": "finpool",
        "app.kubernetes.io/instance": "pool",
        "app.kubernetes.io/component": "inference",
    }),
    Endpoint("the internet", ip="203.0.113.7"),
    Endpoint("another address near the database", ip="10.0.96.1"),
]  # fmt: skip


@pytest.fixture
def world(render: Render) -> dict[str, Endpoint]:
    """Every pod of this release, of another one in the same namespace, and of its surroundings."""
    release, other = pods(render()), pods(render(release="other"))
    surroundings = {endpoint.name: endpoint for endpoint in (KUBERAY, DNS, DATABASE, *STRANGERS)}
    return {**release, **{f"other {name}": pod for name, pod in other.items()}, **surroundings}


def open_paths(
    policies: list[Manifest], world: dict[str, Endpoint], targets: tuple[str, ...], ports: tuple[int, ...]
) -> set[tuple[str, str, int]]:
    return {
        (source, target, port)
        for source in world
        for target in targets
        for port in ports
        if source != target and reaches(policies, world[source], world[target], port)
    }


def test_only_inference_reaches_the_engines(render: Render, world: dict[str, Endpoint]) -> None:
    found = open_paths(network_policies(render()), world, ("ray-worker",), ALL_PORTS)
    assert found == {("inference", "ray-worker", 8000)} | {("ray-head", "ray-worker", port) for port in ALL_PORTS}


def test_only_rays_own_pods_and_kuberay_reach_the_head(render: Render, world: dict[str, Endpoint]) -> None:
    found = open_paths(network_policies(render()), world, ("ray-head",), ALL_PORTS)
    assert found == {("kuberay", "ray-head", 8265)} | {("ray-worker", "ray-head", port) for port in ALL_PORTS}


def test_nobody_but_the_release_test_reaches_a_door_by_default(render: Render, world: dict[str, Endpoint]) -> None:
    doors = {"inference": 8000, "operator": 8001, "regulator": 8002}
    found = open_paths(network_policies(render()), world, tuple(doors), ALL_PORTS)
    assert found == {("test", door, port) for door, port in doors.items()}


def test_a_door_opens_to_the_peers_it_is_given_and_to_no_others(render: Render, world: dict[str, Endpoint]) -> None:
    peer = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "edge"}}}
    world["edge"] = Endpoint("edge", "edge")
    policies = network_policies(render({"inference": {"allowFrom": [peer, {"ipBlock": {"cidr": "203.0.113.0/24"}}]}}))
    found = open_paths(policies, world, ("inference", "operator", "regulator"), ALL_PORTS)
    assert {(source, port) for source, target, port in found if target == "inference"} == {
        ("test", 8000), ("edge", 8000), ("the internet", 8000),
    }  # fmt: skip
    assert {source for source, target, _ in found if target != "inference"} == {"test"}


def test_only_processes_with_a_database_role_reach_the_database(render: Render, world: dict[str, Endpoint]) -> None:
    policies = network_policies(render())
    ours = pods(render())
    reaching = {name for name, pod in ours.items() if reaches(policies, pod, DATABASE, 5432)}
    assert reaching == {"inference", "operator", "regulator", "migrate"}
    with_tokens = pods(render({"tokens": {"enabled": True}}))
    assert reaches(policies, with_tokens["tokens"], DATABASE, 5432)
    assert not any(reaches(policies, pod, DATABASE, 22) for pod in ours.values())


def test_nothing_reaches_out_further_than_names_and_the_database(render: Render, world: dict[str, Endpoint]) -> None:
    policies = network_policies(render())
    outside = [endpoint for endpoint in world.values() if endpoint.namespace != HERE and endpoint is not DATABASE]
    for pod in pods(render()).values():
        found = {
            (target.name, port) for target in outside for port in ALL_PORTS if reaches(policies, pod, target, port)
        }
        assert found == {("dns", 53)}, pod.name


def test_every_pod_of_the_release_is_denied_by_default_both_ways(render: Render) -> None:
    manifests = render()
    (deny,) = [p for p in network_policies(manifests) if p["metadata"]["name"].endswith("-default-deny")]
    assert set(deny["spec"]) == {"podSelector", "policyTypes"}
    assert deny["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert all(matches(deny["spec"]["podSelector"], pod.labels) for pod in pods(manifests).values())


def test_only_rays_pods_reach_the_sources_of_weights(render: Render) -> None:
    changes = {"models": {"weights": {"sources": [{"cidr": "10.2.0.0/16", "port": 443}]}}}
    policies = network_policies(render(changes))
    hub = Endpoint("hub", ip="10.2.3.4")
    assert {name for name, pod in pods(render(changes)).items() if reaches(policies, pod, hub, 443)} == {
        "ray-head", "ray-worker",
    }  # fmt: skip


def test_only_the_apps_reach_the_collector(render: Render) -> None:
    collectors = [{"ipBlock": {"cidr": "10.3.0.0/16"}}]
    changes = {"telemetry": {"otlpEndpoint": "http://10.3.0.1:4318", "collectors": collectors}}
    policies = network_policies(render(changes))
    collector = Endpoint("collector", ip="10.3.0.1")
    assert {name for name, pod in pods(render(changes)).items() if reaches(policies, pod, collector, 4318)} == {
        "inference", "operator", "regulator",
    }  # fmt: skip


def test_only_inference_reaches_the_remote_engines_and_only_where_it_is_told(render: Render) -> None:
    egress = [{"to": [{"ipBlock": {"cidr": "198.51.100.0/24"}}], "port": 443}]
    far = Endpoint("far", ip="198.51.100.9")
    for changes, reaching in (({}, set()), ({"remoteEngines": {"egress": egress}}, {"inference"})):
        policies, ours = network_policies(render(changes)), pods(render(changes))
        assert {name for name, pod in ours.items() if reaches(policies, pod, far, 443)} == reaching
        assert not any(reaches(policies, pod, far, 80) for pod in ours.values())


def test_workers_with_accelerators_are_reached_like_all_others(render: Render) -> None:
    policies = network_policies(render(VARIATIONS["accelerators"]))
    (service,) = [manifest for manifest in render(VARIATIONS["accelerators"]) if manifest["kind"] == "RayService"]
    workers = [Endpoint("worker", HERE, each["metadata"]["labels"]) for each in list(templates(service))[1:]]
    assert len(workers) == 3
    for worker in workers:
        assert reaches(policies, pods(render())["inference"], worker, 8000)
        assert all(reaches(policies, other, worker, 30000) for other in workers)
        assert not any(reaches(policies, stranger, worker, port) for stranger in STRANGERS for port in ALL_PORTS)
