"""Background models: their weights are fetched, and their engines start, after all other models serve."""

from collections.abc import Collection, Iterable, Mapping

from finpool.catalogue.model.schemas import Model
from finpool.catalogue.version.schemas import ModelLife, Version, VersionState

FETCH_RETRY_SECONDS = 60.0
"""The pause before weights are fetched again that could not be reached: nobody waits for them."""


def stages(models: Iterable[Model], lives: Mapping[str, ModelLife], up: Collection[tuple[str, str]]) -> dict[str, str]:
    """Return how far each background model is that does not serve yet; `up` lists model and version of engines."""
    found: dict[str, str] = {}
    for model in models:
        life = lives.get(model.id)
        if model.background and life is not None and life.latest is not None:
            for version in life.versions:
                is_up = version.state is VersionState.SERVING and (model.id, version.version) in up
                if version.version in life.latest.routed and not is_up:
                    found[model.id] = _stage(version)
    return found


def _stage(version: Version) -> str:
    name = "starting" if version.state is VersionState.SERVING else version.state.value
    return name if version.fault is None else f"{name}: {version.fault}"
