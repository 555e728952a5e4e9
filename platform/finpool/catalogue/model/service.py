"""The catalogue of models: loaded once at the start, then constant."""

from collections.abc import Mapping
from pathlib import Path
from typing import Self

import yaml
from pydantic import ValidationError

from finpool.catalogue.errors import CatalogueInvalid, ModelNotFound
from finpool.catalogue.model.adapter import Adapter
from finpool.catalogue.model.engine import OpenAiEngine
from finpool.catalogue.model.schemas import Model
from finpool.kernel.faults import words_of
from finpool.kernel.ids import ModelId
from finpool.kernel.strict_yaml import load_yaml


def default_directory() -> Path:
    """Return the directory of the declarations in the package."""
    return Path(__file__).parents[1] / "demo"


class Catalogue:
    """Every model of this installation, by id."""

    def __init__(self, models: Mapping[ModelId, Model], *, packaged: bool = False) -> None:
        """Take the models; `packaged` says that they come with the package, not from an operator's directory."""
        self._models = dict(models)
        self.packaged = packaged

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read every `*.yaml` in `directory`, one model each; raise `CatalogueInvalid` for the first wrong file."""
        files = sorted(directory.glob("*.yaml"))
        if not files:
            raise CatalogueInvalid(f"{directory}: no model declarations (*.yaml) in this directory")
        declared = [(file, _load(file)) for file in files]
        origins: dict[ModelId, Path] = {}
        for file, each in declared:
            if each.id in origins:
                raise CatalogueInvalid(f"{file}: id: '{each.id}' is already declared in {origins[each.id]}")
            origins[each.id] = file
        bases = {each.id: each for _, each in declared if isinstance(each, Model)}
        models = {each.id: _with_base(file, each, bases) for file, each in declared}
        currencies = sorted({model.price.currency for model in models.values()})
        if len(currencies) > 1:
            # A tenant has one budget; spending two currencies from it would add unlike amounts.
            raise CatalogueInvalid(
                f"{directory}: price.currency: all models must have one currency, not {', '.join(currencies)}"
            )
        return cls(models, packaged=directory == default_directory())

    def get(self, model_id: str) -> Model:
        """Return the model; raise `ModelNotFound` if no model has this id."""
        model = self._models.get(ModelId(model_id))
        if model is None:
            raise ModelNotFound(model_id)
        return model

    @property
    def currency(self) -> str:
        """The currency of every price."""
        return next(iter(self._models.values())).price.currency

    def all(self) -> tuple[Model, ...]:
        """Return all models, ordered by file name."""
        return tuple(self._models.values())

    def with_engines(self) -> tuple[Model, ...]:
        """Return the models with an engine of their own: all but the adapters."""
        return tuple(model for model in self.all() if model.base is None)

    def on_pool(self) -> tuple[Model, ...]:
        """Return the models whose engines run in the pool: all but the remote ones."""
        return tuple(model for model in self.all() if not isinstance(model.engine, OpenAiEngine))

    def adapters_of(self, model_id: ModelId) -> tuple[Model, ...]:
        """Return the adapters that the engine of a model serves."""
        return tuple(model for model in self.all() if model.base == model_id)


def _load(file: Path) -> Model | Adapter:
    try:
        declared = load_yaml(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise CatalogueInvalid(f"{file}: cannot be read: {error}") from error
    except yaml.YAMLError as error:
        raise CatalogueInvalid(f"{file}: not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(declared, dict):
        raise CatalogueInvalid(f"{file}: must hold one model as a mapping of fields")
    try:
        return Adapter.model_validate(declared) if "base" in declared else Model.model_validate(declared)
    except ValidationError as error:
        raise CatalogueInvalid(f"{file}: {_in_one_line(error)}") from error


def _with_base(file: Path, declared: Model | Adapter, bases: Mapping[ModelId, Model]) -> Model:
    if isinstance(declared, Model):
        return declared
    base = bases.get(declared.base)
    if base is None:
        raise CatalogueInvalid(f"{file}: base: no model '{declared.base}' is declared")
    try:
        return declared.on(base)
    except ValueError as error:
        raise CatalogueInvalid(f"{file}: {error}") from error


def _in_one_line(error: ValidationError) -> str:
    """Join all faults as `field: fault`, so that one reading suffices to correct a file."""
    faults = error.errors(include_url=False, include_input=False, include_context=False)
    return "; ".join(f"{_field(fault['loc'])}: {words_of(fault)}" for fault in faults)


def _field(location: tuple[int | str, ...]) -> str:
    """Return the field as the file names it; pydantic inserts the chosen type after `engine` and `weights`."""
    of_several_kinds = len(location) > 1 and location[0] in ("engine", "weights")
    parts = (location[0], *location[2:]) if of_several_kinds else location
    return ".".join(str(part) for part in parts) or "model"
