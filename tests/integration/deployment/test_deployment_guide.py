"""docs/deployment.md says what the chart and the Terraform layers really ask for."""

import re
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


def test_values_in_the_guide_are_accepted_by_the_chart(guide: str, render: Callable[..., list[dict[str, Any]]]) -> None:
    values = re.search(r"bank\.yaml <<'EOF'\n(.*?)EOF", guide, re.S)
    assert values is not None
    kinds = {manifest["kind"] for manifest in render(yaml.safe_load(values.group(1)))}
    assert "Ingress" in kinds


def test_paths_in_the_guide_exist(guide: str, repository: Path) -> None:
    for path in re.findall(r"(?:platform/Dockerfile|terraform/environments/[\w/-]+|helm/finpool/[\w./]+)", guide):
        assert (repository / path).exists(), path
