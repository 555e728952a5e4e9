"""Weights of several files: all are fetched, verified and put into place before the first use."""

from collections.abc import Callable
from pathlib import Path

from finpool.catalogue.errors import WeightsDiffer, WeightsUnavailable
from finpool.catalogue.model.weights import (
    WEIGHTS_SUFFIX,
    DirectoryWeights,
    HubFile,
    RepositoryWeights,
    SnapshotWeights,
)
from finpool.catalogue.weights.formats import require_safe_format
from finpool.catalogue.weights.sources import fetch_from_hub
from finpool.catalogue.weights.verified import is_marked, mark, put_in_place, sha256_of
from finpool.kernel.settings import Settings

SNAPSHOT_DIRECTORY = "snapshot"

Progress = Callable[[str], None]


def ensure_snapshot(
    model_id: str, weights: SnapshotWeights, settings: Settings, directory: Path, progress: Progress
) -> Path:
    """Return the directory that holds exactly the declared files; `directory` keeps downloads and the marker.

    Raises `WeightsUnavailable` if a file is missing, differs, or is not declared: an engine reads every file beside its
    weights, such as a chat template.
    """
    target = location(weights, directory)
    if isinstance(weights, RepositoryWeights):
        target.mkdir(exist_ok=True)
        for name in weights.files:
            if not (target / name).is_file():
                _fetch(model_id, weights, name, settings, directory, progress)
    _require_no_others(model_id, weights, target)
    files = [target / name for name in weights.files]
    for file in files:
        if file.suffix == WEIGHTS_SUFFIX:
            require_safe_format(model_id, file)
    if is_marked(directory, files):
        return target
    for file, sha256 in zip(files, weights.files.values(), strict=True):
        progress(f"{model_id}: verifying {file.name}")
        if sha256_of(file) != sha256:
            raise WeightsDiffer(_mismatch(model_id, str(file)))
    mark(directory, files)
    return target


def location(weights: SnapshotWeights, directory: Path) -> Path:
    """Return the directory of the files, whether or not they are fetched."""
    return Path(weights.path) if isinstance(weights, DirectoryWeights) else directory / SNAPSHOT_DIRECTORY


def _require_no_others(model_id: str, weights: SnapshotWeights, target: Path) -> None:
    if not target.is_dir():
        raise WeightsUnavailable(f"the weights of {model_id} are not at {target}")
    there = {str(each.relative_to(target)) for each in target.rglob("*") if not each.is_dir()}
    if missing := sorted(weights.files.keys() - there):
        raise WeightsUnavailable(f"the weights of {model_id} lack {', '.join(missing)} in {target}")
    if others := sorted(there - weights.files.keys()):
        raise WeightsUnavailable(
            f"the weights of {model_id}: {target} holds files that the catalogue does not declare: {', '.join(others)}"
        )


def _fetch(
    model_id: str, weights: RepositoryWeights, name: str, settings: Settings, directory: Path, progress: Progress
) -> None:
    """Download one file apart and move it into place once it is complete; a later call resumes a broken download."""
    sha256, target = weights.files[name], location(weights, directory) / name
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = directory / f".{sha256}.partial"
    one = HubFile(repository=weights.repository, revision=weights.revision, file=name)
    fetch_from_hub(model_id, one, settings.hub_url, partial, progress)
    if not put_in_place(partial, target, sha256):
        raise WeightsDiffer(_mismatch(model_id, name))


def _mismatch(model_id: str, name: str) -> str:
    return f"the weights of {model_id} are not what the catalogue says: the SHA-256 of {name} differs"
