"""LoRA adapters: small weights on top of a base model, served by the base model's engine."""

from typing import Self

from pydantic import Field, StrictBool, model_validator

from finpool.catalogue.model.engine import Declaration, VllmEngine
from finpool.catalogue.model.schemas import MODEL_ID_PATTERN, SPDX_PATTERN, Model, Price, Tenants
from finpool.catalogue.model.weights import Name, SnapshotWeights
from finpool.kernel.ids import ModelId

ADAPTER_FILES = frozenset({"adapter_config.json", "adapter_model.safetensors"})


class Adapter(Declaration):
    """An adapter's declaration; all other fields come from its base. Its weights are an `adapter_model.safetensors`.

    A confidential adapter needs a base with the same tenants, and thus an engine of its own.
    """

    id: ModelId = Field(pattern=MODEL_ID_PATTERN)
    base: ModelId = Field(pattern=MODEL_ID_PATTERN)
    title: Name
    weights: SnapshotWeights = Field(discriminator="source")
    tenants: Tenants | None = None
    confidential: StrictBool = False
    licence: str = Field(pattern=SPDX_PATTERN)
    filing_number: Name | None = None
    price: Price

    @model_validator(mode="after")
    def _is_an_adapter(self) -> Self:
        if self.weights.files.keys() != ADAPTER_FILES:
            raise ValueError(f"weights.files of an adapter are {' and '.join(sorted(ADAPTER_FILES))}")
        if self.confidential and self.tenants is None:
            raise ValueError("a confidential adapter needs tenants")
        return self

    def on(self, base: Model) -> Model:
        """Return the adapter as a model on `base`; raise `ValueError` if `base` cannot carry it."""
        if not isinstance(base.engine, VllmEngine) or base.engine.lora is None:
            raise ValueError(f"base: the engine of {base.id} takes no adapters: it needs vllm with lora")
        if base.tenants is not None and (self.tenants is None or not self.tenants <= base.tenants):
            raise ValueError(f"tenants: {base.id} is for fewer tenants than this adapter")
        if self.confidential and base.tenants != self.tenants:
            raise ValueError(
                f"confidential: {base.id} may be called by others, so this adapter needs a base of its own"
            )
        own = {name: getattr(self, name) for name in type(self).model_fields if name in Model.model_fields}
        inherited = {name: getattr(base, name) for name in Model.model_fields}
        return Model.model_validate({**inherited, **own})
