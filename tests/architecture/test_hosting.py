"""The files for a host of the repository: owners, templates, the hosted CI, the development container."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from finpool.kernel.settings import Settings

ROOT = Path(__file__).parents[2]
GITHUB = ROOT / ".github"
FORMS = [path for path in sorted((GITHUB / "ISSUE_TEMPLATE").glob("*.yml")) if path.name != "config.yml"]


def workflow() -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load((GITHUB / "workflows" / "ci.yml").read_text())
    return read


def steps() -> list[dict[str, Any]]:
    return [step for job in workflow()["jobs"].values() for step in job["steps"]]


def test_every_path_that_has_an_owner_exists() -> None:
    lines = (GITHUB / "CODEOWNERS").read_text().splitlines()
    rules = [line.split() for line in lines if line and not line.startswith("#")]
    assert rules[0] == ["*", "@finpool/maintainers"]
    assert all(len(rule) == 2 and rule[1].startswith("@") for rule in rules)
    assert [path for path, _ in rules[1:] if not (ROOT / path.lstrip("/")).exists()] == []


def test_the_hosted_ci_runs_the_script_that_developers_have() -> None:
    assert ".ci/run" in [step.get("run") for step in steps()]
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111
    for step in steps():
        for name in re.findall(r"\.ci/[\w.]+", step.get("run", "")):
            assert (ROOT / name).is_file()


def test_the_hosted_ci_may_only_read_and_uses_actions_by_their_hash() -> None:
    assert workflow()["permissions"] == {"contents": "read"}
    assert not [name for name, job in workflow()["jobs"].items() if "permissions" in job]
    assert all(re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", step["uses"]) for step in steps() if "uses" in step)
    assert all(job["timeout-minutes"] <= 90 for job in workflow()["jobs"].values())


def test_text_of_a_pull_request_never_becomes_a_command() -> None:
    assert [step["run"] for step in steps() if "${{" in step.get("run", "")] == []


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_a_form_asks_each_thing_once(path: Path) -> None:
    form = yaml.safe_load(path.read_text())
    assert {"name", "description", "body"} <= set(form)
    asked = [part for part in form["body"] if part["type"] != "markdown"]
    assert len({part["id"] for part in asked}) == len(asked)
    assert all(part["attributes"]["label"] for part in asked)


def test_the_development_container_forwards_the_doors_and_installs_what_is_locked() -> None:
    container = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text())
    port = Settings().port
    assert container["forwardPorts"] == [port, port + 1, port + 2]
    assert container["image"].startswith("python:3.11")
    assert container["postCreateCommand"].startswith("make .venv/dev.stamp && ")
