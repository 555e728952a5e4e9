"""What can be wrong with the catalogue, or with asking for a model."""

from datetime import datetime

from finpool.kernel.errors import ConfigurationError, InvalidRequest, NotFound


class ModelNotFound(NotFound):
    """The model does not exist, or the actor may not know that it does; both read the same."""

    code = "model_not_found"
    type = "invalid_request_error"

    def __init__(self, model_id: str) -> None:
        super().__init__(f"The model '{model_id}' does not exist or you do not have access to it.", param="model")


class CatalogueInvalid(ConfigurationError):
    """A declaration cannot be used; the one-line message names file, field and what is wrong with it."""


class WeightsUnavailable(ConfigurationError):
    """A model's weights cannot be fetched, or are not the ones that the catalogue names."""


class TierNotOffered(InvalidRequest):
    """The model has no price for this tier of service, now."""

    code = "unsupported_parameter"

    def __init__(self, model_id: str) -> None:
        super().__init__(f"The model '{model_id}' has no price for service_tier 'flex'.", param="service_tier")


class BeginsTooLate(InvalidRequest):
    """Nothing is agreed for so far ahead; it is a slip of the keyboard."""

    code = "begins_too_late"

    def __init__(self, days_max: int) -> None:
        super().__init__(f"valid_from is more than {days_max} days ahead.", param="valid_from")


class BeginsInThePast(InvalidRequest):
    """Prices and contracts begin now or later: what was served was served at the price of its time."""

    code = "begins_in_the_past"

    def __init__(self, asked: datetime) -> None:
        super().__init__(f"valid_from {asked.isoformat()} is in the past.", param="valid_from")
