"""Errors of the catalogue and of requests for a model."""

from datetime import datetime

from finpool.kernel.errors import ConfigurationError, InvalidRequest, NotFound


class ModelNotFound(NotFound):
    """The model does not exist, or the actor must not learn that it exists; both cases give the same error."""

    code = "model_not_found"
    type = "invalid_request_error"

    def __init__(self, model_id: str) -> None:
        super().__init__(f"The model '{model_id}' does not exist or you do not have access to it.", param="model")


class CatalogueInvalid(ConfigurationError):
    """A declaration is wrong; the one-line message names the file, the field and the fault."""


class WeightsUnavailable(ConfigurationError):
    """A model's weights cannot be fetched, or their SHA-256 differs from the catalogue's."""


class WeightsDiffer(WeightsUnavailable):
    """Fetched weights have another SHA-256 than the catalogue says; fetching them again does not help."""


class TierNotOffered(InvalidRequest):
    """The model has no price for this tier at this time."""

    code = "unsupported_parameter"

    def __init__(self, model_id: str) -> None:
        super().__init__(f"The model '{model_id}' has no price for service_tier 'flex'.", param="service_tier")


class BeginsTooLate(InvalidRequest):
    """The price or contract begins too far ahead; such a date is a typing error."""

    code = "begins_too_late"

    def __init__(self, days_max: int) -> None:
        super().__init__(f"valid_from is more than {days_max} days ahead.", param="valid_from")


class BeginsInThePast(InvalidRequest):
    """A price or contract may not begin in the past: past requests keep the price of their time."""

    code = "begins_in_the_past"

    def __init__(self, valid_from: datetime) -> None:
        super().__init__(f"valid_from {valid_from.isoformat()} is in the past.", param="valid_from")
