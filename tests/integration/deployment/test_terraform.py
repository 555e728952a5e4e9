"""The Terraform modules: formatted, valid for their providers where those can be had, and in step with the chart.

Providers are plugins of hundreds of megabytes that a machine without a network does not have. What could not be
checked for want of one is skipped with the reason, and said again at the end of the run.
"""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOTS = [
    "modules/network", "modules/cluster", "modules/database", "modules/platform",
    "environments/example-aws/foundation", "environments/example-aws/platform",
]  # fmt: skip
Terraform = Callable[..., str]


def mirrors() -> list[Path]:
    """Return the folders that may hold provider plugins: one that is named, then those Terraform itself looks in."""
    named = [os.environ[name] for name in ("TF_PLUGIN_MIRROR_DIR", "TF_PLUGIN_CACHE_DIR") if name in os.environ]
    data = os.environ.get("XDG_DATA_DIRS", "/usr/local/share:/usr/share").split(":")
    implied = [Path.home() / ".terraform.d/plugins", Path.home() / ".local/share/terraform/plugins"]
    implied += [Path(folder) / "terraform/plugins" for folder in data]
    found = [path.parents[2] for path in Path("/opt").glob("*/*/hashicorp/aws")]
    return [path for path in (*map(Path, named), *implied, *found) if path.is_dir()]


def mirror_with(providers: set[str]) -> Path | None:
    """Return the first folder that holds all `providers` (namespace/name), if any."""
    for folder in mirrors():
        if all(any(folder.glob(f"*/{provider}/*")) for provider in providers):
            return folder
    return None


@pytest.fixture
def terraform(tmp_path: Path) -> Terraform:
    """Run Terraform in a folder, with plugins from `mirror` alone; fails the test with Terraform's own words."""
    binary = shutil.which("terraform")
    if binary is None:
        pytest.skip("terraform is not installed: nothing under terraform/ was checked")

    def run(folder: Path, *arguments: str, mirror: Path | None = None) -> str:
        configuration = tmp_path / "terraform.rc"
        path = json.dumps(str(mirror or tmp_path))
        configuration.write_text(f"provider_installation {{\n  filesystem_mirror {{\n    path = {path}\n  }}\n}}\n")
        environment = {"TF_CLI_CONFIG_FILE": str(configuration), "CHECKPOINT_DISABLE": "1", "TF_IN_AUTOMATION": "1"}
        result = subprocess.run(
            [binary, *arguments],
            cwd=folder,
            env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), **environment},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    return run


@pytest.fixture
def tree(repository: Path, tmp_path: Path) -> Path:
    """A copy of terraform/, so that nothing Terraform writes lands in the repository."""
    ignored = shutil.ignore_patterns(".terraform*")
    return Path(shutil.copytree(repository / "terraform", tmp_path / "terraform", ignore=ignored))


def providers_of(root: Path) -> set[str]:
    return set(re.findall(r'source\s*=\s*"([\w-]+/[\w-]+)"', (root / "versions.tf").read_text()))


def test_every_file_is_formatted(terraform: Terraform, repository: Path) -> None:
    terraform(repository / "terraform", "fmt", "-check", "-recursive", "-diff")


def test_every_module_and_environment_is_listed_here(repository: Path) -> None:
    found = {str(path.parent.relative_to(repository / "terraform")) for path in repository.glob("terraform/**/main.tf")}
    assert found == set(ROOTS)


@pytest.mark.parametrize("root", ROOTS)
def test_each_has_the_usual_files_and_pins_what_it_needs(repository: Path, root: str) -> None:
    folder = repository / "terraform" / root
    assert {"main.tf", "variables.tf", "outputs.tf", "versions.tf"} <= {path.name for path in folder.glob("*.tf")}
    versions = (folder / "versions.tf").read_text()
    assert re.search(r'required_version = ">= [\d.]+, < 2.0"', versions)
    pinned = re.findall(r'^ +version = "(?:>= [\d.]+, < [\d.]+|[\d.]+)"$', versions, re.MULTILINE)
    assert len(pinned) == len(providers_of(folder))
    for file in ("variables.tf", "outputs.tf"):
        text = (folder / file).read_text()
        assert len(re.findall(r"^(?:variable|output) ", text, re.MULTILINE)) == text.count("  description =")


@pytest.mark.parametrize("root", ROOTS)
def test_each_is_valid_and_passes_its_own_tests(
    terraform: Terraform, tree: Path, root: str, record_property: Callable[[str, object], None]
) -> None:
    providers = providers_of(tree / root)
    mirror = mirror_with(providers)
    if mirror is None:
        names = " and ".join(sorted(providers))
        record_property("not_done_here", f"terraform/{root}: `validate` did not run, no plugin for {names} here")
        pytest.skip(f"no folder with plugins for {names}: name one in TF_PLUGIN_MIRROR_DIR")
    terraform(tree / root, "init", "-backend=false", "-input=false", "-no-color", mirror=mirror)
    if (tree / root / "tests").is_dir():
        # Loading the plugin takes seconds: `validate` runs on the example, which uses all of these modules.
        passed = terraform(tree / root, "test", "-no-color", mirror=mirror)
        assert re.search(r"Success! [1-9]\d* passed, 0 failed", passed)
    else:
        terraform(tree / root, "validate", "-no-color", mirror=mirror)


@pytest.mark.parametrize("gpu", [False, True])
def test_the_example_gives_the_chart_values_that_it_accepts(
    terraform: Terraform, tree: Path, render: Callable[..., list[dict[str, Any]]], gpu: bool
) -> None:
    """Evaluates the platform layer without its Helm provider: everything but the installing itself."""
    module, example = tree / "modules/platform", tree / "environments/example-aws/platform"
    for file in (module / "main.tf", module / "versions.tf", example / "versions.tf"):
        file.unlink()
    (module / "outputs.tf").write_text('output "values" {\n  value = local.values\n}\n')
    (example / "outputs.tf").write_text('output "values" {\n  value = module.platform.values\n}\n')
    given = {
        "region": "eu-x-1",
        "cluster_name": "pool",
        "database_cidrs": ["10.0.0.0/20", "10.0.16.0/20"],
        "gpu_engines": gpu,
        "kuberay_chart": "oci://registry.example/kuberay-operator",
        "image_registry": "registry.example",
        "app_image_digest": "sha256:" + "1" * 64,
        "engine_image_digest": "sha256:" + "2" * 64,
    } | ({"vllm_image_digest": "sha256:" + "3" * 64} if gpu else {})
    (example / "given.auto.tfvars.json").write_text(json.dumps(given))
    terraform(example, "init", "-input=false", "-no-color")
    terraform(example, "apply", "-auto-approve", "-input=false", "-no-color")
    values = json.loads(terraform(example, "output", "-json"))["values"]["value"]
    manifests = render(values)
    (service,) = [manifest for manifest in manifests if manifest["kind"] == "RayService"]
    groups = service["spec"]["rayClusterConfig"]["workerGroupSpecs"]
    workers = {group["groupName"]: group["template"]["spec"]["containers"][0] for group in groups}
    assert set(workers) == ({"engines", "gpu"} if gpu else {"engines"})
    image = f"engine-vllm@sha256:{'3' * 64}" if gpu else f"engine@sha256:{'2' * 64}"
    for name, worker in workers.items():
        assert worker["image"] == f"registry.example/finpool/{image}"
        assert ("nvidia.com/gpu" in worker["resources"]["limits"]) is (name == "gpu")
    policies = [manifest for manifest in manifests if manifest["kind"] == "NetworkPolicy"]
    (database,) = [policy for policy in policies if policy["metadata"]["name"].endswith("-database")]
    peers = database["spec"]["egress"][0]["to"]
    assert [peer["ipBlock"]["cidr"] for peer in peers] == given["database_cidrs"]


def test_the_clusters_nodes_are_those_that_the_platform_asks_for(repository: Path) -> None:
    cluster = (repository / "terraform/modules/cluster/main.tf").read_text()
    platform = (repository / "terraform/modules/platform/values.tf").read_text()
    label = re.search(r'nodeSelector = \{ "([^"]+)" = "([^"]+)" \}', platform)
    taint = re.search(r'tolerations  = \[\{ key = "([^"]+)"', platform)
    assert label is not None
    assert taint is not None
    assert f'labels = {{ "{label.group(1)}" = "{label.group(2)}" }}' in cluster
    assert f'key    = "{taint.group(1)}"' in cluster
