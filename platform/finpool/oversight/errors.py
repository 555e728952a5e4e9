"""Errors of the reads for supervisors and operators."""

from finpool.kernel.errors import InvalidRequest


class NotMeasured(InvalidRequest):
    """No version of the model serves with measurements, so no estimate is possible."""

    code = "model_not_measured"

    def __init__(self, model_id: str) -> None:
        super().__init__(f"No version of '{model_id}' serves, so nothing is measured: start one first.", param="model")
