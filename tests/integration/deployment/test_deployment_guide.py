"""docs/deployment.md says what the chart and the Terraform layers really ask for."""

import re
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml


@pytest.fixture(scope="module")
def guide(repository: Path) -> str:
    return (repository / "docs" / "deployment.md").read_text()


def test_guide_makes_every_secret_key_that_the_chart_reads(
    guide: str, render: Callable[..., list[dict[str, Any]]]
) -> None:
    text = yaml.safe_dump_all(render())
    database_keys = set(re.findall(r"key: ([a-z]+)-database-url", text))
    loop = re.search(r"for role in ([a-z ]+); do", guide)
    assert loop is not None
    assert {*loop.group(1).split(), "owner"} == database_keys
    assert '"owner-database-url=' in guide
    files = set(re.findall(r"^ +path: ([a-z_]+)$", text, re.MULTILINE))
    assert files == {"key_pepper", "engine_token"}
    assert all(f'"{name}=' in guide for name in files)


def test_no_credential_of_the_guide_is_on_a_command_line_of_the_cluster(
    guide: str, render: Callable[..., list[dict[str, Any]]]
) -> None:
    executed = re.findall(r"kubectl [^\n]*exec (?:[^\n]*\\\n)*[^\n]*", guide)
    assert executed
    assert not [command for command in executed if "DATABASE_URL" in command or "$" in command]
    (target,) = {match for command in executed for match in re.findall(r"(job/[\w-]+)", command)}
    made = {
        f"{each['kind'].lower()}/{each['metadata']['name']}"
        for each in render({"tokens": {"enabled": True}}, release="finpool")
    }
    assert target in made


@pytest.mark.parametrize("layer", ["foundation", "platform"])
def test_guide_sets_every_variable_that_has_no_default(guide: str, repository: Path, layer: str) -> None:
    folder = f"terraform/environments/example-aws/{layer}"
    blocks = re.findall(
        r'^variable "(\w+)" \{\n(.*?)^\}', (repository / folder / "variables.tf").read_text(), re.M | re.S
    )
    given = [set(re.findall(r"^(\w+) +=", part, re.M)) for part in re.findall(r"tfvars <<'EOF'\n(.*?)EOF", guide, re.S)]
    variables = given[0] if layer == "foundation" else given[1]
    assert {name for name, body in blocks if "default" not in body} <= variables
    assert variables <= {name for name, _ in blocks}


def values_in(guide: str, file: str) -> dict[str, Any]:
    """Return the values that the guide writes into `file`."""
    found = re.search(rf"{file}\.yaml <<'EOF'\n(.*?)EOF", guide, re.S)
    assert found is not None
    text = textwrap.dedent(found.group(1)).replace('"sha256:..."', '"sha256:' + "0" * 64 + '"')
    values: dict[str, Any] = yaml.safe_load(text)
    return values


def test_values_in_the_guide_are_accepted_by_the_chart(guide: str, render: Callable[..., list[dict[str, Any]]]) -> None:
    kinds = {manifest["kind"] for manifest in render(values_in(guide, "bank"))}
    assert "Ingress" in kinds


def test_the_guides_workers_with_accelerators_can_run_what_engines_md_declares(
    guide: str, repository: Path, render: Callable[..., list[dict[str, Any]]]
) -> None:
    declared = re.search(r"```yaml\n(id: qwen-small\n.*?)```", (repository / "docs" / "engines.md").read_text(), re.S)
    assert declared is not None
    values = values_in(guide, "accelerators")
    assert set(values["catalogue"]) == {"qwen-small.yaml"}
    manifests = render(values | {"catalogue": {"qwen-small.yaml": declared.group(1)}})
    (service,) = [manifest for manifest in manifests if manifest["kind"] == "RayService"]
    engine = yaml.safe_load(declared.group(1))["engine"]
    (group,) = service["spec"]["rayClusterConfig"]["workerGroupSpecs"]
    resources = group["template"]["spec"]["containers"][0]["resources"]
    assert int(resources["limits"]["nvidia.com/gpu"]) >= engine["tensor_parallel"]
    assert int(resources["requests"]["cpu"]) * group["replicas"] >= engine["threads"] * engine["replicas_max"]


def test_the_guide_opens_the_way_to_remote_engines(guide: str, render: Callable[..., list[dict[str, Any]]]) -> None:
    names = [manifest["metadata"]["name"] for manifest in render(values_in(guide, "remote"))]
    assert "pool-finpool-inference-to-remote-engines" in names


def test_paths_in_the_guide_exist(guide: str, repository: Path) -> None:
    for path in re.findall(r"(?:platform/Dockerfile|terraform/environments/[\w/-]+|helm/finpool/[\w./]+)", guide):
        assert (repository / path).exists(), path
