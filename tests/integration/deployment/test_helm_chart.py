"""The chart as a whole: it lints, its values are documented and checked, and it agrees with the code it runs."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from finpool.kernel.settings import Settings
from finpool.kernel.version import VERSION

SET_BY_THE_CHART = {
    "home", "port", "replica_id", "secrets_dir", "spool_dir", "spool_bytes_max", "catalogue_dir",
    "weights_dir", "hub_url", "serve_url", "otlp_endpoint", "owner_database_url", "inference_database_url",
    "tenant_database_url", "operator_database_url", "regulator_database_url", "worker_database_url",
    "pool_database_url", "pool_cpus", "log_bytes_max", "engine_drain_seconds", "engine_upscale_seconds",
}  # fmt: skip
WHOLE = {
    "settings",
    "catalogue",
    "nodeSelector",
    "annotations",
    "resources",
    "workerResources",
    "headResources",
}


def leaves(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each documented value with its dotted name; maps that a user fills in are one value."""
    for key, value in values.items():
        if isinstance(value, dict) and key not in WHOLE:
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def test_chart_lints_strictly(run_helm: Callable[..., Any], chart: Path) -> None:
    result = run_helm("lint", "--strict", str(chart))
    assert result.returncode == 0, result.stdout + result.stderr


def test_every_value_is_documented_with_its_default(chart: Path) -> None:
    table = (chart / "README.md").read_text().split("| value | default | meaning |")[1]
    rows = re.findall(r"^\| `([^`]+)` \| (.+?) \| .+ \|$", table, re.MULTILINE)
    expected = {
        name: "see `values.yaml`" if name.lower().endswith("resources") else f"`{json.dumps(default)}`"
        for name, default in leaves(yaml.safe_load((chart / "values.yaml").read_text()))
    }
    assert dict(rows) == expected
    assert len(rows) == len(expected)


def test_installing_without_required_values_names_each_of_them(chart: Path, run_helm: Callable[..., Any]) -> None:
    nothing = {
        "images": {"app": {"digest": ""}, "engine": {"digest": ""}},
        "databaseSecret": {"existingSecret": ""},
        "fileSecret": {"existingSecret": ""},
        "networkPolicy": {"database": {"cidrs": []}},
    }
    result = run_helm("template", "pool", str(chart), changes=nothing)
    assert result.returncode != 0
    for name in (
        "images/app/digest",
        "images/engine/digest",
        "databaseSecret",
        "fileSecret",
        "database/cidrs",
    ):
        assert name in result.stderr


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": {"app": {"digest": "latest"}}}, "'/images/app/digest': 'latest' does not match pattern"),
        ({"images": {"engine": {"digest": "sha256:ab"}}}, "'/images/engine/digest'"),
        ({"images": {"app": {"tag": "v1"}}}, "additional properties 'tag' not allowed"),
        ({"inference": {"replicas": 0}}, "'/inference/replicas': minimum: got 0, want 1"),
        ({"inference": {"replicas": 9}}, "'/inference/replicas': maximum: got 9, want 8"),
        ({"inference": {"replica": 1}}, "additional properties 'replica' not allowed"),
        ({"inference": {"streamSecondsMax": 0}}, "'/inference/streamSecondsMax'"),
        ({"inference": {"resources": {"limits": {"memory": None}}}}, "'/inference/resources/limits'"),
        ({"inference": {"ingress": {"enabled": True}}}, "'/inference/ingress/host'"),
        (
            {"inference": {"allowFrom": [{"podselector": {}}]}},
            "additional properties 'podselector' not allowed",
        ),
        ({"settings": {"owner_database_url": "x"}}, "additional properties 'owner_database_url' not allowed"),
        ({"settings": {"log_level": "LOUD"}}, "'/settings/log_level'"),
        ({"catalogue": {"Models.txt": "id: a"}}, "additional properties 'Models.txt' not allowed"),
        ({"databaseSecret": {"password": "x"}}, "additional properties 'password' not allowed"),
        ({"databaseTls": {"mode": "disable"}}, "'/databaseTls/mode'"),
        ({"databaseTls": {"mode": "verify-full"}}, "'/databaseTls/caConfigMap'"),
        ({"models": {"serve": []}}, "'/models/serve': minItems"),
        ({"models": {"weights": {"hubUrl": "https://user:secret@hub"}}}, "'/models/weights/hubUrl'"),
        ({"telemetry": {"otlpEndpoint": "http://collector:4318"}}, "'/telemetry/collectors': minItems"),
        ({"networkPolicy": {"enabled": False}}, "additional properties 'enabled' not allowed"),
        ({"bogus": 1}, "additional properties 'bogus' not allowed"),
    ],
)
def test_wrong_values_are_refused_with_a_line_that_says_why(
    run_helm: Callable[..., Any], chart: Path, changes: dict[str, Any], message: str
) -> None:
    result = run_helm("template", "pool", str(chart), changes=changes)
    assert result.returncode != 0
    assert message in result.stderr


def test_settings_that_values_may_hold_are_those_of_the_code(chart: Path) -> None:
    schema = json.loads((chart / "values.schema.json").read_text())
    allowed = set(schema["properties"]["settings"]["properties"])
    assert set(Settings.model_fields) >= SET_BY_THE_CHART
    assert allowed == set(Settings.model_fields) - SET_BY_THE_CHART


def test_chart_and_package_have_one_version(chart: Path) -> None:
    description = yaml.safe_load((chart / "Chart.yaml").read_text())
    assert description["appVersion"] == description["version"] == VERSION


def test_kuberay_is_told_the_ray_version_that_the_image_holds(
    render: Callable[..., list[dict[str, Any]]], repository: Path
) -> None:
    locked = re.search(r"^ray==([\d.]+)", (repository / "requirements/engines.txt").read_text(), re.MULTILINE)
    assert locked is not None
    (service,) = [manifest for manifest in render() if manifest["kind"] == "RayService"]
    assert service["spec"]["rayClusterConfig"]["rayVersion"] == locked.group(1)
