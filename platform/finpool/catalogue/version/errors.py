"""Errors of a model's versions and of their state changes."""

from finpool.kernel.answer_headers import RETRY_AFTER
from finpool.kernel.errors import AlreadyExists, InvalidRequest, NotFound, Unavailable


class VersionNotFound(NotFound):
    """The model has no such version."""

    code = "model_version_not_found"

    def __init__(self, model_id: str, version: str) -> None:
        super().__init__(f"The model '{model_id}' has no version '{version}'.", param="version")


class VersionExists(AlreadyExists):
    """The version's name stands for another declaration; a version never changes."""

    code = "model_version_exists"

    def __init__(self, model_id: str, version: str) -> None:
        super().__init__(
            f"The model '{model_id}' has another version '{version}' already: choose another name.", param="version"
        )


class VersionUnfit(InvalidRequest):
    """The declaration cannot be a version of this model."""

    code = "model_version_unfit"


class LicenceNotAccepted(InvalidRequest):
    """The version's licence is not accepted, so its weights may not be fetched."""

    code = "licence_not_accepted"


class WrongState(InvalidRequest):
    """The version's state does not allow this action."""

    code = "model_version_state"


class ModelNotReady(Unavailable):
    """No version of the model serves yet."""

    code = "model_not_ready"
    header_names = RETRY_AFTER
