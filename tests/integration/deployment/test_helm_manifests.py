"""The rendered chart, with every option flipped: valid for Kubernetes and KubeRay, and locked down."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from chart_manifests import VARIATIONS, containers, environment, pod_specs

from finpool.installation.process.components import START_ORDER

Manifest = dict[str, Any]
Render = Callable[..., list[Manifest]]

KUBERNETES = "1.37"
ROLES = ("owner", "inference", "tenant", "operator", "regulator", "worker", "pool")


@pytest.fixture(params=list(VARIATIONS))
def manifests(request: pytest.FixtureRequest, render: Render) -> list[Manifest]:
    return render(VARIATIONS[request.param])


@pytest.fixture(scope="module")
def valid() -> Callable[[Manifest], None]:
    """Check a manifest, but the same one only once: most are equal from one variation to the next."""
    folder = Path(__file__).parent / "kubernetes_schemas"
    rayservice = json.loads((folder / "rayservice-kuberay-1.7.schema.json").read_text())
    checked: set[str] = set()

    def check(manifest: Manifest) -> None:
        text = json.dumps(manifest, sort_keys=True)
        if text in checked:
            return
        if manifest["kind"] == "RayService":
            jsonschema.validate(manifest, rayservice)
        else:
            kubernetes_validate.validate(manifest, KUBERNETES, strict=True)
        checked.add(text)

    return check


def test_every_manifest_is_valid_for_kubernetes_and_kuberay(
    manifests: list[Manifest], valid: Callable[[Manifest], None]
) -> None:
    for manifest in manifests:
        valid(manifest)
    for component, spec in pod_specs(manifests):
        valid({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": component}, "spec": spec})


def test_names_are_unique_and_labels_fit(manifests: list[Manifest]) -> None:
    names = [(manifest["kind"], manifest["metadata"]["name"]) for manifest in manifests]
    assert len(names) == len(set(names))
    for manifest in manifests:
        assert all(len(value) <= 63 for value in manifest["metadata"]["labels"].values())


def test_a_long_release_name_leaves_room_for_what_kuberay_appends(render: Render) -> None:
    manifests = render(release="a-release-name-that-is-as-long-as-helm-lets-it-be-x-x")
    service = next(manifest for manifest in manifests if manifest["kind"] == "RayService")
    assert len(service["metadata"]["name"]) <= 47
    assert all(len(manifest["metadata"]["name"]) <= 63 for manifest in manifests)


def test_every_pod_is_locked_down(manifests: list[Manifest]) -> None:
    seen = set()
    for component, spec in pod_specs(manifests):
        seen.add(component)
        assert spec["automountServiceAccountToken"] is False
        assert spec["serviceAccountName"] != "default"
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] == 65532
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not any("hostPath" in volume for volume in spec["volumes"])
    assert seen - {"tokens"} == {"migrate", "inference", "operator", "regulator", "ray-head", "ray-worker", "test"}


def test_every_container_is_locked_down(manifests: list[Manifest]) -> None:
    for container in containers(manifests).values():
        context = container["securityContext"]
        assert context["runAsNonRoot"] is True
        assert context["readOnlyRootFilesystem"] is True
        assert context["allowPrivilegeEscalation"] is False
        assert context["privileged"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert {"cpu", "memory"} <= set(container["resources"]["requests"])
        assert "memory" in container["resources"]["limits"]
        assert "/tmp" in {mount["mountPath"] for mount in container["volumeMounts"]}


def test_every_mount_has_its_volume_and_every_volume_is_mounted(manifests: list[Manifest]) -> None:
    for component, spec in pod_specs(manifests):
        every = [*spec.get("initContainers", []), *spec["containers"]]
        mounted = {mount["name"] for container in every for mount in container["volumeMounts"]}
        claimed = {"spool"} if component == "inference" else set()
        assert mounted == {volume["name"] for volume in spec["volumes"]} | claimed


def test_every_image_is_named_by_digest(render: Render) -> None:
    for container in containers(render()).values():
        assert re.fullmatch(r"finpool/(app|engine)@sha256:[0-9a-f]{64}", container["image"])
    for container in containers(render(VARIATIONS["images"])).values():
        assert re.fullmatch(
            r"registry\.example:5000/bank/(mirror/app|finpool/engine)@sha256:\w{64}", container["image"]
        )
    assert all(spec["imagePullSecrets"] == [{"name": "pull"}] for _, spec in pod_specs(render(VARIATIONS["images"])))


def test_each_process_gets_only_the_database_roles_it_needs(manifests: list[Manifest]) -> None:
    on_one_machine = {component.name: set(component.database_roles) for component in START_ORDER}
    assert on_one_machine.pop("pool") == {"pool"}  # In a cluster a RayService serves what is declared.
    roles = on_one_machine | {"migrate": set(ROLES), "tokens": {"owner"}}
    roles |= {name: set() for name in ("ray-head", "ray-worker", "doors")}
    for name, container in containers(manifests).items():
        given = {key: value for key, value in environment(container).items() if key.endswith("_DATABASE_URL")}
        expected = roles[name.split()[0]]
        assert set(given) == {f"FINPOOL_{role.upper()}_DATABASE_URL" for role in expected}
        for role in expected:
            reference = {"name": "finpool-databases", "key": f"{role}-database-url"}
            assert given[f"FINPOOL_{role.upper()}_DATABASE_URL"] == {"secretKeyRef": reference}


def test_each_process_gets_only_the_secret_files_it_needs(
    manifests: list[Manifest], request: pytest.FixtureRequest
) -> None:
    remote = ["remote_far"] if request.node.callspec.params["manifests"] == "remote engines" else []
    files = {
        "inference": ["key_pepper", "engine_token", *remote],
        "operator": ["key_pepper"],
        "regulator": ["key_pepper"],
        "tokens": ["key_pepper"],
        "ray-head": ["engine_token"],
        "ray-worker": ["engine_token"],
    }
    for _, spec in pod_specs(manifests):
        volumes = {volume["name"]: volume for volume in spec["volumes"]}
        for container in [*spec.get("initContainers", []), *spec["containers"]]:
            mounts = {mount["name"]: mount for mount in container["volumeMounts"]}
            if container["name"] not in files:
                assert "secrets" not in mounts
                continue
            assert environment(container)["FINPOOL_SECRETS_DIR"] == mounts["secrets"]["mountPath"]
            assert mounts["secrets"]["readOnly"] is True
            secret = volumes["secrets"]["secret"]
            assert secret["secretName"] == "finpool-files"
            assert [item["key"] for item in secret["items"]] == files[container["name"]]


def test_no_secret_is_made_or_rendered(manifests: list[Manifest]) -> None:
    assert all(manifest["kind"] != "Secret" for manifest in manifests)
    text = yaml.safe_dump_all(manifests)
    assert "postgresql" not in text
    assert "://" not in re.sub(r"https?://[^@\s]*(\s|$)", "", text)


def test_every_setting_given_reaches_the_apps_as_written(render: Render) -> None:
    found = containers(render(VARIATIONS["settings"]))
    for name in ("inference", "worker", "operator", "regulator"):
        given = environment(found[name])
        assert given["FINPOOL_BODY_BYTES_MAX"] == "2097152"
        assert given["FINPOOL_LEASE_SHARE_OF_REST"] == "0.25"
        assert given["FINPOOL_LOG_LEVEL"] == "DEBUG"
