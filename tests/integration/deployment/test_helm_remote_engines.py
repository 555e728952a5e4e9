"""Engines that somebody else serves: whose pod gets their keys, and who reaches their networks."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from chart_manifests import Manifest, containers, environment, pod_specs
from remote_model import remote_declaration

Render = Callable[..., list[Manifest]]

EGRESS = [
    {"to": [{"ipBlock": {"cidr": "198.51.100.0/24"}}], "port": 443},
    {"to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ascend"}}}], "port": 8080},
]


def catalogue(*secrets: str) -> dict[str, str]:
    """Return values of a catalogue with a remote model for each of these secrets, and one model of our own."""
    remote = {
        f"far-{number}.yaml": yaml.safe_dump(
            remote_declaration("https://models.example/v1", f"far-{number}", secret=secret)
        )
        for number, secret in enumerate(secrets)
    }
    return {**remote, "own.yaml": "id: own\nengine: {name: llamacpp, slots: 4, threads: 2}\n"}


def keys(manifests: list[Manifest]) -> dict[str, list[str]]:
    """Return the secret files that each kind of pod mounts, but for the platform's own."""
    found: dict[str, list[str]] = {}
    for component, spec in pod_specs(manifests):
        for volume in spec["volumes"]:
            items = volume.get("secret", {}).get("items", [])
            found.setdefault(component, []).extend(item["path"] for item in items if item["path"].startswith("remote_"))
    return {component: names for component, names in found.items() if names}


def remote_policies(manifests: list[Manifest]) -> list[Manifest]:
    return [each["spec"] for each in manifests if each["metadata"]["name"].endswith("-inference-to-remote-engines")]


def test_only_the_gateway_gets_the_keys_and_each_of_them_once(render: Render) -> None:
    manifests = render({"catalogue": catalogue("remote_b", "remote_a", "remote_b")})
    assert keys(manifests) == {"inference": ["remote_a", "remote_b"]}
    found = containers(manifests)
    (mount,) = [each for each in found["inference"]["volumeMounts"] if each["name"] == "secrets"]
    assert mount == {"name": "secrets", "mountPath": "/etc/finpool/secrets", "readOnly": True}
    assert environment(found["inference"])["FINPOOL_SECRETS_DIR"] == mount["mountPath"]
    assert "secrets" not in {each["name"] for each in found["worker"]["volumeMounts"]}


def test_a_catalogue_without_remote_engines_asks_for_no_keys(render: Render) -> None:
    assert keys(render()) == keys(render({"catalogue": catalogue()})) == {}


@pytest.mark.parametrize("secret", ["key_pepper", "remote_", "remote_A", "../remote_a", None])
def test_no_declaration_gets_another_file_of_the_secret(
    run_helm: Callable[..., Any], chart: Path, secret: str | None
) -> None:
    far = remote_declaration("https://models.example/v1", secret=secret)
    result = run_helm("template", "pool", str(chart), changes={"catalogue": {"far.yaml": yaml.safe_dump(far)}})
    assert result.returncode != 0
    assert "catalogue: far.yaml: engine.secret: " in result.stderr
    assert "must be remote_ and then" in result.stderr


def test_nothing_leaves_for_remote_engines_unless_it_is_said_where_to(render: Render) -> None:
    assert remote_policies(render({"catalogue": catalogue("remote_a")})) == []


def test_only_the_inference_pods_reach_the_networks_of_remote_engines(render: Render) -> None:
    manifests = render({"catalogue": catalogue("remote_a"), "remoteEngines": {"egress": EGRESS}})
    (policy,) = remote_policies(manifests)
    assert policy["policyTypes"] == ["Egress"]
    assert policy["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "inference"
    assert policy["egress"] == [
        {"to": rule["to"], "ports": [{"port": rule["port"], "protocol": "TCP"}]} for rule in EGRESS
    ]
    for other in (each for each in manifests if each["kind"] == "NetworkPolicy" and each["spec"] is not policy):
        assert "198.51.100.0/24" not in yaml.safe_dump(other)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"to": [], "port": 443}, "'/remoteEngines/egress/0/to': minItems"),
        ({"to": [{"ipBlock": {"cidr": "models.example"}}], "port": 443}, "'/remoteEngines/egress/0/to/0/ipBlock/cidr'"),
        ({"to": EGRESS[0]["to"]}, "'/remoteEngines/egress/0': missing property 'port'"),
        ({"cidrs": ["198.51.100.0/24"], "port": 443}, "additional properties 'cidrs' not allowed"),
    ],
)
def test_a_wrong_rule_is_refused_with_a_line_that_says_why(
    run_helm: Callable[..., Any], chart: Path, rule: dict[str, Any], message: str
) -> None:
    result = run_helm("template", "pool", str(chart), changes={"remoteEngines": {"egress": [rule]}})
    assert result.returncode != 0
    assert message in result.stderr


def test_the_notes_say_when_the_keys_are_there_and_the_way_is_not(run_helm: Callable[..., Any], chart: Path) -> None:
    values = {"catalogue": catalogue("remote_a")}
    opened = {**values, "remoteEngines": {"egress": EGRESS}}
    for changes, warns in ((values, True), (opened, False), ({}, False)):
        result = run_helm("install", "pool", str(chart), "--dry-run=client", changes=changes)
        assert result.returncode == 0, result.stderr
        assert ("set remoteEngines.egress" in result.stdout) is warns
