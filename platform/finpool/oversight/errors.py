"""What keeps supervisors and operators from seeing what they asked for."""

from finpool.kernel.errors import InvalidRequest


class NotMeasured(InvalidRequest):
    """Nothing is said about a model that was never tested on this pool."""

    code = "model_not_measured"

    def __init__(self, model_id: str) -> None:
        super().__init__(f"No version of '{model_id}' serves, so nothing is measured: start one first.", param="model")
