"""The catalogue of models: loaded whole at the start, never changed while a process runs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Self

import yaml
from pydantic import ValidationError

from finpool.catalogue.errors import CatalogueInvalid, ModelNotFound
from finpool.catalogue.schemas import Model
from finpool.kernel.ids import ModelId
from finpool.kernel.strict_yaml import load_yaml


def default_directory() -> Path:
    """Return the directory of the declarations that come with the package."""
    return Path(__file__).parent / "models"


class Catalogue:
    """Every model of this installation, by id."""

    def __init__(self, models: Mapping[ModelId, Model]) -> None:
        self._models = dict(models)

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read every `*.yaml` in `directory`, one model each; raise `CatalogueInvalid` for any that is wrong."""
        files = sorted(directory.glob("*.yaml"))
        if not files:
            raise CatalogueInvalid(f"{directory}: no model declarations (*.yaml) in this directory")
        origins: dict[ModelId, Path] = {}
        models: dict[ModelId, Model] = {}
        for file in files:
            model = _load_model(file)
            if model.id in models:
                raise CatalogueInvalid(f"{file}: id: '{model.id}' is already declared in {origins[model.id]}")
            origins[model.id] = file
            models[model.id] = model
        currencies = sorted({model.price.currency for model in models.values()})
        if len(currencies) > 1:
            # A tenant's budget is one amount: spending two currencies out of it would add what cannot be added.
            raise CatalogueInvalid(
                f"{directory}: price.currency: all models must have one currency, not {', '.join(currencies)}"
            )
        return cls(models)

    def get(self, model_id: str) -> Model:
        """Return the model; raise `ModelNotFound` if there is none of that id."""
        model = self._models.get(ModelId(model_id))
        if model is None:
            raise ModelNotFound(model_id)
        return model

    @property
    def currency(self) -> str:
        """The currency of every price."""
        return next(iter(self._models.values())).price.currency

    def all(self) -> tuple[Model, ...]:
        """Return all models in the order of their files' names."""
        return tuple(self._models.values())


def _load_model(file: Path) -> Model:
    try:
        declared = load_yaml(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise CatalogueInvalid(f"{file}: cannot be read: {error}") from error
    except yaml.YAMLError as error:
        raise CatalogueInvalid(f"{file}: not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(declared, dict):
        raise CatalogueInvalid(f"{file}: must hold one model as a mapping of fields")
    try:
        return Model.model_validate(declared)
    except ValidationError as error:
        raise CatalogueInvalid(f"{file}: {_in_one_line(error)}") from error


def _in_one_line(error: ValidationError) -> str:
    """Join all faults as `field: what is wrong`, so that a file is corrected in one go."""
    faults = []
    for fault in error.errors(include_url=False, include_input=False, include_context=False):
        field = ".".join(str(part) for part in fault["loc"]) or "model"
        faults.append(f"{field}: {fault['msg']}")
    return "; ".join(faults)
