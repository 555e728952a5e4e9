"""What can be wrong with a model's versions, or with asking for something that their life does not allow."""

from finpool.kernel.errors import AlreadyExists, InvalidRequest, NotFound, Unavailable


class VersionNotFound(NotFound):
    """The model has no such version."""

    code = "model_version_not_found"

    def __init__(self, model_id: str, version: str) -> None:
        super().__init__(f"The model '{model_id}' has no version '{version}'.", param="version")


class VersionExists(AlreadyExists):
    """A version never comes to mean something else."""

    code = "model_version_exists"

    def __init__(self, model_id: str, version: str) -> None:
        super().__init__(
            f"The model '{model_id}' has another version '{version}' already: choose another name.", param="version"
        )


class VersionUnfit(InvalidRequest):
    """The declaration cannot be a version of this model."""

    code = "model_version_unfit"


class LicenceNotAccepted(InvalidRequest):
    """Nothing is fetched before somebody has accepted its licence."""

    code = "licence_not_accepted"


class WrongState(InvalidRequest):
    """What was asked for is not possible where the version stands."""

    code = "model_version_state"


class ModelNotReady(Unavailable):
    """No version of the model serves yet."""

    code = "model_not_ready"
