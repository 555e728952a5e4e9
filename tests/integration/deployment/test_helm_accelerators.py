"""Workers with accelerators: the chart's requests to Kubernetes and Ray, and its refusals."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from chart_manifests import ACCELERATORS, VARIATIONS, VLLM_IMAGE, Manifest, containers, pod_specs
from model_declarations import CPU_ENGINE, CUDA_ENGINE, vllm_declaration
from remote_model import remote_declaration

from finpool.catalogue.model.engine import OpenAiEngine, VllmEngine
from finpool.catalogue.model.schemas import Model

Render = Callable[..., list[Manifest]]

ENGINE = "finpool/engine@sha256:" + "b" * 64
ENGINE_VLLM = "finpool/engine-vllm@sha256:" + "c" * 64


def cluster(manifests: list[Manifest]) -> Manifest:
    (service,) = [manifest for manifest in manifests if manifest["kind"] == "RayService"]
    found: Manifest = service["spec"]["rayClusterConfig"]
    return found


def groups(manifests: list[Manifest]) -> dict[str, Manifest]:
    return {group["groupName"]: group for group in cluster(manifests)["workerGroupSpecs"]}


def spec_of(group: Manifest) -> Manifest:
    found: Manifest = group["template"]["spec"]
    return found


def test_without_a_group_nothing_of_it_is_there(render: Render) -> None:
    manifests = render()
    assert set(groups(manifests)) == {"engines"}
    assert {each["image"] for name, each in containers(manifests).items() if name.startswith("ray-")} == {ENGINE}
    (worker,) = groups(manifests).values()
    assert "num-gpus" not in worker["rayStartParams"]
    assert "/dev/shm" not in {mount["mountPath"] for mount in spec_of(worker)["containers"][0]["volumeMounts"]}


def test_each_group_gets_its_accelerators_and_tells_ray_how_many(render: Render) -> None:
    found = groups(render(VARIATIONS["accelerators"]))
    assert list(found) == ["engines", "h100", "slices"]
    for name, resource, count in (("h100", "nvidia.com/gpu", "4"), ("slices", "nvidia.com/mig-3g.40gb", "1")):
        (container,) = spec_of(found[name])["containers"]
        assert container["resources"]["limits"] == {"memory": "96Gi", resource: count}
        assert container["resources"]["requests"] == {"cpu": "8", "memory": "64Gi"}
        assert found[name]["rayStartParams"]["num-gpus"] == count
    (ordinary,) = spec_of(found["engines"])["containers"]
    assert not [name for name in ordinary["resources"]["limits"] if name.startswith("nvidia.com/")]


def test_a_group_has_a_fixed_number_of_pods_and_no_autoscaler(render: Render) -> None:
    manifests = render(VARIATIONS["accelerators"])
    for group in groups(manifests).values():
        assert group["replicas"] == group["minReplicas"] == group["maxReplicas"]
    assert groups(manifests)["h100"]["replicas"] == 2
    # The autoscaler would need a token in the head that may patch every pod beside it.
    assert not cluster(manifests).get("enableInTreeAutoscaling")
    assert all(manifest["kind"] not in {"Role", "RoleBinding"} for manifest in manifests)


def test_a_group_goes_to_the_nodes_it_names(render: Render) -> None:
    found = groups(render(VARIATIONS["accelerators"]))
    h100 = spec_of(found["h100"])
    assert h100["nodeSelector"] == {"gpu": "h100"}
    assert h100["tolerations"] == [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}]
    assert h100["runtimeClassName"] == "nvidia"
    assert not {"nodeSelector", "tolerations", "runtimeClassName"} & set(spec_of(found["slices"]))


def test_engines_that_share_a_layer_have_shared_memory(render: Render) -> None:
    without = {key: value for key, value in ACCELERATORS.items() if key != "sharedMemory"}
    for group, size in ((ACCELERATORS, "16Gi"), (without, "8Gi")):
        spec = spec_of(groups(render({"images": VLLM_IMAGE, "models": {"acceleratorGroups": [group]}}))["h100"])
        (mount,) = [each for each in spec["containers"][0]["volumeMounts"] if each["mountPath"] == "/dev/shm"]
        (volume,) = [each for each in spec["volumes"] if each["name"] == mount["name"]]
        assert volume["emptyDir"] == {"medium": "Memory", "sizeLimit": size}


@pytest.mark.parametrize("variation", ["accelerators", "accelerators only"])
def test_every_ray_pod_can_build_an_application_for_vllm(render: Render, variation: str) -> None:
    """Serve's build task asks for no resources, so Ray may run it on any of them."""
    manifests = render(VARIATIONS[variation])
    images = {spec["containers"][0]["image"] for component, spec in pod_specs(manifests) if component[:3] == "ray"}
    assert images == {ENGINE_VLLM}
    assert {each["image"] for each in containers(render()).values()} >= {ENGINE}


def test_groups_differ_in_nothing_but_what_they_are_given(render: Render) -> None:
    found = groups(render(VARIATIONS["accelerators"]))
    ordinary = found["engines"]["template"]
    for name in ("h100", "slices"):
        template = found[name]["template"]
        assert template["metadata"] == ordinary["metadata"]  # Policies and budgets select by these labels.
        for key in ("securityContext", "serviceAccountName", "terminationGracePeriodSeconds"):
            assert template["spec"][key] == ordinary["spec"][key]
        (container,), (usual,) = template["spec"]["containers"], ordinary["spec"]["containers"]
        for key in ("name", "env", "ports", "readinessProbe", "securityContext"):
            assert container[key] == usual[key]


def test_engines_may_run_on_accelerators_alone(render: Render) -> None:
    assert set(groups(render(VARIATIONS["accelerators only"]))) == {"h100"}


def declared(engine: dict[str, Any]) -> dict[str, Any]:
    catalogue = {"tuned.yaml": yaml.safe_dump(vllm_declaration(id="tuned", engine=engine))}
    return {"catalogue": catalogue, "models": {"serve": ["tuned"]}}


def merged(values: dict[str, Any], others: dict[str, Any]) -> dict[str, Any]:
    """Return both, with the keys under `models` of both."""
    return values | others | {"models": values["models"] | others["models"]}


def with_group(**changes: Any) -> dict[str, Any]:
    return {"images": VLLM_IMAGE, "models": {"acceleratorGroups": [{**ACCELERATORS, **changes}]}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"models": {"acceleratorGroups": [ACCELERATORS]}}, "'/images/engineVllm/digest': '' does not match pattern"),
        ({"images": {"engineVllm": {"digest": "latest"}}}, "'/images/engineVllm/digest'"),
        (with_group(accelerators=0), "'/models/acceleratorGroups/0/accelerators': minimum: got 0, want 1"),
        (with_group(name="engines"), "'/models/acceleratorGroups/0/name'"),
        (with_group(name="H100"), "'/models/acceleratorGroups/0/name': 'H100' does not match pattern"),
        (with_group(acceleratorResource="gpu"), "'/models/acceleratorGroups/0/acceleratorResource'"),
        (with_group(replicasMax=4), "additional properties 'replicasMax' not allowed"),
        (with_group(sharedMemory="lots"), "'/models/acceleratorGroups/0/sharedMemory'"),
        (
            with_group(resources={**ACCELERATORS["resources"], "limits": {"memory": "1Gi", "nvidia.com/gpu": "1"}}),
            "invalid propertyName 'nvidia.com/gpu'",
        ),
        (
            {"images": VLLM_IMAGE, "models": {"acceleratorGroups": [ACCELERATORS, ACCELERATORS]}},
            "models.acceleratorGroups: two groups are named h100",
        ),
        ({"models": {"workers": {"replicas": 0}}}, "models.workers.replicas: 0 needs a group"),
        (declared(CUDA_ENGINE), "models.serve: tuned is declared for vLLM: add workers"),
        (
            merged(with_group(), declared({**CUDA_ENGINE, "tensor_parallel": 8, "pipeline_parallel": 2})),
            "models.serve: tuned needs 16 accelerators and all models.acceleratorGroups together have 8",
        ),
        (declared(CPU_ENGINE), "models.serve: tuned: engine.device must be cuda"),
        (
            {
                "catalogue": {"far.yaml": yaml.safe_dump(remote_declaration("https://models.example/v1"))},
                "models": {"serve": ["far"]},
            },
            "models.serve: far is served by a remote engine: leave it out",
        ),
    ],
)
def test_what_could_never_run_is_refused_with_a_line_that_says_why(
    run_helm: Callable[..., Any], chart: Path, changes: dict[str, Any], message: str
) -> None:
    result = run_helm("template", "pool", str(chart), changes=changes)
    assert result.returncode != 0
    assert message in result.stderr


def test_the_catalogue_takes_what_the_chart_was_rendered_with() -> None:
    for variation, engine in (("accelerators", VllmEngine), ("remote engines", OpenAiEngine)):
        for text in VARIATIONS[variation]["catalogue"].values():
            assert isinstance(Model.model_validate(yaml.safe_load(text)).engine, engine)


def test_every_key_of_a_group_is_documented(chart: Path) -> None:
    schema = json.loads((chart / "values.schema.json").read_text())["$defs"]["acceleratorGroup"]
    table = (chart / "README.md").read_text().split("| key of a group | meaning |")[1].split("\n\n")[0]
    rows = {line.split("`")[1]: line for line in table.splitlines() if line.startswith("| `")}
    assert set(rows) == set(schema["properties"])
    assert {name for name, line in rows.items() if "Required." in line} == set(schema["required"])
